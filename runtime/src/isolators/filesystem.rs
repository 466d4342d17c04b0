//! What the command sees mounted: Mesos' rootfs preparation, each mount and path said explicitly.
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::Mount;

use super::{Draft, Request, lies_in};
use crate::ending::{Failure, FailureKind, Stage};
use crate::spec::ContainerSpec;

/// Hidden: an empty read-only folder or `/dev/null` lies over each that exists.
/// Mesos' list and the later additions of the container engines.
pub(crate) const MASKED: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/key-users",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Read-only binds of themselves.
pub(crate) const READONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The filesystems of every container: where, type, options. `/dev` comes empty, so that nothing an
/// image (or the host) has there is seen; libcontainer makes the usual nodes and links in it.
const MOUNTS: [(&str, &str, &[&str]); 6] = [
    ("/proc", "proc", &["nosuid", "noexec", "nodev"]),
    ("/dev", "tmpfs", &["nosuid", "noexec", "strictatime", "mode=755", "size=65536k"]),
    ("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
    ("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    ("/sys/fs/cgroup", "cgroup2", &["nosuid", "noexec", "nodev", "ro"]),
];

/// The group of terminals, as every distribution has it.
const TTY_GROUP: u32 = 5;

/// Mount points that must be real folders of the image before anything is mounted or linked there.
pub(crate) const GUARDED: [&str; 3] = ["dev", "proc", "sys"];

pub(crate) fn prepare(request: &Request<'_>, draft: &mut Draft) -> Result<(), Failure> {
    for (target, kind, options) in MOUNTS {
        let options: Vec<String> = options.iter().map(ToString::to_string).collect();
        match target {
            // The builder has mounted the host's there: a new one takes a network of its own.
            "/sys" if is_borrowed_sys(request.spec) => {}
            "/dev/pts" => {
                draft.mounts.push(mount(target, kind, kind, without_foreign_group(request.spec, options)));
                draft.mounts.push(shm(request.spec));
            }
            _ => draft.mounts.push(mount(target, kind, kind, options)),
        }
    }
    draft.masked.extend(MASKED.map(str::to_owned));
    draft.readonly.extend(READONLY.map(str::to_owned));
    if !request.spec.rootfs.is_image() && !sandbox_in(request, request.runtime_dir) {
        draft.masked.push(request.runtime_dir.display().to_string());
    }
    Ok(())
}

/// Whether `/sys` is the host's, read-only: in a user namespace sysfs can be mounted anew only for a network that
/// belongs to it.
pub(crate) fn is_borrowed_sys(spec: &ContainerSpec) -> bool {
    spec.user_namespace.is_some() && !spec.isolation.net
}

/// The terminals' group may not exist in a small user namespace.
fn without_foreign_group(spec: &ContainerSpec, mut options: Vec<String>) -> Vec<String> {
    if spec.user_namespace.is_some_and(|ids| ids.on_host(TTY_GROUP).is_none()) {
        options.retain(|option| !option.starts_with("gid="));
    }
    options
}

/// Shared memory belongs to the IPC namespace: its own, or the host's.
fn shm(spec: &ContainerSpec) -> Mount {
    let options =
        |more: &[&str]| ["nosuid", "noexec", "nodev"].iter().chain(more).map(ToString::to_string).collect();
    if spec.isolation.ipc {
        let size = format!("size={}", spec.shm_bytes);
        mount("/dev/shm", "tmpfs", "shm", options(&["mode=1777", &size]))
    } else {
        mount("/dev/shm", "bind", "/dev/shm", options(&["rbind", "rw"]))
    }
}

/// Refuses a place for the sandbox that a filesystem of [`MOUNTS`] would cover, or that is none. Without an image the
/// sandbox is seen where it lies on the host.
pub(crate) fn check_sandbox(spec: &ContainerSpec) -> Result<(), Failure> {
    let Some(sandbox) = spec.sandbox.as_ref().filter(|_| spec.rootfs.is_image()) else { return Ok(()) };
    let target = &sandbox.target;
    let taken = ["/proc", "/sys", "/dev"].iter().any(|taken| lies_in(target, Path::new(taken)));
    let above = target.components().any(|part| part == Component::ParentDir);
    if target.is_absolute() && target.components().count() >= 2 && !taken && !above {
        return Ok(());
    }
    let message = format!(
        "the sandbox can't be mounted at {}: give an absolute path outside of /proc, /sys and /dev, without ..",
        target.display()
    );
    Err(Failure::new(Stage::Prepare, FailureKind::Refused, message))
}

fn sandbox_in(request: &Request<'_>, folder: &Path) -> bool {
    request.spec.sandbox.as_ref().is_some_and(|sandbox| lies_in(&sandbox.source, folder))
        || lies_in(&request.spec.cwd, folder)
}

fn mount(target: &str, kind: &str, source: &str, options: Vec<String>) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(PathBuf::from(target))
        .set_typ(Some(kind.to_owned()))
        .set_source(Some(PathBuf::from(source)))
        .set_options(Some(options));
    mount
}
