//! `/slaves`: the agents.

use wire::v1;

use super::super::json::{self, Object};
use super::parts;
use crate::api::messages;
use crate::logic::Agent;
use crate::view::View;

/// Writes the page, of all agents or of one.
pub fn write(o: &mut Object<'_>, view: &View, id: Option<&str>) {
    let wanted = |agent: &&std::sync::Arc<Agent>| id.is_none_or(|id| agent.facts.id.as_str() == id);
    o.array("slaves", view.agents.values().filter(wanted), |out, agent| {
        json::object(out, |o| {
            slave(o, agent);
            full_resources(o, agent);
        });
    });
    recovered(o, view, id);
}

fn full_resources(o: &mut Object<'_>, agent: &Agent) {
    o.object("reserved_resources_full", |o| {
        for (role, resources) in parts::by_role(&agent.total) {
            parts::full(o, role.as_str(), resources);
        }
    });
    parts::full(o, "unreserved_resources_full", &agent.total.unreserved());
    parts::full(o, "used_resources_full", &messages::used(agent));
    parts::full(o, "offered_resources_full", &messages::offered(agent));
}

/// The fields of an agent.
pub fn slave(o: &mut Object<'_>, agent: &Agent) {
    let facts = &agent.facts;
    o.text("id", facts.id.as_str());
    described(o, &facts.info);
    o.text("pid", &messages::agent_pid(facts));
    o.number("registered_time", agent.registered.as_secs_f64());
    if let Some(at) = agent.reregistered {
        o.number("reregistered_time", at.as_secs_f64());
    }
    parts::resources(o, "resources", &agent.total);
    parts::resources(o, "used_resources", &messages::used(agent));
    parts::resources(o, "offered_resources", &messages::offered(agent));
    o.object("reserved_resources", |o| {
        for (role, resources) in parts::by_role(&agent.total) {
            parts::resources(o, role.as_str(), resources);
        }
    });
    parts::resources(o, "unreserved_resources", &agent.total.unreserved());
    o.flag("active", agent.active);
    o.flag("deactivated", false);
    o.text("version", &facts.version);
    o.texts("capabilities", &facts.capabilities);
}

fn described(o: &mut Object<'_>, info: &v1::AgentInfo) {
    o.text("hostname", &info.hostname);
    o.integer("port", info.port().into());
    parts::attributes(o, &info.attributes);
    if let Some(domain) = &info.domain {
        o.message("domain", domain);
    }
}

/// Agents of the registry that have not come back since this master leads, all or one.
pub fn recovered(o: &mut Object<'_>, view: &View, id: Option<&str>) {
    let wanted = view.recovered.iter().filter(|(known, _)| id.is_none_or(|id| known.as_str() == id));
    o.array("recovered_slaves", wanted, |out, (id, info)| {
        json::object(out, |o| {
            o.text("id", id.as_str());
            described(o, info);
        });
    });
}
