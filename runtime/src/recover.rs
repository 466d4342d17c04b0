//! Containers of an earlier life: which still run, how the others ended, and what is to be removed.
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::cgroups::{Cgroups, Error as CgroupError, Statistics};
use crate::config::Folder;
use crate::ending::Ending;
use crate::launch::Runtime;
use crate::liveness::{self, Life, wait_until};
use crate::spec::ContainerId;
use crate::supervisor::through_folder;

/// How long removing a cgroup is tried, and how long a keeper at its end is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a keeper that lives, or is being started, may take until it answers. On a host that has just booted,
/// and starts hundreds at once, seconds are nothing.
const START: Duration = Duration::from_secs(30);

/// Longest record that is read, in bytes.
const MAX_RECORD: u64 = 1 << 20;

/// A container whose folder was found.
#[derive(Debug)]
pub struct FoundContainer {
    /// Its name.
    pub id: ContainerId,
    /// What became of it.
    pub state: Found,
}

/// What became of a container.
#[derive(Debug)]
pub enum Found {
    /// Its keeper lives and this is a connection to it.
    Running(UnixStream),
    /// It ended, or never ran, while nobody listened.
    Ended(Ending),
    /// Its keeper died without a record (killed, or the host was restarted). Processes of it may still
    /// run, unkept; [`Runtime::cleanup`] ends them.
    Lost,
}

/// Why something of a container could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum CleanupError {
    /// The keeper still lives.
    #[error("the container {0} still has a keeper; kill it first")]
    Running(ContainerId),
    /// Processes could not be killed or cgroups not removed.
    #[error("can't remove the cgroups of {id}")]
    Cgroups {
        /// The container.
        id: ContainerId,
        /// Why.
        #[source]
        source: CgroupError,
    },
    /// The folder could not be removed.
    #[error("can't remove {path}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Runtime {
    /// Every container whose folder is there, in order of their names.
    #[must_use]
    pub fn recover(&self) -> Vec<FoundContainer> {
        let Ok(entries) = fs::read_dir(self.config.containers()) else { return Vec::new() };
        let ids = entries
            .flatten()
            .filter_map(|entry| ContainerId::new(entry.file_name().into_string().ok()?).ok());
        let mut ids: Vec<ContainerId> = ids.collect();
        ids.sort();
        ids.into_iter().map(|id| FoundContainer { state: self.find(&id), id }).collect()
    }

    fn find(&self, id: &ContainerId) -> Found {
        // A keeper that is about to be born, to open its socket, or closed it and is about to end, is waited for.
        let found = wait_until(START, || {
            let life = self.life(id);
            if let Some(ending) = self.ending(id) {
                return Some(Found::Ended(ending));
            }
            match self.connect(id) {
                Ok(stream) if life != Life::Dead => Some(Found::Running(stream)),
                _ => (life == Life::Dead).then_some(Found::Lost),
            }
        });
        found.unwrap_or_else(|| {
            self.end_mute_keeper(id);
            Found::Lost
        })
    }

    /// A keeper that doesn't answer in all that time (stopped, stuck) keeps nobody; what it kept is cleaned up.
    fn end_mute_keeper(&self, id: &ContainerId) {
        let Life::Lives(pid) = self.life(id) else { return };
        tracing::error!(container = %id, pid, "its keeper does not answer and is killed");
        let Some(pid) = Pid::from_raw(pid) else { return };
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return };
        // Still the keeper, not who got its number meanwhile?
        if self.life(id) == Life::Lives(pid.as_raw_nonzero().get()) {
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        }
        let _ = wait_until(PATIENCE, || (self.life(id) == Life::Dead).then_some(()));
    }

    fn life(&self, id: &ContainerId) -> Life {
        liveness::of(&self.config.folder(id).join(Folder::LOG))
    }

    /// Whether a container has a keeper that lives, or is being started.
    #[must_use]
    pub fn lives(&self, id: &ContainerId) -> bool {
        self.life(id) != Life::Dead
    }

    /// The record that a keeper left.
    #[must_use]
    pub fn ending(&self, id: &ContainerId) -> Option<Ending> {
        let mut text = Vec::new();
        let file = File::open(self.config.folder(id).join(Folder::EXIT)).ok()?;
        file.take(MAX_RECORD).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// What a container uses now, read here without its keeper: for all containers at once. Only a keeper knows how
    /// often memory was short on a hybrid host ([`crate::protocol::Command::Statistics`]).
    ///
    /// # Errors
    /// When a file of its cgroups is there but can't be read. Without cgroups all figures are absent.
    pub fn statistics(&self, id: &ContainerId) -> Result<Statistics, CgroupError> {
        Cgroups::open(&self.host.layout, &self.config.cgroups_root, id)?.statistics()
    }

    /// A new connection to a container's keeper. Its first report is a greeting, the second, if there
    /// is one, the last thing that happened.
    ///
    /// # Errors
    /// `NotFound` or `ConnectionRefused` when no keeper listens.
    pub fn connect(&self, id: &ContainerId) -> io::Result<UnixStream> {
        if !self.lives(id) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        through_folder(&self.config.folder(id).join(Folder::SOCKET), |short| UnixStream::connect(short))
    }

    /// Removes what is left of a container: processes, cgroups, its folder. Nothing to remove is no
    /// error.
    ///
    /// # Errors
    /// [`CleanupError::Running`] while its keeper lives; otherwise what could not be removed.
    pub fn cleanup(&self, id: &ContainerId) -> Result<(), CleanupError> {
        // With its record written, a keeper is at its very end.
        let patience = if self.ending(id).is_some() { PATIENCE } else { Duration::ZERO };
        wait_until(patience, || (!self.lives(id)).then_some(()))
            .ok_or_else(|| CleanupError::Running(id.clone()))?;
        let failed = |source| CleanupError::Cgroups { id: id.clone(), source };
        let cgroups = Cgroups::open(&self.host.layout, &self.config.cgroups_root, id).map_err(failed)?;
        if cgroups.exists() {
            cgroups.kill().and_then(|()| cgroups.remove(PATIENCE)).map_err(failed)?;
        }
        let path = self.config.folder(id).path().to_owned();
        match fs::remove_dir_all(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(CleanupError::Folder { path, source })
            }
            _ => Ok(()),
        }
    }
}
