//! A folder of the host that no container may change.
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The folder, and all that could be seen of it when it was made.
pub struct Canary {
    dir: tempfile::TempDir,
    before: Vec<Entry>,
}

/// A file or folder: its path, mode, owner, group, when it was last changed, what is in it.
type Entry = (PathBuf, u32, u32, u32, (i64, i64), Vec<u8>);

impl Canary {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("canary-").tempdir_in("/var/tmp").unwrap();
        for (name, mode) in [("ptmx", 0o640), ("null", 0o604)] {
            fs::write(dir.path().join(name), "kept").unwrap();
            fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::create_dir(dir.path().join("pts")).unwrap();
        let before = look(dir.path());
        Self { dir, before }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn assert_untouched(&self) {
        assert_eq!(look(self.dir.path()), self.before);
    }
}

fn look(top: &Path) -> Vec<Entry> {
    let mut waiting = vec![top.to_owned()];
    let mut found = Vec::new();
    while let Some(path) = waiting.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let mut content = Vec::new();
        if metadata.is_dir() {
            let entries = fs::read_dir(&path).unwrap().flatten();
            waiting.extend(entries.map(|entry| entry.path()));
        } else {
            content = fs::read(&path).unwrap_or_default();
        }
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        found.push((path, metadata.mode(), metadata.uid(), metadata.gid(), changed, content));
    }
    found.sort();
    found
}
