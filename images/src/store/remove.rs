//! What may go: nothing that a name points to, a handle leases or a snapshot uses.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::files;
use super::image::{Image, Removed};
use super::layers::{self, LayerRecord};
use super::{Inner, Pointer};
use crate::digest::Digest;
use crate::reference::ImageName;
use crate::snapshot::Snapshot;

/// One file in `snapshots/`: layers stay while the directory exists.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SnapshotRecord {
    pub(super) dir: PathBuf,
    pub(super) layers: Vec<Digest>,
}

/// Digests that names need.
#[derive(Default)]
pub(super) struct Needed {
    layers: BTreeSet<Digest>,
    manifests: BTreeSet<Digest>,
    configs: BTreeSet<Digest>,
}

impl Inner {
    pub(super) fn remove(&self, name: &ImageName) -> Result<Removed, StoreError> {
        let text = name.to_string();
        let locked = self.root.lock()?;
        let (gone, others): (Vec<_>, Vec<_>) = self.pointers()?.into_iter().partition(|p| p.name == text);
        let Some(pointer) = gone.first() else { return Err(StoreError::NotFound { name: text }) };
        let needed = self.needed(&others)?;
        let own = self.parts(pointer)?.map(|parts| parts.layers).unwrap_or_default();
        let going: BTreeSet<Digest> =
            own.into_iter().map(|layer| layer.diff_id).filter(|id| !needed.layers.contains(id)).collect();
        self.refuse_used(&text, &going)?;
        files::remove_file(&self.root.by_name("names", text.as_bytes()))?;
        let (removed, hidden) = self.sweep(&needed)?;
        drop(locked);
        hidden.iter().try_for_each(|layer| layers::remove(layer))?;
        Ok(Removed { names: 1, ..removed })
    }

    pub(super) fn needed(&self, pointers: &[Pointer]) -> Result<Needed, StoreError> {
        let mut needed = Needed::default();
        for pointer in pointers {
            needed.manifests.insert(pointer.manifest.clone());
            needed.configs.insert(pointer.config.clone());
            let layers = self.parts(pointer)?.map(|parts| parts.layers).unwrap_or_default();
            needed.layers.extend(layers.into_iter().map(|layer| layer.diff_id));
        }
        Ok(needed)
    }

    fn refuse_used(&self, name: &str, going: &BTreeSet<Digest>) -> Result<(), StoreError> {
        let refuse = |by: String| StoreError::InUse { name: name.into(), by };
        if let Some(record) = self.snapshots()?.iter().find(|s| s.layers.iter().any(|l| going.contains(l))) {
            return Err(refuse(format!("the root file system in {}", record.dir.display())));
        }
        for diff_id in going {
            let dir = self.root.by_digest("layers", diff_id);
            if dir.exists() && layers::seize(&dir)?.is_none() {
                return Err(refuse("a container that is being started, or a pull".into()));
            }
        }
        Ok(())
    }

    /// Takes out of sight what is not needed and not in use. The trees that it names can be removed without the lock.
    pub(super) fn sweep(&self, needed: &Needed) -> Result<(Removed, Vec<PathBuf>), StoreError> {
        let (mut removed, mut hidden) = (Removed::default(), Vec::new());
        let used: BTreeSet<Digest> = self.snapshots()?.into_iter().flat_map(|record| record.layers).collect();
        for diff_id in self.root.digests("layers")? {
            if needed.layers.contains(&diff_id) || used.contains(&diff_id) {
                continue;
            }
            let dir = self.root.by_digest("layers", &diff_id);
            let Some(lock) = layers::seize(&dir)? else { continue };
            let record = files::read_record::<LayerRecord>(&dir.join("layer.json"))?;
            self.forget_link(&diff_id)?;
            hidden.extend(self.hide(&dir)?);
            drop(lock);
            removed.layers += 1;
            removed.bytes += record.map_or(0, |record| record.unpacked.bytes);
        }
        self.sweep_documents("manifests", &needed.manifests)?;
        self.sweep_documents("configs", &needed.configs)?;
        Ok((removed, hidden))
    }

    fn sweep_documents(&self, kind: &'static str, needed: &BTreeSet<Digest>) -> Result<(), StoreError> {
        for digest in self.root.digests(kind)?.iter().filter(|digest| !needed.contains(digest)) {
            files::remove_file(&self.root.by_digest(kind, digest))?;
        }
        Ok(())
    }

    /// Snapshots whose directory exists; records of vanished ones are dropped.
    pub(super) fn snapshots(&self) -> Result<Vec<SnapshotRecord>, StoreError> {
        let dir = self.root.dir("snapshots");
        let mut found = Vec::new();
        for file in files::names_in(&dir)? {
            let path = dir.join(file);
            match files::read_record::<SnapshotRecord>(&path)? {
                Some(record) if record.dir.exists() => found.push(record),
                _ => {
                    files::remove_file(&path)?;
                }
            }
        }
        Ok(found)
    }

    /// Records that `dir` uses the image's layers, before anything is made in it.
    pub(super) fn reserve_snapshot(&self, image: &Image, dir: &Path) -> Result<PathBuf, StoreError> {
        files::make_dir(dir)?;
        let dir = std::fs::canonicalize(dir).map_err(|e| StoreError::io("open", dir, e))?;
        let path = self.root.by_name("snapshots", dir.as_os_str().as_encoded_bytes());
        let _locked = self.root.lock()?;
        if Snapshot::is_in(&dir) {
            return Err(StoreError::SnapshotExists { dir });
        }
        let layers = image.layers.iter().map(|layer| layer.diff_id.clone()).collect();
        self.root.write_record(&path, &SnapshotRecord { dir, layers })?;
        Ok(path)
    }

    pub(super) fn find_snapshot(&self, dir: &Path) -> Result<Option<Snapshot>, StoreError> {
        let Ok(dir) = std::fs::canonicalize(dir) else { return Ok(None) };
        let record = self.root.by_name("snapshots", dir.as_os_str().as_encoded_bytes());
        if !record.exists() && !Snapshot::is_in(&dir) {
            return Ok(None);
        }
        Ok(Some(Snapshot::found(&dir, record)))
    }

    /// A link to a layer that is short enough to name many of them in one page of mount options.
    pub(super) fn short_link(&self, diff_id: &Digest, fs: &Path) -> Result<PathBuf, StoreError> {
        let link = self.link_path(diff_id);
        let relative =
            Path::new("../layers").join(diff_id.algorithm().as_str()).join(diff_id.hex()).join("fs");
        match std::os::unix::fs::symlink(&relative, &link) {
            Ok(()) => Ok(link),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let same = std::fs::read_link(&link).is_ok_and(|target| target == relative);
                Ok(if same { link } else { fs.to_path_buf() })
            }
            Err(error) => Err(StoreError::io("make the link", &link, error)),
        }
    }

    fn forget_link(&self, diff_id: &Digest) -> Result<(), StoreError> {
        let link = self.link_path(diff_id);
        let own =
            std::fs::read_link(&link).is_ok_and(|target| target.to_string_lossy().contains(diff_id.hex()));
        if own {
            files::remove_file(&link)?;
        }
        Ok(())
    }

    fn link_path(&self, diff_id: &Digest) -> PathBuf {
        self.root.dir("l").join(&diff_id.hex()[..16])
    }
}
