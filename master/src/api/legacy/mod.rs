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
use wire::media::JSON;

use super::json::{self, Object};
use super::routes::Page;
use super::{Api, Body, Refusal, body, need_post, operator, refuse, with_type};
use crate::about::About;
use crate::logic::OperatorAction;
use crate::version;
use crate::view::View;
use wire::query::Query;

/// Longest name of a function in `jsonp`.
const MAX_JSONP: usize = 128;

/// Answers a page. Mesos: any method will do while there is no authorization.
pub async fn page(api: &Api, page: Page, uri: &Uri) -> Result<Response<Body>, Refusal> {
    let query = Query::parse(uri.query().unwrap_or_default());
    let function = function(&query)?;
    // Mesos: these two answer on every master.
    let bytes = match page {
        Page::Flags => Some(object(|o| flags(o, &api.about))),
        Page::Version => Some(object(version::write)),
        _ => None,
    };
    if let Some(bytes) = bytes {
        return Ok(finished(function, bytes));
    }
    api.need_leader(uri)?;
    api.read_view(move |about, view| finished(function, object(|o| write(page, o, about, view, &query))))
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
        Page::Version => version::write(o),
    }
}

/// `?jsonp=NAME`, which Mesos' web page depends on. Other texts than a name would be run by whoever loads this.
fn function(query: &Query) -> Result<Option<String>, Refusal> {
    let Some(name) = query.get("jsonp") else { return Ok(None) };
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '.');
    if name.is_empty() || name.len() > MAX_JSONP || !name.chars().all(fits) {
        return Err(refuse(StatusCode::BAD_REQUEST, "'jsonp' is not the name of a function"));
    }
    Ok(Some(name.to_owned()))
}

fn finished(function: Option<String>, json: Vec<u8>) -> Response<Body> {
    let Some(name) = function else { return with_type(StatusCode::OK, JSON, json.into()) };
    let script = [name.as_bytes(), b"(", &json, b");"].concat();
    with_type(StatusCode::OK, "text/javascript", script.into())
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
