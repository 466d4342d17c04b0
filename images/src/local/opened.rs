//! Opening a file or folder of a local image that somebody else named: looked at before it is opened, and what is opened is
//! what was looked at. Opening a device does things by itself: it arms a watchdog, rewinds a tape, takes a terminal.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};

/// Where a path leads, without opening it.
pub(super) fn look(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

/// Whether what was found lies below one of the folders; anywhere does without any. Its own name counts, whatever link
/// led there and wherever that leads by now.
pub(super) fn lies_below(found: &OwnedFd, folders: Option<&[PathBuf]>) -> io::Result<bool> {
    let Some(folders) = folders else { return Ok(true) };
    let real = std::fs::read_link(by_number(found))?;
    let below = |folder: &PathBuf| std::fs::canonicalize(folder).is_ok_and(|folder| real.starts_with(folder));
    Ok(folders.iter().any(below))
}

/// What was found, ready for reading, and its size in bytes; none if it is no regular file.
pub(super) fn regular(found: impl AsFd) -> io::Result<Option<(File, u64)>> {
    let stat = rustix::fs::fstat(&found)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    // NONBLOCK: the file's owner may hold a lease on it.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(by_number(&found), flags, Mode::empty())?;
    Ok(Some((file.into(), u64::try_from(stat.st_size).unwrap_or(0))))
}

fn by_number(found: impl AsFd) -> PathBuf {
    Path::new("/proc/self/fd").join(found.as_fd().as_raw_fd().to_string())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_was_looked_at_is_opened_wherever_its_name_leads_by_now() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        let (allowed, other) = (path("allowed"), path("other"));
        for folder in [&allowed, &other] {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("image"), folder.file_name().unwrap().as_encoded_bytes()).unwrap();
        }
        let link = path("link");
        let lead = |to: &Path| {
            let _ = fs::remove_file(&link);
            symlink(to, &link).unwrap();
        };
        let folders = [allowed.clone()];
        lead(&allowed);
        let found = look(&link.join("image")).unwrap();
        lead(&other);
        assert!(lies_below(&found, Some(&folders)).unwrap());
        let (file, size) = regular(&found).unwrap().unwrap();
        assert_eq!((io::read_to_string(file).unwrap().as_str(), size), ("allowed", 7));
        let found = look(&link.join("image")).unwrap();
        assert!(!lies_below(&found, Some(&folders)).unwrap());
        assert!(lies_below(&found, None).unwrap());
        assert!(regular(look(&other).unwrap()).unwrap().is_none());
        assert!(regular(look(Path::new("/dev/null")).unwrap()).unwrap().is_none());
    }
}
