//! What an operator knows who watches: the state when the subscription began and every event since. It must be what the
//! master knows, after each step: nothing is missing and nothing is told twice.

use std::collections::{BTreeMap, BTreeSet};

use master::logic::{OperatorEvent, State};
use model::{AgentId, FrameworkId, TaskId, TaskState};

/// See the module.
#[derive(Debug, Default)]
pub struct Mirror {
    subscribed: bool,
    agents: BTreeSet<AgentId>,
    frameworks: BTreeSet<FrameworkId>,
    /// Of frameworks that are not over, ended ones included.
    tasks: BTreeMap<(FrameworkId, TaskId), TaskState>,
}

impl Mirror {
    /// Takes an event in.
    ///
    /// # Errors
    /// It doesn't fit to what was told before.
    pub fn hear(&mut self, event: &OperatorEvent, state: &State) -> Result<(), String> {
        let new = |is: bool| if is { Ok(()) } else { Err("it is there already".to_owned()) };
        let known = |is: bool| if is { Ok(()) } else { Err("it was never told of".to_owned()) };
        match event {
            OperatorEvent::Subscribed => {
                self.take_over(state);
                Ok(())
            }
            OperatorEvent::Heartbeat => Ok(()),
            OperatorEvent::TaskAdded(task) => {
                let key = (task.framework.clone(), task.id.clone());
                // Ids of ended tasks may be used again.
                new(self.tasks.insert(key, task.latest).is_none_or(TaskState::is_terminal))
            }
            OperatorEvent::TaskUpdated { framework, state, status } => {
                let key = (framework.clone(), TaskId::from(&status.task_id));
                known(self.tasks.insert(key, *state).is_some())
            }
            OperatorEvent::AgentAdded(agent) => new(self.agents.insert(agent.facts.id.clone())),
            OperatorEvent::AgentRemoved(agent) => known(self.agents.remove(agent)),
            OperatorEvent::FrameworkAdded(row) => new(self.frameworks.insert(row.id.clone())),
            OperatorEvent::FrameworkUpdated(row) => known(self.frameworks.contains(&row.id)),
            OperatorEvent::FrameworkRemoved(row) => {
                self.tasks.retain(|key, _| key.0 != row.id);
                known(self.frameworks.remove(&row.id))
            }
        }
    }

    fn take_over(&mut self, state: &State) {
        self.subscribed = true;
        self.agents = state.agents.keys().cloned().collect();
        self.frameworks = state.frameworks.keys().cloned().collect();
        let live = state.tasks.iter().chain(state.unreachable_tasks.iter());
        let ended = state.frameworks.values().flat_map(|framework| &framework.completed);
        let ended = ended.map(|task| ((task.framework.clone(), task.id.clone()), task.latest));
        self.tasks = ended.chain(live.map(|(key, task)| (key.clone(), task.latest))).collect();
    }

    /// Compares with what the master knows.
    ///
    /// # Errors
    /// Names the first difference.
    pub fn agrees(&self, state: &State) -> Result<(), String> {
        if !self.subscribed {
            return Ok(());
        }
        if !self.agents.iter().eq(state.agents.keys()) {
            return Err(format!("agents {:?}", self.agents));
        }
        if !self.frameworks.iter().eq(state.frameworks.keys()) {
            return Err(format!("frameworks {:?}", self.frameworks));
        }
        for (key, task) in state.tasks.iter().chain(state.unreachable_tasks.iter()) {
            if self.tasks.get(key) != Some(&task.latest) {
                return Err(format!("task {key:?} is {:?}, told was {:?}", task.latest, self.tasks.get(key)));
            }
        }
        Ok(())
    }
}
