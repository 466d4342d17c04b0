//! Parts that several pages share: summaries of resources, attributes, labels.

use std::collections::{BTreeMap, BTreeSet};

use model::resources::{Amount, Ranges};
use model::{Milli, Resource, Resources, Role};
use wire::v1;

use super::super::json::{self, Object};

/// Mesos prints these even when there is nothing of them.
const ALWAYS: [&str; 4] = ["cpus", "gpus", "mem", "disk"];

/// Sums by name; revocable ones have a name of their own.
#[derive(Default)]
struct Sums {
    scalars: BTreeMap<String, Milli>,
    ranges: BTreeMap<String, Ranges>,
    sets: BTreeMap<String, BTreeSet<String>>,
}

impl Sums {
    fn of<'a>(resources: impl IntoIterator<Item = &'a Resource>) -> Sums {
        let mut sums = Sums::default();
        for resource in resources {
            let suffix = if resource.kind.revocable { "_revocable" } else { "" };
            let name = format!("{}{suffix}", resource.name);
            match &resource.amount {
                Amount::Scalar(amount) => {
                    let sum = sums.scalars.entry(name).or_default();
                    *sum = *sum + *amount;
                }
                Amount::Ranges(ranges) => sums.ranges.entry(name).or_default().add(ranges),
                Amount::Set(items) => sums.sets.entry(name).or_default().extend(items.iter().cloned()),
            }
        }
        sums
    }

    fn write(mut self, o: &mut Object<'_>) {
        for name in ALWAYS {
            o.number(name, self.scalars.remove(name).unwrap_or_default().as_f64());
        }
        self.scalars.iter().for_each(|(name, amount)| o.number(name, amount.as_f64()));
        self.ranges.into_iter().for_each(|(name, ranges)| o.text(&name, &Amount::Ranges(ranges).to_string()));
        self.sets.into_iter().for_each(|(name, set)| o.text(&name, &Amount::Set(set).to_string()));
    }
}

/// A summary of resources, as a field.
pub fn resources<'a>(o: &mut Object<'_>, name: &str, resources: impl IntoIterator<Item = &'a Resource>) {
    let sums = Sums::of(resources);
    o.object(name, |o| sums.write(o));
}

/// Reserved resources by the role they are reserved for.
pub fn by_role(resources: &Resources) -> BTreeMap<Role, Vec<&Resource>> {
    let mut roles: BTreeMap<Role, Vec<&Resource>> = BTreeMap::new();
    for resource in resources.iter().filter(|resource| !resource.kind.reservations.is_empty()) {
        roles.entry(resource.reserved_for()).or_default().push(resource);
    }
    roles
}

/// Whole resources in Mesos' endpoint format: `reservations`, and the older fields beside them.
pub fn full<'a>(o: &mut Object<'_>, name: &str, resources: impl IntoIterator<Item = &'a Resource>) {
    o.array(name, resources, |out, resource| wire::json::write(&endpoint_format(resource), out));
}

fn endpoint_format(resource: &Resource) -> v1::Resource {
    let mut message = resource.to_wire();
    if let Some(older) = resource.to_wire_before_refinement() {
        message.role = older.role;
        message.reservation = older.reservation;
    }
    message
}

/// Attributes by name: numbers as numbers, all else as text.
pub fn attributes(o: &mut Object<'_>, attributes: &[v1::Attribute]) {
    o.object("attributes", |o| {
        for attribute in attributes {
            if let Some(scalar) = &attribute.scalar {
                o.number(&attribute.name, scalar.value);
            } else if let Some(ranges) = &attribute.ranges {
                let pairs = ranges.range.iter().map(|range| (range.begin, range.end)).collect();
                o.text(&attribute.name, &Amount::Ranges(Ranges::from_pairs(pairs)).to_string());
            } else if let Some(set) = &attribute.set {
                o.text(&attribute.name, &Amount::Set(set.item.iter().cloned().collect()).to_string());
            } else if let Some(text) = &attribute.text {
                o.text(&attribute.name, &text.value);
            }
        }
    });
}

/// Labels as pairs, left out when there are none.
pub fn labels(o: &mut Object<'_>, labels: Option<&v1::Labels>) {
    let Some(labels) = labels else { return };
    o.array("labels", &labels.labels, |out, label| {
        json::object(out, |o| {
            o.text("key", &label.key);
            o.text_if("value", label.value.as_deref());
        });
    });
}
