//! What waits for one operator that watches. Events are shared: however many watch, each is kept and encoded once.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use prost::Message as _;
use wire::media::Media;

use super::lending::Lent;
use super::outbox::Weight;
use crate::logic::OperatorEvent;

/// One thing to tell.
#[derive(Clone, Debug)]
pub enum Told {
    /// The state when the subscription began.
    State(Arc<Lent>),
    /// What happened since.
    Event(Arc<Record>),
    /// Still here.
    Heartbeat,
}

/// An event and, once somebody needed them, its forms.
#[derive(Debug)]
pub struct Record {
    /// What happened.
    pub event: OperatorEvent,
    /// The tables right after it, where its message shows sums over them.
    pub view: Option<Arc<Lent>>,
    weight: usize,
    json: OnceLock<Bytes>,
    protobuf: OnceLock<Bytes>,
}

impl Record {
    /// A record that nobody has needed yet.
    pub fn new(event: OperatorEvent, view: Option<Arc<Lent>>) -> Record {
        let weight = 256 + weight(&event);
        Record { event, view, weight, json: OnceLock::new(), protobuf: OnceLock::new() }
    }

    /// The record in a form, made by `make` for the first who needs it.
    pub fn encoded(&self, media: Media, make: impl FnOnce(&Record) -> Bytes) -> Bytes {
        let form = match media {
            Media::Json => &self.json,
            Media::Protobuf => &self.protobuf,
        };
        form.get_or_init(|| make(self)).clone()
    }
}

fn weight(event: &OperatorEvent) -> usize {
    match event {
        OperatorEvent::Subscribed | OperatorEvent::Heartbeat | OperatorEvent::AgentRemoved(_) => 0,
        OperatorEvent::TaskAdded(task) => task.info.encoded_len(),
        OperatorEvent::TaskUpdated { status, .. } => status.encoded_len(),
        OperatorEvent::AgentAdded(agent) => agent.facts.info.encoded_len() * 2,
        OperatorEvent::FrameworkAdded(framework)
        | OperatorEvent::FrameworkUpdated(framework)
        | OperatorEvent::FrameworkRemoved(framework) => framework.info.encoded_len(),
    }
}

impl Weight for Told {
    fn weight(&self) -> usize {
        match self {
            // Rows are shared with other views; those that changed since are not.
            Told::State(_) => 64 << 10,
            Told::Event(record) => record.weight,
            Told::Heartbeat => 64,
        }
    }
}
