//! Flags about what the agent has: resources, attributes, where it stands.

use std::collections::BTreeSet;

use model::flags::{BadFlag, Values, bad};
use model::{Resources, Role};
use wire::v1;

/// What an operator says the agent has.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Given {
    /// The amounts.
    pub resources: Resources,
    /// Every name that was mentioned, also with an amount of nothing: what is mentioned is not detected.
    pub names: BTreeSet<String>,
}

pub(super) fn resources(values: &Values) -> Result<Given, BadFlag> {
    let Some(text) = values.text("resources") else { return Ok(Given::default()) };
    let role = values.text("default_role").unwrap_or("*");
    let role = Role::new(role).map_err(|why| bad("default_role", role, &why.to_string()))?;
    if text.trim_start().starts_with('[') {
        return of_json(text, &role).map_err(|why| bad("resources", text, &why));
    }
    let resources =
        model::resources::parse(text, &role).map_err(|why| bad("resources", text, &why.to_string()))?;
    Ok(Given { resources, names: model::resources::names(text) })
}

fn of_json(text: &str, role: &Role) -> Result<Given, String> {
    let list: Vec<serde_json::Value> =
        serde_json::from_str(text).map_err(|why| format!("no JSON array of resources: {why}"))?;
    let mut given = Given::default();
    for value in list {
        let mut message: v1::Resource =
            wire::json::from_slice(value.to_string().as_bytes()).map_err(|why| why.to_string())?;
        if message.reservations.is_empty() && message.role.is_none() && *role != Role::any() {
            message.role = Some(role.to_string());
        }
        static_only(&message)?;
        given.names.insert(message.name.clone());
        given.resources.add(&Resources::from_wire(&[message]).map_err(|why| why.to_string())?);
    }
    Ok(given)
}

/// Mesos: what a framework makes of resources by calls can't be given by a flag.
fn static_only(message: &v1::Resource) -> Result<(), String> {
    let dynamic = v1::resource::reservation_info::Type::Dynamic;
    let reserved =
        message.reservation.is_some() || message.reservations.iter().any(|r| r.r#type() == dynamic);
    let wrong = [
        (reserved, "a dynamic reservation; only static ones can be given by a flag"),
        (message.disk.as_ref().is_some_and(|d| d.persistence.is_some()), "a persistent volume"),
        (message.revocable.is_some(), "'revocable'"),
        (message.shared.is_some(), "'shared'"),
        (message.provider_id.is_some(), "'provider_id'"),
        (message.allocation_info.is_some(), "'allocation_info'"),
    ];
    match wrong.iter().find(|(found, _)| *found) {
        None => Ok(()),
        Some((_, what)) => Err(format!("the resource '{}' has {what}", message.name)),
    }
}

pub(super) fn attributes(values: &Values) -> Result<Vec<v1::Attribute>, BadFlag> {
    let text = values.text("attributes").unwrap_or_default();
    model::attributes::parse(text).map_err(|why| bad("attributes", text, &why))
}

/// `--domain`: the region and zone of the host, as JSON.
pub(super) fn domain(values: &Values) -> Result<Option<v1::DomainInfo>, BadFlag> {
    let Some(text) = values.text("domain") else { return Ok(None) };
    model::domain::parse(text).map(Some).map_err(|why| bad("domain", text, &why))
}
