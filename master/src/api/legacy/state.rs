//! `/state`: everything on one page.

use super::super::json::Object;
use super::{frameworks, slaves};
use crate::about::About;
use crate::api::index::Index;
use crate::view::View;

/// Writes the page.
pub fn write(o: &mut Object<'_>, about: &About, view: &View) {
    super::version(o);
    o.number("start_time", about.started.as_secs_f64());
    o.number("elected_time", view.elected.as_secs_f64());
    o.text("id", about.id.as_str());
    o.text("pid", &about.pid());
    o.text("hostname", &about.hostname);
    o.array("capabilities", std::iter::empty::<()>(), |_, ()| ());
    let active = view.agents.values().filter(|agent| agent.active).count();
    o.count("activated_slaves", active);
    o.count("deactivated_slaves", view.agents.len() - active);
    o.count("unreachable_slaves", view.unreachable);
    if let Some(domain) = &about.domain {
        o.message("domain", domain);
    }
    o.text("leader", &about.pid());
    o.object("leader_info", |o| {
        o.text("id", about.id.as_str());
        o.text("pid", &about.pid());
        o.count("port", about.port.into());
        o.text("hostname", &about.hostname);
        if let Some(domain) = &about.domain {
            o.message("domain", domain);
        }
    });
    o.text_if("cluster", about.cluster.as_deref());
    let log = about.external_log_file.as_ref().map(|file| file.to_string_lossy());
    o.text_if("external_log_file", log.as_deref());
    super::flags(o, about);
    o.array("slaves", view.agents.values(), |out, agent| {
        super::json::object(out, |o| slaves::slave(o, agent));
    });
    slaves::recovered(o, view, None);
    frameworks::both(o, view, &Index::of(view), None);
    o.array("orphan_tasks", std::iter::empty::<()>(), |_, ()| ());
    o.array("unregistered_frameworks", std::iter::empty::<()>(), |_, ()| ());
}
