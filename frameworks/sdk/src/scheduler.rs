//! Runs a [`Session`] over a [`Client`]: a task that owns the session, and a handle to talk to it.

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::pin::Pin;
use std::time::Instant;

use coordination::{Leader, LeaderAddress, LeaderDetector};
use model::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use wire::v1::TaskStatus;
use wire::v1::scheduler::Call;

use crate::client::{Client, ClientError, Subscription};
use crate::launch;
use crate::session::{Effect, Event, Notice, Options, Session};

/// News that may wait for a slow scheduler; beyond it the stream is not read on, so the master notices.
const BACKLOG: usize = 256;
/// Calls that may wait to be sent; beyond it [`Scheduler::call`] waits.
const CALLS: usize = 1024;

/// What a scheduler hears from its session.
#[derive(Debug)]
pub enum News {
    /// From the session.
    Notice(Notice),
    /// The master refused a call, or it didn't reach it.
    Refused {
        /// What was asked.
        call: Box<Call>,
        /// Why not.
        error: ClientError,
    },
}

enum Command {
    Call(Box<Call>),
    Flush(oneshot::Sender<()>),
}

/// A scheduler's handle on its session, which goes on in the background until this is dropped.
#[derive(Debug)]
pub struct Scheduler {
    commands: mpsc::Sender<Command>,
    news: mpsc::Receiver<News>,
    task: AbortHandle,
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Scheduler {
    /// Begins a session with whoever `detector` says leads. Must be called within a tokio runtime.
    pub fn start(detector: &dyn LeaderDetector, client: Client, options: Options) -> Scheduler {
        let (commands, commands_in) = mpsc::channel(CALLS);
        let (news_out, news) = mpsc::channel(BACKLOG);
        let (events_out, events) = mpsc::channel(BACKLOG);
        let driver = Driver {
            session: Session::new(options),
            client,
            events: events_out,
            stream: None,
            queue: VecDeque::new(),
            in_flight: None,
            late: JoinSet::new(),
            backlog: VecDeque::new(),
            alarm: None,
            clock: Clock::new(),
            over: false,
        };
        let inputs = Inputs { leader: detector.leader(), events, commands: commands_in };
        let task = tokio::spawn(driver.run(inputs, news_out)).abort_handle();
        Scheduler { commands, news, task }
    }

    /// The next news; none when the session has failed and all was heard.
    pub async fn next(&mut self) -> Option<News> {
        self.news.recv().await
    }

    /// Says something to the master. Whether it had an effect shows in what follows, as with Mesos.
    pub async fn call(&self, call: Call) {
        // The driver is gone only after Failed, which the caller hears.
        let _ = self.commands.send(Command::Call(Box::new(call))).await;
    }

    /// Acknowledges a status that has been dealt with.
    pub async fn acknowledge(&self, status: &TaskStatus) {
        if let Some(call) = launch::acknowledge(status) {
            self.call(call).await;
        }
    }

    /// Waits until every call made so far was answered or given up.
    pub async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.commands.send(Command::Flush(done)).await.is_ok() {
            let _ = wait.await;
        }
    }
}

/// The wall clock at the start, going on monotonically.
#[derive(Debug)]
struct Clock {
    start: Timestamp,
    since: Instant,
}

impl Clock {
    fn new() -> Clock {
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Clock { start: Timestamp::ZERO + wall, since: Instant::now() }
    }

    fn now(&self) -> Timestamp {
        self.start + self.since.elapsed()
    }

    fn alarm(&self, at: Timestamp) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.since + at.since(self.start))
    }
}

struct Inputs {
    leader: watch::Receiver<Option<Leader>>,
    events: mpsc::Receiver<Event>,
    commands: mpsc::Receiver<Command>,
}

enum Outgoing {
    Call { leader: LeaderAddress, stream_id: String, call: Box<Call> },
    Flush(oneshot::Sender<()>),
}

type InFlight = Pin<Box<dyn Future<Output = Option<News>> + Send>>;

/// Owns the session; calls go out one after another, in order.
struct Driver {
    session: Session,
    client: Client,
    events: mpsc::Sender<Event>,
    stream: Option<(u64, AbortHandle)>,
    queue: VecDeque<Outgoing>,
    in_flight: Option<InFlight>,
    /// Calls to masters whose stream is gone, which hold nothing up: such a master may not answer for long.
    late: JoinSet<Option<News>>,
    backlog: VecDeque<News>,
    alarm: Option<tokio::time::Instant>,
    clock: Clock,
    over: bool,
}

fn address(leader: &Option<Leader>) -> Option<LeaderAddress> {
    leader.as_ref().map(|leader| leader.address.clone())
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some((_, reader)) = self.stream.take() {
            reader.abort();
        }
    }
}

impl Driver {
    async fn run(mut self, mut inputs: Inputs, news: mpsc::Sender<News>) {
        let leader = address(&inputs.leader.borrow_and_update());
        self.step(Event::Leader(leader));
        let mut detecting = true;
        while !(self.over && self.backlog.is_empty()) {
            self.send_next();
            let alarm = self.alarm;
            tokio::select! {
                permit = news.reserve(), if !self.backlog.is_empty() => {
                    let (Ok(permit), Some(next)) = (permit, self.backlog.pop_front()) else { return };
                    permit.send(next);
                }
                changed = inputs.leader.changed(), if detecting => {
                    detecting = changed.is_ok();
                    let leader = address(&inputs.leader.borrow_and_update());
                    self.step(Event::Leader(leader));
                }
                Some(event) = inputs.events.recv(), if self.backlog.len() < BACKLOG => self.step(event),
                command = inputs.commands.recv(), if self.queue.len() < CALLS => {
                    let Some(command) = command else { return };
                    self.command(command);
                }
                failed = in_flight(&mut self.in_flight) => {
                    self.in_flight = None;
                    self.backlog.extend(failed);
                }
                Some(Ok(failed)) = self.late.join_next() => self.backlog.extend(failed),
                () = ring(alarm) => {
                    self.alarm = None;
                    self.step(Event::Timer);
                }
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Call(call) => self.step(Event::Call(call)),
            Command::Flush(done) => self.queue.push_back(Outgoing::Flush(done)),
        }
    }

    fn step(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.session.step(self.clock.now(), event, &mut effects);
        for effect in effects {
            self.execute(effect);
        }
    }

    fn execute(&mut self, effect: Effect) {
        match effect {
            Effect::Connect { connection, leader, subscribe } => {
                let reader = read(self.client.clone(), self.events.clone(), connection, leader, subscribe);
                self.replace_stream(Some((connection, tokio::spawn(reader).abort_handle())));
            }
            Effect::Close { connection } => {
                if self.stream.as_ref().is_some_and(|(current, _)| *current == connection) {
                    self.replace_stream(None);
                }
            }
            Effect::Send { leader, stream_id, call } => {
                self.queue.push_back(Outgoing::Call { leader, stream_id, call });
            }
            Effect::Notify(notice) => self.notify(notice),
            Effect::Wake(at) => self.alarm = Some(self.clock.alarm(at)),
        }
    }

    fn replace_stream(&mut self, stream: Option<(u64, AbortHandle)>) {
        if let Some((_, old)) = std::mem::replace(&mut self.stream, stream) {
            old.abort();
        }
    }

    fn notify(&mut self, notice: Notice) {
        let ended = matches!(notice, Notice::Disconnected { .. } | Notice::Failed { .. });
        self.over |= matches!(notice, Notice::Failed { .. });
        self.backlog.push_back(News::Notice(notice));
        if ended {
            if let Some(call) = self.in_flight.take() {
                self.late.spawn(call);
            }
            // Calls of a stream that is gone would only be refused.
            for outgoing in std::mem::take(&mut self.queue) {
                match outgoing {
                    Outgoing::Call { call, .. } => {
                        self.backlog.push_back(News::Notice(Notice::NotSent(call)));
                    }
                    Outgoing::Flush(done) => {
                        let _ = done.send(());
                    }
                }
            }
        }
    }

    fn send_next(&mut self) {
        while self.in_flight.is_none() {
            match self.queue.pop_front() {
                None => return,
                Some(Outgoing::Flush(done)) => {
                    let _ = done.send(());
                }
                Some(Outgoing::Call { leader, stream_id, call }) => {
                    let client = self.client.clone();
                    self.in_flight = Some(Box::pin(async move {
                        let error = client.call(&leader, &stream_id, &call).await.err()?;
                        Some(News::Refused { call, error })
                    }));
                }
            }
        }
    }
}

async fn in_flight(call: &mut Option<InFlight>) -> Option<News> {
    match call {
        Some(call) => call.await,
        None => pending().await,
    }
}

async fn ring(alarm: Option<tokio::time::Instant>) {
    match alarm {
        Some(at) => tokio::time::sleep_until(at).await,
        None => pending().await,
    }
}

/// Subscribes and passes on what comes, until the stream ends.
async fn read(
    client: Client,
    events: mpsc::Sender<Event>,
    connection: u64,
    leader: LeaderAddress,
    subscribe: Box<Call>,
) {
    let (why, for_good) = match client.subscribe(&leader, &subscribe).await {
        Ok(stream) => (pass_on(stream, &events, connection).await, false),
        Err(error) => (said(&error), error.is_final()),
    };
    // A driver that is gone has no use for it.
    let _ = events.send(Event::Closed { connection, why, for_good }).await;
}

async fn pass_on(mut stream: Subscription, events: &mpsc::Sender<Event>, connection: u64) -> String {
    let leader = stream.leader().clone();
    let opened = Event::Opened { connection, leader, stream_id: stream.stream_id().to_owned() };
    if events.send(opened).await.is_err() {
        return String::new();
    }
    loop {
        let message = match stream.next().await {
            Ok(Some(message)) => Box::new(message),
            Ok(None) => return "the master ended the stream".to_owned(),
            Err(error) => {
                tracing::debug!(error = said(&error), "the event stream broke");
                return error.to_string();
            }
        };
        if events.send(Event::Received { connection, message }).await.is_err() {
            return String::new();
        }
    }
}

/// An error with its sources, in one line.
pub fn said(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}
