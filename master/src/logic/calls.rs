//! Calls of schedulers and operators: who may call, and where each call is carried out.

use model::{FrameworkId, Timestamp};

use super::accept::{Accept, accept};
use super::effect::Effect;
use super::event::{CallId, OperatorAction, SchedulerAction};
use super::refused::Refused;
use super::state::State;
use super::{departures, frameworks, offers, reconcile, tasks};

/// A call of a scheduler other than SUBSCRIBE.
pub(super) fn scheduler(
    state: &mut State,
    now: Timestamp,
    (call, framework): (CallId, FrameworkId),
    stream_token: Option<String>,
    action: SchedulerAction,
    out: &mut Vec<Effect>,
) {
    let outcome = may_call(state, &framework, stream_token);
    let fine = outcome.is_ok();
    // Mesos: the call is answered once it is checked, before it is carried out.
    out.push(Effect::Answer { call, outcome });
    if fine {
        carry_out(state, now, &framework, action, out);
    }
}

/// Mesos checks in this order: the framework is known, it is connected, the header is there, it is the current one.
fn may_call(state: &State, framework: &FrameworkId, stream_token: Option<String>) -> Result<(), Refused> {
    let row = state.frameworks.get(framework);
    let row = row.ok_or_else(|| Refused::UnknownFramework(framework.clone()))?;
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
        SchedulerAction::Request => {}
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
