//! The state of an agent: plain data. Behaviour stands in the files named by noun beside this one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use model::random::Random;
use model::{AgentId, ContainerId, FrameworkId, Resources, TaskId, TaskState, Timestamp};
use wire::v1;

use super::counts::Counts;
use super::effect::Run;
use super::event::{LinkId, Ticket};
use super::reconfiguration::Reconfiguration;
use super::updates::Stream;

/// What never changes while the process lives.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The agent's own description, `id` unset.
    pub info: v1::AgentInfo,
    /// All it has, as in `info`.
    pub total: Resources,
    /// `ip:port` of its HTTP API.
    pub address: String,
    /// Address that tasks on the host's network have.
    pub host_ip: String,
    /// SemVer.
    pub version: String,
    /// Names of its capabilities.
    pub capabilities: Vec<String>,
    /// Random per start of the process.
    pub incarnation: String,
    /// What may be different after a restart.
    pub reconfiguration: Reconfiguration,
    /// First back-off of a registration; it doubles. Mesos: 1 s.
    pub registration_backoff: Duration,
    /// Time a task has to end when its framework or the agent is shut down. Mesos: 5 s.
    pub shutdown_grace: Duration,
    /// Longest life of a finished sandbox. Mesos: 1 week.
    pub gc_delay: Duration,
    /// Share of the disk that garbage collection keeps free. Mesos: 0.1.
    pub gc_disk_headroom: f64,
    /// Finished frameworks kept in memory. Mesos: 50.
    pub max_completed_frameworks: usize,
    /// Finished executors, that is tasks, kept in memory per framework. Mesos: 150.
    pub max_completed_executors: usize,
}

/// What names a task on one agent.
pub type TaskKey = (FrameworkId, TaskId);

/// How far a task has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Its checkpoint is being written.
    Saving,
    /// Its image is pulled, its container made.
    Launching,
    /// Its command runs.
    Running,
    /// Nothing of it runs any more.
    Ended,
}

/// A task that this agent was told to run.
#[derive(Clone, Debug)]
pub struct Task {
    /// Names and folders.
    pub run: Arc<Run>,
    /// As told.
    pub info: Arc<v1::TaskInfo>,
    /// What it uses.
    pub resources: Resources,
    /// User it runs as.
    pub user: Option<String>,
    /// The epoch of the master that ordered it, 0 in a later life of the agent.
    pub epoch: u64,
    /// How far it has come.
    pub stage: Stage,
    /// The state last said of it; STAGING before anything was.
    pub state: TaskState,
    /// The grace period of the kill that was asked for.
    pub kill: Option<Duration>,
    /// It uses more disk than it asked for and is ended for that; how much, for people.
    pub over_quota: Option<String>,
    /// Its command was started.
    pub ran: bool,
    /// Process id on the host once it runs.
    pub pid: Option<u32>,
    /// The last of each run of equal states, without `data`.
    pub statuses: Vec<Arc<v1::TaskStatus>>,
}

/// A framework with tasks here, or formerly.
#[derive(Clone, Debug)]
pub struct Framework {
    /// Its id.
    pub id: FrameworkId,
    /// As last told, `id` set.
    pub info: Arc<v1::FrameworkInfo>,
    /// It was shut down: its tasks are ending and nobody wants to hear of them.
    pub terminating: bool,
    /// Tasks, those included whose end is not acknowledged yet.
    pub tasks: BTreeMap<TaskId, Arc<Task>>,
    /// Tasks whose end is acknowledged, oldest first.
    pub completed: VecDeque<Arc<Task>>,
}

impl Framework {
    pub(super) fn new(id: FrameworkId, info: Arc<v1::FrameworkInfo>) -> Framework {
        Framework { id, info, terminating: false, tasks: BTreeMap::new(), completed: VecDeque::new() }
    }

    /// Whether its tasks survive a restart of the agent.
    pub fn checkpoints(&self) -> bool {
        self.info.checkpoint()
    }
}

/// Where the agent stands with the master.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Standing {
    /// No link.
    Apart,
    /// A link, not registered on it yet.
    Linked {
        link: LinkId,
        /// Tries so far.
        tries: u32,
        /// When the next is due.
        next: Timestamp,
    },
    /// Registered.
    Registered {
        link: LinkId,
        /// The master is looked for anew when no ping came for this long.
        ping_timeout: Duration,
        /// When the last came.
        pinged: Timestamp,
    },
}

/// What waits for a ticket.
#[derive(Clone, Debug)]
pub(super) enum Waiting {
    /// The agent's own id.
    Agent,
    /// A task's launch.
    Task(TaskKey, ContainerId),
    /// The sending of an update.
    Update(TaskKey, bytes::Bytes),
    /// The next update.
    Acknowledged(TaskKey, bytes::Bytes),
    /// A finished run: its record is tried again until it is there.
    Done(Arc<Run>),
    /// Nothing but a warning when it fails.
    Nothing,
}

/// The agent is on its way out.
#[derive(Clone, Debug)]
pub(super) struct Leaving {
    /// Whether the master is to be told.
    pub(super) unregister: bool,
    /// For people.
    pub(super) why: String,
    /// It leaves at this time even if something still runs.
    pub(super) deadline: Timestamp,
    /// Everything has ended; until this time acknowledgements are waited for.
    pub(super) ended: Option<Timestamp>,
}

/// Everything an agent knows.
#[derive(Clone, Debug)]
pub struct State {
    pub(super) settings: Arc<Settings>,
    pub(super) random: Random,
    pub(super) agent: Option<AgentId>,
    pub(super) master: Option<String>,
    pub(super) epoch: u64,
    pub(super) standing: Standing,
    pub(super) recovered: bool,
    pub(super) frameworks: BTreeMap<FrameworkId, Framework>,
    pub(super) completed_frameworks: VecDeque<Framework>,
    pub(super) containers: BTreeMap<ContainerId, TaskKey>,
    pub(super) streams: BTreeMap<TaskKey, Stream>,
    pub(super) tickets: BTreeMap<Ticket, Waiting>,
    pub(super) next_ticket: u64,
    pub(super) garbage: VecDeque<(Timestamp, Arc<Run>)>,
    /// Finished runs of which the disk did not take the record.
    pub(super) undone: VecDeque<Arc<Run>>,
    /// When the first of them is tried again.
    pub(super) undone_due: Option<Timestamp>,
    pub(super) disk_used: f64,
    pub(super) counts: Counts,
    pub(super) leaving: Option<Leaving>,
    pub(super) left: bool,
}

/// What the HTTP API shows: shares all rows with the state it was taken from.
#[derive(Clone, Debug)]
pub struct View {
    /// Settings of the process.
    pub settings: Arc<Settings>,
    /// The agent's id once it has registered.
    pub agent: Option<AgentId>,
    /// Whether it is registered right now.
    pub registered: bool,
    /// Frameworks with tasks.
    pub frameworks: BTreeMap<FrameworkId, Framework>,
    /// Frameworks of before, oldest first.
    pub completed_frameworks: VecDeque<Framework>,
    /// What happened since the process started.
    pub counts: Counts,
    /// Sandboxes that wait for their deletion.
    pub garbage: usize,
    /// How old they get.
    pub garbage_age: Duration,
}

impl View {
    /// Every run whose sandbox may be on disk, running ones first.
    pub fn tasks(&self) -> impl Iterator<Item = (&Framework, &Arc<Task>)> {
        let live = self.frameworks.values().flat_map(|f| f.tasks.values().map(move |t| (f, t)));
        let frameworks = self.frameworks.values().chain(self.completed_frameworks.iter());
        live.chain(frameworks.flat_map(|f| f.completed.iter().map(move |t| (f, t))))
    }
}
