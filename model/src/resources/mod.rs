//! Resources: what agents have, offers hold and tasks use, with exact arithmetic.
//!
//! A [`Resource`] is a name, a value and what distinguishes it from others of the same name: reservations, disk,
//! revocability, sharing, provider and the role it is allocated to. [`Resources`] holds at most one entry of each such
//! identity; adding and subtracting never loses a thousandth (Mesos keeps three decimals) and never goes below zero.

mod convert;
mod parse;
mod ranges;
mod scalar;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

pub use convert::BadResource;
pub use parse::{BadText, parse};
pub use ranges::Ranges;
pub use scalar::Milli;

use crate::role::Role;

/// How much of something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Amount {
    /// A quantity such as cpus or megabytes.
    Scalar(Milli),
    /// Numbers such as ports.
    Ranges(Ranges),
    /// Names.
    Set(BTreeSet<String>),
}

/// One reservation; refined ones stack up on a resource.
#[derive(Clone, PartialEq, Debug)]
pub struct Reservation {
    /// Dynamic (by a call) or static (by the agent's flags).
    pub dynamic: bool,
    /// Who it is for.
    pub role: Role,
    /// Who made it.
    pub principal: Option<String>,
    /// Its labels.
    pub labels: Option<wire::v1::Labels>,
}

/// What distinguishes resources of one name.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Kind {
    /// Outermost first; empty means unreserved.
    pub reservations: Vec<Reservation>,
    /// Volume, persistence and source of a disk.
    pub disk: Option<Box<wire::v1::resource::DiskInfo>>,
    /// May be taken back at any time.
    pub revocable: bool,
    /// May be used by several tasks at once.
    pub shared: bool,
    /// The resource provider it comes from.
    pub provider: Option<String>,
    /// The role it is offered or given to; none while it is an agent's total.
    pub allocated_to: Option<Role>,
}

/// A named amount of one kind.
#[derive(Clone, PartialEq, Debug)]
pub struct Resource {
    /// `cpus`, `mem`, `disk`, `ports`, `gpus` or any other name.
    pub name: Arc<str>,
    /// How much.
    pub amount: Amount,
    /// Of which kind.
    pub kind: Arc<Kind>,
}

impl Resource {
    /// An unreserved scalar.
    pub fn scalar(name: &str, amount: Milli) -> Resource {
        Resource { name: name.into(), amount: Amount::Scalar(amount), kind: Arc::default() }
    }

    fn is_empty(&self) -> bool {
        match &self.amount {
            Amount::Scalar(amount) => *amount <= Milli::ZERO,
            Amount::Ranges(ranges) => ranges.is_empty(),
            Amount::Set(set) => set.is_empty(),
        }
    }

    /// Whether both are of the same name, type of value and kind, so that their amounts add up. Persistent volumes
    /// and MOUNT disks never do.
    fn adds_to(&self, other: &Resource) -> bool {
        self.name == other.name
            && (Arc::ptr_eq(&self.kind, &other.kind) || self.kind == other.kind)
            && std::mem::discriminant(&self.amount) == std::mem::discriminant(&other.amount)
    }

    /// The innermost reservation's role, or `*`.
    pub fn reserved_for(&self) -> Role {
        self.kind.reservations.last().map_or_else(Role::any, |r| r.role.clone())
    }

    /// The same resource, allocated to `role` or to none.
    #[must_use]
    pub fn allocated_to(mut self, role: Option<&Role>) -> Resource {
        if self.kind.allocated_to.as_ref() != role {
            Arc::make_mut(&mut self.kind).allocated_to = role.cloned();
        }
        self
    }
}

/// A collection of resources, at most one of each identity, none empty.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Resources(Vec<Resource>);

impl Resources {
    /// Nothing.
    pub fn none() -> Resources {
        Resources::default()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The single resources.
    pub fn iter(&self) -> std::slice::Iter<'_, Resource> {
        self.0.iter()
    }

    /// Adds one resource.
    pub fn add_one(&mut self, add: &Resource) {
        if add.is_empty() {
            return;
        }
        let Some(have) = self.0.iter_mut().find(|have| have.adds_to(add)) else {
            self.0.push(add.clone());
            return;
        };
        match (&mut have.amount, &add.amount) {
            (Amount::Scalar(a), Amount::Scalar(b)) => *a = *a + *b,
            (Amount::Ranges(a), Amount::Ranges(b)) => a.add(b),
            (Amount::Set(a), Amount::Set(b)) => a.extend(b.iter().cloned()),
            _ => unreachable!("adds_to compares the type of value"),
        }
    }

    /// Adds all of `other`.
    pub fn add(&mut self, other: &Resources) {
        for resource in &other.0 {
            self.add_one(resource);
        }
    }

    /// Takes `other` away, or changes nothing and answers false when it is not contained.
    #[must_use]
    pub fn try_subtract(&mut self, other: &Resources) -> bool {
        if !self.contains(other) {
            return false;
        }
        for resource in &other.0 {
            self.subtract_one(resource);
        }
        true
    }

    /// Takes away as much of `other` as there is.
    pub fn subtract_up_to(&mut self, other: &Resources) {
        for resource in &other.0 {
            self.subtract_one(resource);
        }
    }

    fn subtract_one(&mut self, take: &Resource) {
        let Some(at) = self.0.iter().position(|have| have.adds_to(take)) else { return };
        match (&mut self.0[at].amount, &take.amount) {
            (Amount::Scalar(a), Amount::Scalar(b)) => *a = (*a - *b).max(Milli::ZERO),
            (Amount::Ranges(a), Amount::Ranges(b)) => a.subtract(b),
            (Amount::Set(a), Amount::Set(b)) => a.retain(|item| !b.contains(item)),
            _ => unreachable!("adds_to compares the type of value"),
        }
        if self.0[at].is_empty() {
            self.0.remove(at);
        }
    }

    /// Whether all of `other` is in here, kind by kind.
    pub fn contains(&self, other: &Resources) -> bool {
        other.0.iter().all(|want| {
            self.0.iter().find(|have| have.adds_to(want)).is_some_and(|have| {
                match (&have.amount, &want.amount) {
                    (Amount::Scalar(a), Amount::Scalar(b)) => a >= b,
                    (Amount::Ranges(a), Amount::Ranges(b)) => a.contains(b),
                    (Amount::Set(a), Amount::Set(b)) => b.is_subset(a),
                    _ => false,
                }
            })
        })
    }

    /// The same resources, allocated to `role` or to none.
    #[must_use]
    pub fn allocated_to(&self, role: Option<&Role>) -> Resources {
        let mut all = Resources(Vec::with_capacity(self.0.len()));
        // Resources of one kind share it.
        let mut last: Option<(&Arc<Kind>, Arc<Kind>)> = None;
        for resource in &self.0 {
            let known = last.as_ref().filter(|(before, _)| **before == resource.kind);
            let moved = match known {
                Some((_, kind)) => Resource { kind: kind.clone(), ..resource.clone() },
                None => resource.clone().allocated_to(role),
            };
            last = Some((&resource.kind, moved.kind.clone()));
            all.add_one(&moved);
        }
        all
    }

    /// Sum of a scalar over all kinds; zero when absent.
    pub fn scalar(&self, name: &str) -> Milli {
        let amounts = self.0.iter().filter(|r| &*r.name == name).filter_map(|r| match r.amount {
            Amount::Scalar(amount) => Some(amount),
            _ => None,
        });
        amounts.fold(Milli::ZERO, |a, b| a + b)
    }

    /// CPUs, in thousandths.
    pub fn cpus(&self) -> Milli {
        self.scalar("cpus")
    }

    /// Memory in MB (thousandths of it).
    pub fn mem(&self) -> Milli {
        self.scalar("mem")
    }

    /// The ports, over all kinds.
    pub fn ports(&self) -> Ranges {
        let mut ports = Ranges::default();
        for resource in self.0.iter().filter(|r| &*r.name == "ports") {
            if let Amount::Ranges(ranges) = &resource.amount {
                ports.add(ranges);
            }
        }
        ports
    }

    /// Scalar quantities by name, over all kinds.
    pub fn quantities(&self) -> BTreeMap<Arc<str>, Milli> {
        let mut sum = BTreeMap::new();
        for resource in &self.0 {
            if let Amount::Scalar(amount) = resource.amount {
                let entry = sum.entry(resource.name.clone()).or_insert(Milli::ZERO);
                *entry = *entry + amount;
            }
        }
        sum
    }

    /// The part for which `keep` holds.
    #[must_use]
    pub fn filter(&self, keep: impl Fn(&Resource) -> bool) -> Resources {
        Resources(self.0.iter().filter(|r| keep(r)).cloned().collect())
    }

    /// The part that is not reserved.
    #[must_use]
    pub fn unreserved(&self) -> Resources {
        self.filter(|r| r.kind.reservations.is_empty())
    }

    /// The part that frameworks of `role` may get: unreserved, or reserved for the role or one above it.
    #[must_use]
    pub fn usable_by(&self, role: &Role) -> Resources {
        self.filter(|r| {
            r.kind.reservations.is_empty() || {
                let owner = r.reserved_for();
                owner == *role || role.is_below(&owner)
            }
        })
    }
}

impl FromIterator<Resource> for Resources {
    fn from_iter<I: IntoIterator<Item = Resource>>(items: I) -> Self {
        let mut all = Resources::none();
        for item in items {
            all.add_one(&item);
        }
        all
    }
}

impl<'a> IntoIterator for &'a Resources {
    type Item = &'a Resource;
    type IntoIter = std::slice::Iter<'a, Resource>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Amount::Scalar(amount) => write!(f, "{amount}"),
            Amount::Ranges(ranges) => write!(f, "{ranges}"),
            Amount::Set(set) => write!(f, "{{{}}}", set.iter().cloned().collect::<Vec<_>>().join(", ")),
        }
    }
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, resource) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{}", resource.name)?;
            let owner = resource.reserved_for();
            if owner != Role::any() {
                write!(f, "({owner})")?;
            }
            write!(f, ":{}", resource.amount)?;
            if resource.kind.revocable {
                f.write_str("{REV}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(text: &str) -> Resources {
        parse(text, &Role::any()).unwrap()
    }

    #[test]
    fn adding_and_taking_away() {
        let mut have = of("cpus:4;mem:1024;ports:[31000-31009]");
        assert!(have.try_subtract(&of("cpus:0.1;ports:[31003-31004]")));
        assert_eq!(have.to_string(), "cpus:3.9; mem:1024; ports:[31000-31002, 31005-31009]");
        assert!(!have.try_subtract(&of("cpus:3.901")));
        assert!(!have.try_subtract(&of("ports:[31003-31003]")));
        have.add(&of("cpus:0.1;ports:[31003-31004]"));
        assert_eq!(have, of("cpus:4;mem:1024;ports:[31000-31009]"));
    }

    #[test]
    fn reserved_is_another_kind() {
        let mut have = of("cpus:4;cpus(web):2");
        assert_eq!(have.cpus(), Milli::from_f64(6.0).unwrap());
        assert!(!have.contains(&of("cpus:5")));
        assert!(have.contains(&of("cpus(web):2")));
        assert_eq!(have.unreserved(), of("cpus:4"));
        assert_eq!(have.usable_by(&Role::new("web/front").unwrap()), have);
        assert_eq!(have.usable_by(&Role::new("webby").unwrap()), of("cpus:4"));
        have.subtract_up_to(&of("cpus:9"));
        assert_eq!(have, of("cpus(web):2"));
    }

    #[test]
    fn many_small_steps_lose_nothing() {
        let mut have = of("cpus:1");
        for _ in 0..10 {
            assert!(have.try_subtract(&of("cpus:0.1")));
        }
        assert!(have.is_empty());
    }

    fn some_resources() -> impl Strategy<Value = Resources> {
        let one = prop_oneof![
            (0u8..3, 1i64..5000).prop_map(|(name, n)| {
                let name = ["cpus", "mem", "disk"][usize::from(name)];
                Resource::scalar(name, Milli::from_millis(n))
            }),
            (0u64..40, 0u64..10).prop_map(|(begin, len)| Resource {
                name: "ports".into(),
                amount: Amount::Ranges(Ranges::one(begin, begin + len)),
                kind: Arc::default(),
            }),
        ];
        proptest::collection::vec(one, 0..6).prop_map(|all| all.into_iter().collect())
    }

    proptest! {
        #[test]
        fn what_is_taken_can_be_put_back(a in some_resources(), b in some_resources()) {
            let mut sum = a.clone();
            sum.add(&b);
            prop_assert!(sum.contains(&a) && sum.contains(&b));
            let mut rest = sum.clone();
            prop_assert!(rest.try_subtract(&b));
            rest.add(&b);
            prop_assert!(rest.contains(&sum) && sum.contains(&rest));
        }

        #[test]
        fn the_wire_form_comes_back(a in some_resources()) {
            let back = Resources::from_wire(&a.to_wire()).unwrap();
            prop_assert_eq!(back, a);
        }
    }
}
