//! Offers: made, declined, rescinded; suppressed and revived roles.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{AgentId, FrameworkId, OfferId, Role, Timestamp};
use wire::v1::framework_info::capability::Type as Capability;

use super::effect::{Effect, OfferOut, SchedulerEvent};
use super::event::Offer;
use super::state::State;
use super::subscription;
use super::tally::Count;
use super::timers::Timer;
use crate::allocator::Grant;
use crate::allocator::filters::Filter;

/// Mesos: filters last 5 s unless said otherwise, and at most 365 days.
const DEFAULT_REFUSAL: Duration = Duration::from_secs(5);
const LONGEST_REFUSAL: Duration = Duration::from_secs(365 * 24 * 3600);

/// Most offers in one OFFERS event, so that a large cluster doesn't make a message of many megabytes.
const MOST_AT_ONCE: usize = 1000;

/// Runs a round of the allocator and sends what it gives.
pub(super) fn round(state: &mut State, now: Timestamp, out: &mut Vec<Effect>) {
    let mut allocator = std::mem::take(&mut state.inner.allocator);
    let mut random = state.random.clone();
    let grants = allocator.round(now, &mut random, |agent| state.free_of(agent));
    state.random = random;
    state.inner.allocator = allocator;
    let mut by_framework: BTreeMap<FrameworkId, Vec<OfferOut>> = BTreeMap::new();
    for grant in grants {
        if let Some(offer) = offer(state, now, grant) {
            by_framework.entry(offer.offer.framework.clone()).or_default().push(offer);
        }
    }
    for agent in std::mem::take(&mut state.inner.touched) {
        let free = state.free_of(&agent);
        state.inner.allocator.agent_keeps(&agent, free.as_ref().map(|free| &free.resources));
    }
    state.tally.bump(Count::AllocationRuns);
    for (framework, mut offers) in by_framework {
        let sent = u64::try_from(offers.len()).unwrap_or(u64::MAX);
        state.tally.framework(&framework, |tally| tally.offers_sent += sent);
        let Some(stream) = state.frameworks.get(&framework).and_then(|row| row.stream) else { continue };
        while !offers.is_empty() {
            let rest = offers.split_off(offers.len().min(MOST_AT_ONCE));
            out.push(Effect::ToFramework { stream, event: SchedulerEvent::Offers(offers) });
            offers = rest;
        }
    }
}

fn offer(state: &mut State, now: Timestamp, grant: Grant) -> Option<OfferOut> {
    let agent = state.agents.get(&grant.agent)?.facts.clone();
    let framework = state.frameworks.get(&grant.framework)?;
    let multi_role = framework.has(Capability::MultiRole);
    let refinement = framework.has(Capability::ReservationRefinement);
    let Grant { agent: of, framework, role, resources } = grant;
    let offer = Offer { id: state.next_offer_id(), framework, agent: of, role, resources };
    if let Some(timeout) = state.settings.offer_timeout {
        state.inner.timers.set(now + timeout, Timer::OfferExpires(offer.id.clone()));
    }
    state.add_offer(offer.clone());
    // Command tasks have no executors to show.
    Some(OfferOut { offer, agent, executors: Vec::new(), multi_role, refinement })
}

/// DECLINE: whole offers; unknown ones and those of others are ignored.
pub(super) fn decline(
    state: &mut State,
    now: Timestamp,
    framework: &FrameworkId,
    offers: &[OfferId],
    refuse_seconds: Option<f64>,
) {
    for id in offers {
        if let Some(offer) = take(state, framework, id) {
            state.tally.framework(framework, |tally| tally.offers_declined += 1);
            refuse(state, now, offer, refuse_seconds);
        }
    }
}

/// Takes out an offer of this framework.
pub(super) fn take(state: &mut State, framework: &FrameworkId, id: &OfferId) -> Option<Offer> {
    let own = state.offers.get(id).is_some_and(|offer| offer.framework == *framework);
    if own { state.drop_offer(id) } else { None }
}

/// Remembers that these resources, already taken back, aren't wanted for a while.
pub(super) fn refuse(state: &mut State, now: Timestamp, offer: Offer, refuse_seconds: Option<f64>) {
    let Some(length) = refusal(refuse_seconds) else { return };
    // Mesos: a filter outlives the next batch.
    let until = now + length.max(state.settings.allocation_interval);
    let Offer { framework, role, agent, resources: refused, .. } = offer;
    if !refused.is_empty() {
        state.inner.allocator.refuse(Filter { framework, role, agent, refused, until });
    }
}

/// How long a refusal lasts; none for no filter.
fn refusal(seconds: Option<f64>) -> Option<Duration> {
    match seconds {
        None => Some(DEFAULT_REFUSAL),
        Some(0.0) => None,
        Some(seconds) if seconds > 0.0 => {
            Some(Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST_REFUSAL).min(LONGEST_REFUSAL))
        }
        // Mesos: negative or not a number becomes the default.
        Some(_) => Some(DEFAULT_REFUSAL),
    }
}

/// REVIVE: filters of these roles (all when none is named) are forgotten and offers made again. Mesos: a call that
/// names a role that isn't the framework's own does nothing.
pub(super) fn revive(state: &mut State, framework: &FrameworkId, names: &[String]) {
    let Some(roles) = named_roles(state, framework, names) else { return };
    if let Some(row) = state.frameworks.get_mut(framework) {
        row.suppressed.retain(|role| !roles.contains(role));
    }
    for role in &roles {
        state.inner.allocator.role_opens(framework, role);
    }
}

/// SUPPRESS: no offers for these roles (all when none is named) until they are revived.
pub(super) fn suppress(state: &mut State, framework: &FrameworkId, names: &[String]) {
    let Some(roles) = named_roles(state, framework, names) else { return };
    for role in &roles {
        state.inner.allocator.role_closes(framework, role);
    }
    if let Some(row) = state.frameworks.get_mut(framework) {
        row.suppressed.extend(roles);
        row.suppressed.sort();
        row.suppressed.dedup();
    }
}

fn named_roles(state: &State, framework: &FrameworkId, names: &[String]) -> Option<Vec<Role>> {
    if names.is_empty() {
        return Some(state.frameworks.get(framework)?.roles.clone());
    }
    names.iter().map(|name| state.role_of(framework, name)).collect()
}

/// A framework is subscribed: offers are made to it, but for the roles it suppresses.
pub(super) fn open(state: &mut State, id: &FrameworkId) {
    let Some(row) = state.frameworks.get(id) else { return };
    let open = row.roles.iter().filter(|role| !row.suppressed.contains(role));
    if state.inner.allocator.framework_opens(id, subscription::wants(row), open) {
        state.inner.touched.extend(state.agents.keys().cloned());
    }
}

/// A framework is away: no offers. Mesos: its filters are forgotten.
pub(super) fn close(state: &mut State, id: &FrameworkId) {
    state.inner.allocator.framework_closes(id);
    state.inner.allocator.forget_filters(id);
}

/// Takes back all offers of a framework without telling it.
pub(super) fn drop_of_framework(state: &mut State, id: &FrameworkId) {
    for offer in state.inner.offers_of_framework.get(id).cloned().unwrap_or_default() {
        state.drop_offer(&offer);
    }
}

/// Takes back all offers of an agent.
pub(super) fn rescind_of_agent(state: &mut State, agent: &AgentId, out: &mut Vec<Effect>) {
    let offers: Vec<OfferId> =
        state.agents.get(agent).into_iter().flat_map(|row| row.offers.keys()).cloned().collect();
    for offer in offers {
        rescind(state, &offer, out);
    }
}

/// Takes back an offer and tells its framework.
pub(super) fn rescind(state: &mut State, id: &OfferId, out: &mut Vec<Effect>) {
    let Some(offer) = state.drop_offer(id) else { return };
    state.tally.framework(&offer.framework, |tally| tally.offers_rescinded += 1);
    if let Some(stream) = state.frameworks.get(&offer.framework).and_then(|row| row.stream) {
        out.push(Effect::ToFramework { stream, event: SchedulerEvent::Rescind(offer.id) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_refusals_last() {
        let seconds = |given| refusal(given).map(|length| length.as_secs_f64());
        assert_eq!(seconds(None), Some(5.0));
        assert_eq!(seconds(Some(0.0)), None);
        assert_eq!(seconds(Some(-0.0)), None);
        assert_eq!(seconds(Some(-1.0)), Some(5.0));
        assert_eq!(seconds(Some(f64::NAN)), Some(5.0));
        assert_eq!(seconds(Some(f64::NEG_INFINITY)), Some(5.0));
        assert_eq!(seconds(Some(60.5)), Some(60.5));
        for long in [1e9, 1e300, f64::INFINITY] {
            assert_eq!(seconds(Some(long)), Some(365.0 * 86400.0));
        }
    }
}
