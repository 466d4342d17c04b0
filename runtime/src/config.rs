//! Where the runtime keeps its folders and cgroups.
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::spec::ContainerId;

/// Settings that all containers of one agent share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeConfig {
    /// Folder for sockets, records and mount points; best on a tmpfs such as `/run/tepui`. It is
    /// created with mode 0700.
    pub runtime_dir: PathBuf,
    /// Cgroup below which all containers live, relative to each hierarchy's root.
    /// Mesos: `--cgroups_root`, default `mesos`.
    pub cgroups_root: String,
    /// The program whose `main` calls [`crate::supervise_main`]. Default: the running executable,
    /// `/proc/self/exe`.
    pub executable: PathBuf,
    /// What it is called with. Default `["supervise"]`.
    pub supervise_args: Vec<String>,
}

impl RuntimeConfig {
    /// Settings with the default cgroup root.
    pub fn new(runtime_dir: impl Into<PathBuf>) -> Self {
        Self {
            runtime_dir: runtime_dir.into(),
            cgroups_root: "mesos".to_owned(),
            executable: PathBuf::from("/proc/self/exe"),
            supervise_args: vec!["supervise".to_owned()],
        }
    }

    pub(crate) fn containers(&self) -> PathBuf {
        self.runtime_dir.join("containers")
    }

    /// Where each builder mounts, in a namespace of its own; on the host nothing is ever mounted there.
    pub(crate) fn mount(&self) -> PathBuf {
        self.runtime_dir.join("mnt")
    }

    pub(crate) fn folder(&self, id: &ContainerId) -> Folder {
        Folder(self.containers().join(id.as_str()))
    }
}

/// The folder of one container below the runtime folder, and the names in it.
#[derive(Clone, Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) const SOCKET: &str = "keeper.sock";
    pub(crate) const LOG: &str = "keeper.log";
    pub(crate) const EXIT: &str = "exit.json";

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}
