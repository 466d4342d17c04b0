//! The content-addressed store: unpacked layers, image configurations, and the names that point to them.
//!
//! ```text
//! lock                      flock: one process at a time changes names, takes or gives up layers
//! staging/<session>/<n>/    half-made layers; a session is locked while its process lives
//! layers/<algo>/<hex>/      fs/ (the unpacked layer), layer.json, seal (one digest over fs/), settled (it is on the disk)
//! manifests/<algo>/<hex>    as they came; verified again whenever they are read
//! configs/<algo>/<hex>
//! partial/<algo>/<hex>      blobs that did not arrive completely
//! names/<hash>.json         which manifest a name means; its time is that of the last use
//! key                       tells apart the logins of pulls without keeping them
//! snapshots/<hash>.json     which layers a container's root file system uses
//! l/<short>                 links to layers' fs, short enough for mount options
//! ```
//!
//! Everything becomes visible by a rename of something complete. A layer is usable at once after its rename; that
//! its content also survives a power failure is recorded later, in `settled`, after `syncfs`. A layer without that
//! mark that was written before the last boot is thrown away.

mod collect;
mod config;
mod content;
mod error;
mod files;
mod image;
mod inspect;
mod layers;
mod names;
mod partial;
mod prune;
mod remove;
mod seal;
mod staging;
mod verify;

pub use config::StoreConfig;
pub use error::StoreError;
pub use image::{Image, ImageSummary, Layer, Removed};
pub use inspect::{Inspection, LayerInspection};
pub use prune::{PrunePolicy, PruneReport};
pub use verify::{Problem, Verification};

pub(crate) use error::is_no_space;
pub(crate) use files::Root;
pub(crate) use layers::{LayerLease, LayerRecord};
pub(crate) use names::{Grant, Pointer};
pub(crate) use partial::Partial;
pub(crate) use staging::StagedLayer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use layers::{Leases, Turns};
use staging::Session;

use crate::limits::Limits;
use crate::progress::Progress;
use crate::pull::{Flights, PullError, PullOptions};
use crate::reference::{ImageName, NameError};
use crate::registry::{Http, Registries, Tokens, Trust};
use crate::snapshot::{OverlaySnapshotter, Snapshot, Snapshotter};

/// Images on this host. Cheap to clone; several processes may open one store.
#[derive(Clone)]
pub struct ImageStore {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) root: Root,
    pub(crate) limits: Limits,
    pub(crate) default_registry: String,
    pub(crate) local_dirs: Option<Vec<PathBuf>>,
    pub(crate) registries: Registries,
    pub(crate) flights: Flights,
    pub(crate) session: Session,
    pub(crate) leases: Leases,
    /// Tells apart the logins of pulls.
    key: [u8; 32],
    turns: Arc<Turns>,
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

    /// Whether there is a store in the directory, for those who don't want to make one. Blocks on the disk.
    pub fn is_at(root: &Path) -> bool {
        Root::is_at(root)
    }

    fn open_blocking(config: StoreConfig) -> Result<Self, StoreError> {
        let config = config.with_plain_default();
        let root = Root::open(&config.root)?;
        let (session, key) = {
            let _locked = root.lock()?;
            let session = Session::begin(&root)?;
            layers::discard_unsettled(&root)?;
            partial::sweep_old(&root)?;
            (session, names::key(&root)?)
        };
        let trust = Trust { insecure: config.insecure_registries, token_services: config.token_services };
        let registries = Registries {
            http: Arc::new(Http::new(config.limits.clone())),
            tokens: Arc::new(Tokens::new(config.docker_config)),
            trust,
            mirrors: config.mirrors,
        };
        let inner = Inner {
            flights: Flights::default(),
            leases: Leases::default(),
            turns: Arc::default(),
            registries,
            limits: config.limits,
            default_registry: config.default_registry,
            local_dirs: config.local_dirs,
            session,
            key,
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

    /// The image if it is completely in the store and not only for pulls with certain logins; asks no registry. Blocks
    /// on the disk.
    pub fn cached(&self, name: &ImageName) -> Result<Option<Image>, StoreError> {
        self.inner.load(name, None)
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

    /// Removes layers and documents that no name needs and nobody uses, such as those of a pull that failed, and names as
    /// the policy says. Safe at any time: what a launch has been given stays.
    pub async fn prune(&self, policy: PrunePolicy) -> Result<PruneReport, StoreError> {
        let inner = self.inner.clone();
        crate::pull::blocking(move || inner.prune(&policy)).await
    }

    /// Keeps a name from being pruned (`pinned`), or no longer. Blocks on the disk.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn pin(&self, name: &ImageName, pinned: bool) -> Result<(), StoreError> {
        self.inner.pin(name, pinned)
    }

    /// All that is known of an image in the store. Blocks on the disk.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], also when a part of what describes it is damaged.
    pub fn inspect(&self, name: &ImageName) -> Result<Inspection, StoreError> {
        self.inner.inspect(name)
    }

    /// Hashes everything in the store again. With `repair` what is damaged is removed if nothing uses it, and names that
    /// lack something are forgotten, so that the next pull fetches them.
    ///
    /// # Errors
    /// The store can't be read at all; damage is no error but part of the answer.
    pub async fn verify(&self, repair: bool) -> Result<Verification, StoreError> {
        let inner = self.inner.clone();
        crate::pull::blocking(move || inner.verify(repair)).await
    }

    /// Waits until what [`ImageStore::verify`] compares with is written of every layer. It is in the background too, but a
    /// process that pulls and ends should not leave it to the next one.
    pub async fn seal(&self) -> Result<(), StoreError> {
        let inner = self.inner.clone();
        crate::pull::blocking(move || inner.seal()).await
    }

    /// Prepares directories for one root file system of the image in `dir`, which must be on a file system that
    /// overlayfs can write to. Nothing is mounted. Until [`Snapshot::remove`] the layers can't be removed, not even
    /// by another process or after a restart. Blocks on the disk.
    pub fn snapshot(&self, image: &Image, dir: &Path) -> Result<Snapshot, StoreError> {
        self.snapshot_with(&OverlaySnapshotter::new(), image, dir)
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
