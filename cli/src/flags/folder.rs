//! A configuration folder: one file a flag, as the packages of Mesos had it in `/etc/mesos-agent`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A value longer than this is no flag.
const MAX_VALUE: u64 = 1 << 20;

/// Why a folder can't be read.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The folder itself.
    #[error("--config_dir={}: can't be read", .path.display())]
    Folder {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file in it.
    #[error("configuration file {}: can't be read", .path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that is far too long for a value.
    #[error("configuration file {}: longer than {MAX_VALUE} bytes", .path.display())]
    TooLong {
        /// Its path.
        path: PathBuf,
    },
    /// `?name` with something in it.
    #[error("configuration file {}: a file named '?…' sets a boolean and must be empty", .path.display())]
    NotEmpty {
        /// Its path.
        path: PathBuf,
    },
}

/// One flag's value and where it stands.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// The flag's name as written.
    pub name: String,
    /// Its value.
    pub value: String,
    /// The file.
    pub path: PathBuf,
}

/// Reads the folder's files in the order of their names; nothing when it isn't there and isn't `wanted`.
///
/// # Errors
/// What can't be read.
pub fn read(folder: &Path, wanted: bool) -> Result<Vec<Entry>, FolderError> {
    let failed = |source| FolderError::Folder { path: folder.to_owned(), source };
    let files = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !wanted => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    let mut entries = Vec::new();
    for file in files {
        let path = file.map_err(failed)?.path();
        if let Some(name) = name_of(&path).filter(|_| path.is_file()) {
            entries.push(entry(name, path)?);
        }
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

/// What lies in the folder and is no flag, in words.
pub fn strangers(folder: &Path) -> Vec<String> {
    let Ok(files) = fs::read_dir(folder) else { return Vec::new() };
    let paths = files.flatten().map(|file| file.path());
    paths
        .filter(|path| name_of(path).is_none() || !path.is_file())
        .map(|path| format!("{} is not a file with the name of a flag; it is ignored", path.display()))
        .collect()
}

/// Names of flags; not what editors and package tools leave behind.
fn name_of(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let left_behind =
        name.starts_with('.') || name.ends_with('~') || name.contains(".dpkg-") || name.contains(".rpm");
    (!left_behind).then(|| name.to_owned())
}

fn entry(name: String, path: PathBuf) -> Result<Entry, FolderError> {
    let failed = |source| FolderError::File { path: path.clone(), source };
    if fs::metadata(&path).map_err(failed)?.len() > MAX_VALUE {
        return Err(FolderError::TooLong { path });
    }
    let content = fs::read_to_string(&path).map_err(failed)?;
    let value = content.trim().to_owned();
    let Some(switch) = name.strip_prefix('?') else { return Ok(Entry { name, value, path }) };
    if !value.is_empty() {
        return Err(FolderError::NotEmpty { path });
    }
    let (name, value) = match switch.strip_prefix("no-").or_else(|| switch.strip_prefix("no_")) {
        Some(name) => (name, "false"),
        None => (switch, "true"),
    };
    Ok(Entry { name: name.to_owned(), value: value.to_owned(), path })
}
