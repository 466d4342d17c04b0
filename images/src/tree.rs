//! Removing whole directory trees by directory handles, without ever following a link.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

/// Opens a directory for reading, itself and not what a link points to.
pub(crate) fn open_dir(parent: impl AsFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// How often a directory is emptied again that another process still fills.
const MAX_TRIES: u32 = 16;

/// Removes a file, link or directory tree; one that is gone already is no error.
///
/// # Errors
/// The first thing that could not be removed, e.g. a mount point (`EBUSY`).
pub fn remove_tree(path: &Path) -> io::Result<()> {
    remove_at(rustix::fs::CWD, path).map_err(io::Error::from)
}

/// As [`remove_tree`], below a directory handle.
pub(crate) fn remove_at(parent: impl AsFd, name: impl rustix::path::Arg + Copy) -> Result<(), Errno> {
    let parent = parent.as_fd();
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error),
    }
    let mut tries = 0;
    loop {
        match open_dir(parent, name) {
            Ok(dir) => empty(dir)?,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error),
        }
        match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOENT) => return Ok(()),
            // Another process has just put a file there, such as a layer's mark of being settled.
            Err(Errno::NOTEMPTY) if tries < MAX_TRIES => tries += 1,
            other => return other,
        }
    }
}

/// Levels that are emptied one in another; deeper ones are moved up first, so that no tree, however deep, takes more
/// descriptors or stack than this.
const DEEPEST: usize = 64;

/// Removes everything in a directory. Holds one handle for each level, up to a bound.
pub(crate) fn empty(dir: OwnedFd) -> Result<(), Errno> {
    let mut moved = 0;
    loop {
        let before = moved;
        let copy = rustix::io::fcntl_dupfd_cloexec(&dir, 0)?;
        rustix::fs::seek(&copy, rustix::fs::SeekFrom::Start(0))?;
        empty_level(copy, dir.as_fd(), 0, &mut moved)?;
        if moved == before {
            return Ok(());
        }
    }
}

fn empty_level(dir: OwnedFd, top: BorrowedFd<'_>, depth: usize, moved: &mut u64) -> Result<(), Errno> {
    let mut entries = Dir::new(dir)?;
    while let Some(entry) = entries.read() {
        let entry = entry?;
        let name = entry.file_name();
        if is_dot(name) {
            continue;
        }
        let dir = entries.fd()?;
        if entry.file_type() != FileType::Directory {
            remove_at(dir, name)?;
        } else if depth < DEEPEST {
            empty_level(open_dir(dir, name)?, top, depth + 1, moved)?;
            rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?;
        } else {
            move_up(dir, name, top, moved)?;
        }
    }
    Ok(())
}

/// Moves a directory to the top of the tree under a name that is free there.
fn move_up(dir: BorrowedFd<'_>, name: &CStr, top: BorrowedFd<'_>, moved: &mut u64) -> Result<(), Errno> {
    loop {
        *moved += 1;
        let free = format!(".removed-{moved}");
        match rustix::fs::renameat_with(dir, name, top, &free, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => {}
            other => return other,
        }
    }
}

pub(crate) fn is_dot(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn removes_trees_but_not_what_links_point_to() {
        let place = tempfile::tempdir().unwrap();
        let (canary, tree) = (place.path().join("canary"), place.path().join("tree"));
        std::fs::create_dir_all(tree.join("a/b/c")).unwrap();
        std::fs::create_dir(&canary).unwrap();
        std::fs::write(canary.join("f"), "alive").unwrap();
        symlink(&canary, tree.join("a/link")).unwrap();
        std::fs::write(tree.join("a/b/f"), "x").unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
        assert_eq!(std::fs::read_to_string(canary.join("f")).unwrap(), "alive");
        remove_tree(&tree).unwrap();
    }

    #[test]
    fn a_tree_of_any_depth_takes_few_descriptors() {
        let place = tempfile::tempdir().unwrap();
        let tree = place.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        let mut at = open_dir(rustix::fs::CWD, &tree).unwrap();
        for _ in 0..5_000 {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
            rustix::fs::mkdirat(&at, ".removed-1", Mode::RWXU).unwrap();
            at = open_dir(&at, "d").unwrap();
        }
        drop(at);
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
    }
}
