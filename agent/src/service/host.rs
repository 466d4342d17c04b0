//! What the agent needs of its host: a work folder of its own.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::AgentError;

/// Mode of the work folder: tasks that are not root go through it to their sandboxes, but see no names.
const WORK_DIR: u32 = 0o711;

/// Makes the work folder and takes it for this process, until the file is dropped.
pub(super) fn take_work_dir(work_dir: &Path) -> Result<File, AgentError> {
    let failed = |operation, path: &Path, source: io::Error| AgentError::Folder {
        operation,
        path: path.to_owned(),
        source,
    };
    let meta = work_dir.join("meta");
    make(work_dir, WORK_DIR).map_err(|e| failed("make", work_dir, e))?;
    make(&meta, 0o700).map_err(|e| failed("make", &meta, e))?;
    let provisioner = work_dir.join("provisioner");
    make(&provisioner, 0o700).map_err(|e| failed("make", &provisioner, e))?;
    let path = meta.join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|e| failed("open", &path, e))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(AgentError::InUse(work_dir.to_owned())),
        Err(error) => Err(failed("lock", &path, error.into())),
    }
}

/// A folder of this mode, whatever the umask or an earlier run said.
fn make(folder: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(folder)?;
    if fs::metadata(folder)?.permissions().mode() & 0o7777 != mode {
        fs::set_permissions(folder, Permissions::from_mode(mode))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_work_dir_has_one_agent_and_closed_doors() {
        let dir = tempfile::tempdir().unwrap();
        let work_dir = dir.path().join("work");
        let taken = take_work_dir(&work_dir).unwrap();
        let message = take_work_dir(&work_dir).unwrap_err().to_string();
        assert!(message.contains("in use by another agent"), "{message}");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&work_dir), 0o711);
        assert_eq!(mode(&work_dir.join("meta")), 0o700);
        drop(taken);
        take_work_dir(&work_dir).unwrap();
    }
}
