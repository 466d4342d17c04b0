//! The only door to the kernel that needs `unsafe`: narrow traits, the Linux implementation, and a
//! recording fake that can fail at any step.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::spec::IdRange;

pub mod bpf;
pub mod first;
pub(crate) mod linux;
#[cfg(test)]
pub(crate) mod probe;
#[cfg(test)]
pub(crate) mod recording;

/// The folders of an overlay, topmost lower layer first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Overlay<'a> {
    pub lower: &'a [PathBuf],
    pub upper: &'a Path,
    pub work: &'a Path,
    /// An empty folder of the private mount namespace, for kernels that can't mount detached.
    pub scratch: &'a Path,
}

/// What the keeper mounts before libcontainer takes over. A mount is made detached, as a descriptor,
/// and only then attached; so a failure between the two leaves nothing.
pub(crate) trait Mounts {
    /// A private mount namespace whose mounts follow the host's but are never seen there.
    fn enter_private_namespace(&self) -> io::Result<()>;
    /// Replaces the mounts at and below a path by an empty tmpfs.
    fn hide_tree(&self, at: &Path) -> io::Result<()>;
    /// A small tmpfs of this mode.
    fn tmpfs(&self, mode: u32) -> io::Result<OwnedFd>;
    /// An overlay without device nodes.
    fn overlay(&self, layers: &Overlay<'_>) -> io::Result<OwnedFd>;
    /// A copy of the mount at a path.
    fn clone_mount(&self, at: &Path) -> io::Result<OwnedFd>;
    /// A copy of the mount at a path and of all below it.
    fn clone_tree(&self, at: &Path) -> io::Result<OwnedFd>;
    /// Makes a detached mount read-only, without devices and setuid.
    fn restrict(&self, mount: BorrowedFd<'_>) -> io::Result<()>;
    /// Makes the device nodes on a detached mount unusable.
    fn without_devices(&self, mount: BorrowedFd<'_>) -> io::Result<()>;
    /// Takes the device nodes and setuid bits of a detached mount, and of all below it, away.
    fn tame(&self, mount: BorrowedFd<'_>) -> io::Result<()>;
    /// A user namespace with these ids, that nobody is in.
    fn user_namespace(&self, ids: IdRange) -> io::Result<OwnedFd>;
    /// Has a detached mount, and all below it, show the owners of files as a user namespace maps them.
    fn map_ids(&self, mount: BorrowedFd<'_>, users: BorrowedFd<'_>) -> io::Result<()>;
    /// Attaches a detached mount on what `target` names.
    fn attach(&self, mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()>;
}

/// What ends a container's processes.
pub(crate) trait Processes {
    /// SIGTERM to PID 1 of the container, which passes it on.
    fn terminate(&self) -> io::Result<()>;
    /// SIGKILL to every process of the container at once.
    fn kill_all(&self) -> io::Result<()>;
}
