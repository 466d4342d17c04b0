//! Why a layer could not be unpacked.

use std::io;
use std::path::{Path, PathBuf};

/// A refused tar or a failed write.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The tar's own structure is broken or could be read in two ways.
    #[error("the layer's tar is malformed: {0}")]
    Malformed(String),
    /// One entry asks for something that no layer may.
    #[error("the layer has an entry {path:?} that is refused: {reason}")]
    Refused {
        /// The entry, shortened.
        path: String,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// A bound was reached.
    #[error("the layer has more than {limit} {what}")]
    TooMuch {
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
    /// The tar could not be read.
    #[error("the layer's tar could not be read")]
    Read(#[source] io::Error),
    /// The file system refused.
    #[error("cannot {operation} {path:?} of the layer in {into}", into = .into.display())]
    Write {
        /// The system call's purpose.
        operation: &'static str,
        /// The entry, shortened.
        path: String,
        /// The directory that it is unpacked to.
        into: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

impl UnpackError {
    pub(crate) fn refuse(path: &[u8], reason: &'static str) -> Self {
        Self::Refused { path: shorten(path), reason }
    }

    pub(crate) fn malformed(why: impl Into<String>) -> Self {
        Self::Malformed(why.into())
    }

    pub(super) fn write(operation: &'static str, path: &str, source: impl Into<io::Error>) -> Self {
        let (path, into) = (shorten(path.as_bytes()), PathBuf::new());
        Self::Write { operation, path, into, source: source.into() }
    }

    /// Names the directory, which those who write below it by descriptors don't know.
    pub(super) fn unpacking_to(mut self, directory: &Path) -> Self {
        if let Self::Write { into, .. } = &mut self {
            directory.clone_into(into);
        }
        self
    }

    /// Whether the disk is full or the quota used up.
    pub(crate) fn is_no_space(&self) -> bool {
        match self {
            Self::Write { source, .. } => crate::store::is_no_space(source),
            _ => false,
        }
    }

    /// Whether the tar ended early because the stage before gave up.
    pub(crate) fn is_cut(&self) -> bool {
        matches!(self, Self::Read(source) if source.kind() == io::ErrorKind::BrokenPipe)
    }
}

fn shorten(path: &[u8]) -> String {
    String::from_utf8_lossy(path).chars().take(200).collect()
}
