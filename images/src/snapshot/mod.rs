//! Root file systems from layers: the seam between overlayfs and plain copies.

mod copy;
mod overlay;

pub use copy::CopySnapshotter;
pub use overlay::OverlaySnapshotter;

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Mode, Uid};

/// Directories for one container's root file system.
#[derive(Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// What was given to [`crate::ImageStore::snapshot`].
    pub dir: PathBuf,
    /// Read-only layers, the topmost first, as overlayfs' `lowerdir=` wants them. Empty when `upper` alone is the
    /// whole root and nothing has to be mounted. Whoever mounts has to escape `:`, `,` and `\` in the paths.
    pub lower: Vec<PathBuf>,
    /// Where changes go; owner and mode are those of the image's root.
    pub upper: PathBuf,
    /// overlayfs' scratch directory, on the same file system as `upper`.
    pub work: PathBuf,
    /// The store's note that the layers are in use.
    pub(crate) record: Option<PathBuf>,
}

/// A failed step of making or removing a root file system.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {path} of a root file system")]
pub struct SnapshotError {
    operation: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl SnapshotError {
    fn new(operation: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self { operation, path: path.into(), source: source.into() }
    }

    /// Whether the disk is full or the quota used up.
    pub fn is_no_space(&self) -> bool {
        crate::store::is_no_space(&self.source)
    }
}

/// One unpacked layer of the store.
#[derive(Debug, Clone)]
pub struct LayerDir {
    /// Its files.
    pub(crate) fs: PathBuf,
    /// A shorter path to the same.
    pub(crate) short: PathBuf,
    /// Mode, user and group of its root directory, if the layer says so.
    pub(crate) root: Option<(u32, u32, u32)>,
    /// It hides every layer below it.
    pub(crate) opaque: bool,
}

/// A way of putting layers together.
pub trait Snapshotter: Send + Sync {
    /// Makes one root file system in the existing directory `dir`; `layers` begin with the lowest.
    fn prepare(&self, layers: &[LayerDir], dir: &Path) -> Result<Snapshot, SnapshotError>;
}

impl Snapshot {
    fn new(dir: &Path, lower: Vec<PathBuf>) -> Self {
        Self { dir: dir.into(), lower, upper: dir.join("upper"), work: dir.join("work"), record: None }
    }

    /// Whether `dir` holds a snapshot.
    pub(crate) fn is_in(dir: &Path) -> bool {
        dir.join("upper").exists() || dir.join("work").exists()
    }

    /// A snapshot of an earlier process; its lower directories are of no interest any more.
    pub(crate) fn found(dir: &Path, record: PathBuf) -> Self {
        Self { record: Some(record), ..Self::new(dir, Vec::new()) }
    }

    /// Removes the directories and gives the layers free. Whatever is mounted from them has to be unmounted before.
    /// Blocks on the disk.
    pub fn remove(self) -> Result<(), SnapshotError> {
        for path in [&self.upper, &self.work, &self.dir.join("lower")] {
            crate::tree::remove_tree(path).map_err(|e| SnapshotError::new("remove", path, e))?;
        }
        let Some(record) = &self.record else { return Ok(()) };
        match std::fs::remove_file(record) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(SnapshotError::new("remove", record, error))
            }
            _ => Ok(()),
        }
    }
}

fn make_dir(path: &Path) -> Result<(), SnapshotError> {
    std::fs::create_dir(path).map_err(|e| SnapshotError::new("make", path, e))
}

/// What shows through: layers above the topmost one that hides everything, each once. Of a layer that occurs twice the
/// upper one says the same as the lower, and overlayfs refuses a directory that it is given twice.
fn visible(layers: &[LayerDir]) -> Vec<&LayerDir> {
    let mut topmost_first: Vec<&LayerDir> = Vec::new();
    for layer in layers.iter().rev() {
        if !topmost_first.iter().any(|other| other.fs == layer.fs) {
            topmost_first.push(layer);
        }
        if layer.opaque {
            break;
        }
    }
    topmost_first
}

/// The root directory looks as the topmost layer that mentions it says; 0755 of root when none does.
fn dress_root(path: &Path, topmost_first: &[&LayerDir]) -> Result<(), SnapshotError> {
    let failed = |e: rustix::io::Errno| SnapshotError::new("set the owner and mode of", path, e);
    let (mode, uid, gid) = topmost_first.iter().find_map(|layer| layer.root).unwrap_or((0o755, 0, 0));
    let dir = crate::tree::open_dir(rustix::fs::CWD, path).map_err(failed)?;
    rustix::fs::fchown(&dir, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(failed)?;
    rustix::fs::fchmod(&dir, Mode::from_raw_mode(mode)).map_err(failed)
}
