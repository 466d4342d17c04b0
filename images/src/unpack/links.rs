//! Hard links: their targets are names inside the layer, and may come later than they do.

use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use super::Unpacker;
use super::error::UnpackError;
use super::name::Name;
use super::resolve::look;
use super::stream::Entry;
use super::whiteout::is_whiteout;

/// Links to links to links that all stand before their target.
const ROUNDS: usize = 8;
const WAITING_LARGEST: usize = 16 << 20;

/// Links whose target has not come yet.
#[derive(Default)]
pub(super) struct Deferred {
    waiting: Vec<(Name, Name)>,
    bytes: usize,
}

impl Unpacker {
    pub(super) fn hardlink(&mut self, name: &Name, entry: &Entry) -> Result<(), UnpackError> {
        let target = Name::parse(&entry.link)?;
        if target.is_root() {
            return Err(UnpackError::refuse(name.path(), "it is a hard link to the root"));
        }
        if self.link(&target, name)? {
            return Ok(());
        }
        self.deferred.bytes += target.path().len() + name.path().len() + size_of::<(Name, Name)>();
        if self.deferred.bytes > WAITING_LARGEST {
            return Err(UnpackError::TooMuch {
                what: "bytes of hard links without target",
                limit: WAITING_LARGEST as u64,
            });
        }
        self.deferred.waiting.push((target, name.clone()));
        Ok(())
    }

    /// Links what had to wait. A name that got something else meanwhile keeps it: the later entry counts.
    pub(super) fn link_deferred(&mut self) -> Result<(), UnpackError> {
        let mut waiting = std::mem::take(&mut self.deferred.waiting);
        for _ in 0..ROUNDS {
            let mut still = Vec::new();
            for (target, name) in waiting {
                let taken = match self.dirs.existing(name.parent()) {
                    Ok(dir) => look(&*dir, name.last()).is_ok_and(|found| found.is_some()),
                    Err(_) => false,
                };
                if !taken && !self.link(&target, &name)? {
                    still.push((target, name));
                }
            }
            waiting = still;
            if waiting.is_empty() {
                return Ok(());
            }
        }
        let (_, name) = &waiting[0];
        Err(UnpackError::refuse(name.path(), "it is a hard link to something that the layer does not have"))
    }

    /// Makes the link; `false` when there is no such target.
    fn link(&mut self, target: &Name, name: &Name) -> Result<bool, UnpackError> {
        let failed = |e: Errno| UnpackError::write("make the hard link", &name.display(), e);
        let from = match self.dirs.existing(target.parent()) {
            Ok(dir) => dir,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(false),
            Err(error) => return Err(failed(error)),
        };
        let Some(found) = look(&*from, target.last()).map_err(failed)? else { return Ok(false) };
        if is_whiteout(&found) {
            return Ok(false);
        }
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
            return Err(UnpackError::refuse(name.path(), "it is a hard link to a directory"));
        }
        let dir = self.dirs.open(name.parent())?;
        if let Some(own) = look(&*dir, name.last()).map_err(failed)? {
            if (own.st_dev, own.st_ino) == (found.st_dev, found.st_ino) {
                return Ok(true);
            }
            self.clear(&dir, name)?;
        }
        match rustix::fs::linkat(&*from, target.last(), &*dir, name.last(), AtFlags::empty()) {
            Ok(()) => Ok(true),
            // The target lay below what the link replaced.
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }
}
