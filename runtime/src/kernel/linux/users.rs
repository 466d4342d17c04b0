//! User namespaces that nobody lives in: they only say how ids are mapped.
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use super::check;
use crate::spec::IdRange;

/// A new user namespace with these ids. It is made by a process that ends at once; the descriptor keeps it. Only while
/// there is one thread.
pub(super) fn namespace(ids: IdRange) -> io::Result<OwnedFd> {
    let (mut ready, mut say_ready) = io::pipe()?;
    let (mut hold, say_done) = io::pipe()?;
    // SAFETY: one thread, so the child may use all of this process; it leaves by _exit.
    let pid = check(unsafe { libc::fork() })?;
    if pid == 0 {
        drop((ready, say_done));
        // SAFETY: NEWUSER concerns this process alone, which does nothing but wait from here on.
        let made = check(unsafe { libc::unshare(libc::CLONE_NEWUSER) });
        let code = made.err().and_then(|error| error.raw_os_error()).unwrap_or(0);
        let _ = say_ready.write_all(&code.to_ne_bytes());
        drop(say_ready);
        let _ = hold.read(&mut [0]);
        // SAFETY: ends the child without running anything of its parent's.
        unsafe { libc::_exit(0) };
    }
    drop((hold, say_ready));
    let mut code = [0; 4];
    let made = ready.read_exact(&mut code).and_then(|()| match i32::from_ne_bytes(code) {
        0 => mapped(pid, ids),
        code => Err(io::Error::from_raw_os_error(code)),
    });
    drop(say_done);
    // SAFETY: the child is ours, and its status is not wanted.
    while unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) } < 0
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
    made
}

fn mapped(pid: libc::pid_t, ids: IdRange) -> io::Result<OwnedFd> {
    let line = format!("0 {} {}", ids.base, ids.length);
    for map in ["uid_map", "gid_map"] {
        fs::write(format!("/proc/{pid}/{map}"), &line)?;
    }
    Ok(File::open(format!("/proc/{pid}/ns/user"))?.into())
}
