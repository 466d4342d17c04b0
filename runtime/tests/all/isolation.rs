//! What a command can see and do (threats K2, K3, K7, K11, K12, K14, K18, K20, K21, K23).
use std::fs;
use std::os::unix::fs::PermissionsExt;

use runtime::{Exit, FailureKind, Rootfs};

use crate::world::{PROBE, eventually, world};

#[test]
fn k11_privileges_are_bounded_for_root_and_others() {
    let Some(world) = world("k11_privileges_are_bounded_for_root_and_others") else { return };
    let script = "grep -hE '^(Cap|NoNew|Seccomp:|Sig(Blk|Ign))' /proc/1/status /proc/self/status; id";
    let text = world.output("root", script);
    let bounded = "CapInh:\t0000000000000000\nCapPrm:\t00000000a00405fb\nCapEff:\t00000000a00405fb\nCapBnd:\t00000000a00405fb\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n";
    assert_eq!(text.matches(bounded).count(), 2, "{text}");
    assert!(text.ends_with("uid=0(root) gid=0(root) groups=0(root)\n"), "{text}");
    assert!(text.contains("SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nCapInh"), "{text}");

    let mut spec = world.script("web", "grep -E '^Cap(Prm|Eff|Inh|Amb)' /proc/self/status; id; env | grep HOME; touch /mnt/mesos/sandbox/mine");
    spec.user = Some("web".into());
    assert_eq!(world.run(&spec).status, Exit::Code(0), "{}", world.stderr("web"));
    let text = world.stdout("web");
    assert_eq!(text.matches("\t0000000000000000\n").count(), 4, "{text}");
    assert!(text.contains("uid=33(web) gid=34(www) groups=34(www),77(extra)"), "{text}");
    assert!(text.contains("HOME=/var/www"));
}

#[test]
fn a_setuid_file_gives_nothing() {
    let Some(world) = world("a_setuid_file_gives_nothing") else { return };
    let copy = world.path("busybox/bin/suid");
    fs::copy("/bin/busybox", &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o4755)).unwrap();
    let mut spec = world.spec("suid", &["busybox", "grep", "^Uid", "/proc/self/status"]);
    spec.program = Some("/bin/suid".into());
    spec.user = Some("33:34".into());
    assert_eq!(world.run(&spec).status, Exit::Code(0), "{}", world.stderr("suid"));
    assert_eq!(world.stdout("suid"), "Uid:\t33\t33\t33\t33\n");
}

#[test]
fn namespaces_are_of_its_own_and_the_host_name_too() {
    let Some(world) = world("namespaces_are_of_its_own_and_the_host_name_too") else { return };
    let mut spec = world.script("ns", "for n in mnt pid ipc uts cgroup net; do readlink /proc/self/ns/$n; done; hostname; cat /proc/self/cgroup");
    spec.hostname = Some("box".into());
    world.run(&spec);
    let text = world.stdout("ns");
    let lines: Vec<&str> = text.lines().collect();
    for (line, name) in lines.iter().zip(["mnt", "pid", "ipc", "uts", "cgroup"]) {
        let ours = fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert!(line.starts_with(name) && **line != *ours.to_str().unwrap(), "{text}");
    }
    assert_eq!(lines[5], fs::read_link("/proc/self/ns/net").unwrap().to_str().unwrap());
    assert_eq!(lines[6], "box");
    // In its own view it is at the root of each tree.
    assert!(lines[7..].iter().all(|line| line.ends_with(":/") || line.contains("name=")), "{text}");
}

#[test]
fn k07_masked_and_read_only_paths() {
    let Some(world) = world("k07_masked_and_read_only_paths") else { return };
    let script = "for p in acpi asound kcore keys key-users latency_stats timer_list timer_stats sched_debug scsi interrupts; do
            [ -e /proc/$p ] && { [ -d /proc/$p ] && ls -A /proc/$p || cat /proc/$p; }; done
        ls -A /sys/firmware; ls -A /sys/devices/virtual/powercap 2>/dev/null
        for p in /proc/sys/kernel/hostname /proc/sysrq-trigger /proc/irq/default_smp_affinity /sys/kernel/mm/ksm/run; do
            [ -e $p ] && echo x 2>/dev/null > $p && echo \"wrote $p\"; done
        for p in /proc/bus /proc/fs /proc/irq /proc/sys /sys /sys/fs/cgroup; do mkdir $p/x 2>/dev/null && echo \"made $p/x\"; done
        [ -e /dev/console ] && echo console; true";
    assert_eq!(world.output("masks", script), "");
}

#[test]
fn k12_cgroups_can_not_be_changed_from_inside() {
    let Some(world) = world("k12_cgroups_can_not_be_changed_from_inside") else { return };
    let script = "cd /sys/fs/cgroup; for f in cgroup.procs cgroup.subtree_control ../cgroup.procs memory.max; do
            echo 1 2>/dev/null > $f && echo \"wrote $f\"; done
        mkdir x 2>/dev/null && echo made
        mkdir /tmp/c; for t in cgroup cgroup2; do mount -t $t -o memory none /tmp/c 2>/dev/null && echo mounted;
            mount -t $t none /tmp/c 2>/dev/null && echo mounted; done
        mount -o remount,rw /sys/fs/cgroup 2>/dev/null && echo remounted
        echo /bin/sh 2>/dev/null > /sys/fs/cgroup/release_agent && echo agent
        unshare -m true 2>/dev/null && echo unshared; unshare -U true 2>/dev/null && echo user; true";
    assert_eq!(world.output("cgroups", script), "");
}

#[test]
fn k18_devices_are_denied_but_for_the_usual_ones() {
    let Some(world) = world("k18_devices_are_denied_but_for_the_usual_ones") else { return };
    let script = "mknod /tmp/sda b 254 0 2>/dev/null && echo made; ls -A /dev | grep -vE '^(core|fd|full|kcore|mqueue|null|ptmx|pts|random|shm|stderr|stdin|stdout|tty|urandom|zero)$';
        head -c 1 /dev/zero | wc -c; head -c 1 /dev/urandom | wc -c; : > /dev/full; echo x > /dev/null";
    assert_eq!(world.output("devices", script), "1\n1\n");
    // Even with the capability to make one, none can be opened; and not after the caller died either.
    let mut spec = world.script(
        "mknod",
        "mknod /tmp/sda b 254 0 && head -c 1 /tmp/sda; mknod /tmp/mem c 1 1; head -c1 /tmp/mem",
    );
    spec.capabilities.insert("CAP_MKNOD".parse().unwrap());
    assert_ne!(world.run(&spec).status, Exit::Code(0));
    assert_eq!(world.stdout("mknod"), "");
    let text = world.stderr("mknod");
    assert!(text.contains("Operation not permitted") || text.contains("Permission denied"), "{text}");
}

#[test]
fn k03_descriptors_of_the_caller_and_keeper_stay_out() {
    let Some(world) = world("k03_descriptors_of_the_caller_and_keeper_stay_out") else { return };
    let leaked = fs::File::open("/").unwrap();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    // The folder's own descriptor is the fourth that ls sees.
    let text = world.output("fds", "ls /proc/self/fd; ls /proc/1/fd 2>/dev/null | wc -l");
    assert!(text.starts_with("0\n1\n2\n3\n"), "{text}");
    assert_eq!(text.lines().count(), 5, "{text}");
    for number in 3..=40 {
        for process in ["self", "1"] {
            let mut spec = world.spec(&format!("cwd-{process}-{number}"), &["pwd"]);
            // Through a link, so that only the kernel sees where it leads.
            let layer = world.path(&format!("cwd-layer-{process}-{number}"));
            fs::create_dir(&layer).unwrap();
            std::os::unix::fs::symlink(format!("/proc/{process}/fd/{number}"), layer.join("way")).unwrap();
            let Rootfs::Overlay { lower, .. } = &mut spec.rootfs else { unreachable!() };
            lower.insert(0, layer);
            spec.cwd = "/way".into();
            assert_eq!(world.refused(&spec).kind, FailureKind::WorkingDirectory);
        }
    }
    drop(leaked);
}

#[test]
fn k02_our_programs_can_not_be_overwritten_from_inside() {
    let Some(world) = world("k02_our_programs_can_not_be_overwritten_from_inside") else { return };
    let before = fs::read(PROBE).unwrap();
    let script = "i=0; while [ $i -lt 200 ]; do i=$((i+1)); for p in /proc/*/exe; do
            case $(readlink $p) in /bin/busybox) ;; *) (echo broken > $p) 2>/dev/null && echo wrote; esac; done; done; true";
    assert_eq!(world.output("overwrite", script), "");
    let shebang = world.path("busybox/bin/self");
    fs::write(&shebang, "#!/proc/self/exe\n").unwrap();
    fs::set_permissions(&shebang, fs::Permissions::from_mode(0o755)).unwrap();
    if let Ok(mut keeper) = world.runtime.launch(&world.spec("self", &["self"])) {
        let _ = keeper.wait_exit();
        let id = keeper.id().clone();
        world.bury(keeper, &id);
    }
    assert_eq!(before, fs::read(PROBE).unwrap());
    // And the keeper itself runs from a mount that can't be written through.
    let keeper = world.start(&world.spec("held", &["sleep", "100"]));
    let mut probe =
        runtime::KeeperHandle::new(keeper.id().clone(), world.runtime.connect(keeper.id()).unwrap());
    let runtime::protocol::Report::Hello { keeper_pid, .. } = probe.report().unwrap() else {
        panic!("no greeting")
    };
    let opened = fs::OpenOptions::new().write(true).open(format!("/proc/{keeper_pid}/exe"));
    let code = opened.expect_err("it must not be writable").raw_os_error().unwrap();
    assert!([libc::EROFS, libc::ETXTBSY, libc::EACCES].contains(&code), "{code}");
    world.kill(keeper, Some(0));
}

#[test]
fn pipes_break_as_they_should() {
    let Some(world) = world("pipes_break_as_they_should") else { return };
    assert_eq!(world.output("pipe", "yes | head -n 1"), "y\n");
}

#[test]
fn k20_the_socket_is_for_root_outside_of_containers_only() {
    let Some(world) = world("k20_the_socket_is_for_root_outside_of_containers_only") else { return };
    let keeper = world.start(&world.spec("socket", &["sleep", "100"]));
    let folder = world.config.runtime_dir.join("containers/socket");
    for (path, mode) in [
        (world.config.runtime_dir.clone(), 0o700),
        (folder.clone(), 0o700),
        (folder.join("keeper.sock"), 0o600),
        (folder.join("keeper.log"), 0o600),
    ] {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode, "{}", path.display());
    }
    let sockets = fs::read_to_string("/proc/net/unix").unwrap();
    assert!(
        !sockets
            .lines()
            .any(|line| line.contains('@') && (line.contains("tepui") || line.contains("keeper")))
    );
    world.kill(keeper, Some(0));
}

#[test]
fn a_container_starts_while_hundreds_of_descriptors_are_open() {
    let Some(world) = world("a_container_starts_while_hundreds_of_descriptors_are_open") else { return };
    let held: Vec<fs::File> = (0..300).map(|_| fs::File::open("/dev/null").unwrap()).collect();
    for file in &held {
        rustix::io::fcntl_setfd(file, rustix::io::FdFlags::empty()).unwrap();
    }
    let text = world.output("many", "ls /proc/self/fd | wc -l");
    assert_eq!(text, "4\n");
}

#[test]
fn a_read_only_root_filesystem_and_open_files_limit() {
    let Some(world) = world("a_read_only_root_filesystem_and_open_files_limit") else { return };
    let mut spec =
        world.script("ro", "touch /x 2>/dev/null && echo made; touch /mnt/mesos/sandbox/y && ulimit -n");
    spec.read_only_rootfs = true;
    world.run(&spec);
    assert_eq!(world.stdout("ro"), "1024\n");
    eventually("the sandbox was written", || world.sandbox("ro").join("y").exists());
}
