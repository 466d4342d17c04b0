//! A host: the disk and the containers of an agent, which outlive its process.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use agent::logic::{
    Exit, Found, LaunchFailure, Recovered, RecoveredFramework, RecoveredRun, RecoveredUpdate, Run, Ticket,
    Write,
};
use model::{ContainerId, FrameworkId, TaskId, TaskState, Timestamp};
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
    /// The task as it was launched.
    pub task: Arc<v1::TaskInfo>,
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
    /// Tasks whose end could not be written.
    pub unkept_ends: BTreeSet<(FrameworkId, TaskId)>,
    /// Tasks of which it could not be written that their scheduler knows as much as it does.
    pub unkept_answers: BTreeSet<(FrameworkId, TaskId)>,
    /// Those of either kind whose agent ended before the disk made up for it: the next one can't know what was said.
    forgotten_ends: BTreeSet<(FrameworkId, TaskId)>,
    forgotten_answers: BTreeSet<(FrameworkId, TaskId)>,
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

    /// Whether it is on disk which agent this is.
    pub fn is_named(&self) -> bool {
        self.agent.is_some()
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
        self.forgotten_ends.extend(std::mem::take(&mut self.unkept_ends));
        self.forgotten_answers.extend(std::mem::take(&mut self.unkept_answers));
    }

    /// Whether this host may say a state of a task although it said its end before.
    pub fn may_repeat(&self, key: &(FrameworkId, TaskId), state: TaskState) -> bool {
        self.forgotten_ends.contains(key) || !state.is_terminal() && self.forgotten_answers.contains(key)
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
            Write::Acknowledged { run, uuid } => {
                self.unkept_answers.remove(&key_of(&run));
                // An update that could not be written is acknowledged all the same, to no effect.
                self.change(now, &run, |found| {
                    let update = found.updates.iter_mut().find(|update| update.status.uuid() == &uuid[..]);
                    update.into_iter().for_each(|update| update.acknowledged = true);
                });
            }
            Write::Done { run } => {
                self.unkept_answers.remove(&key_of(&run));
                self.change(now, &run, |found| found.done = true);
            }
        }
    }

    /// The disk does not take a write: nothing of it is left.
    pub fn refuse(&mut self, write: &Write) {
        match write {
            Write::Update { run, status } if ends(status) => drop(self.unkept_ends.insert(key_of(run))),
            Write::Acknowledged { run, .. } | Write::Done { run } => {
                self.unkept_answers.insert(key_of(run));
            }
            _ => {}
        }
    }

    /// All runs on disk, by framework.
    pub fn runs(&self) -> impl Iterator<Item = (&FrameworkId, &Vec<RecoveredRun>)> {
        self.frameworks.iter().map(|(id, framework)| (id, &framework.runs))
    }

    fn found(&self, run: &Run) -> Option<&RecoveredRun> {
        self.frameworks.get(&run.framework)?.runs.iter().find(|found| *found.run == *run)
    }

    /// Whether a run is on disk.
    pub fn has(&self, run: &Run) -> bool {
        self.found(run).is_some()
    }

    /// Whether a status is of a run on disk, so that it must be there too.
    pub fn keeps(&self, (framework, task): &(FrameworkId, TaskId), status: &v1::TaskStatus) -> bool {
        let container = status.container_status.as_ref().and_then(|c| c.container_id.as_ref());
        let (Some(container), Some(framework)) = (container, self.frameworks.get(framework)) else {
            return false;
        };
        let same = |found: &RecoveredRun| {
            found.run.task == *task && found.run.container.as_str() == container.value.as_str()
        };
        framework.runs.iter().any(same)
    }

    /// Whether a run is on disk but its end is not, though the disk took all that it was given.
    pub fn misses_end_of(&self, run: &Run) -> bool {
        let Some(found) = self.found(run) else { return false };
        let ended = found.done || found.updates.iter().any(|update| ends(&update.status));
        !ended && !self.unkept_ends.contains(&key_of(run))
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

fn ends(status: &v1::TaskStatus) -> bool {
    TaskState::from(status.state()).is_terminal()
}

fn key_of(run: &Run) -> (FrameworkId, TaskId) {
    (run.framework.clone(), run.task.clone())
}
