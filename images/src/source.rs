//! Where manifests and blobs come from: the seam between pulling and its two sources, registries and folders.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;

use crate::digest::Digest;
use crate::folder::FolderError;
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

/// A document as it came, not yet looked into.
#[derive(Debug, Clone)]
pub(crate) struct RawDocument {
    pub(crate) bytes: Bytes,
    /// What the transport says it is.
    pub(crate) content_type: Option<String>,
}

/// Gives documents and blobs of one repository. Digests are verified by the caller.
pub(crate) trait BlobSource: Send + Sync + 'static {
    type Body: BlobBody;

    /// What the image's name points to.
    fn top(&self) -> impl Future<Output = Result<RawDocument, SourceError>> + Send;

    /// A manifest that an index names.
    fn manifest(&self, of: &Descriptor) -> impl Future<Output = Result<RawDocument, SourceError>> + Send;

    /// A configuration or layer.
    fn blob(&self, of: &Descriptor) -> impl Future<Output = Result<Self::Body, SourceError>> + Send;

    /// The digest that the name itself demands.
    fn demanded(&self) -> Option<&Digest>;
}

/// A blob that arrives piece by piece, never longer than its descriptor says.
pub(crate) trait BlobBody: Send + 'static {
    /// The next bytes, `None` after the last.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, SourceError>> + Send;
}

/// Reads a small blob as a whole; the source bounds it by the descriptor's size, which the caller has checked.
pub(crate) async fn read_whole<S: BlobSource>(source: &S, of: &Descriptor) -> Result<Bytes, SourceError> {
    let mut body = source.blob(of).await?;
    let mut whole = Vec::new();
    while let Some(piece) = body.next().await? {
        whole.extend_from_slice(&piece);
    }
    Ok(whole.into())
}
