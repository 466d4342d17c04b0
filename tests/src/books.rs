//! What one master knows to be in the registry, and what nobody may hear of it before it is written there.

use std::collections::BTreeMap;

use master::logic::{Contents, LinkId, SchedulerEvent, State};
use model::{AgentId, TaskState};
use wire::link::from_master::Body;
use wire::v1;
use wire::v1::task_status::{Reason, Source};

/// See the module.
#[derive(Default)]
pub struct Books {
    /// What was there when it took over, and what it has been told to be written since.
    pub contents: Contents,
    /// Who was told on which link that it is registered.
    told: BTreeMap<LinkId, AgentId>,
}

impl Books {
    /// Those of a master that takes this over.
    pub fn new(contents: Contents) -> Books {
        Books { contents, told: BTreeMap::new() }
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
