//! Calls of schedulers and operators: who may call, and where each call is carried out.

use model::{FrameworkId, Timestamp};
use wire::v1::scheduler::call::Type;

use super::accept::{Accept, accept};
use super::amend::amend;
use super::effect::Effect;
use super::event::{CallId, OperatorAction, SchedulerAction};
use super::refused::Refused;
use super::state::State;
use super::tally::Count;
use super::{departures, frameworks, offers, reconcile, tasks};

/// Who calls.
pub(super) struct Caller {
    pub(super) call: CallId,
    pub(super) framework: FrameworkId,
    pub(super) principal: Option<String>,
    pub(super) stream_token: Option<String>,
}

/// A call of a scheduler other than SUBSCRIBE.
pub(super) fn scheduler(
    state: &mut State,
    now: Timestamp,
    caller: Caller,
    action: SchedulerAction,
    out: &mut Vec<Effect>,
) {
    let Caller { call, framework, principal, stream_token } = caller;
    let mut outcome = may_call(state, &framework, principal, stream_token);
    if outcome.is_ok() {
        count(state, &framework, &action);
    }
    // Mesos: whether a framework is described anew is said when it is; every other call is answered once it is checked,
    // before it is carried out.
    let action = match action {
        SchedulerAction::UpdateFramework { info, suppressed_roles } => {
            if outcome.is_ok() {
                outcome = amend(state, &framework, *info, &suppressed_roles, out);
            }
            None
        }
        action => Some(action).filter(|_| outcome.is_ok()),
    };
    out.push(Effect::Answer { call, outcome });
    if let Some(action) = action {
        carry_out(state, now, &framework, action, out);
    }
}

fn count(state: &mut State, framework: &FrameworkId, action: &SchedulerAction) {
    let kind = action.kind();
    state.tally.framework(framework, |tally| *tally.calls.entry(kind).or_default() += 1);
    let message = match kind {
        Type::Teardown => Count::UnregisterFramework,
        Type::Accept => Count::LaunchTasks,
        Type::Decline => Count::DeclineOffers,
        Type::Revive => Count::ReviveOffers,
        Type::Suppress => Count::SuppressOffers,
        Type::Kill => Count::KillTask,
        Type::Acknowledge => Count::StatusUpdateAcknowledgement,
        Type::Reconcile => Count::ReconcileTasks,
        Type::Request => Count::ResourceRequest,
        Type::Message => Count::FrameworkToExecutor,
        Type::ReconcileOperations => Count::ReconcileOperations,
        Type::AcknowledgeOperationStatus => Count::OperationAcknowledgement,
        Type::Subscribe
        | Type::Shutdown
        | Type::UpdateFramework
        | Type::AcceptInverseOffers
        | Type::DeclineInverseOffers
        | Type::Unknown => return,
    };
    state.tally.bump(message);
}

/// Mesos checks in this order: the framework is known, it is the caller's own, it is connected, the header is there, it is
/// the current one.
fn may_call(
    state: &State,
    framework: &FrameworkId,
    principal: Option<String>,
    stream_token: Option<String>,
) -> Result<(), Refused> {
    let row = state.frameworks.get(framework);
    let row = row.ok_or_else(|| Refused::UnknownFramework(framework.clone()))?;
    if let Some(asks) = principal
        && row.info.principal.as_ref() != Some(&asks)
    {
        let says = row.info.principal.clone().unwrap_or_default();
        return Err(Refused::OtherPrincipal { asks, says });
    }
    let current = match &row.stream_token {
        Some(token) if row.stream.is_some() => token,
        _ => return Err(Refused::NotSubscribed(framework.clone())),
    };
    match stream_token {
        None => Err(Refused::NoStreamId),
        Some(other) if *other != **current => Err(Refused::OtherStreamId(other)),
        Some(_) => Ok(()),
    }
}

fn carry_out(
    state: &mut State,
    now: Timestamp,
    framework: &FrameworkId,
    action: SchedulerAction,
    out: &mut Vec<Effect>,
) {
    match action {
        SchedulerAction::Teardown => frameworks::remove(state, now, framework, out),
        SchedulerAction::Accept { offers, operations, refuse_seconds } => {
            accept(state, now, framework, Accept { offers, operations, refuse_seconds }, out);
        }
        SchedulerAction::Decline { offers, refuse_seconds } => {
            offers::decline(state, now, framework, &offers, refuse_seconds);
        }
        SchedulerAction::Revive { roles } => offers::revive(state, framework, &roles),
        SchedulerAction::Suppress { roles } => offers::suppress(state, framework, &roles),
        SchedulerAction::Kill { task, agent, grace } => {
            tasks::kill(state, now, framework, (task, agent), grace, out);
        }
        SchedulerAction::Acknowledge { agent, task, uuid } => {
            tasks::acknowledge(state, framework, &agent, task, uuid, out);
        }
        SchedulerAction::Reconcile { tasks } if tasks.is_empty() => {
            reconcile::implicit(state, now, framework, out);
        }
        SchedulerAction::Reconcile { tasks } => reconcile::explicit(state, now, framework, &tasks, out),
        SchedulerAction::Message { agent, .. } => tasks::message(state, &agent),
        SchedulerAction::Shutdown { agent, executor } => {
            tasks::shut_down_executor(state, framework, &agent, &executor, out);
        }
        SchedulerAction::ReconcileOperations { operations } => {
            reconcile::operations(state, framework, operations, out);
        }
        // Described above; the others do nothing.
        SchedulerAction::UpdateFramework { .. } | SchedulerAction::Request | SchedulerAction::Ignored(_) => {}
    }
}

/// A call of an operator that changes something.
pub(super) fn operator(
    state: &mut State,
    now: Timestamp,
    call: CallId,
    action: OperatorAction,
    out: &mut Vec<Effect>,
) {
    match action {
        OperatorAction::Teardown { framework } => {
            let known = state.frameworks.contains(&framework);
            let outcome = if known { Ok(()) } else { Err(Refused::UnknownFramework(framework.clone())) };
            out.push(Effect::Answer { call, outcome });
            if known {
                frameworks::remove(state, now, &framework, out);
            }
        }
        OperatorAction::MarkAgentGone { agent } => departures::mark_gone(state, now, call, agent, out),
    }
}
