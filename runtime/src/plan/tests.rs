//! Plans as golden text.
use expect_test::{Expect, expect};

use super::*;
use crate::spec::{ContainerId, Rootfs, SandboxMount};

fn spec() -> ContainerSpec {
    let mut spec = ContainerSpec::new(ContainerId::new("c1").unwrap(), vec!["sh".into()]);
    spec.rootfs = Rootfs::Directory("/srv/rootfs".into());
    spec.sandbox = Some(SandboxMount { source: "/srv/sandbox".into(), target: "/mnt/mesos/sandbox".into() });
    spec.hostname = Some("box".into());
    spec.env = vec![("A".into(), "b".into())];
    spec
}

fn planned(spec: &ContainerSpec) -> Spec {
    let identity = Identity { uid: 33, gid: 34, groups: vec![34, 77], home: "/var/www".into() };
    let ground = Ground {
        rootfs: Path::new("/run/c1/mnt/rootfs"),
        runtime_dir: Path::new("/run/tepui"),
        cgroup: "/mesos/c1".into(),
        identity: &identity,
    };
    oci_spec(spec, &ground).unwrap()
}

/// All but the seccomp profile, which has a golden of its own, and with sets in order.
fn check(spec: &ContainerSpec, want: Expect) {
    let mut value = serde_json::to_value(planned(spec)).unwrap();
    if let Some(profile) = value["linux"].get_mut("seccomp") {
        *profile = "…".into();
    }
    if let Some(sets) = value["process"]["capabilities"].as_object_mut() {
        for set in sets.values_mut().filter_map(serde_json::Value::as_array_mut) {
            set.sort_by_key(ToString::to_string);
        }
    }
    let mounts = value["mounts"].take();
    let mut text = String::new();
    for mount in mounts.as_array().unwrap() {
        text.push_str(&format!("{mount}\n"));
    }
    for part in ["root", "hostname", "process", "linux"] {
        for (name, value) in value[part].as_object().into_iter().flatten() {
            text.push_str(&format!("{part}.{name}: {value}\n"));
        }
    }
    want.assert_eq(&text);
}

#[test]
fn everything_on() {
    check(
        &spec(),
        expect![[r#"
            {"destination":"/proc","options":["nosuid","noexec","nodev"],"source":"proc","type":"proc"}
            {"destination":"/dev","options":["nosuid","noexec","strictatime","mode=755","size=65536k"],"source":"tmpfs","type":"tmpfs"}
            {"destination":"/dev/pts","options":["nosuid","noexec","newinstance","ptmxmode=0666","mode=0620","gid=5"],"source":"devpts","type":"devpts"}
            {"destination":"/dev/shm","options":["nosuid","noexec","nodev","mode=1777","size=67108864"],"source":"shm","type":"tmpfs"}
            {"destination":"/dev/mqueue","options":["nosuid","noexec","nodev"],"source":"mqueue","type":"mqueue"}
            {"destination":"/sys","options":["nosuid","noexec","nodev","ro"],"source":"sysfs","type":"sysfs"}
            {"destination":"/sys/fs/cgroup","options":["nosuid","noexec","nodev","ro"],"source":"cgroup2","type":"cgroup2"}
            root.path: "/run/c1/mnt/rootfs"
            root.readonly: false
            process.args: ["sh"]
            process.capabilities: {"ambient":[],"bounding":["CAP_AUDIT_WRITE","CAP_CHOWN","CAP_DAC_OVERRIDE","CAP_FOWNER","CAP_FSETID","CAP_KILL","CAP_NET_BIND_SERVICE","CAP_SETFCAP","CAP_SETGID","CAP_SETPCAP","CAP_SETUID","CAP_SYS_CHROOT"],"effective":["CAP_AUDIT_WRITE","CAP_CHOWN","CAP_DAC_OVERRIDE","CAP_FOWNER","CAP_FSETID","CAP_KILL","CAP_NET_BIND_SERVICE","CAP_SETFCAP","CAP_SETGID","CAP_SETPCAP","CAP_SETUID","CAP_SYS_CHROOT"],"inheritable":[],"permitted":["CAP_AUDIT_WRITE","CAP_CHOWN","CAP_DAC_OVERRIDE","CAP_FOWNER","CAP_FSETID","CAP_KILL","CAP_NET_BIND_SERVICE","CAP_SETFCAP","CAP_SETGID","CAP_SETPCAP","CAP_SETUID","CAP_SYS_CHROOT"]}
            process.cwd: "/"
            process.env: ["A=b","PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","HOME=/var/www"]
            process.noNewPrivileges: true
            process.terminal: false
            process.user: {"additionalGids":[34,77],"gid":34,"uid":33,"umask":18}
            linux.cgroupsPath: "/mesos/c1"
            linux.maskedPaths: ["/proc/acpi","/proc/asound","/proc/interrupts","/proc/kcore","/proc/keys","/proc/key-users","/proc/latency_stats","/proc/sched_debug","/proc/scsi","/proc/timer_list","/proc/timer_stats","/sys/devices/virtual/powercap","/sys/firmware"]
            linux.namespaces: [{"type":"mount"},{"type":"pid"},{"type":"ipc"},{"type":"uts"},{"type":"cgroup"}]
            linux.readonlyPaths: ["/proc/bus","/proc/fs","/proc/irq","/proc/sys","/proc/sysrq-trigger"]
        "#]],
    );
}

#[test]
fn everything_off() {
    let mut spec = spec();
    spec.isolation = crate::spec::Isolation {
        controllers: [].into(),
        pid: false,
        ipc: false,
        uts: false,
        cgroup: false,
        net: false,
        seccomp: false,
        capabilities: false,
        no_new_privileges: false,
    };
    spec.rootfs = Rootfs::Host;
    check(
        &spec,
        expect![[r#"
            {"destination":"/proc","options":["nosuid","noexec","nodev"],"source":"proc","type":"proc"}
            {"destination":"/dev","options":["nosuid","noexec","strictatime","mode=755","size=65536k"],"source":"tmpfs","type":"tmpfs"}
            {"destination":"/dev/pts","options":["nosuid","noexec","newinstance","ptmxmode=0666","mode=0620","gid=5"],"source":"devpts","type":"devpts"}
            {"destination":"/dev/shm","options":["nosuid","noexec","nodev","rbind","rw"],"source":"/dev/shm","type":"bind"}
            {"destination":"/sys","options":["nosuid","noexec","nodev","ro"],"source":"sysfs","type":"sysfs"}
            root.path: "/run/c1/mnt/rootfs"
            root.readonly: false
            process.args: ["sh"]
            process.capabilities: null
            process.cwd: "/"
            process.env: ["A=b","PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","HOME=/var/www"]
            process.terminal: false
            process.user: {"additionalGids":[34,77],"gid":34,"uid":33,"umask":18}
            linux.cgroupsPath: "/mesos/c1"
            linux.maskedPaths: ["/proc/acpi","/proc/asound","/proc/interrupts","/proc/kcore","/proc/keys","/proc/key-users","/proc/latency_stats","/proc/sched_debug","/proc/scsi","/proc/timer_list","/proc/timer_stats","/sys/devices/virtual/powercap","/sys/firmware","/run/tepui","/sys/fs/cgroup"]
            linux.namespaces: [{"type":"mount"}]
            linux.readonlyPaths: ["/proc/bus","/proc/fs","/proc/irq","/proc/sys","/proc/sysrq-trigger"]
        "#]],
    );
}

#[test]
fn without_no_new_privileges_seccomp_is_loaded_while_still_privileged() {
    let mut spec = spec();
    assert!(planned(&spec).linux().as_ref().unwrap().seccomp().is_none(), "the executor loads it");
    spec.isolation.no_new_privileges = false;
    let oci = planned(&spec);
    assert!(oci.linux().as_ref().unwrap().seccomp().is_some());
    assert_eq!(oci.process().as_ref().unwrap().no_new_privileges(), None);
}

#[test]
fn nothing_is_left_to_anothers_default() {
    let oci = planned(&spec());
    let (process, linux) = (oci.process().as_ref().unwrap(), oci.linux().as_ref().unwrap());
    assert_eq!(process.no_new_privileges(), Some(true));
    assert!(linux.resources().is_none() && linux.devices().is_none() && oci.hooks().is_none());
    assert!(linux.cgroups_path().as_ref().unwrap().is_absolute());
    assert!(process.env().as_ref().unwrap().iter().any(|entry| entry.starts_with("PATH=")));
    assert!(process.env().as_ref().unwrap().contains(&"HOME=/var/www".to_owned()));
    let empty = |set: &Option<_>| set.as_ref().is_some_and(std::collections::HashSet::is_empty);
    let capabilities = process.capabilities().as_ref().unwrap();
    assert!(empty(capabilities.inheritable()) && empty(capabilities.ambient()));
}

/// K15: whatever an image says about itself beyond its command, environment, folder and user has no way in.
#[test]
fn k15_a_plan_knows_no_labels_annotations_or_hooks() {
    let plain = spec();
    let mut value = serde_json::to_value(&plain).unwrap();
    for name in
        ["labels", "annotations", "hooks", "devices", "mounts", "privileged", "sysctl", "cdi", "volumes"]
    {
        value[name] =
            serde_json::json!({ "io.kubernetes.cri-o.userns-mode": "host", "run.oci.handler": "/bin/sh" });
    }
    let dressed: ContainerSpec = serde_json::from_value(value).unwrap();
    assert_eq!(dressed, plain);
    let (one, other) = (planned(&plain), planned(&dressed));
    assert_eq!(one, other);
    assert!(one.annotations().is_none() && one.hooks().is_none());
}
