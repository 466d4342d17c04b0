//! The HTTP API: finds the route of a request, checks what all routes have in common, and answers.

mod answer;
mod attached;
mod legacy;
mod metrics;
mod operator;
mod pressure;
mod routes;
mod show;
mod usage;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coordination::LeaderAddress;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use security::Gate;
use serde_json::{Value, json};
use serving::answers::{empty, need_post, text, with_type};
use serving::files::{Attached, FilesError};
use serving::metrics::Pace;
use serving::routes::NoRoute;
use serving::sending::{self, Room};
use serving::system::System;
use serving::{files, jsonp, logging};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use wire::query::Query;

use crate::containerizer::Containerizer;
use crate::logic::View;
use crate::service::{DiskUsage, Paths, Reader};
pub(crate) use answer::Body;
use answer::{Refusal, Whole, at_once, compressed, in_parts, refuse};
use routes::{PROCESS, Page, ROUTES, Route};

/// What an agent tells about itself.
#[derive(Clone, Debug)]
pub(crate) struct About {
    /// As libprocess writes it: `slave(1)@ip:port`.
    pub(crate) pid: String,
    /// When the process started, seconds since the epoch.
    pub(crate) started: f64,
    /// The same by the clock that never jumps.
    pub(crate) since: Instant,
    /// Processes and threads of containers are counted.
    pub(crate) counts_processes: bool,
    /// How long finding out what an earlier life left took, once that is over.
    pub(crate) recovery: watch::Receiver<Option<Duration>>,
    /// File with the process' log, if something writes one.
    pub(crate) external_log_file: Option<PathBuf>,
    /// All flags with a value.
    pub(crate) flags: Vec<(String, String)>,
}

/// What the API looks into.
#[derive(Clone)]
pub(crate) struct Sources {
    pub(crate) reader: Reader,
    pub(crate) paths: Paths,
    pub(crate) master: watch::Receiver<Option<LeaderAddress>>,
    pub(crate) containers: Arc<dyn Containerizer>,
    pub(crate) disk: DiskUsage,
}

/// Views that are turned into answers at once: each may take large buffers.
const ENCODERS: usize = 4;

/// The turn of whoever makes an answer of a view.
#[derive(Clone)]
struct Turn {
    _turn: Option<Arc<OwnedSemaphorePermit>>,
}

/// An answer that keeps the turn in which it was made until there is room for it.
fn held(mut answer: Whole, turn: Option<Turn>) -> Whole {
    if let Some(turn) = turn {
        answer.extensions_mut().insert(turn);
    }
    answer
}

/// The HTTP side of an agent.
pub(crate) struct Api {
    about: Arc<About>,
    sources: Sources,
    metrics_pace: Pace,
    statistics_pace: Pace,
    encoders: Arc<Semaphore>,
    answers: Room,
    gate: Gate,
}

impl Api {
    /// `pace` is that of `/metrics/snapshot`.
    pub(crate) fn new(about: About, sources: Sources, pace: Pace, gate: Gate) -> Api {
        // Mesos: two requests a second for statistics, too; those that come sooner wait.
        Api {
            about: Arc::new(about),
            sources,
            metrics_pace: pace,
            statistics_pace: Pace::default(),
            encoders: Arc::new(Semaphore::new(ENCODERS)),
            answers: Room::default(),
            gate,
        }
    }

    /// Answers a request; `cut` ends its connection.
    pub(crate) async fn handle(&self, request: Request<Incoming>, cut: Arc<Notify>) -> Response<Body> {
        let headers = request.headers().clone();
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let found = serving::routes::find(ROUTES, PROCESS, request.uri().path());
        if let Err(refusal) = self.admit(&request, found.as_ref().ok().map(|found| found.route)) {
            return at_once(*refusal);
        }
        let whole = found.as_ref().is_ok_and(|found| found.rest.is_empty());
        let answer = match found.map(|found| found.route) {
            Ok(Route::Operator) => operator::handle(self, request).await,
            Ok(Route::Health) => Ok(empty(StatusCode::OK)),
            Ok(Route::Page(page)) => self.page(page, query).await,
            Ok(Route::Logging) => toggle(&query),
            Ok(Route::Download) => match self.download(query, cut.clone()).await {
                Ok(download) => return answer::stream(download),
                Err(refusal) => Err(refusal),
            },
            Ok(Route::Prometheus) if whole => self.prometheus().await,
            Ok(Route::Prometheus | Route::Absent) | Err(NoRoute::Unknown) => Ok(empty(StatusCode::NOT_FOUND)),
            Err(NoRoute::Malformed) => Err(refuse(StatusCode::BAD_REQUEST, "The path is not well encoded")),
        };
        let answer = compressed(&headers, answer.unwrap_or_else(|refusal| *refusal));
        self.with_room(answer, cut).await
    }

    /// Whether the request may go on to its route.
    fn admit(&self, request: &Request<Incoming>, found: Option<Route>) -> Result<(), Refusal> {
        let same = |listed: &str| {
            let listed = serving::routes::find(ROUTES, PROCESS, listed);
            found.is_some() && listed.ok().map(|listed| listed.route) == found
        };
        let realm = found.and_then(Route::realm);
        let admitted = self.gate.admit(request.uri().path(), realm, request.headers(), same);
        admitted.map(|_| ()).map_err(answer::stop)
    }

    /// Sends a large answer in parts, once there is room for it. Whoever made it keeps his turn until then, so only a few
    /// wait with theirs in their hands.
    async fn with_room(&self, mut answer: Whole, cut: Arc<Notify>) -> Response<Body> {
        if answer.body().len() <= sending::SMALL {
            return at_once(answer);
        }
        let _turn = answer.extensions_mut().remove::<Turn>();
        let place = self.answers.place(answer.body().len()).await;
        let cut = move || {
            tracing::warn!("a client doesn't take a large answer: cut");
            cut.notify_one();
        };
        in_parts(answer.map(|bytes| self.answers.send(place, bytes, cut)))
    }

    /// Waits for the turn to make a large answer.
    async fn turn(&self) -> Turn {
        // It is never closed.
        Turn { _turn: self.encoders.clone().acquire_owned().await.ok().map(Arc::new) }
    }

    /// One of the older pages. Mesos: any method will do while there is no authorization.
    async fn page(&self, page: Page, query: Query) -> Result<Whole, Refusal> {
        let function = jsonp::function(&query);
        let function = function.map_err(|bad| refuse(StatusCode::BAD_REQUEST, &bad.to_string()))?;
        let turn = if page == Page::State { Some(self.turn().await) } else { None };
        let json = match page {
            Page::Metrics => self.metrics_page(&query).await?,
            Page::System => System::read().json(),
            page => self.value(page, query).await?.to_string().into_bytes(),
        };
        let (content_type, body) = jsonp::body(function.as_deref(), json);
        Ok(held(with_type(StatusCode::OK, content_type, body.into()), turn))
    }

    async fn value(&self, page: Page, query: Query) -> Result<Value, Refusal> {
        Ok(match page {
            Page::Version => legacy::version(),
            Page::Flags => legacy::flags(&self.about),
            Page::State => self.state().await?,
            Page::Containers => usage::containers(self, &query).await?,
            Page::Statistics => {
                self.statistics_pace.turn().await;
                usage::statistics(self).await?
            }
            // Nothing is ever left pending: each step has a deadline of its own.
            Page::Containerizer => json!({ "pending": [] }),
            Page::Browse => self.files(move |attached| files::browse(&attached, &query)).await?,
            Page::Read => self.files(move |attached| files::read(&attached, &query)).await?,
            Page::Debug => self.files(|attached| Ok(files::debug(&attached))).await?,
            Page::Metrics | Page::System => Value::Null,
        })
    }

    async fn state(&self) -> Result<Value, Refusal> {
        let view = self.view().await?;
        let (about, paths) = (self.about.clone(), self.sources.paths.clone());
        let master = self.sources.master.borrow().as_ref().map(|master| master.host.clone());
        self.blocking(move || legacy::state(&about, &view, &paths, master.as_deref())).await
    }

    async fn metrics_page(&self, query: &Query) -> Result<Vec<u8>, Refusal> {
        serving::metrics::timeout(query).map_err(|why| refuse(StatusCode::BAD_REQUEST, &why))?;
        self.metrics_pace.turn().await;
        Ok(self.metrics().await?.json())
    }

    async fn prometheus(&self) -> Result<Whole, Refusal> {
        let view = self.view().await?;
        let mut all = metrics::snapshot(&self.about, &view, &self.sources.containers.tally());
        // Figures of each container, which Mesos' own keys don't have.
        self.statistics_pace.turn().await;
        usage::add_pressure(self, &view, &mut all).await;
        Ok(with_type(StatusCode::OK, serving::metrics::PROMETHEUS, all.prometheus().into()))
    }

    /// Every metric as it is now.
    async fn metrics(&self) -> Result<serving::metrics::Snapshot, Refusal> {
        Ok(metrics::snapshot(&self.about, &*self.view().await?, &self.sources.containers.tally()))
    }

    async fn download(&self, query: Query, cut: Arc<Notify>) -> Result<files::Download, Refusal> {
        let attached = self.attached().await?;
        files::download(attached, query, move || cut.notify_one()).await.map_err(unreadable)
    }

    /// Reads sandboxes on a thread that may wait for the disk.
    async fn files<T: Send + 'static>(
        &self,
        read: impl FnOnce(Attached) -> Result<T, FilesError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let attached = self.attached().await?;
        self.blocking(move || read(attached)).await?.map_err(unreadable)
    }

    async fn attached(&self) -> Result<Attached, Refusal> {
        let view = self.view().await?;
        Ok(attached::attached(&view, &self.sources.paths, self.about.external_log_file.as_deref()))
    }

    async fn view(&self) -> Result<Arc<View>, Refusal> {
        self.need_recovered()?;
        let view = self.sources.reader.view().await;
        view.ok_or_else(|| refuse(StatusCode::SERVICE_UNAVAILABLE, "This agent is ending"))
    }

    /// Mesos: 503 while the agent finds out what an earlier life left.
    fn need_recovered(&self) -> Result<(), Refusal> {
        match *self.about.recovery.borrow() {
            Some(_) => Ok(()),
            None => Err(refuse(StatusCode::SERVICE_UNAVAILABLE, "Agent has not finished recovery")),
        }
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

/// `/logging/toggle`
fn toggle(query: &Query) -> Result<Whole, Refusal> {
    let told = logging::toggle(query).map_err(|error| refuse(error.status(), &error.to_string()))?;
    Ok(if told.is_empty() { empty(StatusCode::OK) } else { text(StatusCode::OK, &told) })
}

fn unreadable(error: FilesError) -> Refusal {
    refuse(error.status(), &crate::chain(&error))
}
