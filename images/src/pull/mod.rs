//! Pulling: plan what is needed, fetch it, verify it, unpack it, and only then make it visible.

mod error;
mod flight;
pub(crate) mod fuzzing;
mod layer;
mod pipe;
mod plan;

pub use error::{LayerError, PullError};
pub(crate) use flight::Flights;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::mpsc;

use crate::local::{ArchiveSource, FolderSource};
use crate::progress::{Fanout, LayerEvent, Progress};
use crate::reference::ImageName;
use crate::registry::{DockerConfig, Tokens};
use crate::source::{BlobSource, SourceError, Waiting};
use crate::store::{Grant, Image, Inner, Layer, LayerLease, Pointer};

use plan::{Plan, PlannedLayer};

/// How to pull.
#[derive(Debug, Clone, Default)]
pub struct PullOptions {
    /// Look the name up again although the image is in the store (Mesos: `cached=false`).
    pub force: bool,
    /// Logins that this pull brings, in the form of Docker's `config.json` (Mesos: `Image.Docker.config`). They win over
    /// those of the store; credential helpers named in it are not run. An image that a registry gave for such a login is
    /// served from the store only to pulls with the same logins; others have to be let in by the registry themselves.
    pub secret: Option<DockerConfig>,
}

/// Work that blocks on the disk or computes for long.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down and takes this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}

pub(crate) async fn pull(
    inner: Arc<Inner>,
    name: ImageName,
    options: PullOptions,
    progress: Arc<dyn Progress>,
) -> Result<Image, PullError> {
    let grant = options.secret.as_ref().map(|secret| inner.grant(secret));
    let key = (name.clone(), options.force, grant.clone());
    let start = |fanout| in_time(Pull { inner: inner.clone(), name, options, grant, fanout }).boxed();
    inner.flights.images.join(key, progress, start).await
}

/// One pull, as its first caller wants it.
struct Pull {
    inner: Arc<Inner>,
    name: ImageName,
    options: PullOptions,
    /// Stands for the logins that it brings.
    grant: Option<Grant>,
    fanout: Arc<Fanout>,
}

async fn in_time(pull: Pull) -> Result<Image, PullError> {
    let (name, limit) = (pull.name.to_string(), pull.inner.limits.pull_timeout);
    let outcome = tokio::time::timeout(limit, run(pull)).await;
    outcome.unwrap_or(Err(PullError::TimedOut { name, seconds: limit.as_secs() }))
}

async fn run(pull: Pull) -> Result<Image, PullError> {
    let Pull { inner, name, options, .. } = &pull;
    let failed = |e: SourceError| PullError::Source { name: name.to_string(), source: e };
    match name {
        ImageName::Registry(reference) => {
            if !options.force
                && let Some(image) = cached(&pull).await?
            {
                return Ok(image);
            }
            let tokens =
                options.secret.as_ref().map(|secret| inner.registries.tokens.with_secret(secret.clone()));
            let tokens = tokens.map(Arc::new);
            let source = inner.registries.source(reference, tokens.clone(), waiting(&pull.fanout));
            let source = source.map_err(|e| failed(e.into()))?;
            fetch(&pull, source, tokens.as_deref()).await
        }
        // A file on this host is cheap to ask, so what it says now counts.
        ImageName::Layout(layout) => {
            let (layout, inner) = (layout.clone(), inner.clone());
            let open = move || FolderSource::open(&layout, &inner.limits, inner.local_dirs.as_deref());
            let source = blocking(open).await;
            fetch(&pull, source.map_err(|e| failed(e.into()))?, None).await
        }
        ImageName::Archive(archive) => {
            let (archive, inner) = (archive.clone(), inner.clone());
            let open = move || ArchiveSource::open(&archive, &inner.limits, inner.local_dirs.as_deref());
            let source = blocking(open).await;
            fetch(&pull, source.map_err(|e| failed(e.into()))?, None).await
        }
    }
}

/// Tells the callers of pauses before the layers are known.
fn waiting(fanout: &Arc<Fanout>) -> Waiting {
    let fanout = fanout.clone();
    Arc::new(move |why, pause| fanout.waiting(why, pause))
}

/// The image from the store, if all of it is there and this pull may have it.
async fn cached(pull: &Pull) -> Result<Option<Image>, PullError> {
    let (store, wanted, grant) = (pull.inner.clone(), pull.name.clone(), pull.grant.clone());
    let found = blocking(move || store.load(&wanted, grant.as_ref())).await;
    let found = found.map_err(|e| PullError::store(&pull.name, e))?;
    for layer in found.iter().flat_map(|image| &image.layers) {
        pull.fanout.layer(&layer.digest, LayerEvent::Cached);
    }
    Ok(found)
}

async fn fetch<S: BlobSource>(pull: &Pull, source: S, tokens: Option<&Tokens>) -> Result<Image, PullError> {
    let Pull { inner, name, fanout, .. } = pull;
    let plan = plan::resolve(&source, &name.to_string(), inner).await?;
    for layer in &plan.layers {
        fanout.layer(&layer.blob.digest, LayerEvent::Planned { total: layer.blob.size });
    }
    let leases = fetch_layers(inner, name, Arc::new(source), &plan.layers, fanout).await?;
    let image = plan.image(name, leases);
    let (store, canonical) = (inner.clone(), name.to_string());
    // Everybody may have what the registry gave without a login of the pull's own.
    let grant = pull.grant.clone().filter(|_| tokens.is_some_and(Tokens::is_secret_used));
    blocking(move || {
        let Plan { top, manifest, media_type, config, manifest_bytes, config_bytes, .. } = plan;
        let pulled_at = Pointer::now();
        let pointer = Pointer {
            name: canonical,
            top,
            manifest,
            media_type,
            config,
            pulled_at,
            grants: None,
            pinned: false,
        };
        store.keep(pointer, grant, &manifest_bytes, &config_bytes)
    })
    .await
    .map_err(|e| PullError::store(name, e))?;
    tracing::info!(image = %name, manifest = %image.manifest_digest, layers = image.layers.len(), "image pulled");
    Ok(image)
}

/// All layers, some at once. After a failure the others are stopped, and what they had on the disk is gone before the
/// error is reported.
async fn fetch_layers<S: BlobSource>(
    inner: &Arc<Inner>,
    name: &ImageName,
    source: Arc<S>,
    layers: &[PlannedLayer],
    fanout: &Arc<Fanout>,
) -> Result<Vec<Arc<LayerLease>>, PullError> {
    let budget = Arc::new(AtomicU64::new(inner.limits.image_bytes));
    let (working, mut ended) = mpsc::channel::<()>(1);
    let one = |layer: &PlannedLayer| {
        let (diff_id, digest) = (layer.diff_id.clone(), layer.blob.digest.clone());
        let start = |fanout| {
            let job = layer::Job {
                inner: inner.clone(),
                layer: layer.clone(),
                budget: budget.clone(),
                fanout,
                _working: working.clone(),
            };
            layer::ensure(job, source.clone()).boxed()
        };
        let flight = inner.flights.layers.join(diff_id, fanout.clone(), start);
        async move { flight.await.map_err(|source| PullError::Layer { name: name.to_string(), digest, source }) }
    };
    let jobs: Vec<_> = layers.iter().map(one).collect();
    drop(working);
    let outcome = stream::iter(jobs).buffered(inner.limits.parallel_layers.max(1)).try_collect().await;
    if outcome.is_err() {
        let _ = tokio::time::timeout(inner.limits.idle_timeout, ended.recv()).await;
    }
    outcome
}

impl Plan {
    fn image(&self, name: &ImageName, leases: Vec<Arc<LayerLease>>) -> Image {
        let layers = self.layers.iter().map(|layer| Layer {
            digest: layer.blob.digest.clone(),
            diff_id: layer.diff_id.clone(),
            size: layer.blob.size,
        });
        Image {
            name: name.clone(),
            manifest_digest: self.manifest.clone(),
            config: self.image_config.clone(),
            layers: layers.collect(),
            leases: leases.into(),
        }
    }
}
