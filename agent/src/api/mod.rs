//! The HTTP API: finds the route of a request, checks what all routes have in common, and answers.

mod files;
mod legacy;
mod operator;
mod routes;
mod tree;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coordination::LeaderAddress;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde_json::Value;
use tokio::sync::watch;

use crate::logic::View;
use crate::service::{Paths, Reader};
use routes::{NoRoute, Route};
use wire::query::Query;

/// Largest body of a request.
const MAX_BODY: usize = 1 << 20;
/// Longest time for it to arrive.
const MAX_TIME: Duration = Duration::from_secs(60);
/// Longest name of a function in `jsonp`.
const MAX_JSONP: usize = 128;

/// The body of an answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// An answer that ends the handling of a request. Boxed, because answers are large and errors rare.
type Refusal = Box<Response<Body>>;

/// What an agent tells about itself.
#[derive(Clone, Debug)]
pub(crate) struct About {
    /// As libprocess writes it: `slave(1)@ip:port`.
    pub(crate) pid: String,
    /// When the process started, seconds since the epoch.
    pub(crate) started: f64,
    /// All flags with a value.
    pub(crate) flags: Vec<(String, String)>,
}

/// The HTTP side of an agent.
#[derive(Debug)]
pub(crate) struct Api {
    about: Arc<About>,
    reader: Reader,
    paths: Paths,
    master: watch::Receiver<Option<LeaderAddress>>,
}

impl Api {
    pub(crate) fn new(
        about: About,
        reader: Reader,
        paths: Paths,
        master: watch::Receiver<Option<LeaderAddress>>,
    ) -> Api {
        Api { about: Arc::new(about), reader, paths, master }
    }

    /// Answers a request.
    pub(crate) async fn handle(&self, request: Request<Incoming>) -> Response<Body> {
        let answer = match routes::find(request.uri().path()) {
            Ok(Route::Operator) => operator::handle(self, request).await,
            Ok(route) => {
                let query = Query::parse(request.uri().query().unwrap_or_default());
                self.page(route, &query).await
            }
            Err(NoRoute::Malformed) => Err(refuse(StatusCode::BAD_REQUEST, "The path is not well encoded")),
            Err(NoRoute::Unknown) => Ok(empty(StatusCode::NOT_FOUND)),
        };
        answer.unwrap_or_else(|refusal| *refusal)
    }

    /// One of the older pages. Mesos: any method will do while there is no authorization.
    async fn page(&self, route: Route, query: &Query) -> Result<Response<Body>, Refusal> {
        let function = function(query)?;
        let value = match route {
            Route::Health | Route::Operator => return Ok(empty(StatusCode::OK)),
            Route::Download => return files::download(self, query).await,
            Route::Version => legacy::version(),
            Route::Flags => legacy::flags(&self.about),
            Route::State => self.state().await?,
            Route::Containers => legacy::containers(&*self.view().await?, query)?,
            Route::Browse => files::browse(self, query).await?,
            Route::Read => files::read(self, query).await?,
            Route::Debug => files::debug(self).await?,
        };
        Ok(finished(function, &value))
    }

    async fn state(&self) -> Result<Value, Refusal> {
        let view = self.view().await?;
        let (about, paths) = (self.about.clone(), self.paths.clone());
        let master = self.master.borrow().as_ref().map(|master| master.host.clone());
        self.blocking(move || legacy::state(&about, &view, &paths, master.as_deref())).await
    }

    async fn view(&self) -> Result<Arc<View>, Refusal> {
        let view = self.reader.view().await;
        let view = view.ok_or_else(|| refuse(StatusCode::SERVICE_UNAVAILABLE, "This agent is ending"))?;
        if view.recovered {
            return Ok(view);
        }
        Err(refuse(StatusCode::SERVICE_UNAVAILABLE, "Agent has not finished recovery"))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| refuse(StatusCode::INTERNAL_SERVER_ERROR, "The answer could not be made"))
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

fn finished(function: Option<String>, value: &Value) -> Response<Body> {
    let json = value.to_string();
    match function {
        None => with_type(StatusCode::OK, wire::media::JSON, json.into()),
        Some(name) => with_type(StatusCode::OK, "text/javascript", format!("{name}({json});").into()),
    }
}

/// Reads the whole body of a request.
async fn read_body(request: Request<Incoming>) -> Result<Bytes, Refusal> {
    let body = Limited::new(request.into_body(), MAX_BODY).collect();
    match tokio::time::timeout(MAX_TIME, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let message = format!("The body is larger than {MAX_BODY} bytes");
            Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, &message))
        }
        Ok(Err(_)) => Err(refuse(StatusCode::BAD_REQUEST, "The body ended early or is malformed")),
        Err(_) => Err(refuse(StatusCode::REQUEST_TIMEOUT, "The body took too long to arrive")),
    }
}

fn need_post(method: &Method) -> Result<(), Refusal> {
    if method == Method::POST {
        return Ok(());
    }
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, &format!("Expecting POST, received '{method}'"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    Err(Box::new(response))
}

fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(whole(Bytes::new()));
    *response.status_mut() = status;
    response
}

fn text(status: StatusCode, message: &str) -> Response<Body> {
    with_type(status, "text/plain; charset=utf-8", message.to_owned().into())
}

fn with_type(status: StatusCode, content_type: &'static str, bytes: Bytes) -> Response<Body> {
    let mut response = Response::new(whole(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn refuse(status: StatusCode, message: &str) -> Refusal {
    Box::new(text(status, message))
}
