//! Frameworks: subscription, loss of their stream, failover, and removal.

use std::sync::Arc;
use std::time::Duration;

use model::{AgentId, FrameworkId, Role, TaskState, Timestamp};
use wire::link;
use wire::link::from_master::Body;
use wire::v1;
use wire::v1::framework_info::capability::Type as Capability;
use wire::v1::scheduler::call;
use wire::v1::task_status::Reason;

use super::effect::{Effect, SchedulerEvent};
use super::event::StreamId;
use super::state::{Framework, State};
use super::subscription::{self, Wanted};
use super::tally::Count;
use super::timers::Timer;
use super::{history, offers};

impl Framework {
    /// Whether it has a capability.
    pub fn has(&self, capability: Capability) -> bool {
        self.info.capabilities.iter().any(|c| c.r#type() == capability)
    }

    /// Whether it is told the newer task states.
    pub fn partition_aware(&self) -> bool {
        self.has(Capability::PartitionAware)
    }
}

/// A SUBSCRIBE: its stream, the token later calls must name, and what the scheduler says of itself.
pub(super) struct Subscriber {
    pub(super) stream: StreamId,
    pub(super) token: Arc<str>,
    pub(super) info: v1::FrameworkInfo,
    pub(super) suppressed: Vec<String>,
}

/// A scheduler subscribes.
pub(super) fn subscribe(state: &mut State, now: Timestamp, who: Subscriber, out: &mut Vec<Effect>) {
    let Subscriber { stream, token, info, suppressed } = who;
    let wanted = match subscription::check(state, info, &suppressed) {
        Ok(wanted) => wanted,
        Err(why) => return end_stream(stream, why, out),
    };
    let id = match &wanted.info.id {
        Some(id) => FrameworkId::from(id),
        None => state.next_framework_id(),
    };
    let known = state.frameworks.contains(&id);
    state.tally.bump(if wanted.info.id.is_some() {
        Count::ReregisterFramework
    } else {
        Count::RegisterFramework
    });
    if known {
        replace(state, now, &id, wanted, out);
    } else {
        add(state, now, &id, wanted);
    }
    attach(state, now, &id, stream, token, out);
    state.tally.framework(&id, |tally| *tally.calls.entry(call::Type::Subscribe).or_default() += 1);
    if known {
        state.publish_framework(&id, out);
    } else {
        state.publish_added_framework(&id, out);
    }
}

/// A framework that this master didn't know. Mesos: one with an id is accepted under it.
fn add(state: &mut State, now: Timestamp, id: &FrameworkId, wanted: Wanted) {
    tracing::info!(framework_id = %id, name = %wanted.info.name, "framework subscribed");
    let info = v1::FrameworkInfo { id: Some(id.into()), ..wanted.info };
    state.frameworks.insert(id.clone(), unattached(now, id, info, wanted.roles, wanted.suppressed));
    state.tally.frameworks.insert(id.clone(), Default::default());
    history::claim(state, id);
}

fn unattached(
    now: Timestamp,
    id: &FrameworkId,
    info: v1::FrameworkInfo,
    roles: Vec<Role>,
    suppressed: Vec<Role>,
) -> Framework {
    Framework {
        id: id.clone(),
        info: Arc::new(info),
        roles,
        suppressed,
        stream: None,
        stream_token: None,
        active: false,
        recovered: false,
        registered: now,
        reregistered: None,
        unregistered: None,
        generation: 0,
        completed: Default::default(),
    }
}

/// A framework subscribes again, perhaps while its older stream still stands.
fn replace(state: &mut State, now: Timestamp, id: &FrameworkId, wanted: Wanted, out: &mut Vec<Effect>) {
    tracing::info!(framework_id = %id, name = %wanted.info.name, "framework subscribed again");
    // Mesos: outstanding offers are dropped without RESCIND.
    offers::drop_of_framework(state, id);
    state.inner.allocator.forget_filters(id);
    let Some(row) = state.frameworks.get_mut(id) else { return };
    if let Some(before) = row.stream.take() {
        state.inner.streams.remove(&before);
        end_stream(before, "Framework failed over".to_owned(), out);
    }
    // Mesos: user and checkpoint keep their old values silently.
    let info = v1::FrameworkInfo {
        id: Some(id.into()),
        user: row.info.user.clone(),
        checkpoint: row.info.checkpoint,
        ..wanted.info
    };
    let changed = *row.info != info;
    row.info = Arc::new(info);
    row.roles = wanted.roles;
    row.suppressed = wanted.suppressed;
    if !row.recovered {
        row.reregistered = Some(now);
    }
    row.recovered = false;
    if changed {
        let info = row.info.clone();
        for agent in state.agents_of(id) {
            state.update_framework_on(&agent, &info, out);
        }
    }
}

/// Gives a framework its stream: SUBSCRIBED, the first heartbeat, and offers.
fn attach(
    state: &mut State,
    now: Timestamp,
    id: &FrameworkId,
    stream: StreamId,
    token: Arc<str>,
    out: &mut Vec<Effect>,
) {
    stop_waiting(state, id);
    let Some(row) = state.frameworks.get_mut(id) else { return };
    row.stream = Some(stream);
    row.stream_token = Some(token);
    row.active = true;
    row.generation += 1;
    state.inner.streams.insert(stream, id.clone());
    let subscribed = SchedulerEvent::Subscribed { framework: id.clone() };
    out.push(Effect::ToFramework { stream, event: subscribed });
    heartbeat(state, now, stream, out);
    offers::open(state, id);
}

/// A heartbeat is due, unless the stream ended since.
pub(super) fn heartbeat(state: &mut State, now: Timestamp, stream: StreamId, out: &mut Vec<Effect>) {
    if state.inner.streams.contains_key(&stream) {
        out.push(Effect::ToFramework { stream, event: SchedulerEvent::Heartbeat });
        state.inner.timers.set(now + state.settings.heartbeat_interval, Timer::Heartbeat(stream));
    }
}

/// A stream ended. The framework has its failover timeout to come back.
pub(super) fn stream_lost(state: &mut State, now: Timestamp, stream: StreamId) {
    let Some(id) = state.inner.streams.remove(&stream) else { return };
    offers::close(state, &id);
    offers::drop_of_framework(state, &id);
    let Some(row) = state.frameworks.get_mut(&id) else { return };
    row.stream = None;
    row.stream_token = None;
    row.active = false;
    let patience = subscription::failover_timeout(&row.info).unwrap_or(Duration::ZERO);
    tracing::warn!(framework_id = %id, failover_timeout = ?patience, "framework disconnected");
    let key = state.inner.timers.set(now + patience, Timer::Failover(id.clone()));
    state.inner.failovers.insert(id, key);
}

/// The failover timeout of a framework is over.
pub(super) fn failover_over(state: &mut State, now: Timestamp, id: &FrameworkId, out: &mut Vec<Effect>) {
    if state.frameworks.get(id).is_some_and(|row| row.stream.is_none()) {
        remove(state, now, id, out);
    }
}

/// A framework is back, or over: its failover timer means nothing any more.
fn stop_waiting(state: &mut State, id: &FrameworkId) {
    if let Some(key) = state.inner.failovers.remove(id) {
        state.inner.timers.cancel(key);
    }
}

/// Ends a framework: its tasks are KILLED as far as this master is concerned, and its agents told to shut it down.
pub(super) fn remove(state: &mut State, now: Timestamp, id: &FrameworkId, out: &mut Vec<Effect>) {
    tracing::info!(framework_id = %id, "framework removed");
    offers::drop_of_framework(state, id);
    for agent in state.agents_of(id) {
        let message = link::ShutdownFramework { framework_id: id.to_string() };
        state.to_agent(&agent, Body::ShutdownFramework(message), out);
    }
    let stream = state.frameworks.get_mut(id).and_then(|row| row.stream.take());
    end_tasks(state, now, id, out);
    state.drop_ghosts_of(id);
    state.inner.allocator.framework_leaves(id);
    stop_waiting(state, id);
    if let Some(stream) = stream {
        state.inner.streams.remove(&stream);
        out.push(Effect::CloseStream { stream });
    }
    let Some(row) = state.frameworks.remove(id) else { return };
    let mut row = Arc::unwrap_or_clone(row);
    row.stream_token = None;
    row.active = false;
    row.unregistered = Some(now);
    let row = Arc::new(row);
    state.tally.frameworks.remove(id);
    state.publish_removed_framework(&row, out);
    state.completed_frameworks.push_back(row);
    while state.completed_frameworks.len() > state.settings.max_completed_frameworks {
        state.completed_frameworks.pop_front();
    }
}

/// Mesos: the framework isn't told, its stream is closed (it has none any more in its row).
fn end_tasks(state: &mut State, now: Timestamp, id: &FrameworkId, out: &mut Vec<Effect>) {
    let live: Vec<_> = state.tasks_of(id).map(|task| (id.clone(), task.id.clone())).collect();
    let lost: Vec<_> = state.unreachable_tasks_of(id).map(|task| (id.clone(), task.id.clone())).collect();
    let mut ended: Vec<_> = live.iter().filter_map(|key| state.drop_task(key)).collect();
    ended.extend(lost.iter().filter_map(|key| state.drop_unreachable_task(key)));
    for mut task in ended {
        if task.latest.is_terminal() {
            // Its end stays what it is.
            state.complete(task);
            continue;
        }
        let message = format!("Framework {id} removed");
        state.declare(now, &mut task, (TaskState::Killed, Reason::FrameworkRemoved, message), out);
        state.complete(task);
    }
}

/// An agent names a framework whose tasks it runs: known, completed, or new as recovered.
pub(super) fn named_by_agent(
    state: &mut State,
    now: Timestamp,
    agent: &AgentId,
    info: &v1::FrameworkInfo,
    out: &mut Vec<Effect>,
) {
    let Some(id) = info.id.as_ref().map(FrameworkId::from).filter(|id| id.check().is_ok()) else { return };
    if let Some(row) = state.frameworks.get(&id) {
        if *row.info != *info && !row.recovered {
            state.update_framework_on(agent, &row.info, out);
        }
    } else if state.is_completed(&id) {
        let message = link::ShutdownFramework { framework_id: id.to_string() };
        state.to_agent(agent, Body::ShutdownFramework(message), out);
    } else {
        tracing::info!(framework_id = %id, agent_id = %agent, "framework recovered from an agent");
        let roles = subscription::roles_said(info);
        let row = Framework { recovered: true, ..unattached(now, &id, info.clone(), roles, Vec::new()) };
        state.frameworks.insert(id.clone(), row);
        state.tally.frameworks.insert(id.clone(), Default::default());
        history::claim(state, &id);
        state.publish_added_framework(&id, out);
    }
}

/// An ERROR event, after which the stream ends.
fn end_stream(stream: StreamId, message: String, out: &mut Vec<Effect>) {
    out.push(Effect::ToFramework { stream, event: SchedulerEvent::Error(message) });
    out.push(Effect::CloseStream { stream });
}

impl State {
    fn next_framework_id(&mut self) -> FrameworkId {
        loop {
            let id =
                FrameworkId::new(format!("{}-{:04}", self.settings.master, self.inner.counters.framework));
            self.inner.counters.framework += 1;
            // A scheduler may have named any id for itself.
            if !self.frameworks.contains(&id) && !self.is_completed(&id) {
                return id;
            }
        }
    }

    /// Agents that run something of a framework.
    pub(super) fn agents_of(&self, id: &FrameworkId) -> Vec<AgentId> {
        let mut agents: Vec<AgentId> = self.tasks_of(id).map(|task| task.agent.clone()).collect();
        let haunted = self.inner.ghosts.iter().filter(|(_, ghosts)| ghosts.keys().any(|key| key.0 == *id));
        agents.extend(haunted.map(|(agent, _)| agent.clone()));
        agents.sort();
        agents.dedup();
        agents
    }
}
