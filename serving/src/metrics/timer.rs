//! A timer: the last measurements of how long something took, and their spread.

use std::collections::VecDeque;
use std::time::Duration;

use model::Timestamp;

/// Most measurements kept. Mesos: a time series of 1000.
const MOST: usize = 1000;

/// How long something took, in milliseconds, over a window of time.
#[derive(Clone, Debug)]
pub struct Timer {
    window: Duration,
    measured: VecDeque<(Timestamp, f64)>,
}

/// What a timer tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Told {
    pub(super) last: f64,
    count: usize,
    min: f64,
    max: f64,
    percentiles: [f64; 6],
}

const PERCENTILES: [(&str, f64); 6] =
    [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999), ("p9999", 0.9999)];

impl Timer {
    /// A timer that remembers this long.
    pub fn new(window: Duration) -> Timer {
        Timer { window, measured: VecDeque::new() }
    }

    /// Something took this long.
    pub fn add(&mut self, now: Timestamp, took: Duration) {
        self.measured.push_back((now, took.as_secs_f64() * 1000.0));
        let old = |first: &(Timestamp, f64)| now.since(first.0) > self.window;
        while self.measured.len() > MOST || self.measured.front().is_some_and(old) {
            self.measured.pop_front();
        }
    }

    pub(super) fn told(&self) -> Option<Told> {
        let last = self.measured.back()?.1;
        let mut sorted: Vec<f64> = self.measured.iter().map(|(_, took)| *took).collect();
        sorted.sort_by(f64::total_cmp);
        let percentiles = PERCENTILES.map(|(_, part)| percentile(&sorted, part));
        Some(Told { last, count: sorted.len(), min: sorted[0], max: sorted[sorted.len() - 1], percentiles })
    }
}

impl Told {
    pub(super) fn parts(self) -> Vec<(&'static str, f64)> {
        let count = u32::try_from(self.count).map_or(f64::INFINITY, f64::from);
        let mut parts = vec![("count", count), ("min", self.min), ("max", self.max)];
        parts.extend(PERCENTILES.iter().zip(self.percentiles).map(|((name, _), value)| (*name, value)));
        parts
    }
}

/// Between the two measurements that are nearest, as Mesos does it.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn percentile(sorted: &[f64], part: f64) -> f64 {
    let position = part * (sorted.len() - 1) as f64;
    let below = position.floor() as usize;
    let (low, high) = (sorted[below], sorted[(below + 1).min(sorted.len() - 1)]);
    low + (position - position.floor()) * (high - low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Snapshot;

    #[test]
    fn the_window_and_the_spread() {
        let mut timer = Timer::new(Duration::from_secs(3600));
        let mut now = Snapshot::default();
        now.timer("x_ms", &timer);
        assert_eq!(now.json(), b"{}");
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        for n in 1..=5u64 {
            timer.add(at(0), Duration::from_millis(n * 10));
        }
        now.timer("x_ms", &timer);
        let keys: Vec<&str> = now.keys().collect();
        assert_eq!(
            keys.join(" "),
            "x_ms x_ms/count x_ms/max x_ms/min x_ms/p50 x_ms/p90 x_ms/p95 x_ms/p99 x_ms/p999 x_ms/p9999"
        );
        assert_eq!((now.get("x_ms"), now.get("x_ms/count")), (Some(50.0), Some(5.0)));
        assert_eq!((now.get("x_ms/min"), now.get("x_ms/p50")), (Some(10.0), Some(30.0)));
        assert!((now.get("x_ms/p90").unwrap() - 46.0).abs() < 1e-9);
        timer.add(at(3601), Duration::from_millis(7));
        let mut later = Snapshot::default();
        later.timer("x_ms", &timer);
        assert_eq!((later.get("x_ms/count"), later.get("x_ms/max")), (Some(1.0), Some(7.0)));
        (0..3000).for_each(|_| timer.add(at(3601), Duration::ZERO));
        assert_eq!(timer.measured.len(), MOST);
    }
}
