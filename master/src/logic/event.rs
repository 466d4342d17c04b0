//! Everything that can happen to a master: one closed list, in our words.
//!
//! The service turns link messages, HTTP calls, answers of the registry and the passing of time into these; nothing
//! else ever changes [`State`](super::State).

use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use model::{AgentId, ExecutorId, FrameworkId, OfferId, Resources, Role, TaskId, TaskState};
use wire::v1;
use wire::v1::scheduler::call;

use super::identity::Proof;
use super::registry::Contents;

/// One agent link, numbered by the service; a number is never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkId(pub u64);

/// One subscription of a scheduler or an operator, numbered by the service; a number is never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StreamId(pub u64);

/// A call whose caller waits for an [`Answer`](super::Effect::Answer).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CallId(pub u64);

/// A registry write that was asked for by [`Persist`](super::Effect::Persist).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(pub u64);

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// This master leads; the registry holds this. Always the first event.
    Elected(Box<Contents>),
    /// A link's first message, from an agent without an id.
    AgentRegisters {
        /// The link it came on.
        link: LinkId,
        /// Who it is.
        hello: Box<AgentHello>,
    },
    /// A link's first message, from an agent that has an id.
    AgentReregisters {
        /// The link it came on.
        link: LinkId,
        /// Its id.
        agent: AgentId,
        /// Who it is.
        hello: Box<AgentHello>,
        /// What it runs.
        tasks: Vec<ReportedTask>,
        /// For whom.
        frameworks: Vec<Arc<v1::FrameworkInfo>>,
        /// What it ran, with an end that was acknowledged.
        completed: Vec<ReportedTask>,
    },
    /// The agent ended its tasks and leaves for good.
    AgentUnregisters {
        /// Its link.
        link: LinkId,
    },
    /// A status update of a task.
    TaskUpdate {
        /// The link it came on.
        link: LinkId,
        /// Whose task.
        framework: FrameworkId,
        /// The update itself, with its uuid.
        status: Box<v1::TaskStatus>,
        /// The newest state the agent knows.
        latest: TaskState,
    },
    /// A ping was answered.
    Pong {
        /// The link it came on.
        link: LinkId,
    },
    /// A link ended.
    LinkLost {
        /// Which.
        link: LinkId,
    },
    /// A scheduler subscribes. The answer is a SUBSCRIBED or ERROR event on the stream.
    Subscribe {
        /// Its new stream.
        stream: StreamId,
        /// The `Mesos-Stream-Id` given to it: what later calls must name.
        stream_token: Arc<str>,
        /// Its description; `id` set when it re-subscribes.
        info: Box<v1::FrameworkInfo>,
        /// Roles for which it wants no offers for now.
        suppressed_roles: Vec<String>,
    },
    /// Any other call of a scheduler.
    Scheduler {
        /// Who waits for the answer.
        call: CallId,
        /// For which framework.
        framework: FrameworkId,
        /// Who asks, if he had to say so.
        principal: Option<String>,
        /// The `Mesos-Stream-Id` header, if there was one.
        stream_token: Option<String>,
        /// What it wants.
        action: SchedulerAction,
    },
    /// An operator subscribes to the event stream.
    Watch {
        /// Its new stream.
        stream: StreamId,
    },
    /// A scheduler's or an operator's stream ended.
    StreamLost {
        /// Which.
        stream: StreamId,
    },
    /// A call of an operator that changes something.
    Operator {
        /// Who waits for the answer.
        call: CallId,
        /// What they want.
        action: OperatorAction,
    },
    /// The registry has written, or refused for good, what was asked of it.
    Persisted {
        /// Which write.
        ticket: Ticket,
        /// Whether it is on disk. A failed write ends the master's leadership.
        done: bool,
    },
    /// Time passed: timers that are due fire. See [`State::next_wakeup`](super::State::next_wakeup).
    Tick,
}

/// How an agent describes itself when it registers.
#[derive(Clone, Debug)]
pub struct AgentHello {
    /// SemVer.
    pub version: String,
    /// Its info as sent (`id` ignored; the id travels beside).
    pub info: v1::AgentInfo,
    /// Its total, checked.
    pub total: Resources,
    /// `ip:port` of its HTTP API.
    pub address: String,
    /// Names of its capabilities.
    pub capabilities: Vec<String>,
    /// The same through all tries of one start of the agent process.
    pub incarnation: String,
    /// What its link proves.
    pub proof: Proof,
}

/// A task as a returning agent reports it. A cluster comes back with hundreds of thousands of them, so nothing is kept
/// twice.
#[derive(Clone, Debug)]
pub struct ReportedTask {
    /// Its framework's id and its own.
    pub key: (FrameworkId, TaskId),
    /// Name, labels, container, …: what isn't said elsewhere.
    pub info: Arc<v1::Task>,
    /// The newest state.
    pub latest: TaskState,
    /// Its resources, checked and allocated to their role.
    pub resources: Resources,
    /// Its statuses, oldest first.
    pub statuses: Vec<Arc<v1::TaskStatus>>,
    /// State of the update that waits for its acknowledgement, if any.
    pub unacknowledged: Option<TaskState>,
    /// The uuid of that update.
    pub uuid: Option<Vec<u8>>,
}

impl ReportedTask {
    /// Takes a message apart whose `resources` were read and whose `unacknowledged` state was.
    pub fn new(mut task: v1::Task, resources: Resources, unacknowledged: Option<TaskState>) -> ReportedTask {
        let key = (
            FrameworkId::new(take(&mut task.framework_id.value)),
            TaskId::new(take(&mut task.task_id.value)),
        );
        let latest = TaskState::from(task.state());
        let statuses = fitted(take(&mut task.statuses).into_iter().map(Arc::new));
        let uuid =
            task.status_update_uuid.take().filter(|_| unacknowledged.is_some()).map(|uuid| uuid.to_vec());
        (task.agent_id, task.resources) = Default::default();
        if let Some(labels) = &mut task.labels {
            labels.labels = fitted(take(&mut labels.labels).into_iter());
        }
        ReportedTask { key, info: Arc::new(task), latest, resources, statuses, unacknowledged, uuid }
    }
}

/// In memory of just that size. Decoding makes room for more, collecting keeps all of what it collects from, and the
/// allocator leaves a list where it is that shrinks by less than half.
fn fitted<T>(all: impl ExactSizeIterator<Item = T>) -> Vec<T> {
    let mut list = Vec::with_capacity(all.len());
    list.extend(all);
    list
}

/// Calls of a scheduler other than SUBSCRIBE.
#[derive(Clone, Debug)]
pub enum SchedulerAction {
    /// End the framework and its tasks.
    Teardown,
    /// Use offers; what is left over is declined.
    Accept {
        /// Offers of one agent and one role.
        offers: Vec<OfferId>,
        /// In order.
        operations: Vec<v1::offer::Operation>,
        /// `filters.refuse_seconds` as sent.
        refuse_seconds: Option<f64>,
    },
    /// Give offers back.
    Decline {
        /// Which.
        offers: Vec<OfferId>,
        /// `filters.refuse_seconds` as sent.
        refuse_seconds: Option<f64>,
    },
    /// Forget filters and offer again; all own roles when empty.
    Revive {
        /// Which roles.
        roles: Vec<String>,
    },
    /// No offers until revived; all own roles when empty.
    Suppress {
        /// Which roles.
        roles: Vec<String>,
    },
    /// End a task.
    Kill {
        /// Which.
        task: TaskId,
        /// Where the scheduler believes it to be.
        agent: Option<AgentId>,
        /// `kill_policy.grace_period` of the call.
        grace: Option<Duration>,
    },
    /// An update arrived.
    Acknowledge {
        /// Where it came from.
        agent: AgentId,
        /// Of which task.
        task: TaskId,
        /// Its uuid.
        uuid: Vec<u8>,
    },
    /// Tell the state of these tasks, or of all when empty.
    Reconcile {
        /// Task and the agent it may be on.
        tasks: Vec<(TaskId, Option<AgentId>)>,
    },
    /// REQUEST: accepted, does nothing in this allocator (as in Mesos').
    Request,
    /// Describe the framework anew.
    UpdateFramework {
        /// All of the new description.
        info: Box<v1::FrameworkInfo>,
        /// Roles that want no offers from now on.
        suppressed_roles: Vec<String>,
    },
    /// Bytes for an executor.
    Message {
        /// Where it runs.
        agent: AgentId,
        /// Which.
        executor: ExecutorId,
    },
    /// End an executor.
    Shutdown {
        /// Where it runs.
        agent: AgentId,
        /// Which.
        executor: ExecutorId,
    },
    /// Tell the state of these operations, or of all when empty.
    ReconcileOperations {
        /// Which, and where they may be.
        operations: Vec<v1::scheduler::call::reconcile_operations::Operation>,
    },
    /// A call about what doesn't exist here (inverse offers, statuses of operations): ignored, as Mesos ignores
    /// unknown ones.
    Ignored(call::Type),
}

impl SchedulerAction {
    /// The type of its call.
    pub fn kind(&self) -> call::Type {
        use call::Type;
        match self {
            SchedulerAction::Teardown => Type::Teardown,
            SchedulerAction::Accept { .. } => Type::Accept,
            SchedulerAction::Decline { .. } => Type::Decline,
            SchedulerAction::Revive { .. } => Type::Revive,
            SchedulerAction::Suppress { .. } => Type::Suppress,
            SchedulerAction::Kill { .. } => Type::Kill,
            SchedulerAction::Acknowledge { .. } => Type::Acknowledge,
            SchedulerAction::Reconcile { .. } => Type::Reconcile,
            SchedulerAction::Request => Type::Request,
            SchedulerAction::UpdateFramework { .. } => Type::UpdateFramework,
            SchedulerAction::Message { .. } => Type::Message,
            SchedulerAction::Shutdown { .. } => Type::Shutdown,
            SchedulerAction::ReconcileOperations { .. } => Type::ReconcileOperations,
            SchedulerAction::Ignored(kind) => *kind,
        }
    }
}

/// Calls of an operator that change something.
#[derive(Clone, Debug)]
pub enum OperatorAction {
    /// End a framework and its tasks.
    Teardown {
        /// Which.
        framework: FrameworkId,
    },
    /// Declare an agent gone for ever.
    MarkAgentGone {
        /// Which.
        agent: AgentId,
    },
}

/// One offer as it goes out.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// Its id.
    pub id: OfferId,
    /// To whom.
    pub framework: FrameworkId,
    /// Of which agent.
    pub agent: AgentId,
    /// For which of the framework's roles.
    pub role: Role,
    /// Allocated to that role.
    pub resources: Resources,
}
