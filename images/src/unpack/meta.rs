//! Owners, modes, times and extended attributes, set through handles.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::error::UnpackError;
use super::name::Name;
use super::resolve::Dirs;
use super::stream::{Entry, Moment};

/// Bytes of names that may wait for the end of the tar.
const WAITING_LARGEST: usize = 48 << 20;

/// Owner, then mode (a change of owner drops setuid bits), then attributes (both drop capabilities).
pub(super) fn set(file: impl AsFd, entry: &Entry, name: &Name) -> Result<(), UnpackError> {
    let failed = |operation| move |e: Errno| UnpackError::write(operation, &name.display(), e);
    let file = file.as_fd();
    let (uid, gid) = owner(entry);
    rustix::fs::fchown(file, uid, gid).map_err(failed("give an owner to"))?;
    rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode)).map_err(failed("set the mode of"))?;
    for (key, value) in entry.xattrs.iter().filter(|(key, value)| is_kept(key, value)) {
        match rustix::fs::fsetxattr(file, key.as_slice(), value, XattrFlags::empty()) {
            Err(Errno::OPNOTSUPP) if key.starts_with(b"user.") => {
                tracing::debug!(path = %name.display(), "the file system takes no user attributes");
            }
            other => other.map_err(failed("set an extended attribute of"))?,
        }
    }
    Ok(())
}

pub(super) fn owner(entry: &Entry) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))
}

/// Attributes steer overlayfs (`trusted.overlay.*`, `user.overlay.*`) and security modules; a layer may set only its
/// own `user.*` and file capabilities. Empty ones occur in real layers and say nothing.
pub(crate) fn is_kept(key: &[u8], value: &[u8]) -> bool {
    let own = key.starts_with(b"user.") && key.len() > 5 && !key.starts_with(b"user.overlay.");
    let valid = !key.contains(&0);
    valid && (own || (key == b"security.capability" && !value.is_empty()))
}

pub(super) fn times(mtime: Moment) -> Timestamps {
    let when = Timespec { tv_sec: mtime.0, tv_nsec: mtime.1 };
    Timestamps { last_access: when, last_modification: when }
}

pub(super) fn link_times(dir: impl AsFd, name: &Name, mtime: Moment) -> Result<(), UnpackError> {
    rustix::fs::utimensat(dir, name.last(), &times(mtime), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|e| UnpackError::write("set the time of", &name.display(), e))
}

/// Times of directories, which change until the last entry is written.
#[derive(Default)]
pub(super) struct LateTimes {
    waiting: Vec<(Box<[u8]>, Moment)>,
    bytes: usize,
}

impl LateTimes {
    pub(super) fn push(&mut self, name: &Name, mtime: Moment) -> Result<(), UnpackError> {
        self.bytes += name.path().len() + size_of::<(Box<[u8]>, Moment)>();
        if self.bytes > WAITING_LARGEST {
            return Err(UnpackError::TooMuch {
                what: "bytes of directory names",
                limit: WAITING_LARGEST as u64,
            });
        }
        self.waiting.push((name.path().into(), mtime));
        Ok(())
    }

    /// The last entry of a name counts. A directory that was replaced since keeps what replaced it.
    pub(super) fn apply(self, dirs: &mut Dirs) -> Result<(), UnpackError> {
        for (path, mtime) in self.waiting {
            let Ok(dir) = dirs.existing(&path) else { continue };
            rustix::fs::futimens(&*dir, &times(mtime))
                .map_err(|e| UnpackError::write("set the time of", &String::from_utf8_lossy(&path), e))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_attributes_are_kept() {
        for (key, kept) in [
            ("user.mime_type", true),
            ("security.capability", true),
            ("user.", false),
            ("user.overlay.opaque", false),
            ("trusted.overlay.opaque", false),
            ("trusted.x", false),
            ("security.selinux", false),
            ("security.ima", false),
            ("system.posix_acl_access", false),
            ("", false),
        ] {
            assert_eq!(is_kept(key.as_bytes(), b"v"), kept, "{key}");
        }
        assert!(!is_kept(b"security.capability", b""));
    }
}
