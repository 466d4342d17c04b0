//! UPDATE_FRAMEWORK: a framework describes itself anew without subscribing again.

use std::sync::Arc;

use model::{FrameworkId, OfferId, Role};
use wire::v1;

use super::effect::Effect;
use super::offers;
use super::refused::Refused;
use super::state::{Framework, State};
use super::subscription::{self, Wanted};

/// Replaces a framework's description. Mesos: all of it but principal, user and checkpoint, which must stay.
pub(super) fn amend(
    state: &mut State,
    framework: &FrameworkId,
    info: v1::FrameworkInfo,
    suppressed: &[String],
    out: &mut Vec<Effect>,
) -> Result<(), Refused> {
    let Some(row) = state.frameworks.get(framework).cloned() else {
        return Err(Refused::UnknownFramework(framework.clone()));
    };
    unchanged(&row.info, &info).map_err(Refused::Invalid)?;
    let wanted = subscription::check(state, info, suppressed).map_err(Refused::Invalid)?;
    apply(state, framework, &row, wanted, out);
    Ok(())
}

fn unchanged(before: &v1::FrameworkInfo, after: &v1::FrameworkInfo) -> Result<(), String> {
    let what = if before.principal != after.principal {
        "principal"
    } else if before.user != after.user {
        "user"
    } else if before.checkpoint() != after.checkpoint() {
        "checkpoint"
    } else {
        return Ok(());
    };
    Err(format!("Updating 'FrameworkInfo.{what}' is unsupported"))
}

fn apply(state: &mut State, id: &FrameworkId, before: &Framework, wanted: Wanted, out: &mut Vec<Effect>) {
    let info = v1::FrameworkInfo { id: Some(id.into()), ..wanted.info };
    let changed = *before.info != info;
    let opened: Vec<Role> = wanted
        .roles
        .iter()
        .filter(|role| !wanted.suppressed.contains(role))
        .filter(|role| !before.roles.contains(role) || before.suppressed.contains(role))
        .cloned()
        .collect();
    let closed: Vec<Role> = before
        .roles
        .iter()
        .filter(|role| !wanted.roles.contains(role) || wanted.suppressed.contains(role))
        .cloned()
        .collect();
    let removed: Vec<Role> =
        before.roles.iter().filter(|role| !wanted.roles.contains(role)).cloned().collect();
    let Some(row) = state.frameworks.get_mut(id) else { return };
    row.info = Arc::new(info);
    row.roles = wanted.roles;
    row.suppressed = wanted.suppressed;
    let wants = subscription::wants(row);
    rescind_of_roles(state, id, &removed, out);
    if state.inner.allocator.framework_wants(id, wants) {
        state.inner.touched.extend(state.agents.keys().cloned());
    }
    closed.iter().for_each(|role| state.inner.allocator.role_closes(id, role));
    opened.iter().for_each(|role| state.inner.allocator.role_opens(id, role));
    // Mesos: agents and operators hear of it only if the description really changed.
    if changed {
        let info = state.frameworks.get(id).map(|row| row.info.clone()).unwrap_or_default();
        for agent in state.agents_of(id) {
            state.update_framework_on(&agent, &info, out);
        }
        state.publish_framework(id, out);
    }
}

/// Mesos: offers to roles that are no longer the framework's are rescinded.
fn rescind_of_roles(state: &mut State, id: &FrameworkId, roles: &[Role], out: &mut Vec<Effect>) {
    let all = state.inner.offers_of_framework.get(id).cloned().unwrap_or_default();
    let of_role = |offer: &OfferId| state.offers.get(offer).is_some_and(|row| roles.contains(&row.role));
    let gone: Vec<OfferId> = all.into_iter().filter(of_role).collect();
    gone.iter().for_each(|offer| offers::rescind(state, offer, out));
}
