//! Why a pull failed.

use std::error::Error;
use std::io;
use std::sync::Arc;

use crate::digest::Digest;
use crate::manifest::{ConfigError, ManifestError};
use crate::reference::ImageName;
use crate::source::SourceError;
use crate::store::StoreError;
use crate::unpack::UnpackError;

/// A failed pull. Cheap to clone, because callers of a merged pull all get it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PullError {
    /// The registry or folder.
    #[error("cannot pull {name}")]
    Source {
        /// Canonical image name.
        name: String,
        /// What the source did.
        #[source]
        source: SourceError,
    },
    /// The manifest or index.
    #[error("cannot pull {name}")]
    Manifest {
        /// Canonical image name.
        name: String,
        /// What is wrong with it.
        #[source]
        source: ManifestError,
    },
    /// The image configuration.
    #[error("cannot pull {name}")]
    Config {
        /// Canonical image name.
        name: String,
        /// What is wrong with it.
        #[source]
        source: ConfigError,
    },
    /// A document is not what its digest promises.
    #[error(
        "cannot pull {name}: its {what} has digest {actual}, {expected} was expected; the source is damaged or lies"
    )]
    WrongDigest {
        /// Canonical image name.
        name: String,
        /// Manifest or configuration.
        what: &'static str,
        /// What was promised.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// A document has another size than its descriptor says, or one that is not allowed.
    #[error("cannot pull {name}: its {what} has {actual} bytes, {expected} were expected")]
    WrongSize {
        /// Canonical image name.
        name: String,
        /// Manifest or configuration.
        what: &'static str,
        /// What was promised, or the most that is allowed.
        expected: u64,
        /// What came, or what the descriptor says.
        actual: u64,
    },
    /// A layer.
    #[error("cannot pull {name}: layer {digest}")]
    Layer {
        /// Canonical image name.
        name: String,
        /// Of the compressed blob.
        digest: Digest,
        /// What is wrong with it.
        #[source]
        source: Arc<LayerError>,
    },
    /// It took too long as a whole.
    #[error(
        "cannot pull {name} within {seconds} s; what came of its layers is kept, so pulling it again goes on from there"
    )]
    TimedOut {
        /// Canonical image name.
        name: String,
        /// The bound in seconds.
        seconds: u64,
    },
    /// The store.
    #[error("cannot pull {name}")]
    Store {
        /// Canonical image name.
        name: String,
        /// What failed.
        #[source]
        source: Arc<StoreError>,
    },
}

/// Why a layer was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The registry or folder.
    #[error(transparent)]
    Source(SourceError),
    /// The blob is not what the manifest names.
    #[error(
        "its content has digest {actual}; the source is damaged or lies: push the image again, or pull it from elsewhere"
    )]
    WrongDigest {
        /// What came.
        actual: Digest,
    },
    /// The tar is not what the configuration names.
    #[error(
        "its uncompressed content has digest {actual}, the image configuration says {expected}; the image was built wrongly: \
         build and push it again"
    )]
    WrongDiffId {
        /// `rootfs.diff_ids` of the configuration.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// The compressed stream is broken.
    #[error("it could not be decompressed; the blob is damaged: push the image again")]
    Decompress(#[source] io::Error),
    /// It grows beyond a bound.
    #[error("it has more than {limit} bytes uncompressed{why}")]
    TooLarge {
        /// The bound in bytes.
        limit: u64,
        /// Which bound, if not the layer's own.
        why: &'static str,
    },
    /// The tar.
    #[error(transparent)]
    Unpack(UnpackError),
    /// The disk is full.
    #[error("no space left while unpacking it; free some space, e.g. with `tepui image prune`")]
    NoSpace(#[source] UnpackError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A defect of ours.
    #[error("it made the unpacker fail in a way that it should not; please report it")]
    Panicked,
    /// A later stage gave up; its own error is reported.
    #[error("it was given up")]
    Cut,
}

impl PullError {
    pub(super) fn store(name: &ImageName, source: StoreError) -> Self {
        Self::Store { name: name.to_string(), source: Arc::new(source) }
    }

    /// The whole story in one line: this error and what caused it.
    pub fn report(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let line = error.to_string();
            // A transparent wrapper says the same as what it wraps.
            if !text.ends_with(&line) {
                text = format!("{text}: {line}");
            }
            cause = error.source();
        }
        text
    }
}

impl LayerError {
    /// Whether what came can't be the layer, rather than that it did not come.
    pub(super) fn is_about_content(&self) -> bool {
        match self {
            Self::WrongDigest { .. }
            | Self::WrongDiffId { .. }
            | Self::Decompress(_)
            | Self::TooLarge { .. } => true,
            Self::Unpack(error) => !matches!(error, UnpackError::Write { .. }),
            Self::Source(error) => error.is_about_content(),
            Self::NoSpace(_) | Self::Store(_) | Self::Panicked | Self::Cut => false,
        }
    }

    /// Whether a part of the blob that was kept is of no use for a later try.
    pub(super) fn spoils_blob(&self) -> bool {
        self.is_about_content() || matches!(self, Self::NoSpace(_) | Self::Panicked)
    }
}

impl From<UnpackError> for LayerError {
    fn from(error: UnpackError) -> Self {
        match error {
            cut if cut.is_cut() => Self::Cut,
            full if full.is_no_space() => Self::NoSpace(full),
            other => Self::Unpack(other),
        }
    }
}
