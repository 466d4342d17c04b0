//! Namespaces on request: users and network of its own, processes and IPC shared with the caller.
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use runtime::{ContainerSpec, Exit, FailureKind, IdRange, Rootfs, Stage};

use crate::world::{World, skipped, world};

/// What the tests' user namespaces have.
pub const IDS: IdRange = IdRange { base: 300_000, length: 65_536 };

/// A world whose layers can be mapped, or `None` and a line that says so.
pub fn mapping_world(test: &str) -> Option<World> {
    let world = world(test)?;
    let mut spec = world.spec("can-map", &["true"]);
    spec.user_namespace = Some(IDS);
    let mut keeper = world.runtime.launch(&spec).unwrap();
    match keeper.wait_exit() {
        Err(error) if error.to_string().contains("idmapped mounts") => {
            skipped(test, &error.to_string());
            world.bury(keeper, &spec.id);
            None
        }
        other => {
            other.unwrap_or_else(|error| panic!("{error}\n{}", world.log(&spec.id)));
            world.bury(keeper, &spec.id);
            Some(world)
        }
    }
}

fn mapped(mut spec: ContainerSpec) -> ContainerSpec {
    spec.user_namespace = Some(IDS);
    spec
}

#[test]
fn root_of_a_user_namespace_is_nobody_outside() {
    let Some(world) = mapping_world("root_of_a_user_namespace_is_nobody_outside") else { return };
    let script = "id; cat /proc/self/uid_map /proc/self/gid_map; stat -c '%u %g' / /bin /mnt/mesos/sandbox; \
        touch /made /mnt/mesos/sandbox/made; stat -c '%u %g' /made /mnt/mesos/sandbox/made; echo out >> /dev/stdout; \
        grep -E '^(CapEff|CapInh|NoNewPrivs|Seccomp:)' /proc/self/status";
    for net in [true, false] {
        let id = format!("users-{net}");
        let mut spec = mapped(world.script(&id, script));
        spec.isolation.net = net;
        let Rootfs::Overlay { upper, .. } = &spec.rootfs else { unreachable!() };
        let upper = upper.clone();
        assert_eq!(world.run(&spec).status, Exit::Code(0), "{}", world.stderr(&id));
        let text = world.stdout(&id);
        let want = "uid=0(root) gid=0(root) groups=0(root)\n         0     300000      65536\n         0     300000      65536\n\
            0 0\n0 0\n0 0\n0 0\n0 0\nout\nCapInh:\t0000000000000000\nCapEff:\t00000000a00405fb\nNoNewPrivs:\t1\nSeccomp:\t2\n";
        assert_eq!(text, want);
        // On the host the container's own layer has the ids as they are, the sandbox those it has inside.
        let owner = |path: std::path::PathBuf| {
            (fs::metadata(&path).unwrap().uid(), fs::metadata(&path).unwrap().gid())
        };
        assert_eq!(owner(upper.join("made")), (300_000, 300_000));
        assert_eq!(owner(world.sandbox(&id).join("made")), (0, 0));
        assert_eq!(owner(world.path("busybox/bin")), (0, 0), "the layer itself is not touched");
    }
}

#[test]
fn a_user_of_a_user_namespace_has_the_files_that_are_his() {
    let Some(world) = mapping_world("a_user_of_a_user_namespace_has_the_files_that_are_his") else { return };
    let private = world.path("busybox/private");
    fs::write(&private, "of web\n").unwrap();
    fs::set_permissions(&private, fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::chown(&private, Some(33), Some(34)).unwrap();
    let mut spec = mapped(
        world.script("web", "id -u; cat /private; touch /mnt/mesos/sandbox/mine; touch /bin/x || true"),
    );
    spec.user = Some("web".into());
    assert_eq!(world.run(&spec).status, Exit::Code(0), "{}", world.stderr("web"));
    assert_eq!(world.stdout("web"), "33\nof web\n");
    assert_eq!(fs::metadata(world.sandbox("web").join("mine")).unwrap().uid(), 33);
    assert!(world.stderr("web").contains("Permission denied"));
    // While it runs it is 300033 to the host.
    let mut spec = mapped(world.spec("seen", &["sleep", "100"]));
    spec.user = Some("33:34".into());
    let mut keeper = world.runtime.launch(&spec).unwrap();
    let pid = keeper.wait_started().unwrap().pid;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("Uid:\t300033\t300033\t300033\t300033"), "{status}");
    world.kill(keeper, Some(0));
    let mut spec = mapped(world.spec("outside", &["true"]));
    spec.user = Some("70000".into());
    let failure = world.refused(&spec);
    assert_eq!((failure.stage, failure.kind), (Stage::User, FailureKind::User), "{failure}");
}

#[test]
fn a_plain_folder_is_mapped_too() {
    let Some(world) = mapping_world("a_plain_folder_is_mapped_too") else { return };
    let mut spec =
        mapped(world.script("plain", "stat -c %u / /etc/passwd; touch /made; ls /mnt/mesos/sandbox"));
    spec.rootfs = Rootfs::Directory(world.path("busybox"));
    assert_eq!(world.run(&spec).status, Exit::Code(0), "{}", world.stderr("plain"));
    assert_eq!(world.stdout("plain"), "0\n0\nstderr\nstdout\n");
    assert_eq!(fs::metadata(world.path("busybox/made")).unwrap().uid(), 0);
}

#[test]
fn a_user_namespace_that_can_not_be_is_refused_by_name() {
    let Some(world) = world("a_user_namespace_that_can_not_be_is_refused_by_name") else { return };
    let refuse = |id: &str, word: &str, change: &dyn Fn(&mut ContainerSpec)| {
        let mut spec = mapped(world.spec(id, &["true"]));
        change(&mut spec);
        let failure = world.refused(&spec);
        assert_eq!(failure.kind, FailureKind::Refused, "{failure}");
        assert!(failure.message.contains("user namespace") && failure.message.contains(word), "{failure}");
    };
    refuse("host", "image", &|spec| spec.rootfs = Rootfs::Host);
    refuse("pid", "pid", &|spec| spec.isolation.pid = false);
    refuse("ipc", "ipc", &|spec| spec.isolation.ipc = false);
    refuse("low", "1000", &|spec| spec.user_namespace = Some(IdRange { base: 0, length: 65_536 }));
    refuse("none", "1000", &|spec| spec.user_namespace = Some(IdRange { base: 100_000, length: 0 }));
    refuse("high", "below", &|spec| {
        spec.user_namespace = Some(IdRange { base: u32::MAX - 1, length: 65_536 });
    });
    // A file system that can't map.
    refuse("sys", "idmapped mounts", &|spec| {
        spec.sandbox.as_mut().unwrap().source = "/sys/kernel".into();
        spec.stdout = None;
        spec.stderr = None;
    });
}

#[test]
fn a_network_of_its_own_has_a_loopback_that_is_up_and_nothing_else() {
    let Some(world) = world("a_network_of_its_own_has_a_loopback_that_is_up_and_nothing_else") else {
        return;
    };
    let mut spec = world.script(
        "net",
        "ls /sys/class/net; cat /sys/class/net/lo/flags; nc -l -p 4242 > /tmp/got & \
         for i in 1 2 3 4 5 6 7 8 9; do echo hello | nc -w 1 127.0.0.1 4242 && break; sleep 0.1; done; wait; cat /tmp/got; \
         [ -e /etc/resolv.conf ] && echo resolv; true",
    );
    spec.isolation.net = true;
    assert_eq!(world.run(&spec).status, Exit::Code(0), "{}", world.stderr("net"));
    // IFF_UP and IFF_LOOPBACK.
    assert_eq!(world.stdout("net"), "lo\n0x9\nhello\n", "{}", world.stderr("net"));
}

#[test]
fn processes_can_be_shared_with_the_caller() {
    let Some(world) = world("processes_can_be_shared_with_the_caller") else { return };
    let mut spec = world.script("pids", "readlink /proc/self/ns/pid; [ -d /proc/$0 ] && echo seen");
    spec.argv.push(std::process::id().to_string());
    spec.isolation.pid = false;
    assert_eq!(world.run(&spec).status, Exit::Code(0), "{}", world.stderr("pids"));
    let ours = fs::read_link("/proc/self/ns/pid").unwrap();
    assert_eq!(world.stdout("pids"), format!("{}\nseen\n", ours.display()));
}

#[test]
fn shared_memory_is_the_callers_with_its_ipc_namespace() {
    let Some(world) = world("shared_memory_is_the_callers_with_its_ipc_namespace") else { return };
    let name = format!("/dev/shm/{}", world.marker);
    fs::write(&name, "ours\n").unwrap();
    let script = "readlink /proc/self/ns/ipc; cat $0 2>/dev/null; stat -f -c %b /dev/shm";
    let run = |id: &str, shared: bool| {
        let mut spec = world.script(id, script);
        spec.argv.push(name.clone());
        spec.isolation.ipc = !shared;
        spec.shm_bytes = 8 << 20;
        assert_eq!(world.run(&spec).status, Exit::Code(0), "{}", world.stderr(id));
        world.stdout(id)
    };
    let (own, shared) = (run("own", false), run("shared", true));
    fs::remove_file(&name).unwrap();
    let ours = fs::read_link("/proc/self/ns/ipc").unwrap().display().to_string();
    assert!(!own.contains(&ours) && !own.contains("ours") && own.ends_with("\n2048\n"), "{own}");
    assert!(shared.starts_with(&format!("{ours}\nours\n")), "{shared}");
}
