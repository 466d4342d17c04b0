//! One run from the first subscription to the last byte of output.

mod absence;
mod framework;
mod orders;
mod signals;
mod task;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use coordination::LeaderDetector;
use sdk::client::{Client, ClientError};
use sdk::http::Http;
use sdk::launch;
use sdk::scheduler::{News, Scheduler, said};
use sdk::session::{Notice, Options};
use tokio::sync::mpsc;
use tokio::time::Instant;
use wire::v1::scheduler::{Call, Event, call, event};

use super::ending::Ending;
use super::job::Job;
use crate::context::{Trouble, failed};
use crate::print;
use absence::Absence;
use framework::framework;
use signals::Signals;
use task::{Phase, Placed};

/// How long a session with an ensemble outlives a silence.
const SESSION: Duration = Duration::from_secs(10);
/// How long the output of a task that is left running is read on, and how long the master may take to end it.
const PARTING: Duration = Duration::from_secs(5);

/// Runs the job; its exit code.
///
/// # Errors
/// The task could not be brought to run.
pub async fn run(job: Job) -> Result<u8, Trouble> {
    let mut signals = Signals::new().context("cannot listen for signals").map_err(failed)?;
    let mut run = Run::start(job);
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let ending = loop {
        let step = tokio::select! {
            news = run.scheduler.next() => run.hear(news).await,
            _ = tick.tick() => run.look_around().await,
            exit_code = signals.next() => run.interrupted(exit_code).await,
            Some(error) = run.broken_output.recv() => run.unheard(&error).await,
        };
        match step {
            Ok(None) => {}
            Ok(Some(ending)) => break ending,
            Err(error) => {
                run.leave().await;
                return Err(failed(error));
            }
        }
    };
    run.drain().await;
    let parting = run.leave().await;
    for message in ending.message.into_iter().chain(parting) {
        eprintln!("tepui: {message}");
    }
    Ok(ending.code)
}

type Step = anyhow::Result<Option<Ending>>;

struct Run {
    job: Job,
    /// Who leads.
    detector: Arc<dyn LeaderDetector>,
    http: Http,
    scheduler: Scheduler,
    framework: Option<String>,
    /// Since when there is no master; none while there is one.
    away: Option<Absence>,
    phase: Phase,
    tries: u32,
    /// Exit code to end with once it is killed, and when KILL was sent last.
    killing: Option<(u8, Instant)>,
    /// When a signal asked for the end.
    interrupted: Option<Instant>,
    /// Left before its end was heard of.
    abandoned: bool,
    asked: Instant,
    noted: bool,
    broken_output: mpsc::Receiver<anyhow::Error>,
    output_errors: mpsc::Sender<anyhow::Error>,
}

impl Run {
    fn start(job: Job) -> Run {
        let http = job.http.clone();
        let client = Client::new(http.clone(), job.media);
        let mut options = Options::new(framework(&job), job.seed);
        options.backoff = Duration::from_millis(300);
        options.max_backoff = Duration::from_secs(2);
        let detector = job.master.detector(SESSION);
        let scheduler = Scheduler::start(&*detector, client, options);
        let (output_errors, broken_output) = mpsc::channel(4);
        let now = Instant::now();
        Run {
            job,
            detector,
            http,
            scheduler,
            framework: None,
            away: Some(Absence::since(now)),
            phase: Phase::Wanting(now),
            tries: 0,
            killing: None,
            interrupted: None,
            abandoned: false,
            asked: now,
            noted: false,
            broken_output,
            output_errors,
        }
    }

    fn note(&self, text: &str) {
        if !self.job.quiet {
            eprintln!("tepui: {text}");
        }
    }

    async fn hear(&mut self, news: Option<News>) -> Step {
        match news {
            None => Err(anyhow!("the session with the master ended")),
            Some(News::Refused { call, error }) => self.refused(&call, &error).await,
            Some(News::Notice(notice)) => self.notice(notice).await,
        }
    }

    async fn notice(&mut self, notice: Notice) -> Step {
        match notice {
            Notice::Subscribed { framework_id, again } => {
                let absence = self.away.take();
                self.framework = Some(framework_id.as_str().to_owned());
                if again {
                    let seconds = absence.map_or(0, |absence| absence.seconds());
                    self.note(&format!("connected to the master again after {seconds} s"));
                    self.ask_again().await;
                }
                Ok(None)
            }
            Notice::Disconnected { why } => self.lost(why),
            Notice::Unreachable { why, .. } => self.not_reached(why),
            Notice::Failed { why } => {
                Err(anyhow!("the master at {} ended the framework: {why}", self.job.master))
            }
            Notice::NotSent(call) => self.not_launched(&call).await,
            Notice::Event(event) => self.event(*event).await,
        }
    }

    async fn refused(&mut self, call: &Call, error: &ClientError) -> Step {
        tracing::warn!(
            call = call.r#type().as_str_name(),
            error = said(error),
            "the master did not take a call"
        );
        self.not_launched(call).await
    }

    /// An ACCEPT that didn't get through: the task waits for another offer.
    async fn not_launched(&mut self, call: &Call) -> Step {
        if call.r#type() == call::Type::Accept
            && matches!(&self.phase, Phase::Launched(placed) if !placed.seen)
        {
            self.want_again().await;
        }
        Ok(None)
    }

    async fn want_again(&mut self) {
        self.tries += 1;
        self.job.name_try(self.tries);
        self.phase = Phase::Wanting(Instant::now());
        self.scheduler.call(launch::plain(call::Type::Revive)).await;
    }

    async fn event(&mut self, event: Event) -> Step {
        match event.r#type() {
            event::Type::Offers => {
                self.offers(event.offers.map(|offers| offers.offers).unwrap_or_default()).await;
                Ok(None)
            }
            event::Type::Update => match event.update {
                Some(update) => self.update(update.status).await,
                None => Ok(None),
            },
            _ => Ok(None),
        }
    }

    /// Waits until all output was copied; of a task that is left running what there is.
    async fn drain(&mut self) {
        let Phase::Launched(Placed { output: Some(output), .. }) = &mut self.phase else { return };
        output.ended.send_replace(true);
        let patience = if self.abandoned { PARTING } else { Duration::MAX };
        let copies = output.copies.drain(..).collect::<Vec<_>>();
        let copied = async {
            for copy in copies {
                // It can't fail but by a panic of ours, which was printed.
                let _ = copy.await;
            }
        };
        // What an agent doesn't give by then is given up; where to look for it is said.
        let _ = tokio::time::timeout(patience, copied).await;
        while let Ok(error) = self.broken_output.try_recv() {
            if !print::is_closed_pipe(&error) {
                eprintln!("tepui: {error:#}");
            }
        }
    }

    /// Ends the framework; what to say when the master doesn't take it and the task may live on.
    async fn leave(&mut self) -> Option<String> {
        if self.away.is_some() {
            return None;
        }
        self.scheduler.call(launch::plain(call::Type::Teardown)).await;
        let taken = tokio::time::timeout(PARTING, self.scheduler.flush()).await.is_ok();
        (self.abandoned && !taken)
            .then(|| format!("the master at {} doesn't answer; {}", self.job.master, self.left_running()))
    }
}
