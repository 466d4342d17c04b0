//! Decides what a scheduler's session with the leading master does next. Pure: events in, effects out.
//!
//! ```text
//!            a leader is known              SUBSCRIBED
//!  Waiting ─────────────────────▶ Connecting ──────────▶ Subscribed
//!     ▲ ▲                             │                      │
//!     │ └── after the back-off ───────┘ refused for now,     │ stream ended, silence,
//!     │                                 no connection        │ another leader
//!     └──────────────────────────────────────────────────────┘
//!  Failed: an ERROR event, or a refusal that another try can't change.
//! ```
//!
//! Each connection has a number, so that news of an older one can't disturb a newer one.

use std::time::Duration;

use coordination::LeaderAddress;
use model::random::Random;
use model::{FrameworkId, Timestamp};
use wire::v1::FrameworkInfo;
use wire::v1::scheduler::{Call, Event as Message, call, event};

/// Mesos: a scheduler reconnects after about five missed heartbeats.
const MISSED_HEARTBEATS: u32 = 5;
/// Mesos announces 15 seconds; this is for a master that announces nothing.
const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(15);
/// A connection that hasn't brought SUBSCRIBED after this long is given up.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(30);

/// What a session is to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// The framework. With an id it re-subscribes from the start.
    pub info: FrameworkInfo,
    /// Roles that want no offers at first.
    pub suppressed_roles: Vec<String>,
    /// Longest first pause after a failed connection; doubles with each further one.
    pub backoff: Duration,
    /// The pause never grows beyond this.
    pub max_backoff: Duration,
    /// Seed of the pauses' randomness.
    pub seed: u64,
}

impl Options {
    /// Pauses from half a second to 15 seconds.
    pub fn new(info: FrameworkInfo, seed: u64) -> Options {
        Options {
            info,
            suppressed_roles: Vec::new(),
            backoff: Duration::from_millis(500),
            max_backoff: Duration::from_secs(15),
            seed,
        }
    }
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// The detector names a leader, or none.
    Leader(Option<LeaderAddress>),
    /// SUBSCRIBE was answered 200 on this connection.
    Opened {
        /// Which connection.
        connection: u64,
        /// Where it ended up after redirects.
        leader: LeaderAddress,
        /// `Mesos-Stream-Id` of the answer.
        stream_id: String,
    },
    /// The stream brought a message.
    Received {
        /// Which connection.
        connection: u64,
        /// What it brought.
        message: Box<Message>,
    },
    /// There is no connection, or no more.
    Closed {
        /// Which connection.
        connection: u64,
        /// Why, for people.
        why: String,
        /// Another try can't change it (401, 403, 400).
        for_good: bool,
    },
    /// The time asked for by [`Effect::Wake`] has come.
    Timer,
    /// The scheduler wants to say something.
    Call(Box<Call>),
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Send `subscribe` to `leader` over a connection of its own.
    Connect {
        /// Number to report the outcome under.
        connection: u64,
        /// Who is asked.
        leader: LeaderAddress,
        /// The SUBSCRIBE call.
        subscribe: Box<Call>,
    },
    /// End this connection.
    Close {
        /// Which.
        connection: u64,
    },
    /// Send a call.
    Send {
        /// To whom.
        leader: LeaderAddress,
        /// Value of its `Mesos-Stream-Id` header.
        stream_id: String,
        /// The call, with the framework's id in it.
        call: Box<Call>,
    },
    /// Tell the scheduler.
    Notify(Notice),
    /// Send [`Event::Timer`] at that time; replaces an earlier wish.
    Wake(Timestamp),
}

/// What the scheduler hears.
#[derive(Debug, PartialEq)]
pub enum Notice {
    /// The master knows the framework under this id; offers of before are void.
    Subscribed {
        /// Its id.
        framework_id: FrameworkId,
        /// The id was known before: statuses may have been missed, so reconcile.
        again: bool,
    },
    /// The session is interrupted and will be taken up again by itself.
    Disconnected {
        /// Why, for people.
        why: String,
    },
    /// A connection could not be made; another try follows.
    Unreachable {
        /// Who was asked.
        leader: Option<LeaderAddress>,
        /// Why, for people.
        why: String,
    },
    /// Anything the master says besides SUBSCRIBED, HEARTBEAT and ERROR.
    Event(Box<Message>),
    /// A call was not sent because there is no session; what it was about is to be decided anew.
    NotSent(Box<Call>),
    /// The session is over.
    Failed {
        /// The master's message.
        why: String,
    },
}

#[derive(Debug)]
enum Phase {
    Waiting { until: Option<Timestamp> },
    Connecting { connection: u64, leader: LeaderAddress, since: Timestamp, stream: Option<String> },
    Subscribed { connection: u64, leader: LeaderAddress, stream_id: String, heard: Timestamp },
    Failed,
}

/// One framework's session with whoever leads.
#[derive(Debug)]
pub struct Session {
    options: Options,
    leader: Option<LeaderAddress>,
    phase: Phase,
    connections: u64,
    /// Failures in a row.
    failures: u32,
    heartbeat: Duration,
    random: Random,
}

impl Session {
    /// A session that has not begun; it does when [`Event::Leader`] names somebody.
    pub fn new(options: Options) -> Session {
        let random = Random::new(options.seed);
        Session {
            options,
            leader: None,
            phase: Phase::Waiting { until: None },
            connections: 0,
            failures: 0,
            heartbeat: DEFAULT_HEARTBEAT,
            random,
        }
    }

    /// The id given by the options or by the master.
    pub fn framework_id(&self) -> Option<FrameworkId> {
        self.options.info.id.as_ref().map(FrameworkId::from)
    }

    /// Everything a session ever does passes here.
    pub fn step(&mut self, now: Timestamp, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::Leader(leader) => self.led_by(now, leader, out),
            Event::Opened { connection, leader, stream_id } => self.opened(connection, leader, stream_id),
            Event::Received { connection, message } if self.current() == Some(connection) => {
                self.received(now, *message, out);
            }
            Event::Closed { connection, why, for_good } if self.current() == Some(connection) => {
                if for_good {
                    self.fail(why, out);
                } else {
                    self.lost(now, why, out);
                }
            }
            Event::Received { .. } | Event::Closed { .. } => {}
            Event::Timer => self.timer(now, out),
            Event::Call(call) => self.call(call, out),
        }
    }

    /// The connection in use.
    fn current(&self) -> Option<u64> {
        match self.phase {
            Phase::Connecting { connection, .. } | Phase::Subscribed { connection, .. } => Some(connection),
            Phase::Waiting { .. } | Phase::Failed => None,
        }
    }

    fn led_by(&mut self, now: Timestamp, leader: Option<LeaderAddress>, out: &mut Vec<Effect>) {
        if self.leader == leader || matches!(self.phase, Phase::Failed) {
            self.leader = leader;
            return;
        }
        self.leader = leader;
        if let Some(connection) = self.current() {
            out.push(Effect::Close { connection });
            self.note_end("another master leads".to_owned(), out);
        }
        self.failures = 0;
        self.connect(now, out);
    }

    fn connect(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let Some(leader) = self.leader.clone() else {
            self.phase = Phase::Waiting { until: None };
            return;
        };
        self.connections += 1;
        let connection = self.connections;
        out.push(Effect::Connect {
            connection,
            leader: leader.clone(),
            subscribe: Box::new(self.subscribe()),
        });
        out.push(Effect::Wake(now + SUBSCRIBE_TIMEOUT));
        self.phase = Phase::Connecting { connection, leader, since: now, stream: None };
    }

    fn subscribe(&self) -> Call {
        Call {
            framework_id: self.options.info.id.clone(),
            r#type: Some(call::Type::Subscribe.into()),
            subscribe: Some(call::Subscribe {
                framework_info: self.options.info.clone(),
                suppressed_roles: self.options.suppressed_roles.clone(),
                ..call::Subscribe::default()
            }),
            ..Call::default()
        }
    }

    fn opened(&mut self, of: u64, at: LeaderAddress, stream_id: String) {
        if let Phase::Connecting { connection, leader, stream, .. } = &mut self.phase
            && *connection == of
        {
            *leader = at;
            *stream = Some(stream_id);
        }
    }

    fn received(&mut self, now: Timestamp, message: Message, out: &mut Vec<Effect>) {
        if let Phase::Subscribed { heard, .. } = &mut self.phase {
            *heard = now;
            out.push(Effect::Wake(now + self.heartbeat * MISSED_HEARTBEATS));
        }
        match message.r#type() {
            event::Type::Subscribed => {
                if let Some(subscribed) = message.subscribed {
                    self.subscribed(now, subscribed, out);
                }
            }
            event::Type::Heartbeat | event::Type::Unknown => {}
            event::Type::Error => {
                let why = message.error.map_or_else(|| "no reason given".to_owned(), |error| error.message);
                self.fail(why, out);
            }
            _ => out.push(Effect::Notify(Notice::Event(Box::new(message)))),
        }
    }

    fn subscribed(&mut self, now: Timestamp, subscribed: event::Subscribed, out: &mut Vec<Effect>) {
        let Phase::Connecting { connection, leader, stream: Some(stream_id), .. } = &self.phase else {
            return;
        };
        let (connection, leader, stream_id) = (*connection, leader.clone(), stream_id.clone());
        let again = self.options.info.id.is_some();
        let framework_id = FrameworkId::from(&subscribed.framework_id);
        self.options.info.id = Some(subscribed.framework_id);
        self.failures = 0;
        self.heartbeat = subscribed
            .heartbeat_interval_seconds
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .filter(|interval| !interval.is_zero())
            .map_or(DEFAULT_HEARTBEAT, |interval| interval.min(Duration::from_secs(3600)));
        self.phase = Phase::Subscribed { connection, leader, stream_id, heard: now };
        out.push(Effect::Wake(now + self.heartbeat * MISSED_HEARTBEATS));
        out.push(Effect::Notify(Notice::Subscribed { framework_id, again }));
    }

    /// Says that the connection is gone, in the words that fit how far it had come.
    fn note_end(&mut self, why: String, out: &mut Vec<Effect>) {
        let notice = match &self.phase {
            Phase::Subscribed { .. } => Notice::Disconnected { why },
            Phase::Connecting { leader, .. } => Notice::Unreachable { leader: Some(leader.clone()), why },
            Phase::Waiting { .. } | Phase::Failed => return,
        };
        out.push(Effect::Notify(notice));
    }

    fn lost(&mut self, now: Timestamp, why: String, out: &mut Vec<Effect>) {
        self.note_end(why, out);
        let until = now + self.pause();
        self.failures = self.failures.saturating_add(1);
        self.phase = Phase::Waiting { until: Some(until) };
        out.push(Effect::Wake(until));
    }

    /// Between half and all of the back-off, so that many schedulers don't return in step.
    fn pause(&mut self) -> Duration {
        let full =
            self.options.backoff.saturating_mul(1 << self.failures.min(16)).min(self.options.max_backoff);
        full.mul_f64(0.5 + self.random.unit() / 2.0)
    }

    fn fail(&mut self, why: String, out: &mut Vec<Effect>) {
        if let Some(connection) = self.current() {
            out.push(Effect::Close { connection });
        }
        self.phase = Phase::Failed;
        out.push(Effect::Notify(Notice::Failed { why }));
    }

    fn timer(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let (connection, deadline, why) = match &self.phase {
            Phase::Failed | Phase::Waiting { until: None } => return,
            Phase::Waiting { until: Some(until) } => {
                if *until <= now {
                    self.connect(now, out);
                } else {
                    out.push(Effect::Wake(*until));
                }
                return;
            }
            Phase::Connecting { connection, since, .. } => {
                (*connection, *since + SUBSCRIBE_TIMEOUT, "no answer to SUBSCRIBE within 30 seconds")
            }
            Phase::Subscribed { connection, heard, .. } => {
                (*connection, *heard + self.heartbeat * MISSED_HEARTBEATS, "no heartbeat from the master")
            }
        };
        if deadline <= now {
            out.push(Effect::Close { connection });
            self.lost(now, why.to_owned(), out);
        } else {
            out.push(Effect::Wake(deadline));
        }
    }

    fn call(&mut self, mut call: Box<Call>, out: &mut Vec<Effect>) {
        let Phase::Subscribed { leader, stream_id, .. } = &self.phase else {
            out.push(Effect::Notify(Notice::NotSent(call)));
            return;
        };
        call.framework_id.clone_from(&self.options.info.id);
        out.push(Effect::Send { leader: leader.clone(), stream_id: stream_id.clone(), call });
    }
}

#[cfg(test)]
#[path = "session/tests.rs"]
mod tests;
