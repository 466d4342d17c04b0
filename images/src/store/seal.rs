//! One digest over everything in an unpacked layer, so that later damage shows.
//!
//! The tar a layer came from is not kept, so its own digest can't be computed again. Instead names, types, modes, owners,
//! times, link targets, attributes and contents are hashed soon after unpacking, and again by whoever wants to know.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::digest::{Algorithm, Digest, Hasher};
use crate::tree;
use crate::unpack::{is_kept, is_opaque};

const PIECE: usize = 256 << 10;

/// The digest, and how many bytes of content it covers.
pub(super) fn of(dir: &Path) -> Result<(Digest, u64), Errno> {
    let root = tree::open_dir(rustix::fs::CWD, dir)?;
    let mut seal = Seal {
        hasher: Hasher::new(Algorithm::Sha256),
        seen: BTreeMap::new(),
        bytes: 0,
        buffer: vec![0; PIECE],
    };
    let stat = rustix::fs::fstat(&root)?;
    seal.entry(b"", &stat);
    seal.attributes(&root)?;
    seal.directory(root)?;
    Ok((seal.hasher.finish(), seal.bytes))
}

struct Seal {
    hasher: Hasher,
    /// Files with several names, by inode: their content is read once.
    seen: BTreeMap<u64, u64>,
    bytes: u64,
    buffer: Vec<u8>,
}

impl Seal {
    fn directory(&mut self, dir: OwnedFd) -> Result<(), Errno> {
        let mut names = Vec::new();
        let mut entries = Dir::read_from(&dir)?;
        while let Some(entry) = entries.read() {
            let entry = entry?;
            if !tree::is_dot(entry.file_name()) {
                names.push(entry.file_name().to_owned());
            }
        }
        drop(entries);
        names.sort();
        for name in &names {
            let stat = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
            self.entry(name.to_bytes(), &stat);
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    let inner = tree::open_dir(&dir, name)?;
                    self.attributes(&inner)?;
                    self.directory(inner)?;
                }
                FileType::RegularFile => self.file(dir.as_fd(), name, &stat)?,
                FileType::Symlink => {
                    let target = rustix::fs::readlinkat(&dir, name, Vec::new())?;
                    self.text(target.to_bytes());
                }
                _ => {}
            }
        }
        // Where the directory ends.
        self.hasher.update(&[0xff]);
        Ok(())
    }

    fn entry(&mut self, name: &[u8], stat: &Stat) {
        self.text(name);
        let kind = FileType::from_raw_mode(stat.st_mode);
        let size = if kind == FileType::Directory { 0 } else { stat.st_size };
        self.hasher.update(&stat.st_mode.to_le_bytes());
        self.hasher.update(&stat.st_uid.to_le_bytes());
        self.hasher.update(&stat.st_gid.to_le_bytes());
        self.hasher.update(&size.to_le_bytes());
        self.hasher.update(&stat.st_mtime.to_le_bytes());
        self.hasher.update(&stat.st_rdev.to_le_bytes());
    }

    /// Every name is preceded by its length, so that no two trees look the same.
    fn text(&mut self, text: &[u8]) {
        self.hasher.update(&(text.len() as u64).to_le_bytes());
        self.hasher.update(text);
    }

    fn file(&mut self, dir: BorrowedFd<'_>, name: &std::ffi::CStr, stat: &Stat) -> Result<(), Errno> {
        let next = self.seen.len() as u64;
        if stat.st_nlink > 1 {
            let number = *self.seen.entry(stat.st_ino).or_insert(next);
            self.hasher.update(&number.to_le_bytes());
            if number != next {
                return Ok(());
            }
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(dir, name, flags, Mode::empty())?);
        self.attributes(&file)?;
        loop {
            match file.read(&mut self.buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    self.bytes += count as u64;
                    self.hasher.update(&self.buffer[..count]);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
            }
        }
    }

    /// Those that a layer may set, and the mark of overlayfs; others come from the host.
    fn attributes(&mut self, file: impl AsFd) -> Result<(), Errno> {
        let mut list = vec![0u8; 64 << 10];
        let length = match rustix::fs::flistxattr(&file, &mut list[..]) {
            Err(Errno::OPNOTSUPP) => 0,
            other => other?,
        };
        let mut names: Vec<&[u8]> =
            list[..length].split(|b| *b == 0).filter(|name| !name.is_empty()).collect();
        names.sort_unstable();
        self.hasher.update(&[u8::from(is_opaque(&file))]);
        for name in names {
            let mut value = vec![0u8; 64 << 10];
            let size = match rustix::fs::fgetxattr(&file, name, &mut value[..]) {
                Err(Errno::NODATA) => continue,
                other => other?,
            };
            if is_kept(name, &value[..size]) {
                self.text(name);
                self.text(&value[..size]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn every_change_shows() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        std::fs::create_dir(path("d")).unwrap();
        std::fs::write(path("d/f"), "content").unwrap();
        std::fs::hard_link(path("d/f"), path("hard")).unwrap();
        std::os::unix::fs::symlink("d/f", path("link")).unwrap();
        let seal = || of(place.path()).unwrap();
        let mut before = seal();
        assert_eq!((before.1, &before), (7, &seal()), "the same twice; a second name is no second content");
        let time = std::fs::metadata(path("d/f")).unwrap().modified().unwrap();
        let mut changed = |what: &str| {
            let after = of(place.path()).unwrap();
            assert_ne!(before.0, after.0, "{what} does not show");
            before = after;
        };
        std::fs::write(path("d/f"), "c0ntent").unwrap();
        File::options().write(true).open(path("d/f")).unwrap().set_modified(time).unwrap();
        changed("one byte of a file");
        std::fs::set_permissions(path("d/f"), PermissionsExt::from_mode(0o4755)).unwrap();
        changed("a mode");
        std::fs::rename(path("d/f"), path("d/g")).unwrap();
        changed("a name");
        std::fs::remove_file(path("link")).unwrap();
        std::os::unix::fs::symlink("d/x", path("link")).unwrap();
        changed("a link's target");
        std::fs::remove_file(path("hard")).unwrap();
        changed("a missing file");
        std::fs::write(path("new"), "").unwrap();
        changed("an additional file");
    }
}
