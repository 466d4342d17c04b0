//! A local OCI image layout (`oci:/dir[:tag]`) as a source of manifests and blobs.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use tokio::io::AsyncReadExt as _;

use crate::digest::Digest;
use crate::limits::Limits;
use crate::manifest::{Descriptor, Document, ManifestError};
use crate::reference::LayoutRef;
use crate::source::{BlobBody, BlobSource, RawDocument, SourceError};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const PIECE: usize = 256 << 10;

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

/// One entry of an image layout.
pub(crate) struct FolderSource {
    dir: PathBuf,
    root: Arc<OwnedFd>,
    entry: Descriptor,
}

impl FolderSource {
    /// Opens the layout and finds the entry. Blocks on the disk.
    pub(crate) fn open(reference: &LayoutRef, limits: &Limits) -> Result<Self, FolderError> {
        let dir = reference.dir.clone();
        let read = |path: &Path, source: rustix::io::Errno| FolderError::Read {
            path: path.into(),
            source: source.into(),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&dir, flags, Mode::empty()).map_err(|e| read(&dir, e))?;
        let layout = Layout { dir: &dir, root: &root };
        layout.read_whole("oci-layout", 4096)?;
        let index = layout.read_whole("index.json", limits.manifest_bytes)?;
        let entry = layout.choose(&index, reference.tag.as_deref(), limits)?;
        Ok(Self { root: Arc::new(root), entry, dir })
    }

    async fn document(&self, of: &Descriptor) -> Result<RawDocument, FolderError> {
        let (root, dir, of) = (self.root.clone(), self.dir.clone(), of.clone());
        let read = move || {
            let layout = Layout { dir: &dir, root: &root };
            let bytes = layout.read_whole(&blob_path(&of.digest), of.size)?;
            Ok(RawDocument { bytes: bytes.into(), content_type: Some(of.media_type) })
        };
        crate::pull::blocking(read).await
    }
}

struct Layout<'a> {
    dir: &'a Path,
    root: &'a OwnedFd,
}

impl Layout<'_> {
    /// Opens a regular file; a layout can't lead out of its directory, nor hang us with a pipe.
    fn file(&self, name: &str) -> Result<(std::fs::File, u64), FolderError> {
        let path = self.dir.join(name);
        let read = |e: rustix::io::Errno| FolderError::Read { path: path.clone(), source: e.into() };
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let fd = rustix::fs::openat2(self.root, name, flags, Mode::empty(), resolve).map_err(read)?;
        let stat = rustix::fs::fstat(&fd).map_err(read)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(FolderError::NotAFile { path });
        }
        Ok((fd.into(), u64::try_from(stat.st_size).unwrap_or(0)))
    }

    fn read_whole(&self, name: &str, limit: u64) -> Result<Vec<u8>, FolderError> {
        use std::io::Read as _;
        let (file, size) = self.file(name)?;
        let path = self.dir.join(name);
        if size > limit {
            return Err(FolderError::WrongLength { path, size, expected: limit });
        }
        let mut whole = Vec::new();
        file.take(limit).read_to_end(&mut whole).map_err(|source| FolderError::Read { path, source })?;
        Ok(whole)
    }

    /// The entry with the tag; without a tag the only one, or else `latest`.
    fn choose(&self, index: &[u8], tag: Option<&str>, limits: &Limits) -> Result<Descriptor, FolderError> {
        let refuse = |source| FolderError::Index { dir: self.dir.into(), source };
        let index = match Document::parse(index, Some(INDEX), limits).map_err(refuse)? {
            Document::Index(index) => index.manifests,
            Document::Manifest(_) => {
                return Err(refuse(ManifestError::Malformed("it is an image manifest".into())));
            }
        };
        let named = |name: &str| index.iter().find(|entry| entry.ref_name() == Some(name));
        let found = match (tag, index.as_slice()) {
            (Some(tag), _) => named(tag),
            (None, [only]) => Some(only),
            (None, _) => named("latest"),
        };
        let size = found.map_or(0, |entry| entry.size);
        if size > limits.manifest_bytes {
            let path = self.dir.join("index.json");
            return Err(FolderError::WrongLength { path, size, expected: limits.manifest_bytes });
        }
        found.cloned().ok_or_else(|| {
            let tags: Vec<&str> = index.iter().filter_map(Descriptor::ref_name).take(20).collect();
            let wanted =
                tag.map_or("without a tag that is the only one".to_owned(), |tag| format!("tagged {tag}"));
            let available = if tags.is_empty() { "no tags".to_owned() } else { tags.join(", ") };
            FolderError::NoImage { dir: self.dir.into(), wanted, available }
        })
    }
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex())
}

/// A blob file, read piece by piece.
pub(crate) struct FolderBody {
    path: PathBuf,
    file: tokio::fs::File,
    size: u64,
    got: u64,
}

impl BlobSource for FolderSource {
    type Body = FolderBody;

    async fn top(&self) -> Result<RawDocument, SourceError> {
        Ok(self.document(&self.entry).await?)
    }

    async fn manifest(&self, of: &Descriptor) -> Result<RawDocument, SourceError> {
        Ok(self.document(of).await?)
    }

    async fn blob(&self, of: &Descriptor) -> Result<FolderBody, SourceError> {
        let (root, dir, name, expected) =
            (self.root.clone(), self.dir.clone(), blob_path(&of.digest), of.size);
        let open = move || {
            let (file, size) = Layout { dir: &dir, root: &root }.file(&name)?;
            let path = dir.join(&name);
            if size != expected {
                return Err(FolderError::WrongLength { path, size, expected });
            }
            Ok(FolderBody { path, file: tokio::fs::File::from_std(file), size, got: 0 })
        };
        Ok(crate::pull::blocking(open).await?)
    }

    fn demanded(&self) -> Option<&Digest> {
        Some(&self.entry.digest)
    }
}

impl BlobBody for FolderBody {
    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        let mut piece = BytesMut::with_capacity(PIECE);
        let read = self.file.read_buf(&mut piece).await;
        let read = read.map_err(|source| FolderError::Read { path: self.path.clone(), source })?;
        self.got += read as u64;
        if self.got > self.size || (read == 0 && self.got < self.size) {
            let (path, size, expected) = (self.path.clone(), self.got, self.size);
            return Err(FolderError::WrongLength { path, size, expected }.into());
        }
        Ok((read > 0).then(|| piece.freeze()))
    }
}
