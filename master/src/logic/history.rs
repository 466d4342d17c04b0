//! What agents tell of tasks whose end was acknowledged: to a new leader the lists of ended tasks of its frameworks, to
//! one that still has them as live how they ended.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use model::{AgentId, FrameworkId, TaskState};
use wire::v1;
use wire::v1::task_status::Reason;

use super::event::ReportedTask;
use super::inner::TaskKey;
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

/// Takes over what an agent knows that this leader has not seen before. Nobody is told: it is no news. `met`: the leader
/// has perhaps seen the agent, and some of it.
pub(super) fn learn(state: &mut State, agent: &AgentId, mut ended: Vec<ReportedTask>, met: bool) {
    if met {
        let known = known(state, agent, &ended);
        ended.retain(|task| !uuids(&task.statuses).any(|uuid| known.contains(uuid)));
    }
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

/// The uuids of what was said of those tasks of an agent that are in the lists of the frameworks of these already.
fn known(state: &State, agent: &AgentId, ended: &[ReportedTask]) -> BTreeSet<Bytes> {
    let frameworks: BTreeSet<&FrameworkId> = ended.iter().map(|task| &task.key.0).collect();
    let listed = frameworks.into_iter().flat_map(|framework| {
        let completed = state.frameworks.get(framework).map(|row| &row.completed);
        completed.or_else(|| state.inner.unclaimed.tasks.get(framework)).into_iter().flatten()
    });
    listed.filter(|task| task.agent == *agent).flat_map(|task| uuids(&task.statuses)).cloned().collect()
}

fn uuids(statuses: &[Arc<v1::TaskStatus>]) -> impl Iterator<Item = &Bytes> {
    statuses.iter().filter_map(|status| status.uuid.as_ref())
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

/// How a task ended, as its framework is told.
pub(super) type End = (TaskState, Reason, String);

/// The ends that an agent reports. For seconds a master that is followed by another may still have an end acknowledged
/// that the next knows nothing of.
pub(super) struct Ends<'a>(BTreeMap<&'a TaskKey, Vec<&'a ReportedTask>>);

impl<'a> Ends<'a> {
    /// By id, which several runs may have had.
    pub(super) fn of(ended: &'a [ReportedTask]) -> Ends<'a> {
        let mut ends: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for task in ended.iter().filter(|task| task.latest.is_terminal()) {
            ends.entry(&task.key).or_default().push(task);
        }
        Ends(ends)
    }

    /// The end of just this run of a task: ids are used again, uuids of statuses are not.
    pub(super) fn of_run(&self, key: &TaskKey, task: &Task) -> Option<End> {
        let same = |said: &Bytes| uuids(&task.statuses).any(|uuid| uuid == said);
        let ended = self.0.get(key)?.iter().find(|ended| uuids(&ended.statuses).any(same))?;
        let message = ended.statuses.last().and_then(|status| status.message.clone());
        let message =
            message.unwrap_or_else(|| "The task ended while its agent followed another master".to_owned());
        Some((ended.latest, Reason::Reconciliation, message))
    }
}
