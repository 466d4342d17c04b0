//! One run from the first subscription to the last byte of output.

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
use framework::framework;
use signals::Signals;
use task::{Phase, Placed};

/// How long the first connection to a master is tried.
const CONNECT: Duration = Duration::from_secs(3);
/// How long a session with an ensemble outlives a silence.
const SESSION: Duration = Duration::from_secs(10);
/// How long an ensemble is asked who leads.
const FINDING: Duration = Duration::from_secs(15);

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
    run.leave().await;
    if let Some(message) = ending.message {
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
    connected: bool,
    phase: Phase,
    tries: u32,
    started: Instant,
    /// Exit code to end with once it is killed, and when KILL was sent last.
    killing: Option<(u8, Instant)>,
    asked: Instant,
    noted: bool,
    last_failure: Option<String>,
    broken_output: mpsc::Receiver<anyhow::Error>,
    output_errors: mpsc::Sender<anyhow::Error>,
}

impl Run {
    fn start(job: Job) -> Run {
        let client = Client::new(Http::new(), job.media);
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
            http: Http::new(),
            scheduler,
            framework: None,
            connected: false,
            phase: Phase::Wanting(now),
            tries: 0,
            started: now,
            killing: None,
            asked: now,
            noted: false,
            last_failure: None,
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
                self.connected = true;
                self.framework = Some(framework_id.as_str().to_owned());
                if again {
                    self.note("connected to the master again");
                    self.ask_again().await;
                }
                Ok(None)
            }
            Notice::Disconnected { why } => {
                self.connected = false;
                self.note(&format!("lost the master ({why}); the task is not affected, trying again"));
                Ok(None)
            }
            Notice::Unreachable { why, .. } => {
                self.last_failure = Some(why);
                self.give_up_connecting()
            }
            Notice::Failed { why } => {
                Err(anyhow!("the master at {} ended the framework: {why}", self.job.master))
            }
            Notice::NotSent(call) => self.not_launched(&call).await,
            Notice::Event(event) => self.event(*event).await,
        }
    }

    /// A master that has never answered is probably not there.
    fn give_up_connecting(&self) -> Step {
        match &self.last_failure {
            Some(why) if self.framework.is_none() && self.started.elapsed() >= CONNECT => Err(anyhow!(
                "no master at {}: {why}; start one with `tepui master` or `tepui dev`, or name it with --master",
                self.job.master
            )),
            None if self.framework.is_none()
                && self.started.elapsed() >= FINDING
                && self.detector.leader().borrow().is_none() =>
            {
                Err(anyhow!(
                    "{} names no leading master; look whether a majority of its servers runs, and whether masters with \
                     the same --zk do",
                    self.job.master
                ))
            }
            _ => Ok(None),
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

    /// Waits until all output was copied.
    async fn drain(&mut self) {
        let Phase::Launched(Placed { output: Some(output), .. }) = &mut self.phase else { return };
        output.ended.send_replace(true);
        for copy in output.copies.drain(..) {
            // It can't fail but by a panic of ours, which was printed.
            let _ = copy.await;
        }
        while let Ok(error) = self.broken_output.try_recv() {
            if !print::is_closed_pipe(&error) {
                eprintln!("tepui: {error:#}");
            }
        }
    }

    /// Ends the framework.
    async fn leave(&mut self) {
        if self.connected {
            self.scheduler.call(launch::plain(call::Type::Teardown)).await;
            let _ = tokio::time::timeout(Duration::from_secs(5), self.scheduler.flush()).await;
        }
    }
}
