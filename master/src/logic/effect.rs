//! Everything a master can do to the world: one closed list, carried out by the service in order.

use std::sync::Arc;

use model::{AgentId, ExecutorId, FrameworkId, OfferId};
use wire::v1::scheduler::event::Type;
use wire::{link, v1};

use super::event::{CallId, LinkId, Offer, StreamId, Ticket};
use super::refused::Refused;
use super::registry::Change;
use super::watch::OperatorEvent;

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Write to the registry, then say [`Persisted`](super::Event::Persisted). What depends on it waits in the state.
    Persist {
        /// Names the write.
        ticket: Ticket,
        /// What to write.
        change: Change,
    },
    /// Send a message down an agent's link.
    ToAgent {
        /// Which link.
        link: LinkId,
        /// The message; the service adds the epoch.
        message: Box<link::from_master::Body>,
    },
    /// End an agent's link after what was sent before.
    CloseLink {
        /// Which.
        link: LinkId,
    },
    /// Send an event down a scheduler's stream.
    ToFramework {
        /// Which stream.
        stream: StreamId,
        /// The event.
        event: SchedulerEvent,
    },
    /// End a scheduler's or an operator's stream after what was sent before.
    CloseStream {
        /// Which.
        stream: StreamId,
    },
    /// Send an event to all operators that watch.
    ToOperators(OperatorEvent),
    /// Send an event to one operator.
    ToOperator {
        /// Its stream.
        stream: StreamId,
        /// The event.
        event: OperatorEvent,
    },
    /// Answer a call.
    Answer {
        /// Which.
        call: CallId,
        /// 200 or 202 by the kind of the call, or why not.
        outcome: Result<(), Refused>,
    },
    /// This master can't go on leading (the registry failed).
    StepDown {
        /// Why.
        why: String,
    },
}

/// An event for a scheduler.
#[derive(Clone, Debug)]
pub enum SchedulerEvent {
    /// The subscription holds.
    Subscribed {
        /// Under this id.
        framework: FrameworkId,
    },
    /// New offers.
    Offers(Vec<OfferOut>),
    /// An offer is no longer valid.
    Rescind(OfferId),
    /// A task's status; `uuid` is set when an acknowledgement is due.
    Update(Box<v1::TaskStatus>),
    /// What became of an operation other than a launch.
    UpdateOperation(Box<v1::OperationStatus>),
    /// An agent or executor is lost.
    Failure {
        /// The agent.
        agent: AgentId,
        /// The executor, if it was only that.
        executor: Option<(ExecutorId, i32)>,
    },
    /// The subscription is refused or ended.
    Error(String),
    /// Still here.
    Heartbeat,
}

impl SchedulerEvent {
    /// The type of its message.
    pub fn kind(&self) -> Type {
        match self {
            SchedulerEvent::Subscribed { .. } => Type::Subscribed,
            SchedulerEvent::Offers(_) => Type::Offers,
            SchedulerEvent::Rescind(_) => Type::Rescind,
            SchedulerEvent::Update(_) => Type::Update,
            SchedulerEvent::UpdateOperation(_) => Type::UpdateOperationStatus,
            SchedulerEvent::Failure { .. } => Type::Failure,
            SchedulerEvent::Error(_) => Type::Error,
            SchedulerEvent::Heartbeat => Type::Heartbeat,
        }
    }
}

/// An offer with what its message shows of the agent.
#[derive(Clone, Debug)]
pub struct OfferOut {
    /// The offer.
    pub offer: Offer,
    /// The agent as it registered.
    pub agent: Arc<super::state::AgentFacts>,
    /// Executors of the framework on that agent.
    pub executors: Vec<ExecutorId>,
    /// Whether the framework has MULTI_ROLE (else `allocation_info` is left out of the message).
    pub multi_role: bool,
    /// Whether the framework has RESERVATION_REFINEMENT (else the older reservation format is written).
    pub refinement: bool,
}
