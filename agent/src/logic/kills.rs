//! Ending tasks: by a kill, or because their framework is shut down.

use std::time::Duration;

use model::{ContainerId, FrameworkId, TaskId, TaskState, Timestamp};
use wire::v1::framework_info::capability::Type as Capability;
use wire::v1::task_status::Reason;
use wire::{link, v1};

use super::effect::Effect;
use super::state::{Framework, Stage, State, TaskKey};
use super::status::Say;

/// Time between SIGTERM and SIGKILL when neither the kill nor the task says otherwise. Mesos: 3 s.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(3);

impl State {
    pub(super) fn kill_task(&mut self, now: Timestamp, message: &link::KillTask, out: &mut Vec<Effect>) {
        let key = (FrameworkId::new(message.framework_id.as_str()), TaskId::new(message.task_id.as_str()));
        let grace = message.grace_period_seconds.and_then(|s| Duration::try_from_secs_f64(s).ok());
        if self.task(&key).is_some() {
            self.kill(now, &key, grace, out);
        } else if !self.streams.contains_key(&key) {
            let why = "The agent was asked to kill a task that it does not know";
            let say = Say::agent(TaskState::Dropped, Reason::ExecutorTerminated, why);
            self.say_of_unknown(now, &key, say, out);
        }
    }

    pub(super) fn kill_container(
        &mut self,
        now: Timestamp,
        container: &ContainerId,
        grace: Option<Duration>,
        out: &mut Vec<Effect>,
    ) {
        let of_framework = |(id, f): (&FrameworkId, &Framework)| {
            let task = f.tasks.values().find(|task| task.run.container == *container)?;
            Some((id.clone(), task.run.task.clone()))
        };
        // It may have ended between the question and now.
        if let Some(key) = self.frameworks.iter().find_map(of_framework) {
            self.kill(now, &key, grace, out);
        }
    }

    /// Ends a task. Mesos: the grace period of the call, else of the task's kill policy, else 3 s; a repeated kill
    /// overrides the running one.
    pub(super) fn kill(
        &mut self,
        now: Timestamp,
        key: &TaskKey,
        grace: Option<Duration>,
        out: &mut Vec<Effect>,
    ) {
        let tells_killing = self
            .frameworks
            .get(&key.0)
            .is_some_and(|f| has_capability(&f.info, Capability::TaskKillingState) && !f.terminating);
        let Some(task) = self.task_mut(key).filter(|t| t.stage != Stage::Ended) else { return };
        let grace = grace.or_else(|| kill_policy(&task.info)).unwrap_or(DEFAULT_GRACE);
        task.kill = Some(grace);
        let container = task.run.container.clone();
        match task.stage {
            // The answer of the disk is waited for, and then it is not launched.
            Stage::Saving | Stage::Ended => return,
            Stage::Launching => {}
            Stage::Running => {
                if tells_killing && task.state == TaskState::Running {
                    self.say(now, key, Say::executor(TaskState::Killing), out);
                }
            }
        }
        out.push(Effect::Kill { container, grace });
    }

    pub(super) fn shut_framework_down(&mut self, now: Timestamp, framework: &str, out: &mut Vec<Effect>) {
        let id = FrameworkId::new(framework);
        // What was said of tasks that never ran here has no hearer any more either.
        let strays = self.streams.keys().filter(|(f, _)| *f == id).cloned().collect::<Vec<_>>();
        let Some(framework) = self.frameworks.get_mut(&id) else {
            strays.iter().for_each(|key| drop(self.streams.remove(key)));
            return;
        };
        framework.terminating = true;
        let tasks = framework.tasks.keys().cloned().collect::<Vec<_>>();
        // Mesos: the executor has the shutdown grace less a second to end its command.
        let grace = self.settings.shutdown_grace.saturating_sub(Duration::from_secs(1));
        for key in strays {
            if self.task(&key).is_none_or(|t| t.stage == Stage::Ended) {
                self.streams.remove(&key);
            }
        }
        for task in tasks {
            let key = (id.clone(), task);
            if self.ended(&key) {
                self.complete(now, &key, out);
            } else {
                self.kill(now, &key, Some(grace), out);
            }
        }
    }
}

/// The grace period of a task's own kill policy.
pub(super) fn kill_policy(task: &v1::TaskInfo) -> Option<Duration> {
    let grace = task.kill_policy.as_ref()?.grace_period.as_ref()?.nanoseconds;
    u64::try_from(grace).ok().map(Duration::from_nanos)
}

fn has_capability(info: &v1::FrameworkInfo, capability: Capability) -> bool {
    info.capabilities.iter().any(|c| c.r#type() == capability)
}
