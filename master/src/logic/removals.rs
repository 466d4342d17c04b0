//! How fast agents may be marked unreachable: `--agent_removal_rate_limit`, so that a broken network between the master
//! and many agents doesn't cost all of their tasks at once.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{AgentId, Timestamp};

use super::departures;
use super::effect::Effect;
use super::state::State;
use super::tally::Count;
use super::timers::Timer;

/// Agents that are to be marked, in their order, and when the next one may be.
#[derive(Clone, Debug, Default)]
pub(super) struct Removals {
    number: u64,
    queue: BTreeMap<u64, AgentId>,
    scheduled: BTreeMap<AgentId, u64>,
    next: Option<Timestamp>,
    timer: bool,
}

impl Removals {
    /// Whether an agent is to be marked and waits for its turn.
    pub(super) fn is_scheduled(&self, agent: &AgentId) -> bool {
        self.scheduled.contains_key(agent)
    }

    fn put(&mut self, agent: &AgentId) {
        self.number += 1;
        self.queue.insert(self.number, agent.clone());
        self.scheduled.insert(agent.clone(), self.number);
    }

    /// Answers whether it was to be marked.
    fn take_back(&mut self, agent: &AgentId) -> bool {
        self.scheduled.remove(agent).is_some_and(|number| self.queue.remove(&number).is_some())
    }
}

/// An agent doesn't answer: it is marked unreachable when its turn comes, at once without a limit.
pub(super) fn schedule(state: &mut State, now: Timestamp, agent: &AgentId, out: &mut Vec<Effect>) {
    if state.inner.transitions.contains_key(agent) || state.inner.removals.is_scheduled(agent) {
        return;
    }
    state.tally.bump(Count::UnreachableScheduled);
    let Some(interval) = state.settings.agent_removal_interval else {
        return departures::mark_unreachable(state, now, agent, out);
    };
    state.inner.removals.put(agent);
    serve(state, now, interval, out);
}

/// It is time for the next one.
pub(super) fn due(state: &mut State, now: Timestamp, out: &mut Vec<Effect>) {
    state.inner.removals.timer = false;
    if let Some(interval) = state.settings.agent_removal_interval {
        serve(state, now, interval, out);
    }
}

fn serve(state: &mut State, now: Timestamp, interval: Duration, out: &mut Vec<Effect>) {
    if state.inner.removals.next.is_none_or(|next| next <= now)
        && let Some((_, agent)) = state.inner.removals.queue.pop_first()
    {
        state.inner.removals.scheduled.remove(&agent);
        state.inner.removals.next = Some(now + interval);
        departures::mark_unreachable(state, now, &agent, out);
    }
    let removals = &mut state.inner.removals;
    if let Some(next) = removals.next
        && !removals.queue.is_empty()
        && !removals.timer
    {
        removals.timer = true;
        state.inner.timers.set(next, Timer::Removal);
    }
}

/// Mesos: an agent that is heard of before its turn is not marked.
pub(super) fn cancel(state: &mut State, agent: &AgentId) {
    if state.inner.removals.take_back(agent) {
        tracing::info!(agent_id = %agent, "agent answers again; it is not marked unreachable");
        state.tally.bump(Count::UnreachableCanceled);
    }
}

/// An agent leaves for another reason.
pub(super) fn forget(state: &mut State, agent: &AgentId) {
    state.inner.removals.take_back(agent);
}
