//! What a container can see and reach.

use std::fs;

use integration::images::{Layer, busybox};
use integration::{Cluster, Registry, needs, task};
use serde_json::json;

/// A cluster, and an image that has busybox.
fn ready() -> (Cluster, Registry, String) {
    let registry = Registry::start();
    let image = registry.push("busybox", &busybox()).name;
    (Cluster::start(), registry, image)
}

#[test]
fn namespaces_are_its_own() {
    needs!("docker-registry", "skopeo");
    let (cluster, _registry, image) = ready();
    let names = ["mnt", "pid", "ipc", "uts", "cgroup", "net", "user"];
    let script = format!("for n in {}; do readlink /proc/self/ns/$n; done", names.join(" "));
    for image in [Some(&image), None] {
        let image: Vec<String> = image.map(|image| format!("--image={image}")).into_iter().collect();
        let mut words: Vec<&str> = image.iter().map(String::as_str).collect();
        words.extend(["--quiet", "--", "sh", "-c", &script]);
        let said = cluster.run(&words).expect(0).stdout;
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines.len(), names.len());
        for (name, line) in names.iter().zip(lines) {
            let host = fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
            let own = !["net", "user"].contains(name);
            assert_eq!(line != host.to_str().unwrap(), own, "{name}: {line}");
        }
    }
}

#[test]
fn process_1_is_an_init_and_no_process_of_the_host_is_seen() {
    needs!("docker-registry", "skopeo");
    let (cluster, _registry, image) = ready();
    // Orphans become children of process 1, which reaps them.
    let script = "sh -c 'sleep 0.1 & echo $! > orphan'; read o < orphan; while [ -e /proc/$o ]; do sleep 0.05; done; \
                  echo $$; for p in /proc/[0-9]*; do echo ${p#/proc/}; done | sort -n; \
                  grep PPid /proc/self/status; tr '\\000' ' ' < /proc/1/cmdline; echo; readlink /proc/1/exe; cat /proc/1/exe 2>/dev/null | wc -c";
    let said = cluster.inside(&image, script);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((lines[0], lines[1], lines[2]), ("2", "1", "2"), "{said}");
    assert!(lines.iter().filter(|line| line.parse::<u32>().is_ok()).count() <= 6, "{said}");
    // It is no program of the image nor the agent's, and can't be read.
    assert!(said.contains("\ntepui-init ") && said.ends_with("\n0\n"), "{said}");
}

#[test]
fn privileges_are_bounded() {
    needs!("docker-registry", "skopeo");
    let (cluster, _registry, image) = ready();
    let said =
        cluster.run(&["--image", &image, "--quiet", "--", "cat", "/proc/self/status"]).expect(0).stdout;
    for line in [
        "SigBlk:\t0000000000000000",
        "SigIgn:\t0000000000000000",
        "CapInh:\t0000000000000000",
        "CapPrm:\t00000000a00405fb",
        "CapEff:\t00000000a00405fb",
        "CapBnd:\t00000000a00405fb",
        "CapAmb:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
    ] {
        assert!(said.lines().any(|found| found == line), "{line}\n{said}");
    }
    let user = cluster
        .run(&["--image", &image, "--user=web", "--quiet", "--", "cat", "/proc/self/status"])
        .expect(0)
        .stdout;
    for name in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
        assert!(user.contains(&format!("{name}:\t0000000000000000")), "{user}");
    }
    // What the profile denies fails, and the container goes on.
    let script = "mount -t tmpfs x /tmp 2>/dev/null && echo mounted; unshare -U true 2>/dev/null && echo user; \
                  unshare -m true 2>/dev/null && echo mnt; hostname other 2>/dev/null && echo named; \
                  swapoff /x 2>&1 | grep -v 'not permitted\\|No such'; dmesg 2>/dev/null | head -n 1; \
                  date -s 2000-01-01 2>&1 >/dev/null | grep -v 'not permitted'; echo on";
    assert_eq!(cluster.inside(&image, script), "on\n");
}

#[test]
fn setuid_files_of_an_image_give_nothing() {
    needs!("docker-registry", "skopeo");
    let registry = Registry::start();
    let program = fs::read("/bin/busybox").unwrap();
    let image = busybox().layer(Layer::new().owned("bin/rootsh", 0o6755, 0, program));
    let image = registry.push("suid", &image).name;
    let cluster = Cluster::start();
    let words = [
        "--image",
        &image,
        "--user=web",
        "--quiet",
        "--command",
        "exec -a grep /bin/rootsh Uid: /proc/self/status",
    ];
    let said = cluster.run(&words).expect(0).stdout;
    assert_eq!(said, "Uid:\t33\t33\t33\t33\n");
}

#[test]
fn masked_paths_are_empty_and_the_kernels_settings_read_only() {
    needs!("docker-registry", "skopeo");
    let (cluster, _registry, image) = ready();
    let script = "for p in acpi asound kcore keys key-users latency_stats timer_list timer_stats sched_debug scsi; do
            [ -e /proc/$p ] && { [ -d /proc/$p ] && ls -A /proc/$p || cat /proc/$p; }; done
        ls -A /sys/firmware 2>/dev/null
        for p in /proc/sys/kernel/hostname /proc/sys/vm/drop_caches /proc/sysrq-trigger /sys/kernel/mm/ksm/run; do
            [ -e $p ] && (echo 1 > $p) 2>/dev/null && echo \"wrote $p\"; done
        for p in /proc/bus /proc/fs /proc/irq /proc/sys /sys /sys/fs/cgroup; do
            mkdir $p/x 2>/dev/null && echo \"made $p/x\"; done
        mount -o remount,rw /proc/sys 2>/dev/null && echo remounted; true";
    assert_eq!(cluster.inside(&image, script), "");
}

#[test]
fn only_the_three_descriptors_and_the_usual_devices_are_there() {
    needs!("docker-registry", "skopeo");
    let (cluster, _registry, image) = ready();
    // The fourth is the folder that ls reads.
    let said = cluster.run(&["--image", &image, "--quiet", "--", "ls", "/proc/self/fd"]).expect(0).stdout;
    assert_eq!(said, "0\n1\n2\n3\n");
    let script = "readlink /proc/self/fd/0; ls /dev; head -c 2 /dev/zero | wc -c; head -c 3 /dev/urandom | wc -c; \
                  echo x > /dev/null; (echo x > /dev/full) 2>/dev/null || echo full; [ -c /dev/console ] && echo console; \
                  mknod /tmp/disk b 8 0 2>/dev/null && echo made; mknod /tmp/mem c 1 1 2>/dev/null && echo made; \
                  stat -c %a /dev/shm; touch /dev/shm/x && echo shared";
    let said = cluster.inside(&image, script);
    // Only a kernel that has /proc/kcore gets a link to it.
    let said = said.replace("\ncore\n", "\n");
    let devices = "/dev/null\nfd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n";
    assert_eq!(said, format!("{devices}2\n3\nfull\n1777\nshared\n"));
}

#[test]
fn a_container_has_the_host_name_it_is_given() {
    needs!("docker-registry", "skopeo");
    let (cluster, _registry, image) = ready();
    let mut scheduler = cluster.scheduler();
    scheduler.start(|offer| {
        let mut task = task::task_in("named", offer, task::shell("hostname; grep -c box /etc/hosts"), &image);
        task["container"]["hostname"] = json!("box");
        task
    });
    let end = scheduler.end_of("named");
    let sandbox = cluster.sandbox(scheduler.id(), "named");
    let said = fs::read_to_string(sandbox.join("stdout")).unwrap();
    assert!(said.starts_with("box\n"), "{said} {end}");
    assert_ne!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), "box\n");
}

#[test]
fn cgroups_can_not_be_changed_from_inside() {
    needs!("docker-registry", "skopeo");
    let (cluster, _registry, image) = ready();
    let script = "find /sys/fs/cgroup -name cgroup.procs -o -name memory.limit_in_bytes -o -name memory.max | while read f; do
            (echo 1 > $f) 2>/dev/null && echo \"wrote $f\"; done
        for d in /sys/fs/cgroup /sys/fs/cgroup/*; do mkdir $d/x 2>/dev/null && echo \"made $d/x\"; done
        mkdir /tmp/c; for t in cgroup cgroup2; do mount -t $t x /tmp/c 2>/dev/null && echo mounted; done
        grep -v ':/$' /proc/self/cgroup | grep -v ':name='; true";
    assert_eq!(cluster.inside(&image, script), "");
}

#[test]
fn containers_do_not_see_each_other() {
    needs!("docker-registry", "skopeo");
    let (cluster, _registry, image) = ready();
    let mut scheduler = cluster.scheduler();
    scheduler.start_last(|offer| {
        task::task_in(
            "one",
            offer,
            task::shell("echo secret > /tmp/mine; touch /dev/shm/mine; sleep 1000"),
            &image,
        )
    });
    scheduler.wait_for("one", "TASK_RUNNING");
    let script = "ls /tmp /dev/shm; ps | grep -c '[s]leep 1000'; ls /mnt/mesos/sandbox; true";
    assert_eq!(cluster.inside(&image, script), "/dev/shm:\n\n/tmp:\n0\nstderr\nstdout\n");
    scheduler.kill("one");
    scheduler.end_of("one");
}
