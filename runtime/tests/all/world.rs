//! One runtime of its own per test, and what must be gone after a container.
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use runtime::protocol::{Command, Report};
use runtime::{
    ContainerId, ContainerSpec, Controller, ExitRecord, Failure, Found, Isolation, KeeperHandle, LaunchError,
    Rootfs, Runtime, RuntimeConfig, SandboxMount,
};

/// The probe, whose `supervise` keepers run.
pub const PROBE: &str = env!("CARGO_BIN_EXE_keeper-probe");

/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Programs of busybox that tests use.
const APPLETS: &[&str] = &[
    "sh", "true", "false", "sleep", "ls", "cat", "echo", "id", "mount", "readlink", "grep", "env", "kill",
    "tail", "yes", "head", "setsid", "mknod", "unshare", "mkdir", "touch", "pwd", "hostname", "rm", "ln",
    "dd", "wc", "chroot", "stat", "find", "nc",
];

/// A runtime with folders and cgroups of its own.
pub struct World {
    pub dir: tempfile::TempDir,
    pub runtime: Runtime,
    pub config: RuntimeConfig,
    /// In the environment of every process of this world's containers.
    pub marker: String,
}

/// A world, or `None` and a line that says so, where containers can't be run.
pub fn world(test: &str) -> Option<World> {
    if !rustix::process::geteuid().is_root() {
        skipped(test, "containers need root");
        return None;
    }
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let marker = format!("tepui-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let dir = tempfile::Builder::new().prefix("tepui-runtime-").tempdir().unwrap();
    make_rootfs(&dir.path().join("busybox"));
    fs::create_dir(dir.path().join("sandbox")).unwrap();
    let mut config = RuntimeConfig::new(dir.path().join("run"));
    config.cgroups_root = marker.clone();
    config.executable = PathBuf::from(PROBE);
    let host = Runtime::probe(&config, &Isolation::default()).unwrap();
    let runtime = Runtime::new(config.clone(), host).unwrap();
    Some(World { dir, runtime, config, marker })
}

/// Says aloud that a test can't run here; on CI that is a failure.
pub fn skipped(test: &str, why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{test} can't be skipped on CI: {why}");
    println!("SKIPPED: {test}: {why}");
}

/// How often, or how long: little in CI, much with `SOAK=1`.
pub fn much<T>(little: T, much: T) -> T {
    if std::env::var("SOAK").is_ok_and(|soak| soak == "1") { much } else { little }
}

fn make_rootfs(root: &Path) {
    for folder in ["bin", "etc", "tmp", "root", "sbin"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::copy("/bin/busybox", root.join("bin/busybox"))
        .expect("the Debian package busybox-static is installed");
    for applet in APPLETS {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/var/www:/bin/sh\n")
        .unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\nwww:x:34:\nextra:x:77:web\n").unwrap();
}

impl World {
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A container on an overlay over busybox, with a sandbox and output files.
    pub fn spec(&self, id: &str, argv: &[&str]) -> ContainerSpec {
        let argv = argv.iter().map(ToString::to_string).collect();
        let mut spec = ContainerSpec::new(ContainerId::new(id).unwrap(), argv);
        let make = |name: &str| {
            let path = self.path(&format!("{id}-{name}"));
            fs::create_dir_all(&path).unwrap();
            path
        };
        spec.rootfs =
            Rootfs::Overlay { lower: vec![self.path("busybox")], upper: make("upper"), work: make("work") };
        let sandbox = make("sandbox");
        spec.stdout = Some(sandbox.join("stdout"));
        spec.stderr = Some(sandbox.join("stderr"));
        spec.sandbox = Some(SandboxMount { source: sandbox, target: "/mnt/mesos/sandbox".into() });
        spec.env = vec![("TEPUI_TEST".into(), self.marker.clone())];
        spec.isolation.controllers.remove(&Controller::Hugetlb);
        spec
    }

    /// A shell script in such a container.
    pub fn script(&self, id: &str, script: &str) -> ContainerSpec {
        self.spec(id, &["sh", "-c", script])
    }

    pub fn sandbox(&self, id: &str) -> PathBuf {
        self.path(&format!("{id}-sandbox"))
    }

    pub fn stdout(&self, id: &str) -> String {
        fs::read_to_string(self.sandbox(id).join("stdout")).unwrap_or_default()
    }

    pub fn stderr(&self, id: &str) -> String {
        fs::read_to_string(self.sandbox(id).join("stderr")).unwrap_or_default()
    }

    /// Runs to the end; the record, and nothing left.
    pub fn run(&self, spec: &ContainerSpec) -> ExitRecord {
        let mut keeper = self.runtime.launch(spec).unwrap();
        let record = keeper.wait_exit().unwrap_or_else(|error| panic!("{error}\n{}", self.log(&spec.id)));
        self.bury(keeper, &spec.id);
        assert_eq!(record.left_behind, Vec::<String>::new());
        record
    }

    /// Runs a script to its end; what it printed.
    pub fn output(&self, id: &str, script: &str) -> String {
        let record = self.run(&self.script(id, script));
        assert_eq!(record.status, runtime::Exit::Code(0), "{}{}", self.stdout(id), self.stderr(id));
        self.stdout(id)
    }

    /// Runs what must not start; why not, and nothing left.
    pub fn refused(&self, spec: &ContainerSpec) -> Failure {
        match self.runtime.launch(spec) {
            Err(LaunchError::Failed { failure, .. }) => failure,
            Err(error) => panic!("{error}"),
            Ok(mut keeper) => {
                let error = keeper.wait_exit().expect_err("it must not start");
                let LaunchError::Failed { failure, .. } = error else { panic!("{error}") };
                self.bury(keeper, &spec.id);
                failure
            }
        }
    }

    /// Launches and waits until the command runs.
    pub fn start(&self, spec: &ContainerSpec) -> KeeperHandle {
        let mut keeper = self.runtime.launch(spec).unwrap();
        keeper.wait_started().unwrap_or_else(|error| panic!("{error}\n{}", self.log(&spec.id)));
        keeper
    }

    /// Kills, and waits for the end.
    pub fn kill(&self, mut keeper: KeeperHandle, grace_ms: Option<u64>) -> ExitRecord {
        keeper.send(&Command::Kill { grace_ms, why: None }).unwrap();
        let record = keeper.wait_exit().unwrap();
        let id = keeper.id().clone();
        self.bury(keeper, &id);
        record
    }

    /// Waits for the keeper's own end, then nothing of the container may be there.
    pub fn bury(&self, mut keeper: KeeperHandle, id: &ContainerId) {
        while keeper.report().is_ok() {}
        self.assert_gone();
        self.runtime.cleanup(id).unwrap();
        let folder = self.config.runtime_dir.join("containers").join(id.as_str());
        assert!(!folder.exists());
    }

    /// No process, cgroup or mount of this world's containers.
    pub fn assert_gone(&self) {
        eventually("the processes are gone", || self.processes().is_empty());
        assert_eq!(self.cgroups(), BTreeSet::new());
        assert_eq!(self.mounts(), Vec::<String>::new());
    }

    /// Processes that carry this world's marker, as their command lines.
    pub fn processes(&self) -> Vec<String> {
        let needle = format!("TEPUI_TEST={}", self.marker);
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Ok(environment) = fs::read(entry.path().join("environ")) else { continue };
            if String::from_utf8_lossy(&environment).contains(&needle) {
                let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                found.push(String::from_utf8_lossy(&line).replace('\0', " "));
            }
        }
        found
    }

    /// Cgroups below this world's root, in any hierarchy, but for the keepers' own.
    pub fn cgroups(&self) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        for top in self.cgroup_roots() {
            for entry in fs::read_dir(&top).into_iter().flatten().flatten() {
                if entry.path().is_dir() && entry.file_name() != "keepers" {
                    found.insert(entry.path());
                }
            }
        }
        found
    }

    fn cgroup_roots(&self) -> Vec<PathBuf> {
        let base = Path::new("/sys/fs/cgroup");
        let tops = fs::read_dir(base).unwrap().flatten().map(|entry| entry.path());
        tops.chain([base.to_owned()]).map(|top| top.join(&self.marker)).filter(|top| top.is_dir()).collect()
    }

    /// Mounts that the host sees below this world's folder.
    pub fn mounts(&self) -> Vec<String> {
        let all = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let below = self.dir.path().to_str().unwrap();
        all.lines().filter(|line| line.contains(below)).map(str::to_owned).collect()
    }

    /// A keeper's log, for a failed test.
    pub fn log(&self, id: &ContainerId) -> String {
        let folder = self.config.runtime_dir.join("containers").join(id.as_str());
        fs::read_to_string(folder.join("keeper.log")).unwrap_or_default()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Only a test that failed leaves any.
        for found in self.runtime.recover() {
            if let Found::Running(stream) = found.state {
                let mut keeper = KeeperHandle::new(found.id.clone(), stream);
                let _ = keeper.send(&Command::Kill { grace_ms: Some(0), why: None });
                while keeper.report().is_ok() {}
            }
            let _ = self.runtime.cleanup(&found.id);
        }
        let layout = &self.runtime.host().layout;
        let _ = layout.remove_root(&self.marker);
    }
}

/// Waits for a condition, at most [`PATIENCE`].
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        let pause = rustix::event::Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
        let _ = rustix::event::poll(&mut [], Some(&pause));
    }
}

/// Reads reports until the wanted one comes.
pub fn wait_for(keeper: &mut KeeperHandle, wanted: impl Fn(&Report) -> bool) -> Report {
    loop {
        let report = keeper.report().unwrap();
        if wanted(&report) {
            return report;
        }
    }
}
