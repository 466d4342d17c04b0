//! Rows of the tables as v1 messages.

use std::net::SocketAddr;

use model::{ExecutorId, Resource, Resources, Timestamp};
use wire::v1;
use wire::v1::master::response::{get_agents, get_frameworks};

use super::index::Index;
use crate::logic::{Agent, AgentFacts, Framework, Offer, OfferOut, Task};
use crate::view::View;

/// An offer as its scheduler gets it.
pub fn offer_out(out: &OfferOut) -> v1::Offer {
    offer(
        &out.offer,
        &out.agent,
        &out.executors,
        Shape { multi_role: out.multi_role, refinement: out.refinement },
    )
}

/// What a framework understands of offers.
#[derive(Clone, Copy)]
struct Shape {
    /// Mesos: others get no `allocation_info`.
    multi_role: bool,
    /// Mesos: others get `role` and `reservation` instead of `reservations`.
    refinement: bool,
}

fn offer(offer: &Offer, agent: &AgentFacts, executors: &[ExecutorId], shape: Shape) -> v1::Offer {
    let resources = offer.resources.iter().filter(|resource| &*resource.name != "ephemeral_ports");
    let message = |resource: &Resource| {
        let mut message =
            if shape.refinement { Some(resource.to_wire()) } else { resource.to_wire_before_refinement() };
        if let Some(message) = message.as_mut().filter(|_| !shape.multi_role) {
            message.allocation_info = None;
        }
        message
    };
    let role = offer.role.to_string();
    v1::Offer {
        id: (&offer.id).into(),
        framework_id: (&offer.framework).into(),
        agent_id: (&offer.agent).into(),
        hostname: agent.info.hostname.clone(),
        url: Some(url(agent)),
        domain: agent.info.domain.clone(),
        resources: resources.filter_map(message).collect(),
        attributes: agent.info.attributes.clone(),
        executor_ids: executors.iter().map(Into::into).collect(),
        unavailability: None,
        allocation_info: shape.multi_role.then_some(v1::resource::AllocationInfo { role: Some(role) }),
    }
}

/// Where an agent's own API answers.
fn url(agent: &AgentFacts) -> v1::Url {
    let address: Option<SocketAddr> = agent.address.parse().ok();
    v1::Url {
        // Mesos: always http, also where TLS is spoken.
        scheme: "http".to_owned(),
        address: v1::Address {
            hostname: Some(agent.info.hostname.clone()),
            ip: address.map(|address| address.ip().to_string()),
            port: address.map_or(0, |address| address.port().into()),
        },
        path: Some("/slave(1)".to_owned()),
        query: Vec::new(),
        fragment: None,
    }
}

/// `slave(1)@ip:port`, as libprocess names an agent.
pub fn agent_pid(agent: &AgentFacts) -> String {
    format!("slave(1)@{}", agent.address)
}

fn time(at: Timestamp) -> v1::TimeInfo {
    v1::TimeInfo { nanoseconds: at.micros().saturating_mul(1000) }
}

/// The sum of what the frameworks use on an agent.
pub fn used(agent: &Agent) -> Resources {
    sum(agent.used.values())
}

/// The sum of what is offered of an agent.
pub fn offered(agent: &Agent) -> Resources {
    sum(agent.offers.values())
}

fn sum<'a>(parts: impl Iterator<Item = &'a Resources>) -> Resources {
    let mut all = Resources::none();
    parts.for_each(|part| all.add(part));
    all
}

/// An agent of GET_AGENTS.
pub fn agent(agent: &Agent) -> get_agents::Agent {
    let facts = &agent.facts;
    let capability = |name: &String| {
        let kind = v1::agent_info::capability::Type::from_str_name(name)?;
        Some(v1::agent_info::Capability { r#type: Some(kind.into()) })
    };
    get_agents::Agent {
        agent_info: facts.info.clone(),
        active: agent.active,
        deactivated: Some(false),
        version: facts.version.clone(),
        pid: Some(agent_pid(facts)),
        registered_time: Some(time(agent.registered)),
        reregistered_time: agent.reregistered.map(time),
        total_resources: agent.total.to_wire(),
        allocated_resources: used(agent).to_wire(),
        offered_resources: offered(agent).to_wire(),
        capabilities: facts.capabilities.iter().filter_map(capability).collect(),
        ..get_agents::Agent::default()
    }
}

/// A framework of GET_FRAMEWORKS.
pub fn framework(framework: &Framework, view: &View, index: &Index<'_>) -> get_frameworks::Framework {
    let shape = Shape { multi_role: true, refinement: true };
    let offers = index.offers(&framework.id).iter().filter_map(|out| {
        let agent = view.agents.get(&out.agent)?;
        Some(offer(out, &agent.facts, &[], shape))
    });
    get_frameworks::Framework {
        framework_info: (*framework.info).clone(),
        active: framework.active,
        connected: framework.stream.is_some(),
        recovered: framework.recovered,
        registered_time: Some(time(framework.registered)),
        reregistered_time: framework.reregistered.map(time),
        unregistered_time: framework.unregistered.map(time),
        offers: offers.collect(),
        inverse_offers: Vec::new(),
        allocated_resources: index.used(&framework.id).to_wire(),
        offered_resources: index.offered(&framework.id).to_wire(),
        offer_constraints: None,
    }
}

/// A task of GET_TASKS.
pub fn task(task: &Task) -> v1::Task {
    let mut message = (*task.info).clone();
    message.task_id = (&task.id).into();
    message.framework_id = (&task.framework).into();
    message.agent_id = (&task.agent).into();
    message.state = v1::TaskState::from(task.latest).into();
    message.resources = task.resources.to_wire();
    message.statuses = task.statuses.iter().map(|status| (**status).clone()).collect();
    message.status_update_state = (!task.statuses.is_empty()).then(|| v1::TaskState::from(task.sent).into());
    message.status_update_uuid = task.unacknowledged.clone().map(Into::into);
    message
}
