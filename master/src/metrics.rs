//! The master's metrics by Mesos' keys, read from a view and from what the service measures.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use model::{Milli, Resources, Role, TaskState, Timestamp};
use serving::metrics::{Kind, Snapshot};
use serving::system::System;
use wire::v1::task_status::{Reason, Source};

mod frameworks;

use crate::about::About;
use crate::logic::{Agent, Count};
use crate::service::Vitals;
use crate::view::View;

/// What the service knows beside the tables.
#[derive(Clone, Debug)]
pub struct Now {
    /// The time.
    pub at: Timestamp,
    /// Whether this master leads.
    pub leading: bool,
    /// Inputs that wait for the loop.
    pub queued: usize,
    /// What it measured.
    pub vitals: Arc<Vitals>,
    /// Metrics of each framework are told.
    pub per_framework: bool,
}

/// Kinds of operations that Mesos counts. None is carried out here yet, so that all of these are zero.
const OPERATIONS: [&str; 9] = [
    "",
    "reserve/",
    "unreserve/",
    "create/",
    "destroy/",
    "grow_volume/",
    "shrink_volume/",
    "create_disk/",
    "destroy_disk/",
];

/// And their states.
const OPERATION_STATES: [&str; 9] = [
    "total",
    "pending",
    "recovering",
    "unreachable",
    "finished",
    "failed",
    "error",
    "dropped",
    "gone_by_operator",
];

/// What a master tells that doesn't lead.
pub fn standby(about: &About, now: &Now) -> Snapshot {
    let mut snapshot = Snapshot::default();
    process(&mut snapshot, about, now);
    snapshot
}

/// All that a leading master tells.
pub fn leading(about: &About, now: &Now, view: &View) -> Snapshot {
    let mut snapshot = Snapshot::default();
    process(&mut snapshot, about, now);
    for (count, key) in Count::ALL {
        snapshot.counter(*key, view.tally.get(*count));
    }
    agents(&mut snapshot, view);
    tasks(&mut snapshot, view);
    resources(&mut snapshot, view);
    allocator(&mut snapshot, now, view);
    registrar(&mut snapshot, now, view);
    for operation in OPERATIONS {
        OPERATION_STATES
            .iter()
            .for_each(|state| snapshot.count(format!("master/operations/{operation}{state}"), 0));
    }
    if now.per_framework {
        frameworks::add(&mut snapshot, view);
    }
    snapshot
}

fn process(snapshot: &mut Snapshot, about: &About, now: &Now) {
    snapshot.gauge("master/uptime_secs", now.at.since(about.started).as_secs_f64());
    snapshot.count("master/elected", usize::from(now.leading));
    // Mesos counts what waits for the master by what it is; here one queue takes it all, after it was read.
    snapshot.count("master/event_queue_dispatches", now.queued);
    snapshot.count("master/event_queue_messages", 0);
    snapshot.count("master/event_queue_http_requests", 0);
    // There is no cache of answers: one view serves all who ask at once.
    snapshot.counter("master/http_cache_hits", 0);
    System::read().add_to(snapshot);
    let told = now.vitals.told();
    let longest = told.longest_lately();
    snapshot.gauge("tepui/loop/longest_ms", longest.took.as_secs_f64() * 1000.0);
    let ended = longest.ended.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    snapshot.gauge("tepui/loop/longest_at_secs", ended.as_secs_f64());
    snapshot.gauge("tepui/loop/longest_ran_ms", longest.ran.as_secs_f64() * 1000.0);
    snapshot.gauge("tepui/loop/longest_window_secs", told.longest_window().as_secs_f64());
    snapshot.counter("tepui/loop/turns", now.vitals.turns());
}

fn agents(snapshot: &mut Snapshot, view: &View) {
    let all = view.agents.len();
    let connected = view.agents.values().filter(|agent| agent.link.is_some()).count();
    let active = view.agents.values().filter(|agent| agent.active).count();
    snapshot.count("master/slaves_connected", connected);
    snapshot.count("master/slaves_disconnected", all - connected);
    snapshot.count("master/slaves_active", active);
    snapshot.count("master/slaves_inactive", all - active);
    snapshot.count("master/slaves_unreachable", view.unreachable);
    let all = view.frameworks.len();
    let connected = view.frameworks.values().filter(|framework| framework.stream.is_some()).count();
    let active = view.frameworks.values().filter(|framework| framework.active).count();
    snapshot.count("master/frameworks_connected", connected);
    snapshot.count("master/frameworks_disconnected", all - connected);
    snapshot.count("master/frameworks_active", active);
    snapshot.count("master/frameworks_inactive", all - active);
    snapshot.count("master/outstanding_offers", view.offers.len());
    snapshot.count("master/operator_event_stream_subscribers", view.watchers);
}

fn tasks(snapshot: &mut Snapshot, view: &View) {
    let mut counts = [0usize; 4];
    for task in view.tasks.values() {
        match task.latest {
            TaskState::Staging => counts[0] += 1,
            TaskState::Starting => counts[1] += 1,
            TaskState::Running => counts[2] += 1,
            TaskState::Killing => counts[3] += 1,
            _ => {}
        }
    }
    for (name, count) in ["staging", "starting", "running", "killing"].into_iter().zip(counts) {
        snapshot.count(format!("master/tasks_{name}"), count);
    }
    snapshot.count("master/tasks_unreachable", view.unreachable_tasks.len());
    for ((state, source, reason), count) in &view.tally.endings {
        let (state, source, reason) = (lower(state.name()), older(*source), older_reason(*reason));
        let labels = [("state", state.as_str()), ("source", source.as_str()), ("reason", reason.as_str())];
        #[allow(clippy::cast_precision_loss)]
        let value = *count as f64;
        let key = format!("master/{state}/{source}/{reason}");
        snapshot.labelled(key, (Kind::Counter, value), "master/task_transitions", &labels);
    }
}

fn lower(name: &str) -> String {
    name.to_ascii_lowercase()
}

/// Mesos: these keys have the older spelling, in which an agent is a slave.
fn older(source: Source) -> String {
    lower(source.as_str_name()).replace("agent", "slave")
}

fn older_reason(reason: Reason) -> String {
    lower(reason.as_str_name()).replace("agent", "slave")
}

fn sum<'a>(parts: impl Iterator<Item = &'a Resources>, name: &str, revocable: bool) -> Milli {
    let mut all = Milli::ZERO;
    for part in parts {
        all = all + part.filter(|resource| resource.kind.revocable == revocable).scalar(name);
    }
    all
}

fn resources(snapshot: &mut Snapshot, view: &View) {
    let agents = || view.agents.values();
    for name in ["cpus", "gpus", "mem", "disk"] {
        for (suffix, revocable) in [("", false), ("_revocable", true)] {
            let total = sum(agents().map(|agent| &agent.total), name, revocable).as_f64();
            let used = sum(agents().flat_map(|agent| agent.used.values()), name, revocable).as_f64();
            snapshot.gauge(format!("master/{name}{suffix}_total"), total);
            snapshot.gauge(format!("master/{name}{suffix}_used"), used);
            let percent = if total > 0.0 { used / total } else { 0.0 };
            snapshot.gauge(format!("master/{name}{suffix}_percent"), percent);
        }
    }
}

fn allocator(snapshot: &mut Snapshot, now: &Now, view: &View) {
    // It runs within the loop: nothing ever waits for it alone.
    snapshot.count("allocator/event_queue_dispatches", 0);
    snapshot.count("allocator/mesos/event_queue_dispatches", 0);
    let told = now.vitals.told();
    snapshot.timer("allocator/mesos/allocation_run_ms", &told.allocation);
    snapshot.timer("allocator/mesos/allocation_run_latency_ms", &told.latency);
    let taken = |agent: &Agent, name: &str| {
        let parts = agent.used.values().chain(agent.offers.values());
        parts.fold(Milli::ZERO, |sum, part| sum + part.scalar(name))
    };
    for name in ["cpus", "mem", "disk"] {
        let (mut total, mut held) = (Milli::ZERO, Milli::ZERO);
        for agent in view.agents.values() {
            total = total + agent.total.scalar(name);
            held = held + taken(agent, name);
        }
        snapshot.gauge(format!("allocator/mesos/resources/{name}/total"), total.as_f64());
        snapshot.gauge(format!("allocator/mesos/resources/{name}/offered_or_allocated"), held.as_f64());
    }
    let roles = view.frameworks.values().flat_map(|framework| &framework.roles);
    let roles: std::collections::BTreeSet<&Role> = roles.chain(view.refusals.keys()).collect();
    for role in roles {
        let active = view.refusals.get(role).copied().unwrap_or(0);
        let key = format!("allocator/mesos/offer_filters/roles/{role}/active");
        let value = u32::try_from(active).map_or(f64::INFINITY, f64::from);
        let family = "allocator/mesos/offer_filters_active";
        snapshot.labelled(key, (Kind::Gauge, value), family, &[("role", role.as_str())]);
    }
}

fn registrar(snapshot: &mut Snapshot, now: &Now, view: &View) {
    let told = now.vitals.told();
    snapshot.count("registrar/queued_operations", view.queued_writes);
    #[allow(clippy::cast_precision_loss)]
    if let Some(bytes) = now.vitals.registry_bytes() {
        snapshot.gauge("registrar/registry_size_bytes", bytes as f64);
    }
    snapshot.timer("registrar/state_fetch_ms", &told.fetch);
    snapshot.timer("registrar/state_store_ms", &told.store);
}
