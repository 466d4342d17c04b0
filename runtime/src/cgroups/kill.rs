//! Ending every process of a container, and seeing whether any is left.

use std::path::Path;

use rustix::process::{Pid, PidfdFlags, Signal};

use super::{Cgroups, Error, files};

/// Rounds of the fallback without `cgroup.kill`; the cgroup is frozen, so the second finds nobody new.
const ROUNDS: usize = 16;

impl Cgroups {
    /// Sends SIGKILL to every process of the container, those forked meanwhile included. It doesn't wait for their
    /// end; [`Cgroups::is_populated`] and [`Cgroups::watch_populated`] tell. A container without cgroups is none
    /// with processes.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn kill(&self) -> Result<(), Error> {
        let tracking = self.tracking();
        match files::write(&tracking.join("cgroup.kill"), "1") {
            Ok(()) => {}
            Err(Error::Write { source, .. }) if files::is_gone(&source) => kill_frozen(&tracking)?,
            Err(error) => return Err(error),
        }
        self.kill_strays()
    }

    /// Whether any process of the container is left; a zombie that nobody reaped is none.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn is_populated(&self) -> Result<bool, Error> {
        let events = files::read_table(&self.tracking().join("cgroup.events"))?;
        if events.get("populated").is_some_and(|populated| *populated != 0) {
            return Ok(true);
        }
        match self.v1_members() {
            Some(place) => Ok(!files::processes(&place)?.is_empty()),
            None => Ok(false),
        }
    }

    /// A v1 hierarchy that says who is in the container, on a hybrid host.
    fn v1_members(&self) -> Option<std::path::PathBuf> {
        ["freezer", "pids", "memory", "cpu"].iter().find_map(|name| self.v1(name))
    }

    /// On a hybrid host, whoever is in a v1 cgroup of the container but not in its tracking one.
    fn kill_strays(&self) -> Result<(), Error> {
        match self.v1_members() {
            Some(place) => kill_members(&place),
            None => Ok(()),
        }
    }
}

/// Before Linux 5.14 there is no `cgroup.kill`: nobody can fork in a frozen cgroup, but SIGKILL reaches them.
pub(super) fn kill_frozen(path: &Path) -> Result<(), Error> {
    let freeze = path.join("cgroup.freeze");
    match files::write(&freeze, "1") {
        Err(Error::Write { source, .. }) if files::is_gone(&source) => {}
        other => other?,
    }
    for _ in 0..ROUNDS {
        if files::processes(path)?.is_empty() {
            break;
        }
        kill_members(path)?;
    }
    match files::write(&freeze, "0") {
        Err(Error::Write { source, .. }) if files::is_gone(&source) => Ok(()),
        other => other,
    }
}

/// Signals through a pidfd, and only when the process is still a member after that was opened: its number may have
/// passed to another.
fn kill_members(path: &Path) -> Result<(), Error> {
    let first = files::processes(path)?;
    if first.is_empty() {
        return Ok(());
    }
    let open = |raw: &i32| {
        let pid = Pid::from_raw(*raw)?;
        Some((*raw, rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?))
    };
    let opened: Vec<_> = first.iter().filter_map(open).collect();
    let still = files::processes(path)?;
    for (_, process) in opened.iter().filter(|(pid, _)| still.contains(pid)) {
        // It may have ended just now.
        let _ = rustix::process::pidfd_send_signal(process, Signal::KILL);
    }
    Ok(())
}
