//! Where things are in the store, and the few ways of writing them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::FlockOperation;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::StoreError;
use crate::digest::{Algorithm, Digest};

/// Our own records are small; a larger one is not ours.
const RECORD_LARGEST: u64 = 1 << 20;
static COUNTER: AtomicU64 = AtomicU64::new(0);

/// The store's directory.
#[derive(Debug, Clone)]
pub(crate) struct Root {
    path: PathBuf,
}

/// Held while names or the set of layers change; released on drop.
pub(crate) struct Locked {
    _file: File,
}

impl Root {
    /// Whether one was made there. A folder that is something else is not mistaken for one; what can't be looked at is
    /// told of by opening it.
    pub(super) fn is_at(path: &Path) -> bool {
        ["staging", "layers", "names", "snapshots"].iter().all(|name| match fs::metadata(path.join(name)) {
            Ok(meta) => meta.is_dir(),
            Err(error) => !is_absent(&error),
        })
    }

    /// Makes what is missing. Layers hold setuid files, so nobody but us may look inside.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        make_dir(path)?;
        let path = fs::canonicalize(path).map_err(|e| StoreError::io("open", path, e))?;
        let root = Self { path };
        for name in ["staging", "layers", "manifests", "configs", "partial", "names", "snapshots", "l"] {
            make_dir(&root.path.join(name))?;
        }
        for (kind, algorithm) in ["layers", "manifests", "configs", "partial"]
            .into_iter()
            .flat_map(|kind| [(kind, Algorithm::Sha256), (kind, Algorithm::Sha512)])
        {
            make_dir(&root.path.join(kind).join(algorithm.as_str()))?;
        }
        Ok(root)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn dir(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// `kind` is `layers`, `manifests`, `configs` or `partial`.
    pub(super) fn by_digest(&self, kind: &str, digest: &Digest) -> PathBuf {
        self.path.join(kind).join(digest.algorithm().as_str()).join(digest.hex())
    }

    /// Every digest of one kind.
    pub(super) fn digests(&self, kind: &str) -> Result<Vec<Digest>, StoreError> {
        let mut found = Vec::new();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let names = names_in(&self.path.join(kind).join(algorithm.as_str()))?;
            found.extend(names.iter().filter_map(|hex| format!("{}:{hex}", algorithm.as_str()).parse().ok()));
        }
        Ok(found)
    }

    /// The file for a record about something whose name could be any text.
    pub(super) fn by_name(&self, kind: &str, name: &[u8]) -> PathBuf {
        let hash = Digest::of(Algorithm::Sha256, name);
        self.path.join(kind).join(format!("{}.json", hash.hex()))
    }

    /// Waits for other processes (and threads) that hold the lock.
    pub(crate) fn lock(&self) -> Result<Locked, StoreError> {
        let path = self.path.join("lock");
        let failed = |e: io::Error| StoreError::io("lock", &path, e);
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let file = options.open(&path).map_err(failed)?;
        flock(&file, FlockOperation::LockExclusive).map_err(failed)?;
        Ok(Locked { _file: file })
    }

    /// Writes a whole file: temporary name, content on the disk, rename, rename on the disk.
    pub(super) fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let temporary = self.path.join("staging").join(format!("w{}-{count}", std::process::id()));
        let outcome = write_synced(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
        if let Err(error) = outcome {
            let _ = fs::remove_file(&temporary);
            return Err(StoreError::io("write", path, error));
        }
        sync_dir(path.parent().unwrap_or(&self.path)).map_err(|e| StoreError::io("write", path, e))
    }

    pub(super) fn write_record<T: Serialize>(&self, path: &Path, record: &T) -> Result<(), StoreError> {
        let bytes =
            serde_json::to_vec(record).map_err(|e| StoreError::io("write", path, io::Error::from(e)))?;
        self.write(path, &bytes)
    }
}

/// A record, or `None` when it is missing or no record of ours (a crash may leave an empty file).
pub(super) fn read_record<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    Ok(read_small(path, RECORD_LARGEST)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// A file's content, or `None` when it is missing or larger than `limit`.
pub(super) fn read_small(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
    let mut bytes = Vec::new();
    let outcome = File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes));
    match outcome {
        Ok(_) => Ok((bytes.len() as u64 <= limit).then_some(bytes)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(StoreError::io("read", path, error)),
    }
}

/// Removes a file; `false` when there was none.
pub(super) fn remove_file(path: &Path) -> Result<bool, StoreError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if is_absent(&error) => Ok(false),
        Err(error) => Err(StoreError::io("remove", path, error)),
    }
}

/// Names in a directory, in order; none when the directory is missing.
pub(super) fn names_in(dir: &Path) -> Result<Vec<String>, StoreError> {
    let failed = |e| StoreError::io("list", dir, e);
    let entries = match fs::read_dir(dir) {
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(failed)?.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}

pub(super) fn make_dir(path: &Path) -> Result<(), StoreError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| StoreError::io("make", path, e))
}

pub(super) fn open_dir(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::DIRECTORY.bits() | rustix::fs::OFlags::NOFOLLOW.bits();
    OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path)
}

pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    open_dir(path)?.sync_all()
}

/// Retried when a signal comes in between.
pub(super) fn flock(file: &File, operation: FlockOperation) -> io::Result<()> {
    loop {
        match rustix::fs::flock(file, operation) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.map_err(io::Error::from),
        }
    }
}

pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
