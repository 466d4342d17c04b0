//! Resources from and to Mesos' messages.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use wire::v1;
use wire::v1::resource::{AllocationInfo, ReservationInfo, RevocableInfo, SharedInfo, reservation_info};
use wire::v1::value::{Range as WireRange, Ranges as WireRanges, Scalar, Set, Type};

use super::{Amount, Kind, Milli, Ranges, Reservation, Resource, Resources};
use crate::role::{BadRole, Role};

/// Most ranges that one resource may name.
const MAX_RANGES: usize = 10_000;

/// Why a resource is refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BadResource {
    /// No name.
    #[error("Empty resource name")]
    NoName,
    /// The value doesn't fit the type.
    #[error("Resource '{0}' has no value of its type, or more than one")]
    Value(String),
    /// Not a number, negative, or too large.
    #[error("Resource '{0}' has an invalid amount: {1}")]
    Amount(String, f64),
    /// A range that ends before it begins, overlaps another, or too many.
    #[error("Resource '{0}' has invalid ranges")]
    Ranges(String),
    /// An empty item or one twice.
    #[error("Resource '{0}' has an invalid set")]
    Set(String),
    /// A reservation that contradicts itself.
    #[error("Resource '{0}' has an invalid reservation: {1}")]
    Reservation(String, String),
    /// DiskInfo on something else than a disk.
    #[error("DiskInfo should not be set for {0} resource")]
    Disk(String),
    /// A shared resource that is no persistent volume, or a revocable one.
    #[error("Resource '{0}' can't be shared")]
    Shared(String),
}

/// The names that most resources have: a master holds hundreds of thousands of each.
static NAMES: LazyLock<[Arc<str>; 5]> =
    LazyLock::new(|| ["cpus", "mem", "disk", "ports", "gpus"].map(Arc::from));

thread_local! {
    /// What the last resource read by this thread was; mostly the next one is the same.
    static LAST_KIND: RefCell<Arc<Kind>> = RefCell::default();
}

fn shared_name(name: &str) -> Arc<str> {
    NAMES.iter().find(|known| ***known == *name).map_or_else(|| name.into(), Arc::clone)
}

fn shared_kind(kind: Kind) -> Arc<Kind> {
    // Large ones are not kept for as long as the thread lives.
    if kind.disk.is_some() || kind.provider.is_some() || !kind.reservations.is_empty() {
        return Arc::new(kind);
    }
    LAST_KIND.with_borrow_mut(|last| {
        if **last != kind {
            *last = Arc::new(kind);
        }
        last.clone()
    })
}

impl Resources {
    /// Reads and checks what came over the wire; resources of one identity are added up.
    ///
    /// # Errors
    /// Names the first resource that is refused and why.
    pub fn from_wire(messages: &[v1::Resource]) -> Result<Resources, BadResource> {
        let mut all = Resources(Vec::with_capacity(messages.len()));
        for message in messages {
            all.add_one(&Resource::from_wire(message)?);
        }
        Ok(all)
    }

    /// The message form, in the format of RESERVATION_REFINEMENT (`reservations`, no `role`).
    pub fn to_wire(&self) -> Vec<v1::Resource> {
        self.iter().map(Resource::to_wire).collect()
    }
}

impl Resource {
    /// Reads and checks one resource in either reservation format.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn from_wire(message: &v1::Resource) -> Result<Resource, BadResource> {
        let name = message.name.as_str();
        if name.is_empty() {
            return Err(BadResource::NoName);
        }
        let amount = amount(message)?;
        if message.disk.is_some() && name != "disk" {
            return Err(BadResource::Disk(name.to_owned()));
        }
        let persistent = message.disk.as_ref().is_some_and(|d| d.persistence.is_some());
        if message.shared.is_some() && (!persistent || message.revocable.is_some()) {
            return Err(BadResource::Shared(name.to_owned()));
        }
        let reservations =
            reservations(message).map_err(|why| BadResource::Reservation(name.to_owned(), why))?;
        let allocated_to = message
            .allocation_info
            .as_ref()
            .and_then(|a| a.role.as_deref())
            .map(Role::new)
            .transpose()
            .map_err(|bad| BadResource::Reservation(name.to_owned(), bad.to_string()))?;
        let kind = Kind {
            reservations,
            disk: message.disk.clone(),
            revocable: message.revocable.is_some(),
            shared: message.shared.is_some(),
            provider: message.provider_id.as_ref().map(|p| p.value.clone()),
            allocated_to,
        };
        Ok(Resource { name: shared_name(name), amount, kind: shared_kind(kind) })
    }

    /// The message form.
    pub fn to_wire(&self) -> v1::Resource {
        let mut message = v1::Resource { name: self.name.to_string(), ..Default::default() };
        match &self.amount {
            Amount::Scalar(amount) => {
                message.set_type(Type::Scalar);
                message.scalar = Some(Scalar { value: amount.as_f64() });
            }
            Amount::Ranges(ranges) => {
                message.set_type(Type::Ranges);
                let range = ranges.pairs().iter().map(|&(begin, end)| WireRange { begin, end }).collect();
                message.ranges = Some(WireRanges { range });
            }
            Amount::Set(items) => {
                message.set_type(Type::Set);
                message.set = Some(Set { item: items.iter().cloned().collect() });
            }
        }
        let kind = &self.kind;
        message.reservations = kind.reservations.iter().map(Reservation::to_wire).collect();
        message.disk.clone_from(&kind.disk);
        message.revocable = kind.revocable.then_some(RevocableInfo {});
        message.shared = kind.shared.then_some(SharedInfo {});
        message.provider_id = kind.provider.clone().map(|value| v1::ResourceProviderId { value });
        message.allocation_info =
            kind.allocated_to.as_ref().map(|role| AllocationInfo { role: Some(role.to_string()) });
        message
    }

    /// The message form of before RESERVATION_REFINEMENT: `role` and `reservation` instead of `reservations`. None
    /// when the reservation is refined, which that form can't say.
    pub fn to_wire_before_refinement(&self) -> Option<v1::Resource> {
        if self.kind.reservations.len() > 1 {
            return None;
        }
        let mut message = self.to_wire();
        let reservation = message.reservations.pop();
        message.role = Some(self.reserved_for().to_string());
        if let Some(mut reservation) = reservation
            && self.kind.reservations.iter().any(|r| r.dynamic)
        {
            reservation.r#type = None;
            reservation.role = None;
            message.reservation = Some(reservation.into());
        }
        Some(message)
    }
}

impl Reservation {
    fn to_wire(&self) -> ReservationInfo {
        let kind =
            if self.dynamic { reservation_info::Type::Dynamic } else { reservation_info::Type::Static };
        ReservationInfo {
            r#type: Some(kind.into()),
            role: Some(self.role.to_string()),
            principal: self.principal.clone(),
            labels: self.labels.clone(),
        }
    }
}

fn amount(message: &v1::Resource) -> Result<Amount, BadResource> {
    let name = || message.name.clone();
    let values = (&message.scalar, &message.ranges, &message.set);
    match (Type::try_from(message.r#type), values) {
        (Ok(Type::Scalar), (Some(scalar), None, None)) => match Milli::from_f64(scalar.value) {
            Some(amount) if amount >= Milli::ZERO => Ok(Amount::Scalar(amount)),
            _ => Err(BadResource::Amount(name(), scalar.value)),
        },
        (Ok(Type::Ranges), (None, Some(ranges), None)) => {
            disjoint(ranges).ok_or_else(|| BadResource::Ranges(name()))
        }
        (Ok(Type::Set), (None, None, Some(set))) => {
            let items: BTreeSet<String> = set.item.iter().cloned().collect();
            let fine = items.len() == set.item.len() && !items.contains("");
            fine.then_some(Amount::Set(items)).ok_or_else(|| BadResource::Set(name()))
        }
        _ => Err(BadResource::Value(name())),
    }
}

fn disjoint(message: &WireRanges) -> Option<Amount> {
    if message.range.len() > MAX_RANGES {
        return None;
    }
    let mut pairs: Vec<_> = message.range.iter().map(|r| (r.begin, r.end)).collect();
    pairs.sort_unstable();
    let ordered = pairs.iter().all(|(begin, end)| begin <= end);
    let apart = pairs.windows(2).all(|w| w[0].1 < w[1].0);
    (ordered && apart).then(|| Amount::Ranges(Ranges::from_pairs(pairs)))
}

fn reservations(message: &v1::Resource) -> Result<Vec<Reservation>, String> {
    let text = |bad: BadRole| bad.to_string();
    if !message.reservations.is_empty() {
        if message.reservation.is_some() || message.role.as_deref().is_some_and(|r| r != "*") {
            return Err("both 'reservations' and the older 'role' or 'reservation' are set".to_owned());
        }
        return stacked(&message.reservations);
    }
    let role = Role::new(message.role.as_deref().unwrap_or("*")).map_err(text)?;
    match (&message.reservation, role == Role::any()) {
        (Some(_), true) => Err("a dynamic reservation needs a role other than '*'".to_owned()),
        (None, true) => Ok(Vec::new()),
        (dynamic, false) => Ok(vec![Reservation {
            dynamic: dynamic.is_some(),
            role,
            principal: dynamic.as_ref().and_then(|d| d.principal.clone()),
            labels: dynamic.as_ref().and_then(|d| d.labels.clone()),
        }]),
    }
}

fn stacked(messages: &[ReservationInfo]) -> Result<Vec<Reservation>, String> {
    if messages.len() > 64 {
        return Err("more than 64 reservations".to_owned());
    }
    let mut all: Vec<Reservation> = Vec::with_capacity(messages.len());
    for message in messages {
        let dynamic = match message.r#type.and_then(|t| reservation_info::Type::try_from(t).ok()) {
            Some(reservation_info::Type::Dynamic) => true,
            Some(reservation_info::Type::Static) if all.is_empty() => false,
            Some(reservation_info::Type::Static) => {
                return Err("a static reservation can't refine another".to_owned());
            }
            _ => return Err("a reservation without a type".to_owned()),
        };
        let role = Role::new(message.role.as_deref().unwrap_or("")).map_err(|bad| bad.to_string())?;
        if role == Role::any() {
            return Err("role '*' can't be reserved".to_owned());
        }
        if all.last().is_some_and(|outer| !role.is_below(&outer.role)) {
            return Err(format!("'{role}' does not refine the reservation before it"));
        }
        all.push(Reservation {
            dynamic,
            role,
            principal: message.principal.clone(),
            labels: message.labels.clone(),
        });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalar(value: f64) -> v1::Resource {
        let mut message = v1::Resource { name: "cpus".to_owned(), ..Default::default() };
        message.set_type(Type::Scalar);
        message.scalar = Some(Scalar { value });
        message
    }

    #[test]
    fn what_most_resources_have_in_common_is_in_memory_once_and_what_is_large_is_not_kept() {
        let read = |role: &str, disk: bool| {
            let mut message = v1::Resource { name: "disk".to_owned(), ..Default::default() };
            message.set_type(Type::Scalar);
            message.scalar = Some(Scalar { value: 1.0 });
            message.allocation_info = Some(AllocationInfo { role: Some(role.to_owned()) });
            message.disk = disk.then(Default::default);
            Resource::from_wire(&message).unwrap()
        };
        let (a, b, other, again) = (read("r", false), read("r", false), read("s", false), read("r", false));
        assert!(Arc::ptr_eq(&a.name, &other.name) && Arc::ptr_eq(&a.kind, &b.kind));
        assert!(a == again && a != other && !Arc::ptr_eq(&a.kind, &other.kind));
        let volume = read("r", true);
        assert!(Arc::strong_count(&volume.kind) == 1 && a != volume);
    }

    #[test]
    fn hostile_amounts_are_refused() {
        for value in [-0.1, f64::NAN, f64::INFINITY, 1e308, -1e308] {
            assert!(Resource::from_wire(&scalar(value)).is_err(), "{value}");
        }
        assert!(Resources::from_wire(&[scalar(0.0)]).unwrap().is_empty());
    }

    #[test]
    fn both_reservation_formats_say_the_same() {
        let mut old = scalar(2.0);
        old.role = Some("web".to_owned());
        let ours = Resource::from_wire(&old).unwrap();
        assert!(!ours.kind.reservations[0].dynamic);
        let new = ours.to_wire();
        assert_eq!(Resource::from_wire(&new).unwrap(), ours);
        assert_eq!(ours.to_wire_before_refinement().unwrap(), old);
    }

    #[test]
    fn overlapping_ranges_are_refused() {
        let mut message = v1::Resource { name: "ports".to_owned(), ..Default::default() };
        message.set_type(Type::Ranges);
        let with = |pairs: &[(u64, u64)]| WireRanges {
            range: pairs.iter().map(|&(begin, end)| WireRange { begin, end }).collect(),
        };
        for (pairs, fine) in [
            (&[(1, 2), (3, 4)][..], true),
            (&[(1, 3), (3, 4)][..], false),
            (&[(4, 3)][..], false),
            (&[(5, 6), (1, 2)][..], true),
        ] {
            message.ranges = Some(with(pairs));
            assert_eq!(Resource::from_wire(&message).is_ok(), fine, "{pairs:?}");
        }
    }
}
