//! Frameworks and their tasks as they come, end and go.

use std::sync::Arc;

use model::{FrameworkId, Timestamp};
use wire::v1;

use super::effect::{Effect, Run, Write};
use super::state::{Framework, Stage, State, Task, TaskKey, Waiting};
use super::updates::FIRST_RETRY;

impl State {
    pub(super) fn update_framework(&mut self, info: v1::FrameworkInfo, out: &mut Vec<Effect>) {
        let Some(id) = info.id.as_ref().map(FrameworkId::from) else { return };
        let (Some(framework), Some(agent)) = (self.frameworks.get_mut(&id), self.agent.clone()) else {
            return;
        };
        if *framework.info == info {
            return;
        }
        framework.info = Arc::new(info);
        let info = framework.info.clone();
        if info.checkpoint() {
            self.checkpoint(Waiting::Nothing, Write::Framework { agent, info }, out);
        }
    }

    /// Whether a task has ended.
    pub(super) fn ended(&self, key: &TaskKey) -> bool {
        self.task(key).is_some_and(|t| t.stage == Stage::Ended)
    }

    /// The end of a task is acknowledged (or nobody wants to hear of it): it moves to the completed ones.
    pub(super) fn complete(&mut self, now: Timestamp, key: &TaskKey, out: &mut Vec<Effect>) {
        let most = self.settings.max_completed_executors;
        let Some(framework) = self.frameworks.get_mut(&key.0) else { return };
        let Some(task) = framework.tasks.remove(&key.1) else { return };
        let run = task.run.clone();
        let (saved, ran) = (framework.checkpoints(), task.ran);
        framework.completed.push_back(task);
        while framework.completed.len() > most {
            framework.completed.pop_front();
        }
        self.containers.remove(&run.container);
        if saved {
            self.checkpoint(Waiting::Done(run.clone()), Write::Done { run: run.clone() }, out);
        }
        if ran {
            self.garbage.push_back((now, run));
        } else {
            // There is nothing in its sandbox to look at.
            out.push(Effect::Collect { run });
        }
        self.retire(&key.0);
    }

    /// The disk answered the record of a finished run. Without it a restart would tell the task's end once more, so it
    /// is tried again: one at a time, and all of them once the disk takes one.
    pub(super) fn done_checkpointed(
        &mut self,
        now: Timestamp,
        run: Arc<Run>,
        done: bool,
        out: &mut Vec<Effect>,
    ) {
        if !done {
            self.undone.push_back(run);
            self.undone_due.get_or_insert(now + FIRST_RETRY);
            return;
        }
        self.undone_due = None;
        for run in std::mem::take(&mut self.undone) {
            self.checkpoint(Waiting::Done(run.clone()), Write::Done { run }, out);
        }
    }

    pub(super) fn retry_done(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        if self.undone_due.is_some_and(|due| due <= now) {
            self.undone_due = None;
            if let Some(run) = self.undone.pop_front() {
                self.checkpoint(Waiting::Done(run.clone()), Write::Done { run }, out);
            }
        }
    }

    /// A framework has a task here, perhaps not for the first time.
    pub(super) fn enlist(&mut self, id: &FrameworkId, info: &Arc<v1::FrameworkInfo>) {
        let former = self.completed_frameworks.iter().position(|f| f.id == *id);
        let framework = self.frameworks.entry(id.clone()).or_insert_with(|| {
            let former = former.and_then(|at| self.completed_frameworks.remove(at));
            former.unwrap_or_else(|| Framework::new(id.clone(), info.clone()))
        });
        framework.info = info.clone();
    }

    /// A framework without tasks becomes a completed one.
    pub(super) fn retire(&mut self, id: &FrameworkId) {
        if self.frameworks.get(id).is_none_or(|f| !f.tasks.is_empty()) {
            return;
        }
        let Some(mut framework) = self.frameworks.remove(id) else { return };
        if std::mem::take(&mut framework.terminating) {
            self.streams.retain(|(of, _), _| of != id);
        }
        self.completed_frameworks.push_back(framework);
        while self.completed_frameworks.len() > self.settings.max_completed_frameworks {
            self.completed_frameworks.pop_front();
        }
    }

    pub(super) fn insert(&mut self, key: TaskKey, task: Task) {
        self.containers.insert(task.run.container.clone(), key.clone());
        if let Some(framework) = self.frameworks.get_mut(&key.0) {
            framework.tasks.insert(key.1, Arc::new(task));
        }
    }

    pub(super) fn task(&self, key: &TaskKey) -> Option<&Arc<Task>> {
        self.frameworks.get(&key.0)?.tasks.get(&key.1)
    }

    pub(super) fn task_mut(&mut self, key: &TaskKey) -> Option<&mut Task> {
        self.frameworks.get_mut(&key.0)?.tasks.get_mut(&key.1).map(Arc::make_mut)
    }
}

impl Task {
    /// The task as the master and readers are shown it: without the values of its secrets.
    pub fn to_wire(&self) -> v1::Task {
        let info = &self.info;
        let mut shown = v1::Task {
            name: info.name.clone(),
            task_id: info.task_id.clone(),
            framework_id: (&self.run.framework).into(),
            // Mesos: unset for command tasks, whose executor is the agent's own business.
            executor_id: None,
            agent_id: (&self.run.agent).into(),
            state: v1::TaskState::from(self.state).into(),
            resources: info.resources.clone(),
            statuses: self.statuses.iter().map(|s| (**s).clone()).collect(),
            status_update_state: None,
            status_update_uuid: None,
            labels: info.labels.clone(),
            discovery: info.discovery.clone().map(Box::new),
            container: info.container.clone().map(Box::new),
            health_check: info.health_check.clone().map(Box::new),
            kill_policy: info.kill_policy,
            user: self.user.clone(),
            limits: info.limits.clone(),
        };
        model::secrets::hide_in_task(&mut shown);
        shown
    }
}
