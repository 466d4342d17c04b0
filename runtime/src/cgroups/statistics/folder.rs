//! A cgroup's folder, opened once, whose small files are read into a buffer that is used again.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::super::{Error, files};

/// No file that is read here comes near to it; a larger one is cut.
const LARGEST: u64 = 1 << 20;

/// One cgroup.
pub(super) struct Folder {
    fd: OwnedFd,
    path: PathBuf,
}

impl Folder {
    /// `None` when the cgroup is not there.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match openat(CWD, path, flags, Mode::empty()).map_err(io::Error::from) {
            Ok(fd) => Ok(Some(Self { fd, path: path.to_owned() })),
            Err(error) if files::is_gone(&error) => Ok(None),
            Err(source) => Err(Error::Read { path: path.to_owned(), source }),
        }
    }

    /// The text of a file; `None` when the kernel doesn't have it, or has it switched off.
    pub(super) fn text<'b>(&self, name: &str, buffer: &'b mut String) -> Result<Option<&'b str>, Error> {
        buffer.clear();
        let mut read = || {
            let file = openat(self.fd.as_fd(), name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
            File::from(file).take(LARGEST).read_to_string(buffer)
        };
        match read() {
            Ok(_) => Ok(Some(buffer)),
            // PSI that was switched off on the kernel's command line.
            Err(error) if files::is_gone(&error) || error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                Ok(None)
            }
            Err(source) => Err(Error::Read { path: self.path.join(name), source }),
        }
    }

    /// A single number; `None` for `max` and for a missing file.
    pub(super) fn number(&self, name: &str, buffer: &mut String) -> Result<Option<u64>, Error> {
        Ok(self.text(name, buffer)?.and_then(|text| text.trim().parse().ok()))
    }

    /// How many lines a file has.
    pub(super) fn lines(&self, name: &str, buffer: &mut String) -> Result<Option<u64>, Error> {
        let count = |text: &str| u64::try_from(text.lines().count()).unwrap_or(u64::MAX);
        Ok(self.text(name, buffer)?.map(count))
    }

    /// Each `key value` line of a file.
    pub(super) fn each(
        &self,
        name: &str,
        buffer: &mut String,
        mut take: impl FnMut(&str, u64),
    ) -> Result<(), Error> {
        for line in self.text(name, buffer)?.unwrap_or_default().lines() {
            if let Some((key, value)) = line.split_once(' ')
                && let Ok(value) = value.trim().parse()
            {
                take(key, value);
            }
        }
        Ok(())
    }
}
