//! How much memory an input costs. The engine's allocator counts; without it everything costs nothing.

use std::sync::atomic::{AtomicUsize, Ordering};

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// Called for each block that is allocated, with its size in bytes.
pub fn taken(size: usize) {
    let live = LIVE.fetch_add(size, Ordering::Relaxed) + size;
    PEAK.fetch_max(live, Ordering::Relaxed);
}

/// Called for each block that is freed, with its size in bytes.
pub fn given_back(size: usize) {
    LIVE.fetch_sub(size, Ordering::Relaxed);
}

/// Runs `work`.
///
/// # Panics
/// When more than `limit` bytes were live at once on top of those before.
pub fn within<R>(limit: usize, work: impl FnOnce() -> R) -> R {
    let before = LIVE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let result = work();
    let cost = PEAK.load(Ordering::Relaxed).saturating_sub(before);
    assert!(cost <= limit, "the input cost {cost} bytes of memory, {limit} are allowed");
    result
}
