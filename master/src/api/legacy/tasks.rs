//! `/tasks`: all tasks, sorted and in pages.

use std::cmp::Ordering;
use std::sync::Arc;

use wire::v1;

use super::super::json::{self, Object};
use super::parts;
use crate::logic::Task;
use crate::view::View;
use wire::query::Query;

/// Mesos: so many unless `limit` says otherwise.
const LIMIT: usize = 100;

/// Writes the page.
pub fn write(o: &mut Object<'_>, view: &View, query: &Query) {
    let frameworks = view.frameworks.values().chain(&view.completed_frameworks);
    let completed = frameworks.flat_map(|framework| &framework.completed);
    let (framework, id) = (query.get("framework_id"), query.get("task_id"));
    let wanted = |task: &&Arc<Task>| {
        framework.is_none_or(|wanted| task.framework.as_str() == wanted)
            && id.is_none_or(|wanted| task.id.as_str() == wanted)
    };
    let all = view.tasks.values().chain(view.unreachable_tasks.values()).chain(completed);
    let mut tasks: Vec<&Arc<Task>> = all.filter(wanted).collect();
    let ascending = query.get("order") == Some("asc");
    tasks.sort_by(|a, b| if ascending { by_age(a, b) } else { by_age(b, a) });
    let limit = match query.get("limit") {
        // Clients ask so for all.
        Some("-1") => usize::MAX,
        Some(text) => text.parse().unwrap_or(LIMIT),
        None => LIMIT,
    };
    let offset = query.get("offset").and_then(|text| text.parse().ok()).unwrap_or(0);
    let page = tasks.into_iter().skip(offset).take(limit);
    o.array("tasks", page, |out, one| json::object(out, |o| task(o, one)));
}

/// By the time of the first status; those without one come first, so last in descending order.
fn by_age(a: &Task, b: &Task) -> Ordering {
    let first = |task: &Task| task.statuses.first().and_then(|status| status.timestamp);
    match (first(a), first(b)) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

/// The fields of a task. Reason, source and message of its statuses are not on this page.
pub fn task(o: &mut Object<'_>, task: &Task) {
    let info = &task.info;
    o.text("id", task.id.as_str());
    o.text("name", &info.name);
    o.text("framework_id", task.framework.as_str());
    o.text("executor_id", info.executor_id.as_ref().map_or("", |id| id.value.as_str()));
    o.text("slave_id", task.agent.as_str());
    o.text("state", task.latest.name());
    parts::resources(o, "resources", &task.resources);
    if !info.limits.is_empty() {
        o.object("limits", |o| info.limits.iter().for_each(|(name, limit)| o.number(name, limit.value)));
    }
    let role = task.resources.iter().find_map(|resource| resource.kind.allocated_to.as_ref());
    o.text("role", role.map_or("*", |role| role.as_str()));
    o.array("statuses", &task.statuses, |out, one| json::object(out, |o| status(o, one)));
    o.text_if("user", info.user.as_deref());
    parts::labels(o, info.labels.as_ref());
    if let Some(discovery) = &info.discovery {
        o.message("discovery", discovery);
    }
    if let Some(container) = &info.container {
        o.message("container", container);
    }
    if let Some(health_check) = &info.health_check {
        o.message("health_check", health_check);
    }
}

fn status(o: &mut Object<'_>, status: &v1::TaskStatus) {
    o.text("state", status.state().as_str_name());
    o.number("timestamp", status.timestamp());
    parts::labels(o, status.labels.as_ref());
    if let Some(container) = &status.container_status {
        o.object("container_status", |o| container_status(o, container));
    }
    if let Some(healthy) = status.healthy {
        o.flag("healthy", healthy);
    }
}

fn container_status(o: &mut Object<'_>, status: &v1::ContainerStatus) {
    if let Some(id) = &status.container_id {
        o.message("container_id", id);
    }
    if !status.network_infos.is_empty() {
        o.array("network_infos", &status.network_infos, |out, one| json::object(out, |o| network(o, one)));
    }
    if let Some(cgroup) = &status.cgroup_info {
        o.message("cgroup_info", cgroup);
    }
}

fn network(o: &mut Object<'_>, network: &v1::NetworkInfo) {
    if !network.groups.is_empty() {
        o.texts("groups", &network.groups);
    }
    parts::labels(o, network.labels.as_ref());
    if !network.ip_addresses.is_empty() {
        o.array("ip_addresses", &network.ip_addresses, |out, ip| wire::json::write(ip, out));
    }
    o.text_if("name", network.name.as_deref());
    if !network.port_mappings.is_empty() {
        o.array("port_mappings", &network.port_mappings, |out, mapping| wire::json::write(mapping, out));
    }
}
