//! The registry: what a new leader finds in it, answers to its writes, and entries that have grown old.

use std::time::Duration;

use model::{AgentId, Timestamp};

use super::effect::Effect;
use super::event::Ticket;
use super::registry::{Change, Contents};
use super::state::State;
use super::timers::Timer;
use super::waits::After;
use super::{agents, departures, readmission};

/// Mesos: every 15 minutes, entries beyond two weeks or 102,400 go, the oldest first.
const PRUNE_INTERVAL: Duration = Duration::from_secs(15 * 60);
const MAX_AGE: Duration = Duration::from_secs(14 * 24 * 3600);
const MAX_ENTRIES: usize = 102_400;

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
    state.recovered = contents.admitted;
    state.unreachable = contents.unreachable;
    state.gone = contents.gone;
    let timers = &mut state.inner.timers;
    timers.set(now + PRUNE_INTERVAL, Timer::Prune);
    if !state.recovered.is_empty() {
        timers.set(now + state.settings.agent_reregister_timeout, Timer::RecoveryOver);
    }
}

/// Agents of the registry that didn't come back are unreachable.
pub(super) fn recovery_over(state: &mut State, now: Timestamp, out: &mut Vec<Effect>) {
    let missing: Vec<AgentId> = state.recovered.keys().cloned().collect();
    for agent in missing {
        departures::mark_unreachable(state, now, &agent, out);
    }
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
    match after {
        After::Register { agent, link, hello } => agents::registered(state, now, agent, link, *hello, out),
        After::Reregister { agent, link, report } => {
            readmission::readmit(state, now, &agent, link, *report, out);
        }
        After::Remove { agent, cause, then } => {
            departures::removed(state, now, &agent, cause, then.map(|then| *then), out);
        }
        After::Unreachable { agent, since } => departures::unreachable(state, now, &agent, since, out),
        After::Gone { agent, at, call } => departures::gone(state, now, &agent, (at, call), out),
        After::Prune { unreachable, gone } => {
            state.unreachable.retain(|agent, _| !unreachable.contains(agent));
            state.gone.retain(|agent, _| !gone.contains(agent));
        }
    }
}

/// Has the registry drop old entries.
pub(super) fn prune(state: &mut State, now: Timestamp, out: &mut Vec<Effect>) {
    state.inner.timers.set(now + PRUNE_INTERVAL, Timer::Prune);
    let in_transition = |agent: &AgentId| state.inner.transitions.contains_key(agent);
    let unreachable: Vec<AgentId> =
        old(&state.unreachable, now).into_iter().filter(|agent| !in_transition(agent)).collect();
    let gone = old(&state.gone, now);
    if unreachable.is_empty() && gone.is_empty() {
        return;
    }
    let ticket = state.next_ticket();
    let change = Change::Prune { unreachable: unreachable.clone(), gone: gone.clone() };
    state.inner.waiting.insert(ticket, After::Prune { unreachable, gone });
    out.push(Effect::Persist { ticket, change });
}

fn old(entries: &std::collections::BTreeMap<AgentId, Timestamp>, now: Timestamp) -> Vec<AgentId> {
    let mut by_age: Vec<(Timestamp, &AgentId)> =
        entries.iter().map(|(agent, since)| (*since, agent)).collect();
    by_age.sort_unstable();
    let beyond = by_age.len().saturating_sub(MAX_ENTRIES);
    let too_old = by_age.partition_point(|(since, _)| now.since(*since) > MAX_AGE);
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
        let now = Timestamp::from_micros(30 * 24 * 3_600_000_000);
        let entry = |n: usize, days: u64| {
            (AgentId::new(format!("a{n:06}")), now - Duration::from_secs(days * 24 * 3600))
        };
        let few = [entry(1, 15), entry(2, 14), entry(3, 1)].into_iter().collect();
        assert_eq!(old(&few, now), [AgentId::from("a000001")]);
        let many = (0..MAX_ENTRIES + 2).map(|n| entry(n, u64::from(n != 7) + 1)).collect();
        assert_eq!(old(&many, now), [AgentId::from("a000000"), AgentId::from("a000001")]);
    }
}
