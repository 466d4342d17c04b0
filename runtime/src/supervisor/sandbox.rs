//! The sandbox inside the container: mounted by us, on a folder that is found and where needed made below the root
//! filesystem without ever leaving it, whatever the image links where (CVE-2021-30465, CVE-2023-27561). libcontainer
//! would do it by path, after others had a chance to change what the path means.
//!
//! Without an image it is seen where it lies, which is a way that nobody but root passes on the host: else whoever has
//! an account there could start what a task that is root made set-uid (containerd's CVE-2021-41103).
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, fstat, mkdirat, openat2};
use rustix::io::Errno;

use super::userns::Users;
use crate::ending::{Failure, FailureKind, Stage};
use crate::kernel::Mounts;
use crate::spec::SandboxMount;

const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// Of the folder around a sandbox without an image: passed, not listed.
const WAY: u32 = 0o711;
const IN_ROOT: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// Mounts the sandbox below `root`, seen with the ids of `users` where there are any. The answer is its mount.
pub(crate) fn bind(
    mounts: &dyn Mounts,
    root: BorrowedFd<'_>,
    sandbox: &SandboxMount,
    users: Option<&Users>,
) -> Result<OwnedFd, Failure> {
    let failed = |error: io::Error| {
        let what = format_args!("can't mount the sandbox {} in the container", sandbox.source.display());
        Failure::host(Stage::Rootfs, what, &error)
    };
    let target = folder(root, &sandbox.target)?;
    let mount = mounts.clone_tree(&sandbox.source).map_err(failed)?;
    mounts.tame(mount.as_fd()).map_err(failed)?;
    if let Some(users) = users {
        users.map(mounts, mount.as_fd(), &sandbox.source)?;
    }
    mounts.attach(mount.as_fd(), target.as_fd()).map_err(failed)?;
    Ok(mount)
}

/// Shows the sandbox where it lies in `root`, a copy of the host's tree. The folder around it is covered by one that has
/// nothing else in it and lets every user pass, whatever the host's own allows.
pub(crate) fn seclude(
    mounts: &dyn Mounts,
    root: BorrowedFd<'_>,
    sandbox: &SandboxMount,
) -> Result<(), Failure> {
    let source = &sandbox.source;
    let failed = |error: io::Error| {
        let what = format_args!("can't show the sandbox {} to the command", source.display());
        Failure::host(Stage::Rootfs, what, &error)
    };
    let mount = mounts.clone_tree(source).map_err(failed)?;
    mounts.tame(mount.as_fd()).map_err(failed)?;
    if let (Some(around), Some(name)) = (source.parent(), source.file_name()) {
        // The top itself can't be covered.
        if around.parent().is_some() {
            let cover = mounts.tmpfs(WAY).map_err(failed)?;
            mkdirat(&cover, name, Mode::from_raw_mode(0o700)).map_err(|errno| failed(errno.into()))?;
            mounts.restrict(cover.as_fd()).map_err(failed)?;
            mounts.attach(cover.as_fd(), inside(root, around).map_err(failed)?.as_fd()).map_err(failed)?;
        }
    }
    mounts.attach(mount.as_fd(), inside(root, source).map_err(failed)?.as_fd()).map_err(failed)
}

/// A folder that is there, at a path of the host's.
fn inside(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    Ok(openat2(root, path, FOLDER, Mode::empty(), IN_ROOT)?)
}

/// The folder to mount on, made where it is missing.
pub(crate) fn folder(root: BorrowedFd<'_>, target: &Path) -> Result<OwnedFd, Failure> {
    let refused = |why: &str| {
        let message = format!(
            "the sandbox can't be mounted at {}: {why}; rebuild the image, or mount it elsewhere",
            target.display()
        );
        Failure::new(Stage::Rootfs, FailureKind::Refused, message)
    };
    let mut done = PathBuf::from(".");
    let mut at = openat2(root, ".", FOLDER, Mode::empty(), IN_ROOT).map_err(|errno| host(target, errno))?;
    for part in target.components() {
        let name = match part {
            Component::RootDir | Component::CurDir => continue,
            Component::Normal(name) => name,
            Component::ParentDir | Component::Prefix(_) => return Err(refused("the path has a .. in it")),
        };
        done.push(name);
        let open = || openat2(root, &done, FOLDER, Mode::empty(), IN_ROOT);
        at = match open() {
            Err(Errno::NOENT) => match mkdirat(&at, name, Mode::from_raw_mode(0o755)) {
                Ok(()) => open(),
                Err(Errno::EXIST) => return Err(refused("the image has a link to nowhere in its way")),
                Err(errno) => Err(errno),
            },
            other => other,
        }
        .map_err(|errno| match errno {
            Errno::NOTDIR => refused("the image has a file in its way"),
            Errno::LOOP => refused("the image has links in its way that lead in a circle"),
            errno => host(target, errno),
        })?;
    }
    // A link to the top would have the sandbox be the root filesystem, unchecked.
    let (top, here) = (fstat(root), fstat(&at));
    match (top, here) {
        (Ok(top), Ok(here)) if (top.st_dev, top.st_ino) != (here.st_dev, here.st_ino) => Ok(at),
        (Ok(_), Ok(_)) => Err(refused("the image has a link to its root in its way")),
        (Err(errno), _) | (_, Err(errno)) => Err(host(target, errno)),
    }
}

fn host(target: &Path, errno: Errno) -> Failure {
    let what = format_args!("can't make the folder {} in the container", target.display());
    Failure::host(Stage::Rootfs, what, &io::Error::from(errno))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    use super::*;

    fn find(prepare: impl Fn(&Path)) -> (tempfile::TempDir, Result<OwnedFd, Failure>) {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path());
        let found = folder(File::open(dir.path()).unwrap().as_fd(), Path::new("/mnt/mesos/sandbox"));
        (dir, found)
    }

    #[test]
    fn what_is_missing_is_made_and_links_stay_inside() {
        let (dir, found) = find(|_| {});
        found.unwrap();
        assert!(dir.path().join("mnt/mesos/sandbox").is_dir());
        let (dir, found) = find(|root| {
            fs::create_dir_all(root.join("var/data")).unwrap();
            symlink("/var/data", root.join("mnt")).unwrap();
        });
        found.unwrap();
        assert!(dir.path().join("var/data/mesos/sandbox").is_dir());
        let (dir, found) = find(|root| symlink("../../../..", root.join("mnt")).unwrap());
        found.unwrap();
        assert!(dir.path().join("mesos/sandbox").is_dir(), "above the root is the root");
    }

    #[test]
    fn what_could_reach_further_is_refused() {
        let outside = tempfile::tempdir().unwrap();
        let link = |target: &Path, at: &str| {
            let (target, at) = (target.to_owned(), at.to_owned());
            find(move |root| {
                fs::create_dir_all(root.join(&at).parent().unwrap()).unwrap();
                symlink(&target, root.join(&at)).unwrap();
            })
            .1
        };
        for (target, at, word) in [
            (outside.path(), "mnt", "nowhere"),
            (Path::new("/"), "mnt/mesos/sandbox", "its root"),
            (Path::new("../.."), "mnt/mesos/sandbox", "its root"),
            (Path::new("mnt"), "mnt", "circle"),
            (Path::new("/proc/self/root"), "mnt", "nowhere"),
        ] {
            let failure = link(target, at).unwrap_err();
            assert!(failure.message.contains(word), "{failure}");
            assert_eq!(failure.kind, FailureKind::Refused);
        }
        let failure = find(|root| fs::write(root.join("mnt"), "").unwrap()).1.unwrap_err();
        assert!(failure.message.contains("a file"), "{failure}");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
        let dir = tempfile::tempdir().unwrap();
        let top = File::open(dir.path()).unwrap();
        assert!(folder(top.as_fd(), Path::new("/a/../../b")).is_err());
    }
}
