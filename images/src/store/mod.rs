//! The content-addressed store: unpacked layers, image configurations, and the names that point to them.
//!
//! ```text
//! lock                      flock: one process at a time changes names, takes or gives up layers
//! staging/<session>/<n>/    half-made layers; a session is locked while its process lives
//! layers/<algo>/<hex>/      fs/ (the unpacked layer), layer.json, settled (its content is on the disk)
//! manifests/<algo>/<hex>    as they came; verified again whenever they are read
//! configs/<algo>/<hex>
//! names/<hash>.json         which manifest a name means
//! snapshots/<hash>.json     which layers a container's root file system uses
//! l/<short>                 links to layers' fs, short enough for mount options
//! ```
//!
//! Everything becomes visible by a rename of something complete. A layer is usable at once after its rename; that
//! its content also survives a power failure is recorded later, in `settled`, after `syncfs`. A layer without that
//! mark that was written before the last boot is thrown away.

mod content;
mod error;
mod files;
mod image;
mod layers;
mod names;
mod remove;
mod staging;

pub use error::StoreError;
pub use image::{Image, ImageSummary, Layer, Removed};

pub(crate) use error::is_no_space;
pub(crate) use files::Root;
pub(crate) use layers::{LayerLease, LayerRecord};
pub(crate) use names::Pointer;
pub(crate) use staging::StagedLayer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use layers::Leases;
use staging::Session;

use crate::limits::Limits;
use crate::progress::Progress;
use crate::pull::{Flights, PullError, PullOptions};
use crate::reference::{DEFAULT_REGISTRY, ImageName, NameError};
use crate::registry::{DockerConfig, Http, Tokens};
use crate::snapshot::{OverlaySnapshotter, Snapshot, Snapshotter};

/// How a store is set up.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Directory of the store, made when missing. Nobody but us may write to it.
    pub root: PathBuf,
    /// Logins for registries.
    pub docker_config: Option<DockerConfig>,
    /// Where names without a registry are looked for: `host[:port]`, or a URL as in Mesos' `--docker_registry`. One with
    /// `http://` counts as listed below.
    pub default_registry: String,
    /// Registries (`host[:port]`) spoken to without TLS, besides those on the loopback.
    pub insecure_registries: Vec<String>,
    /// Bounds of one pull.
    pub limits: Limits,
}

impl StoreConfig {
    /// A store at `root` with every other setting at its default.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            docker_config: None,
            default_registry: DEFAULT_REGISTRY.into(),
            insecure_registries: Vec::new(),
            limits: Limits::default(),
        }
    }

    /// The default registry as a host, whatever form it was given in.
    fn with_plain_default(mut self) -> Self {
        let given = std::mem::take(&mut self.default_registry);
        let (scheme, rest) = given.split_once("://").unwrap_or(("", &given));
        let host = rest.trim_end_matches('/').to_ascii_lowercase();
        if scheme == "http" {
            self.insecure_registries.push(host.clone());
        }
        self.default_registry = if host.is_empty() { DEFAULT_REGISTRY.into() } else { host };
        self
    }
}

/// Images on this host. Cheap to clone; several processes may open one store.
#[derive(Clone)]
pub struct ImageStore {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) root: Root,
    pub(crate) limits: Limits,
    pub(crate) default_registry: String,
    pub(crate) insecure_registries: Vec<String>,
    pub(crate) http: Arc<Http>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) flights: Flights,
    pub(crate) session: Session,
    pub(crate) leases: Leases,
    /// One thread at a time syncs the file system.
    settling: Arc<Mutex<()>>,
}

impl ImageStore {
    /// Opens the store, making it when missing and clearing what a crash left behind.
    ///
    /// # Errors
    /// The directory can't be made or read, or no TLS provider is installed in this process
    /// (`rustls::crypto::ring::default_provider().install_default()`).
    pub async fn open(config: StoreConfig) -> Result<Self, StoreError> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            return Err(StoreError::NoCryptoProvider);
        }
        crate::pull::blocking(move || Self::open_blocking(config)).await
    }

    fn open_blocking(config: StoreConfig) -> Result<Self, StoreError> {
        let config = config.with_plain_default();
        let root = Root::open(&config.root)?;
        let session = {
            let _locked = root.lock()?;
            let session = Session::begin(&root)?;
            layers::discard_unsettled(&root)?;
            session
        };
        let inner = Inner {
            flights: Flights::default(),
            leases: Leases::default(),
            settling: Arc::default(),
            http: Arc::new(Http::new(config.limits.clone())),
            tokens: Arc::new(Tokens::new(config.docker_config)),
            limits: config.limits,
            default_registry: config.default_registry,
            insecure_registries: config.insecure_registries,
            session,
            root,
        };
        inner.settle_later();
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Parses an image name with this store's default registry.
    pub fn name(&self, text: &str) -> Result<ImageName, NameError> {
        ImageName::parse(text, &self.inner.default_registry)
    }

    /// Makes sure that the image is in the store. An image that is there already costs no request, unless
    /// `force` is set (Mesos: `cached=false`). Pulls of the same image at the same time are one pull.
    ///
    /// # Errors
    /// See [`PullError`]; nothing half-done is left behind.
    pub async fn pull(
        &self,
        name: &ImageName,
        options: PullOptions,
        progress: Arc<dyn Progress>,
    ) -> Result<Image, PullError> {
        crate::pull::pull(self.inner.clone(), name.clone(), options, progress).await
    }

    /// The image if it is completely in the store; asks no registry. Blocks on the disk.
    pub fn cached(&self, name: &ImageName) -> Result<Option<Image>, StoreError> {
        self.inner.load(name)
    }

    /// All names in the store, in order. Blocks on the disk.
    pub fn list(&self) -> Result<Vec<ImageSummary>, StoreError> {
        self.inner.list()
    }

    /// Forgets a name and removes what no other name needs.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::InUse`] while an [`Image`] handle (of any process) or a snapshot
    /// still needs a layer that would go.
    pub async fn remove(&self, name: &ImageName) -> Result<Removed, StoreError> {
        let (inner, name) = (self.inner.clone(), name.clone());
        crate::pull::blocking(move || inner.remove(&name)).await
    }

    /// Removes layers and documents that no name needs and nobody uses, such as those of a pull that failed.
    pub async fn prune(&self) -> Result<Removed, StoreError> {
        let inner = self.inner.clone();
        crate::pull::blocking(move || inner.prune()).await
    }

    /// Prepares directories for one root file system of the image in `dir`, which must be on a file system that
    /// overlayfs can write to. Nothing is mounted. Until [`Snapshot::remove`] the layers can't be removed, not even
    /// by another process or after a restart. Blocks on the disk.
    pub fn snapshot(&self, image: &Image, dir: &Path) -> Result<Snapshot, StoreError> {
        self.snapshot_with(&OverlaySnapshotter, image, dir)
    }

    /// As [`ImageStore::snapshot`], by another way of putting layers together.
    pub fn snapshot_with(
        &self,
        snapshotter: &dyn Snapshotter,
        image: &Image,
        dir: &Path,
    ) -> Result<Snapshot, StoreError> {
        self.inner.snapshot(snapshotter, image, dir)
    }

    /// The snapshot that an earlier process made in `dir`, so that it can be removed.
    pub fn find_snapshot(&self, dir: &Path) -> Result<Option<Snapshot>, StoreError> {
        self.inner.find_snapshot(dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_registry_may_be_a_url() {
        let plain = |given: &str| {
            let config = StoreConfig { default_registry: given.into(), ..StoreConfig::at("/nonexistent") };
            let config = config.with_plain_default();
            (config.default_registry, config.insecure_registries)
        };
        assert_eq!(plain("https://registry-1.docker.io"), (DEFAULT_REGISTRY.into(), vec![]));
        assert_eq!(
            plain("http://R.example:5000/"),
            ("r.example:5000".into(), vec!["r.example:5000".to_owned()])
        );
        assert_eq!(plain("r.example"), ("r.example".into(), vec![]));
        assert_eq!(plain(""), (DEFAULT_REGISTRY.into(), vec![]));
    }
}
