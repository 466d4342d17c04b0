//! `/frameworks`: the frameworks with their tasks and offers.

use std::sync::Arc;

use super::super::json::{self, Object};
use super::{parts, tasks};
use crate::api::index::{Index, tasks_of};
use crate::logic::{Framework, Offer, Task};
use crate::view::View;
use wire::v1::framework_info::capability::Type as Capability;

/// Writes the page, of all frameworks or of one.
pub fn write(o: &mut Object<'_>, view: &View, id: Option<&str>) {
    both(o, view, &Index::of(view), id);
    o.array("unregistered_frameworks", std::iter::empty::<()>(), |_, ()| ());
}

/// The lists of live and completed frameworks.
pub fn both(o: &mut Object<'_>, view: &View, index: &Index<'_>, id: Option<&str>) {
    let wanted = |framework: &&Arc<Framework>| id.is_none_or(|id| framework.id.as_str() == id);
    let write = |out: &mut Vec<u8>, framework: &Arc<Framework>| {
        json::object(out, |o| full(o, framework, view, index));
    };
    o.array("frameworks", view.frameworks.values().filter(wanted), write);
    o.array("completed_frameworks", view.completed_frameworks.iter().filter(wanted), write);
}

fn full(o: &mut Object<'_>, framework: &Framework, view: &View, index: &Index<'_>) {
    summary(o, framework, index);
    let info = &framework.info;
    o.text("user", &info.user);
    o.number("failover_timeout", info.failover_timeout());
    o.flag("checkpoint", info.checkpoint());
    o.number("registered_time", framework.registered.as_secs_f64());
    o.number("unregistered_time", framework.unregistered.map_or(0.0, |at| at.as_secs_f64()));
    o.text_if("principal", info.principal.as_deref());
    let mut resources = index.used(&framework.id);
    resources.add(&index.offered(&framework.id));
    parts::resources(o, "resources", &resources);
    if let Some(at) = framework.reregistered.filter(|at| *at != framework.registered) {
        o.number("reregistered_time", at.as_secs_f64());
    }
    if capabilities(framework).any(|capability| capability == Capability::MultiRole) {
        o.texts("roles", &info.roles);
    } else {
        o.text("role", info.role());
    }
    let task = |out: &mut Vec<u8>, task: &Arc<Task>| json::object(out, |o| tasks::task(o, task));
    o.array("tasks", tasks_of(&view.tasks, &framework.id), task);
    o.array("unreachable_tasks", tasks_of(&view.unreachable_tasks, &framework.id), task);
    o.array("completed_tasks", &framework.completed, task);
    o.array("offers", index.offers(&framework.id), |out, offered| json::object(out, |o| offer(o, offered)));
    // Executors of command tasks do not appear on a master, and there are no others yet.
    o.array("executors", std::iter::empty::<()>(), |_, ()| ());
    parts::labels(o, info.labels.as_ref());
    // There are none yet; Mesos shows the field all the same.
    o.object("offer_constraints", |_| ());
}

/// The fields that `/state-summary` shows as well.
pub fn summary(o: &mut Object<'_>, framework: &Framework, index: &Index<'_>) {
    let info = &framework.info;
    o.text("id", framework.id.as_str());
    o.text("name", &info.name);
    parts::resources(o, "used_resources", &index.used(&framework.id));
    parts::resources(o, "offered_resources", &index.offered(&framework.id));
    o.texts("capabilities", capabilities(framework).map(|capability| capability.as_str_name()));
    o.text("hostname", info.hostname());
    o.text("webui_url", info.webui_url());
    o.flag("active", framework.active);
    o.flag("connected", framework.stream.is_some());
    o.flag("recovered", framework.recovered);
}

fn capabilities(framework: &Framework) -> impl Iterator<Item = Capability> {
    framework.info.capabilities.iter().map(|capability| capability.r#type())
}

fn offer(o: &mut Object<'_>, offer: &Offer) {
    o.text("id", offer.id.as_str());
    o.text("framework_id", offer.framework.as_str());
    o.object("allocation_info", |o| o.text("role", offer.role.as_str()));
    o.text("slave_id", offer.agent.as_str());
    parts::resources(o, "resources", &offer.resources);
}
