//! Resources and attributes in the older pages.

use std::collections::{BTreeMap, BTreeSet};

use model::resources::{Amount, Ranges};
use model::{Milli, Resource, Resources};
use serde_json::Value;
use wire::v1;

/// Mesos prints these even when there is nothing of them.
const ALWAYS: [&str; 4] = ["cpus", "gpus", "mem", "disk"];

/// Infinity is a text, as in the v1 JSON.
pub(super) fn number(value: f64) -> Value {
    if value.is_infinite() { Value::from("Infinity") } else { Value::from(value) }
}

/// Sums by name: scalars as numbers, ranges and sets as text; revocable ones have a name of their own.
pub(super) fn summary<'a>(resources: impl IntoIterator<Item = &'a Resource>) -> Value {
    let mut scalars: BTreeMap<String, Milli> =
        ALWAYS.iter().map(|n| ((*n).to_owned(), Milli::ZERO)).collect();
    let mut ranges: BTreeMap<String, Ranges> = BTreeMap::new();
    let mut sets: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for resource in resources {
        let suffix = if resource.kind.revocable { "_revocable" } else { "" };
        let name = format!("{}{suffix}", resource.name);
        match &resource.amount {
            Amount::Scalar(amount) => {
                let sum = scalars.entry(name).or_insert(Milli::ZERO);
                *sum = *sum + *amount;
            }
            Amount::Ranges(more) => ranges.entry(name).or_default().add(more),
            Amount::Set(items) => sets.entry(name).or_default().extend(items.iter().cloned()),
        }
    }
    let scalars = scalars.into_iter().map(|(name, amount)| (name, Value::from(amount.as_f64())));
    let ranges = ranges.into_iter().map(|(name, r)| (name, Value::from(Amount::Ranges(r).to_string())));
    let sets = sets.into_iter().map(|(name, s)| (name, Value::from(Amount::Set(s).to_string())));
    scalars.chain(ranges).chain(sets).collect()
}

/// Reserved resources by the role they are reserved for.
pub(super) fn by_role(resources: &Resources, write: impl Fn(&Resources) -> Value) -> Value {
    let reserved = resources.filter(|r| !r.kind.reservations.is_empty());
    let roles: BTreeSet<String> = reserved.iter().map(|r| r.reserved_for().to_string()).collect();
    let of = |role: &str| reserved.filter(|r| r.reserved_for().as_str() == role);
    roles.into_iter().map(|role| (role.clone(), write(&of(&role)))).collect()
}

/// Whole resources in Mesos' endpoint format: `reservations`, and the older fields beside them.
pub(super) fn full(resources: &Resources) -> Value {
    let messages = resources.iter().map(|resource| {
        let mut message = resource.to_wire();
        if let Some(older) = resource.to_wire_before_refinement() {
            message.role = older.role;
            message.reservation = older.reservation;
        }
        message.allocation_info = None;
        serde_json::from_slice::<Value>(&wire::json::to_vec(&message)).unwrap_or(Value::Null)
    });
    messages.collect()
}

/// Attributes by name: numbers as numbers, all else as text.
pub(super) fn attributes(attributes: &[v1::Attribute]) -> Value {
    let all = attributes.iter().filter_map(|attribute| {
        let value = if let Some(scalar) = &attribute.scalar {
            number(scalar.value)
        } else if let Some(ranges) = &attribute.ranges {
            let pairs = ranges.range.iter().map(|range| (range.begin, range.end)).collect();
            Amount::Ranges(Ranges::from_pairs(pairs)).to_string().into()
        } else if let Some(set) = &attribute.set {
            Amount::Set(set.item.iter().cloned().collect()).to_string().into()
        } else {
            attribute.text.as_ref()?.value.as_str().into()
        };
        Some((attribute.name.clone(), value))
    });
    all.collect()
}
