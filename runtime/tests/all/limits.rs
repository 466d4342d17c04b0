//! Limits that the kernel enforces, and what the keeper tells of them.
use runtime::protocol::{Command, Report};
use runtime::{Controller, Exit, FailureKind, HugetlbLimit, IoMax, Rlimit, Stage};
use rustix::process::{Resource, getrlimit};

use crate::world::{eventually, wait_for, world};

#[test]
fn running_out_of_memory_is_told_apart_from_a_kill() {
    let Some(world) = world("running_out_of_memory_is_told_apart_from_a_kill") else { return };
    let mut spec = world.spec("oom", &["tail", "/dev/zero"]);
    spec.limits.memory_limit_bytes = Some(48 << 20);
    let record = world.run(&spec);
    assert_eq!((record.status, record.killed_by_us), (Exit::Signal(libc::SIGKILL), None));
    assert!(record.oom_kills >= 1, "{record:?}");
    let mut spec = world.script("enough", "head -c 10000000 /dev/zero | tail -c 1 >/dev/null; kill -9 $$");
    spec.limits.memory_limit_bytes = Some(48 << 20);
    let record = world.run(&spec);
    assert_eq!((record.status, record.oom_kills), (Exit::Signal(libc::SIGKILL), 0));
}

#[test]
fn processes_are_limited() {
    let Some(world) = world("processes_are_limited") else { return };
    let mut spec =
        world.script("pids", "i=0; while [ $i -lt 40 ]; do sleep 100 & i=$((i+1)); done; echo all");
    spec.limits.pids_max = Some(12);
    let record = world.run(&spec);
    assert_ne!(record.status, Exit::Code(0));
    assert!(world.stderr("pids").contains("can't fork"), "{}", world.stderr("pids"));
}

#[test]
fn a_limit_too_low_for_any_process_is_said() {
    let Some(world) = world("a_limit_too_low_for_any_process_is_said") else { return };
    let mut spec = world.spec("one", &["true"]);
    spec.limits.pids_max = Some(2);
    let failure = world.refused(&spec);
    assert!(failure.message.contains("limit of 2 processes is too low"), "{failure}");
}

#[test]
fn statistics_are_told_when_asked_for() {
    let Some(world) = world("statistics_are_told_when_asked_for") else { return };
    let mut spec =
        world.script("busy", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo done; sleep 100");
    spec.limits.memory_limit_bytes = Some(64 << 20);
    let mut keeper = world.start(&spec);
    eventually("it worked", || world.stdout("busy") == "done\n");
    keeper.send(&Command::Statistics {}).unwrap();
    let report = wait_for(&mut keeper, |report| matches!(report, Report::Statistics { .. }));
    let Report::Statistics { usage, .. } = report else { unreachable!() };
    assert!(usage.cpu_user_us.is_some_and(|time| time > 0), "{usage:?}");
    assert_eq!(usage.memory_limit_bytes, Some(64 << 20));
    assert_eq!(usage.pids_current, Some(2), "PID 1 and the command: {usage:?}");
    world.kill(keeper, Some(0));
}

fn rlimit(name: &str, soft: u64, hard: u64) -> Rlimit {
    Rlimit { name: name.into(), soft, hard }
}

/// All sixteen, the kernel's names of them, and values (lowered to what this host allows) with which busybox still runs.
const RESOURCES: [(&str, Resource, &str, u64, u64); 16] = [
    ("RLIMIT_AS", Resource::As, "Max address space", 1 << 29, 1 << 30),
    ("RLIMIT_CORE", Resource::Core, "Max core file size", 0, 1),
    ("RLIMIT_CPU", Resource::Cpu, "Max cpu time", 50, 60),
    ("RLIMIT_DATA", Resource::Data, "Max data size", 1 << 28, 1 << 29),
    ("RLIMIT_FSIZE", Resource::Fsize, "Max file size", 1 << 20, 1 << 21),
    ("RLIMIT_LOCKS", Resource::Locks, "Max file locks", 5, 6),
    ("RLIMIT_MEMLOCK", Resource::Memlock, "Max locked memory", 4096, 8192),
    ("RLIMIT_MSGQUEUE", Resource::Msgqueue, "Max msgqueue size", 1, 2),
    ("RLIMIT_NICE", Resource::Nice, "Max nice priority", 1, 2),
    // So few open files that no part of the start could live with it.
    ("RLIMIT_NOFILE", Resource::Nofile, "Max open files", 5, 7),
    ("RLIMIT_NPROC", Resource::Nproc, "Max processes", 300, 400),
    ("RLIMIT_RSS", Resource::Rss, "Max resident set", 1 << 20, 1 << 21),
    ("RLIMIT_RTPRIO", Resource::Rtprio, "Max realtime priority", 1, 2),
    ("RLIMIT_RTTIME", Resource::Rttime, "Max realtime timeout", 1000, 2000),
    ("RLIMIT_SIGPENDING", Resource::Sigpending, "Max pending signals", 3, 4),
    ("RLIMIT_STACK", Resource::Stack, "Max stack size", 1 << 20, 1 << 21),
];

#[test]
fn resource_limits_are_those_of_the_spec() {
    let Some(world) = world("resource_limits_are_those_of_the_spec") else { return };
    let mut spec = world.script("limits", "cat /proc/self/limits");
    spec.user = Some("33:34".into());
    let most = |resource| getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let wanted = RESOURCES.map(|(name, resource, row, soft, hard)| {
        let hard = hard.min(most(resource));
        (name, row, soft.min(hard), hard)
    });
    spec.rlimits = wanted.map(|(name, _, soft, hard)| rlimit(name, soft, hard)).into();
    assert_eq!(world.run(&spec).status, Exit::Code(0), "{}", world.stderr("limits"));
    let text = world.stdout("limits");
    for (name, row, soft, hard) in wanted {
        let line = text.lines().find(|line| line.starts_with(row)).unwrap_or_else(|| panic!("{row}: {text}"));
        let words: Vec<&str> = line[row.len()..].split_whitespace().collect();
        assert_eq!(words[..2], [soft.to_string(), hard.to_string()], "{name}: {line}");
    }
}

/// Without CAP_SYS_RESOURCE nobody gets more than he has; with it only what the kernel itself bounds.
#[test]
fn a_resource_limit_above_ones_own_is_had_or_named() {
    let Some(world) = world("a_resource_limit_above_ones_own_is_had_or_named") else { return };
    for (name, resource, row, ..) in RESOURCES {
        let Some(own) = getrlimit(resource).maximum else { continue };
        let id = name.replace('_', "-");
        let mut spec = world.script(&id, "cat /proc/self/limits");
        spec.rlimits = vec![rlimit(name, 0, own + 1)];
        if name == "RLIMIT_NOFILE" {
            spec.rlimits[0].soft = 10;
        }
        let mut keeper = world.runtime.launch(&spec).unwrap();
        match keeper.wait_exit() {
            Ok(_) => {
                let text = world.stdout(&id);
                let line = text.lines().find(|line| line.starts_with(row)).unwrap();
                assert!(line.contains(&(own + 1).to_string()), "{line}");
            }
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains(name) && text.contains("CAP_SYS_RESOURCE"), "{text}");
            }
        }
        world.bury(keeper, &spec.id);
    }
}

#[test]
fn a_resource_limit_that_is_refused_is_named() {
    let Some(world) = world("a_resource_limit_that_is_refused_is_named") else { return };
    let refuse = |id: &str, limit: Rlimit, word: &str| {
        let mut spec = world.spec(id, &["true"]);
        spec.rlimits = vec![limit];
        let failure = world.refused(&spec);
        assert_eq!(failure.kind, FailureKind::Refused);
        assert!(failure.message.contains(word), "{failure}");
    };
    refuse("unknown", rlimit("RLIMIT_WISDOM", 1, 1), "RLIMIT_WISDOM");
    refuse("turned", rlimit("RLIMIT_CPU", 2, 1), "RLIMIT_CPU");
    // Above fs.nr_open nobody gets them.
    refuse("files", rlimit("RLIMIT_NOFILE", 1024, 1 << 40), "RLIMIT_NOFILE (soft 1024, hard 1099511627776)");
}

#[test]
fn processors_and_memory_nodes_can_be_chosen() {
    let Some(world) = world("processors_and_memory_nodes_can_be_chosen") else { return };
    let mut spec = world.script("cpuset", "grep -E '^(Cpus|Mems)_allowed_list' /proc/self/status");
    spec.limits.cpuset_cpus = Some("0".into());
    spec.limits.cpuset_mems = Some("0".into());
    assert_eq!(world.run(&spec).status, Exit::Code(0), "{}", world.stderr("cpuset"));
    assert_eq!(world.stdout("cpuset"), "Cpus_allowed_list:\t0\nMems_allowed_list:\t0\n");
    let mut spec = world.spec("no-cpu", &["true"]);
    spec.limits.cpuset_cpus = Some("4000".into());
    let failure = world.refused(&spec);
    assert!(failure.stage == Stage::Cgroup && failure.message.contains("cpuset.cpus"), "{failure}");
    let mut spec = world.spec("odd", &["true"]);
    spec.limits.cpuset_cpus = Some("0; rm -rf /".into());
    assert_eq!(world.refused(&spec).kind, FailureKind::Refused);
}

/// The disk that a path lies on, as `major:minor` of the whole device.
fn disk_of(path: &std::path::Path) -> Option<(u32, u32)> {
    let device = rustix::fs::stat(path).unwrap().st_dev;
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let folder = std::fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    let whole = if folder.join("partition").exists() { folder.parent()?.to_owned() } else { folder };
    let text = std::fs::read_to_string(whole.join("dev")).ok()?;
    let (major, minor) = text.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[test]
fn a_disk_can_be_limited_and_its_use_is_told() {
    let Some(world) = world("a_disk_can_be_limited_and_its_use_is_told") else { return };
    let Some((major, minor)) = disk_of(world.dir.path()) else {
        println!(
            "SKIPPED: a_disk_can_be_limited_and_its_use_is_told: {} lies on no disk",
            world.dir.path().display()
        );
        return;
    };
    // 3 MB at 2 MB a second, past the page cache.
    let script =
        "dd if=/dev/zero of=/mnt/mesos/sandbox/big bs=64k count=48 oflag=direct 2>&1; echo done; sleep 100";
    let mut spec = world.script("disk", script);
    spec.limits.io_max = vec![IoMax { major, minor, write_bps: Some(2 << 20), ..IoMax::default() }];
    let begun = std::time::Instant::now();
    let mut keeper = world.start(&spec);
    eventually("it has written", || world.stdout("disk").ends_with("done\n"));
    assert!(begun.elapsed().as_millis() > 800, "{:?}: {}", begun.elapsed(), world.stdout("disk"));
    let usage = usage(&mut keeper);
    let devices = usage.io.clone().unwrap();
    let disk = devices.iter().find(|one| (one.major, one.minor) == (major, minor)).unwrap();
    assert!(disk.bytes.write >= Some(3 << 20) && disk.operations.write > Some(0), "{usage:?}");
    // Meanwhile the kernel may have written its output back, too.
    let read = world.runtime.statistics(&spec.id).unwrap().io.unwrap();
    let again = read.iter().find(|one| (one.major, one.minor) == (major, minor)).unwrap();
    assert!(
        again.bytes.write >= disk.bytes.write && again.operations.write >= disk.operations.write,
        "{read:?}"
    );
    world.kill(keeper, Some(0));
    let mut spec = world.spec("no-disk", &["true"]);
    spec.limits.io_max = vec![IoMax { major: 4000, minor: 1, read_iops: Some(1), ..IoMax::default() }];
    let failure = world.refused(&spec);
    assert!(failure.stage == Stage::Cgroup && failure.message.contains("4000:1"), "{failure}");
}

#[test]
fn a_share_of_the_disk_is_set_or_its_absence_named() {
    let Some(world) = world("a_share_of_the_disk_is_set_or_its_absence_named") else { return };
    let mut spec = world.spec("share", &["sleep", "100"]);
    spec.limits.io_weight = Some(300);
    let mut keeper = world.runtime.launch(&spec).unwrap();
    match keeper.wait_started() {
        Ok(_) => {
            let found = world.cgroups().into_iter().find_map(|place| {
                ["io.weight", "io.bfq.weight", "blkio.bfq.weight", "blkio.weight"]
                    .iter()
                    .find_map(|name| std::fs::read_to_string(place.join(name)).ok())
            });
            assert!(found.is_some_and(|text| text.trim_end().ends_with("300")));
            world.kill(keeper, Some(0));
        }
        Err(error) => {
            assert!(error.to_string().contains("weight"), "{error}");
            world.bury(keeper, &spec.id);
        }
    }
}

#[test]
fn huge_pages_are_limited_or_the_missing_controller_is_named() {
    let Some(world) = world("huge_pages_are_limited_or_the_missing_controller_is_named") else { return };
    let mut spec = world.spec("huge", &["true"]);
    spec.isolation.controllers.insert(Controller::Hugetlb);
    spec.limits.hugetlb = vec![HugetlbLimit { page_bytes: 2 << 20, limit_bytes: 0 }];
    let lacks = world.runtime.host().missing.iter().any(|missing| missing.name == "cgroups/hugetlb");
    if lacks {
        let failure = world.refused(&spec);
        assert!(failure.stage == Stage::Cgroup && failure.message.contains("hugetlb"), "{failure}");
    } else {
        assert_eq!(world.run(&spec).status, Exit::Code(0));
    }
}

fn usage(keeper: &mut runtime::KeeperHandle) -> runtime::Statistics {
    keeper.send(&Command::Statistics {}).unwrap();
    let report = wait_for(keeper, |report| matches!(report, Report::Statistics { .. }));
    let Report::Statistics { usage, .. } = report else { unreachable!() };
    usage
}

#[test]
fn all_figures_are_told_by_the_keeper_and_without_it() {
    let Some(world) = world("all_figures_are_told_by_the_keeper_and_without_it") else { return };
    // A page cache far above the limit is pressure on memory.
    let script = "i=0; while [ $i -lt 3 ]; do i=$((i+1)); dd if=/dev/zero of=/mnt/mesos/sandbox/f bs=1M count=80 2>/dev/null; done; \
        echo done; sleep 100 & sleep 100; true";
    let mut spec = world.script("figures", &format!("sleep 0.3; {script}"));
    spec.limits.memory_limit_bytes = Some(48 << 20);
    spec.limits.cpu_limit_milli = Some(4000);
    let mut keeper = world.start(&spec);
    eventually("it worked", || world.stdout("figures") == "done\n");
    eventually("its children run", || world.runtime.statistics(&spec.id).unwrap().processes == Some(4));
    let told = usage(&mut keeper);
    let read = world.runtime.statistics(&spec.id).unwrap();
    for (all, by) in [(&told, "keeper"), (&read, "runtime")] {
        for (name, figure) in [
            ("user", all.cpu_user_us),
            ("system", all.cpu_system_us),
            ("periods", all.cpu_periods),
            ("memory", all.memory_current_bytes),
            ("limit", all.memory_limit_bytes),
            ("file", all.memory_file_bytes),
            ("threads", all.threads),
        ] {
            assert!(figure > Some(0), "{name} by {by}: {all:?}");
        }
        for (name, figure) in [
            ("throttled", all.cpu_throttled_us),
            ("throttled periods", all.cpu_throttled_periods),
            ("anon", all.memory_anon_bytes),
            ("mapped", all.memory_mapped_bytes),
            ("unevictable", all.memory_unevictable_bytes),
            ("kernel", all.memory_kernel_bytes),
            ("tcp", all.memory_sock_bytes),
        ] {
            assert!(figure.is_some(), "{name} by {by}: {all:?}");
        }
        assert_eq!((all.processes, all.threads), (Some(4), Some(4)), "{by}: {all:?}");
        let stalled = all.psi_memory.is_some_and(|one| one.some.total_us > 0);
        assert!(stalled || !std::path::Path::new("/proc/pressure/memory").exists(), "{by}: {all:?}");
        assert!(all.psi_cpu.is_some() == all.psi_io.is_some(), "{by}: {all:?}");
    }
    let pressed =
        told.pressure_low > Some(0) && told.pressure_medium.is_some() && told.pressure_critical.is_some();
    assert!(pressed, "{told:?}");
    world.kill(keeper, Some(0));
}
