//! Sandboxes: the folder of each run, where its task works and its output goes.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::checkpoint::CheckpointError;
use super::paths::Paths;
use crate::logic::Run;

/// Mode of the folders on the way: a task without an image, which need not be root, goes through them to its
/// sandbox, but sees no names.
const WAY: u32 = 0o711;
/// Mode of a sandbox. Mesos: 0750, owned by the task's user (the runtime sees to the owner).
const SANDBOX: u32 = 0o750;

/// How often the way is made again when somebody removes it meanwhile.
const TRIES: usize = 100;

/// Makes the sandbox of a run, and the link `latest` to it.
///
/// # Errors
/// The disk says no; nothing new is left of the sandbox then.
pub(crate) fn make(paths: &Paths, run: &Run) -> Result<PathBuf, CheckpointError> {
    let sandbox = paths.sandbox(run);
    let Some(runs) = sandbox.parent() else { return Ok(sandbox) };
    make_folder(runs, &sandbox)?;
    let made =
        // Whatever the umask takes away.
        fs::set_permissions(&sandbox, Permissions::from_mode(SANDBOX)).and_then(|()| link_latest(runs, &sandbox));
    if let Err(source) = made {
        let _ = super::checkpoint::remove_run(&sandbox);
        return Err(failed("make the sandbox", &sandbox, source));
    }
    Ok(sandbox)
}

/// Makes the folder and those on the way to it. The deletion of the framework's last sandbox removes the way when it is
/// empty, which it may be again and again until the folder is there.
fn make_folder(runs: &Path, sandbox: &Path) -> Result<(), CheckpointError> {
    let mut tries = 0;
    loop {
        let made = make_way(runs).and_then(|()| DirBuilder::new().mode(SANDBOX).create(sandbox));
        match made {
            Err(error) if error.kind() == io::ErrorKind::NotFound && tries < TRIES => tries += 1,
            other => return other.map_err(|source| failed("make the sandbox", sandbox, source)),
        }
    }
}

fn failed(operation: &'static str, path: &Path, source: io::Error) -> CheckpointError {
    CheckpointError::Io { operation, path: path.to_owned(), source }
}

fn link_latest(runs: &Path, sandbox: &Path) -> io::Result<()> {
    let (link, temporary) = (runs.join("latest"), runs.join("latest.tmp"));
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Mesos: the link holds the whole path.
    std::os::unix::fs::symlink(sandbox, &temporary)?;
    fs::rename(&temporary, &link)
}

/// Makes the folders on the way to a sandbox.
fn make_way(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        make_way(parent)?;
    }
    match DirBuilder::new().mode(WAY).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => fs::set_permissions(folder, Permissions::from_mode(WAY)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ContainerId;

    fn run(container: &str) -> Run {
        Run {
            agent: "A-S0".into(),
            framework: "F".into(),
            executor: "web 1%".into(),
            task: "web 1%".into(),
            container: ContainerId::new(container),
        }
    }

    #[test]
    fn a_sandbox_comes_and_goes() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path());
        let first = make(&paths, &run("c1")).unwrap();
        let second = make(&paths, &run("c2")).unwrap();
        assert!(second.ends_with("slaves/A-S0/frameworks/F/executors/web 1%25/runs/c2"));
        let latest = second.with_file_name("latest");
        assert_eq!(fs::read_link(&latest).unwrap(), second);
        assert_eq!(fs::metadata(&first).unwrap().permissions().mode() & 0o7777, 0o750);
        assert_eq!(fs::metadata(first.parent().unwrap()).unwrap().permissions().mode() & 0o7777, 0o711);
        super::super::checkpoint::remove_run(&first).unwrap();
        assert_eq!(fs::read_link(&latest).unwrap(), second);
        super::super::checkpoint::remove_run(&second).unwrap();
        let left = fs::read_dir(paths.sandboxes().join("A-S0/frameworks")).unwrap().count();
        assert_eq!(left, 0);
    }

    /// Launches of a framework while its last sandboxes are deleted.
    #[test]
    fn deleting_the_last_sandbox_does_not_hinder_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path());
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let paths = &paths;
                scope.spawn(move || {
                    for n in 0..100 {
                        // A task id has one run at a time; others of its framework come and go.
                        let executor = format!("e{thread}").as_str().into();
                        let run = Run { executor, ..run(&format!("c{n}")) };
                        let sandbox = make(paths, &run).unwrap_or_else(|error| panic!("{}", error.chain()));
                        super::super::checkpoint::remove_run(&sandbox).unwrap();
                    }
                });
            }
        });
    }

    #[test]
    fn a_sandbox_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path());
        fs::create_dir_all(paths.sandbox(&run("c1")).parent().unwrap()).unwrap();
        fs::write(paths.sandbox(&run("c1")), "in the way").unwrap();
        let message = make(&paths, &run("c1")).unwrap_err().to_string();
        assert!(message.contains("make the sandbox"), "{message}");
    }
}
