//! Half-made layers: each in a directory of its own, gone with its owner.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::FlockOperation;

use super::error::StoreError;
use super::files::{self, Root};

static SESSIONS: AtomicU64 = AtomicU64::new(0);

/// The staging area of one opened store; locked so that other processes leave it alone.
pub(crate) struct Session {
    dir: PathBuf,
    next: AtomicU64,
    _lock: File,
}

impl Session {
    /// Clears what dead processes left, then begins. The caller holds the store's lock.
    pub(super) fn begin(root: &Root) -> Result<Self, StoreError> {
        let staging = root.dir("staging");
        for name in files::names_in(&staging)? {
            sweep(&staging.join(name))?;
        }
        let number = SESSIONS.fetch_add(1, Ordering::Relaxed);
        let dir = staging.join(format!("s{}-{number}", std::process::id()));
        files::make_dir(&dir)?;
        let failed = |e| StoreError::io("lock", &dir, e);
        let lock = files::open_dir(&dir).map_err(failed)?;
        files::flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(failed)?;
        Ok(Self { dir, next: AtomicU64::new(0), _lock: lock })
    }

    /// A fresh directory for one layer.
    pub(crate) fn stage(&self) -> Result<StagedLayer, StoreError> {
        let dir = self.place();
        let staged = StagedLayer { fs: dir.join("fs"), dir };
        files::make_dir(&staged.fs)?;
        Ok(staged)
    }

    /// A name in the staging area that nothing has yet.
    pub(super) fn place(&self) -> PathBuf {
        self.dir.join(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Err(error) = crate::tree::remove_tree(&self.dir) {
            tracing::warn!(dir = %self.dir.display(), %error, "staging area not removed; the next start will");
        }
    }
}

/// Removes what no living process owns: a session that can be locked, or a file that was being written.
fn sweep(path: &Path) -> Result<(), StoreError> {
    let owned = match files::open_dir(path) {
        Ok(dir) => files::flock(&dir, FlockOperation::NonBlockingLockExclusive).is_err(),
        // Files are written under the lock that our caller holds, so this one was abandoned.
        Err(_) => false,
    };
    if owned {
        return Ok(());
    }
    crate::tree::remove_tree(path).map_err(|e| StoreError::io("clear", path, e))
}

/// A layer that is being unpacked. Dropped before it is committed, it vanishes.
pub(crate) struct StagedLayer {
    pub(super) dir: PathBuf,
    /// Where the layer's files go.
    pub(crate) fs: PathBuf,
}

impl Drop for StagedLayer {
    fn drop(&mut self) {
        if let Err(error) = crate::tree::remove_tree(&self.dir) {
            tracing::warn!(dir = %self.dir.display(), %error, "half-made layer not removed; the next start will");
        }
    }
}
