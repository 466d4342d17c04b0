//! Descriptors that tell an event loop of a container's last process and of memory running out.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::{EventfdFlags, PollFlags, eventfd};

use super::{Cgroups, Error, files};

/// A descriptor for poll or epoll. After each wake: [`Watch::rearm`], then read the state anew; a wake says that
/// something changed, not what.
#[derive(Debug)]
pub struct Watch {
    /// What to poll.
    pub fd: OwnedFd,
    /// Which event to wait for: PRI of a cgroup file (whose ERR comes with it), IN of an event descriptor.
    pub interest: PollFlags,
}

impl Watch {
    fn of_file(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|source| Error::Watch { path: path.to_owned(), source })?;
        let mut watch = Self { fd: file.into(), interest: PollFlags::PRI };
        // The kernel counts as seen what was read.
        watch.rearm();
        Ok(watch)
    }

    /// Makes the next change wake again.
    pub fn rearm(&mut self) {
        // Nothing that fails here (the cgroup is gone, nothing to read) hides from who reads the state next.
        if self.interest.contains(PollFlags::IN) {
            let _ = rustix::io::read(&self.fd, &mut [0u8; 8]);
        } else if let Ok(copy) = self.fd.try_clone() {
            let mut file = File::from(copy);
            let _ = file.rewind();
            let _ = file.read_to_end(&mut Vec::new());
        }
    }
}

impl Cgroups {
    /// Wakes when the container gets its first process or loses its last ([`Cgroups::is_populated`]).
    ///
    /// # Errors
    /// When the cgroup is gone, or the file can't be opened.
    pub fn watch_populated(&self) -> Result<Watch, Error> {
        Watch::of_file(&self.tracking().join("cgroup.events"))
    }

    /// Wakes when memory runs out ([`Cgroups::oom_kills`]), or nears it. `None` when memory is not limited here.
    ///
    /// # Errors
    /// When the notification can't be set up.
    pub fn watch_oom(&self) -> Result<Option<Watch>, Error> {
        let place = if self.layout.is_hybrid() { self.v1("memory") } else { Some(self.tracking()) };
        let Some(place) = place else { return Ok(None) };
        let name = if self.layout.is_hybrid() { "memory.oom_control" } else { "memory.events" };
        let path = place.join(name);
        if !path.exists() {
            return Ok(None);
        }
        if self.layout.is_hybrid() {
            watch_v1(&place, &path).map(Some)
        } else {
            Watch::of_file(&path).map(Some)
        }
    }

    /// How many processes of the container the kernel has killed because its memory ran out.
    ///
    /// # Errors
    /// When the counter can't be read.
    pub fn oom_kills(&self) -> Result<u64, Error> {
        let counters = if self.layout.is_hybrid() {
            let Some(place) = self.v1("memory") else { return Ok(0) };
            // Not summed up along the tree in v1.
            let mut sum = 0;
            for path in files::tree(&place)? {
                sum += oom_kill(&path.join("memory.oom_control"))?;
            }
            return Ok(sum);
        } else {
            self.tracking().join("memory.events")
        };
        oom_kill(&counters)
    }
}

fn oom_kill(path: &Path) -> Result<u64, Error> {
    Ok(files::read_table(path)?.get("oom_kill").copied().unwrap_or(0))
}

/// v1: an event descriptor registered for the file's event.
fn watch_v1(place: &Path, path: &PathBuf) -> Result<Watch, Error> {
    let failed = |source: io::Error| Error::Watch { path: path.clone(), source };
    let fd =
        eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|errno| failed(errno.into()))?;
    let control = File::open(path).map_err(failed)?;
    let order = format!("{} {}", fd.as_raw_fd(), control.as_raw_fd());
    files::write(&place.join("cgroup.event_control"), &order)?;
    Ok(Watch { fd, interest: PollFlags::IN })
}
