//! A local OCI image layout (`oci:/dir[:tag]`) as a source of manifests and blobs.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::body::{FileBody, Kind};
use super::error::FolderError;
use super::layout::{self, NotChosen};
use super::opened;
use crate::digest::Digest;
use crate::limits::Limits;
use crate::manifest::Descriptor;
use crate::reference::LayoutRef;
use crate::source::{BlobSource, RawDocument, SourceError, Start};

/// One entry of an image layout.
pub(crate) struct FolderSource {
    dir: PathBuf,
    root: Arc<OwnedFd>,
    entry: Descriptor,
}

impl FolderSource {
    /// Opens the layout, which must lie below one of the folders if there are any, and finds the entry. Blocks on the
    /// disk.
    pub(crate) fn open(
        reference: &LayoutRef,
        limits: &Limits,
        folders: Option<&[PathBuf]>,
    ) -> Result<Self, FolderError> {
        let dir = reference.dir.clone();
        let failed = |source| FolderError::Read { path: dir.clone(), source };
        let root = opened::look(&dir).map_err(failed)?;
        if !opened::lies_below(&root, folders).map_err(failed)? {
            return Err(FolderError::Outside { path: dir });
        }
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
    /// Opens a regular file; a layout can't lead out of its directory, nor hang us with a pipe or have a device opened.
    fn file(&self, name: &str) -> Result<(std::fs::File, u64), FolderError> {
        let path = self.dir.join(name);
        let read = |source| FolderError::Read { path: path.clone(), source };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let found = rustix::fs::openat2(self.root, name, flags, Mode::empty(), resolve);
        let file = opened::regular(found.map_err(|errno| read(errno.into()))?).map_err(read)?;
        file.ok_or(FolderError::NotAFile { path })
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

    fn choose(&self, index: &[u8], tag: Option<&str>, limits: &Limits) -> Result<Descriptor, FolderError> {
        let dir = self.dir.to_path_buf();
        layout::choose(index, tag, limits).map_err(|error| match error {
            NotChosen::Unusable(source) => FolderError::Index { dir, source },
            NotChosen::TooLarge(size) => {
                let path = dir.join("index.json");
                FolderError::WrongLength { path, size, expected: limits.manifest_bytes }
            }
            NotChosen::Missing(wanted, available) => FolderError::NoImage { dir, wanted, available },
        })
    }
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex())
}

impl BlobSource for FolderSource {
    type Body = FileBody;

    async fn top(&self) -> Result<RawDocument, SourceError> {
        Ok(self.document(&self.entry).await?)
    }

    async fn manifest(&self, of: &Descriptor) -> Result<RawDocument, SourceError> {
        Ok(self.document(of).await?)
    }

    async fn blob(&self, of: &Descriptor, start: Start) -> Result<FileBody, SourceError> {
        let (root, dir, name, expected) =
            (self.root.clone(), self.dir.clone(), blob_path(&of.digest), of.size);
        let open = move || {
            let (file, size) = Layout { dir: &dir, root: &root }.file(&name)?;
            let path = dir.join(&name);
            if size != expected {
                return Err(FolderError::WrongLength { path, size, expected });
            }
            let (at, left) = (start.from, size.saturating_sub(start.from));
            Ok(FileBody { kind: Kind::Folder, path, file: Arc::new(file), at, left })
        };
        Ok(crate::pull::blocking(open).await?)
    }

    fn demanded(&self) -> Option<&Digest> {
        Some(&self.entry.digest)
    }
}
