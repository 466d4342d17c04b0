//! The check before libcontainer touches a root filesystem.
//!
//! libcontainer 0.7.0 unlinks and links in `<rootfs>/dev` by plain paths before it pivots; an image
//! whose `/dev` is a link to a folder of the host would have it delete and create files there
//! (CVE-2026-41579 in runc). So the mount points are opened without following anything, created when
//! missing, and refused when they are no folders.
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat2};
use rustix::io::Errno;

use crate::ending::{Failure, FailureKind, Stage};

/// Checks, and where missing creates, each of `names` (single components) below `root`.
pub(crate) fn mount_points(root: BorrowedFd<'_>, names: &[&str]) -> Result<(), Failure> {
    names.iter().try_for_each(|name| mount_point(root, name))
}

fn mount_point(root: BorrowedFd<'_>, name: &str) -> Result<(), Failure> {
    debug_assert!(!name.contains('/'));
    let opened = match open(root, name) {
        Err(Errno::NOENT) => mkdirat(root, name, Mode::from_raw_mode(0o755)).and_then(|()| open(root, name)),
        other => other,
    };
    let why = match opened {
        Ok(_) => return Ok(()),
        Err(Errno::LOOP) => "it is a symbolic link",
        Err(Errno::NOTDIR) => "it is no directory",
        Err(errno) => {
            let what = format!("can't check /{name} of the root filesystem");
            return Err(Failure::host(Stage::Rootfs, what, &io::Error::from(errno)));
        }
    };
    let message = format!(
        "the root filesystem is unsafe: /{name} must be a directory of its own, but {why}; \
         rebuild the image with a plain directory there (or none)"
    );
    Err(Failure::new(Stage::Rootfs, FailureKind::Refused, message))
}

fn open(root: BorrowedFd<'_>, name: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(root, name, flags, Mode::empty(), resolve)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;

    use super::*;

    fn guard(prepare: impl Fn(&std::path::Path)) -> Result<(), Failure> {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path());
        mount_points(File::open(dir.path()).unwrap().as_fd(), &["dev", "proc", "sys"])
    }

    #[test]
    fn links_and_files_are_refused_whatever_they_point_at() {
        for target in ["/etc", "/proc", "../..", "..", "dev2", ".", "/nonexistent"] {
            let failure = guard(|root| symlink(target, root.join("dev")).unwrap()).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Refused, "{target}");
            assert!(failure.message.contains("/dev"), "{failure}");
        }
        let failure = guard(|root| fs::write(root.join("sys"), "").unwrap()).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Refused);
        assert!(failure.message.contains("/sys"));
    }

    #[test]
    fn what_is_missing_is_made() {
        guard(|_| {}).unwrap();
        guard(|root| fs::create_dir(root.join("proc")).unwrap()).unwrap();
    }
}
