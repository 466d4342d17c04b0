//! The registry: what a new leader finds in it, answers to its writes, and entries that have grown old.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{AgentId, Timestamp};

use super::effect::Effect;
use super::event::Ticket;
use super::registry::{Change, Contents};
use super::state::State;
use super::timers::Timer;
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
    let missing: Vec<AgentId> = state.recovered.keys().cloned().collect();
    let (lost, all) = (missing.len(), state.inner.recovered_at_first);
    let limit = state.settings.recovery_agent_removal_limit;
    if share(lost, all) > limit {
        let percent = limit * 100.0;
        let why = format!(
            "{lost} of {all} agents did not come back, more than the {percent}% of --recovery_agent_removal_limit"
        );
        state.inner.stepped_down = true;
        return out.push(Effect::StepDown { why });
    }
    for agent in missing {
        removals::schedule(state, now, &agent, out);
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
    state.inner.joining.retain(|_, waits| *waits != ticket);
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
