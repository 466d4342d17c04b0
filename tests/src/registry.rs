//! The registry on disk, its failures, and what nobody may hear before it is written there.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use master::logic::{Change, Contents, Event, LinkId, SchedulerEvent, State, Ticket};
use model::{AgentId, TaskState, Timestamp};
use wire::link::from_master::Body;
use wire::v1;
use wire::v1::task_status::{Reason, Source};

use crate::faults::Fault;
use crate::network::delay;
use crate::world::{Happening, World};

/// The registry on disk.
#[derive(Default)]
pub struct Registry {
    /// What is on disk.
    pub contents: Contents,
    /// Writes take long before this.
    pub slow_until: Timestamp,
    /// The next write fails.
    pub fails_next: bool,
    writes: VecDeque<(Ticket, Change)>,
    last: Timestamp,
    /// Who was told on which link that it is registered.
    told: BTreeMap<LinkId, AgentId>,
}

impl Registry {
    /// The master ends: the first `count` of the writes under way are done, the others are lost.
    pub fn crash(&mut self, count: usize) {
        let pending: Vec<_> = self.writes.drain(..).take(count).collect();
        pending.iter().for_each(|(_, change)| self.contents.apply(change));
        self.told.clear();
    }

    /// How many writes are under way.
    pub fn pending(&self) -> u64 {
        self.writes.len() as u64
    }

    /// A message for an agent goes out.
    ///
    /// # Errors
    /// It says something, or lets the agent do something, that isn't written down.
    pub fn lets_agent_hear(&mut self, link: LinkId, message: &Body) -> Result<(), String> {
        let id = match message {
            // To those who are not registered.
            Body::Refused(_) | Body::Shutdown(_) => return Ok(()),
            Body::Registered(registered) => {
                let id = AgentId::from(registered.agent_id.as_str());
                self.told.insert(link, id.clone());
                id
            }
            _ => self.told.get(&link).cloned().ok_or("an agent that is not registered is told what to do")?,
        };
        if self.contents.admitted.contains_key(&id) {
            return Ok(());
        }
        Err(format!("agent {id} is treated as registered but the registry hasn't it: {message:?}"))
    }

    /// An event for a framework goes out.
    ///
    /// # Errors
    /// It tells of something that isn't written down.
    pub fn lets_framework_hear(&self, event: &SchedulerEvent) -> Result<(), String> {
        match event {
            SchedulerEvent::Offers(offers) => {
                let known = |agent| self.contents.admitted.contains_key(agent);
                match offers.iter().find(|o| !known(&o.offer.agent)) {
                    Some(of) => Err(format!("{} is offered but the registry hasn't it", of.offer.agent)),
                    None => Ok(()),
                }
            }
            SchedulerEvent::Failure { agent, executor: None }
                if self.contents.admitted.contains_key(agent) =>
            {
                Err(format!("agent {agent} is announced as lost but the registry has it"))
            }
            SchedulerEvent::Update(status) => self.lets_task_be(status),
            _ => Ok(()),
        }
    }

    /// What the master says of a task because of its agent.
    fn lets_task_be(&self, status: &v1::TaskStatus) -> Result<(), String> {
        let Some(agent) = status.agent_id.as_ref().map(AgentId::from) else { return Ok(()) };
        let Contents { admitted, unreachable, gone, .. } = &self.contents;
        let told = status.source() == Source::Master;
        let written = match (TaskState::from(status.state()), status.reason()) {
            _ if !told => true,
            (_, Reason::AgentRemovedByOperator) | (TaskState::GoneByOperator, _) => gone.contains_key(&agent),
            (TaskState::Unreachable, _) => unreachable.contains_key(&agent),
            (_, Reason::AgentRemoved) => !admitted.contains_key(&agent),
            (_, Reason::AgentReregistered) => admitted.contains_key(&agent),
            _ => true,
        };
        if written {
            return Ok(());
        }
        Err(format!(
            "task {} is told to be {:?} ({:?}) but the registry knows nothing of that about agent {agent}",
            status.task_id.value,
            status.state(),
            status.reason()
        ))
    }

    /// What the master shows (and answers) is what is written.
    ///
    /// # Errors
    /// It isn't.
    pub fn agrees_with(&self, state: &State) -> Result<(), String> {
        let Contents { admitted, unreachable, gone, .. } = &self.contents;
        let shown = state.agents.len() + state.recovered.len();
        let known = |agent: &AgentId| admitted.contains_key(agent);
        let members = state.agents.keys().chain(state.recovered.keys());
        if let Some(agent) = members.into_iter().find(|agent| !known(agent)) {
            return Err(format!("agent {agent} is shown but the registry hasn't it"));
        }
        if shown != admitted.len() || *unreachable != state.unreachable || *gone != state.gone {
            return Err("the master's lists of agents are not the registry's".to_owned());
        }
        Ok(())
    }
}

impl World {
    pub(crate) fn write_registry(&mut self, ticket: Ticket, change: Change) {
        self.note(|| format!("registry: {ticket:?} {change:?}"));
        self.registry.writes.push_back((ticket, change));
        // Mesos: a store may take up to 20 s.
        let pause =
            if self.registry.slow_until > self.now { self.within(20) } else { delay(&mut self.random) };
        let when = self.registry.last.max(self.now + pause);
        self.registry.last = when;
        self.at(when, Happening::RegistryWrote(self.lives));
    }

    pub(crate) fn registry_wrote(&mut self, life: u64) {
        if self.master.as_ref().is_none_or(|master| master.life != life || master.down) {
            return;
        }
        let Some((ticket, change)) = self.registry.writes.pop_front() else { return };
        let done = !std::mem::take(&mut self.registry.fails_next);
        // A write of which nobody knows how it went may have been done.
        if done || self.percent(50) {
            self.registry.contents.apply(&change);
        }
        if !done {
            self.registry_failed(life);
        }
        self.step_master(Event::Persisted { ticket, done });
        if !done && self.master.as_ref().is_some_and(|master| !master.stepped_down) {
            self.broken("the registry failed and the master leads on");
        }
    }

    /// The master must step down; until its process ends it may do nothing more, whatever happens to it.
    fn registry_failed(&mut self, life: u64) {
        self.faults.add(Fault::WriteRefused);
        self.note(|| "the registry fails".to_owned());
        if let Some(master) = &mut self.master {
            master.down = true;
        }
        let pause = self.within(3) + Duration::from_millis(1);
        self.after(pause, Happening::MasterEnds(life));
    }

    /// What a disk or a registry may do to a cluster.
    pub(crate) fn storage_fails(&mut self, agent: usize) {
        let until = self.now + self.within(60);
        let kind = self.random.below(4);
        if matches!(kind, 1 | 2) {
            self.faults.add(Fault::StorageSlow);
        }
        match kind {
            0 => self.agents[agent].disk_broken_until = until,
            1 => self.agents[agent].disk_slow_until = until,
            2 => self.registry.slow_until = until,
            _ => self.registry.fails_next = true,
        }
        self.note(|| format!("storage fails, agent {agent}"));
    }
}
