//! A host: the disk and the containers of an agent, which outlive its process.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use agent::logic::{
    Exit, Found, LaunchFailure, Recovered, RecoveredFramework, RecoveredRun, RecoveredUpdate, Run, Ticket,
    Write,
};
use model::{ContainerId, FrameworkId, Timestamp};
use wire::v1;

/// How far a container is.
#[derive(Clone, Debug)]
pub enum Stage {
    /// Being made.
    Preparing,
    /// Its command runs.
    Running,
    /// Its command ended.
    Exited(Exit),
    /// It could not be made.
    Failed(LaunchFailure),
}

/// A container.
#[derive(Clone, Debug)]
pub struct Container {
    /// Of which run.
    pub run: Arc<Run>,
    /// How far it is.
    pub stage: Stage,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Host {
    agent: Option<v1::AgentInfo>,
    frameworks: BTreeMap<FrameworkId, RecoveredFramework>,
    /// Writes that are under way, in order.
    pub writes: VecDeque<(Ticket, Write)>,
    /// All containers.
    pub containers: BTreeMap<ContainerId, Container>,
}

impl Host {
    /// What a starting agent finds.
    pub fn recovered(&self) -> Recovered {
        let found = |container: &Container| match &container.stage {
            Stage::Preparing | Stage::Running => Found::Running,
            Stage::Exited(exit) => Found::Exited(*exit),
            Stage::Failed(failure) => Found::Failed(failure.clone()),
        };
        Recovered {
            agent: self.agent.clone(),
            rebooted: false,
            frameworks: self.frameworks.clone(),
            containers: self.containers.iter().map(|(id, c)| (id.clone(), found(c))).collect(),
            strays: Vec::new(),
            errors: 0,
        }
    }

    /// The disk is wiped and everything on it ends.
    pub fn wipe(&mut self) {
        *self = Host::default();
    }

    /// The next agent registers as a new one.
    pub fn forget_agent(&mut self) {
        self.agent = None;
        self.frameworks.clear();
    }

    /// The first `count` pending writes are done, the others are lost.
    pub fn crash(&mut self, now: Timestamp, count: usize) {
        let pending: Vec<_> = self.writes.drain(..).take(count).collect();
        for (_, write) in pending {
            self.apply(now, write);
        }
    }

    /// Writes.
    pub fn apply(&mut self, now: Timestamp, write: Write) {
        match write {
            Write::Agent(info) => self.agent = Some(*info),
            Write::Framework { info, .. } => {
                if let Some(framework) =
                    info.id.as_ref().and_then(|id| self.frameworks.get_mut(id.value.as_str()))
                {
                    framework.info = info;
                }
            }
            Write::Task { run, framework, task } => {
                let entry = self
                    .frameworks
                    .entry(run.framework.clone())
                    .or_insert_with(|| RecoveredFramework { info: framework, runs: Vec::new() });
                entry.runs.push(RecoveredRun {
                    run,
                    info: task,
                    updates: Vec::new(),
                    done: false,
                    touched: now,
                });
            }
            Write::Update { run, status } => {
                self.change(now, &run, |found| {
                    found.updates.push(RecoveredUpdate { status, acknowledged: false });
                });
            }
            Write::Acknowledged { run, uuid } => self.change(now, &run, |found| {
                let update = found.updates.iter_mut().find(|update| update.status.uuid() == &uuid[..]);
                update.expect("only checkpointed updates are acknowledged").acknowledged = true;
            }),
            Write::Done { run } => self.change(now, &run, |found| found.done = true),
        }
    }

    /// The sandbox and checkpoints of a run go.
    pub fn collect(&mut self, run: &Run) {
        if let Some(framework) = self.frameworks.get_mut(&run.framework) {
            framework.runs.retain(|found| *found.run != *run);
        }
    }

    fn change(&mut self, now: Timestamp, run: &Run, change: impl FnOnce(&mut RecoveredRun)) {
        let framework = self.frameworks.get_mut(&run.framework);
        let found =
            framework.and_then(|framework| framework.runs.iter_mut().find(|found| *found.run == *run));
        if let Some(found) = found {
            found.touched = now;
            change(found);
        }
    }
}
