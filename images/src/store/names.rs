//! Which manifest a name means.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::Inner;
use super::error::StoreError;
use super::files;
use crate::digest::Digest;
use crate::reference::{DEFAULT_REGISTRY, ImageName};

/// One file in `names/`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Pointer {
    /// Canonical form.
    pub(crate) name: String,
    /// What the name led to: an index, or the manifest itself.
    pub(crate) top: Digest,
    pub(crate) manifest: Digest,
    pub(crate) media_type: Option<String>,
    pub(crate) config: Digest,
    /// Seconds since 1970.
    pub(crate) pulled_at: u64,
}

impl Pointer {
    pub(crate) fn now() -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }

    pub(super) fn image_name(&self) -> Option<ImageName> {
        ImageName::parse(&self.name, DEFAULT_REGISTRY).ok()
    }
}

impl Inner {
    /// The pointer for a name. A name with a digest is also answered by another name of the same repository that
    /// led to that digest: what a digest means never changes. Another repository's is not: having pulled an image
    /// there says nothing about the right to have it here.
    pub(super) fn pointer(&self, name: &ImageName) -> Result<Option<Pointer>, StoreError> {
        let path = self.root.by_name("names", name.to_string().as_bytes());
        let own = files::read_record::<Pointer>(&path)?.filter(|pointer| pointer.name == name.to_string());
        let ImageName::Registry(wanted) = name else { return Ok(own) };
        let (None, Some(digest)) = (&own, &wanted.digest) else { return Ok(own) };
        let same = |pointer: &Pointer| match pointer.image_name() {
            Some(ImageName::Registry(other)) => {
                other.same_repository(wanted) && (pointer.manifest == *digest || pointer.top == *digest)
            }
            _ => false,
        };
        Ok(self.pointers()?.into_iter().find(same))
    }

    pub(super) fn pointers(&self) -> Result<Vec<Pointer>, StoreError> {
        let dir = self.root.dir("names");
        let mut found = Vec::new();
        for file in files::names_in(&dir)? {
            found.extend(files::read_record::<Pointer>(&dir.join(file))?);
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    pub(super) fn point(&self, pointer: &Pointer) -> Result<(), StoreError> {
        self.root.write_record(&self.root.by_name("names", pointer.name.as_bytes()), pointer)
    }
}
