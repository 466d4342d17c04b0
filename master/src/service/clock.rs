//! The clock: wall time that never runs backwards, because it is read once and then follows the monotonic clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use model::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// Wall time at the start, and the monotonic clock since.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall: Timestamp,
    start: Instant,
}

impl Clock {
    /// Reads the wall clock, once.
    pub fn start() -> Clock {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { wall: Timestamp::ZERO + wall, start: Instant::now() }
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        self.wall + self.start.elapsed()
    }

    /// When this clock was started.
    pub fn started(&self) -> Timestamp {
        self.wall
    }

    /// How long it is until `when`; zero when that has passed.
    pub fn until(&self, when: Timestamp) -> Duration {
        when.since(self.now())
    }
}

/// Processor time that the calling thread has had.
pub fn of_thread() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}
