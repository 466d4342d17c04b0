//! `/roles` and GET_ROLES: what each role has.

use std::collections::BTreeMap;

use model::{FrameworkId, Resources, Role};
use wire::v1;

use super::super::json::{self, Object};
use crate::view::View;

/// Mesos: the weight of a role that was given none.
const WEIGHT: f64 = 1.0;

/// What one role has.
#[derive(Default)]
struct Share {
    frameworks: Vec<FrameworkId>,
    allocated: Resources,
    offered: Resources,
    reserved: Resources,
}

impl Share {
    fn resources(&self) -> Resources {
        let mut all = self.allocated.clone();
        all.add(&self.offered);
        all
    }
}

/// Mesos: every role with a subscribed framework, an allocation or a reservation, and all roles above those.
fn shares(view: &View) -> BTreeMap<Role, Share> {
    let mut shares: BTreeMap<Role, Share> = BTreeMap::new();
    for framework in view.frameworks.values() {
        for role in &framework.roles {
            shares.entry(role.clone()).or_default().frameworks.push(framework.id.clone());
        }
    }
    for agent in view.agents.values() {
        for resource in agent.used.values().flatten() {
            if let Some(role) = &resource.kind.allocated_to {
                shares.entry(role.clone()).or_default().allocated.add_one(resource);
            }
        }
        for resource in agent.total.iter().filter(|resource| !resource.kind.reservations.is_empty()) {
            shares.entry(resource.reserved_for()).or_default().reserved.add_one(resource);
        }
    }
    for offer in view.offers.values() {
        shares.entry(offer.role.clone()).or_default().offered.add(&offer.resources);
    }
    let below: Vec<Role> = shares.keys().cloned().collect();
    for role in below {
        let mut name = role.as_str();
        while let Some((above, _)) = name.rsplit_once('/') {
            name = above;
            if let Ok(above) = Role::new(above) {
                shares.entry(above).or_default();
            }
        }
    }
    shares
}

/// Writes the page.
pub fn write(o: &mut Object<'_>, view: &View) {
    o.array("roles", shares(view), |out, (role, share)| {
        json::object(out, |o| {
            o.text("name", role.as_str());
            o.number("weight", WEIGHT);
            o.object("quota", |o| {
                o.text("role", role.as_str());
                o.object("guarantee", |_| ());
                o.object("limit", |_| ());
                quantities(o, "consumed", &share.allocated);
            });
            quantities(o, "resources", &share.resources());
            quantities(o, "allocated", &share.allocated);
            quantities(o, "offered", &share.offered);
            quantities(o, "reserved", &share.reserved);
            o.texts("frameworks", share.frameworks.iter().map(|id| id.as_str()));
        });
    });
}

fn quantities(o: &mut Object<'_>, name: &str, resources: &Resources) {
    let quantities = resources.quantities();
    o.object(name, |o| quantities.iter().for_each(|(name, amount)| o.number(name, amount.as_f64())));
}

/// The roles of GET_ROLES.
pub fn messages(view: &View) -> Vec<v1::Role> {
    let message = |(role, share): (Role, Share)| v1::Role {
        name: role.to_string(),
        weight: WEIGHT,
        frameworks: share.frameworks.iter().map(Into::into).collect(),
        resources: share.resources().to_wire(),
    };
    shares(view).into_iter().map(message).collect()
}
