//! Pauses between tries: twice as long each time, never quite the same, never longer than a bound.

use std::time::Duration;

use ring::rand::{SecureRandom as _, SystemRandom};

use super::error::RegistryError;
use crate::limits::Limits;
use crate::source::Waiting;

/// The pauses of one request or body.
#[derive(Debug)]
pub(super) struct Backoff {
    left: u32,
    next: Duration,
    longest: Duration,
    /// How long the server may still ask for.
    askable: Duration,
}

impl Backoff {
    pub(super) fn new(limits: &Limits) -> Self {
        let (longest, askable) = (limits.longest_pause, limits.longest_asked);
        Self { left: limits.retries, next: limits.first_pause, longest, askable }
    }

    /// At most so many tries.
    pub(super) fn at_most(mut self, tries: u32) -> Self {
        self.left = self.left.min(tries);
        self
    }

    /// How long to wait before the next try; `None` when too little is left for a failure that counts for as many tries
    /// as `cost`, or the server wants longer pauses than are allowed.
    pub(super) fn pause(&mut self, cost: u32, asked_for: Option<Duration>) -> Option<Duration> {
        self.left = self.left.checked_sub(cost)?;
        let own = jitter(self.next.min(self.longest));
        self.next = (self.next * 2).min(self.longest);
        let Some(pause) = asked_for else { return Some(own) };
        self.askable = self.askable.checked_sub(pause)?;
        // Not all of those who were sent away come back at the same moment.
        Some(pause + own / 4)
    }

    /// Waits until it may be tried again; `false` when it has to stay at that error.
    pub(super) async fn rest(&mut self, after: &RegistryError, waiting: &Waiting) -> bool {
        let Some(pause) = after.cost().and_then(|cost| self.pause(cost, None)) else { return false };
        sleep(pause, &after.in_short(), waiting).await;
        true
    }
}

/// Tells of the pause and keeps it.
pub(super) async fn sleep(pause: Duration, why: &str, waiting: &Waiting) {
    tracing::debug!(%why, ?pause, "asking again");
    waiting(why, pause);
    tokio::time::sleep(pause).await;
}

/// Between half of it and all of it.
fn jitter(pause: Duration) -> Duration {
    let mut random = [0; 4];
    // Without randomness the pause is just the whole one.
    let part = SystemRandom::new().fill(&mut random).map_or(u32::MAX, |()| u32::from_le_bytes(random));
    pause.mul_f64(0.5 + f64::from(part) / f64::from(u32::MAX) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn pauses_double_up_to_a_bound_and_differ() {
        let limits = Limits {
            retries: 8,
            first_pause: Duration::from_millis(100),
            longest_pause: seconds(1),
            ..Limits::default()
        };
        let mut backoff = Backoff::new(&limits);
        let pauses: Vec<Duration> = std::iter::from_fn(|| backoff.pause(1, None)).collect();
        assert_eq!(pauses.len(), 8);
        for (n, pause) in pauses.iter().enumerate() {
            let whole = Duration::from_millis((100 << n).min(1000));
            assert!(*pause >= whole / 2 && *pause <= whole, "{n}: {pause:?}");
        }
        let first = || Backoff::new(&limits).pause(1, None).unwrap();
        assert!((0..20).map(|_| first()).collect::<std::collections::BTreeSet<_>>().len() > 1);
        assert_eq!(Backoff::new(&limits).at_most(0).pause(1, None), None);
        // What costs more is tried less often.
        let mut dear = Backoff::new(&limits);
        assert_eq!(std::iter::from_fn(|| dear.pause(3, None)).count(), 2);
        assert_eq!(Backoff::new(&limits).at_most(1).pause(3, None), None);
    }

    #[test]
    fn a_registry_that_is_started_again_is_waited_for() {
        let mut backoff = Backoff::new(&Limits::default());
        let all: Duration = std::iter::from_fn(|| backoff.pause(1, None)).sum();
        assert!(all >= seconds(14) && all <= seconds(30), "{all:?}");
    }

    #[test]
    fn what_a_server_asks_for_is_bounded_in_all() {
        let limits = Limits { retries: 9, longest_asked: seconds(60), ..Limits::default() };
        let asked = |pause| Backoff::new(&limits).pause(1, Some(seconds(pause)));
        assert!(asked(60).unwrap() >= seconds(60), "longer than a pause of our own");
        assert_eq!(asked(61), None, "a pause beyond the bound is no pause but an error");
        let mut again = Backoff::new(&limits);
        assert_eq!(std::iter::from_fn(|| again.pause(1, Some(seconds(25)))).count(), 2);
        assert_eq!(asked(u64::MAX), None);
    }
}
