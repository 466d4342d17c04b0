//! Sandboxes: the folder of each run, where its task works and its output goes.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::checkpoint::CheckpointError;
use super::contain::wanted_image;
use super::paths::Paths;
use crate::logic::{Found, Recovered, Run};

/// Mode of the folders on the way: passed by all, but nobody sees names. What a command on the host's files sees around
/// its sandbox is the runtime's, whoever its user is.
const WAY: u32 = 0o711;
/// Mode of the folder with an executor's sandboxes, which belongs to no task: a task that is root of its sandbox could
/// open that, and what it makes set-uid there is root's on the host, whatever its user namespace.
/// Mesos: 0755, so that every local user reaches it (containerd: CVE-2021-41103).
const CLOSED: u32 = 0o700;
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
        let made = make_way(runs, CLOSED).and_then(|()| DirBuilder::new().mode(SANDBOX).create(sandbox));
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

/// Makes a folder and those on the way to it. One that is there gets the mode of a new one if that is narrower: earlier
/// versions left them open.
fn make_way(folder: &Path, mode: u32) -> io::Result<()> {
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() && (mode == WAY || found.permissions().mode() & 0o7777 == mode) => {
            return Ok(());
        }
        Ok(found) if found.is_dir() => return fs::set_permissions(folder, Permissions::from_mode(mode)),
        _ => {}
    }
    if let Some(parent) = folder.parent() {
        make_way(parent, WAY)?;
    }
    match DirBuilder::new().mode(mode).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        // Whatever the umask takes away.
        Ok(()) => fs::set_permissions(folder, Permissions::from_mode(mode)),
    }
}

/// Closes the sandboxes that earlier versions left open to local users, but for those whose task still runs without an
/// image and may need the way: they are closed when they have ended.
pub(crate) fn close_earlier(paths: &Paths, recovered: &Recovered) {
    let runs = recovered.frameworks.values().flat_map(|framework| &framework.runs);
    let needed = runs
        .filter(|run| matches!(wanted_image(&run.info), Ok(None)))
        .filter(|run| matches!(recovered.containers.get(&run.run.container), Some(Found::Running)))
        .filter_map(|run| Some(paths.sandbox(&run.run).parent()?.to_owned()))
        .collect();
    for executor in below(&paths.sandboxes()) {
        close(&executor.join("runs"), &needed);
    }
}

fn close(runs: &Path, needed: &BTreeSet<PathBuf>) {
    let Ok(found) = fs::symlink_metadata(runs) else { return };
    if !found.is_dir() || found.permissions().mode() & 0o077 == 0 || needed.contains(runs) {
        return;
    }
    if let Err(error) = fs::set_permissions(runs, Permissions::from_mode(CLOSED)) {
        tracing::warn!("can't close {} to other users: {error}", runs.display());
    }
}

/// The folders of executors: `<agent>/frameworks/<framework>/executors/<executor>`.
fn below(sandboxes: &Path) -> Vec<PathBuf> {
    let inside = |folders: Vec<PathBuf>, name: &str| -> Vec<PathBuf> {
        let entries = folders.iter().filter_map(|folder| fs::read_dir(folder.join(name)).ok());
        entries.flat_map(|entries| entries.flatten().map(|entry| entry.path())).collect()
    };
    let agents = inside(vec![sandboxes.to_owned()], "");
    inside(inside(agents, "frameworks"), "executors")
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

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    /// The first task of a recovered framework.
    fn recovered(all: &[(&Run, bool, Found)]) -> Recovered {
        use wire::v1;
        let mut recovered = Recovered::default();
        let mut runs = Vec::new();
        for (run, image, found) in all {
            let docker = v1::container_info::DockerInfo { image: "x".into(), ..Default::default() };
            let container = v1::ContainerInfo {
                r#type: v1::container_info::Type::Docker.into(),
                docker: Some(docker),
                ..Default::default()
            };
            let info = v1::TaskInfo { container: image.then_some(container), ..Default::default() };
            runs.push(crate::logic::RecoveredRun {
                run: std::sync::Arc::new((*run).clone()),
                info: std::sync::Arc::new(info),
                updates: Vec::new(),
                done: false,
                touched: model::Timestamp::ZERO,
            });
            recovered.containers.insert(run.container.clone(), found.clone());
        }
        let framework = crate::logic::RecoveredFramework { info: std::sync::Arc::default(), runs };
        recovered.frameworks.insert("F".into(), framework);
        recovered
    }

    #[test]
    fn sandboxes_of_an_earlier_version_are_closed_unless_they_are_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path());
        let task = |name: &str| Run { executor: name.into(), task: name.into(), ..run(name) };
        let runs = ["image", "plain", "ended", "unknown"].map(task);
        for run in &runs {
            let sandbox = make(&paths, run).unwrap();
            fs::set_permissions(sandbox.parent().unwrap(), Permissions::from_mode(0o711)).unwrap();
        }
        let all = [
            (&runs[0], true, Found::Running),
            (&runs[1], false, Found::Running),
            (&runs[2], false, Found::Lost(String::new())),
        ];
        close_earlier(&paths, &recovered(&all));
        let modes = runs.each_ref().map(|run| mode(paths.sandbox(run).parent().unwrap()));
        assert_eq!(modes, [0o700, 0o711, 0o700, 0o700]);
        // The next run of the same name closes it.
        make(&paths, &Run { container: ContainerId::new("next"), ..runs[1].clone() }).unwrap();
        assert_eq!(mode(paths.sandbox(&runs[1]).parent().unwrap()), 0o700);
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
        assert_eq!(mode(&first), 0o750);
        assert_eq!(mode(first.parent().unwrap()), 0o700);
        assert_eq!(mode(first.parent().unwrap().parent().unwrap()), 0o711);
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
