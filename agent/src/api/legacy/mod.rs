//! The older pages: JSON of Mesos' own layout.

mod resources;

use std::sync::Arc;

use model::Resources;
use model::secrets::hide_in_command;
use serde_json::{Map, Value, json};
use wire::v1;
use wire::v1::framework_info::capability::Type as Capability;

use super::About;
use crate::logic::{Framework, Stage, Task, View};
use crate::service::Paths;
use resources::{attributes, by_role, full, number, summary};

/// `/version`
pub(super) fn version() -> Value {
    object_of(&serving::version::info())
}

/// `/flags`
pub(super) fn flags(about: &About) -> Value {
    json!({ "flags": flag_map(about) })
}

fn flag_map(about: &About) -> Value {
    about.flags.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect()
}

/// `/state`
pub(super) fn state(about: &About, view: &View, paths: &Paths, master: Option<&str>) -> Value {
    let settings = &view.settings;
    let total = &settings.total;
    let used = used(view);
    let mut state = version();
    let rest = json!({
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
        "flags": flag_map(about),
        "frameworks": view.frameworks.values().map(|f| framework(f, paths)).collect::<Vec<_>>(),
        "completed_frameworks": view.completed_frameworks.iter().map(|f| framework(f, paths)).collect::<Vec<_>>(),
    });
    if let (Some(state), Value::Object(rest)) = (state.as_object_mut(), rest) {
        state.extend(rest);
        if let Some(master) = master.filter(|_| view.registered) {
            state.insert("master_hostname".to_owned(), master.into());
        }
        // Mesos: a second time. There is no `log_dir`, since nothing is logged but to standard error.
        if let Some(log) = &about.external_log_file {
            state.insert("external_log_file".to_owned(), log.to_string_lossy().into());
        }
    }
    insert(&mut state, "domain", settings.info.domain.as_ref());
    state
}

/// What tasks that have not ended use.
pub(super) fn used(view: &View) -> Resources {
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
    let command = info.command.clone().map(|mut command| {
        hide_in_command(&mut command);
        command
    });
    insert(&mut value, "command", command.as_ref());
    insert(&mut value, "discovery", info.discovery.as_ref());
    value
}

fn task_value(task: &Task) -> Value {
    let info = task.to_wire();
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
    insert(&mut value, "discovery", info.discovery.as_deref());
    insert(&mut value, "container", info.container.as_deref());
    insert(&mut value, "health_check", info.health_check.as_deref());
    value
}

fn status_value(status: &v1::TaskStatus) -> Value {
    let mut value = json!({
        "state": status.state().as_str_name(),
        "timestamp": status.timestamp(),
    });
    insert_labels(&mut value, status.labels.as_ref());
    if let (Some(container), Some(value)) = (&status.container_status, value.as_object_mut()) {
        value.insert("container_status".to_owned(), container_status(container));
    }
    if let (Some(healthy), Some(value)) = (status.healthy, value.as_object_mut()) {
        value.insert("healthy".to_owned(), healthy.into());
    }
    value
}

/// Mesos: without the executor's process, which `/containers` tells.
fn container_status(status: &v1::ContainerStatus) -> Value {
    let mut value = json!({});
    insert(&mut value, "container_id", status.container_id.as_ref());
    if let (false, Some(value)) = (status.network_infos.is_empty(), value.as_object_mut()) {
        value.insert("network_infos".to_owned(), status.network_infos.iter().map(network_info).collect());
    }
    insert(&mut value, "cgroup_info", status.cgroup_info.as_ref());
    value
}

/// Mesos: as the message, but for its labels, which are a plain list on these pages.
fn network_info(info: &v1::NetworkInfo) -> Value {
    let mut value = object_of(&v1::NetworkInfo { labels: None, ..info.clone() });
    insert_labels(&mut value, info.labels.as_ref());
    value
}

/// A message of the v1 schema under a name, if it is there.
pub(super) fn insert<M: wire::Json>(value: &mut Value, name: &str, message: Option<&M>) {
    if let (Some(message), Some(object)) = (message, value.as_object_mut()) {
        object.insert(name.to_owned(), object_of(message));
    }
}

fn object_of<M: wire::Json>(message: &M) -> Value {
    serde_json::from_slice(&wire::json::to_vec(message)).unwrap_or(Value::Null)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// http.md section 5, T: labels as a list of pairs, NetworkInfo with all its parts.
    #[test]
    fn a_status_with_everything() {
        let label = |key: &str, value: Option<&str>| v1::Label {
            key: key.to_owned(),
            value: value.map(str::to_owned),
        };
        let labels = v1::Labels { labels: vec![label("k", Some("v")), label("bare", None)] };
        let address = v1::network_info::IpAddress {
            protocol: Some(v1::network_info::Protocol::IPv4.into()),
            ip_address: Some("10.1.2.3".to_owned()),
        };
        let mapping = v1::network_info::PortMapping {
            host_port: 31_000,
            container_port: 80,
            protocol: Some("tcp".to_owned()),
        };
        let network = v1::NetworkInfo {
            groups: vec!["public".to_owned()],
            labels: Some(labels.clone()),
            ip_addresses: vec![address],
            name: Some("net".to_owned()),
            port_mappings: vec![mapping],
        };
        let container_status = v1::ContainerStatus {
            container_id: Some(v1::ContainerId { value: "c".to_owned(), parent: None }),
            network_infos: vec![network],
            executor_pid: Some(42),
            ..Default::default()
        };
        let status = v1::TaskStatus {
            state: v1::TaskState::TaskRunning.into(),
            timestamp: Some(1.5),
            labels: Some(labels),
            container_status: Some(container_status),
            healthy: Some(true),
            // Not on the page.
            reason: Some(v1::task_status::Reason::TaskHealthCheckStatusUpdated.into()),
            message: Some("well".to_owned()),
            ..Default::default()
        };
        let pairs = json!([{"key": "k", "value": "v"}, {"key": "bare"}]);
        let network = json!({
            "groups": ["public"],
            "labels": pairs,
            "ip_addresses": [{"protocol": "IPv4", "ip_address": "10.1.2.3"}],
            "name": "net",
            "port_mappings": [{"host_port": 31_000, "container_port": 80, "protocol": "tcp"}],
        });
        assert_eq!(
            status_value(&status),
            json!({
                "state": "TASK_RUNNING",
                "timestamp": 1.5,
                "labels": pairs,
                "container_status": {"container_id": {"value": "c"}, "network_infos": [network]},
                "healthy": true,
            })
        );
    }
}
