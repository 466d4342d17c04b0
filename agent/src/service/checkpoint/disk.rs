//! The disk under the checkpoints: files replaced as a whole, links, folders made durable, whole runs removed.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use model::Timestamp;
use prost::Message;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::CheckpointError;
use super::record::{self, MAX_RECORD};

/// Room for the updates of a task: several times what one takes.
const UPDATES_ROOM: u64 = 16 << 10;

/// The link to the newest agent or run.
pub(super) const LATEST: &str = "latest";
pub(super) const FRAMEWORK_INFO: &str = "framework.info";
pub(super) const EXECUTOR_INFO: &str = "executor.info";

/// Folders whose entries changed and are not yet known to be on disk.
#[derive(Default)]
pub(super) struct Folders {
    pub(super) changed: BTreeSet<PathBuf>,
}

impl Folders {
    /// Makes a folder and its parents, for nobody but us.
    pub(super) fn make(&mut self, folder: &Path) -> Result<(), CheckpointError> {
        if folder.is_dir() {
            return Ok(());
        }
        let parent = folder.parent().unwrap_or(Path::new("/"));
        self.make(parent)?;
        match DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed("make", folder, error)),
            _ => {
                self.changed.insert(parent.to_owned());
                Ok(())
            }
        }
    }

    /// Makes the changes durable, the innermost first.
    pub(super) fn sync(self) -> Result<(), CheckpointError> {
        self.changed.iter().rev().try_for_each(|folder| {
            File::open(folder).and_then(|open| open.sync_all()).map_err(|e| failed("write", folder, e))
        })
    }
}

/// Removes the folder of a run, the `latest` link to it, and the parents that are empty then, up to the framework's.
pub(crate) fn remove_run(folder: &Path) -> Result<(), CheckpointError> {
    images::remove_tree(folder).map_err(|e| failed("remove", folder, e))?;
    let (Some(runs), Some(name)) = (folder.parent(), folder.file_name()) else { return Ok(()) };
    let latest = runs.join(LATEST);
    if fs::read_link(&latest).is_ok_and(|to| to.file_name() == Some(name)) {
        let _ = fs::remove_file(&latest);
    }
    // Below `executors/<ex>` only `executor.info` is left of an executor without runs.
    if let Some(executor) = runs.parent().filter(|_| fs::remove_dir(runs).is_ok()) {
        let _ = fs::remove_file(executor.join(EXECUTOR_INFO));
        let executors = executor.parent().filter(|_| fs::remove_dir(executor).is_ok());
        let framework = executors.and_then(Path::parent);
        if let Some(framework) = framework.filter(|f| fs::remove_dir(f.join("executors")).is_ok()) {
            let _ = fs::remove_file(framework.join(FRAMEWORK_INFO));
            let _ = fs::remove_dir(framework);
        }
    }
    Ok(())
}

/// Names in a folder, in order; none when it is not there.
pub(super) fn names(folder: &Path) -> Result<Vec<String>, CheckpointError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|e| failed("list", folder, e))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| failed("list", folder, e))?;
        names.extend(entry.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}

pub(super) fn touched(path: &Path) -> Option<Timestamp> {
    let modified = fs::symlink_metadata(path).ok()?.modified().ok()?;
    let since = modified.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Timestamp::ZERO + since)
}

pub(super) fn read_bytes(file: &Path) -> Result<Vec<u8>, CheckpointError> {
    let open = File::open(file).map_err(|e| failed("open", file, e))?;
    let mut bytes = Vec::new();
    let most = u64::try_from(MAX_RECORD).unwrap_or(u64::MAX);
    open.take(most).read_to_end(&mut bytes).map_err(|e| failed("read", file, e))?;
    Ok(bytes)
}

pub(super) fn read_file<M: Message + Default>(file: &Path) -> Result<M, CheckpointError> {
    record::read_one(&read_bytes(file)?).map_err(|why| damaged(file, &why))
}

pub(super) fn replace(file: &Path, message: &impl Message) -> Result<(), CheckpointError> {
    replace_bytes(file, &record::frame(message))
}

/// Writes a file so that after a crash there is either the old or the new one. Its folder is for the caller to sync.
pub(super) fn replace_bytes(file: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    let mut temporary = file.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut open| open.write_all(bytes).and_then(|()| open.sync_all()))
        .and_then(|()| fs::rename(&temporary, file));
    if let Err(error) = written {
        let _ = fs::remove_file(&temporary);
        return Err(failed("write", file, error));
    }
    Ok(())
}

/// Makes or replaces a link.
pub(super) fn point(link: &Path, to: &str) -> Result<(), CheckpointError> {
    let temporary = link.with_extension("tmp");
    let _ = fs::remove_file(&temporary);
    std::os::unix::fs::symlink(to, &temporary)
        .and_then(|()| fs::rename(&temporary, link))
        .map_err(|e| failed("make the link", link, e))
}

/// Makes an empty file with room for what will be appended.
pub(super) fn reserve(file: &Path) -> Result<(), CheckpointError> {
    let open = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(file)
        .map_err(|e| failed("create", file, e))?;
    match rustix::fs::fallocate(&open, FallocateFlags::KEEP_SIZE, 0, UPDATES_ROOM) {
        // Not every filesystem can.
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
        Err(error) => return Err(failed("make room in", file, error.into())),
    }
    Ok(())
}

pub(super) fn failed(operation: &'static str, path: &Path, source: io::Error) -> CheckpointError {
    CheckpointError::Io { operation, path: path.to_owned(), source }
}

pub(super) fn damaged(path: &Path, why: &str) -> CheckpointError {
    CheckpointError::Damaged { path: path.to_owned(), why: why.to_owned() }
}
