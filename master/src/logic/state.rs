//! The state of a leading master: plain data. Behaviour stands in the files named by noun beside this one.
//!
//! Rows are `Arc`s in copy-on-write tables, so that a published view (see `crate::view`) costs microseconds and an
//! unchanged row is shared between views.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use model::random::Random;
use model::{AgentId, FrameworkId, MasterId, OfferId, Resources, Role, TaskId, TaskState, Timestamp};
use wire::v1;

use super::event::{LinkId, Offer, StreamId};
use super::table::Table;
use super::tally::Tally;

/// What never changes during a leadership.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Random per start.
    pub master: MasterId,
    /// Grows with each leader of the same registry.
    pub epoch: u64,
    /// Between two pings of an agent. Mesos: 15 s.
    pub agent_ping_timeout: std::time::Duration,
    /// Pings missed before an agent is unreachable. Mesos: 5.
    pub max_agent_ping_timeouts: u32,
    /// How long a disconnected or recovered agent may stay away. Mesos: 10 min.
    pub agent_reregister_timeout: std::time::Duration,
    /// Between two rounds of the allocator. Mesos: 1 s.
    pub allocation_interval: std::time::Duration,
    /// Between two heartbeats of a scheduler stream. Mesos: 15 s.
    pub heartbeat_interval: std::time::Duration,
    /// Offers are rescinded after this long, if set.
    pub offer_timeout: Option<std::time::Duration>,
    /// Completed frameworks kept. Mesos: 50.
    pub max_completed_frameworks: usize,
    /// Completed tasks kept per framework. Mesos: 1000.
    pub max_completed_tasks: usize,
    /// Unreachable tasks kept per framework. Mesos: 1000.
    pub max_unreachable_tasks: usize,
    /// Frameworks with user root are accepted. Mesos: true.
    pub root_submissions: bool,
    /// Region and zone of the master.
    pub domain: Option<v1::DomainInfo>,
    /// Agents without a domain are refused.
    pub require_agent_domain: bool,
    /// Least time between two agents that are marked unreachable, if set.
    pub agent_removal_interval: Option<std::time::Duration>,
    /// Share of the agents of the registry that may be lost when a new leader waits for them. Mesos: 1.
    pub recovery_agent_removal_limit: f64,
    /// Operators that watch at once; the oldest is closed beyond this. Mesos: 1000.
    pub max_watchers: usize,
    /// Between two prunings of the registry. Mesos: 15 min.
    pub registry_gc_interval: std::time::Duration,
    /// Unreachable and gone agents older than this are forgotten. Mesos: two weeks.
    pub registry_max_agent_age: std::time::Duration,
    /// Unreachable agents beyond this number are forgotten, the oldest first; gone ones likewise. Mesos: 102,400.
    pub registry_max_agent_count: usize,
}

/// What an agent said of itself and that offers and views show.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentFacts {
    /// Its id.
    pub id: AgentId,
    /// As registered, `id` set.
    pub info: v1::AgentInfo,
    /// `ip:port` of its HTTP API.
    pub address: String,
    /// SemVer.
    pub version: String,
    /// Names of its capabilities.
    pub capabilities: Vec<String>,
}

/// A registered agent.
#[derive(Clone, Debug)]
pub struct Agent {
    /// What it said of itself.
    pub facts: Arc<AgentFacts>,
    /// All it has.
    pub total: Resources,
    /// What its tasks use, by framework, allocated to their roles.
    pub used: BTreeMap<FrameworkId, Resources>,
    /// What is offered, by offer.
    pub offers: BTreeMap<OfferId, Resources>,
    /// Its link while it is connected.
    pub link: Option<LinkId>,
    /// Gets offers made of it.
    pub active: bool,
    /// First registration with this master.
    pub registered: Timestamp,
    /// Last re-registration.
    pub reregistered: Option<Timestamp>,
    /// When the link was lost.
    pub disconnected: Option<Timestamp>,
    /// Pings not answered in a row.
    pub pings_missed: u32,
    /// Same through all tries of one start of the agent process.
    pub incarnation: String,
    /// Kills asked for while it was away.
    pub pending_kills: Vec<(FrameworkId, TaskId, Option<std::time::Duration>)>,
}

/// A framework.
#[derive(Clone, Debug)]
pub struct Framework {
    /// Its id.
    pub id: FrameworkId,
    /// As it last described itself, `id` set.
    pub info: Arc<v1::FrameworkInfo>,
    /// Its roles, checked.
    pub roles: Vec<Role>,
    /// Roles that want no offers.
    pub suppressed: Vec<Role>,
    /// Its stream while it is connected.
    pub stream: Option<StreamId>,
    /// What its calls must name.
    pub stream_token: Option<Arc<str>>,
    /// Gets offers.
    pub active: bool,
    /// Known from agents only, not subscribed since this master leads.
    pub recovered: bool,
    /// First subscription.
    pub registered: Timestamp,
    /// Last re-subscription.
    pub reregistered: Option<Timestamp>,
    /// When it was removed.
    pub unregistered: Option<Timestamp>,
    /// Bumped by each subscription.
    pub generation: u64,
    /// Tasks that ended and were acknowledged, oldest first.
    pub completed: VecDeque<Arc<Task>>,
}

/// A task that a framework launched.
#[derive(Clone, Debug)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// Whose.
    pub framework: FrameworkId,
    /// Where.
    pub agent: AgentId,
    /// Name, labels, container, … as launched: what isn't said elsewhere in this row.
    pub info: Arc<v1::Task>,
    /// Allocated to their role.
    pub resources: Resources,
    /// The newest state the agent told, by which resources count.
    pub latest: TaskState,
    /// The state last sent to the framework.
    pub sent: TaskState,
    /// Uuid of the update last sent, while its acknowledgement is due.
    pub unacknowledged: Option<Vec<u8>>,
    /// The last of each run of equal states, without `data`.
    pub statuses: Vec<Arc<v1::TaskStatus>>,
    /// When its agent was marked unreachable.
    pub unreachable_since: Option<Timestamp>,
}

/// Everything a leading master knows.
#[derive(Clone, Debug)]
pub struct State {
    /// What never changes.
    pub settings: Arc<Settings>,
    /// Registered agents.
    pub agents: Table<AgentId, Agent>,
    /// In the registry, not back since this master leads.
    pub recovered: Table<AgentId, v1::AgentInfo>,
    /// Marked unreachable, and since when.
    pub unreachable: BTreeMap<AgentId, Timestamp>,
    /// Declared gone, and when.
    pub gone: BTreeMap<AgentId, Timestamp>,
    /// Subscribed and recovered frameworks.
    pub frameworks: Table<FrameworkId, Framework>,
    /// Removed frameworks, oldest first.
    pub completed_frameworks: VecDeque<Arc<Framework>>,
    /// Tasks on registered agents, ended but unacknowledged ones included.
    pub tasks: Table<(FrameworkId, TaskId), Task>,
    /// Tasks on agents that don't answer.
    pub unreachable_tasks: Table<(FrameworkId, TaskId), Task>,
    /// Outstanding offers.
    pub offers: Table<OfferId, Offer>,
    /// Seeded once by the service.
    pub random: Random,
    /// When this leadership began.
    pub elected: Timestamp,
    /// What has happened how often.
    pub tally: Tally,
    /// Private bookkeeping of the logic: timers, waits, indexes, filters, shares.
    pub(super) inner: super::Inner,
}
