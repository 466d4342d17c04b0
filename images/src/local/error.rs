//! Why a local image could not be read, in words that say what to do.

use std::io;
use std::path::PathBuf;

use crate::manifest::ManifestError;
use crate::unpack::UnpackError;

/// Why a local image layout could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The directory or a file in it.
    #[error(
        "cannot read {path} of the image layout; is it a directory written by `skopeo copy … oci:DIR:TAG`?"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// Where no local image may be.
    #[error(
        "the image layout {path} lies outside of the folders that local images may be in (--local_image_dirs)"
    )]
    Outside {
        /// The layout.
        path: PathBuf,
    },
    /// A device, pipe or directory where a file should be.
    #[error("{path} of the image layout is not a regular file")]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// A file beyond its bound.
    #[error("{path} of the image layout has {size} bytes, {expected} are expected")]
    WrongLength {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// What it should be, or the most it may be.
        expected: u64,
    },
    /// `index.json` can't be used.
    #[error("the image layout {dir} has an unusable index.json")]
    Index {
        /// The layout.
        dir: PathBuf,
        /// What is wrong with it.
        #[source]
        source: ManifestError,
    },
    /// `index.json` has no entry for the tag, or no single one without a tag.
    #[error("the image layout {dir} has no image {wanted}; it has {available}")]
    NoImage {
        /// The layout.
        dir: PathBuf,
        /// What was looked for.
        wanted: String,
        /// Tags that are there.
        available: String,
    },
}

/// Why an archive of `docker save` could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file itself.
    #[error("cannot read the image archive {path}")]
    Read {
        /// The archive.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// Where no local image may be.
    #[error(
        "the image archive {path} lies outside of the folders that local images may be in (--local_image_dirs)"
    )]
    Outside {
        /// The archive.
        path: PathBuf,
    },
    /// A device, pipe or directory.
    #[error("{path} is not a regular file, so it is no image archive")]
    NotAFile {
        /// The archive.
        path: PathBuf,
    },
    /// gzip, zstd and their like.
    #[error("the image archive {path} is compressed; decompress it first (its layers may stay compressed)")]
    Compressed {
        /// The archive.
        path: PathBuf,
    },
    /// Its tar.
    #[error("cannot read the image archive {path}")]
    Tar {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: UnpackError,
    },
    /// The documents that say what it holds.
    #[error(
        "the image archive {path} cannot be used: {why}; write it with `docker save` or `skopeo copy … docker-archive:FILE`"
    )]
    Unusable {
        /// The archive.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Its manifest or index.
    #[error("the image archive {path} cannot be used")]
    Manifest {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: ManifestError,
    },
    /// No image of that name, or several and no name to choose by.
    #[error("the image archive {path} has no image {wanted}; it has {available}")]
    NoImage {
        /// The archive.
        path: PathBuf,
        /// What was looked for.
        wanted: String,
        /// What is there.
        available: String,
    },
}
