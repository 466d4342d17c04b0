//! Putting a container's first process where it belongs, so that libcontainer need not.
//!
//! In the v2 tree a process is born in its cgroup (`CLONE_INTO_CGROUP`). The v1 hierarchies of a hybrid host know
//! only moves, and for the move of a process the kernel waits for a grace period of RCU, some 10 ms; only a thread
//! that moves itself by the file `tasks` is spared that. So the first process goes there itself.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::keeper::{MYSELF, V1_SELF};
use super::{Cgroups, Error, LEAF, files};

/// What a new cpuset lacks before a process may join it.
const CPUSET: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

impl Cgroups {
    /// The cgroup of the v2 tree in which the container's first process is to be born.
    ///
    /// # Errors
    /// When it can't be opened.
    pub fn birthplace(&self) -> Result<OwnedFd, Error> {
        let tracking = self.tracking();
        let path = if self.layout.is_hybrid() { tracking } else { tracking.join(LEAF) };
        File::open(&path).map(OwnedFd::from).map_err(|source| Error::Read { path, source })
    }

    /// On a hybrid host, moves the calling process, which was born in [`Cgroups::birthplace`] and has one thread,
    /// into the container's cgroup of every v1 hierarchy, which is made where it is missing. Nothing on pure v2.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn join(&self) -> Result<(), Error> {
        for mount in &self.layout.v1 {
            let mut at = mount.path.clone();
            for part in self.root.iter().chain([self.id.as_ref()]) {
                at.push(part);
                files::make(&at)?;
                inherit(&at, mount.controllers.iter().any(|name| name == "cpuset"))?;
            }
            files::write(&at.join(V1_SELF), MYSELF)?;
        }
        Ok(())
    }
}

/// Fills a new cpuset, if it is one, from its parent. Whoever else makes the same one writes the same.
pub(super) fn inherit(path: &Path, cpuset: bool) -> Result<(), Error> {
    let Some(parent) = path.parent().filter(|_| cpuset) else { return Ok(()) };
    for name in CPUSET {
        if files::read(&path.join(name))?.trim().is_empty() {
            files::write(&path.join(name), files::read(&parent.join(name))?.trim())?;
        }
    }
    Ok(())
}
