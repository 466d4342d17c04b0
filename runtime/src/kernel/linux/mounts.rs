//! Mounts through the descriptor-based calls (fsopen, open_tree, mount_setattr, move_mount).
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
    mount, mount_change, move_mount, open_tree, unmount,
};

use crate::kernel::{Mounts, Overlay};
use crate::spec::IdRange;

/// The first Linux whose overlayfs takes layers one by one (`lowerdir+`). An older one would complain in
/// the kernel's log of every attempt.
const LAYER_BY_LAYER: (u32, u32) = (6, 5);

/// The kernel this runs on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linux;

impl Linux {
    /// A detached, read-only mount of one file or folder, made of the mount it lies on.
    pub(crate) fn read_only_clone(self, at: &Path) -> io::Result<OwnedFd> {
        let tree = self.clone_mount(at)?;
        set_attributes(tree.as_fd(), 0, libc::MOUNT_ATTR_RDONLY, None)?;
        Ok(tree)
    }
}

impl Mounts for Linux {
    fn enter_private_namespace(&self) -> io::Result<()> {
        // SAFETY: NEWNS does not touch the descriptor table, the one hazard of unshare.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }?;
        // Slave, not private: what the host unmounts goes away here too instead of staying busy.
        mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
        Ok(())
    }

    fn hide_tree(&self, at: &Path) -> io::Result<()> {
        match unmount(at, UnmountFlags::DETACH) {
            // EINVAL: nothing is mounted there.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(errno) => return Err(errno.into()),
        }
        let target = rustix::fs::open(at, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        self.attach(self.tmpfs(0o711)?.as_fd(), target.as_fd())
    }

    fn tmpfs(&self, mode: u32) -> io::Result<OwnedFd> {
        let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(fs.as_fd(), "mode", format!("{mode:04o}"))?;
        fsconfig_set_string(fs.as_fd(), "size", "4m")?;
        fsconfig_create(fs.as_fd())?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        Ok(fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
    }

    fn overlay(&self, layers: &Overlay<'_>) -> io::Result<OwnedFd> {
        let release = rustix::system::uname();
        if super::kernel_version(&release.release().to_string_lossy()) < LAYER_BY_LAYER {
            return overlay_by_options(layers);
        }
        Ok(overlay_by_parts(layers)?)
    }

    fn clone_mount(&self, at: &Path) -> io::Result<OwnedFd> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        Ok(open_tree(CWD, at, flags)?)
    }

    fn clone_tree(&self, at: &Path) -> io::Result<OwnedFd> {
        let flags =
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
        Ok(open_tree(CWD, at, flags)?)
    }

    fn restrict(&self, mount: BorrowedFd<'_>) -> io::Result<()> {
        let set = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOSUID;
        set_attributes(mount, 0, set, None)
    }

    fn without_devices(&self, mount: BorrowedFd<'_>) -> io::Result<()> {
        set_attributes(mount, libc::AT_RECURSIVE, libc::MOUNT_ATTR_NODEV, None)
    }

    fn tame(&self, mount: BorrowedFd<'_>) -> io::Result<()> {
        let set = libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOSUID;
        set_attributes(mount, libc::AT_RECURSIVE, set, None)
    }

    fn user_namespace(&self, ids: IdRange) -> io::Result<OwnedFd> {
        super::users::namespace(ids)
    }

    fn map_ids(&self, mount: BorrowedFd<'_>, users: BorrowedFd<'_>) -> io::Result<()> {
        set_attributes(mount, libc::AT_RECURSIVE, libc::MOUNT_ATTR_IDMAP, Some(users))
    }

    fn attach(&self, mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        Ok(move_mount(mount, "", target, "", flags)?)
    }
}

fn set_attributes(
    mount: BorrowedFd<'_>,
    flags: libc::c_int,
    set: u64,
    users: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let userns_fd = users.map_or(0, |users| u64::from(users.as_raw_fd().unsigned_abs()));
    let attributes = libc::mount_attr { attr_set: set, attr_clr: 0, propagation: 0, userns_fd };
    let flags = (flags | libc::AT_EMPTY_PATH).unsigned_abs();
    // SAFETY: path and attributes outlive the call, and the size is that of the attributes.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A folder of an overlay as text for the kernel: its path, or, when the path is too long for one
/// option or holds a character that overlayfs would interpret, the descriptor's.
struct Part {
    text: CString,
    _held: Option<OwnedFd>,
}

impl Part {
    fn new(path: &Path, may_be_path: bool) -> rustix::io::Result<Self> {
        let bytes = path.as_os_str().as_bytes();
        let plain = bytes.len() < 256 && !bytes.iter().any(|b| matches!(b, b'\\' | b':' | b','));
        if may_be_path && plain {
            return Ok(Self {
                text: CString::new(bytes).map_err(|_| rustix::io::Errno::INVAL)?,
                _held: None,
            });
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())?;
        let text = CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd())).expect("digits hold no zero");
        Ok(Self { text, _held: Some(fd) })
    }
}

/// `volatile`: a container's changes need no flush of the whole disk when it ends, they go with it.
const OVERLAY_FLAGS: [&str; 1] = ["volatile"];
/// What an image must not choose by its extended attributes.
const OVERLAY_SETTINGS: [(&str, &str); 3] =
    [("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off")];

fn overlay_by_parts(layers: &Overlay<'_>) -> rustix::io::Result<OwnedFd> {
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(fs.as_fd(), "source", "overlay")?;
    for path in layers.lower {
        let part = Part::new(path, true)?;
        fsconfig_set_string(fs.as_fd(), "lowerdir+", part.text.as_c_str())?;
    }
    for (key, path) in [("upperdir", layers.upper), ("workdir", layers.work)] {
        let part = Part::new(path, true)?;
        fsconfig_set_string(fs.as_fd(), key, part.text.as_c_str())?;
    }
    for (key, value) in OVERLAY_SETTINGS {
        fsconfig_set_string(fs.as_fd(), key, value)?;
    }
    for flag in OVERLAY_FLAGS {
        fsconfig_set_flag(fs.as_fd(), flag)?;
    }
    fsconfig_create(fs.as_fd())?;
    fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_NODEV)
}

/// The classic call, with descriptors for paths so that some 200 layers fit the page of options.
fn overlay_by_options(layers: &Overlay<'_>) -> io::Result<OwnedFd> {
    let lower: Vec<Part> =
        layers.lower.iter().map(|path| Part::new(path, false)).collect::<rustix::io::Result<_>>()?;
    let (upper, work) = (Part::new(layers.upper, false)?, Part::new(layers.work, false)?);
    let text = |part: &Part| part.text.to_string_lossy().into_owned();
    let lower: Vec<String> = lower.iter().map(text).collect();
    let mut options =
        format!("lowerdir={},upperdir={},workdir={}", lower.join(":"), text(&upper), text(&work));
    for (key, value) in OVERLAY_SETTINGS {
        options.push_str(&format!(",{key}={value}"));
    }
    options.push_str(",volatile");
    if options.len() >= 4096 {
        return Err(io::Error::other("too many layers for this kernel; Linux 6.5 or newer takes more"));
    }
    let options = CString::new(options)?;
    mount("overlay", layers.scratch, "overlay", MountFlags::NODEV, options.as_c_str())?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, layers.scratch, flags);
    unmount(layers.scratch, UnmountFlags::DETACH)?;
    Ok(tree?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    /// Both ways of mounting an overlay, in a namespace of this test's own thread.
    fn in_private_namespace(test: &str, act: impl FnOnce(&Path) + Send) {
        if !rustix::process::geteuid().is_root() {
            println!("SKIPPED: {test}: mounting needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                // SAFETY: only this thread leaves the shared filesystem state, and it ends with the test.
                unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FS) }.unwrap();
                Linux.enter_private_namespace().unwrap();
                act(path);
            });
            thread.join().unwrap();
        });
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(path.to_str().unwrap()), "a mount was left on the host");
    }

    fn make(dir: &Path, name: &str) -> PathBuf {
        fs::create_dir(dir.join(name)).unwrap();
        dir.join(name)
    }

    fn overlay_works(dir: &Path, mount: impl Fn(&Overlay<'_>) -> io::Result<OwnedFd>) {
        let long = "l".repeat(200);
        let lower: Vec<PathBuf> = (0..130).map(|n| make(dir, &format!("a,b:c\\{n}{long}"))).collect();
        for (number, layer) in lower.iter().enumerate() {
            fs::write(layer.join("which"), number.to_string()).unwrap();
            fs::write(layer.join(number.to_string()), "").unwrap();
        }
        let (upper, work, scratch) = (make(dir, "upper"), make(dir, "work"), make(dir, "scratch"));
        let mounted =
            mount(&Overlay { lower: &lower, upper: &upper, work: &work, scratch: &scratch }).unwrap();
        let target = fs::File::open(&scratch).unwrap();
        Linux.attach(mounted.as_fd(), target.as_fd()).unwrap();
        assert_eq!(fs::read_to_string(scratch.join("which")).unwrap(), "0", "the first layer is the topmost");
        assert!(scratch.join("129").exists());
        fs::write(scratch.join("new"), "x").unwrap();
        assert!(upper.join("new").exists());
    }

    #[test]
    fn an_overlay_of_many_odd_paths_by_parts() {
        in_private_namespace("an_overlay_of_many_odd_paths_by_parts", |dir| {
            overlay_works(dir, |layers| Linux.overlay(layers));
        });
    }

    #[test]
    fn an_overlay_of_many_odd_paths_on_an_older_kernel() {
        in_private_namespace("an_overlay_of_many_odd_paths_on_an_older_kernel", |dir| {
            overlay_works(dir, overlay_by_options);
        });
    }

    #[test]
    fn a_hidden_tree_is_empty_and_comes_back_with_the_namespace() {
        in_private_namespace("a_hidden_tree_is_empty_and_comes_back_with_the_namespace", |dir| {
            fs::write(dir.join("file"), "").unwrap();
            Linux.hide_tree(dir).unwrap();
            assert_eq!(fs::read_dir(dir).unwrap().count(), 0);
            Linux.hide_tree(Path::new("/sys/fs/cgroup")).unwrap();
            assert_eq!(fs::read_dir("/sys/fs/cgroup").unwrap().count(), 0);
        });
        assert!(fs::read_dir("/sys/fs/cgroup").unwrap().count() > 0);
    }

    #[test]
    fn a_read_only_clone_can_not_be_written_through() {
        in_private_namespace("a_read_only_clone_can_not_be_written_through", |dir| {
            let file = dir.join("program");
            fs::write(&file, "x").unwrap();
            let clone = Linux.read_only_clone(&file).unwrap();
            let through = format!("/proc/thread-self/fd/{}", clone.as_raw_fd());
            assert_eq!(fs::read_to_string(&through).unwrap(), "x");
            let error = fs::OpenOptions::new().write(true).open(&through).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EROFS));
        });
    }
}
