//! Layers copied into one plain directory, whiteouts applied: for file systems that overlayfs can't write to, and for
//! images with more layers than one overlay can have.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

use super::{LayerDir, Snapshot, SnapshotError, Snapshotter, dress_root, make_dir, visible};
use crate::tree;
use crate::unpack::{is_kept, is_opaque, is_whiteout};

/// Copies every layer; the result needs no mount.
#[derive(Debug, Clone, Copy, Default)]
pub struct CopySnapshotter;

impl Snapshotter for CopySnapshotter {
    fn prepare(&self, layers: &[LayerDir], dir: &Path) -> Result<Snapshot, SnapshotError> {
        let topmost_first = visible(layers);
        let snapshot = Snapshot::new(dir, Vec::new());
        let outcome = make_dir(&snapshot.upper)
            .and_then(|()| make_dir(&snapshot.work))
            .and_then(|()| flatten(&topmost_first, &snapshot.upper))
            .and_then(|()| dress_root(&snapshot.upper, &topmost_first));
        match outcome {
            Ok(()) => Ok(snapshot),
            Err(error) => {
                let _ = snapshot.remove();
                Err(error)
            }
        }
    }
}

/// Copies layers over one another into an empty directory.
pub(super) fn flatten(topmost_first: &[&LayerDir], into: &Path) -> Result<(), SnapshotError> {
    for layer in topmost_first.iter().rev() {
        let failed = |e: Errno| SnapshotError::new("copy a layer into", into, e);
        let from = tree::open_dir(rustix::fs::CWD, &layer.fs).map_err(failed)?;
        let target = tree::open_dir(rustix::fs::CWD, into).map_err(failed)?;
        let mut copy = Copy { root: target.as_fd(), linked: BTreeMap::new() };
        copy.directory(from, target.as_fd(), b"").map_err(failed)?;
    }
    Ok(())
}

/// One layer on its way.
struct Copy<'a> {
    root: BorrowedFd<'a>,
    /// Where a file with several names was copied to first, by inode.
    linked: BTreeMap<u64, Vec<u8>>,
}

impl Copy<'_> {
    fn directory(&mut self, from: OwnedFd, to: BorrowedFd<'_>, path: &[u8]) -> Result<(), Errno> {
        let mut entries = Dir::new(from)?;
        while let Some(entry) = entries.read() {
            let entry = entry?;
            if tree::is_dot(entry.file_name()) {
                continue;
            }
            let inner = if path.is_empty() { Vec::new() } else { [path, b"/"].concat() };
            let inner = [inner.as_slice(), entry.file_name().to_bytes()].concat();
            self.entry(entries.fd()?, to, entry.file_name(), &inner)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &std::ffi::CStr,
        path: &[u8],
    ) -> Result<(), Errno> {
        let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if is_whiteout(&stat) {
            return tree::remove_at(to, name);
        }
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => self.subdirectory(from, to, name, path, &stat),
            FileType::RegularFile => self.file(from, to, name, path, &stat),
            FileType::Symlink => {
                tree::remove_at(to, name)?;
                let target = rustix::fs::readlinkat(from, name, Vec::new())?;
                rustix::fs::symlinkat(&*target, to, name)?;
                dress_name(to, name, &stat)
            }
            FileType::Fifo => {
                tree::remove_at(to, name)?;
                rustix::fs::mknodat(to, name, FileType::Fifo, Mode::empty(), 0)?;
                rustix::fs::chownat(to, name, owner(&stat).0, owner(&stat).1, AtFlags::SYMLINK_NOFOLLOW)?;
                rustix::fs::chmodat(to, name, Mode::from_raw_mode(stat.st_mode & 0o7777), AtFlags::empty())?;
                dress_name(to, name, &stat)
            }
            _ => Ok(()),
        }
    }

    fn subdirectory(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &std::ffi::CStr,
        path: &[u8],
        stat: &Stat,
    ) -> Result<(), Errno> {
        let source = tree::open_dir(from, name)?;
        match tree::open_dir(to, name) {
            Ok(existing) if is_opaque(&source) => tree::empty(existing)?,
            Ok(_) => {}
            Err(Errno::NOENT) => rustix::fs::mkdirat(to, name, Mode::RWXU)?,
            Err(_) => {
                tree::remove_at(to, name)?;
                rustix::fs::mkdirat(to, name, Mode::RWXU)?;
            }
        }
        let target = tree::open_dir(to, name)?;
        copy_attributes(&source, &target)?;
        self.directory(source, target.as_fd(), path)?;
        dress(&target, stat)
    }

    fn file(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &std::ffi::CStr,
        path: &[u8],
        stat: &Stat,
    ) -> Result<(), Errno> {
        tree::remove_at(to, name)?;
        if let Some(first) = self.linked.get(&stat.st_ino)
            && rustix::fs::linkat(self.root, first.as_slice(), to, name, AtFlags::empty()).is_ok()
        {
            return Ok(());
        }
        let reading = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let source = rustix::fs::openat(from, name, reading, Mode::empty())?;
        let writing = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = rustix::fs::openat(to, name, writing, Mode::RUSR)?;
        let (mut source, mut target) = (File::from(source), File::from(target));
        std::io::copy(&mut source, &mut target).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
        // The owner first: it drops setuid bits and capabilities.
        dress(&target, stat)?;
        copy_attributes(&source, &target)?;
        if stat.st_nlink > 1 {
            self.linked.insert(stat.st_ino, path.to_vec());
        }
        Ok(())
    }
}

fn owner(stat: &Stat) -> (Option<rustix::fs::Uid>, Option<rustix::fs::Gid>) {
    (Some(rustix::fs::Uid::from_raw(stat.st_uid)), Some(rustix::fs::Gid::from_raw(stat.st_gid)))
}

fn times(stat: &Stat) -> Timestamps {
    let nanos = i64::try_from(stat.st_mtime_nsec).unwrap_or(0);
    let when = Timespec { tv_sec: stat.st_mtime, tv_nsec: nanos };
    Timestamps { last_access: when, last_modification: when }
}

fn dress(file: impl AsFd, stat: &Stat) -> Result<(), Errno> {
    let (uid, gid) = owner(stat);
    rustix::fs::fchown(&file, uid, gid)?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    rustix::fs::futimens(&file, &times(stat))
}

fn dress_name(dir: BorrowedFd<'_>, name: &std::ffi::CStr, stat: &Stat) -> Result<(), Errno> {
    let (uid, gid) = owner(stat);
    rustix::fs::chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    rustix::fs::utimensat(dir, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)
}

fn copy_attributes(from: impl AsFd, to: impl AsFd) -> Result<(), Errno> {
    let mut names = vec![0u8; 64 << 10];
    let length = match rustix::fs::flistxattr(&from, &mut names[..]) {
        Err(Errno::OPNOTSUPP) => return Ok(()),
        other => other?,
    };
    for name in names[..length].split(|b| *b == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0u8; 64 << 10];
        let size = rustix::fs::fgetxattr(&from, name, &mut value[..])?;
        if is_kept(name, &value[..size]) {
            rustix::fs::fsetxattr(&to, name, &value[..size], XattrFlags::empty())?;
        }
    }
    Ok(())
}
