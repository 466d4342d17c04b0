//! Making files, directories, links and pipes; a later entry replaces an earlier one of the same name.

use std::fs::File;
use std::io::{BufRead, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::Unpacker;
use super::error::UnpackError;
use super::meta;
use super::name::Name;
use super::resolve::look;
use super::stream::{Entry, TarStream};
use super::whiteout::{is_whiteout, set_opaque};

/// Nobody but us sees a file before it is complete.
const FRESH: Mode = Mode::from_raw_mode(0o600);

impl Unpacker {
    pub(super) fn root_directory(&mut self, entry: &Entry) -> Result<(), UnpackError> {
        let name = Name::parse(b"")?;
        meta::set(self.dirs.root(), entry, &name)?;
        self.done.root = Some((entry.mode, entry.uid, entry.gid));
        self.late.push(&name, entry.mtime)
    }

    /// A directory that is there already keeps its content and takes the new attributes.
    pub(super) fn directory(&mut self, name: &Name, entry: &Entry) -> Result<(), UnpackError> {
        let failed = |e: Errno| UnpackError::write("make the directory", &name.display(), e);
        let parent = self.dirs.open(name.parent())?;
        let mut opaque = false;
        if let Some(found) = look(&*parent, name.last()).map_err(failed)? {
            if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
                // Deleted below and made anew: nothing of the old directory may show through.
                opaque = is_whiteout(&found);
                self.clear(&parent, name)?;
                rustix::fs::mkdirat(&*parent, name.last(), Mode::RWXU).map_err(failed)?;
            }
        } else {
            rustix::fs::mkdirat(&*parent, name.last(), Mode::RWXU).map_err(failed)?;
        }
        let dir = crate::tree::open_dir(&*parent, name.last()).map_err(failed)?;
        if opaque {
            set_opaque(&dir).map_err(failed)?;
        }
        meta::set(&dir, entry, name)?;
        self.late.push(name, entry.mtime)
    }

    pub(super) fn regular<R: BufRead>(
        &mut self,
        name: &Name,
        entry: &Entry,
        tar: &mut TarStream<R>,
    ) -> Result<(), UnpackError> {
        let parent = self.dirs.open(name.parent())?;
        let file = self.replacing(&parent, name, "make the file", |parent, last| {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(parent, last, flags, FRESH)
        })?;
        let mut file = File::from(file);
        let failed = |e: std::io::Error| UnpackError::write("write", &name.display(), e);
        match &entry.parts {
            None => copy(tar, entry.size, |bytes, _| file.write_all(bytes).map_err(failed))?,
            Some(parts) => {
                file.set_len(entry.size).map_err(failed)?;
                for (offset, length) in parts {
                    copy(tar, *length, |bytes, at| file.write_all_at(bytes, offset + at).map_err(failed))?;
                }
            }
        }
        meta::set(&file, entry, name)?;
        rustix::fs::futimens(&file, &meta::times(entry.mtime)).map_err(|e| failed(e.into()))
    }

    pub(super) fn symlink(&mut self, name: &Name, entry: &Entry) -> Result<(), UnpackError> {
        if entry.link.is_empty() || entry.link.len() > 4095 || entry.link.contains(&0) {
            return Err(UnpackError::refuse(name.path(), "its target is empty, too long or has a NUL byte"));
        }
        let failed = |e: Errno| UnpackError::write("give an owner to", &name.display(), e);
        let parent = self.dirs.open(name.parent())?;
        self.replacing(&parent, name, "make the link", |parent, last| {
            rustix::fs::symlinkat(entry.link.as_slice(), parent, last)
        })?;
        let (uid, gid) = meta::owner(entry);
        rustix::fs::chownat(&*parent, name.last(), uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        meta::link_times(&*parent, name, entry.mtime)
    }

    pub(super) fn fifo(&mut self, name: &Name, entry: &Entry) -> Result<(), UnpackError> {
        let failed = |e: Errno| UnpackError::write("give an owner to", &name.display(), e);
        let parent = self.dirs.open(name.parent())?;
        self.replacing(&parent, name, "make the pipe", |parent, last| {
            rustix::fs::mknodat(parent, last, FileType::Fifo, FRESH, 0)
        })?;
        let (uid, gid) = meta::owner(entry);
        rustix::fs::chownat(&*parent, name.last(), uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        // A pipe can't be opened without waiting for its other end; the name is what we just made.
        rustix::fs::chmodat(&*parent, name.last(), Mode::from_raw_mode(entry.mode), AtFlags::empty())
            .map_err(failed)?;
        meta::link_times(&*parent, name, entry.mtime)
    }

    /// Makes something, and makes it again after removing what had the name.
    fn replacing<T>(
        &mut self,
        parent: &OwnedFd,
        name: &Name,
        operation: &'static str,
        make: impl Fn(&OwnedFd, &[u8]) -> Result<T, Errno>,
    ) -> Result<T, UnpackError> {
        let failed = |e: Errno| UnpackError::write(operation, &name.display(), e);
        match make(parent, name.last()) {
            Err(Errno::EXIST) => {
                self.clear(parent, name)?;
                make(parent, name.last()).map_err(failed)
            }
            other => other.map_err(failed),
        }
    }

    /// Removes what an entry replaces. Directory handles that were kept may point into it.
    pub(super) fn clear(&mut self, parent: &OwnedFd, name: &Name) -> Result<(), UnpackError> {
        self.dirs.forget();
        crate::tree::remove_at(parent, name.last())
            .map_err(|e| UnpackError::write("replace", &name.display(), e))
    }
}

/// Passes exactly `length` bytes of the member's content on, with how many came before.
fn copy<R: BufRead>(
    tar: &mut TarStream<R>,
    length: u64,
    mut write: impl FnMut(&[u8], u64) -> Result<(), UnpackError>,
) -> Result<(), UnpackError> {
    let mut done = 0;
    while done < length {
        let bytes = tar.content()?;
        let count = bytes.len().min(usize::try_from(length - done).unwrap_or(usize::MAX));
        write(&bytes[..count], done)?;
        tar.consume(count);
        done += count as u64;
    }
    Ok(())
}
