//! The cgroups of real containers on this host: made, limited, entered, killed, removed. Each test has a root of its
//! own, `tepui-test-PID-NAME`, and removes it.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, Timespec, poll};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// A root of the test's own, removed at its end.
struct Root {
    layout: Layout,
    name: String,
}

impl Root {
    /// `None`, with a line about it, where cgroups can't be made.
    fn new(test: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("SKIPPED: {test}: not root");
            return None;
        }
        let layout = match Layout::host() {
            Ok(layout) => layout,
            Err(error) => {
                println!("SKIPPED: {test}: {error}");
                return None;
            }
        };
        Some(Self { layout, name: format!("tepui-test-{}-{test}", std::process::id()) })
    }

    fn create(&self, id: &str, limits: &Limits) -> Result<Cgroups, Error> {
        let id = ContainerId::new(id).unwrap();
        let policy = devices::Policy::standard();
        Cgroups::create(&self.layout, &self.name, &id, limits, &Isolation::default(), &policy)
    }

    /// Everything in any hierarchy below the root.
    fn left(&self) -> Vec<PathBuf> {
        let mounts =
            std::iter::once(&self.layout.unified).chain(self.layout.v1.iter().map(|mount| &mount.path));
        let below = |mount: &PathBuf| files::tree(&mount.join(&self.name)).unwrap().into_iter().skip(1);
        mounts.flat_map(below).collect()
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // Not one by one through Cgroups: a failed test leaves whatever it leaves.
        for mount in
            std::iter::once(&self.layout.unified).chain(self.layout.v1.iter().map(|mount| &mount.path))
        {
            let top = mount.join(&self.name);
            let _ = files::write(&top.join("cgroup.kill"), "1");
            for path in files::tree(&top).unwrap_or_default().into_iter().rev() {
                eventually("a test's cgroup is empty", || {
                    fs::remove_dir(&path).is_ok_and(|()| true) || !path.exists()
                });
            }
        }
    }
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        let _ = poll(&mut [], Some(&Timespec { tv_sec: 0, tv_nsec: 5_000_000 }));
    }
}

fn limits(memory: u64, pids: u64) -> Limits {
    Limits {
        cpu_request_milli: Some(500),
        cpu_limit_milli: Some(1000),
        memory_request_bytes: Some(memory),
        memory_limit_bytes: Some(memory),
        pids_max: Some(pids),
        ..Limits::default()
    }
}

/// A shell in the container's cgroups, put there before it executes anything. Its input is a pipe to hold it back.
fn shell(cgroups: &Cgroups, script: &str) -> Child {
    let procs: Vec<PathBuf> = if cgroups.layout.is_hybrid() {
        cgroups
            .places()
            .into_iter()
            .filter(|path| path.exists())
            .map(|path| path.join("cgroup.procs"))
            .collect()
    } else {
        vec![cgroups.tracking().join(LEAF).join("cgroup.procs")]
    };
    let mut child = Command::new("sh")
        .args(["-c", &format!("read go; {script}")])
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    for path in procs {
        files::write(&path, &child.id().to_string()).unwrap();
    }
    child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    child
}

fn output(mut child: Child) -> (String, std::process::ExitStatus) {
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    (text, child.wait().unwrap())
}

#[test]
fn limits_are_in_the_files_and_all_is_removed() {
    let Some(root) = Root::new("limits") else { return };
    let cgroups = root.create("c1", &limits(64 << 20, 10)).unwrap();
    assert!(cgroups.exists());
    let shown = |controller: &str, file: &str| {
        let place =
            if root.layout.is_hybrid() { cgroups.v1(controller).unwrap() } else { cgroups.tracking() };
        files::read(&place.join(file)).unwrap().trim().to_owned()
    };
    if root.layout.is_hybrid() {
        assert_eq!(shown("cpu", "cpu.shares"), "512");
        assert_eq!(shown("cpu", "cpu.cfs_quota_us"), "100000");
        assert_eq!(shown("memory", "memory.soft_limit_in_bytes"), (64u64 << 20).to_string());
        assert!(!shown("devices", "devices.list").contains("a *:*"));
    } else {
        assert_eq!(shown("cpu", "cpu.weight"), "50");
        assert_eq!(shown("cpu", "cpu.max"), "100000 100000");
        assert_eq!(shown("memory", "memory.oom.group"), "1");
    }
    let statistics = cgroups.statistics().unwrap();
    assert_eq!(statistics.memory_limit_bytes, Some(64 << 20));
    assert_eq!(statistics.pids_limit, Some(10));
    assert_eq!(statistics.pids_current, Some(0));
    assert_eq!(statistics.oom_kills, Some(0));

    cgroups.remove(PATIENCE).unwrap();
    assert!(!cgroups.exists());
    assert_eq!(root.left(), Vec::<PathBuf>::new());
    cgroups.remove(PATIENCE).unwrap();
    cgroups.kill().unwrap();
}

#[test]
fn a_container_of_the_same_name_is_refused_and_left_alone() {
    let Some(root) = Root::new("twice") else { return };
    let first = root.create("c1", &limits(64 << 20, 10)).unwrap();
    assert!(matches!(root.create("c1", &limits(64 << 20, 20)), Err(Error::Exists { .. })));
    assert_eq!(first.statistics().unwrap().pids_limit, Some(10));
    for reserved in RESERVED {
        assert!(matches!(root.create(reserved, &Limits::default()), Err(Error::Name { .. })));
    }
    first.remove(PATIENCE).unwrap();
}

#[test]
fn a_failure_in_between_leaves_nothing() {
    let Some(root) = Root::new("between") else { return };
    // More than a machine can have is refused by the kernel, after the cgroups are made.
    let refused = Limits { pids_max: Some(u64::MAX), ..limits(64 << 20, 10) };
    let error = root.create("c1", &refused).unwrap_err();
    assert!(matches!(&error, Error::Write { value, .. } if *value == u64::MAX.to_string()), "{error}");
    assert_eq!(root.left(), Vec::<PathBuf>::new());
}

#[test]
fn a_fork_bomb_is_bounded_and_killed() {
    let Some(root) = Root::new("bomb") else { return };
    let cgroups = root.create("c1", &limits(256 << 20, 20)).unwrap();
    // The outer shell only waits: one that can't fork ends by itself.
    let mut child = shell(&cgroups, "sh -c 'bomb() { bomb | bomb & }; bomb' & read again");
    let hits = |cgroups: &Cgroups| {
        let place = cgroups.v1("pids").unwrap_or_else(|| cgroups.tracking());
        files::read_table(&place.join("pids.events")).unwrap()["max"]
    };
    eventually("the limit is reached", || hits(&cgroups) > 0);
    assert!(cgroups.is_populated().unwrap());
    let started = Instant::now();
    cgroups.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    cgroups.remove(PATIENCE).unwrap();
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(root.left(), Vec::<PathBuf>::new());
}

#[test]
fn the_kill_without_cgroup_kill_ends_all_as_well() {
    let Some(root) = Root::new("frozen") else { return };
    let cgroups = root.create("c1", &limits(256 << 20, 40)).unwrap();
    let mut child =
        shell(&cgroups, "while :; do sh -c 'while :; do sleep 100 & sleep 0.01; done' & sleep 0.01; done");
    eventually("there are some", || cgroups.statistics().unwrap().pids_current > Some(10));
    kill::kill_frozen(&cgroups.tracking()).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    eventually("nobody is left", || !cgroups.is_populated().unwrap());
    cgroups.remove(PATIENCE).unwrap();
}

#[test]
fn who_left_the_tracking_cgroup_is_killed_all_the_same() {
    let Some(root) = Root::new("stray") else { return };
    if !root.layout.is_hybrid() {
        println!("SKIPPED: stray: this host is not hybrid");
        return;
    }
    let cgroups = root.create("c1", &limits(256 << 20, 40)).unwrap();
    let mut child = shell(&cgroups, "exec sleep 1000");
    files::write(&root.layout.unified.join("cgroup.procs"), &child.id().to_string()).unwrap();
    assert!(cgroups.is_populated().unwrap(), "the v1 cgroups still have it");
    cgroups.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    cgroups.remove(PATIENCE).unwrap();
}

#[test]
fn the_last_process_and_nobody_else_wakes_the_watch() {
    let Some(root) = Root::new("watch") else { return };
    let cgroups = root.create("c1", &limits(64 << 20, 10)).unwrap();
    let mut child = shell(&cgroups, "read again; exit 0");
    assert!(cgroups.is_populated().unwrap());
    let mut watch = cgroups.watch_populated().unwrap();
    watch.rearm();
    let wakes = |watch: &Watch, seconds: i64| {
        let timeout = Timespec { tv_sec: seconds, tv_nsec: 0 };
        poll(&mut [PollFd::new(&watch.fd, watch.interest)], Some(&timeout)).unwrap() == 1
    };
    assert!(!wakes(&watch, 0));
    child.stdin.as_mut().unwrap().write_all(b"now\n").unwrap();
    assert!(wakes(&watch, 20));
    assert!(child.wait().unwrap().success());
    eventually("nobody is left", || !cgroups.is_populated().unwrap());
    watch.rearm();
    assert!(!wakes(&watch, 0));
    cgroups.remove(PATIENCE).unwrap();
}

#[test]
fn running_out_of_memory_is_counted_and_wakes() {
    let Some(root) = Root::new("oom") else { return };
    let cgroups = root.create("c1", &limits(32 << 20, 10)).unwrap();
    let mut watch = cgroups.watch_oom().unwrap().expect("memory is limited");
    // tail keeps all of a line that doesn't end. exec: the process itself, so v1 and v2 end the same.
    let mut child = shell(&cgroups, "exec tail -n 1 /dev/zero");
    let timeout = Timespec { tv_sec: 20, tv_nsec: 0 };
    assert_eq!(poll(&mut [PollFd::new(&watch.fd, watch.interest)], Some(&timeout)).unwrap(), 1);
    watch.rearm();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    assert!(cgroups.oom_kills().unwrap() >= 1);
    assert!(cgroups.statistics().unwrap().oom_kills >= Some(1));
    cgroups.remove(PATIENCE).unwrap();
}

#[test]
fn a_quota_throttles_and_usage_is_counted() {
    let Some(root) = Root::new("quota") else { return };
    let tight = Limits { cpu_limit_milli: Some(100), ..limits(64 << 20, 10) };
    let cgroups = root.create("c1", &tight).unwrap();
    // exec: memory is charged to where it was first touched.
    let mut child = shell(&cgroups, "exec sh -c 'while :; do :; done'");
    eventually("it was throttled", || {
        let statistics = cgroups.statistics().unwrap();
        statistics.cpu_throttled_periods > Some(2)
            && statistics.cpu_throttled_us > Some(0)
            && statistics
                .cpu_user_us
                .zip(statistics.cpu_system_us)
                .is_some_and(|(user, system)| user + system > 0)
            && statistics.memory_current_bytes > Some(0)
    });
    cgroups.kill().unwrap();
    child.wait().unwrap();
    cgroups.remove(PATIENCE).unwrap();
}

#[test]
fn an_update_raises_memory_but_never_lowers_it() {
    let Some(root) = Root::new("update") else { return };
    let cgroups = root.create("c1", &limits(64 << 20, 10)).unwrap();
    let memory = || cgroups.statistics().unwrap().memory_limit_bytes;
    cgroups.update(&limits(128 << 20, 30), &Isolation::default()).unwrap();
    assert_eq!(memory(), Some(128 << 20));
    cgroups.update(&limits(96 << 20, 15), &Isolation::default()).unwrap();
    assert_eq!(memory(), Some(128 << 20));
    assert_eq!(cgroups.statistics().unwrap().pids_limit, Some(15));
    cgroups.remove(PATIENCE).unwrap();
}

#[test]
fn a_busy_cgroup_is_not_removed_but_its_nested_ones_are() {
    let Some(root) = Root::new("busy") else { return };
    let cgroups = root.create("c1", &limits(64 << 20, 10)).unwrap();
    fs::create_dir_all(cgroups.tracking().join("nested/deeper")).unwrap();
    let mut child = shell(&cgroups, "exec sleep 1000");
    let error = cgroups.remove(Duration::from_millis(50)).unwrap_err();
    let Error::Busy { processes, .. } = &error else { panic!("{error}") };
    assert!(processes.contains(&i32::try_from(child.id()).unwrap()), "{error}");
    cgroups.kill().unwrap();
    child.wait().unwrap();
    cgroups.remove(PATIENCE).unwrap();
    assert_eq!(root.left(), Vec::<PathBuf>::new());
}

/// The kernel's answer to opening a device inside, by v1's list or v2's program.
const OPEN_DEVICES: &str = "
    for node in null zero full urandom tty0 kmsg sda; do
        if head -c 0 $FOLDER/$node 2>/dev/null; then echo $node yes; else echo $node no; fi
    done
    if mknod $FOLDER/made b 8 1 2>/dev/null; then echo mknod yes; else echo mknod no; fi";

/// Nodes of the devices that are tried, in a folder of the test's own.
fn nodes() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let list = [("null", 'c', 1, 3), ("zero", 'c', 1, 5), ("full", 'c', 1, 7), ("urandom", 'c', 1, 9)];
    for (name, kind, major, minor) in list.into_iter().chain([("kmsg", 'c', 1, 11), ("sda", 'b', 7, 200)]) {
        let numbers = [kind.to_string(), major.to_string(), minor.to_string()];
        assert!(
            Command::new("mknod").arg(folder.path().join(name)).args(numbers).status().unwrap().success()
        );
    }
    folder
}

fn devices_seen(cgroups: &Cgroups, folder: &Path) -> Vec<String> {
    let script = OPEN_DEVICES.replace("$FOLDER", folder.to_str().unwrap()).replace("tty0 ", "");
    let (text, _) = output(shell(cgroups, &script));
    text.lines().map(str::to_owned).collect()
}

const SEEN: [&str; 7] = ["null yes", "zero yes", "full yes", "urandom yes", "kmsg no", "sda no", "mknod yes"];

#[test]
fn devices_outside_the_list_cannot_be_opened() {
    let Some(root) = Root::new("devices") else { return };
    let folder = nodes();
    let cgroups = root.create("c1", &limits(64 << 20, 10)).unwrap();
    assert_eq!(devices_seen(&cgroups, folder.path()), SEEN);
    cgroups.remove(PATIENCE).unwrap();
}

#[test]
fn the_program_for_v2_is_taken_and_obeyed_by_the_kernel() {
    let Some(root) = Root::new("program") else { return };
    let folder = nodes();
    // The v2 tree is there on a hybrid host too; without its v1 mounts the layout is that of a pure v2 host.
    let layout = Layout { v1: Vec::new(), ..root.layout.clone() };
    let bare = Isolation { controllers: [Controller::Devices].into(), ..Isolation::default() };
    let id = ContainerId::new("c1").unwrap();
    let create = |policy: &devices::Policy| {
        Cgroups::create(&layout, &root.name, &id, &Limits::default(), &bare, policy).unwrap()
    };
    let cgroups = create(&devices::Policy::standard());
    assert_eq!(cgroups.libcontainer_path(), Path::new("/").join(&root.name).join("c1/leaf"));
    assert_eq!(devices_seen(&cgroups, folder.path()), SEEN);
    // A cgroup below is no way out.
    fs::create_dir(cgroups.tracking().join("leaf/below")).unwrap();
    let mut child = shell(&cgroups, &format!("read again; head -c 0 {}/kmsg", folder.path().display()));
    files::write(&cgroups.tracking().join("leaf/below/cgroup.procs"), &child.id().to_string()).unwrap();
    child.stdin.as_mut().unwrap().write_all(b"now\n").unwrap();
    assert!(!child.wait().unwrap().success());
    cgroups.remove(PATIENCE).unwrap();

    let mut policy = devices::Policy::standard();
    assert!(policy.allow("c 1:11 r".parse().unwrap()));
    let cgroups = create(&policy);
    assert!(devices_seen(&cgroups, folder.path()).contains(&"kmsg yes".to_owned()));
    cgroups.remove(PATIENCE).unwrap();
}

#[test]
fn the_longest_policy_passes_the_verifier() {
    let Some(_root) = Root::new("verifier") else { return };
    let mut policy = devices::Policy::standard();
    let added =
        (0..1000).take_while(|minor| policy.allow(format!("b 259:{minor} r").parse().unwrap())).count();
    assert!(added > 400);
    bpf::load_device_program(&policy.program()).unwrap();
}

#[test]
fn a_keeper_leaves_its_callers_cgroups() {
    let Some(root) = Root::new("keeper") else { return };
    let cgroups = root.create("c1", &limits(64 << 20, 10)).unwrap();
    let unified = || {
        let all = fs::read_to_string("/proc/self/cgroup").unwrap();
        all.lines().find_map(|line| line.strip_prefix("0::")).unwrap().to_owned()
    };
    // The test is one process for this; nextest gives each test its own.
    let before = unified();
    root.layout.settle_keeper(&root.name).unwrap();
    assert_eq!(unified(), format!("/{}/keepers", root.name));
    if let Some(pids) = root.layout.v1_mount("pids") {
        let members = fs::read_to_string(pids.join(&root.name).join("keepers/tasks")).unwrap();
        assert_eq!(members.lines().count(), 1, "this thread alone: {members}");
    }
    // Back to where it was, in every hierarchy, for the test's own clean-up.
    for mount in std::iter::once(&root.layout.unified).chain(root.layout.v1.iter().map(|mount| &mount.path)) {
        let _ = files::write(&mount.join(before.trim_start_matches('/')).join("cgroup.procs"), "0");
    }
    let mount = &root.layout.unified;
    root.layout.remove_root(&root.name).unwrap();
    assert!(cgroups.exists(), "a container's cgroup is not touched");
    assert!(!mount.join(&root.name).join(KEEPERS).exists());
    cgroups.remove(PATIENCE).unwrap();
    root.layout.remove_root(&root.name).unwrap();
    assert!(!mount.join(&root.name).exists());
}

#[test]
fn bad_roots_are_refused() {
    for bad in ["", "/", "..", "a/../b", "a//b", "./a", "a\0b"] {
        assert!(matches!(relative(bad), Err(Error::Name { .. })), "{bad:?}");
    }
    assert_eq!(relative("/mesos/").unwrap(), Path::new("mesos"));
    assert_eq!(relative("a/b").unwrap(), Path::new("a/b"));
}

#[test]
fn a_controller_that_the_host_lacks_is_named() {
    let Some(root) = Root::new("lacking") else { return };
    if !root.layout.is_hybrid() {
        println!("SKIPPED: lacking: this host is not hybrid");
        return;
    }
    // A pure v2 view of this host has none of the controllers that v1 has taken.
    let layout = Layout { v1: Vec::new(), ..root.layout.clone() };
    let id = ContainerId::new("c1").unwrap();
    let policy = devices::Policy::standard();
    let error = Cgroups::create(&layout, &root.name, &id, &Limits::default(), &Isolation::default(), &policy)
        .unwrap_err();
    assert!(matches!(error, Error::Missing { controller: Controller::Cpu, .. }), "{error}");
    assert!(error.to_string().contains("cgroup_no_v1=all"), "{error}");
    assert_eq!(root.left(), Vec::<PathBuf>::new());
}
