//! The host's name resolution inside an image: on the host's network a command sees the host's
//! `/etc/resolv.conf`, `/etc/hosts` and `/etc/hostname`, read-only (Mesos: the network isolator does so).
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, openat2, unlinkat};
use rustix::io::Errno;

use crate::ending::{Failure, Stage};
use crate::kernel::Mounts;

const FILES: [&str; 3] = ["resolv.conf", "hosts", "hostname"];

const IN_ROOT: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// Makes what [`bind`] would find missing.
pub(crate) fn prepare(root: BorrowedFd<'_>) -> Result<(), Failure> {
    FILES.into_iter().try_for_each(|name| match target(root, name) {
        Ok(_) => Ok(()),
        Err(error) => {
            Err(Failure::host(Stage::Rootfs, format_args!("can't make /etc/{name} in the container"), &error))
        }
    })
}

/// Binds each file that the host has over its namesake below `root`, which is created when missing.
pub(crate) fn bind(mounts: &dyn Mounts, root: BorrowedFd<'_>) -> Result<(), Failure> {
    let etc = Path::new("/etc");
    for name in FILES.into_iter().filter(|name| etc.join(name).is_file()) {
        let source = etc.join(name);
        bind_one(mounts, &source, root, name).map_err(|error| {
            Failure::host(
                Stage::Rootfs,
                format_args!("can't show {} in the container", source.display()),
                &error,
            )
        })?;
    }
    Ok(())
}

/// Shows the host's `/sys`, read-only and without what is mounted below it.
pub(crate) fn bind_sys(mounts: &dyn Mounts, root: BorrowedFd<'_>) -> Result<(), Failure> {
    let bound = || {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let target = openat2(root, "sys", flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)?;
        let mount = mounts.clone_mount(Path::new("/sys"))?;
        mounts.restrict(mount.as_fd())?;
        mounts.attach(mount.as_fd(), target.as_fd())
    };
    bound().map_err(|error| Failure::host(Stage::Rootfs, "can't show /sys in the container", &error))
}

fn bind_one(mounts: &dyn Mounts, source: &Path, root: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let Some(target) = target(root, name)? else { return Ok(()) };
    let mount = mounts.clone_mount(source)?;
    mounts.restrict(mount.as_fd())?;
    mounts.attach(mount.as_fd(), target.as_fd())
}

/// The file to bind over; nothing when the image has something odd there (no `/etc`, a folder).
fn target(root: BorrowedFd<'_>, name: &str) -> io::Result<Option<OwnedFd>> {
    let path = format!("etc/{name}");
    let look = || openat2(root, &path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), IN_ROOT);
    match look() {
        Ok(file) if is_regular(&file)? => return Ok(Some(file)),
        Ok(_) | Err(Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let etc = match openat2(root, "etc", folder, Mode::empty(), IN_ROOT) {
        Ok(etc) => etc,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    // A dangling link, as systemd's images have it for resolv.conf, gives way.
    match unlinkat(&etc, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(Some(openat2(&etc, name, create, Mode::from_raw_mode(0o644), ResolveFlags::NO_SYMLINKS)?))
}

fn is_regular(file: &OwnedFd) -> io::Result<bool> {
    let mode = rustix::fs::fstat(file)?.st_mode;
    Ok(rustix::fs::FileType::from_raw_mode(mode) == rustix::fs::FileType::RegularFile)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_dangling_link_becomes_a_file_and_nothing_outside_is_made() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(dir.path().join("etc")).unwrap();
        symlink(outside.path().join("new"), dir.path().join("etc/hosts")).unwrap();
        let root = File::open(dir.path()).unwrap();
        assert!(target(root.as_fd(), "hosts").unwrap().is_some());
        assert!(dir.path().join("etc/hosts").symlink_metadata().unwrap().is_file());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_image_without_etc_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let root = File::open(dir.path()).unwrap();
        assert!(target(root.as_fd(), "hosts").unwrap().is_none());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
