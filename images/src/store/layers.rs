//! Unpacked layers: committed by rename, leased while in use, settled on the disk in the background.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, RenameFlags};
use serde::{Deserialize, Serialize};

use super::Inner;
use super::error::StoreError;
use super::files::{self, Root};
use super::staging::StagedLayer;
use crate::digest::Digest;
use crate::unpack::Unpacked;

/// The file beside a layer's `fs` that says what is in it.
pub(super) const SEAL: &str = "seal";
static SEALS: AtomicU64 = AtomicU64::new(0);

/// What `layer.json` says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    pub(crate) diff_id: Digest,
    #[serde(flatten)]
    pub(crate) unpacked: Unpacked,
    /// The boot during which it was written.
    boot: String,
}

impl LayerRecord {
    pub(crate) fn new(diff_id: Digest, unpacked: Unpacked) -> Self {
        Self { diff_id, unpacked, boot: boot_id() }
    }
}

/// A layer that can't be removed while this exists, by a shared lock that every process respects.
#[derive(Debug)]
pub(crate) struct LayerLease {
    pub(crate) record: LayerRecord,
    dir: PathBuf,
    _lock: File,
}

impl LayerLease {
    /// The unpacked files.
    pub(crate) fn fs(&self) -> PathBuf {
        self.dir.join("fs")
    }
}

/// Leases that this process holds, shared by all images that need the layer.
#[derive(Default)]
pub(crate) struct Leases {
    held: Mutex<HashMap<Digest, Weak<LayerLease>>>,
}

impl Inner {
    /// Leases a layer that is in the store; `None` when it is not.
    pub(crate) fn lease(&self, diff_id: &Digest) -> Result<Option<Arc<LayerLease>>, StoreError> {
        let mut held = self.leases.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lease) = held.get(diff_id).and_then(Weak::upgrade) {
            return Ok(Some(lease));
        }
        held.retain(|_, lease| lease.strong_count() > 0);
        let lease = take(&self.root, diff_id)?.map(Arc::new);
        if let Some(lease) = &lease {
            held.insert(diff_id.clone(), Arc::downgrade(lease));
        }
        Ok(lease)
    }

    /// Makes a verified layer part of the store. When another process was faster, its copy is used.
    pub(crate) fn commit(
        &self,
        staged: StagedLayer,
        record: &LayerRecord,
    ) -> Result<Arc<LayerLease>, StoreError> {
        let file = staged.dir.join("layer.json");
        let failed = |e: std::io::Error| StoreError::io("write", &file, e);
        let bytes = serde_json::to_vec(record).map_err(|e| failed(e.into()))?;
        // By the folder and not by its path: whoever may write there could have put a link in its place.
        let early = files::open_dir(&staged.dir).map_err(failed)?;
        let new = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let json = rustix::fs::openat(&early, "layer.json", new, Mode::from_raw_mode(0o644));
        json.map(File::from)
            .map_err(Into::into)
            .and_then(|mut json| json.write_all(&bytes))
            .map_err(failed)?;
        // Locked before it can be seen, so that no other process removes it before it is used.
        files::flock(&early, FlockOperation::LockShared).map_err(failed)?;

        let target = self.root.by_digest("layers", &record.diff_id);
        for _ in 0..2 {
            match rustix::fs::renameat_with(CWD, &staged.dir, CWD, &target, RenameFlags::NOREPLACE) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(StoreError::io("commit the layer", &target, error)),
            }
            if let Some(lease) = self.lease(&record.diff_id)? {
                return Ok(lease);
            }
            // What is there is not a whole layer.
            self.hide(&target)?.iter().try_for_each(|hidden| remove(hidden))?;
        }
        Err(StoreError::io("commit the layer", &target, rustix::io::Errno::BUSY))
    }

    /// Takes a layer out of sight; where it is now, so that it can be removed at leisure.
    pub(super) fn hide(&self, layer: &Path) -> Result<Option<PathBuf>, StoreError> {
        let place = self.session.place();
        match fs::rename(layer, &place) {
            Ok(()) => Ok(Some(place)),
            Err(error) if files::is_absent(&error) => Ok(None),
            Err(error) => Err(StoreError::io("remove", layer, error)),
        }
    }

    /// Seals layers now, unless that is done; another thread that is at it is waited for.
    pub(super) fn seal(&self) -> Result<(), StoreError> {
        seal_all(&self.root, &self.turns)
    }

    /// Brings layers to the disk without anybody waiting for it. A process that ends before is no harm: the next one
    /// to open the store goes on, and until then only a power failure would cost the layers.
    pub(crate) fn settle_later(&self) {
        let (root, turns) = (self.root.clone(), self.turns.clone());
        let spawned = std::thread::Builder::new().name("images-settle".into()).spawn(move || {
            if let Err(error) = seal_all(&root, &turns).and_then(|()| settle(&root, &turns)) {
                tracing::warn!(%error, "layers not settled on the disk");
            }
        });
        if let Err(error) = spawned {
            tracing::warn!(%error, "no thread to settle layers on the disk");
        }
    }
}

pub(super) fn remove(layer: &Path) -> Result<(), StoreError> {
    crate::tree::remove_tree(layer).map_err(|e| StoreError::io("remove", layer, e))
}

fn take(root: &Root, diff_id: &Digest) -> Result<Option<LayerLease>, StoreError> {
    let dir = root.by_digest("layers", diff_id);
    let failed = |e| StoreError::io("open the layer", &dir, e);
    let lock = match files::open_dir(&dir) {
        Err(error) if files::is_absent(&error) => return Ok(None),
        other => other.map_err(failed)?,
    };
    // Removers hold it only for the moment of a rename.
    files::flock(&lock, FlockOperation::LockShared).map_err(failed)?;
    if !is_same(&lock, &dir) {
        return Ok(None);
    }
    let record = files::read_record::<LayerRecord>(&dir.join("layer.json"))?;
    let record = record.filter(|record| record.diff_id == *diff_id && dir.join("fs").is_dir());
    Ok(record.map(|record| LayerLease { record, dir, _lock: lock }))
}

/// Whether the path still leads to the opened directory.
pub(super) fn is_same(open: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (open.metadata(), fs::symlink_metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

/// Takes the exclusive lock of a layer that nobody uses; `None` while somebody does.
pub(super) fn seize(dir: &Path) -> Result<Option<File>, StoreError> {
    let lock = match files::open_dir(dir) {
        Err(error) if files::is_absent(&error) => return Ok(None),
        other => other.map_err(|e| StoreError::io("open the layer", dir, e))?,
    };
    match files::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(lock)),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(StoreError::io("lock the layer", dir, error)),
    }
}

/// Removes layers whose content may not have reached the disk before the machine went down.
pub(super) fn discard_unsettled(root: &Root) -> Result<(), StoreError> {
    let boot = boot_id();
    for diff_id in root.digests("layers")? {
        let dir = root.by_digest("layers", &diff_id);
        let record = files::read_record::<LayerRecord>(&dir.join("layer.json"))?;
        let whole = record.is_some_and(|r| {
            r.diff_id == diff_id && ((r.boot == boot && !boot.is_empty()) || dir.join("settled").exists())
        });
        if !whole && let Some(_lock) = seize(&dir)? {
            tracing::warn!(layer = %diff_id, "layer not whole on the disk; removed");
            remove(&dir)?;
        }
    }
    Ok(())
}

/// One thread at a time reads all new layers, and one brings them to the disk.
#[derive(Default)]
pub(super) struct Turns {
    sealing: Mutex<()>,
    settling: Mutex<()>,
}

fn without(root: &Root, mark: &str) -> Result<Vec<PathBuf>, StoreError> {
    let dirs = root.digests("layers")?.into_iter().map(|diff_id| root.by_digest("layers", &diff_id));
    Ok(dirs.filter(|dir| !dir.join(mark).exists()).collect())
}

fn seal_all(root: &Root, turns: &Turns) -> Result<(), StoreError> {
    let _turn = turns.sealing.lock().unwrap_or_else(PoisonError::into_inner);
    without(root, SEAL)?.iter().try_for_each(|dir| seal(dir))
}

fn settle(root: &Root, turns: &Turns) -> Result<(), StoreError> {
    let _turn = turns.settling.lock().unwrap_or_else(PoisonError::into_inner);
    let open = without(root, "settled")?;
    if open.is_empty() {
        return Ok(());
    }
    let failed = |e| StoreError::io("sync", root.path(), e);
    let handle = files::open_dir(root.path()).map_err(failed)?;
    rustix::fs::syncfs(&handle).map_err(|e| failed(e.into()))?;
    for dir in open {
        match File::create(dir.join("settled")) {
            Err(error) if !files::is_absent(&error) => return Err(StoreError::io("settle", &dir, error)),
            _ => {}
        }
    }
    Ok(())
}

/// Records what the layer's files are now. A layer that vanishes meanwhile needs no seal.
fn seal(dir: &Path) -> Result<(), StoreError> {
    let failed = |e: std::io::Error| StoreError::io("seal the layer", dir, e);
    let sealed = super::seal::of(&dir.join("fs")).map_err(std::io::Error::from).and_then(|(digest, _)| {
        // It reaches the disk before the layer counts as settled; until then a power failure costs the layer anyway.
        let count = SEALS.fetch_add(1, Ordering::Relaxed);
        let temporary = dir.join(format!("{SEAL}.{}-{count}", std::process::id()));
        fs::write(&temporary, digest.to_string())?;
        fs::rename(&temporary, dir.join(SEAL))
    });
    match sealed {
        Err(error) if dir.join("fs").exists() => Err(failed(error)),
        _ => Ok(()),
    }
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}
