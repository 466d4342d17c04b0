//! Manifests and configurations by digest. They are small, so they are verified whenever they are read.

use super::Inner;
use super::error::StoreError;
use super::files;
use crate::digest::Digest;

impl Inner {
    /// A document whose bytes still have their digest.
    pub(crate) fn document(
        &self,
        kind: &'static str,
        digest: &Digest,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.root.by_digest(kind, digest);
        let bytes = files::read_small(&path, self.limits.manifest_bytes)?;
        Ok(bytes.filter(|bytes| digest.matches(bytes)))
    }

    pub(super) fn keep_document(
        &self,
        kind: &'static str,
        digest: &Digest,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        if self.document(kind, digest)?.is_some() {
            return Ok(());
        }
        self.root.write(&self.root.by_digest(kind, digest), bytes)
    }
}
