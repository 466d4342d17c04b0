//! Operators that watch: the subscribers of the event stream, and what they are told.
//!
//! An event is told in the step in which the state changes, so that the view taken when a subscription begins and the
//! events after it fit together: nothing is missing between them and nothing is told twice.

use std::sync::Arc;

use model::{AgentId, FrameworkId, TaskState, Timestamp};
use wire::v1;
use wire::v1::task_status::Reason;

use super::effect::Effect;
use super::event::StreamId;
use super::state::{Agent, Framework, State, Task};
use super::timers::Timer;

/// An event for operators, with the rows as they are when it happens.
#[derive(Clone, Debug)]
pub enum OperatorEvent {
    /// The subscription holds. Its message shows the state of this moment.
    Subscribed,
    /// Still here.
    Heartbeat,
    /// A task is new to the tables.
    TaskAdded(Arc<Task>),
    /// A task changed its state, or a check of it has a result.
    TaskUpdated {
        /// Whose.
        framework: FrameworkId,
        /// The newest state.
        state: TaskState,
        /// The update that told it.
        status: Arc<v1::TaskStatus>,
    },
    /// An agent is registered.
    AgentAdded(Arc<Agent>),
    /// An agent is registered no more.
    AgentRemoved(AgentId),
    /// A framework is new.
    FrameworkAdded(Arc<Framework>),
    /// A framework subscribed again or changed its description.
    FrameworkUpdated(Arc<Framework>),
    /// A framework is over.
    FrameworkRemoved(Arc<Framework>),
}

/// An operator subscribes. Mesos: beyond the limit the oldest one is closed.
pub(super) fn subscribe(state: &mut State, now: Timestamp, stream: StreamId, out: &mut Vec<Effect>) {
    state.inner.watchers.insert(stream);
    while state.inner.watchers.len() > state.settings.max_watchers.max(1) {
        let Some(oldest) = state.inner.watchers.pop_first() else { break };
        out.push(Effect::CloseStream { stream: oldest });
    }
    out.push(Effect::ToOperator { stream, event: OperatorEvent::Subscribed });
    heartbeat(state, now, stream, out);
}

/// An operator's stream ended.
pub(super) fn lost(state: &mut State, stream: StreamId) {
    state.inner.watchers.remove(&stream);
}

/// A heartbeat is due, unless the stream ended since.
pub(super) fn heartbeat(state: &mut State, now: Timestamp, stream: StreamId, out: &mut Vec<Effect>) {
    if state.inner.watchers.contains(&stream) {
        out.push(Effect::ToOperator { stream, event: OperatorEvent::Heartbeat });
        state.inner.timers.set(now + state.settings.heartbeat_interval, Timer::OperatorHeartbeat(stream));
    }
}

/// Mesos: results of checks are told although the state stays.
fn is_check(status: &v1::TaskStatus) -> bool {
    matches!(status.reason(), Reason::TaskCheckStatusUpdated | Reason::TaskHealthCheckStatusUpdated)
        && status.reason.is_some()
}

impl State {
    /// How many operators watch.
    pub fn watchers(&self) -> usize {
        self.inner.watchers.len()
    }

    /// Tells all operators, if there are any.
    fn publish(&self, event: impl FnOnce() -> Option<OperatorEvent>, out: &mut Vec<Effect>) {
        if !self.inner.watchers.is_empty()
            && let Some(event) = event()
        {
            out.push(Effect::ToOperators(event));
        }
    }

    /// A task is new.
    pub(super) fn publish_added_task(&self, key: &(FrameworkId, model::TaskId), out: &mut Vec<Effect>) {
        self.publish(|| self.tasks.get(key).cloned().map(OperatorEvent::TaskAdded), out);
    }

    /// A task was in state `before` until this status came.
    pub(super) fn publish_task(
        &self,
        framework: &FrameworkId,
        (before, now): (TaskState, TaskState),
        status: &v1::TaskStatus,
        out: &mut Vec<Effect>,
    ) {
        if before != now || is_check(status) {
            let event = || OperatorEvent::TaskUpdated {
                framework: framework.clone(),
                state: now,
                status: Arc::new(status.clone()),
            };
            self.publish(|| Some(event()), out);
        }
    }

    /// An agent is registered.
    pub(super) fn publish_added_agent(&self, agent: &AgentId, out: &mut Vec<Effect>) {
        self.publish(|| self.agents.get(agent).cloned().map(OperatorEvent::AgentAdded), out);
    }

    /// An agent is registered no more.
    pub(super) fn publish_removed_agent(&self, agent: &AgentId, out: &mut Vec<Effect>) {
        self.publish(|| Some(OperatorEvent::AgentRemoved(agent.clone())), out);
    }

    /// A framework is new.
    pub(super) fn publish_added_framework(&self, id: &FrameworkId, out: &mut Vec<Effect>) {
        self.publish(|| self.frameworks.get(id).cloned().map(OperatorEvent::FrameworkAdded), out);
    }

    /// A framework changed.
    pub(super) fn publish_framework(&self, id: &FrameworkId, out: &mut Vec<Effect>) {
        self.publish(|| self.frameworks.get(id).cloned().map(OperatorEvent::FrameworkUpdated), out);
    }

    /// A framework is over.
    pub(super) fn publish_removed_framework(&self, framework: &Arc<Framework>, out: &mut Vec<Effect>) {
        self.publish(|| Some(OperatorEvent::FrameworkRemoved(framework.clone())), out);
    }
}
