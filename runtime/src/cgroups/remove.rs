//! Removing a container's cgroups with all that was made below them.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Cgroups, Error, files};

/// Longest wait between two attempts where the kernel notifies of nothing (v1).
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

impl Cgroups {
    /// Removes the container's cgroups in every hierarchy, deepest first, waiting at most `patience` for processes
    /// that are about to end ([`Cgroups::kill`] them before). What is gone already is no error.
    ///
    /// # Errors
    /// [`Error::Busy`] with the processes that remain; the other hierarchies were cleared all the same.
    pub fn remove(&self, patience: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + patience;
        self.await_empty(deadline)?;
        let mut done = Ok(());
        for place in self.places() {
            done = done.and(remove_tree(&place, deadline));
        }
        done
    }

    /// Returns when nobody is left in the tracking cgroup, or at the deadline.
    fn await_empty(&self, deadline: Instant) -> Result<(), Error> {
        if !self.tracking().exists() {
            return Ok(());
        }
        let mut watch = self.watch_populated()?;
        while self.is_populated()? {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            // A v1 straggler moves no event of the tracking cgroup, so never for long.
            wait(Some((&watch.fd, watch.interest)), left.min(LONGEST_PAUSE));
            watch.rearm();
        }
        Ok(())
    }
}

fn remove_tree(top: &Path, deadline: Instant) -> Result<(), Error> {
    let mut pause = Duration::from_millis(1);
    loop {
        let mut all = files::tree(top)?;
        all.reverse();
        let Some((path, source)) =
            all.iter().find_map(|path| remove_one(path).err().map(|error| (path, error)))
        else {
            return Ok(());
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if source.raw_os_error() != Some(libc::EBUSY) || left.is_zero() {
            let processes = files::processes(path).unwrap_or_default().into_iter().take(10).collect();
            return Err(Error::Busy { path: path.clone(), processes, source });
        }
        wait(None, pause.min(left));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn remove_one(path: &Path) -> io::Result<()> {
    match fs::remove_dir(path) {
        Err(error) if files::is_gone(&error) => Ok(()),
        done => done,
    }
}

/// Waits for an event of a descriptor, or just for the time.
fn wait(event: Option<(&std::os::fd::OwnedFd, PollFlags)>, longest: Duration) {
    let mut descriptors: Vec<PollFd<'_>> =
        event.map(|(fd, flags)| PollFd::new(fd, flags)).into_iter().collect();
    let timeout = Timespec {
        tv_sec: i64::try_from(longest.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: longest.subsec_nanos().into(),
    };
    // Interrupted by a signal it is a shorter wait; the caller looks again anyway.
    let _ = poll(&mut descriptors, Some(&timeout));
}
