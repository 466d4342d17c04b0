//! A bounded outbox: what waits to be sent to one peer. A peer that doesn't drain it is cut, so that slow readers
//! cost a bounded amount of memory and never hold up the loop.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_util::Stream;

/// How much may wait.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes waiting for one peer.
    pub bytes: usize,
    /// Bytes waiting for one peer when all peers together have more than [`Limits::all`] waiting.
    pub bytes_when_tight: usize,
    /// Bytes waiting for all peers, above which [`Limits::bytes_when_tight`] counts.
    pub all: usize,
    /// How long the oldest may wait.
    pub age: Duration,
}

/// What all outboxes of one kind share: their limits, and the bytes that wait in them.
#[derive(Clone, Debug)]
pub struct Budget {
    limits: Limits,
    waiting: Arc<AtomicUsize>,
    growth: Growth,
}

impl Budget {
    /// A budget with nothing waiting.
    pub fn new(limits: Limits) -> Budget {
        Budget { limits, waiting: Arc::default(), growth: Growth::default() }
    }

    /// For things that grow while they wait.
    pub fn growth(&self) -> &Growth {
        &self.growth
    }
}

/// The bytes by which things grew while they waited, all there ever were. An outbox that may have too much because of
/// them weighs again what is in it, so that nobody has to say which outboxes those things are in.
#[derive(Clone, Debug, Default)]
pub struct Growth(Arc<AtomicUsize>);

impl Growth {
    /// Something has grown.
    pub fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How many there ever were.
    pub fn ever(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Something that takes memory while it waits.
pub trait Weight {
    /// About how many bytes. Where that grows, the budget's [`Growth`] is told.
    fn weight(&self) -> usize;
}

/// The peer has too much waiting, or for too long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

#[derive(Debug)]
struct Queue<T> {
    items: VecDeque<(Instant, usize, T)>,
    weight: usize,
    /// How much had grown when the items were last weighed.
    grown: usize,
    closed: bool,
    cut: bool,
    waker: Option<Waker>,
}

impl<T: Weight> Queue<T> {
    /// Whether so many bytes more would be too many. What has grown is weighed again when it might be so, which is seldom.
    fn has_no_room(&mut self, weight: usize, most: usize, budget: &Budget) -> bool {
        let grown = budget.growth.ever();
        if self.weight.saturating_add(weight).saturating_add(grown.wrapping_sub(self.grown)) > most {
            self.weigh_again(&budget.waiting);
            self.grown = grown;
        }
        self.weight + weight > most && !self.items.is_empty()
    }

    fn weigh_again(&mut self, all: &AtomicUsize) {
        let before = self.weight;
        for (_, weight, item) in &mut self.items {
            *weight = item.weight() + entry::<T>();
        }
        self.weight = self.items.iter().map(|(_, weight, _)| weight).sum();
        all.fetch_add(self.weight.wrapping_sub(before), Ordering::Relaxed);
    }
}

/// Bytes of an entry beside what its item points to.
const fn entry<T>() -> usize {
    size_of::<(Instant, usize, T)>()
}

#[derive(Debug)]
struct Shared<T> {
    queue: Mutex<Queue<T>>,
    budget: Budget,
}

/// What becomes of what waits when an outbox is closed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waiting {
    Kept,
    Dropped,
    /// And the peer must not take it for a proper end.
    Cut,
}

impl<T> Shared<T> {
    /// A panic elsewhere leaves the queue whole: every change of it is one statement.
    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, what_waits: Waiting) {
        let mut queue = self.lock();
        queue.closed = true;
        queue.cut |= what_waits == Waiting::Cut;
        if what_waits != Waiting::Kept {
            self.budget.waiting.fetch_sub(queue.weight, Ordering::Relaxed);
            queue.weight = 0;
            queue.items.clear();
        }
        if let Some(waker) = queue.waker.take() {
            waker.wake();
        }
    }
}

/// The end that fills it. Dropping it closes it after what is in it.
#[derive(Debug)]
pub struct Outbox<T>(Arc<Shared<T>>);

/// Tells, after an outbox was dropped, whether its peer has taken all that was in it.
#[derive(Debug)]
pub struct Rest<T>(Arc<Shared<T>>);

impl<T> Rest<T> {
    /// Whether something is left.
    pub fn is_left(&self) -> bool {
        !self.0.lock().items.is_empty()
    }
}

/// The end that the connection drains.
#[derive(Debug)]
pub struct Drain<T>(Arc<Shared<T>>);

/// A new outbox.
pub fn outbox<T>(budget: &Budget) -> (Outbox<T>, Drain<T>) {
    let grown = budget.growth.ever();
    let queue = Queue { items: VecDeque::new(), weight: 0, grown, closed: false, cut: false, waker: None };
    let shared = Arc::new(Shared { queue: Mutex::new(queue), budget: budget.clone() });
    (Outbox(shared.clone()), Drain(shared))
}

impl<T: Weight> Outbox<T> {
    /// Adds one.
    ///
    /// # Errors
    /// The peer doesn't drain: it must be cut.
    pub fn push(&self, item: T) -> Result<(), Full> {
        let (limits, all) = (&self.0.budget.limits, &self.0.budget.waiting);
        let weight = item.weight() + entry::<T>();
        let now = Instant::now();
        let mut queue = self.0.lock();
        if queue.closed {
            // The peer is gone; its end is on the way to the loop.
            return Ok(());
        }
        let tight = all.load(Ordering::Relaxed) > limits.all;
        let most = if tight { limits.bytes_when_tight } else { limits.bytes };
        let stale = queue.items.front().is_some_and(|(since, ..)| now.duration_since(*since) > limits.age);
        // A single message may be larger than the limit: a peer that drains gets it.
        if stale || queue.has_no_room(weight, most, &self.0.budget) {
            return Err(Full);
        }
        queue.weight += weight;
        all.fetch_add(weight, Ordering::Relaxed);
        queue.items.push_back((now, weight, item));
        if let Some(waker) = queue.waker.take() {
            waker.wake();
        }
        Ok(())
    }
}

impl<T> Outbox<T> {
    /// Whether the peer is gone.
    pub fn is_closed(&self) -> bool {
        self.0.lock().closed
    }

    /// Closes it after what is in it.
    pub fn close(self) -> Rest<T> {
        Rest(self.0.clone())
    }

    /// Throws away what waits. The peer gets no proper end: its connection is to be cut as well.
    pub fn cut(self) {
        self.0.close(Waiting::Cut);
    }
}

impl<T> Drop for Outbox<T> {
    fn drop(&mut self) {
        self.0.close(Waiting::Kept);
    }
}

impl<T> Drain<T> {
    /// Waits until there is something in it, or nothing will come any more.
    pub async fn filled(&mut self) {
        poll_fn(|context| {
            let mut queue = self.0.lock();
            if queue.closed || !queue.items.is_empty() {
                return Poll::Ready(());
            }
            queue.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl<T> Stream for Drain<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut queue = self.0.lock();
        if let Some((_, weight, item)) = queue.items.pop_front() {
            queue.weight -= weight;
            self.0.budget.waiting.fetch_sub(weight, Ordering::Relaxed);
            return Poll::Ready(Some(item));
        }
        if queue.closed && !queue.cut {
            return Poll::Ready(None);
        }
        queue.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<T> Drop for Drain<T> {
    fn drop(&mut self) {
        self.0.close(Waiting::Dropped);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Wake;

    use futures_util::{FutureExt as _, StreamExt as _};

    use super::*;

    impl Weight for u32 {
        fn weight(&self) -> usize {
            1000
        }
    }

    fn budget(bytes: usize, all: usize, age: Duration) -> Budget {
        Budget::new(Limits { bytes, bytes_when_tight: 1, all, age })
    }

    #[tokio::test]
    async fn what_was_put_in_comes_out_before_the_end() {
        let (outbox, drain) = outbox(&budget(1 << 20, 1 << 20, Duration::from_secs(60)));
        for n in 0..3u32 {
            outbox.push(n).unwrap();
        }
        drop(outbox);
        assert_eq!(drain.collect::<Vec<_>>().await, [0, 1, 2]);
    }

    /// Counts how often it was woken.
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn who_waits_for_something_in_it_is_woken_by_that_and_by_the_end() {
        let budget = budget(1 << 20, 1 << 20, Duration::from_secs(60));
        let (outbox, mut drain) = outbox(&budget);
        let woken = Arc::new(Woken(AtomicUsize::new(0)));
        let waker = Waker::from(woken.clone());
        let context = &mut Context::from_waker(&waker);
        let mut look = |drain: &mut Drain<u32>| pin!(drain.filled()).poll(context).is_ready();
        assert!(!look(&mut drain));
        outbox.push(1).unwrap();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(look(&mut drain) && look(&mut drain), "nothing is taken out by it");
        assert_eq!(drain.next().now_or_never(), Some(Some(1)));
        assert!(!look(&mut drain));
        drop(outbox);
        assert_eq!(woken.0.load(Ordering::Relaxed), 2);
        assert!(look(&mut drain));
    }

    #[tokio::test]
    async fn a_reader_that_does_not_drain_is_cut() {
        let budget = budget(5000, 1 << 20, Duration::from_secs(60));
        let (outbox, mut drain) = outbox(&budget);
        let fitted = (0..100u32).take_while(|n| outbox.push(*n).is_ok()).count();
        assert_eq!(fitted, 4);
        assert_eq!(drain.next().await, Some(0));
        assert_eq!(outbox.push(7), Ok(()));
        outbox.cut();
        // No end that could be taken for a proper one.
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(Pin::new(&mut drain).poll_next(&mut context), Poll::Pending);
        assert_eq!(budget.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn one_message_may_be_larger_than_the_limit() {
        let (outbox, mut drain) = outbox(&budget(10, 1 << 20, Duration::from_secs(60)));
        assert_eq!(outbox.push(1u32), Ok(()));
        assert_eq!(outbox.push(2), Err(Full));
        assert_eq!(drain.next().await, Some(1));
        assert_eq!(outbox.push(3), Ok(()));
    }

    /// Takes more while it waits, wherever it waits.
    struct Growing(Arc<AtomicUsize>);

    impl Weight for Growing {
        fn weight(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn what_grows_while_it_waits_counts_with_what_it_has_become() {
        let budget = budget(5000, 1 << 20, Duration::from_secs(60));
        let (one, other) = (outbox(&budget), outbox(&budget));
        let size = Arc::new(AtomicUsize::new(100));
        assert_eq!(one.0.push(Growing(size.clone())), Ok(()));
        assert_eq!(other.0.push(Growing(Arc::default())), Ok(()));
        size.store(6000, Ordering::Relaxed);
        budget.growth().add(5900);
        assert_eq!(one.0.push(Growing(Arc::default())), Err(Full));
        assert!(budget.waiting.load(Ordering::Relaxed) > 6000);
        // What grew is not in this one, and it is weighed once for it.
        assert_eq!(other.0.push(Growing(Arc::default())), Ok(()));
        assert_eq!(other.0.0.lock().grown, 5900);
        drop((one, other));
        assert_eq!(budget.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn when_all_together_wait_for_too_much_each_may_have_less() {
        let budget = budget(1 << 20, 4000, Duration::from_secs(60));
        let boxes: Vec<_> = (0..5).map(|_| outbox::<u32>(&budget)).collect();
        for (outbox, _) in &boxes {
            assert_eq!(outbox.push(1), Ok(()));
        }
        assert_eq!(boxes[0].0.push(2), Err(Full));
    }

    #[test]
    fn a_message_that_waits_too_long_is_too_much() {
        let (outbox, _drain) = outbox(&budget(1 << 20, 1 << 20, Duration::ZERO));
        assert_eq!(outbox.push(1u32), Ok(()));
        assert_eq!(outbox.push(2), Err(Full));
    }

    #[test]
    fn a_peer_that_is_gone_takes_no_memory() {
        let budget = budget(5000, 1 << 20, Duration::from_secs(60));
        let (outbox, drain) = outbox(&budget);
        outbox.push(1u32).unwrap();
        drop(drain);
        for n in 0..100 {
            assert_eq!(outbox.push(n), Ok(()));
        }
        assert_eq!(budget.waiting.load(Ordering::Relaxed), 0);
    }
}
