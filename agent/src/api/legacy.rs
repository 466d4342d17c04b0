//! The older pages: JSON of Mesos' own layout.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::StatusCode;
use model::resources::{Amount, Ranges};
use model::{Milli, Resource, Resources};
use serde_json::{Map, Value, json};
use wire::v1;
use wire::v1::framework_info::capability::Type as Capability;

use super::{About, Refusal, refuse};
use crate::VERSION;
use crate::logic::{Framework, Stage, Task, View};
use crate::service::Paths;
use wire::query::Query;

/// Mesos prints these even when there is nothing of them.
const ALWAYS: [&str; 4] = ["cpus", "gpus", "mem", "disk"];

/// `/version`. Mesos' page also names who built it, when and from what; this build does not record that.
pub(super) fn version() -> Value {
    json!({ "version": VERSION })
}

/// `/flags`
pub(super) fn flags(about: &About) -> Value {
    let flags: Map<String, Value> =
        about.flags.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
    json!({ "flags": flags })
}

/// `/state`
pub(super) fn state(about: &About, view: &View, paths: &Paths, master: Option<&str>) -> Value {
    let settings = &view.settings;
    let total = &settings.total;
    let used = used(view);
    let mut state = json!({
        "version": VERSION,
        "start_time": about.started,
        "id": view.agent.as_ref().map_or("", |id| id.as_str()),
        "pid": about.pid,
        "hostname": settings.info.hostname,
        "capabilities": settings.capabilities,
        "resources": summary(total),
        "reserved_resources": by_role(total, |r| summary(r)),
        "unreserved_resources": summary(&total.unreserved()),
        "reserved_resources_full": by_role(total, full),
        "unreserved_resources_full": full(&total.unreserved()),
        "reserved_resources_allocated": by_role(&used, |r| summary(r)),
        "unreserved_resources_allocated": summary(&used.unreserved()),
        "resource_providers": [],
        "attributes": attributes(&settings.info.attributes),
        "flags": flags(about)["flags"],
        "frameworks": view.frameworks.values().map(|f| framework(f, paths)).collect::<Vec<_>>(),
        "completed_frameworks": view.completed_frameworks.iter().map(|f| framework(f, paths)).collect::<Vec<_>>(),
    });
    if let (Some(master), Some(state)) = (master.filter(|_| view.registered), state.as_object_mut()) {
        state.insert("master_hostname".to_owned(), master.into());
    }
    state
}

/// What tasks that have not ended use.
fn used(view: &View) -> Resources {
    let mut used = Resources::none();
    let tasks = view.frameworks.values().flat_map(|f| f.tasks.values());
    tasks.filter(|t| t.stage != Stage::Ended).for_each(|t| used.add(&t.resources));
    used
}

fn framework(framework: &Framework, paths: &Paths) -> Value {
    let info = &framework.info;
    let executors =
        |tasks: Vec<&Arc<Task>>| tasks.into_iter().map(|task| executor(task, paths)).collect::<Vec<_>>();
    let mut value = json!({
        "id": framework.id.as_str(),
        "name": info.name,
        "user": info.user,
        "failover_timeout": info.failover_timeout(),
        "checkpoint": info.checkpoint(),
        "hostname": info.hostname(),
        "executors": executors(framework.tasks.values().collect()),
        "completed_executors": executors(framework.completed.iter().collect()),
    });
    let multi_role = info.capabilities.iter().any(|c| c.r#type() == Capability::MultiRole);
    if let Some(value) = value.as_object_mut() {
        if let Some(principal) = &info.principal {
            value.insert("principal".to_owned(), principal.as_str().into());
        }
        if multi_role {
            value.insert("roles".to_owned(), info.roles.clone().into());
        } else {
            value.insert("role".to_owned(), info.role().into());
        }
    }
    value
}

/// Mesos: a command task is in the care of an executor with the task's id.
fn executor(task: &Task, paths: &Paths) -> Value {
    let run = &task.run;
    let mut tasks: [Vec<Value>; 3] = Default::default();
    let (list, value) = match task.stage {
        Stage::Saving | Stage::Launching if task.statuses.is_empty() => (1, queued(task)),
        Stage::Ended => (2, task_value(task)),
        _ => (0, task_value(task)),
    };
    tasks[list].push(value);
    let [launched, queued, completed] = tasks;
    let mut value = json!({
        "id": run.executor.as_str(),
        "name": crate::executor_name(&task.info),
        "source": run.task.as_str(),
        "container": run.container.as_str(),
        "directory": paths.sandbox(run).to_string_lossy(),
        "resources": summary(&task.resources),
        "tasks": launched,
        "queued_tasks": queued,
        "completed_tasks": completed,
    });
    if let (Some(role), Some(value)) = (role(task), value.as_object_mut()) {
        value.insert("role".to_owned(), role.into());
    }
    insert_labels(&mut value, task.info.labels.as_ref());
    value
}

fn role(task: &Task) -> Option<String> {
    task.info.resources.iter().find_map(|r| r.allocation_info.as_ref()?.role.clone())
}

fn queued(task: &Task) -> Value {
    let info = &task.info;
    let mut value = json!({
        "id": task.run.task.as_str(),
        "name": info.name,
        "slave_id": task.run.agent.as_str(),
        "resources": summary(&task.resources),
        "role": role(task).unwrap_or_else(|| "*".to_owned()),
    });
    insert(&mut value, "command", info.command.as_ref());
    insert(&mut value, "discovery", info.discovery.as_ref());
    value
}

fn task_value(task: &Task) -> Value {
    let info = &task.info;
    let mut value = json!({
        "id": task.run.task.as_str(),
        "name": info.name,
        "framework_id": task.run.framework.as_str(),
        "executor_id": "",
        "slave_id": task.run.agent.as_str(),
        "state": task.state.name(),
        "resources": summary(&task.resources),
        "role": role(task).unwrap_or_else(|| "*".to_owned()),
        "statuses": task.statuses.iter().map(|status| status_value(status)).collect::<Vec<_>>(),
    });
    if let Some(value) = value.as_object_mut() {
        if let Some(user) = &task.user {
            value.insert("user".to_owned(), user.as_str().into());
        }
        if !info.limits.is_empty() {
            let limits: Map<String, Value> =
                info.limits.iter().map(|(name, limit)| (name.clone(), number(limit.value))).collect();
            value.insert("limits".to_owned(), limits.into());
        }
    }
    insert_labels(&mut value, info.labels.as_ref());
    insert(&mut value, "discovery", info.discovery.as_ref());
    insert(&mut value, "container", info.container.as_ref());
    insert(&mut value, "health_check", info.health_check.as_ref());
    value
}

fn status_value(status: &v1::TaskStatus) -> Value {
    let mut value = json!({
        "state": status.state().as_str_name(),
        "timestamp": status.timestamp(),
    });
    insert_labels(&mut value, status.labels.as_ref());
    insert(&mut value, "container_status", status.container_status.as_ref());
    if let (Some(healthy), Some(value)) = (status.healthy, value.as_object_mut()) {
        value.insert("healthy".to_owned(), healthy.into());
    }
    value
}

/// `/containers`: those that run; all of them, or those of a framework, an executor, or one.
pub(super) fn containers(view: &View, query: &Query) -> Result<Value, Refusal> {
    let asked = (query.get("container_id"), query.get("framework_id"), query.get("executor_id"));
    if matches!(asked, (Some(_), Some(_), _) | (Some(_), _, Some(_)) | (None, None, Some(_))) {
        let message =
            "Expecting 'container_id' alone, 'framework_id' alone, or 'framework_id' with 'executor_id'";
        return Err(refuse(StatusCode::BAD_REQUEST, message));
    }
    let wanted = |task: &&Arc<Task>| {
        let run = &task.run;
        task.stage == Stage::Running
            && asked.0.is_none_or(|id| run.container.as_str() == id)
            && asked.1.is_none_or(|id| run.framework.as_str() == id)
            && asked.2.is_none_or(|id| run.executor.as_str() == id)
    };
    let tasks = view.frameworks.values().flat_map(|f| f.tasks.values()).filter(wanted);
    let all = tasks.map(|task| {
        let mut value = json!({
            "framework_id": task.run.framework.as_str(),
            "executor_id": task.run.executor.as_str(),
            "executor_name": crate::executor_name(&task.info),
            "source": task.run.task.as_str(),
            "container_id": task.run.container.as_str(),
        });
        let status = task.statuses.last().and_then(|s| s.container_status.as_ref());
        insert(&mut value, "status", status);
        value
    });
    Ok(all.collect())
}

/// A message of the v1 schema under a name, if it is there.
fn insert<M: wire::Json>(value: &mut Value, name: &str, message: Option<&M>) {
    let parsed = message.and_then(|m| serde_json::from_slice(&wire::json::to_vec(m)).ok());
    if let (Some(parsed), Some(object)) = (parsed, value.as_object_mut()) {
        object.insert(name.to_owned(), parsed);
    }
}

fn insert_labels(value: &mut Value, labels: Option<&v1::Labels>) {
    let Some(labels) = labels.filter(|labels| !labels.labels.is_empty()) else { return };
    let pairs = labels.labels.iter().map(|label| match &label.value {
        Some(text) => json!({ "key": label.key, "value": text }),
        None => json!({ "key": label.key }),
    });
    if let Some(object) = value.as_object_mut() {
        object.insert("labels".to_owned(), pairs.collect());
    }
}

/// Infinity is a text, as in the v1 JSON.
fn number(value: f64) -> Value {
    if value.is_infinite() { Value::from("Infinity") } else { Value::from(value) }
}

/// Sums by name: scalars as numbers, ranges and sets as text; revocable ones have a name of their own.
fn summary<'a>(resources: impl IntoIterator<Item = &'a Resource>) -> Value {
    let mut scalars: BTreeMap<String, Milli> =
        ALWAYS.iter().map(|n| ((*n).to_owned(), Milli::ZERO)).collect();
    let mut ranges: BTreeMap<String, Ranges> = BTreeMap::new();
    let mut sets: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for resource in resources {
        let suffix = if resource.kind.revocable { "_revocable" } else { "" };
        let name = format!("{}{suffix}", resource.name);
        match &resource.amount {
            Amount::Scalar(amount) => {
                let sum = scalars.entry(name).or_insert(Milli::ZERO);
                *sum = *sum + *amount;
            }
            Amount::Ranges(more) => ranges.entry(name).or_default().add(more),
            Amount::Set(items) => sets.entry(name).or_default().extend(items.iter().cloned()),
        }
    }
    let scalars = scalars.into_iter().map(|(name, amount)| (name, Value::from(amount.as_f64())));
    let ranges = ranges.into_iter().map(|(name, r)| (name, Value::from(Amount::Ranges(r).to_string())));
    let sets = sets.into_iter().map(|(name, s)| (name, Value::from(Amount::Set(s).to_string())));
    scalars.chain(ranges).chain(sets).collect()
}

/// Reserved resources by the role they are reserved for.
fn by_role(resources: &Resources, write: impl Fn(&Resources) -> Value) -> Value {
    let reserved = resources.filter(|r| !r.kind.reservations.is_empty());
    let roles: BTreeSet<String> = reserved.iter().map(|r| r.reserved_for().to_string()).collect();
    let of = |role: &str| reserved.filter(|r| r.reserved_for().as_str() == role);
    roles.into_iter().map(|role| (role.clone(), write(&of(&role)))).collect()
}

/// Whole resources in Mesos' endpoint format: `reservations`, and the older fields beside them.
fn full(resources: &Resources) -> Value {
    let messages = resources.iter().map(|resource| {
        let mut message = resource.to_wire();
        if let Some(older) = resource.to_wire_before_refinement() {
            message.role = older.role;
            message.reservation = older.reservation;
        }
        message.allocation_info = None;
        serde_json::from_slice::<Value>(&wire::json::to_vec(&message)).unwrap_or(Value::Null)
    });
    messages.collect()
}

/// Attributes by name: numbers as numbers, all else as text.
fn attributes(attributes: &[v1::Attribute]) -> Value {
    let all = attributes.iter().filter_map(|attribute| {
        let value = if let Some(scalar) = &attribute.scalar {
            number(scalar.value)
        } else if let Some(ranges) = &attribute.ranges {
            let pairs = ranges.range.iter().map(|range| (range.begin, range.end)).collect();
            Amount::Ranges(Ranges::from_pairs(pairs)).to_string().into()
        } else if let Some(set) = &attribute.set {
            Amount::Set(set.item.iter().cloned().collect()).to_string().into()
        } else {
            attribute.text.as_ref()?.value.as_str().into()
        };
        Some((attribute.name.clone(), value))
    });
    all.collect()
}
