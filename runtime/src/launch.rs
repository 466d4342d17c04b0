//! The caller's half of a launch: the container's folder, the keeper's process, the first connection.
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use serde::Serialize;

use crate::config::{Folder, RuntimeConfig};
use crate::ending::{ExitRecord, Failure};
use crate::host::Host;
use crate::kernel::linux::Linux;
use crate::liveness;
use crate::plan;
use crate::protocol::{self, Decoder, ProtocolError, Report};
use crate::spec::{ContainerId, ContainerSpec};
use crate::supervisor::job::{Job, MAX_JOB};

/// Starts containers and finds them again. Cheap to share; all methods block, none for longer than it
/// takes to spawn a process.
#[derive(Debug)]
pub struct Runtime {
    pub(crate) config: RuntimeConfig,
    pub(crate) host: Host,
    executable: OwnedFd,
}

/// Why a container could not be launched.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// A container of this name is still there, or its folder is.
    #[error("the container {0} exists already; clean it up first")]
    Exists(ContainerId),
    /// The runtime folder can't be used.
    #[error("can't prepare {path}")]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The keeper could not be spawned.
    #[error("can't spawn the keeper of {id}")]
    Spawn {
        /// The container.
        id: ContainerId,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The start failed; nothing but the container's folder with this record is left.
    #[error("the container {id} can't be started: {failure}")]
    Failed {
        /// The container.
        id: ContainerId,
        /// At which stage and why, with a message to act on.
        failure: Failure,
    },
    /// The keeper is gone without a word.
    #[error("the keeper of {id} ended without a report; see keeper.log in its runtime folder")]
    KeeperLost {
        /// The container.
        id: ContainerId,
        /// What the connection said.
        #[source]
        source: io::Error,
    },
}

/// A command that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    /// Its process id on the host.
    pub pid: u32,
    /// Milliseconds since 1970.
    pub at_ms: u64,
}

impl Runtime {
    /// A runtime on a probed host. Keeps a read-only, detached mount of the executable (or a sealed
    /// copy of it), so that neither an upgrade nor a task changes what keepers run.
    ///
    /// # Errors
    /// When the runtime folder can't be made with mode 0700, or the executable can't be held.
    pub fn new(config: RuntimeConfig, host: Host) -> Result<Self, LaunchError> {
        let folder = |path: &Path, source| LaunchError::Folder { path: path.to_owned(), source };
        for path in [&config.runtime_dir, &config.containers(), &config.mount()] {
            private_folder(path).map_err(|source| folder(path, source))?;
        }
        let own = config.executable.as_path();
        let executable = hold_executable(own).map_err(|source| folder(own, source))?;
        Ok(Self { config, host, executable })
    }

    /// What was found out about the host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Spawns the keeper of a new container. Returns as soon as it is on its own; whether the command
    /// runs comes over the handle's connection.
    ///
    /// # Errors
    /// [`LaunchError::Failed`] for a spec that no host could run, otherwise when the folder or the
    /// process can't be made. Nothing is left then.
    pub fn launch(&self, spec: &ContainerSpec) -> Result<KeeperHandle, LaunchError> {
        plan::check(spec).map_err(|failure| LaunchError::Failed { id: spec.id.clone(), failure })?;
        let folder = self.config.folder(&spec.id);
        make_folder(&folder, &spec.id)?;
        let spawned = self.spawn(spec, &folder);
        spawned.map_err(|source| {
            let _ = fs::remove_dir_all(folder.path());
            LaunchError::Spawn { id: spec.id.clone(), source }
        })
    }

    fn spawn(&self, spec: &ContainerSpec, folder: &Folder) -> io::Result<KeeperHandle> {
        let job = Job { config: self.config.clone(), spec: spec.clone() };
        let log =
            OpenOptions::new().append(true).create_new(true).mode(0o600).open(folder.join(Folder::LOG))?;
        liveness::announce(&log)?;
        let (ours, theirs) = UnixStream::pair()?;
        let mut child = Command::new(format!("/proc/self/fd/{}", self.executable.as_raw_fd()))
            .arg0("tepui")
            .args(&self.config.supervise_args)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(job_file(&job)?))
            .stdout(Stdio::from(OwnedFd::from(theirs)))
            .stderr(Stdio::from(log))
            .spawn()?;
        // It forks away from us at once; what we reap is only its shell.
        let status = child.wait()?;
        if !status.success() {
            return Err(io::Error::other(format!("it ended at once ({status})")));
        }
        Ok(KeeperHandle::new(spec.id.clone(), ours))
    }
}

/// A container's keeper, connected. Dropping it ends only the connection.
#[derive(Debug)]
pub struct KeeperHandle {
    id: ContainerId,
    stream: UnixStream,
    decoder: Decoder,
}

impl KeeperHandle {
    /// A handle on a connection, as [`Runtime::connect`] gives it.
    #[must_use]
    pub fn new(id: ContainerId, stream: UnixStream) -> Self {
        Self { id, stream, decoder: Decoder::default() }
    }

    /// The container.
    #[must_use]
    pub fn id(&self) -> &ContainerId {
        &self.id
    }

    /// The bare connection, for a caller with an event loop of its own. Take it before anything was
    /// read: what is already decoded would be lost.
    #[must_use]
    pub fn into_stream(self) -> UnixStream {
        self.stream
    }

    /// Sends a command.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub fn send<M: Serialize>(&mut self, command: &M) -> io::Result<()> {
        let frame = protocol::encode(command).map_err(io::Error::other)?;
        self.stream.write_all(&frame)
    }

    /// Waits for the next report.
    ///
    /// # Errors
    /// `UnexpectedEof` when the keeper is gone.
    pub fn report(&mut self) -> io::Result<Report> {
        let mut buffer = [0; 4096];
        loop {
            let report: Result<_, ProtocolError> = self.decoder.next();
            if let Some(report) = report.map_err(io::Error::other)? {
                return Ok(report);
            }
            match self.stream.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => self.decoder.feed(&buffer[..length]),
            }
        }
    }

    /// Waits until the command runs, or ran.
    ///
    /// # Errors
    /// [`LaunchError::Failed`] when it never did.
    pub fn wait_started(&mut self) -> Result<Started, LaunchError> {
        loop {
            match self.next()? {
                Report::Started { pid, at_ms } => return Ok(Started { pid, at_ms }),
                Report::Exited(record) => {
                    return Ok(Started { pid: record.pid, at_ms: record.started_at_ms });
                }
                Report::Failed(failure) => {
                    return Err(LaunchError::Failed { id: self.id.clone(), failure });
                }
                _ => {}
            }
        }
    }

    /// Waits until the command ended.
    ///
    /// # Errors
    /// [`LaunchError::Failed`] when it never ran.
    pub fn wait_exit(&mut self) -> Result<ExitRecord, LaunchError> {
        loop {
            match self.next()? {
                Report::Exited(record) => return Ok(record),
                Report::Failed(failure) => {
                    return Err(LaunchError::Failed { id: self.id.clone(), failure });
                }
                _ => {}
            }
        }
    }

    fn next(&mut self) -> Result<Report, LaunchError> {
        self.report().map_err(|source| LaunchError::KeeperLost { id: self.id.clone(), source })
    }
}

fn make_folder(folder: &Folder, id: &ContainerId) -> Result<(), LaunchError> {
    DirBuilder::new().mode(0o700).create(folder.path()).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => LaunchError::Exists(id.clone()),
        _ => LaunchError::Folder { path: folder.path().to_owned(), source },
    })
}

/// A folder that only we can enter, whatever the umask or an earlier owner said.
fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_dir() || metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("it must be a directory that belongs to the user of this process"));
    }
    if metadata.permissions().mode() & 0o7777 != 0o700 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// The executable as a descriptor that keepers are started from (CVE-2019-5736: a container that gets
/// hold of `/proc/PID/exe` can't write through it).
fn hold_executable(path: &Path) -> io::Result<OwnedFd> {
    Linux.read_only_clone(path).or_else(|_| sealed_copy(path))
}

fn sealed_copy(path: &Path) -> io::Result<OwnedFd> {
    let copy = memfd_create("tepui", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut copy = File::from(copy);
    io::copy(&mut File::open(path)?, &mut copy)?;
    seal(&copy)?;
    Ok(copy.into())
}

fn seal(file: &File) -> io::Result<()> {
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    Ok(fcntl_add_seals(file, seals)?)
}

fn job_file(job: &Job) -> io::Result<OwnedFd> {
    let bytes = serde_json::to_vec(job)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length >= MAX_JOB) {
        return Err(io::Error::other(format!("the spec is longer than {MAX_JOB} bytes")));
    }
    let mut file = File::from(
        memfd_create("job", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | MemfdFlags::NOEXEC_SEAL)
            .or_else(|_| memfd_create("job", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING))?,
    );
    file.write_all(&bytes)?;
    seal(&file)?;
    Ok(file.into())
}
