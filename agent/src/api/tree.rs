//! The virtual paths of sandboxes, and reading what lies below them.
//!
//! A task may put anything into its sandbox: links to the host's files, pipes, devices. So everything below a sandbox
//! is opened relative to it, links that lead out of it are refused, and only regular files are read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::logic::{Task, View};
use crate::names::encode;
use crate::service::Paths;

/// Most entries of one folder that are listed.
const MAX_ENTRIES: usize = 50_000;
/// Longest path that is looked at, in bytes.
const MAX_PATH: usize = 4096;

/// Why a path can't be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum TreeError {
    /// 400
    #[error("{0}")]
    Bad(String),
    /// 404
    #[error("'{0}' is not there")]
    Missing(String),
    /// 500
    #[error("can't read '{path}'")]
    Io {
        path: String,
        #[source]
        source: io::Error,
    },
}

/// A place below a sandbox.
#[derive(Debug)]
pub(super) struct Place {
    /// As asked for.
    pub(super) path: String,
    sandbox: PathBuf,
    rest: PathBuf,
}

/// One entry of a folder.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) stat: Stat,
}

/// Every virtual path and the sandbox that it means.
pub(super) fn attached(view: &View, paths: &Paths) -> BTreeMap<String, PathBuf> {
    let mut all = BTreeMap::new();
    // Oldest first, so that `latest` is in the end the newest; running ones come last of all.
    let completed = view.completed_frameworks.iter().chain(view.frameworks.values());
    let completed = completed.flat_map(|f| f.completed.iter());
    let live = view.frameworks.values().flat_map(|f| f.tasks.values());
    for task in completed.chain(live) {
        attach(&mut all, task, paths);
    }
    all
}

fn attach(all: &mut BTreeMap<String, PathBuf>, task: &Task, paths: &Paths) {
    let run = &task.run;
    let sandbox = paths.sandbox(run);
    let Some(runs) = sandbox.parent() else { return };
    let latest = runs.join("latest");
    for path in [&sandbox, &latest] {
        all.insert(path.to_string_lossy().into_owned(), sandbox.clone());
    }
    let (framework, executor) = (run.framework.as_str(), run.executor.as_str());
    all.insert(format!("/frameworks/{framework}/executors/{executor}/runs/latest"), sandbox.clone());
    let (framework, executor) = (encode(framework), encode(executor));
    all.insert(format!("/frameworks/{framework}/executors/{executor}/runs/latest"), sandbox);
}

/// Finds the sandbox with the longest virtual path that `path` begins with.
pub(super) fn find(attached: &BTreeMap<String, PathBuf>, path: &str) -> Result<Place, TreeError> {
    if path.len() > MAX_PATH || path.contains('\0') {
        return Err(TreeError::Bad("The path is too long or holds a zero byte".to_owned()));
    }
    let segments: Vec<&str> = path.split('/').filter(|s| !s.is_empty() && *s != ".").collect();
    if segments.contains(&"..") {
        return Err(TreeError::Bad(format!("'{path}' leads out of the sandbox")));
    }
    for length in (1..=segments.len()).rev() {
        let prefix = format!("/{}", segments[..length].join("/"));
        if let Some(sandbox) = attached.get(&prefix) {
            let rest = segments[length..].iter().collect();
            return Ok(Place { path: path.to_owned(), sandbox: sandbox.clone(), rest });
        }
    }
    Err(TreeError::Missing(path.to_owned()))
}

impl Place {
    /// The place itself, opened without reading.
    fn open(&self) -> Result<OwnedFd, TreeError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::open(&self.sandbox, flags, Mode::empty()).map_err(|e| self.error(e))?;
        if self.rest.as_os_str().is_empty() {
            return Ok(root);
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        rustix::fs::openat2(&root, &self.rest, flags, Mode::empty(), resolve).map_err(|e| self.error(e))
    }

    /// A regular file, ready for reading, and its size.
    pub(super) fn file(&self) -> Result<(File, u64), TreeError> {
        let handle = self.open()?;
        let stat = rustix::fs::fstat(&handle).map_err(|e| self.error(e))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(TreeError::Bad("Cannot read a directory".to_owned())),
            _ => return Err(TreeError::Bad(format!("'{}' is no regular file", self.path))),
        }
        // What was looked at and nothing else that has come into its place since.
        let opened = File::open(format!("/proc/self/fd/{}", handle.as_raw_fd()));
        let file = opened.map_err(|source| TreeError::Io { path: self.path.clone(), source })?;
        Ok((file, u64::try_from(stat.st_size).unwrap_or(0)))
    }

    /// What is in the folder, sorted by path; nothing for what is no folder.
    pub(super) fn list(&self) -> Result<Vec<Entry>, TreeError> {
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
                return Err(TreeError::Bad(format!("'{}' has more than {MAX_ENTRIES} entries", self.path)));
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
    pub(super) fn name(&self) -> String {
        let name = Path::new(&self.path).file_name();
        name.map_or_else(|| "download".to_owned(), |name| name.to_string_lossy().into_owned())
    }

    fn error(&self, error: Errno) -> TreeError {
        match error {
            Errno::NOENT | Errno::NOTDIR => TreeError::Missing(self.path.clone()),
            Errno::XDEV | Errno::LOOP => TreeError::Bad(format!("'{}' leads out of the sandbox", self.path)),
            Errno::NAMETOOLONG | Errno::INVAL => TreeError::Bad(format!("'{}' is no path", self.path)),
            other => TreeError::Io { path: self.path.clone(), source: other.into() },
        }
    }
}

/// The mode as `ls` writes it: 10 characters.
pub(super) fn mode_text(mode: u32) -> String {
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
