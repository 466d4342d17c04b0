//! How much disk a folder takes: the blocks of everything below it, as `du` counts them.
//!
//! The folder belongs to a task, which may put anything there and change it meanwhile. So no link is followed, no mount
//! is entered, every folder is opened relative to the one above it, and the walk is bounded in depth and in entries.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// Folders within one another; each costs a descriptor while it is looked through.
const MOST_DEPTH: usize = 128;
/// Entries that are looked at.
const MOST_ENTRIES: usize = 2_000_000;

/// Why a folder could not be measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum MeasureError {
    /// The task has built something that nobody wants to walk through.
    #[error("folders are nested more than {MOST_DEPTH} deep")]
    TooDeep,
    /// Likewise.
    #[error("there are more than {MOST_ENTRIES} files")]
    TooMany,
    /// The folder is not there (any more).
    #[error("it is gone")]
    Gone,
    /// The disk says no.
    #[error("{0}")]
    Io(Errno),
}

/// The bytes that a folder and everything below it take on disk.
///
/// # Errors
/// It is not there, the disk says no, or it holds more than anybody can be asked to count.
pub(crate) fn measure(folder: &Path) -> Result<u64, MeasureError> {
    measure_up_to(folder, MOST_DEPTH, MOST_ENTRIES)
}

fn measure_up_to(folder: &Path, depth: usize, entries: usize) -> Result<u64, MeasureError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = rustix::fs::open(folder, flags, Mode::empty()).map_err(gone)?;
    let mut walk = Walk { blocks: 0, entries, linked: BTreeSet::new(), open: Vec::new() };
    let stat = rustix::fs::fstat(&root).map_err(MeasureError::Io)?;
    walk.count(&stat)?;
    walk.enter(root)?;
    while let Some(current) = walk.open.last_mut() {
        let Some(entry) = current.read() else {
            walk.open.pop();
            continue;
        };
        let entry = entry.map_err(MeasureError::Io)?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let below = current.fd().map_err(MeasureError::Io)?;
        // What is gone meanwhile takes no room.
        let Ok(stat) = rustix::fs::statat(below, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let inner = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => inner(below, name)?,
            _ => None,
        };
        // A mount point is not of the task's making.
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory && inner.is_none() {
            continue;
        }
        walk.count(&stat)?;
        if let Some(inner) = inner {
            if walk.open.len() >= depth {
                return Err(MeasureError::TooDeep);
            }
            walk.enter(inner)?;
        }
    }
    Ok(walk.blocks.saturating_mul(512))
}

/// A folder within another; none when it is gone, no folder any more, or a mount.
fn inner(parent: impl std::os::fd::AsFd, name: &std::ffi::CStr) -> Result<Option<OwnedFd>, MeasureError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    match rustix::fs::openat2(parent, name, flags, Mode::empty(), resolve) {
        Ok(folder) => Ok(Some(folder)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => Ok(None),
        Err(error) => Err(MeasureError::Io(error)),
    }
}

fn gone(error: Errno) -> MeasureError {
    match error {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP => MeasureError::Gone,
        other => MeasureError::Io(other),
    }
}

/// A walk through a folder.
struct Walk {
    /// Of 512 bytes.
    blocks: u64,
    /// How many may still come.
    entries: usize,
    /// Files with several names that were counted.
    linked: BTreeSet<(u64, u64)>,
    /// The folders from the outermost to the one that is looked through.
    open: Vec<Dir>,
}

impl Walk {
    fn enter(&mut self, folder: OwnedFd) -> Result<(), MeasureError> {
        self.open.push(Dir::new(folder).map_err(MeasureError::Io)?);
        Ok(())
    }

    fn count(&mut self, stat: &Stat) -> Result<(), MeasureError> {
        self.entries = self.entries.checked_sub(1).ok_or(MeasureError::TooMany)?;
        let folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if folder || stat.st_nlink < 2 || self.linked.insert((stat.st_dev, stat.st_ino)) {
            self.blocks = self.blocks.saturating_add(u64::try_from(stat.st_blocks).unwrap_or(0));
        }
        Ok(())
    }
}

/// Whether a folder is there at all.
pub(crate) fn is_folder(path: &Path) -> bool {
    let stat = rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW);
    stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// What the program of this name says.
    fn du(folder: &Path) -> u64 {
        let output =
            std::process::Command::new("du").args(["-s", "--block-size=1"]).arg(folder).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_whitespace().next().unwrap().parse().unwrap()
    }

    #[test]
    fn it_counts_as_du_does() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("a/b/c")).unwrap();
        fs::write(at("a/one"), vec![1; 300_000]).unwrap();
        fs::hard_link(at("a/one"), at("a/b/two")).unwrap();
        fs::write(at("a/b/c/small"), "x").unwrap();
        fs::File::create(at("sparse")).unwrap().set_len(1 << 40).unwrap();
        symlink("/usr", at("link")).unwrap();
        symlink("..", at("a/loop")).unwrap();
        let measured = measure(dir.path()).unwrap();
        assert_eq!(measured, du(dir.path()));
        assert!((300_000..400_000).contains(&measured), "{measured}");
    }

    #[test]
    fn what_a_link_points_to_is_not_measured() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "x").unwrap();
        symlink(dir.path(), dir.path().join("itself")).unwrap();
        assert_eq!(measure(&dir.path().join("itself")), Err(MeasureError::Gone));
        assert_eq!(measure(&dir.path().join("file")), Err(MeasureError::Gone));
        assert_eq!(measure(&dir.path().join("absent")), Err(MeasureError::Gone));
        assert!(is_folder(dir.path()) && !is_folder(&dir.path().join("itself")));
    }

    #[test]
    fn hostile_trees_end_the_walk() {
        let dir = tempfile::tempdir().unwrap();
        let mut deep = dir.path().to_owned();
        for _ in 0..10 {
            deep.push("d");
        }
        fs::create_dir_all(&deep).unwrap();
        assert_eq!(measure_up_to(dir.path(), 10, 100), Err(MeasureError::TooDeep));
        assert_eq!(measure_up_to(dir.path(), 11, 10), Err(MeasureError::TooMany));
        assert!(measure_up_to(dir.path(), 11, 11).is_ok());
    }

    #[test]
    fn mounts_are_not_entered() {
        if !rustix::process::geteuid().is_root() {
            println!("SKIPPED: mounts_are_not_entered: needs root to mount");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        fs::write(other.path().join("large"), vec![1; 1_000_000]).unwrap();
        let point = dir.path().join("point");
        fs::create_dir(&point).unwrap();
        let mounted =
            std::process::Command::new("mount").arg("--bind").arg(other.path()).arg(&point).status();
        if !mounted.is_ok_and(|status| status.success()) {
            println!("SKIPPED: mounts_are_not_entered: can't mount");
            return;
        }
        let measured = measure(dir.path());
        let unmounted = std::process::Command::new("umount").arg(&point).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
        assert!(measured.unwrap() < 100_000);
    }
}
