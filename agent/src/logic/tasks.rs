//! The life of a task: RunTask, its container's reports, kills, and the end.

use std::sync::Arc;

use model::{ContainerId, ExecutorId, FrameworkId, Resources, TaskId, TaskState, Timestamp};
use wire::v1::task_status::Reason;
use wire::{link, v1};

use super::effect::{Effect, Launch, Run, Write};
use super::event::{Exit, KillCause, LaunchFailure, LaunchFailureKind};
use super::kills::{DEFAULT_GRACE, kill_policy};
use super::limits;
use super::state::{Stage, State, Task, TaskKey, Waiting};
use super::status::{self, Say};

impl State {
    pub(super) fn run_task(&mut self, now: Timestamp, message: link::RunTask, out: &mut Vec<Effect>) {
        let (Some(info), Some(task), Some(agent)) = (message.framework, message.task, self.agent.clone())
        else {
            return;
        };
        let Some(framework) = info.id.as_ref().map(FrameworkId::from) else { return };
        let key = (framework.clone(), TaskId::from(&task.task_id));
        if self.task(&key).is_some() || self.streams.contains_key(&key) {
            out.push(Effect::Warn(format!("Ignoring task '{}': it was launched already", key.1)));
            return;
        }
        if self.leaving.is_some() || self.frameworks.get(&framework).is_some_and(|f| f.terminating) {
            let say =
                Say::agent(TaskState::Dropped, Reason::ExecutorTerminated, self.why_dropped(&framework));
            return self.say_of_unknown(now, &key, say, out);
        }
        let run = Arc::new(Run {
            agent,
            framework: framework.clone(),
            // Mesos: executor id = task id for command tasks.
            executor: ExecutorId::new(key.1.as_str()),
            task: key.1.clone(),
            container: ContainerId::new(model::random::uuid_text(&self.random.uuid())),
        });
        let info = Arc::new(info);
        self.enlist(&framework, &info);
        match accept(&run, task, &info, self.epoch) {
            Ok(task) => self.start(now, key, task, info, out),
            Err((task, why)) => {
                self.insert(key.clone(), *task);
                let say = Say::agent(TaskState::Error, Reason::TaskInvalid, why);
                self.say_unsaved(now, &key, say, out);
            }
        }
    }

    fn why_dropped(&self, framework: &FrameworkId) -> String {
        match &self.leaving {
            Some(leaving) => format!("The agent is shutting down: {}", leaving.why),
            None => format!("The framework {framework} is being shut down on the agent"),
        }
    }

    fn start(
        &mut self,
        now: Timestamp,
        key: TaskKey,
        task: Task,
        framework: Arc<v1::FrameworkInfo>,
        out: &mut Vec<Effect>,
    ) {
        let (run, info) = (task.run.clone(), task.info.clone());
        self.insert(key.clone(), task);
        if framework.checkpoint() {
            let waiting = Waiting::Task(key, run.container.clone());
            self.checkpoint(waiting, Write::Task { run, framework, task: info }, out);
        } else {
            self.launch(now, &key, out);
        }
    }

    /// The task is on disk (or could not be written); nothing was done for it before.
    pub(super) fn task_checkpointed(
        &mut self,
        now: Timestamp,
        key: &TaskKey,
        container: &ContainerId,
        outcome: Result<(), String>,
        out: &mut Vec<Effect>,
    ) {
        if self.task(key).is_none_or(|t| t.stage != Stage::Saving || t.run.container != *container) {
            return;
        }
        match outcome {
            Ok(()) => self.launch(now, key, out),
            Err(why) => {
                let message = format!("The agent could not write the task's checkpoint: {why}");
                let say = Say::agent(TaskState::Failed, Reason::ContainerLaunchFailed, message);
                self.say_unsaved(now, key, say, out);
            }
        }
    }

    fn launch(&mut self, now: Timestamp, key: &TaskKey, out: &mut Vec<Effect>) {
        let Some(framework) = self.frameworks.get(&key.0).map(|f| f.info.clone()) else { return };
        let Some(task) = self.task_mut(key) else { return };
        if task.kill.is_some() {
            return self.end(now, key, killed_during_launch(), out);
        }
        task.stage = Stage::Launching;
        let grace = kill_policy(&task.info).unwrap_or(DEFAULT_GRACE);
        let (run, epoch) = (task.run.clone(), task.epoch);
        let launch = Launch { run, framework, task: task.info.clone(), grace, epoch };
        out.push(Effect::Launch(Box::new(launch)));
    }

    pub(super) fn container_prepared(
        &mut self,
        now: Timestamp,
        container: &ContainerId,
        out: &mut Vec<Effect>,
    ) {
        let Some(key) = self.containers.get(container).cloned() else { return };
        if self.task(&key).is_some_and(|t| t.stage == Stage::Launching && t.state == TaskState::Staging) {
            self.say(now, &key, Say::executor(TaskState::Starting), out);
        }
    }

    pub(super) fn container_started(
        &mut self,
        now: Timestamp,
        container: &ContainerId,
        pid: u32,
        out: &mut Vec<Effect>,
    ) {
        let Some(key) = self.containers.get(container).cloned() else { return };
        self.container_prepared(now, container, out);
        let Some(task) = self.task_mut(&key) else { return };
        if task.stage == Stage::Ended {
            return;
        }
        task.pid = Some(pid);
        task.ran = true;
        task.stage = Stage::Running;
        if matches!(task.state, TaskState::Staging | TaskState::Starting) {
            self.say(now, &key, Say::executor(TaskState::Running), out);
        }
    }

    pub(super) fn container_failed(
        &mut self,
        now: Timestamp,
        container: &ContainerId,
        failure: &LaunchFailure,
        out: &mut Vec<Effect>,
    ) {
        let Some(key) = self.containers.get(container).cloned() else { return };
        let killed = self.task(&key).is_some_and(|t| t.kill.is_some());
        self.counts.launch_errors += u64::from(!killed && failure.kind != LaunchFailureKind::Killed);
        let say = if killed || failure.kind == LaunchFailureKind::Killed {
            killed_during_launch()
        } else {
            status::of_failure(failure)
        };
        self.end(now, &key, say, out);
    }

    pub(super) fn container_exited(
        &mut self,
        now: Timestamp,
        container: &ContainerId,
        mut exit: Exit,
        out: &mut Vec<Effect>,
    ) {
        let Some(key) = self.containers.get(container).cloned() else { return };
        let Some(task) = self.task_mut(&key) else { return };
        task.ran = true;
        // A command that ends by itself while the kill is on its way counts as killed, as in Mesos.
        if task.kill.is_some() && exit.killed.is_none() {
            exit.killed = Some(KillCause::Requested);
        }
        let say = match exit.killed {
            Some(KillCause::DiskQuota) => limits::of_disk(task.over_quota.take(), &task.resources),
            _ => status::of_exit(exit, &task.info, &task.resources),
        };
        self.end(now, &key, say, out);
    }

    pub(super) fn container_lost(
        &mut self,
        now: Timestamp,
        container: &ContainerId,
        why: &str,
        out: &mut Vec<Effect>,
    ) {
        let Some(key) = self.containers.get(container).cloned() else { return };
        let killed = self.task(&key).is_some_and(|t| t.kill.is_some());
        let state = if killed { TaskState::Killed } else { TaskState::Failed };
        self.end(now, &key, Say::agent(state, Reason::ExecutorTerminated, why), out);
    }

    /// Tells the master which of its tasks never arrived here.
    pub(super) fn reconcile(
        &mut self,
        now: Timestamp,
        message: &link::ReconcileTasks,
        out: &mut Vec<Effect>,
    ) {
        for task in &message.task_ids {
            let key = (FrameworkId::new(message.framework_id.as_str()), TaskId::new(task.as_str()));
            if self.task(&key).is_none() && !self.streams.contains_key(&key) {
                let why = "The agent does not know the task";
                let say = Say::agent(TaskState::Dropped, Reason::Reconciliation, why);
                self.say_of_unknown(now, &key, say, out);
            }
        }
    }
}

/// Checks what the agent can check of a task.
fn accept(
    run: &Arc<Run>,
    info: v1::TaskInfo,
    framework: &v1::FrameworkInfo,
    epoch: u64,
) -> Result<Task, (Box<Task>, String)> {
    let user = info.command.as_ref().and_then(|c| c.user.as_deref());
    let user = model::user::of_task(user, &framework.user).to_owned();
    let mut task = Task {
        run: run.clone(),
        resources: Resources::none(),
        user: Some(user),
        epoch,
        stage: Stage::Saving,
        state: TaskState::Staging,
        kill: None,
        over_quota: None,
        ran: false,
        pid: None,
        statuses: Vec::new(),
        info: Arc::new(info),
    };
    for (what, id) in [("framework", run.framework.as_str()), ("task", run.task.as_str())] {
        if let Err(bad) = model::ids::check(id) {
            return Err((Box::new(task), format!("Invalid {what} id: {bad}")));
        }
        if !crate::names::fits(id) {
            let why = format!("The {what} id makes too long a file name, because each % in it counts thrice");
            return Err((Box::new(task), why));
        }
    }
    if task.info.executor.is_some() || task.info.command.is_none() {
        let why = "The agent runs tasks with a command of their own and without an executor";
        return Err((Box::new(task), why.to_owned()));
    }
    match Resources::from_wire(&task.info.resources) {
        Ok(resources) => task.resources = resources,
        Err(bad) => return Err((Box::new(task), bad.to_string())),
    }
    if let Err(why) = limits::check(&task.info, &task.resources) {
        return Err((Box::new(task), why));
    }
    Ok(task)
}

fn killed_during_launch() -> Say {
    Say::agent(
        TaskState::Killed,
        Reason::TaskKilledDuringLaunch,
        "The task was killed before its command was started",
    )
}
