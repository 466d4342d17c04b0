//! Tasks while they live: updates from agents, acknowledgements and kills of their framework.

use std::time::Duration;

use model::{AgentId, FrameworkId, TaskId, TaskState, Timestamp};
use wire::link;
use wire::link::from_master::Body;
use wire::v1;

use super::effect::Effect;
use super::event::LinkId;
use super::inner::TaskKey;
use super::state::State;
use super::status::{note, tell};
use super::{readmission, reconcile};

/// Most kills remembered for an agent that is away.
const MAX_PENDING_KILLS: usize = 100_000;

/// An agent sends a status update, perhaps again.
pub(super) fn update(
    state: &mut State,
    link: LinkId,
    framework: FrameworkId,
    status: v1::TaskStatus,
    latest: TaskState,
    out: &mut Vec<Effect>,
) {
    let Some(agent) = state.inner.links.get(&link).cloned() else { return };
    let key = (framework, TaskId::from(&status.task_id));
    if state.is_ghost(&agent, &key) {
        return absorb(state, &agent, &key, &status, latest, out);
    }
    if !state.frameworks.contains(&key.0) {
        tracing::warn!(framework_id = %key.0, task_id = %key.1, "update of an unknown framework ignored");
        return;
    }
    match state.tasks.get(&key).map(|task| task.agent == agent) {
        Some(true) => record(state, &key, &status, latest),
        // Its id runs elsewhere by now: the framework must not take one for the other.
        Some(false) => return acknowledge_for_framework(state, &agent, &key, &status, out),
        // The framework was told of another end, and the agent sends again what was taken in already.
        None if readmission::ended_here(state, &agent, &key)
            .is_some_and(|end| end != TaskState::from(status.state())) =>
        {
            return acknowledge_for_framework(state, &agent, &key, &status, out);
        }
        None => {
            tracing::debug!(framework_id = %key.0, task_id = %key.1, "update of an unknown task passed on");
        }
    }
    let Some(framework) = state.frameworks.get(&key.0) else { return };
    let mut status = status;
    // Agents know the capabilities of a framework as of its last message to them.
    let shown = TaskState::from(status.state()).seen_by(framework.partition_aware());
    status.set_state(shown.into());
    tell(framework, status, out);
}

/// Writes an update down in its task's row.
fn record(state: &mut State, key: &TaskKey, status: &v1::TaskStatus, latest: TaskState) {
    observe(state, key, latest);
    let Some(task) = state.tasks.get_mut(key) else { return };
    task.sent = status.state().into();
    task.unacknowledged = status.uuid.as_ref().map(|uuid| uuid.to_vec());
    note(task, status);
    if task.sent.is_terminal() && task.unacknowledged.is_none() {
        observe(state, key, status.state().into());
        finish(state, key);
    }
}

/// Takes note of the newest state of a task; its resources are free once it ended. An end is final.
pub(super) fn observe(state: &mut State, key: &TaskKey, latest: TaskState) {
    let Some(task) = state.tasks.get(key) else { return };
    if task.latest != latest && !task.latest.is_terminal() {
        state.free_task(key, latest);
    }
}

fn finish(state: &mut State, key: &TaskKey) {
    if let Some(task) = state.drop_task(key) {
        state.complete(task);
    }
}

/// Takes an update that no framework may see.
fn absorb(
    state: &mut State,
    agent: &AgentId,
    key: &TaskKey,
    status: &v1::TaskStatus,
    latest: TaskState,
    out: &mut Vec<Effect>,
) {
    acknowledge_for_framework(state, agent, key, status, out);
    if TaskState::from(status.state()).is_terminal() {
        state.drop_ghost(agent, key);
    } else if latest.is_terminal() {
        state.add_ghost(agent, key.clone(), model::Resources::none());
    }
}

fn acknowledge_for_framework(
    state: &State,
    agent: &AgentId,
    key: &TaskKey,
    status: &v1::TaskStatus,
    out: &mut Vec<Effect>,
) {
    if let Some(uuid) = status.uuid.clone() {
        send_acknowledgement(state, agent, key, uuid, out);
    }
}

fn send_acknowledgement(
    state: &State,
    agent: &AgentId,
    (framework, task): &TaskKey,
    uuid: impl Into<bytes::Bytes>,
    out: &mut Vec<Effect>,
) {
    let message = link::Acknowledge {
        framework_id: framework.to_string(),
        task_id: task.to_string(),
        uuid: uuid.into(),
    };
    state.to_agent(agent, Body::Acknowledge(message), out);
}

/// A framework has an update. Mesos: dropped when the agent is unknown or disconnected, which sends it again later.
pub(super) fn acknowledge(
    state: &mut State,
    framework: &FrameworkId,
    agent: &AgentId,
    task: TaskId,
    uuid: Vec<u8>,
    out: &mut Vec<Effect>,
) {
    if state.agents.get(agent).is_none_or(|row| row.link.is_none()) {
        return;
    }
    let key = (framework.clone(), task);
    let current = state
        .tasks
        .get(&key)
        .filter(|task| task.agent == *agent && task.unacknowledged.as_ref() == Some(&uuid))
        .map(|task| task.sent.is_terminal());
    match current {
        Some(true) => finish(state, &key),
        Some(false) => {
            if let Some(task) = state.tasks.get_mut(&key) {
                task.unacknowledged = None;
            }
        }
        None => {}
    }
    send_acknowledgement(state, agent, &key, uuid, out);
}

/// A framework wants a task to end.
pub(super) fn kill(
    state: &mut State,
    now: Timestamp,
    framework: &FrameworkId,
    (task, agent): (TaskId, Option<AgentId>),
    grace: Option<Duration>,
    out: &mut Vec<Effect>,
) {
    let key = (framework.clone(), task);
    let Some(row) = state.tasks.get(&key) else {
        // Mesos: as if its state had been asked for.
        return reconcile::explicit(state, now, framework, &[(key.1, agent)], out);
    };
    if agent.is_some_and(|agent| agent != row.agent) {
        tracing::warn!(framework_id = %key.0, task_id = %key.1, "KILL names another agent than the task's; ignored");
        return;
    }
    if row.latest.is_terminal() {
        return;
    }
    let agent = row.agent.clone();
    if state.agents.get(&agent).is_some_and(|row| row.link.is_some()) {
        send_kill(state, &agent, &key.0, &key.1, grace, out);
    } else if let Some(row) = state.agents.get_mut(&agent) {
        row.pending_kills.retain(|(framework, task, _)| (framework, task) != (&key.0, &key.1));
        if row.pending_kills.len() < MAX_PENDING_KILLS {
            row.pending_kills.push((key.0, key.1, grace));
        }
    }
}

/// Tells an agent to end a task.
pub(super) fn send_kill(
    state: &State,
    agent: &AgentId,
    framework: &FrameworkId,
    task: &TaskId,
    grace: Option<Duration>,
    out: &mut Vec<Effect>,
) {
    let message = link::KillTask {
        framework_id: framework.to_string(),
        task_id: task.to_string(),
        grace_period_seconds: grace.map(|grace| grace.as_secs_f64()),
    };
    state.to_agent(agent, Body::KillTask(message), out);
}
