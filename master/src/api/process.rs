//! What every process of Mesos' answers, whoever leads: metrics, the log's verbosity, files, the machine.

use std::sync::Arc;

use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode, Uri};
use serving::files::{self, Attached, FilesError};
use serving::jsonp;
use serving::logging::{self, LevelError};
use serving::metrics::{PROMETHEUS, Snapshot, timeout};
use serving::system::System;
use wire::query::Query;

use super::legacy::finished;
use super::routes::Process;
use super::{Api, Body, Refusal, empty, refuse, text, with_type};
use crate::metrics::{self, Now};
use crate::service::Lifeline;

/// Answers a page.
pub async fn page(
    api: &Api,
    page: Process,
    uri: &Uri,
    lifeline: Lifeline,
) -> Result<Response<Body>, Refusal> {
    let query = Query::parse(uri.query().unwrap_or_default());
    let bad = |why: &str| refuse(StatusCode::BAD_REQUEST, why);
    let function = jsonp::function(&query).map_err(|why| bad(&why.to_string()))?;
    let function = function.as_deref();
    match page {
        Process::Snapshot => {
            timeout(&query).map_err(|why| bad(&why))?;
            api.options.pace.turn().await;
            Ok(finished(function, snapshot(api).await?.json()))
        }
        Process::Prometheus => {
            let text = snapshot(api).await?.prometheus();
            Ok(with_type(StatusCode::OK, PROMETHEUS, text.into()))
        }
        Process::Logging => match logging::toggle(&query).map_err(|why| refused_level(&why))? {
            level if level.is_empty() => Ok(empty(StatusCode::OK)),
            level => Ok(text(StatusCode::OK, &level)),
        },
        Process::System => Ok(finished(function, System::read().json())),
        Process::Browse => read(api, function, move |attached| files::browse(attached, &query)).await,
        Process::Read => read(api, function, move |attached| files::read(attached, &query)).await,
        Process::Debug => read(api, function, |attached| Ok(files::debug(attached))).await,
        Process::Download => download(api, query, lifeline).await,
    }
}

async fn read(
    api: &Api,
    function: Option<&str>,
    work: impl FnOnce(&Attached) -> Result<serde_json::Value, FilesError> + Send + 'static,
) -> Result<Response<Body>, Refusal> {
    let value = with_files(api, work).await?;
    Ok(finished(function, value.to_string().into_bytes()))
}

/// Reads files on a thread that may wait for the disk.
pub async fn with_files<T: Send + 'static>(
    api: &Api,
    work: impl FnOnce(&Attached) -> Result<T, FilesError> + Send + 'static,
) -> Result<T, Refusal> {
    let about = api.about.clone();
    let done = tokio::task::spawn_blocking(move || work(&about.files())).await;
    let failed = |_| refuse(StatusCode::INTERNAL_SERVER_ERROR, "The answer could not be made");
    done.map_err(failed)?.map_err(|why| refused_file(&why))
}

fn refused_file(why: &FilesError) -> Refusal {
    refuse(why.status(), &why.to_string())
}

/// What the log refuses.
pub fn refused_level(why: &LevelError) -> Refusal {
    refuse(why.status(), &why.to_string())
}

async fn download(api: &Api, query: Query, lifeline: Lifeline) -> Result<Response<Body>, Refusal> {
    let about = api.about.clone();
    let attached = tokio::task::spawn_blocking(move || about.files()).await.unwrap_or_default();
    let download = files::download(attached, query, move || lifeline.cut()).await;
    let download = download.map_err(|why| refused_file(&why))?;
    let mut response = Response::new(Body::Parts(download.parts));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(download.content_type));
    if let Ok(disposition) = HeaderValue::try_from(download.disposition) {
        response.headers_mut().insert(CONTENT_DISPOSITION, disposition);
    }
    Ok(response)
}

/// All metrics of this moment; those of a leader only while this master is one.
pub async fn snapshot(api: &Api) -> Result<Snapshot, Refusal> {
    let now = now(api);
    if !now.leading {
        return Ok(metrics::standby(&api.about, &now));
    }
    let (sender, snapshot) = tokio::sync::oneshot::channel();
    api.glance(move |about, view| {
        // Who asked may have left.
        let _ = sender.send(metrics::leading(about, &now, view));
        empty(StatusCode::OK)
    })
    .await?;
    snapshot.await.map_err(|_| refuse(StatusCode::INTERNAL_SERVER_ERROR, "The metrics could not be read"))
}

/// What the service knows beside the tables.
pub fn now(api: &Api) -> Now {
    Now {
        at: api.handle.clock().now(),
        leading: *api.leading.borrow(),
        queued: api.handle.queued(),
        vitals: Arc::clone(api.handle.vitals()),
        per_framework: api.options.per_framework,
    }
}
