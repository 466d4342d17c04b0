//! Status updates that the master makes itself: source MASTER, no uuid, so no acknowledgement is due.

use model::{AgentId, TaskId, TaskState, Timestamp};
use wire::v1;
use wire::v1::task_status::{Reason, Source};

use super::effect::{Effect, SchedulerEvent};
use super::state::{Framework, State, Task};

/// What the master has to say of a task.
pub(super) struct News<'a> {
    pub(super) task: &'a TaskId,
    pub(super) agent: Option<&'a AgentId>,
    pub(super) state: TaskState,
    pub(super) reason: Reason,
    pub(super) message: String,
}

impl News<'_> {
    /// The message, before it is told to a framework of which only the capability matters.
    pub(super) fn status(self, now: Timestamp, partition_aware: bool) -> v1::TaskStatus {
        let mut status = v1::TaskStatus {
            task_id: self.task.into(),
            agent_id: self.agent.map(Into::into),
            message: Some(self.message),
            timestamp: Some(now.as_secs_f64()),
            ..Default::default()
        };
        status.set_state(self.state.seen_by(partition_aware).into());
        status.set_source(Source::Master);
        status.set_reason(self.reason);
        status
    }
}

/// Tells a framework, if it is connected.
pub(super) fn tell(framework: &Framework, status: v1::TaskStatus, out: &mut Vec<Effect>) {
    if let Some(stream) = framework.stream {
        out.push(Effect::ToFramework { stream, event: SchedulerEvent::Update(Box::new(status)) });
    }
}

/// Notes a status in a task's row: the last of each run of equal states is kept.
pub(super) fn note(task: &mut Task, status: &v1::TaskStatus) {
    /// A task that flips between two states for ever must not grow for ever.
    const MOST: usize = 64;
    let kept = v1::TaskStatus { data: None, ..status.clone() };
    match task.statuses.last_mut() {
        Some(last) if last.state == kept.state => *last = kept.into(),
        _ => task.statuses.push(kept.into()),
    }
    if task.statuses.len() > MOST {
        task.statuses.remove(0);
    }
}

impl State {
    /// Says that a task, already taken out of the tables, ended or moved to `state`: in its row and to its framework.
    pub(super) fn declare(
        &mut self,
        now: Timestamp,
        task: &mut Task,
        (state, reason, message): (TaskState, Reason, String),
        out: &mut Vec<Effect>,
    ) {
        let Some(framework) = self.frameworks.get(&task.framework) else { return };
        let news = News { task: &task.id, agent: Some(&task.agent), state, reason, message };
        let mut status = news.status(now, framework.partition_aware());
        if let Some(since) = task.unreachable_since.filter(|_| state == TaskState::Unreachable) {
            status.unreachable_time = Some(v1::TimeInfo { nanoseconds: since.micros().saturating_mul(1000) });
        }
        let (before, known) = (task.latest, task.sent.is_terminal());
        task.latest = state.seen_by(framework.partition_aware());
        task.sent = task.latest;
        task.unacknowledged = None;
        note(task, &status);
        self.publish_task(&task.framework, (before, task.latest), &status, out);
        tell(framework, status.clone(), out);
        if !known {
            self.tally.status(&task.framework, &status);
        }
    }
}
