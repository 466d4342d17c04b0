//! Dominant resource fairness: who holds least of what it holds most of comes first.
//!
//! Roles are ordered by their share, then the frameworks of a role by theirs. A role is one leaf whatever its path:
//! weights and a hierarchy would change [`Holdings::share`] and the walk in [`Order::share_out`], nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use model::resources::Amount;
use model::{FrameworkId, Milli, Resources, Role};

/// Scalar amounts by name.
pub type Quantities = BTreeMap<Arc<str>, Milli>;

/// What one role or framework holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Held {
    /// Scalars, summed over agents.
    pub sum: Quantities,
    /// How often it was given something: of two with the same share the one with fewer comes first.
    pub given: u64,
}

/// What everybody holds, and what there is in all.
#[derive(Clone, Debug, Default)]
pub struct Holdings {
    total: Quantities,
    roles: BTreeMap<Role, (Held, BTreeMap<FrameworkId, Held>)>,
}

impl Holdings {
    /// The cluster grew.
    pub fn grow(&mut self, by: &Resources) {
        by.quantities().iter().for_each(|(name, amount)| plus(&mut self.total, name, *amount));
    }

    /// The cluster shrank.
    pub fn shrink(&mut self, by: &Resources) {
        by.quantities().iter().for_each(|(name, amount)| minus(&mut self.total, name, *amount));
    }

    /// A framework got resources, for the roles they are allocated to.
    pub fn add(&mut self, framework: &FrameworkId, resources: &Resources) {
        for resource in resources {
            let Some(role) = resource.kind.allocated_to.as_ref() else { continue };
            let (all, frameworks) = self.roles.entry(role.clone()).or_default();
            let held = frameworks.entry(framework.clone()).or_default();
            if let Amount::Scalar(amount) = resource.amount {
                plus(&mut all.sum, &resource.name, amount);
                plus(&mut held.sum, &resource.name, amount);
            }
        }
    }

    /// A framework gave resources back.
    pub fn subtract(&mut self, framework: &FrameworkId, resources: &Resources) {
        for resource in resources {
            let (Some(role), Amount::Scalar(amount)) = (&resource.kind.allocated_to, &resource.amount) else {
                continue;
            };
            let Some((all, frameworks)) = self.roles.get_mut(role) else { continue };
            minus(&mut all.sum, &resource.name, *amount);
            if let Some(held) = frameworks.get_mut(framework) {
                minus(&mut held.sum, &resource.name, *amount);
            }
        }
    }

    /// Forgets how often a framework was given something, and the framework if it holds nothing.
    pub fn forget(&mut self, framework: &FrameworkId) {
        self.roles.retain(|_, (held, frameworks)| {
            if frameworks.get(framework).is_some_and(|held| held.sum.is_empty()) {
                frameworks.remove(framework);
            }
            !(frameworks.is_empty() && held.sum.is_empty())
        });
    }

    /// All that is held, by role and framework, as far as it is something.
    pub fn iter(&self) -> impl Iterator<Item = (&Role, &FrameworkId, &Quantities)> {
        self.roles.iter().flat_map(|(role, (_, frameworks))| {
            let something = frameworks.iter().filter(|(_, held)| !held.sum.is_empty());
            something.map(move |(framework, held)| (role, framework, &held.sum))
        })
    }

    /// The largest part of any resource of the cluster that is held, in [0, 1] (more when agents shrank).
    fn share(&self, held: &Held) -> Share {
        let parts = held.sum.iter().filter_map(|(name, amount)| {
            let total = self.total.get(name).filter(|total| **total > Milli::ZERO)?;
            Some(amount.as_f64() / total.as_f64())
        });
        Share::new(parts.fold(0.0, f64::max))
    }
}

/// A share that can be ordered. The bits of doubles that aren't negative order as the doubles do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Share(u64);

impl Share {
    fn new(part: f64) -> Share {
        Share(part.max(0.0).to_bits())
    }
}

type Place<T> = (Share, u64, T);

/// The order of those who want something, kept while a round hands out.
pub struct Order<'a> {
    holdings: &'a mut Holdings,
    roles: BTreeSet<Place<Role>>,
    frameworks: BTreeMap<Role, BTreeSet<Place<FrameworkId>>>,
}

impl<'a> Order<'a> {
    /// Orders the frameworks that want offers, by role.
    pub fn new(holdings: &'a mut Holdings, open: &BTreeMap<Role, BTreeSet<FrameworkId>>) -> Order<'a> {
        let nothing = Held::default();
        let mut roles = BTreeSet::new();
        let mut frameworks = BTreeMap::new();
        for (role, clients) in open {
            let row = holdings.roles.get(role);
            let held = row.map_or(&nothing, |(held, _)| held);
            roles.insert((holdings.share(held), held.given, role.clone()));
            let places = clients.iter().map(|framework| {
                let held = row.and_then(|(_, all)| all.get(framework)).unwrap_or(&nothing);
                (holdings.share(held), held.given, framework.clone())
            });
            frameworks.insert(role.clone(), places.collect::<BTreeSet<_>>());
        }
        Order { holdings, roles, frameworks }
    }

    /// Shares out what one agent has left. `part` answers what a framework would take of it for a role.
    pub fn share_out(
        &mut self,
        mut left: Resources,
        part: impl Fn(&Role, &FrameworkId, &Resources) -> Option<Resources>,
    ) -> Vec<(FrameworkId, Role, Resources)> {
        let mut given = Vec::new();
        let mut role_at = first(&self.roles);
        while let Some(place) = role_at {
            let role = &place.2;
            let mut at = self.frameworks.get(role).and_then(first);
            while let Some(client) = at {
                if left.is_empty() {
                    return given;
                }
                if let Some(taken) = part(role, &client.2, &left) {
                    left.subtract_up_to(&taken.allocated_to(None));
                    self.give(&client, role, &taken);
                    given.push((client.2.clone(), role.clone(), taken));
                }
                at = self.frameworks.get(role).and_then(|all| after(all, client));
            }
            // Found by its old place: a role that was just given something is not asked twice unless it moved on.
            role_at = after(&self.roles, place);
        }
        given
    }

    fn give(&mut self, client: &Place<FrameworkId>, role: &Role, taken: &Resources) {
        let framework = &client.2;
        let before = self.place_of(role);
        self.holdings.add(framework, taken);
        if let Some((held, frameworks)) = self.holdings.roles.get_mut(role) {
            held.given += 1;
            frameworks.entry(framework.clone()).or_default().given += 1;
        }
        self.roles.remove(&before);
        let now = self.place_of(role);
        self.roles.insert(now);
        if let Some(places) = self.frameworks.get_mut(role) {
            places.remove(client);
            let held = self.holdings.roles.get(role).and_then(|(_, all)| all.get(framework));
            if let Some(held) = held {
                places.insert((self.holdings.share(held), held.given, framework.clone()));
            }
        }
    }

    fn place_of(&self, role: &Role) -> Place<Role> {
        let nothing = Held::default();
        let held = self.holdings.roles.get(role).map_or(&nothing, |(held, _)| held);
        (self.holdings.share(held), held.given, role.clone())
    }
}

fn first<T: Clone + Ord>(places: &BTreeSet<Place<T>>) -> Option<Place<T>> {
    places.first().cloned()
}

fn after<T: Clone + Ord>(places: &BTreeSet<Place<T>>, place: Place<T>) -> Option<Place<T>> {
    places.range((Bound::Excluded(place), Bound::Unbounded)).next().cloned()
}

fn plus(sum: &mut Quantities, name: &Arc<str>, amount: Milli) {
    let have = sum.entry(name.clone()).or_insert(Milli::ZERO);
    *have = *have + amount;
}

fn minus(sum: &mut Quantities, name: &Arc<str>, amount: Milli) {
    if let Some(have) = sum.get_mut(name) {
        *have = (*have - amount).max(Milli::ZERO);
        if *have == Milli::ZERO {
            sum.remove(name);
        }
    }
}
