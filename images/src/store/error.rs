//! What can go wrong with the store, in words that say what to do.

use std::io;
use std::path::{Path, PathBuf};

use crate::snapshot::SnapshotError;

/// A failed operation on the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or directory of the store.
    #[error("cannot {operation} {path}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The disk is full or a quota is used up.
    #[error("no space left for {path}; free some space, e.g. with `tepui image prune`")]
    NoSpace {
        /// What was being written.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// A name that is not in the store.
    #[error("there is no image {name} in the store; `tepui image list` shows what is there")]
    NotFound {
        /// The name.
        name: String,
    },
    /// Layers that would go are in use.
    #[error("image {name} is in use ({by}); end what uses it first")]
    InUse {
        /// The name.
        name: String,
        /// Who uses it.
        by: String,
    },
    /// A snapshot could not be made or removed.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// A snapshot directory that another image uses already.
    #[error("{dir} already holds a snapshot; remove it first")]
    SnapshotExists {
        /// The directory.
        dir: PathBuf,
    },
    /// The process has no TLS provider.
    #[error(
        "no TLS provider is installed in this process; install rustls' ring provider at the start of main"
    )]
    NoCryptoProvider,
}

impl StoreError {
    pub(crate) fn io(operation: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        let (path, source) = (path.to_path_buf(), source.into());
        if is_no_space(&source) {
            Self::NoSpace { path, source }
        } else {
            Self::Io { operation, path, source }
        }
    }
}

/// Whether the disk is full or the quota used up.
pub(crate) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
