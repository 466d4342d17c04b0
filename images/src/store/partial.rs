//! Blobs that did not arrive completely: kept by their digest, so that a later pull asks for the rest only.
//!
//! What is in such a file is believed no more than what a registry sends: it is hashed again, together with the rest. A
//! file belongs to one download at a time, of whichever process.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::FlockOperation;

use super::Inner;
use super::error::StoreError;
use super::files;
use super::layers::is_same;
use crate::digest::Digest;

/// One that nobody went on with is of little use.
const OLDEST: Duration = Duration::from_secs(7 * 86_400);

/// The first bytes of a blob. Dropped, the file stays.
pub(crate) struct Partial {
    path: PathBuf,
    /// Gone when the disk would not take more.
    file: Option<File>,
    /// Bytes that were there when it was opened and were not read yet.
    unread: u64,
}

impl Inner {
    /// What is there of the blob; `None` when it is too small to be kept, or another download has it.
    pub(crate) fn partial(&self, digest: &Digest, size: u64) -> Option<Partial> {
        if size < self.limits.resume_from {
            return None;
        }
        let path = self.root.by_digest("partial", digest);
        match open(&path, size) {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the blob is not kept for a later try");
                None
            }
        }
    }

    /// Forgets what is there of the blob: it is complete, or it was wrong.
    pub(crate) fn forget_partial(&self, digest: &Digest) {
        if let Err(error) = files::remove_file(&self.root.by_digest("partial", digest)) {
            tracing::warn!(%error, "a part of a blob stays behind; pruning removes it");
        }
    }

    /// Removes parts that no download has and that are as old as that; how many bytes that freed.
    pub(super) fn sweep_partials(&self, older_than: Duration, dry_run: bool) -> Result<u64, StoreError> {
        sweep(&self.root, older_than, dry_run)
    }
}

/// Removes parts that are too old to be of use.
pub(super) fn sweep_old(root: &files::Root) -> Result<u64, StoreError> {
    sweep(root, OLDEST, false)
}

fn sweep(root: &files::Root, older_than: Duration, dry_run: bool) -> Result<u64, StoreError> {
    let mut freed = 0;
    for digest in root.digests("partial")? {
        let path = root.by_digest("partial", &digest);
        let Ok(file) = File::open(&path) else { continue };
        let Ok(meta) = file.metadata() else { continue };
        let age = meta.modified().ok().and_then(|time| SystemTime::now().duration_since(time).ok());
        if age.unwrap_or_default() < older_than
            || files::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
        {
            continue;
        }
        freed += meta.len();
        if !dry_run {
            files::remove_file(&path)?;
        }
    }
    Ok(freed)
}

fn open(path: &Path, size: u64) -> io::Result<Option<Partial>> {
    let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let mut options = OpenOptions::new();
    options.create(true).read(true).append(true).mode(0o600).custom_flags(flags);
    let file = options.open(path)?;
    match files::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        other => other?,
    }
    // Whoever had it may have removed it in between.
    if !is_same(&file, path) {
        return Ok(None);
    }
    let mut unread = file.metadata()?.len();
    if unread > size {
        file.set_len(0)?;
        unread = 0;
    }
    Ok(Some(Partial { path: path.into(), file: Some(file), unread }))
}

impl Partial {
    /// Bytes that need not be asked for.
    pub(crate) fn len(&self) -> u64 {
        self.unread
    }

    /// The next bytes of what was there when it was opened; empty at their end.
    pub(crate) fn read(&mut self, most: usize) -> io::Result<Vec<u8>> {
        let Some(file) = self.file.as_mut().filter(|_| self.unread > 0) else { return Ok(Vec::new()) };
        let mut bytes = vec![0; usize::try_from(self.unread).unwrap_or(most).min(most)];
        file.read_exact(&mut bytes)?;
        self.unread -= bytes.len() as u64;
        Ok(bytes)
    }

    /// Adds bytes that came. A disk that takes no more is no reason to give up the pull.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        let Some(file) = &mut self.file else { return };
        if let Err(error) = file.write_all(bytes) {
            tracing::debug!(path = %self.path.display(), %error, "the blob is not kept for a later try");
            self.file = None;
            let _ = fs::remove_file(&self.path);
        }
    }
}
