//! ACCEPT: offers of one agent and one role are used by operations in order; what remains is declined.

use std::collections::BTreeSet;

use model::{AgentId, FrameworkId, OfferId, Resources, Role, TaskId, TaskState, Timestamp};
use wire::link;
use wire::v1;
use wire::v1::offer::Operation;
use wire::v1::offer::operation::Type;
use wire::v1::task_status::Reason;

use super::effect::{Effect, SchedulerEvent};
use super::event::Offer;
use super::offers;
use super::state::{State, Task};
use super::status::{News, tell};
use super::validate;

/// What an ACCEPT says.
pub(super) struct Accept {
    pub(super) offers: Vec<OfferId>,
    pub(super) operations: Vec<Operation>,
    pub(super) refuse_seconds: Option<f64>,
}

/// The offers of an ACCEPT, taken together.
struct Basis {
    agent: AgentId,
    role: Role,
    left: Resources,
}

/// Uses offers.
pub(super) fn accept(
    state: &mut State,
    now: Timestamp,
    framework: &FrameworkId,
    call: Accept,
    out: &mut Vec<Effect>,
) {
    let found = together(state, framework, &call.offers);
    let taken: Vec<Offer> = call.offers.iter().filter_map(|id| offers::take(state, framework, id)).collect();
    let used = u64::try_from(taken.len()).unwrap_or(u64::MAX);
    state.tally.framework(framework, |tally| tally.offers_accepted += used);
    let (agent, role) = match found {
        Ok(found) => found,
        // Mesos: the offers that are valid come back without a filter.
        Err(why) => return drop_all(state, now, framework, &call.operations, &why, out),
    };
    let mut left = Resources::none();
    for offer in &taken {
        left.add(&offer.resources);
    }
    let mut basis = Basis { agent, role, left };
    for operation in call.operations {
        perform(state, now, framework, &mut basis, operation, out);
    }
    let Basis { agent, role, left } = basis;
    let rest = Offer { id: OfferId::from(""), framework: framework.clone(), agent, role, resources: left };
    offers::refuse(state, now, rest, call.refuse_seconds);
}

/// The agent and role that all offers of an ACCEPT are of.
fn together(state: &State, framework: &FrameworkId, ids: &[OfferId]) -> Result<(AgentId, Role), String> {
    let mut seen = BTreeSet::new();
    let mut found: Option<(AgentId, Role)> = None;
    for id in ids {
        let shown = id.as_str().escape_default();
        if !seen.insert(id) {
            return Err(format!("Duplicate offer {shown} in offer list"));
        }
        let Some(offer) = state.offers.get(id) else {
            return Err(format!("Offer {shown} is no longer valid"));
        };
        if offer.framework != *framework {
            return Err(format!("Offer {shown} is not one of framework {framework}"));
        }
        let (agent, role) = found.get_or_insert_with(|| (offer.agent.clone(), offer.role.clone()));
        if offer.agent != *agent {
            return Err(format!(
                "Aggregated offers must belong to one single agent. Offer {shown} is of another"
            ));
        }
        if offer.role != *role {
            return Err(format!(
                "Aggregated offers must be allocated to the same role. Offer {shown} is to another"
            ));
        }
    }
    found.ok_or_else(|| "No offers specified".to_owned())
}

/// The offers are invalid: no operation is performed, and every task says so.
fn drop_all(
    state: &mut State,
    now: Timestamp,
    framework: &FrameworkId,
    operations: &[Operation],
    why: &str,
    out: &mut Vec<Effect>,
) {
    for operation in operations {
        let message = format!("Task launched with invalid offers: {why}");
        fail_tasks(
            state,
            now,
            framework,
            operation,
            (TaskState::Dropped, Reason::InvalidOffers, &message),
            out,
        );
        if !is_launch(operation) {
            fail_operation(
                state,
                framework,
                operation,
                format!("Operation attempted with invalid offers: {why}"),
                out,
            );
        }
    }
}

fn perform(
    state: &mut State,
    now: Timestamp,
    framework: &FrameworkId,
    basis: &mut Basis,
    operation: Operation,
    out: &mut Vec<Effect>,
) {
    let kind = operation.r#type();
    state.tally.framework(framework, |tally| *tally.operations.entry(kind).or_default() += 1);
    let refused = match kind {
        Type::Launch if operation.id.is_some() => {
            "Operation 'id' must not be set for LAUNCH: task statuses are its feedback".to_owned()
        }
        Type::Launch => {
            for info in operation.launch.into_iter().flat_map(|launch| launch.task_infos) {
                launch(state, now, framework, basis, info, out);
            }
            return;
        }
        Type::LaunchGroup => {
            "LAUNCH_GROUP is not supported by this version: launch tasks with a 'command' instead".to_owned()
        }
        other => {
            let why = format!("{} is not supported by this version", other.as_str_name());
            return fail_operation(state, framework, &operation, why, out);
        }
    };
    let reason = match operation.r#type() {
        Type::LaunchGroup => Reason::TaskGroupInvalid,
        _ => Reason::TaskInvalid,
    };
    fail_tasks(state, now, framework, &operation, (TaskState::Error, reason, &refused), out);
}

fn launch(
    state: &mut State,
    now: Timestamp,
    framework: &FrameworkId,
    basis: &mut Basis,
    mut info: v1::TaskInfo,
    out: &mut Vec<Effect>,
) {
    let (Some(row), Some(agent)) = (state.frameworks.get(framework), state.agents.get(&basis.agent)) else {
        return;
    };
    let place = validate::Place { framework: row, agent: &agent.facts, role: &basis.role, left: &basis.left };
    let resources = match validate::task(state, &place, &info) {
        Ok(resources) => resources,
        Err(why) => {
            tracing::info!(framework_id = %framework, task = %info.task_id.value.escape_default(), "task refused: {why}");
            return fail_task(
                state,
                now,
                framework,
                &info,
                (TaskState::Error, Reason::TaskInvalid, &why),
                out,
            );
        }
    };
    let framework_info = row.info.clone();
    basis.left.subtract_up_to(&resources);
    info.resources = resources.to_wire();
    if let Some(check) = &mut info.health_check {
        check.r#type = validate::implied_type(check).map(Into::into);
    }
    let task = launched(&framework_info, framework, &info, resources);
    let message = link::RunTask { framework: Some((*framework_info).clone()), task: Some(info) };
    state.to_agent(&task.agent, message.into(), out);
    let key = (task.framework.clone(), task.id.clone());
    state.add_task(task);
    state.publish_added_task(&key, out);
}

fn launched(
    framework: &v1::FrameworkInfo,
    id: &FrameworkId,
    info: &v1::TaskInfo,
    resources: Resources,
) -> Task {
    let user = info.command.as_ref().and_then(|command| command.user.as_deref());
    let mut message = v1::Task {
        name: info.name.clone(),
        labels: info.labels.clone(),
        discovery: info.discovery.clone().map(Box::new),
        container: info.container.clone().map(Box::new),
        health_check: info.health_check.clone().map(Box::new),
        kill_policy: info.kill_policy,
        user: Some(model::user::of_task(user, &framework.user).to_owned()),
        limits: info.limits.clone(),
        ..Default::default()
    };
    // It is only shown: the agent gets the task itself.
    model::secrets::hide_in_task(&mut message);
    Task {
        id: TaskId::from(&info.task_id),
        framework: id.clone(),
        agent: AgentId::from(&info.agent_id),
        info: message.into(),
        resources,
        latest: TaskState::Staging,
        sent: TaskState::Staging,
        unacknowledged: None,
        statuses: Vec::new(),
        unreachable_since: None,
    }
}

fn is_launch(operation: &Operation) -> bool {
    matches!(operation.r#type(), Type::Launch | Type::LaunchGroup)
}

fn fail_tasks(
    state: &mut State,
    now: Timestamp,
    framework: &FrameworkId,
    operation: &Operation,
    why: (TaskState, Reason, &str),
    out: &mut Vec<Effect>,
) {
    let single = operation.launch.iter().flat_map(|launch| &launch.task_infos);
    let grouped = operation.launch_group.iter().flat_map(|group| &group.task_group.tasks);
    for info in single.chain(grouped) {
        fail_task(state, now, framework, info, why, out);
    }
}

fn fail_task(
    state: &mut State,
    now: Timestamp,
    framework: &FrameworkId,
    info: &v1::TaskInfo,
    (end, reason, message): (TaskState, Reason, &str),
    out: &mut Vec<Effect>,
) {
    let Some(row) = state.frameworks.get(framework) else { return };
    let (task, agent) = (TaskId::from(&info.task_id), AgentId::from(&info.agent_id));
    let news = News { task: &task, agent: Some(&agent), state: end, reason, message: message.to_owned() };
    let status = news.status(now, row.partition_aware());
    tell(row, status.clone(), out);
    state.tally.status(framework, &status);
}

/// Mesos: an operation that is dropped says so when it has an id.
fn fail_operation(
    state: &State,
    framework: &FrameworkId,
    operation: &Operation,
    message: String,
    out: &mut Vec<Effect>,
) {
    tracing::warn!(framework_id = %framework, "operation dropped: {message}");
    let stream = state.frameworks.get(framework).and_then(|row| row.stream);
    if let (Some(id), Some(stream)) = (&operation.id, stream) {
        let mut status = v1::OperationStatus {
            operation_id: Some(id.clone()),
            message: Some(message),
            ..Default::default()
        };
        status.set_state(v1::OperationState::OperationError);
        let event = SchedulerEvent::UpdateOperation(Box::new(status));
        out.push(Effect::ToFramework { stream, event });
    }
}
