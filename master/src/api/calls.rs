//! What a scheduler's call means: its checks that need no state, and its conversion into our words.

use std::time::Duration;

use model::{AgentId, ExecutorId, FrameworkId, OfferId, TaskId};
use wire::v1;
use wire::v1::scheduler::call::{self, Type};
use wire::v1::scheduler::{Call, OfferConstraints};

use crate::logic::SchedulerAction;

/// A call, checked as far as it can be without the state.
#[derive(Debug)]
pub enum Meaning {
    /// SUBSCRIBE.
    Subscribe(Box<Subscription>),
    /// Any other call that is understood.
    Act {
        /// For which framework.
        framework: FrameworkId,
        /// What it wants.
        action: SchedulerAction,
    },
    /// 501: what is not there yet.
    Missing(&'static str),
}

/// What SUBSCRIBE asks for.
#[derive(Debug)]
pub struct Subscription {
    /// The framework's description.
    pub info: Box<v1::FrameworkInfo>,
    /// Roles that want no offers for now.
    pub suppressed_roles: Vec<String>,
}

/// Checks a call; the errors are texts for 400.
pub fn meaning(call: Call) -> Result<Meaning, String> {
    // Mesos: a number that names no type is dropped when the call is read.
    let kind = call.r#type.and_then(|kind| Type::try_from(kind).ok()).ok_or_else(|| expecting("type"))?;
    if kind == Type::Subscribe {
        return subscribe(call);
    }
    let framework =
        call.framework_id.as_ref().map(FrameworkId::from).ok_or_else(|| expecting("framework_id"))?;
    framework.check().map_err(|bad| format!("Bad 'framework_id': {bad}"))?;
    if kind == Type::UpdateFramework {
        return update_framework(framework, call);
    }
    Ok(Meaning::Act { framework, action: action(kind, call)? })
}

fn has_constraints(constraints: Option<&OfferConstraints>) -> bool {
    constraints.is_some_and(|constraints| !constraints.role_constraints.is_empty())
}

fn update_framework(framework: FrameworkId, call: Call) -> Result<Meaning, String> {
    let update = call.update_framework.ok_or_else(|| expecting("update_framework"))?;
    // Mesos: both or neither, and equal.
    if call.framework_id != update.framework_info.id {
        return Err("'framework_id' differs from 'update_framework.framework_info.id'".to_owned());
    }
    if has_constraints(update.offer_constraints.as_ref()) {
        return Ok(Meaning::Missing(
            "'update_framework.offer_constraints' are not supported yet; leave them out",
        ));
    }
    let (info, suppressed_roles) = (Box::new(update.framework_info), update.suppressed_roles);
    Ok(Meaning::Act { framework, action: SchedulerAction::UpdateFramework { info, suppressed_roles } })
}

fn expecting(field: &str) -> String {
    format!("Expecting '{field}' to be present")
}

fn subscribe(call: Call) -> Result<Meaning, String> {
    let subscribe = call.subscribe.ok_or_else(|| expecting("subscribe"))?;
    let mut info = subscribe.framework_info;
    // Mesos: an empty id is none; both or neither, and equal.
    info.id = info.id.filter(|id| !id.value.is_empty());
    if call.framework_id.filter(|id| !id.value.is_empty()) != info.id {
        return Err("'framework_id' differs from 'subscribe.framework_info.id'".to_owned());
    }
    if let Some(id) = &info.id {
        model::ids::check(&id.value).map_err(|bad| format!("Bad 'framework_id': {bad}"))?;
    }
    if has_constraints(subscribe.offer_constraints.as_ref()) {
        return Ok(Meaning::Missing("'subscribe.offer_constraints' are not supported yet; leave them out"));
    }
    let suppressed_roles = subscribe.suppressed_roles;
    Ok(Meaning::Subscribe(Box::new(Subscription { info: Box::new(info), suppressed_roles })))
}

fn action(kind: Type, call: Call) -> Result<SchedulerAction, String> {
    Ok(match kind {
        Type::Teardown => SchedulerAction::Teardown,
        Type::Accept => accept(call.accept.ok_or_else(|| expecting("accept"))?),
        Type::Decline => {
            let decline = call.decline.ok_or_else(|| expecting("decline"))?;
            let refuse_seconds = decline.filters.and_then(|filters| filters.refuse_seconds);
            SchedulerAction::Decline { offers: offers(&decline.offer_ids), refuse_seconds }
        }
        Type::Revive => SchedulerAction::Revive { roles: call.revive.unwrap_or_default().roles },
        Type::Suppress => SchedulerAction::Suppress { roles: call.suppress.unwrap_or_default().roles },
        Type::Kill => kill(call.kill.ok_or_else(|| expecting("kill"))?)?,
        Type::Acknowledge => acknowledge(call.acknowledge.ok_or_else(|| expecting("acknowledge"))?)?,
        Type::Reconcile => reconcile(&call.reconcile.ok_or_else(|| expecting("reconcile"))?)?,
        Type::Request => {
            call.request.ok_or_else(|| expecting("request"))?;
            SchedulerAction::Request
        }
        Type::Message => {
            let message = call.message.ok_or_else(|| expecting("message"))?;
            let agent = (&message.agent_id).into();
            SchedulerAction::Message {
                agent,
                executor: executor(&message.executor_id, "message.executor_id")?,
            }
        }
        Type::Shutdown => {
            let shutdown = call.shutdown.ok_or_else(|| expecting("shutdown"))?;
            let agent = (&shutdown.agent_id).into();
            let executor = executor(&shutdown.executor_id, "shutdown.executor_id")?;
            SchedulerAction::Shutdown { agent, executor }
        }
        Type::ReconcileOperations => {
            let list = call.reconcile_operations.ok_or_else(|| expecting("reconcile_operations"))?;
            SchedulerAction::ReconcileOperations { operations: list.operations }
        }
        // No inverse offer and no status of an operation is ever outstanding: what these name is unknown.
        Type::AcceptInverseOffers => {
            call.accept_inverse_offers.ok_or_else(|| expecting("accept_inverse_offers"))?;
            SchedulerAction::Ignored(kind)
        }
        Type::DeclineInverseOffers => {
            call.decline_inverse_offers.ok_or_else(|| expecting("decline_inverse_offers"))?;
            SchedulerAction::Ignored(kind)
        }
        Type::AcknowledgeOperationStatus => {
            call.acknowledge_operation_status.ok_or_else(|| expecting("acknowledge_operation_status"))?;
            SchedulerAction::Ignored(kind)
        }
        // Mesos: of an unknown framework, or of another stream, it is refused like any other call.
        Type::Unknown => SchedulerAction::Ignored(kind),
        Type::Subscribe | Type::UpdateFramework => {
            return Err(format!("{} can't be handled here", kind.as_str_name()));
        }
    })
}

fn accept(accept: call::Accept) -> SchedulerAction {
    SchedulerAction::Accept {
        offers: offers(&accept.offer_ids),
        operations: accept.operations,
        refuse_seconds: accept.filters.and_then(|filters| filters.refuse_seconds),
    }
}

fn offers(ids: &[v1::OfferId]) -> Vec<OfferId> {
    ids.iter().map(OfferId::from).collect()
}

fn kill(kill: call::Kill) -> Result<SchedulerAction, String> {
    let grace = match kill.kill_policy.and_then(|policy| policy.grace_period) {
        None => None,
        Some(period) => {
            let nanoseconds = u64::try_from(period.nanoseconds)
                .map_err(|_| "'kill.kill_policy.grace_period' must not be negative".to_owned())?;
            Some(Duration::from_nanos(nanoseconds))
        }
    };
    let agent = kill.agent_id.as_ref().map(AgentId::from);
    Ok(SchedulerAction::Kill { task: task(&kill.task_id, "kill.task_id")?, agent, grace })
}

fn task(id: &v1::TaskId, field: &str) -> Result<TaskId, String> {
    let task = TaskId::from(id);
    task.check().map_err(|bad| format!("Bad '{field}': {bad}"))?;
    Ok(task)
}

fn executor(id: &v1::ExecutorId, field: &str) -> Result<ExecutorId, String> {
    let executor = ExecutorId::from(id);
    executor.check().map_err(|bad| format!("Bad '{field}': {bad}"))?;
    Ok(executor)
}

fn acknowledge(acknowledge: call::Acknowledge) -> Result<SchedulerAction, String> {
    // Mesos: the uuid must be one.
    if acknowledge.uuid.len() != 16 {
        return Err("'acknowledge.uuid' is not a UUID of 16 bytes".to_owned());
    }
    Ok(SchedulerAction::Acknowledge {
        agent: (&acknowledge.agent_id).into(),
        task: task(&acknowledge.task_id, "acknowledge.task_id")?,
        uuid: acknowledge.uuid.to_vec(),
    })
}

fn reconcile(reconcile: &call::Reconcile) -> Result<SchedulerAction, String> {
    let one = |entry: &call::reconcile::Task| {
        let agent = entry.agent_id.as_ref().map(AgentId::from);
        Ok((task(&entry.task_id, "reconcile.tasks.task_id")?, agent))
    };
    Ok(SchedulerAction::Reconcile { tasks: reconcile.tasks.iter().map(one).collect::<Result<_, String>>()? })
}
