//! The way into the loop for connections and handlers: a bounded queue, and the numbers they name themselves by.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prost::Message as _;
use tokio::sync::{mpsc, oneshot};
use wire::link::FromMaster;

use super::clock::Clock;
use super::lending::Lent;
use super::outbox::{Budget, Drain, Growth, Limits, Outbox, Weight, outbox};
use super::server::Lifeline;
use super::vitals::Vitals;
use super::watchers::Told;
use crate::logic::{CallId, Event, LinkId, Refused, SchedulerEvent, StreamId};

/// Inputs that may wait for the loop; those who have more wait themselves.
const QUEUE: usize = 4096;

/// What may wait for one agent.
pub const LINK_LIMITS: Limits =
    Limits { bytes: 64 << 20, bytes_when_tight: 1 << 20, all: 512 << 20, age: Duration::from_secs(60) };

/// What may wait for one scheduler: a reconciliation of all of its tasks comes at once.
pub const STREAM_LIMITS: Limits =
    Limits { bytes: 128 << 20, bytes_when_tight: 1 << 20, all: 256 << 20, age: Duration::from_secs(60) };

/// What may wait for one operator. Events are shared by all, so that together this counts more than they take.
pub const WATCH_LIMITS: Limits =
    Limits { bytes: 64 << 20, bytes_when_tight: 256 << 10, all: 512 << 20, age: Duration::from_secs(60) };

/// The loop has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped;

/// What goes into the loop.
#[derive(Debug)]
pub enum Input {
    /// Something happened.
    Event(Event),
    /// An agent's link begins with this.
    Link(LinkId, LinkEnd, Event),
    /// A scheduler's stream begins with this.
    Stream(StreamId, StreamEnd, Event),
    /// An operator's stream begins with this.
    Watch(StreamId, WatchEnd, Event),
    /// Somebody waits for an answer to this.
    Call(CallId, oneshot::Sender<Result<(), Refused>>, Event),
    /// Somebody wants to read.
    View(oneshot::Sender<Arc<Lent>>),
}

/// The loop's end of an agent's link.
#[derive(Debug)]
pub struct LinkEnd {
    /// None once the loop has closed it. Boxed: the messages differ much in size, and a queue has room for the largest.
    pub outbox: Option<Outbox<Box<FromMaster>>>,
    /// Cuts the connection.
    pub lifeline: Lifeline,
}

/// The loop's end of a scheduler's stream.
#[derive(Debug)]
pub struct StreamEnd {
    /// None once the loop has closed it.
    pub outbox: Option<Outbox<SchedulerEvent>>,
    /// Cuts the connection.
    pub lifeline: Lifeline,
}

/// The loop's end of an operator's stream.
#[derive(Debug)]
pub struct WatchEnd {
    /// None once the loop has closed it.
    pub outbox: Option<Outbox<Told>>,
    /// Cuts the connection.
    pub lifeline: Lifeline,
}

impl Weight for Box<FromMaster> {
    fn weight(&self) -> usize {
        size_of::<FromMaster>() + self.encoded_len()
    }
}

impl Weight for SchedulerEvent {
    fn weight(&self) -> usize {
        match self {
            // About what the resources of an offer take; the agent's facts are shared.
            SchedulerEvent::Offers(offers) => offers.len() * 1024,
            SchedulerEvent::Update(status) => size_of_val(&**status) + status.encoded_len(),
            SchedulerEvent::UpdateOperation(status) => size_of_val(&**status) + status.encoded_len(),
            SchedulerEvent::Error(message) => message.len(),
            _ => 64,
        }
    }
}

/// The loop's ends of the queues.
#[derive(Debug)]
pub struct Ends {
    /// Bounded.
    pub inputs: mpsc::Receiver<Input>,
    /// One message at most for each stream there ever was.
    pub lost_streams: mpsc::UnboundedReceiver<StreamId>,
}

/// The way into the loop.
#[derive(Clone, Debug)]
pub struct Handle {
    inputs: mpsc::Sender<Input>,
    lost_streams: mpsc::UnboundedSender<StreamId>,
    numbers: Arc<AtomicU64>,
    epoch: Arc<AtomicU64>,
    link_budget: Budget,
    stream_budget: Budget,
    watch_budget: Budget,
    vitals: Arc<Vitals>,
    clock: Clock,
}

/// Makes both ends.
pub fn channel(clock: Clock, [links, streams, watches]: [Limits; 3]) -> (Handle, Ends) {
    let (inputs, input_end) = mpsc::channel(QUEUE);
    let (lost_streams, lost_end) = mpsc::unbounded_channel();
    let handle = Handle {
        inputs,
        lost_streams,
        numbers: Arc::default(),
        epoch: Arc::default(),
        link_budget: Budget::new(links),
        stream_budget: Budget::new(streams),
        watch_budget: Budget::new(watches),
        vitals: Arc::default(),
        clock,
    };
    (handle, Ends { inputs: input_end, lost_streams: lost_end })
}

impl Handle {
    /// The master's clock.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// How the loop does.
    pub fn vitals(&self) -> &Arc<Vitals> {
        &self.vitals
    }

    /// How events of operators grow, which are encoded while they wait.
    pub fn watch_growth(&self) -> Growth {
        self.watch_budget.growth().clone()
    }

    /// Inputs that wait for the loop.
    pub fn queued(&self) -> usize {
        self.inputs.max_capacity() - self.inputs.capacity()
    }

    /// The epoch of this leadership, none while not leading.
    pub fn epoch(&self) -> Option<u64> {
        Some(self.epoch.load(Ordering::Acquire)).filter(|epoch| *epoch > 0)
    }

    /// Begins or, with zero, ends a leadership.
    pub fn set_epoch(&self, epoch: u64) {
        self.epoch.store(epoch, Ordering::Release);
    }

    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    async fn put(&self, input: Input) -> Result<(), Stopped> {
        // What waits for its turn is kept once: in a future of `send` it would be there twice.
        let permit = self.inputs.reserve().await.map_err(|_| Stopped)?;
        permit.send(input);
        Ok(())
    }

    /// Tells that something happened; waits while the loop is behind.
    pub async fn tell(&self, event: Event) -> Result<(), Stopped> {
        self.put(Input::Event(event)).await
    }

    /// Lets the state decide on a call.
    pub async fn call(&self, event: impl FnOnce(CallId) -> Event) -> Result<Result<(), Refused>, Stopped> {
        let call = CallId(self.number());
        let (answer, answered) = oneshot::channel();
        self.put(Input::Call(call, answer, event(call))).await?;
        answered.await.map_err(|_| Stopped)
    }

    /// The tables as they are now.
    pub async fn view(&self) -> Result<Arc<Lent>, Stopped> {
        let (answer, answered) = oneshot::channel();
        self.put(Input::View(answer)).await?;
        answered.await.map_err(|_| Stopped)
    }

    /// Begins an agent's link with its first message.
    pub async fn link(
        &self,
        lifeline: Lifeline,
        first: impl FnOnce(LinkId) -> Event,
    ) -> Result<(LinkId, Drain<Box<FromMaster>>), Stopped> {
        let link = LinkId(self.number());
        let (outbox, drain) = outbox(&self.link_budget);
        self.put(Input::Link(link, LinkEnd { outbox: Some(outbox), lifeline }, first(link))).await?;
        Ok((link, drain))
    }

    /// Begins a scheduler's stream.
    pub async fn stream(
        &self,
        lifeline: Lifeline,
        subscribe: impl FnOnce(StreamId) -> Event,
    ) -> Result<StreamDrain<SchedulerEvent>, Stopped> {
        let stream = StreamId(self.number());
        let (outbox, drain) = outbox(&self.stream_budget);
        let drain = StreamDrain { drain: Some(drain), stream, lost: self.lost_streams.clone() };
        self.put(Input::Stream(stream, StreamEnd { outbox: Some(outbox), lifeline }, subscribe(stream)))
            .await?;
        Ok(drain)
    }

    /// Begins an operator's stream.
    pub async fn watch(&self, lifeline: Lifeline) -> Result<StreamDrain<Told>, Stopped> {
        let stream = StreamId(self.number());
        let (outbox, drain) = outbox(&self.watch_budget);
        let drain = StreamDrain { drain: Some(drain), stream, lost: self.lost_streams.clone() };
        let end = WatchEnd { outbox: Some(outbox), lifeline };
        self.put(Input::Watch(stream, end, Event::Watch { stream })).await?;
        Ok(drain)
    }
}

/// The connection's end of a scheduler's or an operator's stream. Dropping it tells the loop that the stream is lost.
#[derive(Debug)]
pub struct StreamDrain<T> {
    drain: Option<Drain<T>>,
    stream: StreamId,
    lost: mpsc::UnboundedSender<StreamId>,
}

impl<T> futures_util::Stream for StreamDrain<T> {
    type Item = T;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<T>> {
        match &mut self.drain {
            Some(drain) => std::pin::Pin::new(drain).poll_next(cx),
            None => std::task::Poll::Ready(None),
        }
    }
}

impl<T> Drop for StreamDrain<T> {
    fn drop(&mut self) {
        // First closed, then told: a loop that hears of it before the subscription sees a closed outbox there.
        self.drain = None;
        // Without a loop there is nobody to tell.
        let _ = self.lost.send(self.stream);
    }
}
