//! What the command sees mounted: Mesos' rootfs preparation, each mount and path said explicitly.
use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount;

use super::{Draft, Request, lies_in};
use crate::ending::{Failure, FailureKind, Stage};

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

/// Mount points that must be real folders of the image before anything is mounted or linked there.
pub(crate) const GUARDED: [&str; 3] = ["dev", "proc", "sys"];

pub(crate) fn prepare(request: &Request<'_>, draft: &mut Draft) -> Result<(), Failure> {
    for (target, kind, options) in MOUNTS {
        draft.mounts.push(mount(target, kind, kind, options.iter().map(ToString::to_string).collect()));
        if target == "/dev/pts" {
            draft.mounts.push(shm(request.spec.shm_bytes));
        }
    }
    if let Some(sandbox) = sandbox(request)? {
        draft.mounts.push(sandbox);
    }
    draft.masked.extend(MASKED.map(str::to_owned));
    draft.readonly.extend(READONLY.map(str::to_owned));
    if !request.spec.rootfs.is_image() && !sandbox_in(request, request.runtime_dir) {
        draft.masked.push(request.runtime_dir.display().to_string());
    }
    Ok(())
}

fn shm(bytes: u64) -> Mount {
    let options = ["nosuid", "noexec", "nodev", "mode=1777"].map(str::to_owned);
    let size = format!("size={bytes}");
    mount("/dev/shm", "tmpfs", "shm", options.into_iter().chain([size]).collect())
}

/// Without an image the sandbox is seen where it lies on the host.
fn sandbox(request: &Request<'_>) -> Result<Option<Mount>, Failure> {
    let Some(sandbox) = request.spec.sandbox.as_ref().filter(|_| request.spec.rootfs.is_image()) else {
        return Ok(None);
    };
    let target = &sandbox.target;
    let taken = ["/proc", "/sys", "/dev"].iter().any(|taken| lies_in(target, Path::new(taken)));
    if !target.is_absolute() || target.components().count() < 2 || taken {
        let message = format!(
            "the sandbox can't be mounted at {}: give an absolute path outside of /proc, /sys and /dev",
            target.display()
        );
        return Err(Failure::new(Stage::Prepare, FailureKind::Refused, message));
    }
    let options = ["rbind", "rw", "nosuid", "nodev"].map(str::to_owned).to_vec();
    let mut mount = mount(&target.to_string_lossy(), "bind", "sandbox", options);
    mount.set_source(Some(sandbox.source.clone()));
    Ok(Some(mount))
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
