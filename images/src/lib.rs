//! Container images from a registry or a local folder to a root file system on disk.
//!
//! An [`ImageStore`] pulls images by name, verifies every byte by size and digest while it streams, unpacks
//! layers into a content-addressed store and hands out [`Snapshot`]s: the directories that overlayfs wants.
//! It knows nothing of tasks, containers or mounts.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::{path::Path, sync::Arc};
//! use images::{ImageStore, NoProgress, PullOptions, StoreConfig};
//!
//! let store = ImageStore::open(StoreConfig::at("/var/lib/tepui/images")).await?;
//! let name = store.name("127.0.0.1:5000/busybox")?;
//! let image = store.pull(&name, PullOptions::default(), Arc::new(NoProgress)).await?;
//! let snapshot = store.snapshot(&image, Path::new("/var/lib/tepui/containers/c1"))?;
//! println!("lowerdir={:?} upperdir={:?}", snapshot.lower, snapshot.upper);
//! # Ok(()) }
//! ```
#![forbid(unsafe_code)]

mod digest;
#[doc(hidden)]
pub mod fuzzing;
mod limits;
mod local;
mod manifest;
mod progress;
mod pull;
mod reference;
mod registry;
mod snapshot;
mod source;
mod store;
mod tree;
mod unpack;

pub use digest::{Algorithm, Digest, DigestError, Hasher};
pub use limits::Limits;
pub use local::{ArchiveError, FolderError};
pub use manifest::{ConfigError, ImageConfig, ManifestError, Step};
pub use progress::{LayerEvent, NoProgress, Progress};
pub use pull::{LayerError, PullError, PullOptions};
pub use reference::{ArchiveRef, DEFAULT_REGISTRY, ImageName, LayoutRef, NameError, RegistryRef};
pub use registry::{DockerConfig, DockerConfigError, Mirrors, MirrorsError, RegistryError};
pub use snapshot::{CopySnapshotter, LayerDir, OverlaySnapshotter, Snapshot, SnapshotError, Snapshotter};
pub use source::SourceError;
pub use store::{
    Image, ImageStore, ImageSummary, Inspection, Layer, LayerInspection, Problem, PrunePolicy, PruneReport,
    Removed, StoreConfig, StoreError, Verification,
};
pub use tree::remove_tree;
pub use unpack::{UnpackError, UnpackLimits, Unpacked, unpack_tar};
