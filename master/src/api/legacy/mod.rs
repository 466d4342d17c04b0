//! The older pages: JSON of Mesos' own layout, which clients of ten years read.

mod frameworks;
mod parts;
pub mod roles;
mod slaves;
mod state;
mod summary;
mod tasks;

use http::{Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use serving::jsonp;

use super::json::{self, Object};
use super::routes::Page;
use super::{Api, Body, Refusal, body, need_post, operator, refuse, with_type};
use crate::about::About;
use crate::logic::OperatorAction;
use crate::view::View;
use wire::query::Query;

/// Answers a page. Mesos: any method will do while there is no authorization.
pub async fn page(api: &Api, page: Page, uri: &Uri) -> Result<Response<Body>, Refusal> {
    let query = Query::parse(uri.query().unwrap_or_default());
    let function =
        jsonp::function(&query).map_err(|bad| refuse(StatusCode::BAD_REQUEST, &bad.to_string()))?;
    // Mesos: these two answer on every master.
    let bytes = match page {
        Page::Flags => Some(object(|o| flags(o, &api.about))),
        Page::Version => Some(object(version)),
        _ => None,
    };
    if let Some(bytes) = bytes {
        return Ok(finished(function.as_deref(), bytes));
    }
    api.need_leader(uri)?;
    api.read_view(move |about, view| {
        finished(function.as_deref(), object(|o| write(page, o, about, view, &query)))
    })
    .await
}

fn object(fields: impl FnOnce(&mut Object<'_>)) -> Vec<u8> {
    let mut out = Vec::with_capacity(4096);
    json::object(&mut out, fields);
    out
}

fn write(page: Page, o: &mut Object<'_>, about: &About, view: &View, query: &Query) {
    match page {
        Page::State => state::write(o, about, view),
        Page::StateSummary => summary::write(o, about, view),
        Page::Slaves => slaves::write(o, view, query.get("slave_id")),
        Page::Frameworks => frameworks::write(o, view, query.get("framework_id")),
        Page::Tasks => tasks::write(o, view, query),
        Page::Roles => roles::write(o, view),
        Page::Flags => flags(o, about),
        Page::Version => version(o),
    }
}

/// A page, as a script when the client names a function.
pub fn finished(function: Option<&str>, json: Vec<u8>) -> Response<Body> {
    let (content_type, bytes) = jsonp::body(function, json);
    with_type(StatusCode::OK, content_type, bytes.into())
}

/// The fields of `/version`, with which `/state` begins as well.
fn version(o: &mut Object<'_>) {
    let info = serving::version::info();
    o.text("version", &info.version);
    o.text("build_date", info.build_date());
    o.number("build_time", info.build_time());
    o.text("build_user", info.build_user());
    o.text_if("git_sha", info.git_sha.as_deref());
    o.text_if("git_branch", info.git_branch.as_deref());
    o.text_if("git_tag", info.git_tag.as_deref());
}

fn flags(o: &mut Object<'_>, about: &About) {
    o.object("flags", |o| about.flags.iter().for_each(|(name, value)| o.text(name, value)));
}

/// `POST /teardown` with `frameworkId=…`; the Content-Type is not looked at, as in Mesos.
pub async fn teardown(api: &Api, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
    api.need_leader(request.uri())?;
    need_post(request.method())?;
    let bytes = body::read(&api.large_bodies, request).await?;
    let form = Query::parse(&String::from_utf8_lossy(&bytes));
    let Some(framework) = form.get("frameworkId").filter(|id| !id.is_empty()) else {
        return Err(refuse(StatusCode::BAD_REQUEST, "Missing 'frameworkId' in the body"));
    };
    operator::operate(api, OperatorAction::Teardown { framework: framework.into() }).await
}
