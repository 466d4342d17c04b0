//! The registry: what a new leader finds in it, answers to its writes, and entries that have grown old.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use model::{AgentId, Timestamp};

use super::effect::Effect;
use super::event::{LinkId, Ticket};
use super::registry::{Change, Contents};
use super::state::State;
use super::timers::{DUE, Timer};
use super::waits::After;
use super::{agents, departures, readmission, removals};

/// This master leads now.
pub(super) fn elected(state: &mut State, now: Timestamp, contents: Contents) {
    tracing::info!(
        admitted = contents.admitted.len(),
        unreachable = contents.unreachable.len(),
        gone = contents.gone.len(),
        "elected"
    );
    state.inner.elected = true;
    state.elected = now;
    state.recovered = contents.admitted.into_iter().collect();
    state.unreachable = contents.unreachable;
    state.gone = contents.gone;
    state.inner.owners = contents.owners;
    state.inner.recovered_at_first = state.recovered.len();
    let timers = &mut state.inner.timers;
    timers.set(now + state.settings.registry_gc_interval, Timer::Prune);
    if !state.recovered.is_empty() {
        timers.set(now + state.settings.agent_reregister_timeout, Timer::RecoveryOver);
    }
}

/// Agents of the registry that didn't come back are unreachable. Mesos: when their share is above
/// `--recovery_agent_removal_limit`, something else than those agents is broken, and the master ends.
pub(super) fn recovery_over(state: &mut State, now: Timestamp, out: &mut Vec<Effect>) {
    let (lost, all) = (state.recovered.len(), state.inner.recovered_at_first);
    let limit = state.settings.recovery_agent_removal_limit;
    if share(lost, all) > limit {
        let percent = limit * 100.0;
        let why = format!(
            "{lost} of {all} agents did not come back, more than the {percent}% of --recovery_agent_removal_limit"
        );
        state.inner.stepped_down = true;
        return out.push(Effect::StepDown { why });
    }
    missing(state, now, None, out);
}

/// Some of the agents that didn't come back are unreachable, in the order of their ids; the others at the next moment.
pub(super) fn missing(state: &mut State, now: Timestamp, after: Option<AgentId>, out: &mut Vec<Effect>) {
    let beyond = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
    let some: Vec<AgentId> =
        state.recovered.range(beyond).take(DUE).map(|(agent, _)| agent.clone()).collect();
    for agent in &some {
        removals::schedule(state, now, agent, out);
    }
    if let Some(last) = some.last().filter(|_| some.len() == DUE) {
        let next = now + Duration::from_micros(1);
        state.inner.timers.set(next, Timer::Missing(last.clone()));
    }
}

#[allow(clippy::cast_precision_loss)]
fn share(part: usize, all: usize) -> f64 {
    if all == 0 { 0.0 } else { part as f64 / all as f64 }
}

/// The registry answered a write.
pub(super) fn persisted(
    state: &mut State,
    now: Timestamp,
    ticket: Ticket,
    done: bool,
    out: &mut Vec<Effect>,
) {
    let Some(after) = state.inner.waiting.remove(&ticket) else { return };
    if !done {
        // Mesos: a failed store ends the leading master.
        state.inner.stepped_down = true;
        let why = format!("the registry could not write {}", after.what());
        out.push(Effect::StepDown { why });
        return;
    }
    if let Some(agent) = after.agent() {
        state.inner.transitions.remove(agent);
        state.inner.touched.insert(agent.clone());
    }
    if let Some(link) = after.link() {
        state.inner.joining.remove(&link);
    }
    let changed = after.agent().cloned();
    match after {
        After::Register { agent, link, hello } => {
            agents::belongs(state, &agent, &hello.proof);
            agents::registered(state, now, agent, link, *hello, out);
        }
        After::Reregister { agent, link, report } => {
            agents::belongs(state, &agent, &report.hello.proof);
            readmission::readmit(state, now, &agent, link, *report, out);
        }
        After::Remove { agent, cause, then } => {
            departures::removed(state, now, &agent, cause, then.map(|then| *then), out);
        }
        After::Unreachable { agent, since } => departures::unreachable(state, now, &agent, since, out),
        After::Gone { agent, at, call } => departures::gone(state, now, &agent, (at, call), out),
        After::Prune { unreachable, gone } => {
            state.unreachable.retain(|agent, _| !unreachable.contains(agent));
            state.inner.owners.retain(|agent, _| !unreachable.contains(agent));
            state.gone.retain(|agent, _| !gone.contains(agent));
        }
    }
    if let Some(agent) = changed.filter(|agent| state.inner.leaving.remove(agent)) {
        departures::leaves_now(state, &agent, out);
    }
}

/// Has the registry drop old entries.
pub(super) fn prune(state: &mut State, now: Timestamp, out: &mut Vec<Effect>) {
    let settings = state.settings.clone();
    let limits = (settings.registry_max_agent_age, settings.registry_max_agent_count);
    state.inner.timers.set(now + settings.registry_gc_interval, Timer::Prune);
    let in_transition = |agent: &AgentId| state.inner.transitions.contains_key(agent);
    let unreachable: Vec<AgentId> =
        old(&state.unreachable, now, limits).into_iter().filter(|agent| !in_transition(agent)).collect();
    let gone = old(&state.gone, now, limits);
    if unreachable.is_empty() && gone.is_empty() {
        return;
    }
    let ticket = state.next_ticket();
    let change = Change::Prune { unreachable: unreachable.clone(), gone: gone.clone() };
    state.inner.waiting.insert(ticket, After::Prune { unreachable, gone });
    out.push(Effect::Persist { ticket, change });
}

/// Entries beyond the age or the number, the oldest first.
fn old(
    entries: &BTreeMap<AgentId, Timestamp>,
    now: Timestamp,
    (age, count): (Duration, usize),
) -> Vec<AgentId> {
    let mut by_age: Vec<(Timestamp, &AgentId)> =
        entries.iter().map(|(agent, since)| (*since, agent)).collect();
    by_age.sort_unstable();
    let beyond = by_age.len().saturating_sub(count);
    let too_old = by_age.partition_point(|(since, _)| now.since(*since) > age);
    by_age[..beyond.max(too_old)].iter().map(|(_, agent)| (*agent).clone()).collect()
}

impl After {
    /// The agent it changes.
    pub(super) fn agent(&self) -> Option<&AgentId> {
        match self {
            After::Register { agent, .. }
            | After::Reregister { agent, .. }
            | After::Remove { agent, .. }
            | After::Unreachable { agent, .. }
            | After::Gone { agent, .. } => Some(agent),
            After::Prune { .. } => None,
        }
    }

    /// The link of an agent that waits for it.
    fn link(&self) -> Option<LinkId> {
        match self {
            After::Register { link, .. } | After::Reregister { link, .. } => *link,
            After::Remove { then, .. } => then.as_ref().map(|then| then.0),
            After::Unreachable { .. } | After::Gone { .. } | After::Prune { .. } => None,
        }
    }

    fn what(&self) -> String {
        match self {
            After::Register { agent, .. } => format!("the new agent {agent}"),
            After::Reregister { agent, .. } => format!("the returning agent {agent}"),
            After::Remove { agent, .. } => format!("the removal of agent {agent}"),
            After::Unreachable { agent, .. } => format!("that agent {agent} is unreachable"),
            After::Gone { agent, .. } => format!("that agent {agent} is gone"),
            After::Prune { .. } => "the removal of old entries".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::{Event, StreamId, fixture};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn agents_that_dont_come_back_are_marked_a_few_at_a_time_each_once() {
        let mut state = State::new(fixture::settings(), 1, Timestamp::ZERO);
        let agents: Vec<AgentId> = (0..3 * DUE + 7).map(|n| AgentId::new(format!("a{n:03}"))).collect();
        let admitted = agents.iter().map(|agent| (agent.clone(), Default::default())).collect();
        let (mut out, mut marked) = (Vec::new(), Vec::new());
        let contents = Contents { admitted, ..Contents::default() };
        state.step(Timestamp::ZERO, Event::Elected(Box::new(contents)), &mut out);
        let mut now = Timestamp::ZERO;
        while let Some(due) = state.next_wakeup().filter(|due| *due <= Timestamp::ZERO + 2 * SECOND) {
            now = now.max(due);
            state.step(now, Event::Tick, &mut out);
            assert!(out.len() <= DUE, "{} in one step", out.len());
            for effect in out.drain(..) {
                match effect {
                    Effect::Persist { change: Change::MarkUnreachable(agent, _), ticket } => {
                        marked.push(agent);
                        // What is written goes out of the list while others still wait for their turn.
                        state.step(now, Event::Persisted { ticket, done: true }, &mut Vec::new());
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(marked, agents);
        assert!(state.recovered.is_empty() && state.unreachable.len() == agents.len());
    }

    #[test]
    fn what_is_due_at_once_fires_in_several_steps() {
        let mut state = State::new(fixture::settings(), 1, Timestamp::ZERO);
        let mut out = Vec::new();
        state.step(Timestamp::ZERO, Event::Elected(Box::default()), &mut out);
        let now = Timestamp::ZERO + SECOND;
        for n in 0..2 * DUE as u64 + 1 {
            state.inner.timers.set(now, Timer::Heartbeat(StreamId(n)));
        }
        let mut steps = 0;
        while state.next_wakeup().is_some_and(|due| due <= now) {
            state.step(now, Event::Tick, &mut out);
            steps += 1;
        }
        assert_eq!(steps, 3);
    }

    #[test]
    fn old_and_surplus_entries_go() {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        let now = Timestamp::from_micros(30 * 24 * 3_600_000_000);
        let entry = |n: usize, days: u32| (AgentId::new(format!("a{n:06}")), now - DAY * days);
        let few = [entry(1, 15), entry(2, 14), entry(3, 1)].into_iter().collect();
        assert_eq!(old(&few, now, (14 * DAY, 100)), [AgentId::from("a000001")]);
        let many = (0..102).map(|n| entry(n, u32::from(n != 7) + 1)).collect();
        assert_eq!(old(&many, now, (14 * DAY, 100)), [AgentId::from("a000000"), AgentId::from("a000001")]);
    }
}
