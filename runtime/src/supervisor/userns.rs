//! The ids of a container with a user namespace of its own, and mounts that are seen with them.
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Gid, Uid, chownat};

use crate::ending::{Failure, FailureKind, Stage};
use crate::kernel::Mounts;
use crate::plan::Identity;
use crate::spec::IdRange;

/// A user namespace that only says how ids are mapped, and the ids.
pub(crate) struct Users {
    ids: IdRange,
    namespace: OwnedFd,
}

impl Users {
    pub(crate) fn new(mounts: &dyn Mounts, ids: IdRange) -> Result<Self, Failure> {
        let namespace = mounts.user_namespace(ids).map_err(|error| {
            let hint = match error.raw_os_error() {
                Some(libc::ENOSPC) => " (the sysctl user.max_user_namespaces is too low, or 0)",
                Some(libc::EINVAL) => " (this kernel was built without CONFIG_USER_NS)",
                _ => "",
            };
            Failure::host(Stage::Rootfs, format_args!("can't make a user namespace{hint}"), &error)
        })?;
        Ok(Self { ids, namespace })
    }

    /// Has a detached mount show its files' owners as the same ids inside the container.
    pub(crate) fn map(&self, mounts: &dyn Mounts, mount: BorrowedFd<'_>, at: &Path) -> Result<(), Failure> {
        mounts.map_ids(mount, self.namespace.as_fd()).map_err(|error| {
            let message = format!(
                "the owners of the files in {} can't be mapped into the container's user namespace: {error}; \
                 it takes a file system that knows idmapped mounts (ext4, xfs, btrfs; tmpfs since Linux 6.3; an \
                 overlay itself never)",
                at.display()
            );
            Failure::new(Stage::Rootfs, FailureKind::Refused, message)
        })
    }

    /// Gives the top of an overlay's writable layer to who it belongs to inside. What the container writes there has
    /// the host's ids, so it is not mapped again.
    pub(crate) fn own(&self, upper: &Path) -> Result<(), Failure> {
        let owned = fs::metadata(upper).and_then(|metadata| {
            let shifted = |id: u32| self.ids.on_host(id).unwrap_or(id);
            // A folder that was given away already stays as it is.
            let (uid, gid) = (shifted(metadata.uid()), shifted(metadata.gid()));
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            chownat(CWD, upper, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from)
        });
        let what = format_args!("can't give {} to the container's root", upper.display());
        owned.map_err(|error| Failure::host(Stage::Rootfs, what, &error))
    }
}

/// Refuses a user or group that the namespace doesn't have.
pub(crate) fn check(ids: Option<IdRange>, identity: &Identity) -> Result<(), Failure> {
    let Some(ids) = ids else { return Ok(()) };
    let mut all = [identity.uid, identity.gid].into_iter().chain(identity.groups.iter().copied());
    match all.find(|id| ids.on_host(*id).is_none()) {
        None => Ok(()),
        Some(id) => {
            let message = format!(
                "the command's user or group {id} lies outside of the container's user namespace, which has the \
                 ids 0 to {}",
                ids.length.saturating_sub(1)
            );
            Err(Failure::new(Stage::User, FailureKind::User, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_of_the_command_must_be_there() {
        let ids = Some(IdRange { base: 100_000, length: 100 });
        let identity = |uid, gid, more| Identity { uid, gid, groups: vec![gid, more], home: String::new() };
        assert!(check(ids, &identity(0, 99, 5)).is_ok());
        assert!(check(None, &identity(100, 100, 100)).is_ok());
        for identity in [identity(100, 0, 0), identity(0, 100, 0), identity(0, 0, 100)] {
            assert_eq!(check(ids, &identity).unwrap_err().kind, FailureKind::User);
        }
    }
}
