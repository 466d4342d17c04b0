//! A disk of its own for a folder, which only those see that are started on it: to be filled up to the last file or
//! the last byte, made read-only, and made good again while they run.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::statvfs;

use crate::eventually;
use crate::job::{Daemon, bound, done};

/// Files for which there is room on a disk that is in order.
const FILES: u64 = 100_000;
/// A page of a tmpfs.
const PAGE: u64 = 4096;

/// A tmpfs in a mount namespace, which stays as long as this.
#[derive(Debug)]
pub struct Disk {
    holder: Daemon,
    dir: PathBuf,
    bytes: u64,
}

impl Disk {
    /// Mounts one of that many MB at a folder that is there.
    #[track_caller]
    pub fn mount(dir: &Path, megabytes: u32, log: &Path) -> Disk {
        let script =
            "mount -t tmpfs -o \"size=$1m,nr_inodes=$2,mode=755\" tepui-disk \"$3\" && exec sleep infinity";
        let mut command = bound("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]);
        command.args([megabytes.to_string(), FILES.to_string()]).arg(dir);
        let holder = Daemon::start("the holder of a disk", &mut command, log);
        let disk = Disk { holder, dir: dir.to_owned(), bytes: u64::from(megabytes) << 20 };
        eventually(format!("{} is mounted; see {}", dir.display(), log.display()), || {
            let table = std::fs::read_to_string(format!("/proc/{}/mountinfo", disk.pid())).ok()?;
            table.contains(" tepui-disk ").then_some(())
        });
        disk
    }

    /// The process that holds it.
    pub fn pid(&self) -> u32 {
        self.holder.pid()
    }

    /// A command to whose arguments a program can be added that is to see this disk.
    pub fn seen_by(&self, program: impl AsRef<Path>) -> Command {
        let mut command = bound("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.pid())).arg("--").arg(program.as_ref());
        command
    }

    /// A path on it, as those see it that are not on it.
    pub fn outside(&self, path: &Path) -> PathBuf {
        Path::new("/proc")
            .join(self.pid().to_string())
            .join("root")
            .join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Leaves room for that many more files, folders and links, and no limit on what is in them.
    #[track_caller]
    pub fn leave_files(&self, files: u64) {
        eventually("the disk takes its new number of files", || {
            let now = statvfs(self.outside(&self.dir)).ok()?;
            self.remount(&format!("nr_inodes={}", now.f_files - now.f_ffree + files))
        });
    }

    /// Leaves room for that many more pages of 4 KB.
    #[track_caller]
    pub fn leave_pages(&self, pages: u64) {
        eventually("the disk takes its new size", || {
            let now = statvfs(self.outside(&self.dir)).ok()?;
            // Zero is no limit at all.
            let used = (now.f_blocks - now.f_bfree) * now.f_frsize / PAGE;
            self.remount(&format!("size={}", ((used + pages) * PAGE).max(PAGE)))
        });
    }

    /// Bytes in use.
    #[track_caller]
    pub fn used(&self) -> u64 {
        let now = eventually("the disk tells its size", || statvfs(self.outside(&self.dir)).ok());
        (now.f_blocks - now.f_bfree) * now.f_frsize
    }

    /// Room for everything again.
    #[track_caller]
    pub fn make_room(&self) {
        eventually("the disk takes its old size", || {
            self.remount(&format!("size={},nr_inodes={FILES}", self.bytes))
        });
    }

    /// Lets whatever is opened by its path from now on be read only. What is open already can be written as before:
    /// the kernel makes no disk read-only while somebody writes to it.
    #[track_caller]
    pub fn read_only(&self) {
        let script = "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\"";
        done(self.seen_by("sh").args(["-c", script, "sh"]).arg(&self.dir));
    }

    /// Undoes [`Disk::read_only`].
    #[track_caller]
    pub fn writable(&self) {
        // Who has come to know the upper mount meanwhile keeps it, out of the way of others.
        done(self.seen_by("umount").arg("--lazy").arg(&self.dir));
    }

    /// None when the kernel does not like it, such as because more is in use by now.
    fn remount(&self, options: &str) -> Option<()> {
        let mut command = self.seen_by("mount");
        command.args(["-o", &format!("remount,{options}")]).arg(&self.dir);
        let output = command.output().ok()?;
        output.status.success().then_some(())
    }
}
