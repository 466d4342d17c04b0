//! What the keeper does when: a pure state machine, fed with events and the time.
//!
//! ```text
//!            Ran                Kill, TooLong           grace over
//! Starting ------> Running ------------------> Ending -------------> Killing --+ (again
//!    |               |                           |                     | ^-----+  each second)
//!    |               |           Gone            |                     |
//!    +---------------+---------------------------+---------------------+--> Ended
//! ```
use std::time::Duration;

use crate::ending::KillReason;

/// Time since some fixed moment of the keeper's life.
pub(crate) type Moment = Duration;

/// How long to wait before SIGKILL is repeated (a process may have been forked past a kill, or hang
/// in the kernel).
const KILL_AGAIN: Duration = Duration::from_secs(1);

/// How far a container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Let go, but its `execve` was not yet confirmed. A kill that comes here waits for that moment
    /// (before it SIGTERM would be lost), though not beyond the end of its grace period.
    Starting { hard: Option<Moment> },
    /// The command runs.
    Running { until: Option<Moment> },
    /// SIGTERM was sent; SIGKILL comes at `hard`.
    Ending { why: KillReason, hard: Moment },
    /// SIGKILL was sent and is sent again.
    Killing { why: KillReason, again: Moment },
    /// PID 1 is gone.
    Ended { why: Option<KillReason>, forced: bool },
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The command's `execve` succeeded.
    Ran,
    /// A caller wants it dead, with this grace period.
    Kill { grace: Duration },
    /// Time passed.
    Tick,
    /// PID 1 of the container ended.
    Gone,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// SIGTERM to PID 1.
    Terminate,
    /// SIGKILL to all.
    KillAll,
    /// Tell the callers that a kill has begun.
    Announce { why: KillReason, grace: Duration },
    /// Clean up and end.
    Finish,
}

/// The machine with what never changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifecycle {
    state: State,
    /// Longest run.
    max_completion: Option<Duration>,
    /// Grace of the kill that the keeper itself decides on.
    grace: Duration,
}

impl Lifecycle {
    pub(crate) fn new(max_completion: Option<Duration>, grace: Duration) -> Self {
        Self { state: State::Starting { hard: None }, max_completion, grace }
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// When the next [`Event::Tick`] is due.
    pub(crate) fn wake_at(&self) -> Option<Moment> {
        match self.state {
            State::Ended { .. } => None,
            State::Starting { hard } => hard,
            State::Running { until } => until,
            State::Ending { hard, .. } => Some(hard),
            State::Killing { again, .. } => Some(again),
        }
    }

    /// Takes one event.
    pub(crate) fn step(&mut self, now: Moment, event: Event, out: &mut Vec<Effect>) {
        self.state = match (self.state, event) {
            (State::Starting { hard: Some(hard) }, Event::Ran) => {
                end(now, KillReason::Requested, hard.saturating_sub(now), out)
            }
            (State::Starting { hard: None }, Event::Ran) => {
                State::Running { until: self.max_completion.map(|limit| now.saturating_add(limit)) }
            }
            (State::Starting { hard }, Event::Kill { grace }) => {
                let new = now.saturating_add(grace);
                State::Starting { hard: Some(hard.map_or(new, |earlier| earlier.min(new))) }
            }
            (State::Starting { hard: Some(hard) }, Event::Tick) if now >= hard => {
                end(now, KillReason::Requested, Duration::ZERO, out)
            }
            (State::Running { .. }, Event::Kill { grace }) => end(now, KillReason::Requested, grace, out),
            (State::Running { until: Some(until) }, Event::Tick) if now >= until => {
                end(now, KillReason::CompletionTime, self.grace, out)
            }
            (State::Ending { why, hard }, Event::Kill { grace }) => hasten(now, why, hard, grace, out),
            (State::Ending { why, hard }, Event::Tick) if now >= hard => kill(now, why, out),
            (State::Killing { why, again }, Event::Tick) if now >= again => kill(now, why, out),
            (State::Starting { hard }, Event::Gone) => {
                finish(hard.map(|_| KillReason::Requested), false, out)
            }
            (State::Running { .. }, Event::Gone) => finish(None, false, out),
            (State::Ending { why, .. }, Event::Gone) => finish(Some(why), false, out),
            (State::Killing { why, .. }, Event::Gone) => finish(Some(why), true, out),
            (state @ (State::Starting { .. } | State::Running { .. }), Event::Tick) => state,
            (state @ (State::Ending { .. } | State::Killing { .. }), Event::Tick) => state,
            (state @ (State::Running { .. } | State::Ending { .. } | State::Killing { .. }), Event::Ran) => {
                state
            }
            (state @ State::Killing { .. }, Event::Kill { .. }) => state,
            (state @ State::Ended { .. }, _) => state,
        };
    }
}

fn end(now: Moment, why: KillReason, grace: Duration, out: &mut Vec<Effect>) -> State {
    out.push(Effect::Announce { why, grace });
    if grace.is_zero() {
        return kill(now, why, out);
    }
    out.push(Effect::Terminate);
    State::Ending { why, hard: now.saturating_add(grace) }
}

/// Mesos: a second kill may shorten the grace period, never lengthen it.
fn hasten(now: Moment, why: KillReason, hard: Moment, grace: Duration, out: &mut Vec<Effect>) -> State {
    if grace.is_zero() {
        return kill(now, why, out);
    }
    State::Ending { why, hard: hard.min(now.saturating_add(grace)) }
}

fn kill(now: Moment, why: KillReason, out: &mut Vec<Effect>) -> State {
    out.push(Effect::KillAll);
    State::Killing { why, again: now.saturating_add(KILL_AGAIN) }
}

fn finish(why: Option<KillReason>, forced: bool, out: &mut Vec<Effect>) -> State {
    out.push(Effect::Finish);
    State::Ended { why, forced }
}

#[cfg(test)]
mod tests;
