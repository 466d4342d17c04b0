//! Which manifest a name means.

use std::time::{SystemTime, UNIX_EPOCH};

use ring::rand::SecureRandom as _;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW};
use serde::{Deserialize, Serialize};

use super::Inner;
use super::error::StoreError;
use super::files;
use crate::digest::Digest;
use crate::reference::{DEFAULT_REGISTRY, ImageName};
use crate::registry::DockerConfig;

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
    /// Who may have it from the store: everybody, or pulls with one of these logins.
    #[serde(default)]
    pub(crate) grants: Option<Vec<Grant>>,
    /// Not to be pruned.
    #[serde(default)]
    pub(crate) pinned: bool,
}

/// Stands for the logins of a pull; says nothing about them without the store's own key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Grant(String);

/// Logins remembered for one name; the oldest have to ask the registry again.
const GRANTS: usize = 64;

impl Pointer {
    pub(crate) fn now() -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }

    /// Whether a pull with these logins may have it without asking the registry.
    pub(super) fn is_open_to(&self, grant: Option<&Grant>) -> bool {
        let Some(grants) = &self.grants else { return true };
        grant.is_some_and(|grant| grants.contains(grant))
    }

    /// What an earlier pull of the same name left behind: its pin, and who else may have the same image.
    pub(super) fn inherit(&mut self, before: Option<Self>, grant: Option<Grant>) {
        self.pinned = before.as_ref().is_some_and(|before| before.pinned);
        self.grants = grant.map(|grant| {
            let others = before.filter(|before| before.manifest == self.manifest).and_then(|p| p.grants);
            let mut all: Vec<Grant> = others.unwrap_or_default();
            all.retain(|other| *other != grant);
            all.push(grant);
            all.split_off(all.len().saturating_sub(GRANTS))
        });
    }

    pub(super) fn image_name(&self) -> Option<ImageName> {
        ImageName::parse(&self.name, DEFAULT_REGISTRY).ok()
    }
}

impl Inner {
    /// What stands for the logins of a pull.
    pub(crate) fn grant(&self, secret: &DockerConfig) -> Grant {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &self.key);
        let tag = ring::hmac::sign(&key, &secret.identity());
        Grant(tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// When the name was last pulled or asked for, in seconds since 1970.
    pub(super) fn used_at(&self, pointer: &Pointer) -> u64 {
        let path = self.root.by_name("names", pointer.name.as_bytes());
        let time = std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
        let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        since.map_or(pointer.pulled_at, |since| since.as_secs())
    }

    /// Remembers that the name is used now, by its file's time: nothing has to reach the disk for it.
    pub(super) fn touch(&self, name: &str) {
        let path = self.root.by_name("names", name.as_bytes());
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        if let Err(error) = rustix::fs::utimensat(CWD, &path, &times, AtFlags::empty()) {
            tracing::debug!(path = %path.display(), %error, "the time of use is not remembered");
        }
    }

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

/// The key by which logins are told apart without being kept.
pub(super) fn key(root: &files::Root) -> Result<[u8; 32], StoreError> {
    let path = root.dir("key");
    if let Some(key) = files::read_small(&path, 32)?.and_then(|bytes| bytes.try_into().ok()) {
        return Ok(key);
    }
    let mut key = [0; 32];
    ring::rand::SystemRandom::new()
        .fill(&mut key)
        .map_err(|_| StoreError::io("make", &path, std::io::Error::other("the system has no randomness")))?;
    root.write(&path, &key)?;
    Ok(key)
}
