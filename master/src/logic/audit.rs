//! Checks that what is derived agrees with what it is derived from. For tests: it reads everything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::resources::Amount;
use model::{AgentId, FrameworkId, Milli, OfferId, Resources, Role};

use super::event::Offer;
use super::inner::TaskKey;
use super::state::{Agent, Framework, State, Task};
use super::table::Table;
use crate::allocator::fair_share::Quantities;

/// Tables that were found to be good.
#[derive(Clone, Debug, Default)]
pub struct Audited {
    agents: Table<AgentId, Agent>,
    frameworks: Table<FrameworkId, Framework>,
    tasks: Table<TaskKey, Task>,
    unreachable_tasks: Table<TaskKey, Task>,
    offers: Table<OfferId, Offer>,
}

impl State {
    /// Checks every invariant that can be told from one state.
    ///
    /// # Errors
    /// Names the first one that doesn't hold, and where.
    pub fn audit(&self) -> Result<(), String> {
        self.audit_since(&mut Audited::default())
    }

    /// The same for a state of which an earlier one was found to be good: looks at what changed since.
    ///
    /// # Errors
    /// As [`State::audit`].
    pub fn audit_since(&self, good: &mut Audited) -> Result<(), String> {
        let agents = !self.agents.is_same(&good.agents);
        let frameworks = !self.frameworks.is_same(&good.frameworks);
        let tasks = !self.tasks.is_same(&good.tasks);
        let lost = !self.unreachable_tasks.is_same(&good.unreachable_tasks);
        let offers = !self.offers.is_same(&good.offers);
        for (id, agent) in self.agents.iter().filter(|_| agents || tasks) {
            let row = good.agents.get(id).is_none_or(|before| !Arc::ptr_eq(before, agent));
            let checked = if row { self.audit_sum(id, agent) } else { Ok(()) };
            let checked =
                checked.and_then(|()| if row || tasks { self.audit_use(id, agent) } else { Ok(()) });
            checked.map_err(|why| format!("agent {id}: {why}"))?;
        }
        if tasks || lost {
            self.audit_tasks()?;
        }
        if agents || frameworks || tasks || lost {
            self.audit_owners()?;
        }
        if agents || frameworks || offers {
            self.audit_offers()?;
        }
        if agents || frameworks {
            self.audit_links()?;
        }
        let stray = self.inner.joining.iter().find(|(_, ticket)| !self.inner.waiting.contains_key(ticket));
        // After a write that failed nothing is done any more.
        if let Some((link, ticket)) = stray.filter(|_| !self.inner.stepped_down) {
            return Err(format!("{link:?} waits for {ticket:?}, which is not being written"));
        }
        if agents || offers {
            self.audit_shares()?;
        }
        *good = Audited {
            agents: self.agents.clone(),
            frameworks: self.frameworks.clone(),
            tasks: self.tasks.clone(),
            unreachable_tasks: self.unreachable_tasks.clone(),
            offers: self.offers.clone(),
        };
        Ok(())
    }

    /// Offered, used and free make up the total. Nothing is offered of an agent that reports to use more than it has.
    fn audit_sum(&self, id: &AgentId, agent: &Agent) -> Result<(), String> {
        if !self.fits(id) && !agent.offers.is_empty() {
            return Err(format!(
                "{:?} are used and {:?} offered of {}",
                agent.used, agent.offers, agent.total
            ));
        }
        if let Some(free) = self.free_of(id) {
            let mut sum = free.resources;
            agent
                .used
                .values()
                .chain(agent.offers.values())
                .for_each(|part| sum.add(&part.allocated_to(None)));
            if !(sum.contains(&agent.total) && agent.total.contains(&sum)) {
                return Err(format!("free, used and offered are {sum} of {}", agent.total));
            }
        }
        Ok(())
    }

    /// An agent uses what its tasks use, and those that are to end.
    fn audit_use(&self, id: &AgentId, agent: &Agent) -> Result<(), String> {
        let mut used: BTreeMap<FrameworkId, Resources> = BTreeMap::new();
        for key in self.tasks_on(id) {
            let task =
                self.tasks.get(&key).ok_or_else(|| format!("task {key:?} is indexed but not there"))?;
            if task.agent != *id {
                return Err(format!("task {key:?} is indexed here and on {}", task.agent));
            }
            if !task.latest.is_terminal() {
                used.entry(key.0).or_default().add(&task.resources);
            }
        }
        for (key, resources) in self.inner.ghosts.get(id).into_iter().flatten() {
            if !resources.is_empty() {
                used.entry(key.0.clone()).or_default().add(resources);
            }
        }
        let same = used.len() == agent.used.len()
            && used
                .iter()
                .all(|(id, sum)| agent.used.get(id).is_some_and(|u| u.contains(sum) && sum.contains(u)));
        if same { Ok(()) } else { Err(format!("uses {:?}, its tasks {used:?}", agent.used)) }
    }

    /// The indexes of tasks by agent, and what tasks need.
    fn audit_tasks(&self) -> Result<(), String> {
        if !is_index(&self.inner.tasks_of_agent, &self.tasks, |task| &task.agent) {
            return Err("the index of tasks by agent disagrees".to_owned());
        }
        if !is_index(&self.inner.unreachable_of_agent, &self.unreachable_tasks, |task| &task.agent) {
            return Err("the index of unreachable tasks by agent disagrees".to_owned());
        }
        if let Some(key) = self.unreachable_tasks.keys().find(|key| self.tasks.contains(*key)) {
            return Err(format!("task {key:?} is both reachable and not"));
        }
        Ok(())
    }

    /// Tasks are of frameworks and on agents that there are. The indexes of tasks are right.
    fn audit_owners(&self) -> Result<(), String> {
        if let Some(agent) = self.inner.tasks_of_agent.keys().find(|agent| !self.agents.contains(*agent)) {
            return Err(format!("tasks are on {agent}, which is not registered"));
        }
        for tasks in [&self.tasks, &self.unreachable_tasks] {
            // Keys begin with the framework, so that those of one come together.
            let mut last = None;
            for (key, _) in tasks.iter() {
                if last != Some(&key.0) && !self.frameworks.contains(&key.0) {
                    return Err(format!("task {key:?} has no framework"));
                }
                last = Some(&key.0);
            }
        }
        Ok(())
    }

    fn audit_offers(&self) -> Result<(), String> {
        for (id, offer) in self.offers.iter() {
            let agent = self.agents.get(&offer.agent).ok_or_else(|| format!("offer {id} has no agent"))?;
            if agent.offers.get(id) != Some(&offer.resources) || !agent.active {
                return Err(format!("offer {id} disagrees with agent {}", offer.agent));
            }
            if self.frameworks.get(&offer.framework).is_none_or(|row| row.stream.is_none()) {
                return Err(format!("offer {id} is held by a framework without a stream"));
            }
        }
        let of_agents: usize = self.agents.values().map(|agent| agent.offers.len()).sum();
        let right = is_index(&self.inner.offers_of_framework, &self.offers, |offer| &offer.framework);
        if !right || of_agents != self.offers.len() {
            return Err("the indexes of offers disagree".to_owned());
        }
        Ok(())
    }

    fn audit_links(&self) -> Result<(), String> {
        let linked = self.agents.values().filter(|agent| agent.link.is_some()).count();
        let links = &self.inner.links;
        let right = |link, id| self.agents.get(id).is_some_and(|agent| agent.link == Some(link));
        if linked != links.len() || !links.iter().all(|(link, id)| right(*link, id)) {
            return Err(format!("the index of links disagrees: {links:?}, {linked} agents have one"));
        }
        let streams = &self.inner.streams;
        let streaming = self.frameworks.values().filter(|row| row.stream.is_some()).count();
        let right = |stream, id| self.frameworks.get(id).is_some_and(|row| row.stream == Some(stream));
        if streaming != streams.len() || !streams.iter().all(|(stream, id)| right(*stream, id)) {
            return Err("the index of streams disagrees".to_owned());
        }
        for agent in self.agents.keys() {
            if self.recovered.contains(agent)
                || self.unreachable.contains_key(agent)
                || self.gone.contains_key(agent)
            {
                return Err(format!("agent {agent} is registered and not"));
            }
        }
        Ok(())
    }

    /// What the allocator believes to be held is what is used and offered.
    fn audit_shares(&self) -> Result<(), String> {
        let mut held: BTreeMap<(Role, FrameworkId), Quantities> = BTreeMap::new();
        let mut count = |framework: &FrameworkId, resources: &Resources| {
            for resource in resources {
                let Some(role) = resource.kind.allocated_to.clone() else { continue };
                let sum = held.entry((role, framework.clone())).or_default();
                if let Amount::Scalar(amount) = resource.amount {
                    let have = sum.entry(resource.name.clone()).or_insert(Milli::ZERO);
                    *have = *have + amount;
                }
            }
        };
        for agent in self.agents.values() {
            agent.used.iter().for_each(|(framework, used)| count(framework, used));
        }
        self.offers.values().for_each(|offer| count(&offer.framework, &offer.resources));
        held.retain(|_, sum| !sum.is_empty());
        let believed: BTreeMap<_, _> = self
            .inner
            .allocator
            .holdings()
            .iter()
            .map(|(role, framework, sum)| ((role.clone(), framework.clone()), sum.clone()))
            .collect();
        if held == believed {
            Ok(())
        } else {
            Err(format!("{held:?} is held, the allocator has {believed:?}"))
        }
    }
}

/// Whether an index has each row of a table under its owner and nothing else. No owner without rows is in one.
fn is_index<O: Ord, K: Ord + Clone, V>(
    index: &BTreeMap<O, BTreeSet<K>>,
    table: &Table<K, V>,
    owner: impl Fn(&V) -> &O,
) -> bool {
    let indexed: usize = index.values().map(BTreeSet::len).sum();
    let under = |owned: &O, key: &K| table.get(key).is_some_and(|row| owner(row) == owned);
    indexed == table.len()
        && index.iter().all(|(owned, keys)| !keys.is_empty() && keys.iter().all(|key| under(owned, key)))
}
