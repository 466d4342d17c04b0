//! Whether a keeper lives: it holds a record lock on its log.
//!
//! A socket alone does not tell: what libcontainer clones holds the listening socket too, and would let
//! a caller connect to a keeper that is long dead. A record lock belongs to one process, is not
//! inherited, and goes with it.
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use rustix::event::{Timespec, poll};

/// Time between two looks.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 3_000_000 };

fn whole_file() -> libc::flock {
    let (kind, whence) = (libc::F_WRLCK, libc::SEEK_SET);
    libc::flock {
        l_type: i16::try_from(kind).expect("a small constant"),
        l_whence: i16::try_from(whence).expect("a small constant"),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// Takes the lock for the rest of this process' life. `log` and its duplicates must stay open, and no
/// other descriptor of the file may be closed.
pub(crate) fn claim(log: impl AsFd) -> io::Result<()> {
    fcntl(log.as_fd().as_raw_fd(), FcntlArg::F_SETLK(&whole_file()))?;
    Ok(())
}

/// The process that holds the lock on the log at `path`.
pub(crate) fn holder(path: &Path) -> Option<i32> {
    let file: File = OpenOptions::new().read(true).write(true).open(path).ok()?;
    let mut lock = whole_file();
    fcntl(file.as_raw_fd(), FcntlArg::F_GETLK(&mut lock)).ok()?;
    (i32::from(lock.l_type) != libc::F_UNLCK).then_some(lock.l_pid)
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
    use super::*;

    #[test]
    fn nobody_holds_a_log_that_is_not_locked_or_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        assert_eq!(holder(&path), None);
        let log = File::create(&path).unwrap();
        assert_eq!(holder(&path), None);
        // What a process locked itself is free to it; that others see it, the container tests show.
        claim(&log).unwrap();
        assert_eq!(holder(&path), None);
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
