//! What a caller asks for: one command, its root filesystem, its limits, its isolation.
use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

mod capability;
mod limits;
mod rotation;

pub use capability::Capability;
pub use limits::{HugetlbLimit, IoMax, Limits};
pub use rotation::{RotateBy, Rotation};

/// The name of a container: 1 to 242 characters of `[A-Za-z0-9._-]`, neither `.` nor `..`, so it is
/// safe as the name of a folder, a cgroup and a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

/// Why a text is not a [`ContainerId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{id:?} is not a container id: 1 to {max} characters of A-Z a-z 0-9 . _ - are allowed, but not . or ..",
    max = ContainerId::MAX
)]
pub struct InvalidId {
    /// The refused text, cut at 80 characters.
    pub id: String,
}

impl ContainerId {
    /// Longest id in bytes: 255 (a file name) less the longest suffix that is put to it.
    pub const MAX: usize = 242;

    /// Checks a text.
    ///
    /// # Errors
    /// [`InvalidId`] when it is empty, too long, `.`, `..`, or holds another character.
    pub fn new(id: impl Into<String>) -> Result<Self, InvalidId> {
        let id = id.into();
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if id.is_empty() || id.len() > Self::MAX || id == "." || id == ".." || !id.bytes().all(allowed) {
            return Err(InvalidId { id: id.chars().take(80).collect() });
        }
        Ok(Self(id))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ContainerId {
    type Error = InvalidId;

    fn try_from(id: String) -> Result<Self, InvalidId> {
        Self::new(id)
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        id.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One command in one container. Build it with [`ContainerSpec::new`] and set the fields that differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Name of the container; it must not exist yet below the runtime folder.
    pub id: ContainerId,
    /// The arguments, `argv[0]` included; at least one.
    pub argv: Vec<String>,
    /// The program, when it is not `argv[0]`. Without a slash it is looked up in `PATH` of `env`
    /// **inside** the container.
    pub program: Option<String>,
    /// The environment, and nothing else but `PATH` and `HOME` when they are not given.
    pub env: Vec<(String, String)>,
    /// Where the command starts, as seen inside the container.
    pub cwd: PathBuf,
    /// `name`, `uid`, `name:group` or `uid:gid`. Names are looked up in the container's own
    /// `/etc/passwd` when it has an image, otherwise in the host's. `None`: root.
    pub user: Option<String>,
    /// Where the root filesystem comes from.
    pub rootfs: Rootfs,
    /// A host folder that the command sees and may write.
    pub sandbox: Option<SandboxMount>,
    /// Host file for the standard output; appended to, created when missing, a link is refused.
    pub stdout: Option<PathBuf>,
    /// Host file for the standard error; likewise.
    pub stderr: Option<PathBuf>,
    /// Rotate both files by size. Without it the command holds the files themselves, which grow.
    #[serde(default)]
    pub rotation: Option<Rotation>,
    /// Host name inside its UTS namespace; ignored without one.
    pub hostname: Option<String>,
    /// CPU, memory, number of processes.
    pub limits: Limits,
    /// What is isolated.
    pub isolation: Isolation,
    /// A user namespace of its own: root in the container is nobody on the host. It needs an image, and
    /// pid, ipc and cgroup namespaces of its own.
    #[serde(default)]
    pub user_namespace: Option<IdRange>,
    /// Bounding, permitted and effective capabilities (inheritable and ambient stay empty).
    pub capabilities: BTreeSet<Capability>,
    /// Resource limits of the process itself; hard limits above the caller's own may be refused.
    pub rlimits: Vec<Rlimit>,
    /// Size of `/dev/shm` in bytes.
    pub shm_bytes: u64,
    /// Mount the root filesystem read-only.
    pub read_only_rootfs: bool,
    /// The command is an init of its own: run it as PID 1, without the small init in front of it.
    pub own_init: bool,
    /// Time between SIGTERM and SIGKILL when a kill request names none.
    pub kill_grace: Duration,
    /// The command is killed when it runs longer than this.
    pub max_completion: Option<Duration>,
}

impl ContainerSpec {
    /// The program to execute.
    #[must_use]
    pub fn program(&self) -> Option<&str> {
        self.program.as_deref().or(self.argv.first().map(String::as_str))
    }

    /// A spec with safe defaults: the host's root filesystem, root without image, full isolation, the
    /// default capabilities, no limits but 4096 processes, output thrown away, 3 s of grace
    /// (Mesos: the command executor's default).
    #[must_use]
    pub fn new(id: ContainerId, argv: Vec<String>) -> Self {
        Self {
            id,
            argv,
            program: None,
            env: Vec::new(),
            cwd: PathBuf::from("/"),
            user: None,
            rootfs: Rootfs::Host,
            sandbox: None,
            stdout: None,
            stderr: None,
            rotation: None,
            hostname: None,
            limits: Limits::default(),
            isolation: Isolation::default(),
            user_namespace: None,
            capabilities: Capability::defaults(),
            rlimits: Vec::new(),
            shm_bytes: 64 << 20,
            read_only_rootfs: false,
            own_init: false,
            kill_grace: Duration::from_secs(3),
            max_completion: None,
        }
    }
}

/// Where a root filesystem comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rootfs {
    /// An overlay, mounted by the keeper in its private mount namespace.
    Overlay {
        /// Read-only layers, topmost first; at least one.
        lower: Vec<PathBuf>,
        /// Where changes go.
        upper: PathBuf,
        /// The work folder that overlayfs wants beside `upper`, empty, on the same filesystem.
        work: PathBuf,
    },
    /// A plain folder; mount points that it lacks (`/dev`, `/proc`, `/sys`, …) are created in it.
    Directory(PathBuf),
    /// The host's own root filesystem, seen through a recursive bind mount.
    Host,
}

impl Rootfs {
    /// Whether the container has files of its own, that is, an image.
    #[must_use]
    pub fn is_image(&self) -> bool {
        !matches!(self, Self::Host)
    }
}

/// A host folder that the command sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxMount {
    /// The folder on the host. The keeper gives it to the command's user (not recursively).
    pub source: PathBuf,
    /// Where it appears in the container (Mesos: `/mnt/mesos/sandbox`). Without an image the folder
    /// is seen at its host path, the only entry of the folder around it, and this is ignored.
    pub target: PathBuf,
}

/// A cgroup controller, by what it governs (v1's `cpu` and `cpuacct` are one here).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Controller {
    /// CPU share, quota and usage.
    Cpu,
    /// Memory limit and usage.
    Memory,
    /// Number of processes.
    Pids,
    /// CPUs and memory nodes.
    Cpuset,
    /// Block devices (v1: `blkio`).
    Io,
    /// Huge pages.
    Hugetlb,
    /// Which device nodes may be opened (v2: a BPF program).
    Devices,
}

impl Controller {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Cpu, Self::Memory, Self::Pids, Self::Cpuset, Self::Io, Self::Hugetlb, Self::Devices];

    /// The name as cgroup v2 spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpuset => "cpuset",
            Self::Io => "io",
            Self::Hugetlb => "hugetlb",
            Self::Devices => "devices",
        }
    }
}

/// What is isolated. A mount namespace is not a choice: every container has one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Isolation {
    /// Controllers that get a cgroup and, where [`Limits`] says so, a limit.
    pub controllers: BTreeSet<Controller>,
    /// Own process ids; without them the command sees the host's processes (Mesos: `share_pid_namespace`).
    pub pid: bool,
    /// Own System V IPC, POSIX queues and `/dev/shm`; without them it has the host's (Mesos: `ipc_mode` of
    /// `SHARE_PARENT`).
    pub ipc: bool,
    /// Own host name.
    pub uts: bool,
    /// Own view of the cgroup tree.
    pub cgroup: bool,
    /// Own network, with nothing in it but the loopback interface, which is up.
    pub net: bool,
    /// The default seccomp profile.
    pub seccomp: bool,
    /// Capabilities cut down to [`ContainerSpec::capabilities`].
    pub capabilities: bool,
    /// `execve` can't raise privileges (no setuid, no file capabilities).
    pub no_new_privileges: bool,
}

impl Default for Isolation {
    /// Everything but an own network (`--isolation=cgroups,namespaces`).
    fn default() -> Self {
        Self {
            controllers: Controller::ALL.into_iter().collect(),
            pid: true,
            ipc: true,
            uts: true,
            cgroup: true,
            net: false,
            seccomp: true,
            capabilities: true,
            no_new_privileges: true,
        }
    }
}

/// Users and groups of a user namespace: 0 to `length` inside are `base` and the following outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// The host's id of root inside.
    pub base: u32,
    /// How many there are.
    pub length: u32,
}

impl IdRange {
    /// The host's id of one inside; `None` when it lies outside of the range.
    #[must_use]
    pub fn on_host(self, inside: u32) -> Option<u32> {
        (inside < self.length).then(|| self.base.checked_add(inside)).flatten()
    }

    /// Whether it holds anybody, nobody of the host's own system users, and not the id that is none.
    #[must_use]
    pub fn is_usable(self) -> bool {
        self.length > 0 && self.base >= 1000 && self.base.checked_add(self.length).is_some()
    }
}

/// A resource limit of the process (`setrlimit`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// The name as in `RLIMIT_NOFILE`.
    pub name: String,
    /// Soft limit; `u64::MAX` is unlimited.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k17_ids_that_could_leave_the_folder_are_refused() {
        let long = "a".repeat(ContainerId::MAX + 1);
        for bad in ["", ".", "..", "a/b", "../../x", "a\0b", "ü", "a b", "a+b", "%2e", &long] {
            assert!(ContainerId::new(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "...", "-a", "A.b_c-9", &"a".repeat(ContainerId::MAX)] {
            assert!(ContainerId::new(good).is_ok(), "{good:?}");
        }
        assert!(serde_json::from_str::<ContainerId>("\"../x\"").is_err());
    }

    #[test]
    fn a_refused_id_is_cut_in_the_message() {
        let refused = ContainerId::new("x".repeat(4096)).unwrap_err();
        assert_eq!(refused.id.len(), 80);
    }
}
