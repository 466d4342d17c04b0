//! What agents tell a new leader of tasks that ended before it led: the lists of ended tasks of its frameworks.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use model::{AgentId, FrameworkId};

use super::event::ReportedTask;
use super::readmission::reported_task;
use super::state::{State, Task};

/// Ended tasks that are kept for frameworks which nobody has spoken of yet. Mesos forgets these.
const MAX_UNCLAIMED: usize = 10_000;

/// Ended tasks of frameworks that are not known yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Unclaimed {
    tasks: BTreeMap<FrameworkId, VecDeque<Arc<Task>>>,
    count: usize,
}

/// Takes over what an agent knows that this leader has not seen before. Nobody is told: it is no news.
pub(super) fn learn(state: &mut State, agent: &AgentId, ended: Vec<ReportedTask>) {
    let most = state.settings.max_completed_tasks;
    for report in ended {
        let framework = report.key.0.clone();
        if !report.latest.is_terminal() || state.is_completed(&framework) {
            continue;
        }
        let task = Arc::new(reported_task(agent, report, None));
        if let Some(row) = state.frameworks.get_mut(&framework) {
            insert(&mut row.completed, task, most);
        } else if state.inner.unclaimed.count < MAX_UNCLAIMED {
            let unclaimed = &mut state.inner.unclaimed;
            let list = unclaimed.tasks.entry(framework).or_default();
            unclaimed.count -= list.len();
            insert(list, task, most);
            unclaimed.count += list.len();
        }
    }
}

/// A framework is known now.
pub(super) fn claim(state: &mut State, framework: &FrameworkId) {
    let Some(tasks) = state.inner.unclaimed.tasks.remove(framework) else { return };
    state.inner.unclaimed.count -= tasks.len();
    if let Some(row) = state.frameworks.get_mut(framework) {
        row.completed = tasks;
    }
}

/// By the time of its end: lists are in the order of these. The oldest go.
fn insert(list: &mut VecDeque<Arc<Task>>, task: Arc<Task>, most: usize) {
    let at = list.partition_point(|other| end(other) <= end(&task));
    list.insert(at, task);
    while list.len() > most {
        list.pop_front();
    }
}

/// When a task ended, in seconds; what is not known is long ago.
fn end(task: &Task) -> f64 {
    task.statuses.last().and_then(|status| status.timestamp).unwrap_or(0.0)
}
