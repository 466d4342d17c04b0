//! Where things lie in the work folder, in Apache Mesos' layout.
//!
//! ```text
//! slaves/<agent>/frameworks/<fw>/executors/<ex>/runs/<container>   sandbox; runs/latest -> <container>
//! meta/boot_id
//! meta/slaves/latest -> <agent>
//! meta/slaves/<agent>/slave.info
//! meta/slaves/<agent>/frameworks/<fw>/framework.info
//! meta/slaves/<agent>/frameworks/<fw>/executors/<ex>/executor.info
//! meta/slaves/<agent>/frameworks/<fw>/executors/<ex>/runs/<container>/executor.sentinel
//! meta/slaves/<agent>/frameworks/<fw>/executors/<ex>/runs/<container>/tasks/<task>/{task.info,task.updates}
//! provisioner/containers/<container>                               root filesystems
//! ```
//!
//! What of an id a file name can't hold is percent-encoded, see `names`.

use std::path::{Path, PathBuf};

use model::{AgentId, ContainerId, ExecutorId, FrameworkId, TaskId};

use crate::logic::Run;
use crate::names::{decode, encode};

/// The work folder.
#[derive(Clone, Debug)]
pub struct Paths {
    work_dir: PathBuf,
}

impl Paths {
    /// Below this folder.
    pub fn new(work_dir: impl Into<PathBuf>) -> Paths {
        Paths { work_dir: work_dir.into() }
    }

    /// The folder itself.
    pub fn work_dir(&self) -> &Path {
        &self.work_dir
    }

    /// Checkpoints.
    pub fn meta(&self) -> PathBuf {
        self.work_dir.join("meta")
    }

    /// Sandboxes of all agents that this one has ever been.
    pub fn sandboxes(&self) -> PathBuf {
        self.work_dir.join("slaves")
    }

    /// Root filesystems of containers.
    pub fn provisioner(&self) -> PathBuf {
        self.work_dir.join("provisioner").join("containers")
    }

    /// Root filesystem of one container.
    pub fn rootfs(&self, container: &ContainerId) -> PathBuf {
        self.provisioner().join(encode(container.as_str()))
    }

    /// Image layers, unless the operator wants them elsewhere.
    pub fn images(&self) -> PathBuf {
        self.work_dir.join("images")
    }

    /// The sandbox of a run.
    pub fn sandbox(&self, run: &Run) -> PathBuf {
        self.sandboxes().join(below_slaves(run))
    }

    /// The checkpoints of a run.
    pub(crate) fn meta_run(&self, run: &Run) -> PathBuf {
        self.meta().join("slaves").join(below_slaves(run))
    }

    /// The checkpoints of an agent.
    pub(crate) fn meta_agent(&self, agent: &AgentId) -> PathBuf {
        self.meta().join("slaves").join(encode(agent.as_str()))
    }

    /// The checkpoints of a framework.
    pub(crate) fn meta_framework(&self, agent: &AgentId, framework: &FrameworkId) -> PathBuf {
        self.meta_agent(agent).join("frameworks").join(encode(framework.as_str()))
    }
}

fn below_slaves(run: &Run) -> PathBuf {
    let parts = [
        encode(run.agent.as_str()),
        "frameworks".to_owned(),
        encode(run.framework.as_str()),
        "executors".to_owned(),
        encode(run.executor.as_str()),
        "runs".to_owned(),
        encode(run.container.as_str()),
    ];
    parts.iter().collect()
}

/// The run that a sandbox or checkpoint folder below `slaves` belongs to.
pub(crate) fn run_of(agent: &str, framework: &str, executor: &str, container: &str) -> Option<Run> {
    let executor = decode(executor)?;
    Some(Run {
        agent: AgentId::new(decode(agent)?),
        framework: FrameworkId::new(decode(framework)?),
        task: TaskId::new(executor.as_str()),
        executor: ExecutorId::new(executor),
        container: ContainerId::new(decode(container)?),
    })
}
