//! `/roles` and GET_ROLES: what each role has.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{FrameworkId, Milli, Resources, Role};
use wire::v1;

use super::super::json::{self, Object};
use crate::view::View;

/// Mesos: the weight of a role that was given none.
const WEIGHT: f64 = 1.0;

/// Mesos: what GET_ROLES tells, since nothing else is a scalar for certain.
const TOLD: [&str; 4] = ["cpus", "disk", "gpus", "mem"];

type Quantities = BTreeMap<Arc<str>, Milli>;

/// What one role has, and all roles below it.
#[derive(Default)]
struct Share {
    /// Of the role itself.
    frameworks: Vec<FrameworkId>,
    allocated: Resources,
    offered: Resources,
    reserved: Resources,
    /// The part of `reserved` that tasks use.
    reserved_used: Resources,
}

impl Share {
    fn resources(&self) -> Quantities {
        let mut all = self.allocated.clone();
        all.add(&self.offered);
        all.quantities()
    }

    /// Of a quota. Mesos: what is allocated, and what is reserved besides.
    fn consumed(&self) -> Quantities {
        let mut all = self.allocated.quantities();
        let used = self.reserved_used.quantities();
        for (name, amount) in self.reserved.quantities() {
            let spare = amount - used.get(&name).copied().unwrap_or_default();
            let sum = all.entry(name).or_default();
            *sum = *sum + spare;
        }
        all.retain(|_, amount| *amount != Milli::ZERO);
        all
    }

    fn add(&mut self, below: &Share) {
        self.allocated.add(&below.allocated);
        self.offered.add(&below.offered);
        self.reserved.add(&below.reserved);
        self.reserved_used.add(&below.reserved_used);
    }
}

/// Mesos: every role with a subscribed framework, an allocation or a reservation, and all roles above those, with what
/// is theirs and what belongs to the roles below.
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
            if !resource.kind.reservations.is_empty() {
                shares.entry(resource.reserved_for()).or_default().reserved_used.add_one(resource);
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
    add_what_is_below(&mut shares);
    shares
}

fn add_what_is_below(shares: &mut BTreeMap<Role, Share>) {
    // A role stands before those below it: backwards, it is complete before it is added to the one above.
    let backwards: Vec<Role> = shares.keys().rev().cloned().collect();
    for role in backwards {
        let above = role.as_str().rsplit_once('/').and_then(|(above, _)| Role::new(above).ok());
        let Some(above) = above else { continue };
        let share = shares.remove(&role).unwrap_or_default();
        if let Some(above) = shares.get_mut(&above) {
            above.add(&share);
        }
        shares.insert(role, share);
    }
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
                quantities(o, "consumed", &share.consumed());
            });
            quantities(o, "resources", &share.resources());
            quantities(o, "allocated", &share.allocated.quantities());
            quantities(o, "offered", &share.offered.quantities());
            quantities(o, "reserved", &share.reserved.quantities());
            o.texts("frameworks", share.frameworks.iter().map(|id| id.as_str()));
        });
    });
}

fn quantities(o: &mut Object<'_>, name: &str, quantities: &Quantities) {
    o.object(name, |o| quantities.iter().for_each(|(name, amount)| o.number(name, amount.as_f64())));
}

/// The roles of GET_ROLES.
pub fn messages(view: &View) -> Vec<v1::Role> {
    let message = |(role, share): (Role, Share)| v1::Role {
        name: role.to_string(),
        weight: WEIGHT,
        frameworks: share.frameworks.iter().map(Into::into).collect(),
        resources: share.resources().iter().filter_map(told).collect(),
    };
    shares(view).into_iter().map(message).collect()
}

/// Mesos: a bare sum, of which neither role nor reservation is told.
fn told((name, amount): (&Arc<str>, &Milli)) -> Option<v1::Resource> {
    TOLD.contains(&&**name).then(|| v1::Resource {
        name: name.to_string(),
        r#type: v1::value::Type::Scalar.into(),
        scalar: Some(v1::value::Scalar { value: amount.as_f64() }),
        ..v1::Resource::default()
    })
}
