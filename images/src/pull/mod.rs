//! Pulling: plan what is needed, fetch it, verify it, unpack it, and only then make it visible.

mod error;
mod flight;
mod layer;
mod pipe;
mod plan;

pub use error::{LayerError, PullError};
pub(crate) use flight::Flights;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::mpsc;

use crate::folder::FolderSource;
use crate::progress::{Fanout, LayerEvent, Progress};
use crate::reference::ImageName;
use crate::registry::RegistrySource;
use crate::source::BlobSource;
use crate::store::{Image, Inner, Layer, LayerLease, Pointer};

use plan::{Plan, PlannedLayer};

/// How to pull.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PullOptions {
    /// Look the name up again although the image is in the store (Mesos: `cached=false`).
    pub force: bool,
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
    let start = |fanout| run(inner.clone(), name.clone(), options, fanout).boxed();
    inner.flights.images.join((name.clone(), options.force), progress, start).await
}

async fn run(
    inner: Arc<Inner>,
    name: ImageName,
    options: PullOptions,
    fanout: Arc<Fanout>,
) -> Result<Image, PullError> {
    // A folder on this host is cheap to ask, so what it says now counts.
    if let (ImageName::Registry(_), false) = (&name, options.force) {
        let (store, wanted) = (inner.clone(), name.clone());
        if let Some(image) =
            blocking(move || store.load(&wanted)).await.map_err(|e| PullError::store(&name, e))?
        {
            image.layers.iter().for_each(|layer| fanout.layer(&layer.digest, LayerEvent::Cached));
            return Ok(image);
        }
    }
    let failed = |e| PullError::Source { name: name.to_string(), source: e };
    match &name {
        ImageName::Registry(reference) => {
            let (http, tokens) = (inner.http.clone(), inner.tokens.clone());
            let source = RegistrySource::new(http, tokens, &inner.insecure_registries, reference);
            fetch(&inner, &name, source.map_err(|e| failed(e.into()))?, &fanout).await
        }
        ImageName::Layout(layout) => {
            let (layout, limits) = (layout.clone(), inner.limits.clone());
            let source = blocking(move || FolderSource::open(&layout, &limits)).await;
            fetch(&inner, &name, source.map_err(|e| failed(e.into()))?, &fanout).await
        }
    }
}

async fn fetch<S: BlobSource>(
    inner: &Arc<Inner>,
    name: &ImageName,
    source: S,
    fanout: &Arc<Fanout>,
) -> Result<Image, PullError> {
    let plan = plan::resolve(&source, &name.to_string(), &inner.limits).await?;
    for layer in &plan.layers {
        fanout.layer(&layer.blob.digest, LayerEvent::Planned { total: layer.blob.size });
    }
    let leases = fetch_layers(inner, name, Arc::new(source), &plan.layers, fanout).await?;
    let image = plan.image(name, leases);
    let (store, canonical) = (inner.clone(), name.to_string());
    blocking(move || {
        let Plan { top, manifest, media_type, config, manifest_bytes, config_bytes, .. } = plan;
        let pulled_at = Pointer::now();
        let pointer = Pointer { name: canonical, top, manifest, media_type, config, pulled_at };
        store.keep(&pointer, &manifest_bytes, &config_bytes)
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
