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
mod folder;
mod limits;
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
pub use folder::FolderError;
pub use limits::Limits;
pub use manifest::{ConfigError, ImageConfig, ManifestError};
pub use progress::{LayerEvent, NoProgress, Progress};
pub use pull::{LayerError, PullError, PullOptions};
pub use reference::{DEFAULT_REGISTRY, ImageName, LayoutRef, NameError, RegistryRef};
pub use registry::{DockerConfig, DockerConfigError, RegistryError};
pub use snapshot::{CopySnapshotter, LayerDir, OverlaySnapshotter, Snapshot, SnapshotError, Snapshotter};
pub use source::SourceError;
pub use store::{Image, ImageStore, ImageSummary, Layer, Removed, StoreConfig, StoreError};
pub use tree::remove_tree;
pub use unpack::{UnpackError, UnpackLimits, Unpacked, unpack_tar};
