//! How the master itself does: how long its loop's turns take, and how long the registry and the allocator.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use model::Timestamp;
use serving::metrics::Timer;

/// Mesos' windows: an hour for the allocator, a day for the registry.
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// The longest turn is told of this time and the one before.
const MINUTE: Duration = Duration::from_secs(60);

/// See the module. Written by the loop and the registrar, read by whoever asks for metrics.
#[derive(Debug)]
pub struct Vitals {
    longest: AtomicU64,
    turns: AtomicU64,
    registry_bytes: AtomicU64,
    told: Mutex<Told>,
}

/// What is measured over windows of time.
#[derive(Clone, Debug)]
pub struct Told {
    /// How long rounds of the allocator took.
    pub allocation: Timer,
    /// How long they were waited for.
    pub latency: Timer,
    /// How long writes of the registry took.
    pub store: Timer,
    /// How long it took to load it.
    pub fetch: Timer,
    minute: Instant,
    longest: Turn,
    longest_before: Turn,
    since: Instant,
}

/// How long a turn of the loop took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turn {
    /// On the clock.
    pub took: Duration,
    /// Of it, on a processor. The rest went to other threads, or was waited for memory.
    pub ran: Duration,
    /// When it ended. None of a turn that there wasn't.
    pub ended: Option<SystemTime>,
}

impl Default for Vitals {
    fn default() -> Vitals {
        let now = Instant::now();
        let told = Told {
            allocation: Timer::new(HOUR),
            latency: Timer::new(HOUR),
            store: Timer::new(DAY),
            fetch: Timer::new(DAY),
            minute: now,
            longest: Turn::default(),
            longest_before: Turn::default(),
            since: now,
        };
        Vitals {
            longest: AtomicU64::new(0),
            turns: AtomicU64::new(0),
            registry_bytes: AtomicU64::new(u64::MAX),
            told: Mutex::new(told),
        }
    }
}

impl Told {
    fn roll(&mut self, now: Instant) {
        let minutes = now.saturating_duration_since(self.minute).as_secs() / MINUTE.as_secs();
        if minutes > 0 {
            let last = minutes == 1;
            self.longest_before = if last { self.longest } else { Turn::default() };
            self.since = if last { self.minute } else { now };
            self.longest = Turn::default();
            self.minute = now;
        }
    }

    /// The longest turn of this minute and the one before.
    pub fn longest_lately(&self) -> Turn {
        self.longest.max(self.longest_before)
    }

    /// How far that looks back.
    pub fn longest_window(&self) -> Duration {
        self.since.elapsed()
    }
}

impl Vitals {
    /// Timers are only ever appended to: a panic elsewhere leaves them whole.
    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The longest turn of the loop so far.
    pub fn longest_turn(&self) -> Duration {
        Duration::from_micros(self.longest.load(Ordering::Relaxed))
    }

    /// How many turns there were.
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// Size of the registry's file, if it has one.
    pub fn registry_bytes(&self) -> Option<u64> {
        Some(self.registry_bytes.load(Ordering::Relaxed)).filter(|bytes| *bytes < u64::MAX)
    }

    /// What was measured, as it is now.
    pub fn told(&self) -> Told {
        let mut told = self.lock();
        told.roll(Instant::now());
        told.clone()
    }

    pub(super) fn turn(&self, turn: Turn) {
        self.longest.fetch_max(u64::try_from(turn.took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.turns.fetch_add(1, Ordering::Relaxed);
        let mut told = self.lock();
        told.roll(Instant::now());
        told.longest = told.longest.max(turn);
    }

    pub(super) fn allocated(&self, now: Timestamp, took: Duration, latency: Duration) {
        let mut told = self.lock();
        told.allocation.add(now, took);
        told.latency.add(now, latency);
    }

    pub(super) fn stored(&self, now: Timestamp, took: Duration, size: Option<u64>) {
        self.lock().store.add(now, took);
        self.registry_bytes.store(size.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn fetched(&self, now: Timestamp, took: Duration, size: Option<u64>) {
        self.lock().fetch.add(now, took);
        self.registry_bytes.store(size.unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_turn_is_forgotten_after_a_minute_or_two_and_says_how_far_it_looks_back() {
        let vitals = Vitals::default();
        let mut told = vitals.told();
        let began = told.minute;
        told.longest.took = Duration::from_millis(70);
        let mut at = |seconds: u64| {
            let now = began + Duration::from_secs(seconds);
            told.roll(now);
            (told.longest_lately().took.as_millis(), now.duration_since(told.since).as_secs())
        };
        assert_eq!(at(59), (70, 59));
        assert_eq!(at(61), (70, 61));
        assert_eq!(at(120), (70, 120));
        assert_eq!(at(122), (0, 61), "the storm of the first minute is outside of it");
        assert_eq!(at(500), (0, 0), "nothing happened in between");
    }
}
