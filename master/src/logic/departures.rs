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
use super::state::{State, Task};
use super::waits::After;

/// How an agent leaves the table.
#[derive(Clone, Copy, Debug)]
enum Farewell {
    /// It doesn't answer; it may come back.
    Unreachable(Timestamp),
    /// It left for good, for this cause.
    Removed(&'static str),
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

/// MARK_AGENT_GONE of an operator.
pub(super) fn mark_gone(
    state: &mut State,
    now: Timestamp,
    call: CallId,
    agent: AgentId,
    out: &mut Vec<Effect>,
) {
    let known = state.agents.contains(&agent)
        || state.recovered.contains_key(&agent)
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
    state.unreachable.insert(agent.clone(), since);
    leave(state, now, agent, Farewell::Unreachable(since), out);
}

/// The registry has it: the agent is no member any more. `then` is the one that takes its address.
pub(super) fn removed(
    state: &mut State,
    now: Timestamp,
    agent: &AgentId,
    cause: &'static str,
    then: Option<(LinkId, AgentHello)>,
    out: &mut Vec<Effect>,
) {
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
    out.push(Effect::Answer { call, outcome: Ok(()) });
    let message = format!("Agent '{agent}' was marked gone by an operator");
    state.to_agent(agent, Body::Shutdown(link::Shutdown { message }), out);
    lose_unreachable_tasks(state, now, agent, out);
    leave(state, now, agent, Farewell::Gone, out);
}

fn leave(state: &mut State, now: Timestamp, agent: &AgentId, farewell: Farewell, out: &mut Vec<Effect>) {
    let was_member = state.recovered.remove(agent).is_some() | state.agents.contains(agent);
    offers::rescind_of_agent(state, agent, out);
    state.drop_ghosts(agent);
    let hostname = state.agents.get(agent).map(|row| row.facts.info.hostname.clone()).unwrap_or_default();
    for key in state.tasks_on(agent) {
        if let Some(task) = state.drop_task(&key) {
            part(state, now, task, farewell, &hostname, out);
        }
    }
    if let Some(link) = state.drop_agent(agent).and_then(|row| row.link) {
        out.push(Effect::CloseLink { link });
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
            let message = format!("Agent {hostname} removed: {cause}");
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

fn lose_unreachable_tasks(state: &mut State, now: Timestamp, agent: &AgentId, out: &mut Vec<Effect>) {
    let keys = state.inner.unreachable_of_agent.get(agent).cloned().unwrap_or_default();
    for key in keys {
        let Some(mut task) = state.drop_unreachable_task(&key) else { continue };
        // Frameworks without PARTITION_AWARE were told LOST already.
        if !task.sent.is_terminal() {
            let message = "The agent was marked gone by an operator".to_owned();
            let news = (TaskState::GoneByOperator, Reason::AgentRemovedByOperator, message);
            state.declare(now, &mut task, news, out);
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
