//! What can go wrong with cgroups, each with what was tried on which file.

use std::io;
use std::path::PathBuf;

use crate::spec::Controller;

/// Why a container's cgroups could not be made, read, emptied or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host has no cgroups mounted.
    #[error("no cgroup hierarchy is mounted at {root}; mount cgroup v2 there: mount -t cgroup2 none {root}", root = root.display())]
    NotMounted {
        /// Where one was looked for.
        root: PathBuf,
    },
    /// The host has v1 hierarchies only.
    #[error(
        "only cgroup v1 is mounted at {root}; tepui needs a cgroup2 tree to track and kill containers: \
         mkdir {root}/unified && mount -t cgroup2 none {root}/unified, or boot with cgroup_no_v1=all",
        root = root.display()
    )]
    OnlyV1 {
        /// Where a cgroup2 tree was looked for.
        root: PathBuf,
    },
    /// A controller is asked for that the host doesn't have.
    #[error(
        "the cgroup controller {name} is not available {place}; leave it out of --isolation or {remedy}",
        name = controller.as_str(),
        place = if *hybrid { "among the mounted v1 hierarchies" } else { "in cgroup.controllers of the v2 root" },
        remedy = if *hybrid { "mount it" } else { "make it available to v2 (boot with cgroup_no_v1=all)" }
    )]
    Missing {
        /// What is missing.
        controller: Controller,
        /// Whether v1 hierarchies were looked at.
        hybrid: bool,
    },
    /// A v2 controller could not be enabled for a cgroup's children.
    #[error(
        "cannot enable the cgroup controller {controller} below {path}{hint}",
        path = path.display(),
        hint = if source.raw_os_error() == Some(libc::EBUSY) {
            ": the cgroup holds processes itself; move them to a child, or choose another --cgroups_root"
        } else {
            ""
        }
    )]
    Enable {
        /// The controller's name.
        controller: String,
        /// The parent.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A container id or cgroups root that can't be used.
    #[error("{name:?} can't be the name of a cgroup here")]
    Name {
        /// The refused name.
        name: String,
    },
    /// The cgroup of an earlier container is still there.
    #[error("the cgroup {} exists already; a container of that name runs or was not cleaned up", path.display())]
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// A cgroup could not be made.
    #[error("cannot create the cgroup {}", path.display())]
    Create {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A cgroup file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A cgroup file could not be written.
    #[error("cannot write {value:?} to {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What was to be written.
        value: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The device filter could not be loaded or attached.
    #[error("cannot restrict devices of the cgroup {} by a BPF program", path.display())]
    Devices {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A notification about a cgroup could not be set up.
    #[error("cannot watch {}", path.display())]
    Watch {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A cgroup could not be removed in time.
    #[error("cannot remove the cgroup {}: it still has processes {processes:?}", path.display())]
    Busy {
        /// Which.
        path: PathBuf,
        /// The processes in it, at most ten.
        processes: Vec<i32>,
        /// What the kernel said last.
        #[source]
        source: io::Error,
    },
}
