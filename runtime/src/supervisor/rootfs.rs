//! The root filesystem, mounted where only the keeper sees it.
//!
//! Everything lies in a small tmpfs on the container's `mnt` folder, in a private mount namespace:
//! `rootfs/` (the mount point), `bundle/` and `oci/` (libcontainer's own files), and for a user namespace `layers/`.
//! When the keeper leaves that namespace, all of it is gone from the host, however the keeper ends.
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

use super::userns::Users;
use crate::ending::{Failure, FailureKind, Stage};
use crate::kernel::{Mounts, Overlay};
use crate::spec::Rootfs;

/// Where libcontainer looks for cgroups, and in the builder finds none: they are the keeper's business.
const CGROUPS: &str = "/sys/fs/cgroup";

/// The folders in the tmpfs.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub rootfs: PathBuf,
    pub bundle: PathBuf,
    pub state: PathBuf,
    /// Layers whose owners are mapped.
    pub layers: PathBuf,
}

impl Place {
    pub(crate) fn new(mount: &Path) -> Self {
        let [rootfs, bundle, state, layers] =
            ["rootfs", "bundle", "oci", "layers"].map(|name| mount.join(name));
        Self { rootfs, bundle, state, layers }
    }
}

/// What a root filesystem is put together of.
pub(crate) struct Assembly<'a> {
    pub mounts: &'a dyn Mounts,
    /// The folder on which a tmpfs with everything else is mounted.
    pub mount: &'a Path,
    /// The container's user namespace, when it has one of its own.
    pub users: Option<&'a Users>,
    /// Makes what is missing in a root filesystem, before its owners are mapped: afterwards nobody on the host could.
    pub furnish: &'a dyn Fn(BorrowedFd<'_>) -> Result<(), Failure>,
}

impl Assembly<'_> {
    /// Where everything is put. A user namespace's root has to get there by path, and may be nobody on the way to
    /// the runtime folder; the place of the cgroups is on everybody's way, and has our tmpfs already.
    pub(crate) fn place(&self) -> Place {
        Place::new(if self.users.is_some() { Path::new(CGROUPS) } else { self.mount })
    }

    /// Enters the private namespace and mounts everything below the mount point. The answer is the root of the
    /// mounted root filesystem.
    pub(crate) fn mount(&self, rootfs: &Rootfs) -> Result<OwnedFd, Failure> {
        let mounts = self.mounts;
        let failed = |what: &str, error: io::Error| {
            Failure::host(Stage::Rootfs, format_args!("can't {what} ({})", self.mount.display()), &error)
        };
        check_folders(rootfs)?;
        mounts.enter_private_namespace().map_err(|error| failed("make a private mount namespace", error))?;
        // Before anything is copied: libcontainer finds cgroups by the mount table, and would kill what it finds there.
        mounts.hide_tree(Path::new(CGROUPS)).map_err(|error| failed("hide the host's cgroups", error))?;
        // Copied before the tmpfs is there, so that the copy doesn't hold it.
        let copy = match rootfs {
            Rootfs::Overlay { .. } => None,
            Rootfs::Directory(path) => Some(self.directory(path)?),
            Rootfs::Host => Some(copy(mounts, Path::new("/"))?),
        };
        if self.users.is_none() {
            let tmpfs = mounts.tmpfs(0o700).map_err(|error| failed("make a tmpfs", error))?;
            attach(mounts, &tmpfs, self.mount).map_err(|error| failed("mount a tmpfs", error))?;
        }
        let place = self.place();
        for folder in [&place.rootfs, &place.bundle, &place.state] {
            fs::create_dir_all(folder).map_err(|error| failed("make folders", error))?;
        }
        let tree = match (rootfs, copy) {
            (Rootfs::Overlay { lower, upper, work }, _) => self.overlay(lower, upper, work)?,
            (_, Some(copy)) => copy,
            (_, None) => unreachable!("only an overlay is not copied before"),
        };
        attach(mounts, &tree, &place.rootfs).map_err(|error| failed("attach the root filesystem", error))?;
        open_folder(&place.rootfs).map_err(|error| failed("open the root filesystem", error))
    }

    fn directory(&self, path: &Path) -> Result<OwnedFd, Failure> {
        let tree = copy(self.mounts, path)?;
        let what = format_args!("can't forbid devices in {}", path.display());
        let forbidden = self.mounts.without_devices(tree.as_fd());
        forbidden.map_err(|error| Failure::host(Stage::Rootfs, what, &error))?;
        if let Some(users) = self.users {
            (self.furnish)(tree.as_fd())?;
            users.map(self.mounts, tree.as_fd(), path)?;
        }
        Ok(tree)
    }

    fn overlay(&self, lower: &[PathBuf], upper: &Path, work: &Path) -> Result<OwnedFd, Failure> {
        let mapped;
        let lower = match self.users {
            None => lower,
            Some(users) => {
                users.own(upper)?;
                mapped = self.mapped_layers(lower, users)?;
                &mapped
            }
        };
        let place = self.place();
        let layers = Overlay { lower, upper, work, scratch: &place.rootfs };
        self.mounts.overlay(&layers).map_err(|error| overlay_failed(upper, &error))
    }

    /// Mounts of the layers that show their files' owners as the container has them.
    fn mapped_layers(&self, lower: &[PathBuf], users: &Users) -> Result<Vec<PathBuf>, Failure> {
        let top = self.place().layers;
        let one = |(number, layer): (usize, &PathBuf)| {
            let at = top.join(number.to_string());
            let what = format_args!("can't mount the layer {}", layer.display());
            let failed = |error: io::Error| Failure::host(Stage::Rootfs, what, &error);
            fs::create_dir_all(&at).map_err(failed)?;
            let mount = self.mounts.clone_mount(layer).map_err(failed)?;
            users.map(self.mounts, mount.as_fd(), layer)?;
            attach(self.mounts, &mount, &at).map_err(failed)?;
            Ok(at)
        };
        lower.iter().enumerate().map(one).collect()
    }
}

fn copy(mounts: &dyn Mounts, path: &Path) -> Result<OwnedFd, Failure> {
    let what = format_args!("can't bind the root filesystem {}", path.display());
    mounts.clone_tree(path).map_err(|error| Failure::host(Stage::Rootfs, what, &error))
}

fn attach(mounts: &dyn Mounts, mount: &OwnedFd, target: &Path) -> io::Result<()> {
    let target = open_folder(target)?;
    mounts.attach(mount.as_fd(), target.as_fd())
}

fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    Ok(openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// The kernel's own error does not tell which of the folders it means.
fn check_folders(rootfs: &Rootfs) -> Result<(), Failure> {
    let folders: Vec<&PathBuf> = match rootfs {
        Rootfs::Overlay { lower, .. } if lower.is_empty() => {
            let message = "the overlay has no lower layer; give at least one";
            return Err(Failure::new(Stage::Rootfs, FailureKind::Refused, message));
        }
        Rootfs::Overlay { lower, upper, work } => lower.iter().chain([upper, work]).collect(),
        Rootfs::Directory(path) => vec![path],
        Rootfs::Host => Vec::new(),
    };
    for folder in folders {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if let Err(errno) = openat2(CWD, folder, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS) {
            let what = format_args!("can't open the folder {} of the root filesystem", folder.display());
            return Err(Failure::host(Stage::Rootfs, what, &io::Error::from(errno)));
        }
    }
    Ok(())
}

fn overlay_failed(upper: &Path, error: &io::Error) -> Failure {
    let hint = match error.raw_os_error() {
        Some(libc::EINVAL) => {
            " (upper and work must lie on one filesystem that overlayfs can write to; is it itself an overlay?)"
        }
        Some(libc::ENODEV) => " (this kernel has no overlayfs; load the module `overlay`)",
        Some(libc::ENOSPC) => " (the disk is full)",
        _ => "",
    };
    Failure::host(Stage::Rootfs, format_args!("can't mount an overlay on {}{hint}", upper.display()), error)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::kernel::recording::Recording;

    fn overlay(dir: &Path) -> Rootfs {
        let make = |name: &str| {
            fs::create_dir_all(dir.join(name)).unwrap();
            dir.join(name)
        };
        Rootfs::Overlay { lower: vec![make("l2"), make("l1")], upper: make("u"), work: make("w") }
    }

    fn mount(kernel: &Recording, rootfs: &Rootfs, at: &Path) -> Result<OwnedFd, Failure> {
        Assembly { mounts: kernel, mount: at, users: None, furnish: &|_| Ok(()) }.mount(rootfs)
    }

    fn steps(kernel: &Recording, dir: &Path) -> String {
        kernel.steps.borrow().join("\n").replace(&dir.display().to_string(), "DIR")
    }

    #[test]
    fn an_overlay_is_mounted_in_this_order() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("mnt")).unwrap();
        let kernel = Recording::default();
        mount(&kernel, &overlay(dir.path()), &dir.path().join("mnt")).unwrap();
        expect![[r#"
            private namespace
            hide /sys/fs/cgroup
            tmpfs 700
            attach
            overlay DIR/l2:DIR/l1 + DIR/u
            attach"#]]
        .assert_eq(&steps(&kernel, dir.path()));
    }

    #[test]
    fn a_failure_at_any_step_stops_there_and_says_so() {
        for step in 1.. {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join("mnt")).unwrap();
            let kernel = Recording::failing_at(step);
            let result = mount(&kernel, &overlay(dir.path()), &dir.path().join("mnt"));
            let made = kernel.steps.borrow().len();
            if made < step {
                assert!(result.is_ok() && step > 4);
                break;
            }
            let failure = result.unwrap_err();
            assert_eq!((made, failure.stage), (step, Stage::Rootfs));
            assert!(failure.message.contains("Operation not permitted"), "{failure}");
        }
    }

    #[test]
    fn a_missing_layer_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let rootfs = overlay(dir.path());
        fs::remove_dir(dir.path().join("l1")).unwrap();
        let kernel = Recording::default();
        let failure = mount(&kernel, &rootfs, dir.path()).unwrap_err();
        assert!(failure.message.contains("/l1"), "{failure}");
        assert!(kernel.steps.borrow().is_empty());
    }
}
