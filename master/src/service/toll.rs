//! What peers of the link may send before they are admitted: little at once, and more only a few at a time. A message of an
//! agent with many tasks is large, and whoever sends half of one would otherwise fill the memory with it.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// What needs no turn, in bytes: an agent with some hundred tasks.
const SMALL: usize = 256 << 10;
/// How many may send more at once.
const TURNS: usize = 8;

/// The turns of all links.
#[derive(Clone, Debug)]
pub struct Turns(Arc<Semaphore>);

impl Default for Turns {
    fn default() -> Turns {
        Turns(Arc::new(Semaphore::new(TURNS)))
    }
}

/// One link's introduction, until it is over.
#[derive(Clone, Debug, Default)]
pub struct Introduction(Arc<Told>);

#[derive(Debug, Default)]
struct Told {
    over: AtomicBool,
    turn: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Introduction {
    /// The peer has said who it is: what it sends from now on is not counted, and its turn is another's.
    pub fn over(&self) {
        self.0.over.store(true, Ordering::Release);
        self.keep(None);
    }

    fn is_over(&self) -> bool {
        self.0.over.load(Ordering::Acquire)
    }

    fn keep(&self, turn: Option<OwnedSemaphorePermit>) {
        // It holds nothing that a panic could leave half done.
        *self.0.turn.lock().unwrap_or_else(PoisonError::into_inner) = turn;
    }
}

type Waits = Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>;

/// The body of a link's request. It waits for a turn before it takes in what is not small.
pub struct Toll {
    body: Incoming,
    taken: usize,
    introduction: Introduction,
    turns: Turns,
    waits: Option<Waits>,
    has_turn: bool,
}

impl Toll {
    /// A body, and how its introduction ends.
    pub fn of(body: Incoming, turns: Turns) -> (Toll, Introduction) {
        let introduction = Introduction::default();
        let told = introduction.clone();
        (Toll { body, taken: 0, introduction, turns, waits: None, has_turn: false }, told)
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.taken <= SMALL || self.has_turn || self.introduction.is_over() {
            return Poll::Ready(());
        }
        let turns = &self.turns;
        let waits = self.waits.get_or_insert_with(|| Box::pin(turns.0.clone().acquire_owned()));
        // Never closed.
        let turn = ready!(waits.as_mut().poll(cx)).ok();
        (self.waits, self.has_turn) = (None, true);
        self.introduction.keep(turn);
        Poll::Ready(())
    }
}

impl Body for Toll {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        ready!(this.poll_turn(cx));
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            this.taken = this.taken.saturating_add(frame.data_ref().map_or(0, |data| data.remaining()));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
