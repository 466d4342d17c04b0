//! The end of a container: the record first, then everything else goes.
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::process::{WaitOptions, wait};

use crate::cgroups::Cgroups;
use crate::config::Folder;
use crate::ending::{Ending, chain};

/// How long removing a cgroup is tried.
const PATIENCE: Duration = Duration::from_secs(5);

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
    let (temporary, last) = (folder.join("exit.json.tmp"), folder.join(Folder::EXIT));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(&serde_json::to_vec(ending)?)?;
    file.sync_all()?;
    // The folder needs no flush: a host that lost power lost the container as well.
    fs::rename(&temporary, &last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ending::{Failure, FailureKind, Stage};

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
