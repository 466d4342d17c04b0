//! PID 1 of a container: the embedded program `pid1.rs`, how it is started, and what it reports.
//!
//! A bare program as first process of a pid namespace has no default signal actions, so SIGTERM does nothing to
//! it, and nobody reaps what it leaves behind. The init in front of it cures both. It runs from a sealed memory
//! file: neither the agent's binary nor any file of the host can be reached through `/proc/1/exe`
//! (CVE-2019-5736, CVE-2019-0204), and the memory file itself can't be written.
//!
//! What the init does, in order: makes itself non-dumpable, becomes a subreaper when it isn't PID 1, blocks all
//! signals, closes every descriptor but 0-2 and the report, forks; the child gets default signal actions, an empty
//! mask and descriptors 0-2 and executes the command. From then on the init forwards what it is sent to the
//! command's own process (not its group; Mesos kills the rest of the tree after the grace period), reaps every
//! orphan, and, when the command's process ends, reports its raw wait status and exits with its code or
//! 128 + signal, whereupon the kernel ends the rest of the pid namespace.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::signal::SigSet;
use rustix::fs::{MemfdFlags, Mode, SealFlags};
use rustix::io::{Errno, FdFlags};

mod report;
#[cfg(test)]
mod tests;

pub use report::{InitReport, REPORT_SIZE, decode};

/// The program, as `build.rs` compiled it.
static PROGRAM: &[u8] = include_bytes!(env!("TEPUI_PID1"));

/// What the process is called in `ps` inside the container.
const NAME: &CStr = c"tepui-init";

/// The init as a sealed, executable memory file, to be given to [`exec`] any number of times.
///
/// Its mode is 0111: who can't read a file can't dump or trace what it runs as, so the init is closed to other
/// processes of an unprivileged user from its first instruction.
///
/// # Errors
/// Whatever memfd_create(2) says; with the sysctl `vm.memfd_noexec=2` the kernel forbids executable memory files
/// and the message tells so.
pub fn image() -> io::Result<OwnedFd> {
    let file = create_executable()?;
    write_whole(file.as_fd(), PROGRAM)?;
    rustix::fs::fchmod(&file, Mode::XUSR | Mode::XGRP | Mode::XOTH)?;
    seal(file.as_fd())?;
    Ok(file)
}

fn create_executable() -> io::Result<OwnedFd> {
    let base = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match rustix::fs::memfd_create(NAME, base | MemfdFlags::EXEC) {
        Ok(file) => Ok(file),
        // Linux before 6.3 doesn't know the flag, and makes every memory file executable.
        Err(Errno::INVAL) => Ok(rustix::fs::memfd_create(NAME, base)?),
        Err(Errno::ACCESS) => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the kernel forbids executable memory files (sysctl vm.memfd_noexec is 2, tepui needs 0 or 1)",
        )),
        Err(errno) => Err(errno.into()),
    }
}

fn write_whole(file: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = rustix::io::write(file, bytes)?;
        bytes = &bytes[written..];
    }
    Ok(())
}

fn seal(file: BorrowedFd<'_>) -> io::Result<()> {
    // F_SEAL_EXEC (Linux 6.3) fixes the mode as well; without it the mode can be changed, the bytes still can't.
    match rustix::fs::fcntl_add_seals(file, SealFlags::EXEC) {
        Ok(()) | Err(Errno::INVAL) => {}
        Err(errno) => return Err(errno.into()),
    }
    let all = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    Ok(rustix::fs::fcntl_add_seals(file, all)?)
}

/// Turns the calling process into the init, which starts `program` with `args` (the first is its `argv[0]`) and
/// `env` and reports on `report`, a pipe or socket above descriptor 2. Returns only when that failed.
///
/// A `program` without a slash is looked up in the `PATH` of `env`. Nothing is ever handed to a shell: a file
/// without a known header is reported with ENOEXEC (the standard execvp(3) would run `/bin/sh`).
pub fn exec(
    image: BorrowedFd<'_>,
    report: BorrowedFd<'_>,
    program: &CStr,
    args: &[CString],
    env: &[CString],
) -> io::Error {
    if report.as_raw_fd() <= 2 || args.is_empty() {
        return io::Error::new(
            io::ErrorKind::InvalidInput,
            "the init wants a report descriptor above 2 and an argv[0]",
        );
    }
    // Passed on to the init, which takes it away from the command again.
    if let Err(errno) = rustix::io::fcntl_setfd(report, FdFlags::empty()) {
        return errno.into();
    }
    let number = CString::new(report.as_raw_fd().to_string()).expect("digits hold no NUL");
    let mut argv: Vec<&CStr> = vec![NAME, &number, program];
    argv.extend(args.iter().map(CString::as_c_str));
    // The mask survives execve(2): what is sent before the init has blocked signals itself waits for it, whereas the
    // kernel would throw it away for a PID 1 without handlers.
    let before = SigSet::thread_get_mask();
    let blocked = SigSet::all().thread_block();
    let Err(errno) = nix::unistd::fexecve(image.as_raw_fd(), &argv, env);
    if let (Ok(before), Ok(())) = (before, blocked) {
        let _ = before.thread_set_mask();
    }
    errno.into()
}
