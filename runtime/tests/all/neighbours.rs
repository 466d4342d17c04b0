//! Containers that attack others, and their keepers, while these start (threats K4 to K7, K20).
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command as Process;

use runtime::{ContainerSpec, Exit, KeeperHandle, Rootfs};

use crate::canary::Canary;
use crate::world::{PROBE, World, eventually, much, world};

/// Starts a container that works until it is told to stop.
fn attack(world: &World, spec: &ContainerSpec) -> KeeperHandle {
    let keeper = world.start(spec);
    eventually("it attacks", || world.stdout(spec.id.as_str()).starts_with("ready"));
    keeper
}

fn stop(world: &World, spec: &ContainerSpec, mut attacker: KeeperHandle) {
    fs::write(world.sandbox(spec.id.as_str()).join("stop"), "").unwrap();
    let end = attacker.wait_exit().unwrap().status;
    assert_eq!(end, Exit::Code(0), "{}", world.stderr(spec.id.as_str()));
    world.bury(attacker, &spec.id);
}

/// Runs a victim to its end, whatever that is.
fn victim(world: &World, spec: &ContainerSpec) -> Option<Exit> {
    let mut keeper = world.runtime.launch(spec).unwrap();
    let ended = keeper.wait_exit().ok().map(|record| record.status);
    while keeper.report().is_ok() {}
    world.runtime.cleanup(&spec.id).unwrap();
    ended
}

#[test]
fn k04_a_hostile_neighbour_finds_no_process_to_enter() {
    let Some(world) = world("k04_a_hostile_neighbour_finds_no_process_to_enter") else { return };
    // With the host's processes in sight, it looks through the descriptors and memory of everything that starts, and
    // opens its memory for writing, for which the kernel asks what it asks for ptrace.
    // Programs of containers, their output and their /dev/null, it may see: with one pid namespace and one user they
    // are no strangers.
    let script = "echo ready; while [ ! -e /mnt/mesos/sandbox/stop ]; do for p in /proc/[0-9]*; do
        exe=$(readlink $p/exe); case $exe in /bin/busybox) continue ;; '') ;; *) echo \"exe $p $exe $(cat $p/comm)\" ;; esac
        (: <> $p/mem) 2>/dev/null && echo \"trace $p $(cat $p/comm)\"
        grep -v -e busybox -e '\\[' $p/maps 2>/dev/null | grep -q / && echo \"maps $p $(cat $p/comm)\"
        for f in $p/fd/*; do to=$(readlink $f) && case $to in *-sandbox/*|/dev/null) ;; *) echo \"fd $f $to $(cat $p/comm)\" ;; esac; done
        done; done; true";
    let mut spec = world.script("spy", script);
    spec.isolation.pid = false;
    let spy = attack(&world, &spec);
    for round in 0..much(40, 1000) {
        let mut other = world.spec(&format!("victim{round}"), &["true"]);
        other.isolation.pid = round % 2 == 0;
        assert_eq!(victim(&world, &other), Some(Exit::Code(0)));
    }
    stop(&world, &spec, spy);
    // What others run on this host meanwhile is not ours; of ours it saw no keeper, no builder, no init.
    let text = world.stdout("spy");
    let ours = ["tepui-keeper", "tepui-builder", "tepui-ini", "youki", "keeper-probe"];
    let seen: Vec<&str> = text.lines().filter(|line| ours.iter().any(|name| line.contains(name))).collect();
    assert!(seen.is_empty(), "{seen:?}");
}

/// A folder of busybox's that two containers have as their root filesystem, and can both change.
fn shared(world: &World, spec: &mut ContainerSpec, own: &str) {
    spec.rootfs = Rootfs::Directory(world.path("busybox"));
    spec.sandbox.as_mut().unwrap().target = own.into();
}

#[test]
fn k05_a_neighbour_that_exchanges_what_is_mounted_on_leads_nowhere() {
    let Some(world) = world("k05_a_neighbour_that_exchanges_what_is_mounted_on_leads_nowhere") else {
        return;
    };
    let canary = Canary::new();
    let root = world.path("busybox");
    fs::create_dir_all(root.join("mnt/mesos/sandbox")).unwrap();
    fs::create_dir_all(root.join(canary.path().strip_prefix("/").unwrap()).join("sandbox")).unwrap();
    symlink(canary.path(), root.join("mnt/other")).unwrap();
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let script = "cd /mnt; echo ready; n=0; while [ ! -e /own/stop ]; do n=$((n+1))
        busybox mv -T mesos swap; busybox mv -T other mesos; busybox mv -T swap other; done; echo $n";
    let mut flipper = world.script("flipper", script);
    shared(&world, &mut flipper, "/own");
    let attacker = attack(&world, &flipper);
    let mut mounted = 0;
    for round in 0..much(30, 3000) {
        let id = format!("race{round}");
        let mut spec = world.script(&id, "echo in > /mnt/mesos/sandbox/file");
        shared(&world, &mut spec, "/mnt/mesos/sandbox");
        if victim(&world, &spec) == Some(Exit::Code(0)) && world.sandbox(&id).join("file").exists() {
            mounted += 1;
        }
        canary.assert_untouched();
    }
    stop(&world, &flipper, attacker);
    let flips: u32 = world.stdout("flipper").lines().last().unwrap().parse().unwrap();
    assert!(flips > 50 && mounted > 0, "{flips} flips, {mounted} containers had their sandbox");
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
    world.assert_gone();
}

#[test]
fn k05_a_sandbox_that_two_containers_share_leads_nowhere() {
    let Some(world) = world("k05_a_sandbox_that_two_containers_share_leads_nowhere") else { return };
    let canary = Canary::new();
    let script = "cd /mnt/mesos/sandbox; echo ready; while [ ! -e stop ]; do
        ln -s $0/ptmx out; rm out; ln -s $0 out; rm out; : > out; rm out; done; true";
    let mut flipper = world.script("flipper", script);
    flipper.argv.push(canary.path().display().to_string());
    let attacker = attack(&world, &flipper);
    for round in 0..much(30, 3000) {
        let mut spec = world.script(&format!("guest{round}"), "echo written; echo written >&2");
        let place = world.sandbox("flipper");
        spec.stdout = Some(place.join("out"));
        spec.stderr = Some(place.join("out"));
        spec.sandbox.as_mut().unwrap().source = place;
        let _ = victim(&world, &spec);
        canary.assert_untouched();
    }
    stop(&world, &flipper, attacker);
}

/// What is masked is masked from the first instruction on, or there is no first instruction.
#[test]
fn k06_a_neighbour_that_replaces_dev_null_unmasks_nothing() {
    let Some(world) = world("k06_a_neighbour_that_replaces_dev_null_unmasks_nothing") else { return };
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    // Only in containers of this test: the host's own /dev is not to be tried on.
    let script = "echo ready; n=0; while [ ! -e /mnt/mesos/sandbox/stop ]; do for p in /proc/[0-9]*; do
        grep -q \"$0\" $p/environ 2>/dev/null && [ -e $p/root/this-is-a-victim ] || continue
        ln -sf /proc/sys/kernel/core_pattern $p/root/dev/null 2>/dev/null && n=$((n+1)); done; done; echo $n";
    let mut spec = world.script("replacer", script);
    spec.argv.push(format!("TEPUI_TEST={}", world.marker));
    spec.isolation.pid = false;
    let attacker = attack(&world, &spec);
    // From the host, what of these can be read at all.
    let there =
        |path: &&str| Path::new(path).is_file() && fs::read(path).is_ok_and(|bytes| !bytes.is_empty());
    let masked: Vec<&str> = ["/proc/keys", "/proc/key-users", "/proc/timer_list", "/proc/interrupts"]
        .into_iter()
        .filter(there)
        .collect();
    assert!(!masked.is_empty());
    let mut started = 0;
    for round in 0..much(25, 1000) {
        let id = format!("masked{round}");
        let mut spec = world.script(&id, "cat $@; [ -e /proc/sys/kernel/core_pattern ] && echo seen");
        spec.argv.push("sh".to_owned());
        spec.argv.extend(masked.iter().map(|path| (*path).to_owned()));
        spec.isolation.pid = round % 2 == 0;
        let Rootfs::Overlay { upper, .. } = &spec.rootfs else { unreachable!() };
        fs::write(upper.join("this-is-a-victim"), "").unwrap();
        if victim(&world, &spec) == Some(Exit::Code(0)) {
            assert_eq!(world.stdout(&id), "seen\n");
            started += 1;
        }
    }
    stop(&world, &spec, attacker);
    assert!(started > 0);
    assert_eq!(fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap(), pattern);
    assert!(fs::symlink_metadata("/dev/null").unwrap().file_type().is_char_device());
}

/// What the probe says about each socket it knocked at.
fn answers(text: &str) -> Vec<(&str, &str)> {
    text.lines().filter_map(|line| line.split_once(' ')).collect()
}

#[test]
fn k20_no_socket_of_the_hosts_network_lets_a_container_in() {
    let Some(world) = world("k20_no_socket_of_the_hosts_network_lets_a_container_in") else { return };
    let other = world.start(&world.spec("other", &["sleep", "1000"]));
    let folder = world.config.runtime_dir.join("containers/other");
    let socket = folder.join("keeper.sock");
    let path = socket.to_str().unwrap();
    // Each that /proc/net/unix shows, abstract ones too, and the keeper's by its name: its folder is masked.
    let mut spec = world.spec("host", &[PROBE, "knock"]);
    spec.rootfs = Rootfs::Host;
    let mut named = world.spec("named", &[PROBE, "knock", path]);
    named.rootfs = Rootfs::Host;
    for spec in [&spec, &named] {
        assert_eq!(victim(&world, spec), Some(Exit::Code(0)), "{}", world.stderr(spec.id.as_str()));
    }
    let all = world.stdout("host");
    assert!(all.contains("keeper.sock"), "the keeper's is among those that were tried: {all}");
    let ours = |name: &str| name.contains("tepui") || name.contains("keeper");
    let entered: Vec<_> =
        answers(&all).into_iter().filter(|(said, name)| *said != "refused" && ours(name)).collect();
    assert!(entered.is_empty(), "{entered:?}");
    assert_eq!(world.stdout("named"), format!("refused {path}\n"));
    // And where the folder is handed in, root inside is heard by nobody: it is in another pid namespace.
    let mut inside = world.spec("inside", &[PROBE, "knock", path]);
    inside.rootfs = Rootfs::Host;
    inside.sandbox.as_mut().unwrap().source = folder.clone();
    assert_eq!(victim(&world, &inside), Some(Exit::Code(0)), "{}", world.stderr("inside"));
    assert_eq!(world.stdout("inside"), format!("closed {path}\n"));
    // Outside, another user is turned away even if somebody opened the folders; the same user is not.
    for (path, mode) in [
        (world.dir.path(), 0o711),
        (&world.config.runtime_dir, 0o711),
        (folder.parent().unwrap(), 0o711),
        (&folder, 0o711),
        (&socket, 0o666),
    ] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let probe = fs::File::open(PROBE).unwrap();
    rustix::io::fcntl_setfd(&probe, rustix::io::FdFlags::empty()).unwrap();
    for (uid, wanted) in [(33, "closed"), (0, "answered")] {
        let mut knock = Process::new(format!("/proc/self/fd/{}", probe.as_raw_fd()));
        let output = knock.args(["knock", path]).uid(uid).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{wanted} {path}\n"), "{output:?}");
    }
    world.kill(other, Some(0));
}
