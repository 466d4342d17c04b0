//! A blob that is a stretch of a local file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::error::{ArchiveError, FolderError};
use crate::source::{BlobBody, SourceError};

const PIECE: usize = 256 << 10;

/// Whose file it is, for messages.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Folder,
    Archive,
}

/// Read piece by piece; a file that shrinks meanwhile is noticed.
pub(crate) struct FileBody {
    pub(super) kind: Kind,
    pub(super) path: PathBuf,
    pub(super) file: Arc<File>,
    /// The next byte's place in the file.
    pub(super) at: u64,
    pub(super) left: u64,
}

impl FileBody {
    fn failed(&self, source: io::Error) -> SourceError {
        let path = self.path.clone();
        match self.kind {
            Kind::Folder => FolderError::Read { path, source }.into(),
            Kind::Archive => ArchiveError::Read { path, source }.into(),
        }
    }
}

impl BlobBody for FileBody {
    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        if self.left == 0 {
            return Ok(None);
        }
        let (file, at) = (self.file.clone(), self.at);
        let length = usize::try_from(self.left).unwrap_or(PIECE).min(PIECE);
        let read = move || {
            let mut piece = vec![0; length];
            let read = file.read_at(&mut piece, at)?;
            piece.truncate(read);
            Ok(Bytes::from(piece))
        };
        let piece: io::Result<Bytes> = crate::pull::blocking(read).await;
        let piece = piece.map_err(|error| self.failed(error))?;
        if piece.is_empty() {
            return Err(self.failed(io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter")));
        }
        self.at += piece.len() as u64;
        self.left -= piece.len() as u64;
        Ok(Some(piece))
    }
}
