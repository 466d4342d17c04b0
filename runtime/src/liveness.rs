//! Whether a keeper lives, or is about to: locks on its log.
//!
//! A socket alone does not tell: what libcontainer clones holds the listening socket too, and would let
//! a caller connect to a keeper that is long dead. A record lock belongs to one process, is not
//! inherited, and goes with it. The keeper holds one on the log's first byte.
//!
//! Before there is a keeper, its caller holds a lock of the other kind on the second byte: one that belongs to the
//! open log itself, which the keeper inherits. So from the moment the log can be found until the keeper's own lock
//! there is always one, whoever of the two ends in between.
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use rustix::event::{Timespec, poll};

/// Time between two looks.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 3_000_000 };

/// The byte that the keeper's own lock is on.
const LIVES: i64 = 0;
/// The byte that is locked while a keeper starts.
const STARTS: i64 = 1;

fn lock(kind: libc::c_int, byte: i64) -> libc::flock {
    libc::flock {
        l_type: i16::try_from(kind).expect("a small constant"),
        l_whence: i16::try_from(libc::SEEK_SET).expect("a small constant"),
        l_start: byte,
        l_len: 1,
        l_pid: 0,
    }
}

/// Marks a new log: a keeper is about to be started that inherits it. (Public for the test program only.)
///
/// # Errors
/// When it is marked already, or the file system knows no locks.
pub fn announce(log: impl AsFd) -> io::Result<()> {
    fcntl(log.as_fd().as_raw_fd(), FcntlArg::F_OFD_SETLK(&lock(libc::F_WRLCK, STARTS)))?;
    Ok(())
}

/// Takes the lock for the rest of this process' life, in place of the caller's. `log` and its duplicates must stay
/// open, and no other descriptor of the file may be closed.
pub(crate) fn claim(log: impl AsFd) -> io::Result<()> {
    let log = log.as_fd().as_raw_fd();
    fcntl(log, FcntlArg::F_SETLK(&lock(libc::F_WRLCK, LIVES)))?;
    fcntl(log, FcntlArg::F_OFD_SETLK(&lock(libc::F_UNLCK, STARTS)))?;
    Ok(())
}

/// What a log says of its keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// It is being started, or just ends doing so.
    Starts,
    /// It lives, as this process.
    Lives(i32),
    /// There is none, and none will come.
    Dead,
}

/// The life of the keeper whose log is at `path`.
pub(crate) fn of(path: &Path) -> Life {
    let Ok(file) = OpenOptions::new().read(true).write(true).open(path) else { return Life::Dead };
    // In this order: the keeper takes its lock before it gives the other back.
    let (mut starts, mut lives) = (lock(libc::F_WRLCK, STARTS), lock(libc::F_WRLCK, LIVES));
    let asked = fcntl(file.as_raw_fd(), FcntlArg::F_OFD_GETLK(&mut starts))
        .and_then(|_| fcntl(file.as_raw_fd(), FcntlArg::F_GETLK(&mut lives)));
    let held = |lock: &libc::flock| asked.is_ok() && i32::from(lock.l_type) != libc::F_UNLCK;
    match (held(&lives), held(&starts)) {
        (true, _) => Life::Lives(lives.l_pid),
        (false, true) => Life::Starts,
        (false, false) => Life::Dead,
    }
}

/// Waits until `done` gives something, at most `patience`.
pub(crate) fn wait_until<T>(patience: Duration, mut done: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + patience;
    loop {
        if let Some(value) = done() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        let _ = poll(&mut [], Some(&PAUSE));
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_log_is_marked_from_its_start_until_a_keeper_claims_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        assert_eq!(of(&path), Life::Dead, "no log");
        let log = File::create(&path).unwrap();
        assert_eq!(of(&path), Life::Dead);
        announce(&log).unwrap();
        assert_eq!(of(&path), Life::Starts);
        // A duplicate is the same mark: the caller may go, what it started has it.
        let inherited = log.try_clone().unwrap();
        drop(log);
        assert_eq!(of(&path), Life::Starts);
        // What a process locked itself is free to it; that others see it, the container tests show.
        claim(&inherited).unwrap();
        assert_eq!(of(&path), Life::Dead);
        let again = File::create(&path).unwrap();
        announce(&again).unwrap();
        drop(again);
        assert_eq!(of(&path), Life::Dead, "a caller that ended before it started a keeper");
    }

    #[test]
    fn waiting_ends_with_the_condition_or_the_patience() {
        let mut looks = 0;
        let third = wait_until(Duration::from_secs(5), || {
            looks += 1;
            (looks == 3).then_some(looks)
        });
        assert_eq!(third, Some(3));
        assert_eq!(wait_until(Duration::from_millis(10), || None::<()>), None);
    }
}
