//! Garbage collection: names that were not used for long are forgotten, layers and documents that nothing needs go.
//!
//! It can't take anything from a launch: a pull holds a lease (a shared lock) of every layer from before the layer can be
//! seen until the image's handle is dropped, and a root file system's record is written before its handle is. Both hold for
//! all processes, and a lock ends with its process.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Inner;
use super::collect::{self, Chosen, Known, Named, Wish};
use super::error::StoreError;
use super::layers::{self, LayerRecord};
use super::{Pointer, files};
use crate::digest::Digest;
use crate::reference::ImageName;

/// Parts of blobs that younger ones may still be gone on with.
const PARTIALS_KEPT: Duration = Duration::from_secs(86_400);

/// What to remove. The default leaves every name alone.
#[derive(Debug, Clone, Default)]
pub struct PrunePolicy {
    /// Forget names whose last use is at least that long ago; zero for all that nothing uses.
    pub unused_for: Option<Duration>,
    /// The part of the file system (0 to 1) that should be free; names go, the longest unused first, until it is.
    /// Mesos: `image_disk_headroom`, which removes everything unused at once.
    pub headroom: Option<f64>,
    /// Names that stay, besides those that are pinned. Mesos: `excluded_images`.
    pub keep: Vec<ImageName>,
    /// Change nothing, only tell.
    pub dry_run: bool,
}

/// What was removed, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneReport {
    /// Names forgotten, in the order of their last use.
    pub names: Vec<String>,
    /// Names that the policy meant and that something uses.
    pub in_use: Vec<String>,
    /// Layers removed.
    pub layers: usize,
    /// Bytes of files in them.
    pub bytes: u64,
    /// Bytes of blobs that had not arrived completely.
    pub partial_bytes: u64,
}

impl Inner {
    pub(super) fn prune(&self, policy: &PrunePolicy) -> Result<PruneReport, StoreError> {
        let locked = self.root.lock()?;
        let pointers = self.pointers()?;
        let known = self.known(&pointers, &policy.keep)?;
        let missing = self.missing_space(policy.headroom)?;
        let unused_for = policy.unused_for.map(|time| time.as_secs());
        let now = Pointer::now();
        let chosen = collect::choose(&known, Wish { unused_for, bytes: missing }, now);
        let eager = missing > 0 || unused_for == Some(0);
        let age = if eager { Duration::ZERO } else { PARTIALS_KEPT };
        let partial_bytes = self.sweep_partials(age, policy.dry_run)?;
        let Chosen { names, layers, bytes, in_use } = chosen;
        if policy.dry_run {
            return Ok(PruneReport { names, in_use, layers: layers.len(), bytes, partial_bytes });
        }
        for name in &names {
            files::remove_file(&self.root.by_name("names", name.as_bytes()))?;
        }
        let going: BTreeSet<&String> = names.iter().collect();
        // Used while the clock was wrong: from now on they age like all others, and not only once that time has come.
        let to_come = known.names.iter().filter(|named| named.used_at > now && !going.contains(&named.name));
        to_come.for_each(|named| self.touch(&named.name));
        let rest: Vec<Pointer> = pointers.into_iter().filter(|p| !going.contains(&p.name)).collect();
        let needed = self.needed(&rest)?;
        let (removed, hidden) = self.sweep(&needed)?;
        drop(locked);
        hidden.iter().try_for_each(|layer| layers::remove(layer))?;
        if !names.is_empty() || removed.layers > 0 {
            tracing::info!(
                names = names.len(),
                layers = removed.layers,
                bytes = removed.bytes,
                "images pruned"
            );
        }
        Ok(PruneReport { names, in_use, layers: removed.layers, bytes: removed.bytes, partial_bytes })
    }

    fn known(&self, pointers: &[Pointer], keep: &[ImageName]) -> Result<Known, StoreError> {
        let keep: BTreeSet<String> = keep.iter().map(ToString::to_string).collect();
        let mut known = Known::default();
        for pointer in pointers {
            let layers = self.parts(pointer)?.map(|parts| parts.layers).unwrap_or_default();
            known.names.push(Named {
                name: pointer.name.clone(),
                used_at: self.used_at(pointer),
                kept: pointer.pinned || keep.contains(&pointer.name),
                layers: layers.into_iter().map(|layer| layer.diff_id).collect(),
            });
        }
        known.uses =
            self.snapshots()?.into_iter().map(|record| record.layers.into_iter().collect()).collect();
        let mut leased = BTreeSet::<Digest>::new();
        for diff_id in self.root.digests("layers")? {
            let dir = self.root.by_digest("layers", &diff_id);
            if layers::seize(&dir)?.is_none() {
                leased.insert(diff_id.clone());
            }
            let record = files::read_record::<LayerRecord>(&dir.join("layer.json"))?;
            known.layers.insert(diff_id, record.map_or(0, |record| record.unpacked.bytes));
        }
        known.uses.push(leased);
        Ok(known)
    }

    /// Bytes that have to become free for the headroom.
    fn missing_space(&self, headroom: Option<f64>) -> Result<u64, StoreError> {
        let Some(headroom) = headroom else { return Ok(0) };
        let space = rustix::fs::statvfs(self.root.path())
            .map_err(|e| StoreError::io("measure the file system of", self.root.path(), e))?;
        Ok(missing(space.f_blocks, space.f_bavail, headroom).saturating_mul(space.f_frsize))
    }

    /// Keeps a name from being pruned, or no longer.
    pub(super) fn pin(&self, name: &ImageName, pinned: bool) -> Result<(), StoreError> {
        let _locked = self.root.lock()?;
        let text = name.to_string();
        let own = self.pointers()?.into_iter().find(|pointer| pointer.name == text);
        let own = own.ok_or(StoreError::NotFound { name: text })?;
        self.point(&Pointer { pinned, ..own })
    }
}

/// Blocks that have to become free; counted in thousandths, since blocks and shares don't mix exactly.
fn missing(blocks: u64, available: u64, headroom: f64) -> u64 {
    let thousandths = (0..=1000u64).find(|n| *n as f64 >= headroom * 1000.0).unwrap_or(1000);
    let wanted = u128::from(blocks) * u128::from(thousandths) / 1000;
    u64::try_from(wanted).unwrap_or(u64::MAX).saturating_sub(available)
}

#[cfg(test)]
mod tests {
    use super::missing;

    #[test]
    fn headroom_is_a_share_of_the_whole_file_system() {
        assert_eq!(missing(1000, 200, 0.1), 0);
        assert_eq!(missing(1000, 200, 0.25), 50);
        assert_eq!(missing(1000, 0, 7.0), 1000);
        assert_eq!(missing(1000, 0, -1.0), 0);
        assert_eq!(missing(1000, 0, f64::NAN), 1000);
        assert_eq!(missing(u64::MAX, 0, 1.0), u64::MAX);
    }
}
