//! Pauses between tries: twice as long each time, never quite the same, never longer than a bound.

use std::time::Duration;

use ring::rand::{SecureRandom as _, SystemRandom};

use crate::limits::Limits;

/// The pauses of one request or body.
#[derive(Debug)]
pub(super) struct Backoff {
    left: u32,
    next: Duration,
    longest: Duration,
}

impl Backoff {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { left: limits.retries, next: limits.first_pause, longest: limits.longest_pause }
    }

    /// As many tries again as at the beginning: something came.
    pub(super) fn renew(&mut self, limits: &Limits) {
        *self = Self::new(limits);
    }

    /// At most so many tries.
    pub(super) fn at_most(mut self, tries: u32) -> Self {
        self.left = self.left.min(tries);
        self
    }

    /// How long to wait before the next try; `None` when it was tried often enough, or the server wants a longer pause
    /// than is allowed.
    pub(super) fn pause(&mut self, asked_for: Option<Duration>) -> Option<Duration> {
        self.left = self.left.checked_sub(1)?;
        let own = jitter(self.next);
        self.next = (self.next * 2).min(self.longest);
        match asked_for {
            Some(pause) if pause > self.longest => None,
            // Not all of those who were sent away come back at the same moment.
            Some(pause) => Some(pause + own / 4),
            None => Some(own),
        }
    }
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

    #[test]
    fn pauses_double_up_to_a_bound_and_differ() {
        let limits = Limits {
            retries: 8,
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(1),
            ..Limits::default()
        };
        let mut backoff = Backoff::new(&limits);
        let pauses: Vec<Duration> = std::iter::from_fn(|| backoff.pause(None)).collect();
        assert_eq!(pauses.len(), 8);
        for (n, pause) in pauses.iter().enumerate() {
            let whole = Duration::from_millis((100 << n).min(1000));
            assert!(*pause >= whole / 2 && *pause <= whole, "{n}: {pause:?}");
        }
        let first = || Backoff::new(&limits).pause(None).unwrap();
        assert!((0..20).map(|_| first()).collect::<std::collections::BTreeSet<_>>().len() > 1);
        let asked = |seconds| Backoff::new(&limits).pause(Some(Duration::from_secs(seconds)));
        assert!(asked(1).unwrap() >= Duration::from_secs(1));
        assert_eq!(asked(2), None, "a pause beyond the bound is no pause but an error");
        assert_eq!(Backoff::new(&limits).at_most(0).pause(None), None);
    }
}
