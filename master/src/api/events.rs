//! The operators' event stream: first the state, then what happens to it, each event once and in order.
//!
//! The state may be large and the operator slow. Its records are made a few at a time, all that are on their way to
//! operators share a budget of memory, and an operator that takes nothing of its state for some seconds is cut.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream as _;
use serving::sending::{Place, Room, Sending};
use tokio::sync::Semaphore;
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
use crate::service::{Lent, Lifeline, StreamDrain, Told};
use crate::view::View;

/// The events of one subscription.
#[derive(Debug)]
pub struct WatchStream {
    told: StreamDrain<Told>,
    media: Media,
    about: Arc<About>,
    encoders: Arc<Semaphore>,
    states: Room,
    lifeline: Lifeline,
    first: First,
}

/// How far the state has come.
#[derive(Debug)]
enum First {
    /// It is sent, or not begun.
    Idle,
    /// Its record is being made.
    Making(JoinHandle<Option<(Bytes, Place)>>),
    /// It is on its way.
    Sending(Sending),
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
                First::Sending(sending) => match sending.next() {
                    Some(part) => return Poll::Ready(Some(part)),
                    None => self.first = First::Idle,
                },
                First::Making(making) => match ready!(Pin::new(making).poll(cx)) {
                    Ok(Some((rest, place))) => self.first = First::Sending(self.send(rest, place)),
                    // The master ends.
                    Ok(None) | Err(_) => return Poll::Ready(None),
                },
                First::Idle => match ready!(Pin::new(&mut self.told).poll_next(cx)) {
                    None => return Poll::Ready(None),
                    Some(Told::State(view)) => self.first = First::Making(self.make(view)),
                    Some(Told::Event(record)) => {
                        return Poll::Ready(Some(record.encoded(self.media, message)));
                    }
                    Some(Told::Heartbeat) => {
                        return Poll::Ready(Some(encoded(self.media, &of(Type::Heartbeat))));
                    }
                },
            }
        }
    }

    fn make(&self, view: Arc<Lent>) -> JoinHandle<Option<(Bytes, Place)>> {
        let (encoders, states, media) = (self.encoders.clone(), self.states.clone(), self.media);
        let interval = self.about.heartbeat_interval;
        tokio::spawn(async move {
            let place = states.place(estimated(&view)).await;
            let _turn = encoders.acquire_owned().await.ok()?;
            let encode = move || encoded(media, &subscribed(&view, interval));
            let record = tokio::task::spawn_blocking(encode).await.ok()?;
            Some((record, place))
        })
    }

    fn send(&self, rest: Bytes, place: Place) -> Sending {
        let lifeline = self.lifeline.clone();
        self.states.send(place, rest, move || {
            tracing::warn!(peer = %lifeline.peer(), "an operator doesn't take the state: cut");
            lifeline.cut();
        })
    }
}

/// About how many bytes the record of a state takes: a kilobyte for each row.
fn estimated(view: &View) -> usize {
    let completed = |framework: &Arc<Framework>| framework.completed.len();
    let ended: usize = view.frameworks.values().chain(&view.completed_frameworks).map(completed).sum();
    let tasks = view.tasks.len() + view.unreachable_tasks.len() + ended;
    (1 + tasks + 2 * view.agents.len() + 2 * view.frameworks.len()) << 10
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

/// The message form of an event. The view is there where sums over the tables are shown.
fn message(event: &OperatorEvent, view: Option<&View>) -> Event {
    let framework = |row: &Framework| view.map(|view| messages::framework(row, view, &Index::of(view)));
    match event {
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
