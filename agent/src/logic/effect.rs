//! Everything an agent can do to the world: one closed list, carried out by the service in order.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::{AgentId, ContainerId, ExecutorId, FrameworkId, TaskId};
use wire::{link, v1};

use super::event::{LinkId, Ticket};

/// Names one run of one task, and so every folder of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Run {
    /// This agent.
    pub agent: AgentId,
    /// Whose.
    pub framework: FrameworkId,
    /// Mesos: a command task's executor has the task's id.
    pub executor: ExecutorId,
    /// Which task.
    pub task: TaskId,
    /// In which container; a task id that is used again gets another.
    pub container: ContainerId,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Look for the leading master and link up with it; try again for as long as it takes.
    Connect,
    /// Drop this link, look for the leading master anew and link up with it.
    Reconnect {
        /// Which.
        link: LinkId,
    },
    /// Say something to the master.
    ToMaster {
        /// On which link; a link that is no longer the current one swallows it.
        link: LinkId,
        /// The message.
        body: Box<link::from_agent::Body>,
    },
    /// Write, then say [`Checkpointed`](super::Event::Checkpointed). Writes are carried out in the order of their
    /// tickets; what depends on one waits in the state.
    Checkpoint {
        /// Names the write.
        ticket: Ticket,
        /// What to write.
        write: Write,
    },
    /// Start the command of a task.
    Launch(Box<Launch>),
    /// Reconnect to the keeper of a container that was found running. What already happened is told again.
    Reattach {
        /// Which.
        run: Arc<Run>,
    },
    /// End a container, in whatever stage its start is: SIGTERM, and SIGKILL after the grace period.
    Kill {
        /// Which.
        container: ContainerId,
        /// The grace period.
        grace: Duration,
    },
    /// End a container at once for using more disk than it may, and let its record say so.
    Evict {
        /// Which.
        container: ContainerId,
    },
    /// Remove whatever is left of a container but its sandbox: processes, cgroups, snapshot, exit record.
    Destroy {
        /// Which.
        container: ContainerId,
    },
    /// Delete the sandbox and the checkpoints of a run.
    Collect {
        /// Which.
        run: Arc<Run>,
    },
    /// Forget the agent's id, so that the next start registers as a new agent.
    ForgetAgent,
    /// Tell people.
    Warn(String),
    /// End the process once everything before is done.
    Exit {
        /// Whether this is a regular end.
        clean: bool,
        /// Why, for people.
        why: String,
    },
}

/// What is written to disk.
#[derive(Clone, Debug)]
pub enum Write {
    /// The agent itself as registered, `id` set.
    Agent(Box<v1::AgentInfo>),
    /// A framework whose info changed.
    Framework {
        /// This agent.
        agent: AgentId,
        /// As last told, `id` set.
        info: Arc<v1::FrameworkInfo>,
    },
    /// A new run: framework, executor and task.
    Task {
        /// Where.
        run: Arc<Run>,
        /// As told, `id` set.
        framework: Arc<v1::FrameworkInfo>,
        /// As told.
        task: Arc<v1::TaskInfo>,
    },
    /// A status update, before it is sent.
    Update {
        /// Of which run.
        run: Arc<Run>,
        /// With its uuid.
        status: Arc<v1::TaskStatus>,
    },
    /// The acknowledgement of an update.
    Acknowledged {
        /// Of which run.
        run: Arc<Run>,
        /// Of which update.
        uuid: Bytes,
    },
    /// A run whose end is acknowledged: recovery need not look at it again.
    Done {
        /// Which.
        run: Arc<Run>,
    },
}

/// Everything that starting a task needs.
#[derive(Clone, PartialEq, Debug)]
pub struct Launch {
    /// Names and folders.
    pub run: Arc<Run>,
    /// Whose task.
    pub framework: Arc<v1::FrameworkInfo>,
    /// What to run.
    pub task: Arc<v1::TaskInfo>,
    /// Time between SIGTERM and SIGKILL when nobody says otherwise.
    pub grace: Duration,
    /// The epoch of the master that ordered it.
    pub epoch: u64,
}
