//! The end of a container: the record first, for which there is room since the start, then everything else goes.
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use rustix::process::{WaitOptions, wait};

use crate::cgroups::Cgroups;
use crate::config::Folder;
use crate::ending::{Ending, Failure, Stage, chain};

/// How long removing a cgroup is tried.
const PATIENCE: Duration = Duration::from_secs(5);

/// Room for a record: several times what one takes.
const ROOM: u64 = 4 << 10;

/// Makes room for the record, so that a disk that is full later takes it all the same.
pub(crate) fn reserve(folder: &Folder) -> Result<(), Failure> {
    let made = open_draft(&draft(folder.path())).and_then(|file| {
        match fallocate(&file, FallocateFlags::KEEP_SIZE, 0, ROOM) {
            // Not every filesystem can.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    });
    made.map_err(|error| {
        let what = format_args!("can't make room for the exit record in {}", folder.path().display());
        Failure::host(Stage::Prepare, what, &error)
    })
}

/// Writes the record, removes what the container left, and returns the record as it stands.
pub(crate) fn finish(mut ending: Ending, folder: &Folder, cgroups: Option<&Cgroups>) -> Ending {
    let mut left = Vec::new();
    if let Err(error) = write_record(folder.path(), &ending) {
        left.push(format!("the exit record could not be written: {error}"));
    }
    if let Some(cgroups) = cgroups {
        if let Err(error) = cgroups.kill() {
            left.push(chain(&error));
        }
        reap_all();
        if let Err(error) = cgroups.remove(PATIENCE) {
            left.push(chain(&error));
        }
    }
    match fs::remove_file(folder.join(Folder::SOCKET)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => left.push(error.to_string()),
        _ => {}
    }
    for line in &left {
        tracing::warn!(line, "left behind");
    }
    if let (Ending::Exited(record), false) = (&mut ending, left.is_empty()) {
        record.left_behind = left;
        if let Err(error) = write_record(folder.path(), &ending) {
            tracing::error!(%error, "the exit record could not be written");
        }
    }
    ending
}

/// Every child that is left ended or was killed; what libcontainer left unreaped is among them.
fn reap_all() {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

fn write_record(folder: &Path, ending: &Ending) -> io::Result<()> {
    let bytes = serde_json::to_vec(ending)?;
    let draft = draft(folder);
    let mut file = open_draft(&draft)?;
    file.write_all(&bytes)?;
    file.set_len(bytes.len() as u64)?;
    file.sync_all()?;
    // The folder needs no flush: a host that lost power lost the container as well.
    fs::rename(&draft, folder.join(Folder::EXIT))
}

fn draft(folder: &Path) -> PathBuf {
    folder.join("exit.json.tmp")
}

/// Not emptied: that would give the room away.
fn open_draft(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::config::RuntimeConfig;
    use crate::ending::FailureKind;
    use crate::spec::ContainerId;

    #[test]
    fn the_record_is_written_into_the_room_made_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RuntimeConfig::new(dir.path()).folder(&ContainerId::new("c").unwrap());
        fs::create_dir_all(folder.path()).unwrap();
        reserve(&folder).unwrap();
        let room = fs::metadata(draft(folder.path())).unwrap();
        assert!((room.len(), room.blocks() * 512 >= ROOM) == (0, true), "{room:?}");
        assert_eq!(room.mode() & 0o777, 0o600);
        let ending = Ending::Failed(Failure::new(Stage::Build, FailureKind::Host, "why"));
        let mut longer = open_draft(&draft(folder.path())).unwrap();
        assert!(longer.metadata().unwrap().blocks() * 512 >= ROOM, "the room is kept when it is opened");
        longer.write_all(&[b'x'; 2000]).unwrap();
        write_record(folder.path(), &ending).unwrap();
        let record = fs::metadata(folder.join(Folder::EXIT)).unwrap();
        assert_eq!(record.ino(), room.ino());
        let text = fs::read(folder.join(Folder::EXIT)).unwrap();
        assert_eq!(serde_json::from_slice::<Ending>(&text).unwrap(), ending);
    }

    #[test]
    fn the_record_replaces_an_older_one_and_leaves_no_other_file() {
        let dir = tempfile::tempdir().unwrap();
        for message in ["first", "second"] {
            let ending = Ending::Failed(Failure::new(Stage::Build, FailureKind::Host, message));
            write_record(dir.path(), &ending).unwrap();
        }
        let text = fs::read_to_string(dir.path().join(Folder::EXIT)).unwrap();
        assert!(text.contains("second"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
