//! Places below the folders and files that a server shows under virtual paths, and reading them.
//!
//! A task may put anything into its sandbox: links to the host's files, pipes, devices. So everything below a shown
//! folder is opened relative to it, links that lead out of it are refused, and only regular files are read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use http::StatusCode;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// Most entries of one folder that are listed.
const MAX_ENTRIES: usize = 50_000;
/// Longest path that is looked at, in bytes.
const MAX_PATH: usize = 4096;

/// Why a path can't be read.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// 400
    #[error("{0}")]
    Bad(String),
    /// 404
    #[error("'{0}' is not there")]
    Missing(String),
    /// 500
    #[error("can't read '{path}'")]
    Io {
        /// As asked for.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl FilesError {
    /// Mesos: 400 for what makes no sense, 404 for what is not there, 500 when the disk fails.
    pub fn status(&self) -> StatusCode {
        match self {
            FilesError::Bad(_) => StatusCode::BAD_REQUEST,
            FilesError::Missing(_) => StatusCode::NOT_FOUND,
            FilesError::Io { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// A place at or below a virtual path.
#[derive(Debug)]
pub struct Place {
    /// As asked for.
    pub path: String,
    root: PathBuf,
    rest: PathBuf,
}

/// One entry of a folder.
#[derive(Debug)]
pub struct Entry {
    /// The folder's path as asked for, and the name.
    pub path: String,
    /// Of the entry itself, not of what it may point to.
    pub stat: Stat,
}

/// Every virtual path that a server shows, and the folder or file that it means. Whoever may see one may see all below.
pub type Attached = BTreeMap<String, PathBuf>;

/// Finds the longest virtual path that `path` begins with.
///
/// # Errors
/// A path that makes no sense or leads out (400), or that nothing is shown under (404).
pub fn find(attached: &Attached, path: &str) -> Result<Place, FilesError> {
    if path.len() > MAX_PATH || path.contains('\0') {
        return Err(FilesError::Bad("The path is too long or holds a zero byte".to_owned()));
    }
    let segments: Vec<&str> = path.split('/').filter(|s| !s.is_empty() && *s != ".").collect();
    if segments.contains(&"..") {
        return Err(FilesError::Bad(format!("'{path}' leads out of what is shown")));
    }
    for length in (1..=segments.len()).rev() {
        let prefix = format!("/{}", segments[..length].join("/"));
        if let Some(root) = attached.get(&prefix) {
            let rest = segments[length..].iter().collect();
            return Ok(Place { path: path.to_owned(), root: root.clone(), rest });
        }
    }
    Err(FilesError::Missing(path.to_owned()))
}

impl Place {
    /// The place itself, opened without reading.
    fn open(&self) -> Result<OwnedFd, FilesError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::open(&self.root, flags, Mode::empty()).map_err(|e| self.error(e))?;
        if self.rest.as_os_str().is_empty() {
            return Ok(root);
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        rustix::fs::openat2(&root, &self.rest, flags, Mode::empty(), resolve).map_err(|e| self.error(e))
    }

    /// A regular file, ready for reading, and its size in bytes.
    ///
    /// # Errors
    /// It is not there, no regular file, or can't be opened.
    pub fn file(&self) -> Result<(File, u64), FilesError> {
        let handle = self.open()?;
        let stat = rustix::fs::fstat(&handle).map_err(|e| self.error(e))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(FilesError::Bad("Cannot read a directory".to_owned())),
            _ => return Err(FilesError::Bad(format!("'{}' is no regular file", self.path))),
        }
        // What was looked at and nothing else that has come into its place since.
        let opened = File::open(format!("/proc/self/fd/{}", handle.as_raw_fd()));
        let file = opened.map_err(|source| FilesError::Io { path: self.path.clone(), source })?;
        Ok((file, u64::try_from(stat.st_size).unwrap_or(0)))
    }

    /// What is in the folder, sorted by path; nothing for what is no folder.
    ///
    /// # Errors
    /// It is not there, has too many entries, or can't be read.
    pub fn list(&self) -> Result<Vec<Entry>, FilesError> {
        let handle = self.open()?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = match rustix::fs::openat(&handle, ".", flags, Mode::empty()) {
            Err(Errno::NOTDIR) => return Ok(Vec::new()),
            other => other.map_err(|e| self.error(e))?,
        };
        let mut entries = Vec::new();
        let mut names = Dir::read_from(&folder).map_err(|e| self.error(e))?;
        while let Some(name) = names.read() {
            let name = name.map_err(|e| self.error(e))?;
            let name = name.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if entries.len() >= MAX_ENTRIES {
                return Err(FilesError::Bad(format!("'{}' has more than {MAX_ENTRIES} entries", self.path)));
            }
            // One that is gone meanwhile is left out.
            if let Ok(stat) = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                let path = format!("{}/{}", self.path.trim_end_matches('/'), name.to_string_lossy());
                entries.push(Entry { path, stat });
            }
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    /// The name to save the file under.
    pub fn name(&self) -> String {
        let name = Path::new(&self.path).file_name();
        name.map_or_else(|| "download".to_owned(), |name| name.to_string_lossy().into_owned())
    }

    fn error(&self, error: Errno) -> FilesError {
        match error {
            Errno::NOENT | Errno::NOTDIR => FilesError::Missing(self.path.clone()),
            Errno::XDEV | Errno::LOOP => {
                FilesError::Bad(format!("'{}' leads out of what is shown", self.path))
            }
            Errno::NAMETOOLONG | Errno::INVAL => FilesError::Bad(format!("'{}' is no path", self.path)),
            other => FilesError::Io { path: self.path.clone(), source: other.into() },
        }
    }
}

/// The mode as `ls` writes it: 10 characters.
pub fn mode_text(mode: u32) -> String {
    let kind = match FileType::from_raw_mode(mode) {
        FileType::Directory => 'd',
        FileType::Symlink => 'l',
        FileType::Fifo => 'p',
        FileType::Socket => 's',
        FileType::CharacterDevice => 'c',
        FileType::BlockDevice => 'b',
        _ => '-',
    };
    let mut text = String::from(kind);
    for (shift, special, set) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 == 0 { '-' } else { 'r' });
        text.push(if bits & 2 == 0 { '-' } else { 'w' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => set,
            (true, false) => set.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}
