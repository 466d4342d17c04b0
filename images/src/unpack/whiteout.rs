//! Whiteouts: `.wh.name` and `.wh..wh..opq` in a tar become what overlayfs reads.

use std::os::fd::AsFd;

use rustix::fs::{FileType, Mode, Stat, XattrFlags};
use rustix::io::Errno;

use super::Unpacker;
use super::error::UnpackError;
use super::name::Name;
use super::resolve::look;

const PREFIX: &[u8] = b".wh.";
const META: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
const OPAQUE_XATTR: &str = "trusted.overlay.opaque";

/// What an entry's name hides.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Whiteout<'a> {
    /// This name of the layers below.
    Name(&'a [u8]),
    /// Everything that the layers below have in the directory.
    Directory,
    /// Bookkeeping of aufs, of no meaning to anyone else.
    Ignored,
}

/// The meaning of a name, whatever type its entry has.
pub(super) fn of(name: &Name) -> Result<Option<Whiteout<'_>>, UnpackError> {
    let refuse = |reason| UnpackError::refuse(name.path(), reason);
    if !name.path().windows(PREFIX.len()).any(|window| window == PREFIX) {
        return Ok(None);
    }
    for parent in name.parent().split(|b| *b == b'/') {
        if parent.starts_with(META) {
            return Ok(Some(Whiteout::Ignored));
        }
        if parent.starts_with(PREFIX) {
            return Err(refuse("a whiteout can't hold anything"));
        }
    }
    if name.last() == OPAQUE {
        return Ok(Some(Whiteout::Directory));
    }
    if name.last().starts_with(META) {
        return Ok(Some(Whiteout::Ignored));
    }
    match name.last().strip_prefix(PREFIX) {
        Some(b"" | b"." | b"..") => Err(refuse("it is a whiteout of no name")),
        Some(hidden) => Ok(Some(Whiteout::Name(hidden))),
        None => Ok(None),
    }
}

impl Unpacker {
    pub(super) fn whiteout(&mut self, name: &Name, whiteout: Whiteout<'_>) -> Result<(), UnpackError> {
        match whiteout {
            Whiteout::Name(hidden) => self.hide(&name.sibling(hidden)),
            Whiteout::Directory if name.parent().is_empty() => {
                // overlayfs does not look at the root's own attribute; the snapshot leaves lower layers out.
                self.done.opaque_root = true;
                Ok(())
            }
            Whiteout::Directory => {
                let dir = self.dirs.open(name.parent())?;
                set_opaque(&*dir).map_err(|e| UnpackError::write("make opaque", &name.display(), e))
            }
            Whiteout::Ignored => {
                self.done.dropped += 1;
                Ok(())
            }
        }
    }

    /// Hides a name of lower layers. What this layer itself has under the name stays, in whichever order they come.
    pub(super) fn hide(&mut self, name: &Name) -> Result<(), UnpackError> {
        let failed = |e: Errno| UnpackError::write("hide", &name.display(), e);
        let dir = self.dirs.open(name.parent())?;
        match look(&*dir, name.last()).map_err(failed)? {
            None => {
                let nothing = rustix::fs::makedev(0, 0);
                rustix::fs::mknodat(&*dir, name.last(), FileType::CharacterDevice, Mode::empty(), nothing)
                    .map_err(failed)
            }
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                let own = crate::tree::open_dir(&*dir, name.last()).map_err(failed)?;
                set_opaque(own).map_err(failed)
            }
            Some(_) => Ok(()),
        }
    }
}

/// overlayfs reads a character device 0:0 as "there is nothing here".
pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Looks first, because a million marks for one directory are cheap to read and dear to write.
pub(crate) fn set_opaque(dir: impl AsFd) -> Result<(), Errno> {
    if is_opaque(&dir) {
        return Ok(());
    }
    rustix::fs::fsetxattr(dir, OPAQUE_XATTR, b"y", XattrFlags::empty())
}

pub(crate) fn is_opaque(dir: impl AsFd) -> bool {
    let mut value = [0u8; 2];
    matches!(rustix::fs::fgetxattr(dir, OPAQUE_XATTR, &mut value[..]), Ok(1)) && value[0] == b'y'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_what_the_image_specification_says() {
        let meaning = |text: &str| {
            let name = Name::parse(text.as_bytes()).unwrap();
            of(&name).map(|w| format!("{w:?}")).unwrap_or_else(|_| "refused".into())
        };
        let hides = |name: &str| format!("{:?}", Some(Whiteout::Name(name.as_bytes())));
        assert_eq!(meaning("a/b"), "None");
        assert_eq!(meaning("a.wh.b"), "None");
        assert_eq!(meaning("a/.wh.b"), hides("b"));
        assert_eq!(meaning(".wh..b"), hides(".b"));
        assert_eq!(meaning("a/.wh..wh..opq"), "Some(Directory)");
        assert_eq!(meaning(".wh..wh..opq"), "Some(Directory)");
        assert_eq!(meaning(".wh..wh.plnk/1.2"), "Some(Ignored)");
        assert_eq!(meaning(".wh..wh.aufs"), "Some(Ignored)");
        for bad in [".wh.", "a/.wh..", ".wh...", ".wh.a/b", "a/.wh.b/.wh.c", ".wh.a/.wh..wh..opq"] {
            assert_eq!(meaning(bad), "refused", "{bad}");
        }
    }
}
