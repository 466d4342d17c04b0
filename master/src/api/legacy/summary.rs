//! `/state-summary`: agents and frameworks with counts of tasks instead of tasks.

use std::collections::{BTreeMap, BTreeSet};

use model::{AgentId, FrameworkId, TaskState};

use super::super::json::{self, Object};
use super::{frameworks, slaves};
use crate::about::About;
use crate::api::index::{Index, tasks_of};
use crate::view::View;

/// The states that are counted, in Mesos' order.
const COUNTED: [TaskState; 10] = [
    TaskState::Staging,
    TaskState::Starting,
    TaskState::Running,
    TaskState::Killing,
    TaskState::Finished,
    TaskState::Killed,
    TaskState::Failed,
    TaskState::Lost,
    TaskState::Error,
    TaskState::Unreachable,
];

/// Counts of one agent or framework, and who it has to do with.
struct Count<'a, Other> {
    states: BTreeMap<TaskState, usize>,
    others: BTreeSet<&'a Other>,
}

impl<Other> Default for Count<'_, Other> {
    fn default() -> Self {
        Count { states: BTreeMap::new(), others: BTreeSet::new() }
    }
}

impl<'a, Other: Ord> Count<'a, Other> {
    fn add(&mut self, state: TaskState, other: &'a Other) {
        *self.states.entry(state).or_default() += 1;
        self.others.insert(other);
    }

    fn write(&self, o: &mut Object<'_>) {
        for state in COUNTED {
            o.count(state.name(), self.states.get(&state).copied().unwrap_or(0));
        }
    }
}

/// Writes the page.
pub fn write(o: &mut Object<'_>, about: &About, view: &View) {
    let mut agents: BTreeMap<&AgentId, Count<'_, FrameworkId>> = BTreeMap::new();
    let mut of_frameworks: BTreeMap<&FrameworkId, Count<'_, AgentId>> = BTreeMap::new();
    for framework in view.frameworks.values() {
        let live = tasks_of(&view.tasks, &framework.id);
        let unreachable = tasks_of(&view.unreachable_tasks, &framework.id);
        for task in live.chain(unreachable).chain(&framework.completed) {
            agents.entry(&task.agent).or_default().add(task.latest, &task.framework);
            of_frameworks.entry(&task.framework).or_default().add(task.latest, &task.agent);
        }
    }
    let index = Index::of(view);
    o.text("hostname", &about.hostname);
    o.text_if("cluster", about.cluster.as_deref());
    o.array("slaves", view.agents.iter(), |out, (id, agent)| {
        let count = agents.remove(id).unwrap_or_default();
        json::object(out, |o| {
            slaves::slave(o, agent);
            count.write(o);
            o.texts("framework_ids", count.others.iter().map(|id| id.as_str()));
        });
    });
    o.array("frameworks", view.frameworks.values(), |out, framework| {
        let count = of_frameworks.remove(&framework.id).unwrap_or_default();
        json::object(out, |o| {
            frameworks::summary(o, framework, &index);
            count.write(o);
            o.texts("slave_ids", count.others.iter().map(|id| id.as_str()));
        });
    });
}
