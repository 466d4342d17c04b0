//! A new start: from checkpoints and what was found running to the state of before.
//!
//! Mesos: only frameworks with checkpointing are recovered; every other container is destroyed.

use std::sync::Arc;

use model::{FrameworkId, Resources, TaskState, Timestamp};
use wire::v1;
use wire::v1::task_status::Reason;

use super::effect::Effect;
use super::event::{Found, Recovered, RecoveredFramework, RecoveredRun};
use super::say::state_of;
use super::state::{Framework, Stage, State, Task, TaskKey};
use super::status::Say;
use super::updates::Stream;

impl State {
    pub(super) fn recover(&mut self, now: Timestamp, found: Recovered, out: &mut Vec<Effect>) {
        if self.recovered {
            return;
        }
        self.recovered = true;
        if let Err(why) = self.take_identity(found.agent) {
            self.left = true;
            return out.push(Effect::Exit { clean: false, why });
        }
        let mut containers = found.containers;
        for (id, framework) in found.frameworks {
            for (key, run) in self.recover_framework(&id, framework) {
                let container = containers.remove(&run.run.container);
                self.recover_task(now, &key, &run, container, found.rebooted, out);
            }
            self.retire(&id);
        }
        // What no checkpoint names: tasks of frameworks without checkpointing, and leftovers.
        out.extend(containers.into_keys().map(|container| Effect::Destroy { container }));
        self.garbage.extend(found.strays);
        self.garbage.make_contiguous().sort_by_key(|(at, _)| *at);
        out.push(Effect::Connect);
    }

    /// Mesos: with `--reconfiguration_policy=equal` an agent must come back as it was.
    fn take_identity(&mut self, before: Option<v1::AgentInfo>) -> Result<(), String> {
        let Some(before) = before else { return Ok(()) };
        let Some(id) = before.id.as_ref() else { return Ok(()) };
        self.agent = Some(id.into());
        let now = self.own_info();
        let same = |a: &v1::AgentInfo, b: &v1::AgentInfo| {
            a.hostname == b.hostname
                && a.port() == b.port()
                && a.attributes == b.attributes
                && Resources::from_wire(&a.resources).ok() == Resources::from_wire(&b.resources).ok()
        };
        if same(&before, &now) {
            return Ok(());
        }
        Err(format!(
            "This agent's hostname, port, resources or attributes are not what they were when it registered as {}. \
             Start it with the former ones, or give up its tasks: end it with SIGUSR1, or remove \
             meta/slaves/latest from its work folder.\nbefore: {}\nnow:    {}",
            id.value,
            describe(&before),
            describe(&now)
        ))
    }

    /// Puts the framework and its finished runs in place; gives the runs that are still of interest.
    fn recover_framework(
        &mut self,
        id: &FrameworkId,
        framework: RecoveredFramework,
    ) -> Vec<(TaskKey, RecoveredRun)> {
        let mut entry = Framework::new(id.clone(), framework.info);
        let mut open = Vec::new();
        let mut runs = framework.runs;
        runs.sort_by(|a, b| a.touched.cmp(&b.touched).then_with(|| a.run.cmp(&b.run)));
        for run in runs {
            let ended =
                run.updates.last().is_some_and(|u| u.acknowledged && state_of(&u.status).is_terminal());
            if run.done || ended {
                entry.completed.push_back(Arc::new(restore(&run, &entry.info)));
                self.garbage.push_back((run.touched, run.run.clone()));
            } else {
                let key = (id.clone(), run.run.task.clone());
                // An id is used again only after its end was acknowledged, so of two runs the older is over.
                if let Some(older) = open.iter().position(|(have, _)| *have == key) {
                    let (_, older): (TaskKey, RecoveredRun) = open.remove(older);
                    let mut task = restore(&older, &entry.info);
                    task.stage = Stage::Ended;
                    entry.completed.push_back(Arc::new(task));
                    self.garbage.push_back((older.touched, older.run));
                }
                open.push((key, run));
            }
        }
        while entry.completed.len() > self.settings.max_completed_executors {
            entry.completed.pop_front();
        }
        self.frameworks.insert(id.clone(), entry);
        open
    }

    fn recover_task(
        &mut self,
        now: Timestamp,
        key: &TaskKey,
        run: &RecoveredRun,
        container: Option<Found>,
        rebooted: bool,
        out: &mut Vec<Effect>,
    ) {
        let Some(info) = self.frameworks.get(&key.0).map(|f| f.info.clone()) else { return };
        let task = restore(run, &info);
        let (state, stage) = (task.state, task.stage);
        self.insert(key.clone(), task);
        if let Some(stream) = Stream::recovered(&run.run, &run.updates) {
            self.streams.insert(key.clone(), stream);
        }
        if stage == Stage::Ended {
            return out.push(Effect::Destroy { container: run.run.container.clone() });
        }
        let container_id = &run.run.container;
        match container {
            Some(Found::Running) => out.push(Effect::Reattach { run: run.run.clone() }),
            Some(Found::Exited(exit)) => self.container_exited(now, container_id, exit, out),
            Some(Found::Failed(failure)) => self.container_failed(now, container_id, &failure, out),
            Some(Found::Lost(why)) => self.container_lost(now, container_id, &why, out),
            None => self.end(now, key, not_found(state, rebooted), out),
        }
    }
}

/// A run without a container. The record of a container goes only after the end of its task is on disk, so without
/// one and without a reboot the task never got as far as to have a container.
fn not_found(state: TaskState, rebooted: bool) -> Say {
    if rebooted {
        let why = "The host was rebooted while the task ran";
        return Say::agent(TaskState::Failed, Reason::ExecutorTerminated, why);
    }
    if state == TaskState::Staging {
        let why = "The agent was restarted before it could start the task";
        return Say::agent(TaskState::Dropped, Reason::AgentRestarted, why);
    }
    let why = "The task's container is gone and left no exit record";
    Say::agent(TaskState::Failed, Reason::ExecutorTerminated, why)
}

fn restore(run: &RecoveredRun, framework: &v1::FrameworkInfo) -> Task {
    let mut statuses: Vec<Arc<v1::TaskStatus>> = Vec::new();
    for update in &run.updates {
        if statuses.last().is_some_and(|last| last.state == update.status.state) {
            statuses.pop();
        }
        statuses.push(update.status.clone());
    }
    let state = statuses.last().map_or(TaskState::Staging, |s| state_of(s));
    let user = run.info.command.as_ref().and_then(|c| c.user.clone());
    Task {
        run: run.run.clone(),
        info: run.info.clone(),
        // It was checked before it was written.
        resources: Resources::from_wire(&run.info.resources).unwrap_or_default(),
        user: Some(user.unwrap_or_else(|| framework.user.clone())),
        stage: if state.is_terminal() || run.done { Stage::Ended } else { Stage::Launching },
        state,
        kill: None,
        ran: run.updates.iter().any(|u| state_of(&u.status) == TaskState::Running),
        pid: statuses.last().and_then(|s| s.container_status.as_ref()?.executor_pid),
        statuses,
    }
}

fn describe(info: &v1::AgentInfo) -> String {
    let resources = Resources::from_wire(&info.resources).unwrap_or_default();
    let attributes: Vec<&str> = info.attributes.iter().map(|a| a.name.as_str()).collect();
    format!("{}:{} {resources} attributes [{}]", info.hostname, info.port(), attributes.join(", "))
}
