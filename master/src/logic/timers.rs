//! Deadlines as data: what is due when, in one ordered queue inside the state.

use std::collections::BTreeMap;

use model::{AgentId, FrameworkId, OfferId, Timestamp};

use super::event::StreamId;

/// Timers that fire in one step, at most; what else is due fires in the next. After a while in which nothing ran, pings
/// of all agents are due at once.
pub const DUE: usize = 64;

/// What is to happen at some time. When it fires, whoever it concerns checks whether it still means anything; only
/// those that may be far away are taken back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Timer {
    /// The next heartbeat of a stream.
    Heartbeat(StreamId),
    /// A disconnected framework's time is up.
    Failover(FrameworkId),
    /// The next ping of an agent, unless it was registered anew since (the generation tells).
    Ping(AgentId, u64),
    /// An agent that lost its link at this time stayed away too long.
    Reregister(AgentId, Timestamp),
    /// Agents of the registry that didn't come back since this master leads are unreachable.
    RecoveryOver,
    /// An offer was not used for `offer_timeout`.
    OfferExpires(OfferId),
    /// More of them, after this one.
    Missing(AgentId),
    /// Old entries of the registry go.
    Prune,
    /// The next agent may be marked unreachable.
    Removal,
    /// The next heartbeat of an operator's stream.
    OperatorHeartbeat(StreamId),
}

/// Names a timer that was set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Key(Timestamp, u64);

/// The queue of timers, in the order they fall due; equal times in the order they were set.
#[derive(Clone, Debug, Default)]
pub struct Timers {
    queue: BTreeMap<Key, Timer>,
    set: u64,
}

impl Timers {
    /// Sets a timer; answers what takes it back.
    pub fn set(&mut self, due: Timestamp, timer: Timer) -> Key {
        self.set += 1;
        let key = Key(due, self.set);
        self.queue.insert(key, timer);
        key
    }

    /// Takes a timer back.
    pub fn cancel(&mut self, key: Key) {
        self.queue.remove(&key);
    }

    /// When the next timer is due.
    pub fn next(&self) -> Option<Timestamp> {
        self.queue.keys().next().map(|key| key.0)
    }

    /// Takes out the first timer that is due.
    pub fn pop_due(&mut self, now: Timestamp) -> Option<Timer> {
        let first = self.queue.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_fire_in_order() {
        let mut timers = Timers::default();
        let at = Timestamp::from_micros;
        timers.set(at(5), Timer::Prune);
        timers.set(at(3), Timer::RecoveryOver);
        timers.set(at(3), Timer::Heartbeat(StreamId(1)));
        assert_eq!(timers.next(), Some(at(3)));
        let taken_back = timers.set(at(3), Timer::Failover(FrameworkId::from("f")));
        timers.cancel(taken_back);
        assert_eq!(timers.pop_due(at(2)), None);
        assert_eq!(timers.pop_due(at(4)), Some(Timer::RecoveryOver));
        assert_eq!(timers.pop_due(at(4)), Some(Timer::Heartbeat(StreamId(1))));
        assert_eq!(timers.pop_due(at(4)), None);
        assert_eq!(timers.pop_due(at(5)), Some(Timer::Prune));
        assert_eq!(timers.next(), None);
    }
}
