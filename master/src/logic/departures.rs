//! Agents go: unreachable, removed or gone by the operator, each only after the registry has it.

use model::{AgentId, TaskState, Timestamp};
use wire::link;
use wire::link::from_master::Body;
use wire::v1::task_status::Reason;

use super::agents;
use super::effect::{Effect, SchedulerEvent};
use super::event::{AgentHello, CallId, LinkId};
use super::offers;
use super::refused::Refused;
use super::registry::Change;
use super::removals;
use super::state::{State, Task};
use super::tally::Count;
use super::waits::{After, Cause};

/// How an agent leaves the table.
#[derive(Clone, Copy, Debug)]
enum Farewell {
    /// It doesn't answer; it may come back.
    Unreachable(Timestamp),
    /// It left for good, for this cause.
    Removed(Cause),
    /// An operator said so.
    Gone,
}

/// No offers are made of an agent that is about to go.
pub(super) fn begin(state: &mut State, agent: &AgentId, out: &mut Vec<Effect>) {
    offers::rescind_of_agent(state, agent, out);
    state.inner.touched.insert(agent.clone());
}

/// Has the registry mark an agent unreachable, unless it is being changed already.
pub(super) fn mark_unreachable(state: &mut State, now: Timestamp, agent: &AgentId, out: &mut Vec<Effect>) {
    if state.inner.transitions.contains_key(agent) {
        return;
    }
    tracing::warn!(agent_id = %agent, "agent does not answer; marking it unreachable");
    begin(state, agent, out);
    let after = After::Unreachable { agent: agent.clone(), since: now };
    state.persist(agent, Change::MarkUnreachable(agent.clone(), now), after, out);
}

/// The agent ended its tasks and leaves for good.
pub(super) fn unregister(state: &mut State, link: LinkId, out: &mut Vec<Effect>) {
    state.tally.bump(Count::UnregisterAgent);
    let inner = &state.inner;
    let joins = || inner.waiting.get(inner.joining.get(&link)?)?.agent();
    let Some(agent) = inner.links.get(&link).or_else(joins).cloned() else { return };
    if state.inner.transitions.contains_key(&agent) {
        // Another change of it is being written: this one is its turn after that.
        state.inner.leaving.insert(agent);
    } else {
        let_go(state, &agent, out);
    }
}

/// A change of an agent is written, which has said meanwhile that it leaves.
pub(super) fn leaves_now(state: &mut State, agent: &AgentId, out: &mut Vec<Effect>) {
    let member = state.agents.contains(agent) || state.unreachable.contains_key(agent);
    if member && !state.inner.transitions.contains_key(agent) {
        let_go(state, agent, out);
    }
}

fn let_go(state: &mut State, agent: &AgentId, out: &mut Vec<Effect>) {
    begin(state, agent, out);
    let after = After::Remove { agent: agent.clone(), cause: Cause::Unregistered, then: None };
    state.persist(agent, Change::Remove(agent.clone()), after, out);
}

/// MARK_AGENT_GONE of an operator.
pub(super) fn mark_gone(
    state: &mut State,
    now: Timestamp,
    call: CallId,
    agent: AgentId,
    out: &mut Vec<Effect>,
) {
    let known = state.agents.contains(&agent)
        || state.recovered.contains(&agent)
        || state.unreachable.contains_key(&agent);
    let outcome = if state.gone.contains_key(&agent) {
        Ok(())
    } else if state.inner.transitions.contains_key(&agent) {
        Err(Refused::InTransition(agent))
    } else if !known {
        Err(Refused::UnknownAgent(agent))
    } else {
        begin(state, &agent, out);
        let after = After::Gone { agent: agent.clone(), at: now, call };
        state.persist(&agent, Change::MarkGone(agent.clone(), now), after, out);
        return;
    };
    out.push(Effect::Answer { call, outcome });
}

/// The registry has it: the agent is unreachable.
pub(super) fn unreachable(
    state: &mut State,
    now: Timestamp,
    agent: &AgentId,
    since: Timestamp,
    out: &mut Vec<Effect>,
) {
    state.tally.bump(Count::UnreachableCompleted);
    if state.agents.contains(agent) {
        state.tally.bump(Count::Removals);
        state.tally.bump(Count::RemovalsUnhealthy);
    } else if state.recovered.contains(agent) {
        state.tally.bump(Count::RecoveryRemovals);
    }
    state.unreachable.insert(agent.clone(), since);
    leave(state, now, agent, Farewell::Unreachable(since), out);
}

/// The registry has it: the agent is no member any more. `then` is the one that takes its address.
pub(super) fn removed(
    state: &mut State,
    now: Timestamp,
    agent: &AgentId,
    cause: Cause,
    then: Option<(LinkId, AgentHello)>,
    out: &mut Vec<Effect>,
) {
    if state.agents.contains(agent) {
        state.tally.bump(Count::Removals);
        state.tally.bump(match cause {
            Cause::Replaced => Count::RemovalsRegistered,
            Cause::Unregistered => Count::RemovalsUnregistered,
        });
    }
    if state.unreachable.remove(agent).is_some() {
        let end = (TaskState::Gone, Reason::AgentRemoved, format!("Agent removed: {}", cause.text()));
        lose_unreachable_tasks(state, now, agent, end, out);
    }
    state.inner.owners.remove(agent);
    let address = state.agents.get(agent).map(|row| row.facts.address.clone());
    leave(state, now, agent, Farewell::Removed(cause), out);
    if let Some(address) = address {
        state.inner.admitting.remove(&address);
    }
    if let Some((link, hello)) = then {
        state.inner.joining.remove(&link);
        agents::register(state, now, link, hello, out);
    }
}

/// The registry has it: the agent is gone for ever.
pub(super) fn gone(
    state: &mut State,
    now: Timestamp,
    agent: &AgentId,
    (at, call): (Timestamp, CallId),
    out: &mut Vec<Effect>,
) {
    state.gone.insert(agent.clone(), at);
    state.unreachable.remove(agent);
    state.inner.owners.remove(agent);
    out.push(Effect::Answer { call, outcome: Ok(()) });
    let message = format!("Agent '{agent}' was marked gone by an operator");
    state.to_agent(agent, Body::Shutdown(link::Shutdown { message }), out);
    let end = "The agent was marked gone by an operator".to_owned();
    let end = (TaskState::GoneByOperator, Reason::AgentRemovedByOperator, end);
    lose_unreachable_tasks(state, now, agent, end, out);
    if state.agents.contains(agent) {
        state.tally.bump(Count::Removals);
    }
    leave(state, now, agent, Farewell::Gone, out);
}

fn leave(state: &mut State, now: Timestamp, agent: &AgentId, farewell: Farewell, out: &mut Vec<Effect>) {
    removals::forget(state, agent);
    let was_member = state.recovered.remove(agent).is_some() | state.agents.contains(agent);
    offers::rescind_of_agent(state, agent, out);
    state.drop_ghosts(agent);
    let hostname = state.agents.get(agent).map(|row| row.facts.info.hostname.clone()).unwrap_or_default();
    for key in state.tasks_on(agent) {
        if let Some(task) = state.drop_task(&key) {
            part(state, now, task, farewell, &hostname, out);
        }
    }
    if let Some(row) = state.drop_agent(agent) {
        state.publish_removed_agent(agent, out);
        out.extend(row.link.map(|link| Effect::CloseLink { link }));
    }
    if was_member {
        announce_failure(state, agent, out);
    }
}

/// What becomes of a task whose agent leaves.
fn part(
    state: &mut State,
    now: Timestamp,
    mut task: Task,
    farewell: Farewell,
    hostname: &str,
    out: &mut Vec<Effect>,
) {
    if task.latest.is_terminal() && task.sent.is_terminal() {
        // Its framework knows; only the acknowledgement is missing.
        return state.complete(task);
    }
    let ended = task.latest.is_terminal().then_some(task.latest);
    let removed = Reason::AgentRemoved;
    let (news, since) = match farewell {
        Farewell::Unreachable(since) => {
            let message = format!("Agent {hostname} is unreachable");
            ((TaskState::Unreachable, removed, message), Some(since))
        }
        Farewell::Removed(cause) => {
            let message = format!("Agent {hostname} removed: {}", cause.text());
            ((ended.unwrap_or(TaskState::Gone), removed, message), None)
        }
        Farewell::Gone => {
            let message = format!("Agent {hostname} was marked gone by an operator");
            let state = ended.unwrap_or(TaskState::GoneByOperator);
            ((state, Reason::AgentRemovedByOperator, message), None)
        }
    };
    task.unreachable_since = since;
    state.declare(now, &mut task, news, out);
    match since {
        Some(since) => state.add_unreachable_task(task, since),
        None => state.complete(task),
    }
}

fn lose_unreachable_tasks(
    state: &mut State,
    now: Timestamp,
    agent: &AgentId,
    end: (TaskState, Reason, String),
    out: &mut Vec<Effect>,
) {
    let keys = state.inner.unreachable_of_agent.get(agent).cloned().unwrap_or_default();
    for key in keys {
        let Some(mut task) = state.drop_unreachable_task(&key) else { continue };
        // Frameworks without PARTITION_AWARE were told LOST already.
        if !task.sent.is_terminal() {
            task.unreachable_since = None;
            state.declare(now, &mut task, end.clone(), out);
        }
        state.complete(task);
    }
}

/// Mesos: every framework learns of a lost agent.
fn announce_failure(state: &State, agent: &AgentId, out: &mut Vec<Effect>) {
    for stream in state.inner.streams.keys() {
        let event = SchedulerEvent::Failure { agent: agent.clone(), executor: None };
        out.push(Effect::ToFramework { stream: *stream, event });
    }
}
