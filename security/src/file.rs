//! Files that flags name: read whole up to a bound, and named in every error.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Larger files hold something else.
const LARGEST: u64 = 4 << 20;

/// Why a file that a flag names can't be used.
#[derive(Debug, thiserror::Error)]
pub enum BadFile {
    /// It can't be read.
    #[error("--{flag}={}: can't be read", .path.display())]
    Read {
        /// The flag that names it.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It holds something else.
    #[error("--{flag}={}: {why}", .path.display())]
    Content {
        /// The flag that names it.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong, without anything of what is secret.
        why: String,
    },
}

impl BadFile {
    pub(crate) fn unread(flag: &'static str, path: &Path, source: io::Error) -> BadFile {
        BadFile::Read { flag, path: path.to_owned(), source }
    }

    pub(crate) fn content(flag: &'static str, path: &Path, why: impl ToString) -> BadFile {
        BadFile::Content { flag, path: path.to_owned(), why: why.to_string() }
    }
}

/// All of a file, of which `expected` says what it should be.
pub(crate) fn read(flag: &'static str, path: &Path, expected: &str) -> Result<(Vec<u8>, Metadata), BadFile> {
    let failed = |source| BadFile::unread(flag, path, source);
    let found = fs::metadata(path).map_err(failed)?;
    if !found.is_file() || found.len() > LARGEST {
        return Err(BadFile::content(flag, path, format!("expected {expected}, of some kilobytes at most")));
    }
    Ok((fs::read(path).map_err(failed)?, found))
}

/// The same for what others should not be able to read. Mesos: a warning when they are.
pub(crate) fn read_secret(flag: &'static str, path: &Path, expected: &str) -> Result<Vec<u8>, BadFile> {
    let (bytes, found) = read(flag, path, expected)?;
    if found.permissions().mode() & 0o007 != 0 {
        let path = path.display();
        tracing::warn!(
            "--{flag}={path}: permissions are too open, every user of this host may read it; give it mode 0600"
        );
    }
    Ok(bytes)
}
