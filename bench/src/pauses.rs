//! When the machine itself stood still: a hypervisor that lets none of a virtual machine's processors run stops every
//! program on it, for tens of milliseconds at times. What a program is measured to take has that in it.
//!
//! One thread for each processor sleeps for a millisecond at a time, ahead of all ordinary threads. The machine stood still
//! when all of them were late together: one alone may have waited for the thread that is measured, which goes as far ahead.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::thread::{CpuSet, sched_setaffinity};

const TICK: Duration = Duration::from_millis(1);
/// Waking up takes less.
const LATE: Duration = Duration::from_micros(200);

/// From when to when, since 1970.
pub type Span = (Duration, Duration);

/// Watches the machine. Dropping it ends that.
pub struct Pauses {
    late: Vec<Arc<Mutex<Vec<Span>>>>,
    over: Arc<AtomicBool>,
}

impl Pauses {
    /// Begins to watch. Where no thread may go ahead of others, or not on every processor, no pause is ever seen: an
    /// ordinary thread can be late because others work.
    pub fn watch() -> Pauses {
        let mut pauses = Pauses { late: Vec::new(), over: Arc::default() };
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let (ready, all_ready) = mpsc::channel();
        for processor in 0..processors {
            let (late, over, ready) = (Arc::default(), pauses.over.clone(), ready.clone());
            pauses.late.push(Arc::clone(&late));
            thread::spawn(move || {
                let placed = place(processor);
                let _ = ready.send(placed);
                if placed {
                    watch_one(&late, &over);
                }
            });
        }
        drop(ready);
        let placed = all_ready.iter().take(processors).filter(|placed| *placed).count();
        if processors < 2 || placed < processors {
            pauses.late.clear();
        }
        pauses
    }

    /// For how long the machine stood still within that time.
    pub fn within(&self, span: Span) -> Duration {
        self.all(span).iter().map(length).sum()
    }

    /// The longest time for which it did.
    pub fn longest(&self) -> Duration {
        self.all((Duration::ZERO, Duration::MAX)).iter().map(length).max().unwrap_or_default()
    }

    fn all(&self, span: Span) -> Vec<Span> {
        let none = if self.late.is_empty() { Vec::new() } else { vec![span] };
        self.late
            .iter()
            .fold(none, |spans, late| common(&spans, &late.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Drop for Pauses {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn length((from, to): &Span) -> Duration {
    to.saturating_sub(*from)
}

/// The time that is in both; each has its spans in order.
fn common(one: &[Span], other: &[Span]) -> Vec<Span> {
    let pairs = one.iter().flat_map(|a| other.iter().map(move |b| (a.0.max(b.0), a.1.min(b.1))));
    pairs.filter(|(from, to)| from < to).collect()
}

/// Puts the calling thread ahead of others and on one processor.
fn place(processor: usize) -> bool {
    let mut only = CpuSet::new();
    only.set(processor);
    sched_setaffinity(None, &only).is_ok() && runtime::go_first().is_ok()
}

fn watch_one(late: &Mutex<Vec<Span>>, over: &AtomicBool) {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    while !over.load(Ordering::Relaxed) {
        let due = now() + TICK;
        // Being woken is what is measured.
        #[allow(clippy::disallowed_methods)]
        thread::sleep(TICK);
        let woken = now();
        if woken > due + LATE {
            late.lock().unwrap_or_else(PoisonError::into_inner).push((due, woken));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(from: u64, to: u64) -> Span {
        (Duration::from_millis(from), Duration::from_millis(to))
    }

    #[test]
    fn watching_begins_and_ends() {
        let pauses = Pauses::watch();
        let (from, over) = (SystemTime::now().duration_since(UNIX_EPOCH).unwrap(), pauses.over.clone());
        assert!(pauses.within((from, from)).is_zero());
        drop(pauses);
        assert!(over.load(Ordering::Relaxed));
    }

    #[test]
    fn the_machine_stood_still_when_no_processor_ran() {
        let late = |spans: &[Span]| Arc::new(Mutex::new(spans.to_vec()));
        let first = late(&[span(10, 20), span(30, 36), span(50, 60)]);
        let second = late(&[span(12, 40), span(70, 80)]);
        let pauses = Pauses { late: vec![first, second], over: Arc::default() };
        assert_eq!(pauses.all(span(0, 100)), [span(12, 20), span(30, 36)]);
        assert_eq!(pauses.longest(), Duration::from_millis(8));
        assert_eq!(pauses.within(span(18, 33)), Duration::from_millis(5));
        assert_eq!(pauses.within(span(45, 90)), Duration::ZERO, "one of them was late alone");
        let blind = Pauses { late: Vec::new(), over: Arc::default() };
        assert_eq!((blind.within(span(0, 9)), blind.longest()), (Duration::ZERO, Duration::ZERO));
    }
}
