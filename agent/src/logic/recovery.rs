//! A new start: from checkpoints and what was found running to the state of before.
//!
//! Mesos: only frameworks with checkpointing are recovered; every other container is destroyed.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{FrameworkId, Resources, TaskState, Timestamp};
use wire::v1;
use wire::v1::task_status::Reason;

use super::effect::{Effect, Write};
use super::event::{Found, Recovered, RecoveredFramework, RecoveredRun};
use super::say::state_of;
use super::state::{Framework, Stage, State, Task, TaskKey, Waiting};
use super::status::Say;
use super::updates::Stream;

impl State {
    pub(super) fn recover(&mut self, now: Timestamp, found: Recovered, out: &mut Vec<Effect>) {
        if self.recovered {
            return;
        }
        self.recovered = true;
        self.counts.recovery_errors = found.errors;
        let mut containers = found.containers;
        let identity = self.take_identity(found.agent, found.rebooted);
        match identity {
            Err(why) => {
                self.left = true;
                return out.push(Effect::Exit { clean: false, why });
            }
            Ok(Identity::Another(why)) => {
                out.push(Effect::Warn(why));
                out.push(Effect::ForgetAgent);
                self.bury(found.frameworks);
            }
            Ok(identity) => {
                if let Identity::Changed(info) = identity {
                    self.checkpoint(Waiting::Agent, Write::Agent(info), out);
                }
                for (id, framework) in found.frameworks {
                    for (key, run) in self.recover_framework(&id, framework) {
                        let container = containers.remove(&run.run.container);
                        self.recover_task(now, &key, &run, container, found.rebooted, out);
                    }
                    self.retire(&id);
                }
            }
        }
        // What no checkpoint names: tasks of frameworks without checkpointing, and leftovers.
        out.extend(containers.into_keys().map(|container| Effect::Destroy { container }));
        self.garbage.extend(found.strays);
        // What was written while the clock was ahead must not stay, and keep others, until that time comes again.
        self.garbage.iter_mut().for_each(|(at, _)| *at = (*at).min(now));
        self.garbage.make_contiguous().sort_by_key(|(at, _)| *at);
        out.push(Effect::Connect);
    }

    /// Goes on as the agent of before, if this one may.
    ///
    /// Mesos: one that is not allowed to be as different as it is does not start, unless the host was rebooted: then
    /// nothing of before runs, and it registers as a new agent.
    fn take_identity(&mut self, before: Option<v1::AgentInfo>, rebooted: bool) -> Result<Identity, String> {
        let Some(before) = before else { return Ok(Identity::Same) };
        let Some(id) = before.id.as_ref() else { return Ok(Identity::Same) };
        let mut now = self.settings.info.clone();
        now.id = Some(id.clone());
        match self.settings.reconfiguration.allow(&before, &now) {
            Ok(()) => {
                self.agent = Some(id.into());
                Ok(if before == now { Identity::Same } else { Identity::Changed(Box::new(now)) })
            }
            Err(why) if rebooted => Ok(Identity::Another(format!(
                "This agent was {} before the host was rebooted and registers as a new one, because {why}",
                id.value
            ))),
            Err(why) => Err(format!(
                "This agent is not what it was when it registered as {}: {why}. Start it as it was (or with \
                 --reconfiguration_policy=additive if it only has more than before), or give up its tasks: end it \
                 with SIGUSR1, or remove meta/slaves/latest from its work folder",
                id.value
            )),
        }
    }

    /// Nothing of an agent's former life is of interest any more but for a while its sandboxes.
    fn bury(&mut self, frameworks: BTreeMap<FrameworkId, RecoveredFramework>) {
        let runs = frameworks.into_values().flat_map(|framework| framework.runs);
        self.garbage.extend(runs.map(|run| (run.touched, run.run)));
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

/// How an agent comes back.
enum Identity {
    /// As it was, or for the first time.
    Same,
    /// With more than it had.
    Changed(Box<v1::AgentInfo>),
    /// As another agent; why, for people.
    Another(String),
}

/// A run without a container. The record of a container goes only after the end of its task is on disk, so without
/// one and without a reboot the task never got as far as to have a container.
fn not_found(state: TaskState, rebooted: bool) -> Say {
    if rebooted {
        let why = "The host was rebooted while the task ran";
        return Say::agent(TaskState::Failed, Reason::ExecutorTerminated, why);
    }
    let why = "The agent was restarted before it could start the task";
    match state {
        TaskState::Staging => return Say::agent(TaskState::Dropped, Reason::AgentRestarted, why),
        // Whoever heard that it is starting doesn't expect to hear that it was never taken.
        TaskState::Starting => return Say::agent(TaskState::Failed, Reason::ContainerLaunchFailed, why),
        _ => {}
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
    let user = run.info.command.as_ref().and_then(|c| c.user.as_deref());
    Task {
        run: run.run.clone(),
        info: run.info.clone(),
        // It was checked before it was written.
        resources: Resources::from_wire(&run.info.resources).unwrap_or_default(),
        user: Some(model::user::of_task(user, &framework.user).to_owned()),
        epoch: 0,
        stage: if state.is_terminal() || run.done { Stage::Ended } else { Stage::Launching },
        state,
        kill: None,
        over_quota: None,
        ran: run.updates.iter().any(|u| state_of(&u.status) == TaskState::Running),
        pid: statuses.last().and_then(|s| s.container_status.as_ref()?.executor_pid),
        statuses,
    }
}
