//! Everything that can happen to an agent: one closed list. Nothing else ever changes [`State`](super::State).

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{ContainerId, FrameworkId};
use wire::{link, v1};

use super::effect::Run;

/// One link to a master, numbered by the service; a number is never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkId(pub u64);

/// A write that was asked for by [`Checkpoint`](super::Effect::Checkpoint).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(pub u64);

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// What an earlier life left on disk and running. Always the first event, and only once.
    Recovered(Box<Recovered>),
    /// A link to the leading master stands; the agent speaks first.
    LinkUp {
        /// Which.
        link: LinkId,
    },
    /// The master said something.
    LinkSays {
        /// The link it came on.
        link: LinkId,
        /// The epoch that came with it.
        epoch: u64,
        /// The message.
        body: Box<link::from_master::Body>,
    },
    /// A link ended, or could not be made.
    LinkLost {
        /// Which.
        link: LinkId,
    },
    /// A checkpoint is on disk, or could not be written (nothing of it is left then).
    Checkpointed {
        /// Which.
        ticket: Ticket,
        /// Why it failed, for people.
        outcome: Result<(), String>,
    },
    /// The image and the sandbox of a container are there; its command starts next.
    ContainerPrepared {
        /// Which.
        container: ContainerId,
    },
    /// The command of a container runs, or was found running after a restart of the agent.
    ContainerStarted {
        /// Which.
        container: ContainerId,
        /// Process id on the host.
        pid: u32,
    },
    /// A container could not be started; nothing of it is left.
    ContainerFailed {
        /// Which.
        container: ContainerId,
        /// Why.
        failure: LaunchFailure,
    },
    /// The command of a container ended.
    ContainerExited {
        /// Which.
        container: ContainerId,
        /// How.
        exit: Exit,
    },
    /// A container is gone and nobody knows how it ended.
    ContainerLost {
        /// Which.
        container: ContainerId,
        /// What is known, for people.
        why: String,
    },
    /// Share of the work folder's disk that is used, from 0 to 1.
    DiskUsage {
        /// The share.
        used: f64,
    },
    /// A container uses more disk than its task asked for, and that is enforced.
    DiskQuotaExceeded {
        /// Which.
        container: ContainerId,
        /// How much of how much, for people.
        why: String,
    },
    /// A sandbox was deleted, or could not be.
    Collected {
        /// Whether it is gone.
        removed: bool,
    },
    /// An operator wants one container's task ended. Mesos: KILL_CONTAINER.
    KillContainer {
        /// Which.
        container: ContainerId,
        /// Time between SIGTERM and SIGKILL; none leaves it to the task's kill policy.
        grace: Option<std::time::Duration>,
    },
    /// The operator wants the agent to end its tasks and leave for good. Mesos: SIGUSR1.
    ShutdownRequested,
    /// Time passed: timers that are due fire. See [`State::next_wakeup`](super::State::next_wakeup).
    Tick,
}

/// Why a container could not be started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LaunchFailure {
    /// What kind.
    pub kind: LaunchFailureKind,
    /// What was tried, on what, and what to do; for people.
    pub message: String,
}

/// What kind of failure, which decides the state of the task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LaunchFailureKind {
    /// The task's description can't work anywhere: TASK_ERROR.
    Invalid,
    /// It did not work here and now: TASK_FAILED.
    Failed,
    /// A kill came first: TASK_KILLED.
    Killed,
}

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exit {
    /// The command's own status.
    pub status: ExitStatus,
    /// Whether the kernel killed a process of the container for want of memory.
    pub out_of_memory: bool,
    /// Set when a kill of ours came before the end.
    pub killed: Option<KillCause>,
}

/// Status of a process that ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExitStatus {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

/// Why a command was killed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KillCause {
    /// A kill was asked for.
    Requested,
    /// It ran longer than its `max_completion_time`.
    CompletionTime,
    /// It used more disk than it asked for.
    DiskQuota,
}

/// What an earlier life of the agent left.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The agent as it last registered, `id` set.
    pub agent: Option<v1::AgentInfo>,
    /// The host was rebooted since: nothing of before runs.
    pub rebooted: bool,
    /// Frameworks with checkpointing.
    pub frameworks: BTreeMap<FrameworkId, RecoveredFramework>,
    /// Containers that were found, by id: of these tasks and of others.
    pub containers: BTreeMap<ContainerId, Found>,
    /// Damaged checkpoints that were skipped.
    pub errors: u64,
    /// Sandboxes that no checkpoint names, and when they were last written to.
    pub strays: Vec<(model::Timestamp, Arc<Run>)>,
}

/// A framework on disk.
#[derive(Clone, Debug)]
pub struct RecoveredFramework {
    /// As last told.
    pub info: Arc<v1::FrameworkInfo>,
    /// Its runs, in any order.
    pub runs: Vec<RecoveredRun>,
}

/// One run of a task on disk.
#[derive(Clone, Debug)]
pub struct RecoveredRun {
    /// Where it lies.
    pub run: Arc<Run>,
    /// The task as it was launched.
    pub info: Arc<v1::TaskInfo>,
    /// Its updates, oldest first.
    pub updates: Vec<RecoveredUpdate>,
    /// It ended, and that was acknowledged.
    pub done: bool,
    /// When the last of it was written, microseconds since the epoch.
    pub touched: model::Timestamp,
}

/// A checkpointed status update.
#[derive(Clone, Debug)]
pub struct RecoveredUpdate {
    /// The update with its uuid.
    pub status: Arc<v1::TaskStatus>,
    /// Whether the scheduler has it.
    pub acknowledged: bool,
}

/// A container that the runtime knows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// Its keeper answers: it runs, or starts.
    Running,
    /// It ended while the agent was away.
    Exited(Exit),
    /// Its start failed while the agent was away.
    Failed(LaunchFailure),
    /// Its keeper is gone and left no record.
    Lost(String),
}
