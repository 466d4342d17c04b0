//! Threats that the other modules' tests don't show on their way, and the check of the table in this crate's
//! documentation.
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use runtime::protocol::Report;
use runtime::{ContainerSpec, Exit, FailureKind, KeeperHandle, Rootfs, Stage};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::process::{Pid, Signal, kill_process};

use crate::canary::Canary;
use crate::namespaces::{IDS, mapping_world};
use crate::world::{PROBE, World, eventually, much, world};

/// Puts a layer over busybox.
fn with_layer(world: &World, spec: &mut ContainerSpec, fill: impl Fn(&Path)) {
    let layer = world.path(&format!("{}-layer", spec.id));
    fs::create_dir(&layer).unwrap();
    fill(&layer);
    let Rootfs::Overlay { lower, .. } = &mut spec.rootfs else { unreachable!() };
    lower.insert(0, layer);
}

fn keeper_of(world: &World, spec: &ContainerSpec) -> Pid {
    let mut other = KeeperHandle::new(spec.id.clone(), world.runtime.connect(&spec.id).unwrap());
    let Report::Hello { keeper_pid, .. } = other.report().unwrap() else { panic!("no greeting") };
    Pid::from_raw(i32::try_from(keeper_pid).unwrap()).unwrap()
}

#[test]
fn k01_links_are_refused_in_a_user_namespace_as_well() {
    let Some(world) = mapping_world("k01_links_are_refused_in_a_user_namespace_as_well") else { return };
    let canary = Canary::new();
    for name in ["dev", "proc", "sys"] {
        let mut spec = world.spec(&format!("mapped-{name}"), &["true"]);
        spec.user_namespace = Some(IDS);
        with_layer(&world, &mut spec, |layer| {
            symlink(canary.path(), layer.join(name)).unwrap();
            fs::create_dir_all(layer.join(canary.path().strip_prefix("/").unwrap())).unwrap();
        });
        let failure = world.refused(&spec);
        assert!(failure.message.contains(&format!("/{name} must be a directory")), "{failure}");
    }
    canary.assert_untouched();
}

#[test]
fn k05_a_mount_point_that_is_exchanged_meanwhile_leads_nowhere() {
    let Some(world) = world("k05_a_mount_point_that_is_exchanged_meanwhile_leads_nowhere") else { return };
    let canary = Canary::new();
    let root = world.path("busybox");
    // Of the image's own folder: a real one, and a link to the host's, which exists inside as well.
    fs::create_dir_all(root.join("mnt/mesos/sandbox")).unwrap();
    fs::create_dir_all(root.join(canary.path().strip_prefix("/").unwrap()).join("sandbox")).unwrap();
    symlink(canary.path(), root.join("mnt/other")).unwrap();
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let flip = scope.spawn(|| {
            let mut flips = 0u64;
            while !done.load(Ordering::Relaxed) {
                renameat_with(
                    CWD,
                    root.join("mnt/mesos"),
                    CWD,
                    root.join("mnt/other"),
                    RenameFlags::EXCHANGE,
                )
                .unwrap();
                flips += 1;
            }
            flips
        });
        let mut mounted = 0;
        for round in 0..much(30, 3000) {
            let id = format!("race{round}");
            let mut spec = world.script(&id, "echo in > /mnt/mesos/sandbox/file; true");
            spec.rootfs = Rootfs::Directory(root.clone());
            let mut keeper = world.runtime.launch(&spec).unwrap();
            // Some are refused: a link to nowhere was in the way.
            let _ = keeper.wait_exit();
            while keeper.report().is_ok() {}
            world.runtime.cleanup(&spec.id).unwrap();
            mounted += u32::from(world.sandbox(&id).join("file").exists());
        }
        done.store(true, Ordering::Relaxed);
        assert!(flip.join().unwrap() > 100);
        assert!(mounted > 0, "no container had its sandbox");
    });
    canary.assert_untouched();
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
    world.assert_gone();
}

#[test]
fn k08_no_console_and_no_terminal_of_the_host() {
    let Some(world) = world("k08_no_console_and_no_terminal_of_the_host") else { return };
    let mut spec = world.script(
        "console",
        "ls /dev/pts; [ -e /dev/console ] && echo console; cat /dev/tty 2>/dev/null && echo tty; cat /proc/self/mountinfo | grep -c ' /dev/console '; ls -l /dev/ptmx | grep -c pts/ptmx",
    );
    with_layer(&world, &mut spec, |layer| {
        fs::create_dir_all(layer.join("dev/pts")).unwrap();
        symlink("/dev/pts/0", layer.join("dev/console")).unwrap();
        symlink("/dev/ptmx", layer.join("dev/pts/ptmx")).unwrap();
    });
    world.run(&spec);
    assert_eq!(world.stdout("console"), "ptmx\n0\n1\n", "{}", world.stderr("console"));
}

#[test]
fn k09_what_is_written_to_proc_is_written_to_proc() {
    let Some(world) = world("k09_what_is_written_to_proc_is_written_to_proc") else { return };
    let script = "stat -f -c %T /proc; cat /proc/self/oom_score_adj /proc/1/oom_score_adj; cat /proc/self/attr/current 2>/dev/null | head -c 4; \
        grep NoNewPrivs /proc/self/status; cat /proc/self/setgroups";
    let mut spec = world.script("proc", script);
    with_layer(&world, &mut spec, |layer| {
        fs::create_dir_all(layer.join("proc/self/attr")).unwrap();
        for name in ["oom_score_adj", "attr/current", "setgroups", "status"] {
            fs::write(layer.join("proc/self").join(name), "fake\n").unwrap();
        }
    });
    assert_eq!(world.run(&spec).status, Exit::Code(0), "{}", world.stderr("proc"));
    let text = world.stdout("proc");
    assert!(text.starts_with("proc\n0\n0\n") && text.ends_with("NoNewPrivs:\t1\nallow\n"), "{text}");
    assert!(!text.contains("fake"), "{text}");
    // Nothing can be mounted over it by a spec.
    for target in ["/proc", "/proc/self/attr", "/proc/self/oom_score_adj", "/tmp/../proc/self"] {
        let mut spec = world.spec("over", &["true"]);
        spec.sandbox.as_mut().unwrap().target = target.into();
        assert_eq!(world.refused(&spec).kind, FailureKind::Refused, "{target}");
    }
}

#[test]
fn k10_nothing_is_made_on_the_host_for_an_image() {
    let Some(world) = world("k10_nothing_is_made_on_the_host_for_an_image") else { return };
    let canary = Canary::new();
    let mut ran = 0;
    for (number, name) in ["mnt", "etc", "tmp", "bin/../mnt", "var"].into_iter().enumerate() {
        let mut spec = world.spec(&format!("makes{number}"), &["true"]);
        spec.cwd = "/tmp".into();
        with_layer(&world, &mut spec, |layer| {
            fs::create_dir_all(layer.join("bin")).unwrap();
            let _ = symlink(canary.path(), layer.join(name));
        });
        let mut keeper = world.runtime.launch(&spec).unwrap();
        ran += u32::from(keeper.wait_exit().is_ok_and(|record| record.status == Exit::Code(0)));
        world.bury(keeper, &spec.id);
        canary.assert_untouched();
    }
    assert!(ran > 0, "no container ran");
}

#[test]
fn k13_no_setting_of_the_kernel_can_be_changed() {
    let Some(world) = world("k13_no_setting_of_the_kernel_can_be_changed") else { return };
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    // A spec knows no settings of the kernel; a host name that would be one to another runtime is just a name.
    let mut spec = world.script(
        "sysctl",
        "hostname; for f in $(find /proc/sys -type f 2>/dev/null); do (echo 1 > $f) 2>/dev/null && echo \"wrote $f\"; done; true",
    );
    spec.hostname = Some("x+kernel.core_pattern=|/x".into());
    let mut value = serde_json::to_value(&spec).unwrap();
    value["sysctl"] = serde_json::json!({ "kernel.shm_rmid_forced": "1+kernel.core_pattern=|/x" });
    assert_eq!(serde_json::from_value::<ContainerSpec>(value).unwrap(), spec);
    assert_eq!(world.run(&spec).status, Exit::Code(0), "{}", world.stderr("sysctl"));
    assert_eq!(world.stdout("sysctl"), "x+kernel.core_pattern=|/x\n");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap(), pattern);
}

/// Puts something into a folder.
type Fill<'a> = &'a dyn Fn(&Path);

#[test]
fn k16_users_of_a_hostile_image_end_within_a_second() {
    let Some(world) = world("k16_users_of_a_hostile_image_end_within_a_second") else { return };
    let canary = Canary::new();
    let cases: [(&str, Fill<'_>); 5] = [
        ("huge", &|etc| fs::File::create(etc.join("group")).unwrap().set_len(2 << 30).unwrap()),
        ("zero", &|etc| symlink("/dev/zero", etc.join("passwd")).unwrap()),
        ("fifo", &|etc| {
            let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
            rustix::fs::mknodat(CWD, etc.join("passwd"), kind, mode, 0).unwrap();
        }),
        ("folder", &|etc| fs::create_dir(etc.join("passwd")).unwrap()),
        ("circle", &|etc| symlink("passwd", etc.join("passwd")).unwrap()),
    ];
    // What a start takes here and now, whoever else works on this machine.
    let start = |id: &str| {
        let mut spec = world.spec(id, &["true"]);
        spec.user = Some("web".into());
        let begun = Instant::now();
        assert_eq!(world.run(&spec).status, Exit::Code(0));
        begun.elapsed()
    };
    for (id, fill) in cases {
        let usual = start(&format!("{id}-usual"));
        let mut spec = world.spec(id, &["true"]);
        spec.user = Some("web".into());
        // The one who reads them is born in the container's cgroup: what he took there he could not take.
        spec.limits.memory_limit_bytes = Some(32 << 20);
        with_layer(&world, &mut spec, |layer| {
            fs::create_dir(layer.join("etc")).unwrap();
            fill(&layer.join("etc"));
        });
        let begun = Instant::now();
        let failure = world.refused(&spec);
        assert_eq!((failure.stage, failure.kind), (Stage::User, FailureKind::User), "{id}: {failure}");
        assert!(begun.elapsed() < usual + Duration::from_secs(1), "{id}: {:?}, {usual:?}", begun.elapsed());
    }
    canary.assert_untouched();
}

#[test]
fn k18_devices_stay_denied_after_deaths_and_in_nested_cgroups() {
    let Some(world) = world("k18_devices_stay_denied_after_deaths_and_in_nested_cgroups") else { return };
    // Each time a file asks for it, tries to open a disk of its own making. It outlives its keeper, too.
    let script = "mknod /tmp/disk b 254 0; mknod /tmp/mem c 1 1; echo ready; n=0
        trap '' TERM HUP; while :; do n=$((n+1)); until [ -e /mnt/mesos/sandbox/try$n ]; do sleep 0.02; done
        for d in disk mem; do head -c 1 /tmp/$d >/dev/null 2>&1 && echo \"opened $d\"; done
        head -c 1 /dev/zero >/dev/null && echo \"tried $n\"; done";
    let mut spec = world.script("devices", script);
    spec.capabilities.insert("CAP_MKNOD".parse().unwrap());
    // By another process, which is then killed, as an agent is.
    let file = world.path("devices.json");
    fs::write(&file, serde_json::to_vec(&spec).unwrap()).unwrap();
    let mut caller = Process::new(PROBE)
        .args(["run".as_ref(), file.as_os_str(), world.config.runtime_dir.as_os_str(), world.marker.as_ref()])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    eventually("it runs", || world.stdout("devices") == "ready\n");
    let mut tries = 0;
    let mut check = |when: &str| {
        tries += 1;
        fs::write(world.sandbox("devices").join(format!("try{tries}")), "").unwrap();
        eventually("it tries", || world.stdout("devices").contains(&format!("tried {tries}\n")));
        assert!(!world.stdout("devices").contains("opened"), "{when}: {}", world.stdout("devices"));
    };
    check("with its caller");
    caller.kill().unwrap();
    caller.wait().unwrap();
    check("without a caller");
    // A caller that comes later changes nothing, and neither does a cgroup below its own.
    let stream = world.runtime.connect(&spec.id).unwrap();
    let mut keeper = KeeperHandle::new(spec.id.clone(), stream);
    let pid = keeper.wait_started().unwrap().pid;
    check("with another caller");
    let mut nested: Vec<PathBuf> = Vec::new();
    for place in world
        .cgroups()
        .into_iter()
        .filter(|place| place.join("devices.list").exists() || place.join("leaf").exists())
    {
        let (parent, name) = match place.join("leaf").is_dir() {
            true => (place.join("leaf"), "cgroup.procs"),
            false => (place.clone(), "cgroup.procs"),
        };
        fs::create_dir(parent.join("nested")).unwrap();
        for task in children(pid) {
            // A child of the shell may have ended meanwhile.
            match fs::write(parent.join("nested").join(name), task.to_string()) {
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                done => done.unwrap(),
            }
        }
        nested.push(parent.join("nested"));
    }
    assert!(!nested.is_empty());
    check("in a nested cgroup");
    // Nor does the keeper's death: the rules belong to the cgroup.
    kill_process(keeper_of(&world, &spec), Signal::KILL).unwrap();
    while keeper.report().is_ok() {}
    check("without a keeper");
    assert!(matches!(world.runtime.recover()[0].state, runtime::Found::Lost));
    check("after recovery");
    world.runtime.cleanup(&spec.id).unwrap();
    world.assert_gone();
}

/// A process and all that descend from it.
fn children(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut at = 0;
    while let Some(parent) = all.get(at).copied() {
        let text = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
        all.extend(text.split_whitespace().filter_map(|word| word.parse::<u32>().ok()));
        at += 1;
    }
    all
}

#[test]
fn k21_folders_are_closed_to_others() {
    let Some(world) = world("k21_folders_are_closed_to_others") else { return };
    let keeper = world.start(&world.spec("closed", &["sleep", "1000"]));
    let mut waiting = vec![world.config.runtime_dir.clone()];
    while let Some(path) = waiting.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o077, 0, "{}", path.display());
        assert_eq!(metadata.uid(), rustix::process::geteuid().as_raw());
        if metadata.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().flatten().map(|entry| entry.path()));
        }
    }
    world.kill(keeper, Some(0));
}

#[test]
fn k22_callers_that_come_and_go_cost_a_keeper_nothing() {
    let Some(world) = world("k22_callers_that_come_and_go_cost_a_keeper_nothing") else { return };
    let spec = world.spec("patient", &["sleep", "1000"]);
    let keeper = world.start(&spec);
    let pid = keeper_of(&world, &spec).as_raw_nonzero().get();
    let descriptors = || fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let memory = || {
        let text = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
        text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4
    };
    let come_and_go = |times: usize| {
        for turn in 0..times {
            let stream = world.runtime.connect(&spec.id).unwrap();
            let mut caller = KeeperHandle::new(spec.id.clone(), stream);
            if turn % 3 == 0 {
                caller.report().unwrap();
            }
            if turn % 5 == 0 {
                let _ = caller.send(&runtime::protocol::Command::Statistics {});
            }
        }
    };
    come_and_go(500);
    eventually("they are gone", || descriptors() < 20);
    let (kilobytes, open) = (memory(), descriptors());
    come_and_go(much(5000, 100_000));
    // The keeper itself may have begun to count memory pressure meanwhile.
    eventually("they are gone", || descriptors() <= open + 4);
    assert!(memory() < kilobytes + 256, "{kilobytes} KB before, {} KB after", memory());
    world.kill(keeper, Some(0));
}

#[test]
fn k23_a_log_that_a_task_exchanges_is_written_where_it_was() {
    let Some(world) = world("k23_a_log_that_a_task_exchanges_is_written_where_it_was") else { return };
    let canary = Canary::new();
    let mut spec = world.script(
        "log",
        "echo before; cd /mnt/mesos/sandbox; ln stdout kept; rm stdout stderr; ln -s $0/ptmx stdout; ln -s /dev/null stderr; echo after; echo error >&2",
    );
    spec.argv.push(canary.path().display().to_string());
    assert_eq!(world.run(&spec).status, Exit::Code(0));
    assert_eq!(fs::read_to_string(world.sandbox("log").join("kept")).unwrap(), "before\nafter\n");
    canary.assert_untouched();
}

#[test]
fn k24_nothing_of_an_image_runs_on_the_host() {
    let Some(world) = world("k24_nothing_of_an_image_runs_on_the_host") else { return };
    let canary = Canary::new();
    let trap = format!("#!/bin/sh\ntouch {}/sprung /mnt/mesos/sandbox/sprung\n", canary.path().display());
    let fill = |layer: &Path| {
        for name in [
            "bin/newuidmap",
            "bin/newgidmap",
            "usr/bin/xz",
            "usr/bin/unpigz",
            "usr/bin/criu",
            "sbin/modprobe",
            "bin/mount",
            "lib/libnss_files.so.2",
            "lib/x86_64-linux-gnu/libnss_trap.so.2",
            "bin/tepui",
            "usr/bin/nsenter",
        ] {
            let path = layer.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &trap).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::create_dir_all(layer.join("etc")).unwrap();
        fs::write(layer.join("etc/nsswitch.conf"), "passwd: trap\ngroup: trap\n").unwrap();
        fs::write(layer.join("etc/ld.so.preload"), "/lib/libnss_files.so.2\n").unwrap();
    };
    let [spec, mut mapped] = ["traps", "traps-mapped"].map(|id| {
        let mut spec = world.spec(id, &["true"]);
        spec.user = Some("web".into());
        with_layer(&world, &mut spec, fill);
        spec
    });
    mapped.user_namespace = Some(IDS);
    assert_eq!(world.run(&spec).status, Exit::Code(0), "{}", world.log(&spec.id));
    // Once more with ids to be mapped, which others leave to programs found in PATH.
    let mut keeper = world.runtime.launch(&mapped).unwrap();
    match keeper.wait_exit() {
        Ok(record) => assert_eq!(record.status, Exit::Code(0), "{}", world.log(&mapped.id)),
        // A host whose layers can't be mapped has no such container.
        Err(error) => assert!(error.to_string().contains("idmapped mounts"), "{error}"),
    }
    world.bury(keeper, &mapped.id);
    for id in ["traps", "traps-mapped"] {
        assert!(!world.sandbox(id).join("sprung").exists());
    }
    canary.assert_untouched();
}

#[test]
fn k25_neighbours_of_a_bomb_go_on() {
    let Some(world) = world("k25_neighbours_of_a_bomb_go_on") else { return };
    let mut bomb =
        world.script("bomb", "trap '' TERM; f() { while :; do f & done; }; f & while :; do wait; done");
    bomb.limits.pids_max = Some(60);
    bomb.limits.memory_limit_bytes = Some(64 << 20);
    bomb.limits.cpu_limit_milli = Some(500);
    let mut eater = world.script("eater", "while :; do tail /dev/zero; done");
    eater.limits.memory_limit_bytes = Some(32 << 20);
    eater.limits.cpu_limit_milli = Some(300);
    let mut shm = world.script("shm", "dd if=/dev/zero of=/dev/shm/fill bs=1M 2>&1 | tail -n 1; dd if=/dev/zero of=/dev/fill bs=1M 2>&1 | tail -n 1; sleep 1000");
    shm.shm_bytes = 4 << 20;
    shm.limits.memory_limit_bytes = Some(128 << 20);
    let keepers = [world.start(&bomb), world.start(&eater), world.start(&shm)];
    eventually("the bomb is at its limit", || world.stderr("bomb").contains("can't fork"));
    eventually("the folders in memory are full", || world.stdout("shm").lines().count() >= 2);
    let mut worst = Duration::ZERO;
    for round in 0..6 {
        let begun = Instant::now();
        assert_eq!(
            world
                .runtime
                .launch(&world.spec(&format!("calm{round}"), &["true"]))
                .unwrap()
                .wait_exit()
                .unwrap()
                .status,
            Exit::Code(0)
        );
        worst = worst.max(begun.elapsed());
    }
    assert!(worst < Duration::from_secs(5), "{worst:?}");
    for (mut keeper, id) in keepers.into_iter().zip(["bomb", "eater", "shm"]) {
        keeper.send(&runtime::protocol::Command::Kill { grace_ms: Some(0), why: None }).unwrap();
        keeper.wait_exit().unwrap_or_else(|error| panic!("{id}: {error}"));
        while keeper.report().is_ok() {}
    }
    world.assert_gone();
}

/// The table at the head of this program names tests that are there, and leaves out no threat.
#[test]
fn every_threat_has_its_tests() {
    let table = include_str!("main.rs");
    let rows: Vec<(u32, Vec<&str>)> = table
        .lines()
        .filter_map(|line| line.strip_prefix("//! | K"))
        .map(|row| {
            let number = row.split(' ').next().unwrap().parse().unwrap();
            (number, row.split('`').skip(1).step_by(2).collect())
        })
        .collect();
    let numbers: Vec<u32> = rows.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=18).chain(20..=25).collect::<Vec<_>>());
    let sources = sources(Path::new(env!("CARGO_MANIFEST_DIR")));
    for (number, tests) in rows {
        assert!(!tests.is_empty(), "K{number} has no test");
        for name in tests {
            assert!(name.starts_with(&format!("k{number:02}_")), "{name} is not named after K{number}");
            assert!(sources.iter().any(|text| is_test(text, name)), "there is no test {name}");
        }
    }
    // And the other way round: whatever is named after a threat is in the table.
    for text in &sources {
        for name in
            text.lines().filter_map(|line| line.trim().strip_prefix("fn k")).map(|rest| format!("k{rest}"))
        {
            let name = name.split('(').next().unwrap();
            if name.as_bytes().get(1).is_some_and(u8::is_ascii_digit) {
                assert!(table.contains(&format!("`{name}`")), "{name} is not in the table");
            }
        }
    }
}

fn is_test(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.windows(2).any(|pair| pair[0] == "#[test]" && pair[1].starts_with(&format!("fn {name}(")))
}

fn sources(top: &Path) -> Vec<String> {
    let mut waiting = vec![top.join("src"), top.join("tests")];
    let mut texts = Vec::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().flatten().map(|entry| entry.path()));
        } else if path.extension().is_some_and(|end| end == "rs") {
            texts.push(fs::read_to_string(&path).unwrap());
        }
    }
    texts
}
