//! Agents stay: pings, lost links, and the time an agent may stay away.

use model::{AgentId, TaskState, Timestamp};
use wire::link;
use wire::link::from_master::Body;
use wire::v1::task_status::Reason;

use super::departures;
use super::effect::Effect;
use super::event::LinkId;
use super::inner::Pings;
use super::offers;
use super::state::{State, Task};
use super::timers::Timer;
use super::waits::After;

/// Starts pinging an agent. Mesos: the first ping goes out at once.
pub(super) fn begin(state: &mut State, now: Timestamp, agent: &AgentId, out: &mut Vec<Effect>) {
    state.inner.counters.pings += 1;
    let generation = state.inner.counters.pings;
    state.inner.pings.insert(agent.clone(), Pings { generation, ..Pings::default() });
    send(state, now, agent, out);
}

fn send(state: &mut State, now: Timestamp, agent: &AgentId, out: &mut Vec<Effect>) {
    let Some(pings) = state.inner.pings.get_mut(agent) else { return };
    pings.sequence += 1;
    pings.unanswered = true;
    let (sequence, generation) = (pings.sequence, pings.generation);
    let due = now + state.settings.agent_ping_timeout;
    state.inner.timers.set(due, Timer::Ping(agent.clone(), generation));
    state.to_agent(agent, Body::Ping(link::Ping { sequence, connected: true }), out);
}

/// The time for an answer is over: another ping, or the agent doesn't answer any more.
pub(super) fn due(
    state: &mut State,
    now: Timestamp,
    agent: &AgentId,
    generation: u64,
    out: &mut Vec<Effect>,
) {
    let Some(pings) = state.inner.pings.get(agent).filter(|pings| pings.generation == generation) else {
        return;
    };
    let missed = pings.unanswered;
    let Some(row) = state.agents.get(agent) else { return };
    let count = if missed { row.pings_missed + 1 } else { 0 };
    if row.pings_missed != count
        && let Some(row) = state.agents.get_mut(agent)
    {
        row.pings_missed = count;
    }
    // Mesos: pings go on while the agent is disconnected, so it is lost by them before its re-registration time is up.
    if count >= state.settings.max_agent_ping_timeouts {
        departures::mark_unreachable(state, now, agent, out);
    }
    send(state, now, agent, out);
}

/// A ping was answered.
pub(super) fn pong(state: &mut State, link: LinkId) {
    let Some(agent) = state.inner.links.get(&link).cloned() else { return };
    answered(state, &agent);
}

/// The agent is heard of: no ping is missed.
pub(super) fn answered(state: &mut State, agent: &AgentId) {
    if let Some(pings) = state.inner.pings.get_mut(agent) {
        pings.unanswered = false;
    }
    if state.agents.get(agent).is_some_and(|row| row.pings_missed > 0)
        && let Some(row) = state.agents.get_mut(agent)
    {
        row.pings_missed = 0;
    }
}

/// A link ended.
pub(super) fn link_lost(state: &mut State, now: Timestamp, link: LinkId, out: &mut Vec<Effect>) {
    if let Some(ticket) = state.inner.joining.remove(&link) {
        match state.inner.waiting.get_mut(&ticket) {
            Some(After::Register { link: waits, .. } | After::Reregister { link: waits, .. }) => {
                *waits = None;
            }
            Some(After::Remove { then, .. }) => *then = None,
            _ => {}
        }
    }
    let Some(agent) = state.inner.links.remove(&link) else { return };
    tracing::warn!(agent_id = %agent, "agent disconnected");
    disconnected(state, now, &agent);
    offers::rescind_of_agent(state, &agent, out);
    lose_unrecoverable(state, now, &agent, out);
}

/// Notes that an agent has no link from now on.
pub(super) fn disconnected(state: &mut State, now: Timestamp, agent: &AgentId) {
    let due = now + state.settings.agent_reregister_timeout;
    let Some(row) = state.agents.get_mut(agent) else { return };
    row.link = None;
    row.active = false;
    row.disconnected = Some(now);
    state.inner.timers.set(due, Timer::Reregister(agent.clone(), now));
    state.inner.touched.insert(agent.clone());
}

/// The time an agent may stay away since `lost` is over.
pub(super) fn away_too_long(
    state: &mut State,
    now: Timestamp,
    agent: &AgentId,
    lost: Timestamp,
    out: &mut Vec<Effect>,
) {
    if state.agents.get(agent).is_some_and(|row| row.disconnected == Some(lost)) {
        departures::mark_unreachable(state, now, agent, out);
    }
}

/// Mesos: tasks of frameworks without checkpointing don't outlive the link.
fn lose_unrecoverable(state: &mut State, now: Timestamp, agent: &AgentId, out: &mut Vec<Effect>) {
    let Some(hostname) = state.agents.get(agent).map(|row| row.facts.info.hostname.clone()) else { return };
    for key in state.tasks_on(agent) {
        let checkpoints = state.frameworks.get(&key.0).is_some_and(|framework| framework.info.checkpoint());
        // An end that was sent is sent again by the agent until it is acknowledged.
        let sent = |task: &Task| task.latest.is_terminal() && task.sent.is_terminal();
        if checkpoints || state.tasks.get(&key).is_some_and(|task| sent(task)) {
            continue;
        }
        let Some(mut task) = state.drop_task(&key) else { continue };
        let end = if task.latest.is_terminal() { task.latest } else { TaskState::Gone };
        let message = format!("Agent {hostname} disconnected");
        state.declare(now, &mut task, (end, Reason::AgentDisconnected, message), out);
        state.complete(task);
    }
}
