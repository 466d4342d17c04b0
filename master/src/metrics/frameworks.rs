//! The metrics of each framework: `master/frameworks/<name>/<id>/…`. The name is URL-encoded, as in Mesos.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use model::{FrameworkId, TaskState};
use serving::metrics::{Kind, Snapshot};
use wire::v1::offer::operation;
use wire::v1::scheduler::{call, event};

use crate::logic::{Framework, FrameworkTally};
use crate::view::View;

const CALLS: [call::Type; 17] = [
    call::Type::Subscribe,
    call::Type::Teardown,
    call::Type::Accept,
    call::Type::Decline,
    call::Type::AcceptInverseOffers,
    call::Type::DeclineInverseOffers,
    call::Type::Revive,
    call::Type::Kill,
    call::Type::Shutdown,
    call::Type::Acknowledge,
    call::Type::AcknowledgeOperationStatus,
    call::Type::Reconcile,
    call::Type::ReconcileOperations,
    call::Type::Message,
    call::Type::Request,
    call::Type::Suppress,
    call::Type::UpdateFramework,
];

const EVENTS: [event::Type; 11] = [
    event::Type::Subscribed,
    event::Type::Offers,
    event::Type::InverseOffers,
    event::Type::Rescind,
    event::Type::RescindInverseOffer,
    event::Type::Update,
    event::Type::UpdateOperationStatus,
    event::Type::Message,
    event::Type::Failure,
    event::Type::Error,
    event::Type::Heartbeat,
];

const OPERATIONS: [operation::Type; 10] = [
    operation::Type::Launch,
    operation::Type::LaunchGroup,
    operation::Type::Reserve,
    operation::Type::Unreserve,
    operation::Type::Create,
    operation::Type::Destroy,
    operation::Type::GrowVolume,
    operation::Type::ShrinkVolume,
    operation::Type::CreateDisk,
    operation::Type::DestroyDisk,
];

const ACTIVE: [TaskState; 6] = [
    TaskState::Staging,
    TaskState::Starting,
    TaskState::Running,
    TaskState::Killing,
    TaskState::Unreachable,
    TaskState::Unknown,
];

/// Adds those of all frameworks in the table.
pub fn add(snapshot: &mut Snapshot, view: &View) {
    let mut live: BTreeMap<&FrameworkId, BTreeMap<TaskState, u64>> = BTreeMap::new();
    for task in view.tasks.values().chain(view.unreachable_tasks.values()) {
        *live.entry(&task.framework).or_default().entry(task.latest).or_default() += 1;
    }
    let none = FrameworkTally::default();
    for framework in view.frameworks.values() {
        let tally = view.tally.frameworks.get(&framework.id).map_or(&none, |tally| &**tally);
        let tasks = live.remove(&framework.id).unwrap_or_default();
        One::of(snapshot, framework).write(tally, &tasks, framework);
    }
}

/// Where the metrics of one framework go.
struct One<'a> {
    snapshot: &'a mut Snapshot,
    prefix: String,
    name: &'a str,
    id: &'a str,
}

impl<'a> One<'a> {
    fn of(snapshot: &'a mut Snapshot, framework: &'a Framework) -> One<'a> {
        let (name, id) = (framework.info.name.as_str(), framework.id.as_str());
        One { snapshot, prefix: format!("master/frameworks/{}/{id}/", encoded(name)), name, id }
    }

    /// `kind` is the label that tells the members of a family apart, if it has several.
    #[allow(clippy::cast_precision_loss)]
    fn put(&mut self, key: &str, what: (Kind, u64), family: &str, member: Option<(&str, &str)>) {
        let mut labels = vec![("framework_name", self.name), ("framework_id", self.id)];
        labels.extend(member);
        let key = format!("{}{key}", self.prefix);
        self.snapshot.labelled(key, (what.0, what.1 as f64), &format!("master/framework/{family}"), &labels);
    }

    fn counter(&mut self, key: &str, count: u64) {
        self.put(key, (Kind::Counter, count), &key.replace('/', "_"), None);
    }

    fn members<K: Ord>(
        &mut self,
        folder: &str,
        family: &str,
        members: impl Iterator<Item = (K, &'static str)>,
        counts: &BTreeMap<K, u64>,
        kind: Kind,
    ) {
        for (member, name) in members {
            let name = name.to_ascii_lowercase();
            let count = counts.get(&member).copied().unwrap_or(0);
            self.put(&format!("{folder}/{name}"), (kind, count), family, Some(("type", &name)));
        }
    }

    fn write(mut self, tally: &FrameworkTally, tasks: &BTreeMap<TaskState, u64>, framework: &Framework) {
        let subscribed = u64::from(framework.stream.is_some());
        self.put("subscribed", (Kind::Gauge, subscribed), "subscribed", None);
        self.counter("calls", tally.calls.values().sum());
        self.counter("events", tally.events.values().sum());
        self.counter("operations", tally.operations.values().sum());
        self.counter("offers/sent", tally.offers_sent);
        self.counter("offers/accepted", tally.offers_accepted);
        self.counter("offers/declined", tally.offers_declined);
        self.counter("offers/rescinded", tally.offers_rescinded);
        let calls = CALLS.into_iter().map(|kind| (kind, kind.as_str_name()));
        self.members("calls", "calls_by_type", calls, &tally.calls, Kind::Counter);
        let events = EVENTS.into_iter().map(|kind| (kind, kind.as_str_name()));
        self.members("events", "events_by_type", events, &tally.events, Kind::Counter);
        let operations = OPERATIONS.into_iter().map(|kind| (kind, kind.as_str_name()));
        self.members("operations", "operations_by_type", operations, &tally.operations, Kind::Counter);
        let ended = TaskState::ALL.into_iter().filter(|state| state.is_terminal());
        let ended = ended.map(|state| (state, state.name()));
        self.members("tasks/terminal", "tasks_terminal", ended, &tally.ended, Kind::Counter);
        let active = ACTIVE.into_iter().map(|state| (state, state.name()));
        self.members("tasks/active", "tasks_active", active, tasks, Kind::Gauge);
        for role in &framework.roles {
            let suppressed = u64::from(framework.suppressed.contains(role));
            let key = format!("roles/{role}/suppressed");
            self.put(&key, (Kind::Gauge, suppressed), "role_suppressed", Some(("role", role.as_str())));
        }
    }
}

/// Percent-encoding of all but letters, digits and `-_.~`.
fn encoded(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte.into()),
            // Writing to a string doesn't fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::encoded;

    #[test]
    fn names_are_encoded() {
        assert_eq!(encoded("my/främe work"), "my%2Ffr%C3%A4me%20work");
    }
}
