//! Waiting for conditions, never for time alone.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// How long anything may take before a test fails; long, because machines of tests are slow and shared.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until there is a value, at most [`PATIENCE`].
#[track_caller]
pub fn eventually<T>(what: impl Display, condition: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, condition)
}

/// Waits until there is a value.
#[track_caller]
pub fn within<T>(limit: Duration, what: impl Display, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        pause();
    }
}

/// Checks for a while that something stays as it is.
#[track_caller]
pub fn stays(span: Duration, what: impl Display, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while start.elapsed() < span {
        assert!(condition(), "did not stay so for {span:?}: {what}");
        pause();
    }
}

/// The moment between two looks.
pub(crate) fn pause() {
    std::thread::park_timeout(Duration::from_millis(10));
}
