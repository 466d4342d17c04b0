//! The HTTP API: finds the route of a request, checks what all routes have in common, and answers.

mod body;
mod calls;
mod events;
mod index;
pub mod json;
mod legacy;
mod messages;
mod operator;
mod process;
mod routes;
mod scheduler;
mod stream;

use std::sync::Arc;

use coordination::Leader;
use http::header::{HeaderValue, LOCATION, RETRY_AFTER};
use http::{Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

pub use body::Body;
#[cfg(test)]
pub use body::MAX_BODY;
#[cfg(test)]
pub use routes::ROUTES;

use crate::about::About;
use crate::config::READONLY;
use crate::service::{Handle, Lifeline, Stopped};
use crate::view::View;
use routes::Route;
use security::{Gate, Stop};
use serving::answers::{self, empty, need_post, text, with_type};
use serving::metrics::Pace;
use serving::routes::NoRoute;
use serving::sending::{self, Room};

/// Seconds until an election or a recovery may be over.
const RETRY_SECS: &str = "1";

/// Views that are turned into answers at once: each may take a large buffer.
const ENCODERS: usize = 4;

/// The HTTP side of a master.
#[derive(Debug)]
pub struct Api {
    about: Arc<About>,
    handle: Handle,
    leader: watch::Receiver<Option<Leader>>,
    leading: watch::Receiver<bool>,
    encoders: Arc<Semaphore>,
    /// The same for answers that are small whatever the tables hold: they don't wait behind large ones.
    glances: Arc<Semaphore>,
    /// For the states that go to operators who just subscribed.
    states: Room,
    /// For all other large answers.
    answers: Room,
    large_bodies: Semaphore,
    options: Options,
    gate: Arc<Gate>,
}

/// What the environment and flags say of answers.
#[derive(Debug)]
pub struct Options {
    /// How often `/metrics/snapshot` is answered.
    pub pace: Pace,
    /// Metrics of each framework are told.
    pub per_framework: bool,
}

/// The turn of whoever makes an answer of the tables.
#[derive(Clone)]
struct Turn {
    _turn: Arc<OwnedSemaphorePermit>,
}

/// An answer that ends the handling of a request. Boxed, because answers are large and errors rare.
type Refusal = Box<Response<Body>>;

impl Api {
    /// The API of the master that `handle` leads into.
    pub fn new(
        about: Arc<About>,
        handle: Handle,
        leader: watch::Receiver<Option<Leader>>,
        leading: watch::Receiver<bool>,
        options: Options,
        gate: Arc<Gate>,
    ) -> Api {
        let (encoders, large_bodies) = (Semaphore::new(ENCODERS), Semaphore::new(body::LARGE_BODIES));
        let (encoders, states, answers) = (Arc::new(encoders), Room::default(), Room::default());
        let glances = Arc::new(Semaphore::new(ENCODERS));
        Api {
            about,
            handle,
            leader,
            leading,
            encoders,
            glances,
            states,
            answers,
            large_bodies,
            options,
            gate,
        }
    }

    /// Answers a request.
    pub async fn handle(&self, request: Request<Incoming>, lifeline: Lifeline) -> Response<Body> {
        let (peer, method, uri) = (lifeline.peer(), request.method().clone(), request.uri().clone());
        let gzip = serving::gzip::is_accepted(request.headers());
        let line = lifeline.clone();
        let found = routes::find(uri.path());
        let answer = match self.admit(&request, found.ok()) {
            Ok(principal) => self.answer(found, request, principal, lifeline).await,
            Err(refusal) => Err(refusal),
        };
        let answer = answer.unwrap_or_else(|refusal| *refusal);
        let answer = if gzip { body::compressed(answer).await } else { answer };
        let answer = self.with_room(answer, line).await;
        tracing::debug!(%peer, %method, %uri, status = answer.status().as_u16(), "answered");
        answer
    }

    async fn answer(
        &self,
        found: Result<Route, NoRoute>,
        request: Request<Incoming>,
        principal: Option<String>,
        lifeline: Lifeline,
    ) -> Result<Response<Body>, Refusal> {
        match found {
            Ok(Route::Scheduler) => scheduler::handle(self, request, principal, lifeline).await,
            Ok(Route::Operator) => operator::handle(self, request, lifeline).await,
            Ok(Route::Teardown) => legacy::teardown(self, request).await,
            Ok(Route::Page(page)) => legacy::page(self, page, request.uri()).await,
            Ok(Route::Process(page)) => process::page(self, page, request.uri(), lifeline).await,
            Ok(Route::Health) => Ok(empty(StatusCode::OK)),
            Ok(Route::Redirect) => Ok(self.redirect("")),
            Err(none) => Err(routes::answer(none)),
        }
    }

    /// Who asks, where that must be known. Mesos: who may change something has a name.
    fn admit(&self, request: &Request<Incoming>, found: Option<Route>) -> Result<Option<String>, Refusal> {
        let realm = found.and_then(Route::realm);
        let same = |listed: &str| found.is_some() && routes::find(listed).ok() == found;
        let admitted = self.gate.admit(request.uri().path(), realm, request.headers(), same);
        match admitted.map_err(stop)? {
            Some(principal) if realm != Some(READONLY) => principal.named().map(Some).map_err(stop),
            principal => Ok(principal.and_then(|principal| principal.value)),
        }
    }

    /// Goes on only on a leading master that has read its registry; others send the client to the leader.
    fn need_leader(&self, uri: &Uri) -> Result<(), Refusal> {
        if *self.leading.borrow() {
            return Ok(());
        }
        Err(Box::new(self.redirect(uri.path_and_query().map_or("", |path| path.as_str()))))
    }

    /// Mesos: 307 with a location that keeps the client's protocol; 503 without a leader.
    fn redirect(&self, to: &str) -> Response<Body> {
        let leader = self.leader.borrow().clone();
        let Some(leader) = leader else {
            return later("No leader elected");
        };
        if self.about.is(&leader.address) && !to.is_empty() {
            return later("This master leads and has not yet recovered");
        }
        let Ok(location) = HeaderValue::try_from(format!("//{}{to}", leader.shown())) else {
            return text(StatusCode::INTERNAL_SERVER_ERROR, "The leader's address makes no URL");
        };
        let mut response = empty(StatusCode::TEMPORARY_REDIRECT);
        response.headers_mut().insert(LOCATION, location);
        response
    }

    /// Sends a large answer in parts, once there is room for it. Whoever made it keeps his turn until then, so only a few
    /// wait with theirs in their hands.
    async fn with_room(&self, mut answer: Response<Body>, line: Lifeline) -> Response<Body> {
        let turn = answer.extensions_mut().remove::<Turn>();
        let (head, body) = answer.into_parts();
        let body = match body {
            Body::Bytes(bytes) if bytes.len() > sending::SMALL => {
                let place = self.answers.place(bytes.len()).await;
                let cut = move || {
                    tracing::warn!(peer = %line.peer(), "a client doesn't take a large answer: cut");
                    line.cut();
                };
                Body::Large(self.answers.send(place, bytes, cut))
            }
            body => body,
        };
        drop(turn);
        Response::from_parts(head, body)
    }

    /// Makes an answer of the tables as they are now, on a thread of its own.
    async fn read_view<F>(&self, work: F) -> Result<Response<Body>, Refusal>
    where
        F: FnOnce(&About, &View) -> Response<Body> + Send + 'static,
    {
        self.in_turn(&self.encoders, work).await
    }

    /// The same for an answer that is small.
    async fn glance<F>(&self, work: F) -> Result<Response<Body>, Refusal>
    where
        F: FnOnce(&About, &View) -> Response<Body> + Send + 'static,
    {
        self.in_turn(&self.glances, work).await
    }

    async fn in_turn<F>(&self, turns: &Arc<Semaphore>, work: F) -> Result<Response<Body>, Refusal>
    where
        F: FnOnce(&About, &View) -> Response<Body> + Send + 'static,
    {
        // First the turn, then the view: those who wait hold no memory.
        let turn = turns.clone().acquire_owned().await.map_err(|_| stopped(Stopped))?;
        let view = self.handle.view().await.map_err(stopped)?;
        let about = self.about.clone();
        let mut answer = tokio::task::spawn_blocking(move || work(&about, &view))
            .await
            .map_err(|_| refuse(StatusCode::INTERNAL_SERVER_ERROR, "The answer could not be made"))?;
        answer.extensions_mut().insert(Turn { _turn: Arc::new(turn) });
        Ok(answer)
    }
}

/// The answer to whom the gate doesn't let through.
fn stop(stop: Stop) -> Refusal {
    match stop {
        Stop::Forbidden(why) => refuse(StatusCode::FORBIDDEN, &why),
        Stop::Unauthorized(why) => Box::new(answers::unauthorized(why.message, &why.challenges)),
    }
}

fn refuse(status: StatusCode, message: &str) -> Refusal {
    Box::new(text(status, message))
}

fn stopped(_: Stopped) -> Refusal {
    Box::new(later("This master is ending, or no longer leads"))
}

/// 503 for what passes within seconds. Unlike Mesos it says when to ask again, so that clients tell it from a refusal.
fn later(message: &str) -> Response<Body> {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, message);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY_SECS));
    response
}

/// What the state refuses.
fn refused(refused: &crate::logic::Refused) -> Refusal {
    let status = StatusCode::from_u16(refused.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    refuse(status, &refused.text())
}
