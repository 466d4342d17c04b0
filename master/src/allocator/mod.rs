//! Who is offered what: fair sharing as pure functions over plain data.
//!
//! [`Allocator`] keeps what a round needs: who holds how much, who wants offers, refused resources, and which agents
//! changed. [`Allocator::round`] looks at agents that changed only; a framework that wants offers (anew) makes every
//! agent with something to give a candidate. So a round costs by what may be given, not by the size of the cluster.

pub mod fair_share;
pub mod filters;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use model::random::Random;
use model::{AgentId, FrameworkId, Milli, Resources, Role, Timestamp};

use fair_share::{Holdings, Order, Quantities};
use filters::Filters;

/// Mesos' `--min_allocatable_resources`: less than both of these is not offered.
const MIN_CPUS: Milli = Milli::from_millis(10);
const MIN_MEM: Milli = Milli::from_millis(32_000);

/// What a framework can deal with and wants at least, told by its capabilities and `offer_filters`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wants {
    /// Takes agents with GPUs (GPU_RESOURCES).
    pub gpus: bool,
    /// Takes resources that may be taken back (REVOCABLE_RESOURCES).
    pub revocable: bool,
    /// Takes shared volumes (SHARED_RESOURCES).
    pub shared: bool,
    /// Understands refined reservations (RESERVATION_REFINEMENT).
    pub refinement: bool,
    /// Takes what is in another region than the master (REGION_AWARE).
    pub regions: bool,
    /// Own lower bounds by role: any of the quantities of one list entry must be there in full.
    pub minimum: BTreeMap<Role, Vec<Quantities>>,
}

/// What one agent has to give.
#[derive(Clone, Debug, PartialEq)]
pub struct Free {
    /// Neither used nor offered, not allocated to a role.
    pub resources: Resources,
    /// Whether the agent has GPUs at all.
    pub has_gpus: bool,
    /// Whether it is in another region than the master.
    pub remote: bool,
}

/// What a round decides: this framework is offered these resources.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    /// Of which agent.
    pub agent: AgentId,
    /// To whom.
    pub framework: FrameworkId,
    /// For which role.
    pub role: Role,
    /// Allocated to that role.
    pub resources: Resources,
}

/// What the rounds remember.
#[derive(Clone, Debug)]
pub struct Allocator {
    /// Batches are due at whole intervals since then.
    origin: Timestamp,
    interval: Duration,
    holdings: Holdings,
    filters: Filters,
    /// Active frameworks.
    clients: BTreeMap<FrameworkId, Wants>,
    /// Who wants offers for a role now.
    open: BTreeMap<Role, BTreeSet<FrameworkId>>,
    /// Agents that have something to give.
    idle: BTreeSet<AgentId>,
    /// Agents that may be given since the last round.
    candidates: BTreeSet<AgentId>,
    own_minimums: usize,
    batch: Option<Timestamp>,
    urgent: bool,
    /// When agents began to wait for the batch that is planned.
    waits_since: Option<Timestamp>,
    latency: Duration,
}

impl Allocator {
    /// Nobody and nothing yet; batches every `interval` since `origin`.
    pub fn new(origin: Timestamp, interval: Duration) -> Allocator {
        Allocator {
            origin,
            interval,
            holdings: Holdings::default(),
            filters: Filters::default(),
            clients: BTreeMap::new(),
            open: BTreeMap::new(),
            idle: BTreeSet::new(),
            candidates: BTreeSet::new(),
            own_minimums: 0,
            batch: None,
            urgent: false,
            waits_since: None,
            latency: Duration::ZERO,
        }
    }

    /// An agent joined with this total.
    pub fn agent_joins(&mut self, total: &Resources) {
        self.holdings.grow(total);
    }

    /// An agent left that had this total.
    pub fn agent_leaves(&mut self, agent: &AgentId, total: &Resources) {
        self.holdings.shrink(total);
        self.agent_gives(agent, None);
    }

    /// Something about an agent changed: this is what it can give now.
    pub fn agent_gives(&mut self, agent: &AgentId, free: Option<&Resources>) {
        if free.is_some_and(|free| self.worth_offering(free)) {
            self.idle.insert(agent.clone());
            self.candidates.insert(agent.clone());
        } else {
            self.idle.remove(agent);
            self.candidates.remove(agent);
        }
    }

    /// This is what is left of an agent after a round: nobody wants it now.
    pub fn agent_keeps(&mut self, agent: &AgentId, free: Option<&Resources>) {
        if free.is_some_and(|free| self.worth_offering(free)) {
            self.idle.insert(agent.clone());
        } else {
            self.idle.remove(agent);
        }
    }

    /// A framework wants offers for these roles. Answers whether agents must be looked at again, because the framework
    /// takes less than the usual minimum.
    #[must_use]
    pub fn framework_opens<'a>(
        &mut self,
        framework: &FrameworkId,
        wants: Wants,
        roles: impl Iterator<Item = &'a Role>,
    ) -> bool {
        self.framework_closes(framework);
        let lower = !wants.minimum.is_empty();
        self.own_minimums += usize::from(lower);
        self.clients.insert(framework.clone(), wants);
        for role in roles {
            self.open.entry(role.clone()).or_default().insert(framework.clone());
        }
        self.everything_again();
        lower && self.own_minimums == 1
    }

    /// What an active framework wants is something else now. Answers whether agents must be looked at again, as
    /// [`Allocator::framework_opens`] does.
    #[must_use]
    pub fn framework_wants(&mut self, framework: &FrameworkId, wants: Wants) -> bool {
        let lower = !wants.minimum.is_empty();
        let Some(before) = self.clients.insert(framework.clone(), wants) else {
            self.clients.remove(framework);
            return false;
        };
        self.own_minimums -= usize::from(!before.minimum.is_empty());
        self.own_minimums += usize::from(lower);
        self.everything_again();
        lower && self.own_minimums == 1
    }

    /// A framework wants no offers any more.
    pub fn framework_closes(&mut self, framework: &FrameworkId) {
        if let Some(wants) = self.clients.remove(framework) {
            self.own_minimums -= usize::from(!wants.minimum.is_empty());
        }
        self.open.retain(|_, frameworks| {
            frameworks.remove(framework);
            !frameworks.is_empty()
        });
    }

    /// A framework wants no offers for a role until it opens it again.
    pub fn role_closes(&mut self, framework: &FrameworkId, role: &Role) {
        if let Some(frameworks) = self.open.get_mut(role) {
            frameworks.remove(framework);
            if frameworks.is_empty() {
                self.open.remove(role);
            }
        }
    }

    /// An active framework wants offers for a role (again): its filters for the role are forgotten.
    pub fn role_opens(&mut self, framework: &FrameworkId, role: &Role) {
        if self.clients.contains_key(framework) {
            self.filters.forget_role(framework, role);
            self.open.entry(role.clone()).or_default().insert(framework.clone());
            self.everything_again();
        }
    }

    /// The filters of a framework are forgotten.
    pub fn forget_filters(&mut self, framework: &FrameworkId) {
        self.filters.forget(framework);
    }

    /// A framework is removed and holds nothing any more.
    pub fn framework_leaves(&mut self, framework: &FrameworkId) {
        self.framework_closes(framework);
        self.filters.forget(framework);
        self.holdings.forget(framework);
    }

    /// A framework refused resources of an agent until some time.
    pub fn refuse(&mut self, filter: filters::Filter) {
        self.filters.add(filter);
    }

    /// Resources were offered to or used by a framework, by the roles they are allocated to.
    pub fn hold(&mut self, framework: &FrameworkId, resources: &Resources) {
        self.holdings.add(framework, resources);
    }

    /// Resources came back from a framework.
    pub fn release(&mut self, framework: &FrameworkId, resources: &Resources) {
        self.holdings.subtract(framework, resources);
    }

    /// What all frameworks hold, by role (for checks and views).
    pub fn holdings(&self) -> &Holdings {
        &self.holdings
    }

    /// How long the last round was waited for.
    pub fn latency(&self) -> Duration {
        self.latency
    }

    /// How many refusals stand, by role.
    pub fn refusals(&self) -> &BTreeMap<Role, usize> {
        self.filters.by_role()
    }

    /// The next round shall not wait for the batch.
    pub fn hurry(&mut self) {
        self.urgent = true;
    }

    /// Whether a round shall run now, without waiting for the batch.
    pub fn is_urgent(&self) -> bool {
        self.urgent
    }

    /// Fixes the time of the next batch if agents wait for one.
    pub fn plan_batch(&mut self, now: Timestamp) {
        if self.batch.is_none() && !self.candidates.is_empty() && !self.open.is_empty() {
            self.batch = Some(self.after(now));
            self.waits_since.get_or_insert(now);
        }
    }

    /// When the next batch is due.
    pub fn next_batch(&self) -> Option<Timestamp> {
        // A filter that ends shows at the batch after it, so that many ends make one round.
        let expiry = self.filters.next_expiry().map(|end| self.after(end - Duration::from_micros(1)));
        match (self.batch, expiry) {
            (Some(batch), Some(expiry)) => Some(batch.min(expiry)),
            (batch, expiry) => batch.or(expiry),
        }
    }

    /// Gives what the candidates have to those that hold least. `free` tells what an agent can give now, if anything.
    ///
    /// Mesos: agents in random order; for each the roles by their share, then the frameworks of the role by theirs.
    pub fn round(
        &mut self,
        now: Timestamp,
        random: &mut Random,
        free: impl Fn(&AgentId) -> Option<Free>,
    ) -> Vec<Grant> {
        self.urgent = false;
        self.batch = None;
        self.latency = self.waits_since.take().map_or(Duration::ZERO, |since| now.since(since));
        for agent in self.filters.expire(now) {
            if self.idle.contains(&agent) {
                self.candidates.insert(agent);
            }
        }
        let mut agents: Vec<AgentId> = std::mem::take(&mut self.candidates).into_iter().collect();
        let mut grants = Vec::new();
        if self.open.is_empty() || agents.is_empty() {
            return grants;
        }
        random.shuffle(&mut agents);
        let mut order = Order::new(&mut self.holdings, &self.open);
        for agent in agents {
            let Some(free) = free(&agent) else { continue };
            let part = |role: &Role, framework: &FrameworkId, left: &Resources| {
                let wants = self.clients.get(framework)?;
                let part = suitable(wants, role, left, &free);
                let enough = !part.is_empty() && wants.enough(role, &part);
                (enough && !self.filters.hides(framework, role, &agent, &part, now)).then_some(part)
            };
            for (framework, role, resources) in order.share_out(free.resources.clone(), part) {
                grants.push(Grant { agent: agent.clone(), framework, role, resources });
            }
        }
        grants
    }

    /// The first batch time after `now`.
    fn after(&self, now: Timestamp) -> Timestamp {
        let step = i64::try_from(self.interval.as_micros()).unwrap_or(i64::MAX).max(1);
        let passed = now.micros().saturating_sub(self.origin.micros()).max(0);
        let next = (passed / step).saturating_add(1).saturating_mul(step);
        Timestamp::from_micros(self.origin.micros().saturating_add(next))
    }

    fn everything_again(&mut self) {
        self.candidates.extend(self.idle.iter().cloned());
        self.urgent = true;
    }

    fn worth_offering(&self, free: &Resources) -> bool {
        if self.own_minimums > 0 { !free.is_empty() } else { usual_minimum(free) }
    }
}

impl Default for Allocator {
    fn default() -> Self {
        Allocator::new(Timestamp::ZERO, Duration::from_secs(1))
    }
}

impl Wants {
    fn enough(&self, role: &Role, part: &Resources) -> bool {
        match self.minimum.get(role) {
            None => usual_minimum(part),
            // Mesos: an empty list means that anything will do.
            Some(lists) => {
                lists.is_empty()
                    || lists.iter().any(|list| list.iter().all(|(name, least)| part.scalar(name) >= *least))
            }
        }
    }
}

fn usual_minimum(part: &Resources) -> bool {
    part.cpus() >= MIN_CPUS || part.mem() >= MIN_MEM
}

/// The part of what is left that a framework may get for a role, allocated to the role.
fn suitable(wants: &Wants, role: &Role, left: &Resources, of: &Free) -> Resources {
    if of.has_gpus && !wants.gpus || of.remote && !wants.regions {
        return Resources::none();
    }
    let part = left.usable_by(role).filter(|resource| {
        let kind = &resource.kind;
        (wants.revocable || !kind.revocable)
            && (wants.shared || !kind.shared)
            && (wants.refinement || kind.reservations.len() <= 1)
    });
    part.allocated_to(Some(role))
}

/// Scalar quantities of a message such as `OfferFilters`, by name.
pub fn quantities<'a>(pairs: impl Iterator<Item = (&'a String, f64)>) -> Option<Quantities> {
    pairs
        .map(|(name, value)| {
            let amount = Milli::from_f64(value).filter(|amount| *amount >= Milli::ZERO)?;
            Some((Arc::from(name.as_str()), amount))
        })
        .collect()
}

#[cfg(test)]
mod tests;
