//! What a subscription may say: the rules for FrameworkInfo, and what its parts mean.

use std::time::Duration;

use model::{FrameworkId, Role};
use wire::v1;
use wire::v1::FrameworkInfo;
use wire::v1::framework_info::capability::Type as Capability;

use super::state::{Framework, State};
use crate::allocator::{Wants, quantities};

/// A subscription that may stand.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) info: FrameworkInfo,
    pub(super) roles: Vec<Role>,
    pub(super) suppressed: Vec<Role>,
}

/// Checks a subscription.
///
/// # Errors
/// The text of the ERROR event.
pub(super) fn check(state: &State, info: FrameworkInfo, suppressed: &[String]) -> Result<Wanted, String> {
    let roles = roles(&info)?;
    let suppressed = suppressed_roles(&roles, suppressed)?;
    failover_timeout(&info)?;
    if model::user::names_root(&info.user) && !state.settings.root_submissions {
        // Mesos: the text, and that a command's user is not looked at (authorization of RUN_TASK would).
        let user = info.user.escape_default();
        return Err(format!("User '{user}' is not allowed to run frameworks without --root_submissions set"));
    }
    if let Some(id) = info.id.as_ref().map(FrameworkId::from) {
        id.check().map_err(|bad| format!("Invalid framework ID: {bad}"))?;
        if state.is_completed(&id) {
            return Err("Framework has been removed".to_owned());
        }
        if let Some(known) = state.frameworks.get(&id)
            && known.info.principal != info.principal
        {
            return Err("Changing framework's principal is not allowed".to_owned());
        }
    }
    minimums(&info, &roles)?;
    Ok(Wanted { info, roles, suppressed })
}

fn roles(info: &FrameworkInfo) -> Result<Vec<Role>, String> {
    let role = |name: &str| Role::new(name).map_err(|bad| bad.to_string());
    if !info.capabilities.iter().any(|c| c.r#type() == Capability::MultiRole) {
        if !info.roles.is_empty() {
            let text = "'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable";
            return Err(text.to_owned());
        }
        return Ok(vec![role(info.role.as_deref().unwrap_or("*"))?]);
    }
    if info.role.is_some() {
        let text = "'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable";
        return Err(text.to_owned());
    }
    let mut roles = info.roles.iter().map(|name| role(name)).collect::<Result<Vec<_>, _>>()?;
    roles.sort();
    if let Some(twice) = roles.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("'FrameworkInfo.roles' contains duplicate items: {}", twice[0]));
    }
    Ok(roles)
}

/// The roles of a framework that only an agent has told of; what is no role is left out.
pub(super) fn roles_said(info: &FrameworkInfo) -> Vec<Role> {
    roles(info).unwrap_or_default()
}

fn suppressed_roles(own: &[Role], names: &[String]) -> Result<Vec<Role>, String> {
    let find = |name: &String| {
        let role = own.iter().find(|role| role.as_str() == name).cloned();
        role.ok_or_else(|| {
            format!("Suppressed role '{}' is not contained in the list of roles", name.escape_default())
        })
    };
    names.iter().map(find).collect()
}

/// How long the framework may stay away.
///
/// # Errors
/// Mesos: a timeout that a 64 bit number of nanoseconds can't hold refuses the subscription.
pub(super) fn failover_timeout(info: &FrameworkInfo) -> Result<Duration, String> {
    /// Largest number of whole seconds in an i64 of nanoseconds.
    const MOST: f64 = 9_223_372_036.0;
    let seconds = info.failover_timeout();
    if !(-MOST..=MOST).contains(&seconds) {
        return Err(format!("The framework failover_timeout ({seconds}) is invalid"));
    }
    Ok(Duration::from_secs_f64(seconds.max(0.0)))
}

fn minimums(
    info: &FrameworkInfo,
    roles: &[Role],
) -> Result<std::collections::BTreeMap<Role, Vec<crate::allocator::fair_share::Quantities>>, String> {
    let mut all = std::collections::BTreeMap::new();
    for (name, filters) in &info.offer_filters {
        let Some(role) = roles.iter().find(|role| role.as_str() == name) else {
            let name = name.escape_default();
            return Err(format!(
                "Offer filters are given for role '{name}', which is not one of the framework's"
            ));
        };
        let Some(least) = &filters.min_allocatable_resources else { continue };
        let one = |list: &v1::offer_filters::ResourceQuantities| {
            quantities(list.quantities.iter().map(|(name, scalar)| (name, scalar.value)))
                .ok_or_else(|| format!("Invalid minimal allocatable resources for role '{role}'"))
        };
        let lists = least.quantities.iter().map(one).collect::<Result<Vec<_>, _>>()?;
        all.insert(role.clone(), lists);
    }
    Ok(all)
}

/// What the allocator has to know of a framework.
pub(super) fn wants(framework: &Framework) -> Wants {
    Wants {
        gpus: framework.has(Capability::GpuResources),
        revocable: framework.has(Capability::RevocableResources),
        shared: framework.has(Capability::SharedResources),
        refinement: framework.has(Capability::ReservationRefinement),
        regions: framework.has(Capability::RegionAware),
        minimum: minimums(&framework.info, &framework.roles).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(role: Option<&str>, roles: &[&str], multi: bool) -> FrameworkInfo {
        let mut info = FrameworkInfo {
            role: role.map(str::to_owned),
            roles: roles.iter().map(|&r| r.to_owned()).collect(),
            ..Default::default()
        };
        if multi {
            info.capabilities
                .push(v1::framework_info::Capability { r#type: Some(Capability::MultiRole.into()) });
        }
        info
    }

    #[test]
    fn which_field_says_the_roles() {
        let names = |info| roles(&info).map(|r| r.iter().map(Role::to_string).collect::<Vec<_>>().join(","));
        assert_eq!(names(info(None, &[], false)).unwrap(), "*");
        assert_eq!(names(info(Some("web"), &[], false)).unwrap(), "web");
        assert_eq!(names(info(None, &["b", "a"], true)).unwrap(), "a,b");
        assert_eq!(names(info(None, &[], true)).unwrap(), "");
        for (bad, why) in [
            (info(None, &["a"], false), "must not be set when the framework is not MULTI_ROLE"),
            (info(Some("a"), &[], true), "must not be set when the framework is MULTI_ROLE"),
            (info(None, &["a", "a"], true), "duplicate items: a"),
            (info(Some("a//b"), &[], false), "double slash"),
        ] {
            assert!(roles(&bad).unwrap_err().contains(why), "{why}");
        }
    }

    #[test]
    fn timeouts_that_can_be_kept() {
        let of = |seconds| {
            failover_timeout(&FrameworkInfo { failover_timeout: Some(seconds), ..Default::default() })
        };
        assert_eq!(of(1.5).unwrap(), Duration::from_millis(1500));
        assert_eq!(of(-3.0).unwrap(), Duration::ZERO);
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e11] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
