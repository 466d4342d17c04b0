//! Large answers on their way: all of them share a budget of memory, and a reader that takes nothing of its answer for
//! some seconds is cut; sooner when others wait for the room that it takes.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Answers up to this size go as they are: the kernel and the connection hold that much for a reader anyway.
pub const SMALL: usize = 256 << 10;
/// Bytes that are handed to the connection at once.
const PART: usize = 64 << 10;

/// How much may be on its way, and how long readers are waited for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Kilobytes of all answers; one that is larger goes alone.
    pub kilobytes: u32,
    /// A reader that takes nothing for this long is cut.
    pub stalled: Duration,
    /// The same while others wait for room.
    pub stalled_when_tight: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            kilobytes: 256 << 10,
            stalled: Duration::from_secs(10),
            stalled_when_tight: Duration::from_secs(1),
        }
    }
}

/// The budget of some kind of answers. Clones share it.
#[derive(Clone, Debug)]
pub struct Room {
    free: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    limits: Limits,
}

/// Room for one answer, given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    _room: Option<OwnedSemaphorePermit>,
}

/// Someone waits for room, as long as this is there.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Room {
    /// A budget of which nothing is in use.
    pub fn new(limits: Limits) -> Room {
        let free = Semaphore::new(usize::try_from(limits.kilobytes).unwrap_or(Semaphore::MAX_PERMITS));
        Room { free: Arc::new(free), waiting: Arc::default(), limits }
    }

    /// Waits for room for that many bytes.
    pub async fn place(&self, bytes: usize) -> Place {
        let kilobytes = u32::try_from(bytes >> 10).unwrap_or(u32::MAX).clamp(1, self.limits.kilobytes.max(1));
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        // It is never closed.
        Place { _room: self.free.clone().acquire_many_owned(kilobytes).await.ok() }
    }

    /// An answer on its way; `cut` must end its connection, whatever that does.
    pub fn send(&self, place: Place, bytes: Bytes, cut: impl FnOnce() + Send + 'static) -> Sending {
        let taken = Arc::new(AtomicU64::new(0));
        tokio::spawn(watch(Arc::downgrade(&taken), self.waiting.clone(), self.limits, cut));
        Sending { rest: bytes, taken, _place: place }
    }
}

impl Default for Room {
    fn default() -> Self {
        Room::new(Limits::default())
    }
}

/// Looks after a reader until its answer is sent or dropped.
async fn watch(taken: Weak<AtomicU64>, waiting: Arc<AtomicUsize>, limits: Limits, cut: impl FnOnce()) {
    let look = limits.stalled_when_tight / 4;
    let (mut before, mut still) = (0, Duration::ZERO);
    loop {
        tokio::time::sleep(look).await;
        let Some(now) = taken.upgrade().map(|taken| taken.load(Ordering::Relaxed)) else { return };
        still = if now == before { still + look } else { Duration::ZERO };
        before = now;
        let tight = waiting.load(Ordering::Relaxed) > 0;
        if still >= if tight { limits.stalled_when_tight } else { limits.stalled } {
            return cut();
        }
    }
}

/// What is left of an answer, in parts.
#[derive(Debug)]
pub struct Sending {
    rest: Bytes,
    taken: Arc<AtomicU64>,
    _place: Place,
}

impl Sending {
    /// Bytes that are still to be taken.
    pub fn left(&self) -> usize {
        self.rest.len()
    }
}

impl Iterator for Sending {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.rest.is_empty() {
            return None;
        }
        self.taken.fetch_add(1, Ordering::Relaxed);
        Some(self.rest.split_to(PART.min(self.rest.len())))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::time::Instant;

    use super::*;

    fn room(stalled: Duration, stalled_when_tight: Duration) -> Room {
        Room::new(Limits { kilobytes: 100, stalled, stalled_when_tight })
    }

    async fn sending(room: &Room, bytes: usize) -> (Sending, Arc<AtomicBool>) {
        let cut = Arc::new(AtomicBool::new(false));
        let told = cut.clone();
        let place = room.place(bytes).await;
        (room.send(place, vec![7; bytes].into(), move || told.store(true, Ordering::Relaxed)), cut)
    }

    async fn until(what: impl Fn() -> bool) {
        let start = Instant::now();
        while !what() {
            assert!(start.elapsed() < Duration::from_secs(20));
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn all_of_it_comes_in_parts() {
        let (mut sending, _) = sending(&Room::default(), 200_000).await;
        assert_eq!(sending.left(), 200_000);
        let parts: Vec<usize> = sending.by_ref().map(|part| part.len()).collect();
        assert_eq!((parts.len(), parts.iter().sum::<usize>(), sending.left()), (4, 200_000, 0));
    }

    #[tokio::test]
    async fn who_takes_nothing_is_cut_and_who_takes_something_is_not() {
        let room = room(Duration::from_millis(200), Duration::from_millis(40));
        let (stalled, cut) = sending(&room, 10_000).await;
        until(|| cut.load(Ordering::Relaxed)).await;
        drop(stalled);
        let (mut taking, cut) = sending(&room, 100 * PART).await;
        let start = Instant::now();
        let mut next = start;
        while start.elapsed() < Duration::from_millis(600) {
            if Instant::now() >= next {
                assert!(taking.next().is_some());
                next += Duration::from_millis(10);
            }
            tokio::task::yield_now().await;
        }
        assert!(!cut.load(Ordering::Relaxed), "it took a part every ten milliseconds");
    }

    #[tokio::test]
    async fn who_waits_for_room_gets_it_from_those_who_take_nothing() {
        let room = room(Duration::from_secs(3600), Duration::from_millis(40));
        let (stalled, cut) = sending(&room, 90 << 10).await;
        // There is room for this one.
        let small = room.place(5 << 10).await;
        assert!(!cut.load(Ordering::Relaxed));
        let waiting = tokio::spawn({
            let room = room.clone();
            async move { room.place(1 << 30).await }
        });
        until(|| cut.load(Ordering::Relaxed)).await;
        assert!(!waiting.is_finished(), "the room is taken as long as the answer is there");
        drop((stalled, small));
        waiting.await.unwrap();
        assert_eq!((room.free.available_permits(), room.waiting.load(Ordering::Relaxed)), (100, 0));
    }
}
