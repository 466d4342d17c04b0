//! The tables and everything derived from them, changed together: rows, indexes, used and offered resources, shares.
//!
//! No other file inserts or removes rows of agents, tasks and offers.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{AgentId, FrameworkId, OfferId, Resources, Role, TaskId, Timestamp, domain};

use super::event::Offer;
use super::inner::TaskKey;
use super::state::{Agent, State, Task};
use super::table::Vacancy;
use crate::allocator::Free;

/// Tasks of one agent whose rows are in the table already, to be counted together.
#[derive(Default)]
pub(super) struct Uncounted {
    tasks: Vec<TaskKey>,
    used: BTreeMap<FrameworkId, Resources>,
}

impl Uncounted {
    fn note(&mut self, task: &Task) -> TaskKey {
        let key = (task.framework.clone(), task.id.clone());
        if !task.latest.is_terminal() {
            self.used.entry(task.framework.clone()).or_default().add(&task.resources);
        }
        self.tasks.push(key.clone());
        key
    }
}

impl State {
    /// Adds a registered agent without tasks and offers.
    pub(super) fn add_agent(&mut self, agent: Agent) {
        let id = agent.facts.id.clone();
        self.inner.allocator.agent_joins(&agent.total);
        self.inner.addresses.insert(agent.facts.address.clone(), id.clone());
        if let Some(link) = agent.link {
            self.inner.links.insert(link, id.clone());
        }
        self.inner.touched.insert(id.clone());
        self.agents.insert(id, agent);
    }

    /// Takes an agent out whose tasks, offers and ghosts are gone already.
    pub(super) fn drop_agent(&mut self, id: &AgentId) -> Option<Arc<Agent>> {
        let agent = self.agents.remove(id)?;
        self.inner.allocator.agent_leaves(id, &agent.total);
        if self.inner.addresses.get(&agent.facts.address) == Some(id) {
            self.inner.addresses.remove(&agent.facts.address);
        }
        if let Some(link) = agent.link {
            self.inner.links.remove(&link);
        }
        self.inner.pings.remove(id);
        Some(agent)
    }

    /// What an agent can give now: neither used nor offered. None while it gets no offers made of it.
    pub(super) fn free_of(&self, id: &AgentId) -> Option<Free> {
        let agent = self.agents.get(id)?;
        if !agent.active || self.inner.transitions.contains_key(id) {
            return None;
        }
        let mut resources = agent.total.clone();
        for taken in agent.used.values().chain(agent.offers.values()) {
            // An agent that reports to use more than it has gives nothing.
            if !resources.try_subtract(&taken.allocated_to(None)) {
                return None;
            }
        }
        let has_gpus = agent.total.scalar("gpus") > model::Milli::ZERO;
        Some(Free { resources, has_gpus, remote: self.is_remote(agent) })
    }

    /// Mesos: an agent is remote when its region is not the master's; one without a domain is not.
    fn is_remote(&self, agent: &Agent) -> bool {
        let own = domain::region(self.settings.domain.as_ref());
        let its = domain::region(agent.facts.info.domain.as_ref());
        its.is_some() && its != own
    }

    /// Adds a task; its resources count as used unless it has ended.
    pub(super) fn add_task(&mut self, task: Task) {
        let (agent, mut uncounted) = (task.agent.clone(), Uncounted::default());
        self.tasks.insert(uncounted.note(&task), task);
        self.count(&agent, &mut uncounted);
    }

    /// Adds a task where the table has none of its key. Its agent has to [`count`](State::count) it.
    pub(super) fn add_task_at(&mut self, vacancy: Vacancy, task: Task, uncounted: &mut Uncounted) {
        self.tasks.fill(vacancy, uncounted.note(&task), task);
    }

    /// Counts tasks of one agent that were added.
    pub(super) fn count(&mut self, agent: &AgentId, uncounted: &mut Uncounted) {
        if !uncounted.tasks.is_empty() {
            let tasks = std::mem::take(&mut uncounted.tasks);
            self.inner.tasks_of_agent.entry(agent.clone()).or_default().extend(tasks);
        }
        for (framework, resources) in std::mem::take(&mut uncounted.used) {
            self.use_resources(agent, &framework, &resources);
        }
    }

    /// Gives back what a task used, because its end is known, before its row may go.
    pub(super) fn free_task(&mut self, key: &TaskKey, latest: model::TaskState) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        let was_live = !task.latest.is_terminal();
        task.latest = latest;
        if was_live && latest.is_terminal() {
            let (agent, resources) = (task.agent.clone(), task.resources.clone());
            self.give_back(&agent, &key.0, &resources);
        }
    }

    /// Takes a task out; what it still used is given back.
    pub(super) fn drop_task(&mut self, key: &TaskKey) -> Option<Task> {
        let task = self.tasks.remove(key)?;
        remove_from(&mut self.inner.tasks_of_agent, &task.agent, key);
        if !task.latest.is_terminal() {
            self.give_back(&task.agent, &key.0, &task.resources);
        }
        Some(Arc::unwrap_or_clone(task))
    }

    /// Adds a task whose agent doesn't answer; the oldest one of the framework goes when there are too many.
    pub(super) fn add_unreachable_task(&mut self, task: Task, since: Timestamp) {
        let key = (task.framework.clone(), task.id.clone());
        self.inner.unreachable_of_agent.entry(task.agent.clone()).or_default().insert(key.clone());
        let order = self.inner.unreachable_order.entry(task.framework.clone()).or_default();
        order.push_back((task.id.clone(), since));
        let oldest = if order.len() > self.settings.max_unreachable_tasks { order.pop_front() } else { None };
        self.unreachable_tasks.insert(key.clone(), task);
        if let Some((id, since)) = oldest {
            let key = (key.0, id);
            if self.unreachable_tasks.get(&key).is_some_and(|task| task.unreachable_since == Some(since)) {
                self.drop_unreachable_task(&key);
            }
        }
    }

    /// Takes an unreachable task out.
    pub(super) fn drop_unreachable_task(&mut self, key: &TaskKey) -> Option<Task> {
        let task = self.unreachable_tasks.remove(key)?;
        remove_from(&mut self.inner.unreachable_of_agent, &task.agent, key);
        if let Some(order) = self.inner.unreachable_order.get_mut(&key.0) {
            order.retain(|(id, _)| *id != key.1);
            if order.is_empty() {
                self.inner.unreachable_order.remove(&key.0);
            }
        }
        Some(Arc::unwrap_or_clone(task))
    }

    /// Puts a task that is over on its framework's list.
    pub(super) fn complete(&mut self, task: Task) {
        let most = self.settings.max_completed_tasks;
        let Some(framework) = self.frameworks.get_mut(&task.framework) else { return };
        framework.completed.push_back(Arc::new(task));
        while framework.completed.len() > most {
            framework.completed.pop_front();
        }
    }

    /// Takes the last task of that id on that agent from its framework's list: it is not over yet.
    pub(super) fn take_completed(&mut self, agent: &AgentId, key: &TaskKey) {
        let Some(framework) = self.frameworks.get_mut(&key.0) else { return };
        let same = |task: &Arc<Task>| task.id == key.1 && task.agent == *agent;
        if let Some(at) = framework.completed.iter().rposition(same) {
            framework.completed.remove(at);
        }
    }

    /// Keys of all tasks of an agent.
    pub(super) fn tasks_on(&self, agent: &AgentId) -> Vec<TaskKey> {
        self.inner.tasks_of_agent.get(agent).into_iter().flatten().cloned().collect()
    }

    /// All tasks of a framework on registered agents.
    pub fn tasks_of<'a>(&'a self, framework: &'a FrameworkId) -> impl Iterator<Item = &'a Arc<Task>> + 'a {
        let from = (framework.clone(), TaskId::from(""));
        self.tasks.range(from..).take_while(move |(key, _)| key.0 == *framework).map(|(_, task)| task)
    }

    /// All unreachable tasks of a framework.
    pub fn unreachable_tasks_of<'a>(
        &'a self,
        framework: &'a FrameworkId,
    ) -> impl Iterator<Item = &'a Arc<Task>> + 'a {
        let from = (framework.clone(), TaskId::from(""));
        self.unreachable_tasks
            .range(from..)
            .take_while(move |(key, _)| key.0 == *framework)
            .map(|(_, task)| task)
    }

    /// Makes a grant of the allocator, which has charged it to the framework, an offer.
    pub(super) fn add_offer(&mut self, offer: Offer) {
        if let Some(agent) = self.agents.get_mut(&offer.agent) {
            agent.offers.insert(offer.id.clone(), offer.resources.clone());
        }
        let of_framework = self.inner.offers_of_framework.entry(offer.framework.clone()).or_default();
        of_framework.insert(offer.id.clone());
        self.inner.touched.insert(offer.agent.clone());
        self.offers.insert(offer.id.clone(), offer);
    }

    /// Takes an offer out; what it held is free again.
    pub(super) fn drop_offer(&mut self, id: &OfferId) -> Option<Offer> {
        let offer = Arc::unwrap_or_clone(self.offers.remove(id)?);
        if let Some(agent) = self.agents.get_mut(&offer.agent) {
            agent.offers.remove(id);
        }
        if let Some(offers) = self.inner.offers_of_framework.get_mut(&offer.framework) {
            offers.remove(id);
            if offers.is_empty() {
                self.inner.offers_of_framework.remove(&offer.framework);
            }
        }
        self.inner.allocator.release(&offer.framework, &offer.resources);
        self.inner.touched.insert(offer.agent.clone());
        Some(offer)
    }

    /// Counts resources of a task that is to end but still runs on an agent.
    pub(super) fn add_ghost(&mut self, agent: &AgentId, key: TaskKey, resources: Resources) {
        self.drop_ghost(agent, &key);
        self.use_resources(agent, &key.0, &resources);
        self.inner.ghosts.entry(agent.clone()).or_default().insert(key, resources);
    }

    /// A task that was to end did so.
    pub(super) fn drop_ghost(&mut self, agent: &AgentId, key: &TaskKey) {
        let Some(ghosts) = self.inner.ghosts.get_mut(agent) else { return };
        let Some(resources) = ghosts.remove(key) else { return };
        if ghosts.is_empty() {
            self.inner.ghosts.remove(agent);
        }
        self.give_back(agent, &key.0, &resources);
    }

    /// Forgets all tasks of an agent that were to end.
    pub(super) fn drop_ghosts(&mut self, agent: &AgentId) {
        let keys: Vec<TaskKey> =
            self.inner.ghosts.get(agent).into_iter().flat_map(|g| g.keys()).cloned().collect();
        for key in keys {
            self.drop_ghost(agent, &key);
        }
    }

    /// Forgets the tasks of a framework that were to end on any agent.
    pub(super) fn drop_ghosts_of(&mut self, framework: &FrameworkId) {
        let all = self.inner.ghosts.iter().flat_map(|(agent, ghosts)| {
            ghosts.keys().filter(|key| key.0 == *framework).map(|key| (agent.clone(), key.clone()))
        });
        for (agent, key) in all.collect::<Vec<_>>() {
            self.drop_ghost(&agent, &key);
        }
    }

    /// Whether a task of this agent was to end and has not.
    pub(super) fn is_ghost(&self, agent: &AgentId, key: &TaskKey) -> bool {
        self.inner.ghosts.get(agent).is_some_and(|ghosts| ghosts.contains_key(key))
    }

    fn use_resources(&mut self, agent: &AgentId, framework: &FrameworkId, resources: &Resources) {
        let Some(row) = self.agents.get_mut(agent).filter(|_| !resources.is_empty()) else { return };
        row.used.entry(framework.clone()).or_default().add(resources);
        self.inner.allocator.hold(framework, resources);
        self.inner.touched.insert(agent.clone());
    }

    fn give_back(&mut self, agent: &AgentId, framework: &FrameworkId, resources: &Resources) {
        let Some(row) = self.agents.get_mut(agent) else { return };
        if let Some(used) = row.used.get_mut(framework) {
            used.subtract_up_to(resources);
            if used.is_empty() {
                row.used.remove(framework);
            }
        }
        self.inner.allocator.release(framework, resources);
        self.inner.touched.insert(agent.clone());
    }

    /// The next offer id.
    pub(super) fn next_offer_id(&mut self) -> OfferId {
        self.inner.counters.offer += 1;
        OfferId::new(format!("{}-O{}", self.settings.master, self.inner.counters.offer))
    }

    /// The role `name` if it is one of the framework's.
    pub(super) fn role_of(&self, framework: &FrameworkId, name: &str) -> Option<Role> {
        self.frameworks.get(framework)?.roles.iter().find(|role| role.as_str() == name).cloned()
    }
}

fn remove_from(
    index: &mut BTreeMap<AgentId, std::collections::BTreeSet<TaskKey>>,
    agent: &AgentId,
    key: &TaskKey,
) {
    if let Some(keys) = index.get_mut(agent) {
        keys.remove(key);
        if keys.is_empty() {
            index.remove(agent);
        }
    }
}
