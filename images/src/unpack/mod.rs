//! Unpacking a layer's tar into a directory that overlayfs can use, whatever the tar tries.
//!
//! Every path is resolved by the kernel below the layer's own directory (`openat2` with `RESOLVE_IN_ROOT`), owners
//! and modes are set through handles, whiteouts become what overlayfs reads. The `tar` crate decodes header
//! fields; the stream is walked by us, because readers that disagree about sizes and names can be played off
//! against each other.

mod error;
mod links;
mod meta;
mod name;
mod pax;
mod resolve;
mod stream;
mod whiteout;
mod write;

pub use error::UnpackError;

pub(crate) use meta::is_kept;
pub(crate) use name::Name;
pub(crate) use stream::{Kind, TarStream};
pub(crate) use whiteout::{is_opaque, is_whiteout};

use std::io::BufRead;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use links::Deferred;
use meta::LateTimes;
use resolve::Dirs;
use stream::Entry;

/// What one tar may cost.
#[derive(Debug, Clone, Copy)]
pub struct UnpackLimits {
    /// Entries and made parent directories together.
    pub entries: u64,
    /// Bytes of file content, holes included.
    pub bytes: u64,
}

/// What a tar became.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpacked {
    /// Entries read and parents made.
    pub entries: u64,
    /// Bytes of file content, holes included.
    pub bytes: u64,
    /// Device nodes and entries of unknown use that were left out.
    pub dropped: u64,
    /// The layer hides everything below it.
    pub opaque_root: bool,
    /// Mode, user and group of the root directory, when the tar has an entry for it.
    pub root: Option<(u32, u32, u32)>,
}

/// Unpacks `tar` into the existing, empty directory `into`, which nobody else may write to meanwhile.
///
/// # Errors
/// A malformed, hostile or too large tar, or a failed write; what was unpacked so far stays.
pub fn unpack_tar(tar: impl BufRead, into: &Path, limits: UnpackLimits) -> Result<Unpacked, UnpackError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let unpacked = rustix::fs::open(into, flags, Mode::empty())
        .map_err(|error| UnpackError::write("open", "/", error))
        .and_then(|root| Unpacker::new(root, limits)?.run(TarStream::new(tar)));
    unpacked.map_err(|error| error.unpacking_to(into))
}

/// One tar on its way into one directory.
struct Unpacker {
    dirs: Dirs,
    limits: UnpackLimits,
    deferred: Deferred,
    late: LateTimes,
    done: Unpacked,
}

impl Unpacker {
    fn new(root: OwnedFd, limits: UnpackLimits) -> Result<Self, UnpackError> {
        let dirs = Dirs::new(root)?;
        let (deferred, late) = (Deferred::default(), LateTimes::default());
        Ok(Self { dirs, limits, deferred, late, done: Unpacked::default() })
    }

    fn run<R: BufRead>(mut self, mut tar: TarStream<R>) -> Result<Unpacked, UnpackError> {
        while let Some(entry) = tar.next()? {
            self.count(1)?;
            self.take(&entry, &mut tar)?;
            let made = self.dirs.take_made();
            self.count(made)?;
        }
        self.link_deferred()?;
        self.late.apply(&mut self.dirs)?;
        Ok(self.done)
    }

    fn count(&mut self, entries: u64) -> Result<(), UnpackError> {
        self.done.entries += entries;
        if self.done.entries > self.limits.entries {
            return Err(UnpackError::TooMuch { what: "entries", limit: self.limits.entries });
        }
        Ok(())
    }

    fn take<R: BufRead>(&mut self, entry: &Entry, tar: &mut TarStream<R>) -> Result<(), UnpackError> {
        self.done.bytes = self.done.bytes.saturating_add(entry.size);
        if self.done.bytes > self.limits.bytes {
            return Err(UnpackError::TooMuch { what: "bytes of files", limit: self.limits.bytes });
        }
        let name = Name::parse(&entry.path)?;
        if let Some(whiteout) = whiteout::of(&name)? {
            return self.whiteout(&name, whiteout);
        }
        match (&entry.kind, name.is_root()) {
            (Kind::Directory, true) => self.root_directory(entry),
            (_, true) => Err(UnpackError::refuse(&entry.path, "only a directory can be the root")),
            (Kind::Directory, _) => self.directory(&name, entry),
            (Kind::Regular, _) => self.regular(&name, entry, tar),
            (Kind::Symlink, _) => self.symlink(&name, entry),
            (Kind::Hardlink, _) => self.hardlink(&name, entry),
            (Kind::Fifo, _) => self.fifo(&name, entry),
            (Kind::Character { major: 0, minor: 0 }, _) => self.hide(&name),
            (Kind::Character { .. } | Kind::Block | Kind::Label, _) => {
                self.done.dropped += 1;
                Ok(())
            }
        }
    }
}
