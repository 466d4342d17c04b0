//! RECONCILE: what the master can say of tasks a framework asks about.

use model::{AgentId, FrameworkId, TaskId, TaskState, Timestamp};
use wire::v1;
use wire::v1::OperationState;
use wire::v1::scheduler::call;
use wire::v1::task_status::Reason;

use super::effect::{Effect, SchedulerEvent};
use super::state::{Framework, State, Task};
use super::status::{News, tell};

/// One update per known task of the framework, those on unreachable agents not included (as in Mesos).
pub(super) fn implicit(state: &State, now: Timestamp, framework: &FrameworkId, out: &mut Vec<Effect>) {
    let Some(row) = state.frameworks.get(framework) else { return };
    for task in state.tasks_of(framework) {
        tell(row, known(now, row, task), out);
    }
}

/// One update per task asked about, or none when the answer is not known yet.
pub(super) fn explicit(
    state: &State,
    now: Timestamp,
    framework: &FrameworkId,
    tasks: &[(TaskId, Option<AgentId>)],
    out: &mut Vec<Effect>,
) {
    let Some(row) = state.frameworks.get(framework) else { return };
    for (task, agent) in tasks {
        if let Some(status) = answer(state, now, row, task, agent.as_ref()) {
            tell(row, status, out);
        }
    }
}

/// One status per operation asked about. There are no operations that a master of this version knows, so an empty list
/// asks for nothing.
pub(super) fn operations(
    state: &State,
    framework: &FrameworkId,
    operations: Vec<call::reconcile_operations::Operation>,
    out: &mut Vec<Effect>,
) {
    let Some(stream) = state.frameworks.get(framework).and_then(|row| row.stream) else { return };
    for operation in operations {
        let agent = operation.agent_id.as_ref().map(AgentId::from);
        let (found, message) = operation_state(state, agent.as_ref());
        let mut status = v1::OperationStatus {
            operation_id: Some(operation.operation_id),
            agent_id: operation.agent_id,
            resource_provider_id: operation.resource_provider_id,
            message: Some(message.to_owned()),
            ..Default::default()
        };
        status.set_state(found);
        let event = SchedulerEvent::UpdateOperation(Box::new(status));
        out.push(Effect::ToFramework { stream, event });
    }
}

/// Mesos: what is said of an operation that the master doesn't know, by where it may be.
fn operation_state(state: &State, agent: Option<&AgentId>) -> (OperationState, &'static str) {
    match agent {
        Some(agent) if state.recovered.contains(agent) => (
            OperationState::OperationRecovering,
            "Reconciliation: Agent is recovered but has not re-registered",
        ),
        Some(agent) if state.agents.contains(agent) => {
            (OperationState::OperationUnknown, "Reconciliation: Operation is unknown to its agent")
        }
        Some(agent) if state.unreachable.contains_key(agent) => {
            (OperationState::OperationUnreachable, "Reconciliation: Agent is unreachable")
        }
        Some(agent) if state.gone.contains_key(agent) => {
            (OperationState::OperationGoneByOperator, "Reconciliation: Agent was marked gone by an operator")
        }
        _ => (OperationState::OperationUnknown, "Reconciliation: Operation and agent are unknown"),
    }
}

fn answer(
    state: &State,
    now: Timestamp,
    framework: &Framework,
    task: &TaskId,
    agent: Option<&AgentId>,
) -> Option<v1::TaskStatus> {
    let key = (framework.id.clone(), task.clone());
    if let Some(task) = state.tasks.get(&key) {
        return Some(known(now, framework, task));
    }
    let lost = state.unreachable_tasks.get(&key);
    // The agent named in the question may be a mistake; the one that has the task is not.
    let agent = lost.map(|task| &task.agent).or(agent);
    let in_transition = match agent {
        Some(agent) => state.recovered.contains(agent) || state.inner.transitions.contains_key(agent),
        None => !state.recovered.is_empty(),
    };
    if in_transition {
        return None;
    }
    let since =
        lost.and_then(|task| task.unreachable_since).or_else(|| state.unreachable.get(agent?).copied());
    let (found, message) = match agent {
        Some(agent) if state.agents.contains(agent) => {
            (TaskState::Gone, "Reconciliation: Task is gone: its agent does not know it")
        }
        Some(agent) if state.gone.contains_key(agent) => {
            (TaskState::GoneByOperator, "Reconciliation: Task is gone with its agent, by an operator")
        }
        _ if since.is_some() => (TaskState::Unreachable, "Reconciliation: Task is unreachable"),
        _ => (TaskState::Unknown, "Reconciliation: Task is unknown"),
    };
    let reason = Reason::Reconciliation;
    let news = News { task, agent, state: found, reason, message: message.to_owned() };
    let mut status = news.status(now, framework.partition_aware());
    if found == TaskState::Unreachable {
        status.unreachable_time =
            since.map(|since| v1::TimeInfo { nanoseconds: since.micros().saturating_mul(1000) });
    }
    Some(status)
}

/// The last state sent, with what is last known of health, checks and the container.
fn known(now: Timestamp, framework: &Framework, task: &Task) -> v1::TaskStatus {
    let news = News {
        task: &task.id,
        agent: Some(&task.agent),
        state: task.sent,
        reason: Reason::Reconciliation,
        message: "Reconciliation: Latest task state".to_owned(),
    };
    let mut status = news.status(now, framework.partition_aware());
    if let Some(last) = task.statuses.last() {
        status.healthy = last.healthy;
        status.check_status.clone_from(&last.check_status);
        status.container_status.clone_from(&last.container_status);
        status.executor_id.clone_from(&last.executor_id);
    }
    status
}
