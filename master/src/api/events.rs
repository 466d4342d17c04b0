//! The operators' event stream: first the state, then what happens to it, each event once and in order.
//!
//! The state may be large and the operator slow. Its records are made a few at a time, all that are on their way to
//! operators share a budget of memory, and an operator that takes nothing of its state for some seconds is cut.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use wire::media::{self, Media};
use wire::v1::master::Event;
use wire::v1::master::event::{
    AgentAdded, AgentRemoved, FrameworkAdded, FrameworkRemoved, FrameworkUpdated, Subscribed, TaskAdded,
    TaskUpdated, Type,
};

use super::index::Index;
use super::{Api, messages, operator};
use crate::about::About;
use crate::logic::{Framework, OperatorEvent};
use crate::service::{Lifeline, Record, StreamDrain, Told};
use crate::view::View;

/// Kilobytes of all states that are on their way; one that is larger goes alone.
pub const MAX_STATES: usize = 256 << 10;
/// An operator that takes nothing of its state for this long is cut.
const STALLED: Duration = Duration::from_secs(10);
/// Bytes that are handed to the connection at once.
const PART: usize = 64 << 10;

/// The events of one subscription.
#[derive(Debug)]
pub struct WatchStream {
    told: StreamDrain<Told>,
    media: Media,
    about: Arc<About>,
    encoders: Arc<Semaphore>,
    states: Arc<Semaphore>,
    lifeline: Lifeline,
    first: First,
}

/// How far the state has come.
#[derive(Debug)]
enum First {
    /// It is sent, or not begun.
    Idle,
    /// Its record is being made.
    Making(JoinHandle<Option<(Bytes, OwnedSemaphorePermit)>>),
    /// It is on its way.
    Sending(Sending),
}

#[derive(Debug)]
struct Sending {
    rest: Bytes,
    progress: Arc<AtomicU64>,
    _room: OwnedSemaphorePermit,
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.progress.store(u64::MAX, Ordering::Relaxed);
    }
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        if let First::Making(making) = &self.first {
            making.abort();
        }
    }
}

impl WatchStream {
    /// Events in a form that the operator accepts.
    pub fn new(api: &Api, told: StreamDrain<Told>, media: Media, lifeline: Lifeline) -> WatchStream {
        let (about, encoders, states) = (api.about.clone(), api.encoders.clone(), api.states.clone());
        WatchStream { told, media, about, encoders, states, lifeline, first: First::Idle }
    }

    /// The next bytes.
    pub fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            match &mut self.first {
                First::Sending(sending) => {
                    let part = sending.rest.split_to(PART.min(sending.rest.len()));
                    sending.progress.fetch_add(1, Ordering::Relaxed);
                    if sending.rest.is_empty() {
                        self.first = First::Idle;
                    }
                    return Poll::Ready(Some(part));
                }
                First::Making(making) => match ready!(Pin::new(making).poll(cx)) {
                    Ok(Some((rest, room))) => self.first = First::Sending(self.send(rest, room)),
                    // The master ends.
                    Ok(None) | Err(_) => return Poll::Ready(None),
                },
                First::Idle => match ready!(Pin::new(&mut self.told).poll_next(cx)) {
                    None => return Poll::Ready(None),
                    Some(Told::State(view)) => self.first = First::Making(self.make(view)),
                    Some(Told::Event(record)) => {
                        let media = self.media;
                        return Poll::Ready(Some(
                            record.encoded(media, |record| encoded(media, &message(record))),
                        ));
                    }
                    Some(Told::Heartbeat) => {
                        return Poll::Ready(Some(encoded(self.media, &of(Type::Heartbeat))));
                    }
                },
            }
        }
    }

    fn make(&self, view: Arc<View>) -> JoinHandle<Option<(Bytes, OwnedSemaphorePermit)>> {
        let (encoders, states, media) = (self.encoders.clone(), self.states.clone(), self.media);
        let interval = self.about.heartbeat_interval;
        tokio::spawn(async move {
            let room = states.acquire_many_owned(kilobytes(&view)).await.ok()?;
            let _turn = encoders.acquire_owned().await.ok()?;
            let encode = move || encoded(media, &subscribed(&view, interval));
            let record = tokio::task::spawn_blocking(encode).await.ok()?;
            Some((record, room))
        })
    }

    fn send(&self, rest: Bytes, room: OwnedSemaphorePermit) -> Sending {
        let progress = Arc::new(AtomicU64::new(0));
        let (watched, lifeline) = (progress.clone(), self.lifeline.clone());
        tokio::spawn(async move {
            loop {
                let before = watched.load(Ordering::Relaxed);
                tokio::time::sleep(STALLED).await;
                match watched.load(Ordering::Relaxed) {
                    u64::MAX => return,
                    now if now == before => {
                        tracing::warn!(peer = %lifeline.peer(), "an operator doesn't take the state: cut");
                        return lifeline.cut();
                    }
                    _ => {}
                }
            }
        });
        Sending { rest, progress, _room: room }
    }
}

/// About how much the record of a state takes.
fn kilobytes(view: &View) -> u32 {
    let completed = |framework: &Arc<Framework>| framework.completed.len();
    let ended: usize = view.frameworks.values().chain(&view.completed_frameworks).map(completed).sum();
    let tasks = view.tasks.len() + view.unreachable_tasks.len() + ended;
    let rows = tasks + 2 * view.agents.len() + 2 * view.frameworks.len();
    u32::try_from((1 + rows).min(MAX_STATES)).unwrap_or(u32::MAX)
}

fn encoded(media: Media, event: &Event) -> Bytes {
    media::encode_record(media, event)
}

fn of(kind: Type) -> Event {
    Event { r#type: Some(kind.into()), ..Event::default() }
}

fn subscribed(view: &View, heartbeat_interval: Duration) -> Event {
    let subscribed = Subscribed {
        get_state: Some(operator::state(view)),
        heartbeat_interval_seconds: Some(heartbeat_interval.as_secs_f64()),
    };
    Event { subscribed: Some(subscribed), ..of(Type::Subscribed) }
}

/// The message form of an event.
fn message(record: &Record) -> Event {
    let framework = |row: &Framework| {
        let view = record.view.as_ref()?;
        Some(messages::framework(row, view, &Index::of(view)))
    };
    match &record.event {
        OperatorEvent::Subscribed | OperatorEvent::Heartbeat => of(Type::Heartbeat),
        OperatorEvent::TaskAdded(task) => {
            Event { task_added: Some(TaskAdded { task: messages::task(task) }), ..of(Type::TaskAdded) }
        }
        OperatorEvent::TaskUpdated { framework, state, status } => {
            let updated = TaskUpdated {
                framework_id: framework.into(),
                status: (**status).clone(),
                state: wire::v1::TaskState::from(*state).into(),
            };
            Event { task_updated: Some(updated), ..of(Type::TaskUpdated) }
        }
        OperatorEvent::AgentAdded(agent) => {
            let agent_added = Some(AgentAdded { agent: messages::agent(agent) });
            Event { agent_added, ..of(Type::AgentAdded) }
        }
        OperatorEvent::AgentRemoved(agent) => {
            let agent_removed = Some(AgentRemoved { agent_id: agent.into() });
            Event { agent_removed, ..of(Type::AgentRemoved) }
        }
        OperatorEvent::FrameworkAdded(row) => {
            let framework_added = framework(row).map(|framework| FrameworkAdded { framework });
            Event { framework_added, ..of(Type::FrameworkAdded) }
        }
        OperatorEvent::FrameworkUpdated(row) => {
            let framework_updated = framework(row).map(|framework| FrameworkUpdated { framework });
            Event { framework_updated, ..of(Type::FrameworkUpdated) }
        }
        OperatorEvent::FrameworkRemoved(row) => {
            let framework_removed = Some(FrameworkRemoved { framework_info: (*row.info).clone() });
            Event { framework_removed, ..of(Type::FrameworkRemoved) }
        }
    }
}
