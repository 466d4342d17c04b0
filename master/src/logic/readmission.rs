//! Agents come back: what they report is compared with what the tables say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{AgentId, FrameworkId, TaskState, Timestamp};
use wire::link;
use wire::link::from_master::Body;
use wire::v1;
use wire::v1::task_status::Reason;

use super::effect::Effect;
use super::event::{LinkId, ReportedTask};
use super::history::{End, Ends};
use super::inner::TaskKey;
use super::ledger::Uncounted;
use super::state::{State, Task};
use super::status::{News, tell};
use super::tally::Count;
use super::waits::Report;
use super::{agents, frameworks, history, offers, pings, removals, tasks};

/// An agent that the registry has is back. `link` is none when it was lost while the registry wrote.
pub(super) fn readmit(
    state: &mut State,
    now: Timestamp,
    agent: &AgentId,
    link: Option<LinkId>,
    report: Report,
    out: &mut Vec<Effect>,
) {
    match link {
        Some(link) if state.agents.contains(agent) => rejoin(state, now, agent, link, report, out),
        None if state.agents.contains(agent) => agents::refresh(state, agent, &report.hello, out),
        _ => come_back(state, now, agent, link, report, out),
    }
}

/// An agent in the table has a new link.
pub(super) fn rejoin(
    state: &mut State,
    now: Timestamp,
    agent: &AgentId,
    link: LinkId,
    report: Report,
    out: &mut Vec<Effect>,
) {
    tracing::info!(agent_id = %agent, tasks = report.tasks.len(), "agent re-registered");
    state.tally.bump(Count::Reregistrations);
    agents::refresh(state, agent, &report.hello, out);
    let Some(row) = state.agents.get_mut(agent) else { return };
    let before = row.link.replace(link).filter(|before| *before != link);
    row.active = true;
    row.reregistered = Some(now);
    row.disconnected = None;
    let kills = std::mem::take(&mut row.pending_kills);
    if let Some(before) = before {
        state.inner.links.remove(&before);
        out.push(Effect::CloseLink { link: before });
    }
    state.inner.links.insert(link, agent.clone());
    state.to_agent(agent, agents::answer(state, agent), out);
    pings::answered(state, agent);
    state.drop_ghosts(agent);
    let named = report.tasks.iter().map(|task| task.key.clone()).collect();
    adopt(state, now, agent, (&report.frameworks, report.tasks), Tell::All, out);
    if !state.fits(agent) {
        offers::rescind_of_agent(state, agent, out);
    }
    settle_missing(state, now, agent, &named, &Ends::of(&report.completed), out);
    for (framework, task, grace) in kills {
        let key = (framework, task);
        // Of a framework that ended meanwhile the agent would be asked for a task that it no longer knows, and say again
        // how that ended.
        if state.tasks.get(&key).is_some_and(|row| row.agent == *agent && !row.latest.is_terminal()) {
            tasks::send_kill(state, agent, &key.0, &key.1, grace, out);
        }
    }
    state.inner.touched.insert(agent.clone());
    state.inner.allocator.hurry();
}

/// An agent that was recovered, unreachable or unknown is in the table again.
fn come_back(
    state: &mut State,
    now: Timestamp,
    agent: &AgentId,
    link: Option<LinkId>,
    report: Report,
    out: &mut Vec<Effect>,
) {
    tracing::info!(agent_id = %agent, tasks = report.tasks.len(), "agent came back");
    state.tally.bump(Count::Reregistrations);
    removals::cancel(state, agent);
    let met = state.recovered.remove(agent).is_none();
    let tell = if state.unreachable.remove(agent).is_some() { Tell::All } else { Tell::Lost };
    agents::arrive(state, now, agent, link, &report.hello, out);
    if let Some(row) = state.agents.get_mut(agent) {
        row.reregistered = Some(now);
    }
    adopt(state, now, agent, (&report.frameworks, report.tasks), tell, out);
    let ends = Ends::of(&report.completed);
    for key in state.inner.unreachable_of_agent.get(agent).cloned().unwrap_or_default() {
        let Some(task) = state.drop_unreachable_task(&key) else { continue };
        let end = ends.of_run(&key, &task).unwrap_or_else(|| {
            // It has ended there without a word.
            (TaskState::Gone, Reason::Reconciliation, "The agent came back without the task".to_owned())
        });
        end_unheard(state, now, task, end, out);
    }
    history::learn(state, agent, report.completed, met);
}

/// Which of the tasks that are new to the tables are announced to their frameworks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tell {
    /// All: the agent was known, but not that it has them.
    All,
    /// Those that were unreachable: this master is new, and the frameworks ask it themselves.
    Lost,
}

/// Takes over what an agent reports.
fn adopt(
    state: &mut State,
    now: Timestamp,
    agent: &AgentId,
    (frameworks, tasks): (&[Arc<v1::FrameworkInfo>], Vec<ReportedTask>),
    tell: Tell,
    out: &mut Vec<Effect>,
) {
    for info in frameworks {
        frameworks::named_by_agent(state, now, agent, info, out);
    }
    let mut uncounted = Uncounted::default();
    for mut task in tasks {
        if let Some(framework) = state.frameworks.get(&task.key.0) {
            // All of its tasks share one.
            task.key.0 = framework.id.clone();
        }
        if let Some((key, was_unreachable)) = adopt_task(state, now, agent, task, &mut uncounted, out)
            && (tell == Tell::All || was_unreachable)
        {
            announce(state, now, &key, out);
        }
    }
    state.count(agent, &mut uncounted);
}

/// Answers which task it is if it is new to the table, and whether it was unreachable before.
fn adopt_task(
    state: &mut State,
    now: Timestamp,
    agent: &AgentId,
    report: ReportedTask,
    uncounted: &mut Uncounted,
    out: &mut Vec<Effect>,
) -> Option<(TaskKey, bool)> {
    let (key, latest) = (&report.key, report.latest);
    if state.is_completed(&key.0) {
        // The agent was told to shut the framework down.
        return None;
    }
    let vacancy = match state.tasks.look_up(key) {
        Err(vacancy) => vacancy,
        Ok(row) if row.agent == *agent => {
            let before = row.latest;
            // It may be in the same report twice, and end with the second.
            state.count(agent, uncounted);
            tasks::observe(state, key, latest);
            publish(state, now, key, before, out);
            return None;
        }
        Ok(_) => {
            haunt(state, agent, report, out);
            return None;
        }
    };
    let elsewhere = state.unreachable_tasks.get(key).is_some_and(|row| row.agent != *agent);
    if elsewhere || !state.frameworks.contains(&key.0) {
        haunt(state, agent, report, out);
        return None;
    }
    let lost = state.drop_unreachable_task(key);
    if lost.is_none()
        && let Some(end) = ended_here(state, agent, key)
    {
        if end == latest && report.unacknowledged == Some(end) {
            // It was sent, but perhaps to nobody: the agent sends it again, and until then it is what is known.
            state.take_completed(agent, key);
            let key = key.clone();
            state.add_task_at(vacancy, reported_task(agent, report, None), uncounted);
            // It may have been known from what its agent remembers, of which operators hear nothing.
            state.publish_added_task(&key, out);
        } else {
            // An end was declared while the agent was away, and holds.
            haunt(state, agent, report, out);
        }
        return None;
    }
    let was_unreachable = lost.as_ref().is_some_and(|task| task.unreachable_since.is_some());
    let key = key.clone();
    state.add_task_at(vacancy, reported_task(agent, report, lost), uncounted);
    if was_unreachable {
        publish(state, now, &key, TaskState::Unreachable, out);
    } else {
        state.publish_added_task(&key, out);
    }
    Some((key, was_unreachable))
}

/// Tells operators that a task was found in another state than `before`.
fn publish(state: &State, now: Timestamp, key: &TaskKey, before: TaskState, out: &mut Vec<Effect>) {
    let Some(task) = state.tasks.get(key) else { return };
    let Some(framework) = state.frameworks.get(&key.0) else { return };
    let status = found(now, task, task.latest, framework.partition_aware());
    state.publish_task(&key.0, (before, task.latest), &status, out);
}

fn found(now: Timestamp, task: &Task, state: TaskState, partition_aware: bool) -> v1::TaskStatus {
    let news = News {
        task: &task.id,
        agent: Some(&task.agent),
        state,
        reason: Reason::AgentReregistered,
        message: "The agent of the task came back".to_owned(),
    };
    news.status(now, partition_aware)
}

/// How a task of that id on that agent ended, if its framework's list still says so.
pub(super) fn ended_here(state: &State, agent: &AgentId, key: &TaskKey) -> Option<TaskState> {
    let completed = &state.frameworks.get(&key.0)?.completed;
    completed.iter().rev().find(|task| task.id == key.1 && task.agent == *agent).map(|task| task.latest)
}

pub(super) fn reported_task(agent: &AgentId, report: ReportedTask, lost: Option<Task>) -> Task {
    let ReportedTask { key: (framework, id), info, latest, resources, statuses, unacknowledged, uuid } =
        report;
    Task {
        id,
        framework,
        agent: agent.clone(),
        info,
        resources,
        latest,
        sent: unacknowledged.unwrap_or(latest),
        unacknowledged: uuid,
        statuses: lost.map_or(statuses, |task| task.statuses),
        unreachable_since: None,
    }
}

/// Mesos: the framework of a task that is back hears of it with reason AGENT_REREGISTERED.
fn announce(state: &State, now: Timestamp, key: &TaskKey, out: &mut Vec<Effect>) {
    let Some(task) = state.tasks.get(key) else { return };
    let Some(framework) = state.frameworks.get(&task.framework) else { return };
    tell(framework, found(now, task, task.sent, framework.partition_aware()), out);
}

/// Has a task end that its framework must not hear of any more.
fn haunt(state: &mut State, agent: &AgentId, report: ReportedTask, out: &mut Vec<Effect>) {
    let ReportedTask { key, resources, latest, .. } = report;
    let live = !latest.is_terminal();
    let resources = if live { resources } else { model::Resources::none() };
    tracing::warn!(agent_id = %agent, framework_id = %key.0, task_id = %key.1, live, "agent reports a task that is over");
    state.add_ghost(agent, key.clone(), resources);
    if live {
        tasks::send_kill(state, agent, &key.0, &key.1, None, out);
    }
}

/// Settles what becomes of tasks of the tables that an agent didn't name: it is asked about those of which nobody knows
/// whether they ended.
fn settle_missing(
    state: &mut State,
    now: Timestamp,
    agent: &AgentId,
    named: &BTreeSet<TaskKey>,
    ends: &Ends<'_>,
    out: &mut Vec<Effect>,
) {
    let mut missing: BTreeMap<FrameworkId, Vec<String>> = BTreeMap::new();
    for key in state.tasks_on(agent) {
        if named.contains(&key) {
            continue;
        }
        let Some(task) = state.tasks.get(&key) else { continue };
        let end = ends.of_run(&key, task).or_else(|| {
            let message = "The agent forgot the task after its end".to_owned();
            task.latest.is_terminal().then_some((task.latest, Reason::Reconciliation, message))
        });
        match end {
            Some(end) => {
                let Some(task) = state.drop_task(&key) else { continue };
                end_unheard(state, now, task, end, out);
            }
            None => missing.entry(key.0).or_default().push(key.1.to_string()),
        }
    }
    for (framework, task_ids) in missing {
        let framework_id = framework.to_string();
        state.to_agent(agent, Body::ReconcileTasks(link::ReconcileTasks { framework_id, task_ids }), out);
    }
}

/// Ends a task, already taken out of the tables, of which its agent says no more: nobody else will tell its framework.
fn end_unheard(state: &mut State, now: Timestamp, mut task: Task, end: End, out: &mut Vec<Effect>) {
    if !task.sent.is_terminal() {
        state.declare(now, &mut task, end, out);
    }
    state.complete(task);
}

impl State {
    /// Whether a framework of that id was removed and is still remembered.
    pub(super) fn is_completed(&self, framework: &FrameworkId) -> bool {
        self.completed_frameworks.iter().any(|old| old.id == *framework)
    }

    /// Tells an agent the current description of a framework.
    pub(super) fn update_framework_on(
        &self,
        agent: &AgentId,
        info: &v1::FrameworkInfo,
        out: &mut Vec<Effect>,
    ) {
        let framework = Some(info.clone());
        self.to_agent(agent, link::UpdateFramework { framework }.into(), out);
    }
}
