//! Checkpoints on a real disk: written, cut, damaged, collected.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use bytes::Bytes;
use model::ContainerId;

use super::*;

const AGENT: &str = "A-S0";

struct Disk {
    dir: tempfile::TempDir,
    store: FileStore,
}

fn disk() -> Disk {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::new(Paths::new(dir.path()), true, "boot-1");
    let mut disk = Disk { dir, store };
    disk.load();
    disk.store.settle().unwrap();
    disk.store.write(&Write::Agent(Box::new(agent()))).unwrap();
    disk
}

impl Disk {
    fn load(&mut self) -> Recovered {
        self.store.load(&mut |text| panic!("{text}")).unwrap()
    }

    fn start(&mut self, run: &Arc<Run>) {
        let task =
            Write::Task { run: run.clone(), framework: Arc::new(framework()), task: Arc::new(task(run)) };
        self.store.write(&task).unwrap();
    }

    fn updates(&self, run: &Run) -> PathBuf {
        self.store.paths.meta_run(run).join("tasks").join(encode(run.task.as_str())).join(TASK_UPDATES)
    }
}

fn agent() -> v1::AgentInfo {
    v1::AgentInfo {
        hostname: "a".into(),
        id: Some(v1::AgentId { value: AGENT.into() }),
        ..Default::default()
    }
}

fn framework() -> v1::FrameworkInfo {
    let id = Some(v1::FrameworkId { value: "F".into() });
    v1::FrameworkInfo { user: "u".into(), name: "n".into(), id, checkpoint: Some(true), ..Default::default() }
}

fn run(task: &str, container: &str) -> Arc<Run> {
    Arc::new(Run {
        agent: AGENT.into(),
        framework: "F".into(),
        executor: task.into(),
        task: task.into(),
        container: ContainerId::new(container),
    })
}

fn task(run: &Run) -> v1::TaskInfo {
    v1::TaskInfo { name: "t".into(), task_id: (&run.task).into(), ..Default::default() }
}

fn update(run: &Arc<Run>, n: u8) -> Write {
    let status = v1::TaskStatus {
        task_id: (&run.task).into(),
        state: v1::TaskState::TaskRunning.into(),
        uuid: Some(vec![n; 16].into()),
        ..Default::default()
    };
    Write::Update { run: run.clone(), status: Arc::new(status) }
}

fn acknowledged(run: &Arc<Run>, n: u8) -> Write {
    Write::Acknowledged { run: run.clone(), uuid: Bytes::from(vec![n; 16]) }
}

fn only_run(recovered: &Recovered) -> &RecoveredRun {
    let runs: Vec<_> = recovered.frameworks.values().flat_map(|f| &f.runs).collect();
    assert_eq!(runs.len(), 1);
    runs[0]
}

#[test]
fn what_is_written_is_found_again() {
    let mut disk = disk();
    let run = run("web/../1 %\n", "c1");
    disk.start(&run);
    for write in [update(&run, 1), update(&run, 2), acknowledged(&run, 1), acknowledged(&run, 9)] {
        disk.store.write(&write).unwrap();
    }
    let recovered = disk.load();
    assert_eq!(recovered.agent, Some(agent()));
    assert!(!recovered.rebooted);
    let found = only_run(&recovered);
    assert_eq!((&found.run, &*found.info), (&run, &task(&run)));
    assert_eq!(found.updates.iter().map(|u| u.acknowledged).collect::<Vec<_>>(), [true, false]);
    assert!(!found.done);
    disk.store.write(&Write::Done { run: run.clone() }).unwrap();
    assert!(only_run(&disk.load()).done);
    // All of it below the work folder, and closed to others.
    let meta = disk.dir.path().join("meta");
    assert_eq!(fs::metadata(meta.join("slaves")).unwrap().permissions().mode() & 0o77, 0);
    assert_eq!(fs::metadata(disk.updates(&run)).unwrap().permissions().mode() & 0o77, 0);
    assert_eq!(fs::read_link(meta.join("slaves/latest")).unwrap(), Path::new(AGENT));
}

#[test]
fn updates_cut_at_any_byte_are_read_as_far_as_they_are_whole() {
    let mut disk = disk();
    let run = run("t", "c1");
    disk.start(&run);
    let mut ends = vec![0];
    for write in [update(&run, 1), update(&run, 2), acknowledged(&run, 1)] {
        disk.store.write(&write).unwrap();
        ends.push(fs::read(disk.updates(&run)).unwrap().len());
    }
    let whole = fs::read(disk.updates(&run)).unwrap();
    for cut in 0..=whole.len() {
        fs::write(disk.updates(&run), &whole[..cut]).unwrap();
        let records = ends.iter().filter(|end| **end > 0 && **end <= cut).count();
        let recovered = disk.load();
        let found = only_run(&recovered);
        assert_eq!(found.updates.len(), records.min(2), "{cut}");
        assert_eq!(
            found.updates.iter().filter(|u| u.acknowledged).count(),
            usize::from(records == 3),
            "{cut}"
        );
        // What was cut short is gone, and what is appended now is found.
        assert_eq!(fs::read(disk.updates(&run)).unwrap().len(), ends[records], "{cut}");
        disk.store.write(&update(&run, 7)).unwrap();
        assert_eq!(only_run(&disk.load()).updates.last().unwrap().status.uuid(), [7; 16], "{cut}");
    }
}

#[test]
fn a_crash_between_two_files_of_a_launch_means_no_launch() {
    let mut disk = disk();
    let run = run("t", "c1");
    disk.start(&run);
    let folder = disk.store.paths.meta_run(&run).join("tasks/t");
    fs::remove_file(folder.join(TASK_INFO)).unwrap();
    fs::write(folder.join("task.info.tmp"), "half").unwrap();
    assert!(disk.load().frameworks["F"].runs.is_empty());
    fs::remove_file(disk.store.paths.meta_framework(&AGENT.into(), &"F".into()).join(FRAMEWORK_INFO))
        .unwrap();
    assert!(disk.load().frameworks.is_empty());
}

#[test]
fn damage_stops_a_strict_agent_and_is_skipped_by_a_lax_one() {
    let mut disk = disk();
    let (good, bad) = (run("good", "c1"), run("bad", "c2"));
    disk.start(&good);
    disk.start(&bad);
    let info = disk.store.paths.meta_run(&bad).join("tasks/bad").join(TASK_INFO);
    for rubbish in [&b"rubbish"[..], b"", &[0; 100], &[255; 100]] {
        fs::write(&info, rubbish).unwrap();
        disk.store.strict = true;
        let message = disk.store.load(&mut |text| panic!("{text}")).unwrap_err().to_string();
        assert!(message.contains("task.info is damaged") && message.contains("--no-strict"), "{message}");
        disk.store.strict = false;
        let mut warnings = Vec::new();
        let recovered = disk.store.load(&mut |text| warnings.push(text)).unwrap();
        assert_eq!(only_run(&recovered).run, good);
        assert_eq!(warnings.len(), 1);
    }
}

#[test]
fn a_new_boot_id_tells_of_a_reboot_until_it_is_settled() {
    let mut disk = disk();
    disk.store.boot_id = "boot-2".to_owned();
    assert!(disk.load().rebooted);
    // Mesos: RebootWithSlaveInfoMismatchAndRestart. A first start that failed must not be the last that knows of it.
    assert!(disk.load().rebooted);
    disk.store.settle().unwrap();
    assert!(!disk.load().rebooted);
    assert!(!FileStore::host_boot_id().unwrap().is_empty());
}

#[test]
fn nothing_is_written_before_a_reboot_is_settled_that_should_be() {
    let mut disk = disk();
    disk.store.boot_id = "boot-2".to_owned();
    assert!(disk.load().rebooted);
    // Something is in the way of the file.
    let boot = disk.store.paths.meta().join(BOOT_ID);
    fs::remove_file(&boot).unwrap();
    fs::create_dir(&boot).unwrap();
    disk.store.settle().unwrap_err();
    let other = v1::AgentInfo { hostname: "b".into(), ..agent() };
    disk.store.write(&Write::Agent(Box::new(other.clone()))).unwrap_err();
    fs::remove_dir(&boot).unwrap();
    disk.store.write(&Write::Agent(Box::new(other.clone()))).unwrap();
    assert_eq!(fs::read_to_string(&boot).unwrap(), "boot-2");
    let recovered = disk.load();
    assert_eq!((recovered.rebooted, recovered.agent), (false, Some(other)));
}

#[test]
fn a_forgotten_agent_is_a_new_one() {
    let mut disk = disk();
    disk.start(&run("t", "c1"));
    disk.store.forget_agent().unwrap();
    disk.store.forget_agent().unwrap();
    let recovered = disk.load();
    assert!(recovered.agent.is_none() && recovered.frameworks.is_empty());
}

#[test]
fn collected_runs_leave_nothing() {
    let mut disk = disk();
    let (first, second) = (run("t", "c1"), run("t", "c2"));
    disk.start(&first);
    disk.start(&second);
    let framework = disk.store.paths.meta_framework(&AGENT.into(), &"F".into());
    let latest = framework.join("executors/t/runs/latest");
    assert_eq!(fs::read_link(&latest).unwrap(), Path::new("c2"));
    disk.store.collect(&first).unwrap();
    assert_eq!(fs::read_link(&latest).unwrap(), Path::new("c2"));
    assert_eq!(disk.load().frameworks["F"].runs.len(), 1);
    disk.store.collect(&second).unwrap();
    disk.store.collect(&second).unwrap();
    assert!(!framework.exists());
    // Its last word comes late.
    disk.store.write(&Write::Done { run: second.clone() }).unwrap();
    assert!(disk.store.write(&update(&second, 1)).is_err());
    assert!(!framework.exists());
}

#[test]
fn sandboxes_without_checkpoints_are_strays() {
    let mut disk = disk();
    let (known, stray) = (run("t", "c1"), run("u %", "c2"));
    disk.start(&known);
    for run in [&known, &stray] {
        fs::create_dir_all(disk.store.paths.sandbox(run)).unwrap();
    }
    fs::create_dir_all(disk.dir.path().join("slaves/%zz/frameworks/F/executors/e/runs/c")).unwrap();
    let strays = disk.load().strays;
    assert_eq!(strays.iter().map(|(_, run)| run).collect::<Vec<_>>(), [&stray]);
    assert!(strays[0].0 > Timestamp::ZERO);
}

/// behaviour.md section 13: on restart everything old of other agent ids goes.
#[test]
fn former_agents_are_forgotten_with_their_last_sandbox() {
    let mut disk = disk();
    let old = run("t", "c1");
    disk.start(&old);
    let sandbox = disk.store.paths.sandbox(&old);
    fs::create_dir_all(&sandbox).unwrap();
    disk.store.forget_agent().unwrap();
    let meta = disk.store.paths.meta_agent(&AGENT.into());
    let strays = disk.load().strays;
    assert_eq!(strays.iter().map(|(_, run)| run).collect::<Vec<_>>(), [&old]);
    assert!(meta.exists());
    remove_run(&sandbox).unwrap();
    disk.store.collect(&old).unwrap();
    assert!(disk.load().strays.is_empty());
    assert!(!meta.exists() && !disk.store.paths.sandboxes().join(AGENT).exists());
    // What is none of its own stays.
    fs::create_dir_all(disk.store.paths.sandboxes().join("%zz")).unwrap();
    disk.load();
    assert!(disk.store.paths.sandboxes().join("%zz").exists());
}

#[test]
fn a_full_disk_leaves_nothing_of_a_launch() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: a_full_disk_leaves_nothing_of_a_launch: needs root to mount a small tmpfs");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k,nr_inodes=64", "tmpfs"])
        .arg(dir.path())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        println!("SKIPPED: a_full_disk_leaves_nothing_of_a_launch: can't mount a tmpfs");
        return;
    }
    let outcome = std::panic::catch_unwind(|| fill(dir.path()));
    let unmounted = std::process::Command::new("umount").arg(dir.path()).status();
    assert!(unmounted.is_ok_and(|status| status.success()));
    outcome.unwrap();
}

fn fill(folder: &Path) {
    let mut store = FileStore::new(Paths::new(folder), true, "boot-1");
    store.load(&mut |text| panic!("{text}")).unwrap();
    store.write(&Write::Agent(Box::new(agent()))).unwrap();
    let start = |store: &mut FileStore, run: &Arc<Run>| {
        let task = Arc::new(task(run));
        store.write(&Write::Task { run: run.clone(), framework: Arc::new(framework()), task })
    };
    let mut kept = BTreeMap::new();
    let (failed, error) = loop {
        let run = run(&format!("t{}", kept.len()), &format!("c{}", kept.len()));
        match start(&mut store, &run) {
            Ok(()) => kept.insert(run.task.clone(), run),
            Err(error) => break (run, error),
        };
        assert!(kept.len() < 100, "a disk of 64 KiB is full before");
    };
    assert!(error.chain().contains("No space left on device"), "{}", error.chain());
    assert!(!kept.is_empty());
    assert!(!store.paths.meta_run(&failed).exists());
    // What runs already can still say how it ended.
    for run in kept.values() {
        store.write(&update(run, 1)).unwrap();
        store.write(&acknowledged(run, 1)).unwrap();
    }
    let recovered = store.load(&mut |text| panic!("{text}")).unwrap();
    assert_eq!(recovered.frameworks["F"].runs.len(), kept.len());
}
