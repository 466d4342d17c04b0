//! Reading and writing single cgroup files, and walking a tree of cgroups.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::Error;

/// No cgroup file that is read here comes near to it; a larger one is cut.
const LARGEST: u64 = 4 << 20;

/// Most cgroups below one container that are walked.
const MOST_CGROUPS: usize = 65_536;

pub(super) fn read(path: &Path) -> Result<String, Error> {
    let read = || {
        let mut text = String::new();
        fs::File::open(path)?.take(LARGEST).read_to_string(&mut text)?;
        Ok(text)
    };
    read().map_err(|source| Error::Read { path: path.to_owned(), source })
}

/// As [`read`]; `None` when there is no such file.
pub(super) fn read_if_there(path: &Path) -> Result<Option<String>, Error> {
    match read(path) {
        Ok(text) => Ok(Some(text)),
        Err(Error::Read { source, .. }) if is_gone(&source) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A single number; `None` for `max` and for a missing file.
pub(super) fn read_number(path: &Path) -> Result<Option<u64>, Error> {
    Ok(read_if_there(path)?.and_then(|text| text.trim().parse().ok()))
}

/// A file of `key value` lines; empty when missing.
pub(super) fn read_table(path: &Path) -> Result<BTreeMap<String, u64>, Error> {
    let text = read_if_there(path)?.unwrap_or_default();
    let pair = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), value.trim().parse().ok()?))
    };
    Ok(text.lines().filter_map(pair).collect())
}

/// Writes in one go, as the kernel wants it. The file is never created.
pub(super) fn write(path: &Path, value: &str) -> Result<(), Error> {
    let write = || fs::OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes());
    write().map_err(|source| Error::Write { path: path.to_owned(), value: value.to_owned(), source })
}

/// Makes one cgroup. False when it was there already.
pub(super) fn make(path: &Path) -> Result<bool, Error> {
    match fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(source) if source.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(source) => Err(Error::Create { path: path.to_owned(), source }),
    }
}

/// The cgroup and all below it, each after its parent. Empty when it isn't there.
pub(super) fn tree(top: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut all = Vec::new();
    let mut waiting = vec![top.to_owned()];
    while let Some(path) = waiting.pop() {
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(source) if is_gone(&source) => continue,
            Err(source) => return Err(Error::Read { path, source }),
        };
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                waiting.push(entry.path());
            }
        }
        all.push(path);
        if all.len() > MOST_CGROUPS {
            let source = io::Error::other(format!("more than {MOST_CGROUPS} cgroups below it"));
            return Err(Error::Read { path: top.to_owned(), source });
        }
    }
    Ok(all)
}

/// The processes in a cgroup and below it.
pub(super) fn processes(top: &Path) -> Result<Vec<i32>, Error> {
    let mut pids = Vec::new();
    for path in tree(top)? {
        let text = read_if_there(&path.join("cgroup.procs"))?.unwrap_or_default();
        // 0 is a process of another pid namespace, which can't be named from here.
        pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
    }
    Ok(pids)
}

/// A cgroup file of a removed cgroup answers ENODEV to whom has it open still.
pub(super) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_numbers_are_read_and_junk_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "a 1\nb\nc x\n\nd 18446744073709551615\n").unwrap();
        let table = read_table(&path).unwrap();
        assert_eq!(table.into_iter().collect::<Vec<_>>(), [("a".to_owned(), 1), ("d".to_owned(), u64::MAX)]);
        fs::write(&path, "max\n").unwrap();
        assert_eq!(read_number(&path).unwrap(), None);
        fs::write(&path, "42\n").unwrap();
        assert_eq!(read_number(&path).unwrap(), Some(42));
        assert_eq!(read_number(&folder.path().join("none")).unwrap(), None);
    }

    #[test]
    fn writing_never_creates_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("memory.max");
        let error = write(&path, "1").unwrap_err();
        assert!(error.to_string().contains("memory.max"), "{error}");
        assert!(!path.exists());
    }

    #[test]
    fn a_tree_is_listed_parents_first() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b/c")).unwrap();
        fs::create_dir_all(folder.path().join("d")).unwrap();
        let all = tree(folder.path()).unwrap();
        let at = |name: &str| all.iter().position(|path| path.ends_with(name)).unwrap();
        assert_eq!(all.len(), 5);
        assert!(at("a") < at("b") && at("b") < at("c"));
        assert!(tree(&folder.path().join("none")).unwrap().is_empty());
    }
}
