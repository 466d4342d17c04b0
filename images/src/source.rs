//! Where manifests and blobs come from: the seam between pulling and its sources: registries, folders and archives.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::digest::Digest;
use crate::local::{ArchiveError, FolderError};
use crate::manifest::Descriptor;
use crate::registry::RegistryError;

/// Why a source could not give what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SourceError {
    /// A registry.
    #[error(transparent)]
    Registry(Arc<RegistryError>),
    /// An OCI layout on disk.
    #[error(transparent)]
    Folder(Arc<FolderError>),
    /// A file of `docker save`.
    #[error(transparent)]
    Archive(Arc<ArchiveError>),
}

impl SourceError {
    /// Whether bytes came that can't be the blob, so that what came before them is not to be trusted either.
    pub(crate) fn is_about_content(&self) -> bool {
        match self {
            Self::Registry(error) => matches!(**error, RegistryError::WrongLength { .. }),
            Self::Folder(_) | Self::Archive(_) => true,
        }
    }
}

impl From<RegistryError> for SourceError {
    fn from(error: RegistryError) -> Self {
        Self::Registry(Arc::new(error))
    }
}

impl From<FolderError> for SourceError {
    fn from(error: FolderError) -> Self {
        Self::Folder(Arc::new(error))
    }
}

impl From<ArchiveError> for SourceError {
    fn from(error: ArchiveError) -> Self {
        Self::Archive(Arc::new(error))
    }
}

/// A document as it came, not yet looked into.
#[derive(Debug, Clone)]
pub(crate) struct RawDocument {
    pub(crate) bytes: Bytes,
    /// What the transport says it is.
    pub(crate) content_type: Option<String>,
}

/// Hears of each pause before something is tried again, and why.
pub(crate) type Waiting = Arc<dyn Fn(&str, Duration) + Send + Sync>;

/// Where reading of a blob begins, and who hears of pauses.
#[derive(Clone)]
pub(crate) struct Start {
    /// Bytes that are had already.
    pub(crate) from: u64,
    pub(crate) waiting: Waiting,
}

impl Start {
    /// At the first byte, with nobody listening.
    pub(crate) fn quietly() -> Self {
        Self { from: 0, waiting: Arc::new(|_, _| {}) }
    }
}

/// Gives documents and blobs of one repository. Digests are verified by the caller.
pub(crate) trait BlobSource: Send + Sync + 'static {
    type Body: BlobBody;

    /// Whether what came of a blob is worth keeping for a later try.
    const RESUMES: bool = false;

    /// What the image's name points to.
    fn top(&self) -> impl Future<Output = Result<RawDocument, SourceError>> + Send;

    /// A manifest that an index names.
    fn manifest(&self, of: &Descriptor) -> impl Future<Output = Result<RawDocument, SourceError>> + Send;

    /// A configuration or layer.
    fn blob(
        &self,
        of: &Descriptor,
        start: Start,
    ) -> impl Future<Output = Result<Self::Body, SourceError>> + Send;

    /// The digest that the name itself demands.
    fn demanded(&self) -> Option<&Digest>;

    /// For a blob that is read before it is known what the image is made of.
    fn start(&self) -> Start {
        Start::quietly()
    }

    /// The same without stand-ins, when there are any.
    fn origin(&self) -> Option<Arc<Self>> {
        None
    }
}

/// A blob that arrives piece by piece, never longer than its descriptor says.
pub(crate) trait BlobBody: Send + 'static {
    /// The next bytes, `None` after the last.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, SourceError>> + Send;

    /// Whether it was put together from several answers.
    fn is_stitched(&self) -> bool {
        false
    }
}

/// Reads a small blob as a whole; the source bounds it by the descriptor's size, which the caller has checked.
pub(crate) async fn read_whole<S: BlobSource>(source: &S, of: &Descriptor) -> Result<Bytes, SourceError> {
    let mut body = source.blob(of, source.start()).await?;
    let mut whole = Vec::new();
    while let Some(piece) = body.next().await? {
        whole.extend_from_slice(&piece);
    }
    Ok(whole.into())
}
