//! The cgroups of a container: the only place that writes cgroup files.
//!
//! | | pure v2 | hybrid |
//! |---|---|---|
//! | limits | `<root>/<id>` | `<controller>/<root>/<id>` for each v1 controller |
//! | processes | `<root>/<id>/leaf` | the same, and `unified/<root>/<id>` |
//! | devices | a BPF program on `<root>/<id>` | `devices.deny`, `devices.allow` |
//! | tracking, kill | `<root>/<id>` | `unified/<root>/<id>` |
//! | keepers | `<root>/keepers` | `unified/<root>/keepers` and in each v1 controller used |
//!
//! On v2 the processes live one below the limits, so that the container's own cgroup namespace starts below them
//! and no process of it can be where they are set (Mesos has the same leaf).
//!
//! All is made here before libcontainer starts anything, and libcontainer itself does no cgroup work: the process
//! that calls it is born in the container's cgroup ([`Cgroups::birthplace`], [`Cgroups::join`]) and sees no
//! cgroup mounts. (Its v2 manager would enable every controller and ignore the errors, its v1 manager knows
//! nothing of a hybrid host's unified tree and parses the mount table a dozen times a start.)
//!
//! Why not the crate cgroups-rs (0.5.1): its v2 hierarchy is fixed to `/sys/fs/cgroup` and its v1 one to
//! `/proc/self/mountinfo`, so a hybrid tree has no place in it; it enables every controller from the root down and
//! drops the errors of that; its statistics turn an unreadable file into 0, so a missing limit can't be told from
//! none; `memory.events`, `memory.oom.group`, `memory.swap.max` and `cgroup.events` are unknown to it; and it
//! brings zbus with an executor and threads (70 crates) into a keeper that must stay single-threaded.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use crate::isolators::devices;
use crate::kernel::bpf;
use crate::spec::{ContainerId, Controller, Isolation, Limits};

mod adopt;
mod error;
mod files;
mod keeper;
mod kill;
mod layout;
mod remove;
mod statistics;
mod update;
mod values;
mod watch;

#[cfg(test)]
mod tests;

pub use error::Error;
pub use layout::Layout;
pub(crate) use statistics::Counters;
pub use statistics::{DeviceIo, IoCounts, Pressure, PressureLine, Statistics};
pub use watch::Watch;

/// Where the processes of a container are on v2, below its limits.
const LEAF: &str = "leaf";

/// Cgroups beside the containers', so no container can have their names (Mesos has the agent itself in `agent`).
const RESERVED: [&str; 2] = [KEEPERS, "agent"];
const KEEPERS: &str = "keepers";

/// Controllers whose absence is an error when they are isolated; the absence of others only when they are to limit
/// something.
const ENFORCED: [Controller; 4] =
    [Controller::Cpu, Controller::Memory, Controller::Pids, Controller::Devices];

/// The cgroups of one container. Dropping it leaves them as they are.
#[derive(Clone, Debug)]
pub struct Cgroups {
    layout: Layout,
    /// The agent's part of every hierarchy, relative: as `mesos`.
    root: PathBuf,
    id: String,
}

impl Cgroups {
    /// Makes the cgroups of a container, with its limits and its device policy in force, and no process in them.
    /// What was made is removed again when a later step fails.
    ///
    /// # Errors
    /// [`Error::Missing`] when the host lacks a controller that `isolation` names, [`Error::Exists`] when an
    /// earlier container's cgroup is still there, [`Error::Name`] for a reserved id or a bad `root`; otherwise
    /// what the kernel said, with the file.
    pub fn create(
        layout: &Layout,
        root: &str,
        id: &ContainerId,
        limits: &Limits,
        isolation: &Isolation,
        policy: &devices::Policy,
    ) -> Result<Self, Error> {
        let cgroups = Self::named(layout, root, id.as_str())?;
        let needed = needed(limits, &isolation.controllers);
        cgroups.refuse_missing(&needed)?;
        let prepared = if layout.is_hybrid() {
            cgroups.make_hybrid(&needed)
        } else {
            cgroups.make_v2(&isolation.controllers)
        };
        let done = prepared.and_then(|()| cgroups.restrict(limits, &isolation.controllers, policy));
        if let Err(error) = done {
            // An earlier container's cgroup is not ours to remove.
            if !matches!(error, Error::Exists { .. }) {
                let _ = cgroups.remove(std::time::Duration::ZERO);
            }
            return Err(error);
        }
        Ok(cgroups)
    }

    /// The cgroups that [`Cgroups::create`] made earlier, by this process or another; nothing is checked or made.
    ///
    /// # Errors
    /// [`Error::Name`] for a reserved id or a bad `root`.
    pub fn open(layout: &Layout, root: &str, id: &ContainerId) -> Result<Self, Error> {
        Self::named(layout, root, id.as_str())
    }

    fn named(layout: &Layout, root: &str, id: &str) -> Result<Self, Error> {
        if RESERVED.contains(&id) {
            return Err(Error::Name { name: id.to_owned() });
        }
        Ok(Self { layout: layout.clone(), root: relative(root)?, id: id.to_owned() })
    }

    /// What goes into `linux.cgroupsPath`: absolute below every hierarchy's mount point.
    #[must_use]
    pub fn libcontainer_path(&self) -> PathBuf {
        let own = Path::new("/").join(&self.root).join(&self.id);
        if self.layout.is_hybrid() { own } else { own.join(LEAF) }
    }

    /// Whether anything of the container's cgroups is there.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.places().iter().any(|path| path.exists())
    }

    /// The container's cgroup in the v2 tree: limits on a pure v2 host, tracking on both.
    fn tracking(&self) -> PathBuf {
        self.layout.unified.join(&self.root).join(&self.id)
    }

    /// The container's cgroup in a v1 hierarchy.
    fn v1(&self, controller: &str) -> Option<PathBuf> {
        self.layout.v1_mount(controller).map(|mount| mount.join(&self.root).join(&self.id))
    }

    /// The container's cgroup in every hierarchy, the tracking one first.
    fn places(&self) -> Vec<PathBuf> {
        let v1 = self.layout.v1.iter().map(|mount| mount.path.join(&self.root).join(&self.id));
        std::iter::once(self.tracking()).chain(v1).collect()
    }

    fn refuse_missing(&self, needed: &BTreeSet<Controller>) -> Result<(), Error> {
        match self.layout.lacking(needed)?.first() {
            None => Ok(()),
            Some(controller) => {
                Err(Error::Missing { controller: *controller, hybrid: self.layout.is_hybrid() })
            }
        }
    }

    fn make_v2(&self, controllers: &BTreeSet<Controller>) -> Result<(), Error> {
        let offered = self.layout.v2_controllers()?;
        let names = controllers.iter().map(|controller| controller.as_str());
        let wanted: Vec<&str> = names.filter(|name| offered.iter().any(|one| one == name)).collect();
        let mut at = self.layout.unified.clone();
        enable(&at, &wanted)?;
        for part in &self.root {
            at.push(part);
            files::make(&at)?;
            enable(&at, &wanted)?;
        }
        make_own(&self.tracking())?;
        files::make(&self.tracking().join(LEAF)).map(|_| ())
    }

    fn make_hybrid(&self, needed: &BTreeSet<Controller>) -> Result<(), Error> {
        let mut mounts = vec![self.layout.unified.as_path()];
        // The others are made by `join`. The freezer tells who belongs to the container when tracking failed.
        let ours = needed.iter().flat_map(|one| layout::v1_names(*one));
        for name in ours.copied().chain(["freezer"]) {
            match self.layout.v1_mount(name) {
                Some(mount) if !mounts.contains(&mount) => mounts.push(mount),
                _ => {}
            }
        }
        for mount in mounts {
            let cpuset = self.layout.v1_mount("cpuset") == Some(mount);
            let mut at = mount.to_owned();
            for part in &self.root {
                at.push(part);
                files::make(&at)?;
                adopt::inherit(&at, cpuset)?;
            }
            let own = at.join(&self.id);
            make_own(&own)?;
            adopt::inherit(&own, cpuset)?;
        }
        Ok(())
    }

    fn restrict(
        &self,
        limits: &Limits,
        controllers: &BTreeSet<Controller>,
        policy: &devices::Policy,
    ) -> Result<(), Error> {
        for setting in self.settings(limits, controllers) {
            self.apply(&setting)?;
        }
        if controllers.contains(&Controller::Devices) { self.restrict_devices(policy) } else { Ok(()) }
    }

    fn settings(&self, limits: &Limits, controllers: &BTreeSet<Controller>) -> Vec<values::Setting> {
        if self.layout.is_hybrid() {
            values::v1(limits, controllers)
        } else {
            values::v2(limits, controllers)
        }
    }

    fn apply(&self, setting: &values::Setting) -> Result<(), Error> {
        let place = self.place_of(setting)?;
        match (files::write(&place.join(&*setting.file), &setting.value), &setting.instead) {
            (Err(Error::Write { source, .. }), Some((file, value))) if files::is_gone(&source) => {
                files::write(&place.join(file), value)
            }
            (Err(Error::Write { source, .. }), None) if setting.optional && files::is_gone(&source) => Ok(()),
            (done, _) => done,
        }
    }

    /// The folder in which a setting's file lies.
    fn place_of(&self, setting: &values::Setting) -> Result<PathBuf, Error> {
        if !self.layout.is_hybrid() {
            return Ok(self.tracking());
        }
        self.v1(setting.controller).ok_or_else(|| Error::Read {
            path: PathBuf::from(setting.controller),
            source: io::Error::from(io::ErrorKind::NotFound),
        })
    }

    /// In force as long as the cgroup is there, whoever made it may end (threats K18).
    fn restrict_devices(&self, policy: &devices::Policy) -> Result<(), Error> {
        if let Some(place) = self.v1("devices") {
            files::write(&place.join("devices.deny"), "a")?;
            return policy
                .v1_lines()
                .iter()
                .try_for_each(|line| files::write(&place.join("devices.allow"), line));
        }
        let path = self.tracking();
        let attach = || {
            let folder = std::fs::File::open(&path)?;
            let program = bpf::load_device_program(&policy.program())?;
            bpf::attach_device_program(folder.as_fd(), program.as_fd())
        };
        attach().map_err(|source| Error::Devices { path: path.clone(), source })
    }
}

/// The controllers without which a container with these limits must not run.
fn needed(limits: &Limits, controllers: &BTreeSet<Controller>) -> BTreeSet<Controller> {
    let wanted = ENFORCED.into_iter().chain(limits.asks_for());
    wanted.filter(|one| controllers.contains(one)).collect()
}

/// The agent's part of the hierarchies as a relative path of plain names.
fn relative(root: &str) -> Result<PathBuf, Error> {
    let trimmed = root.trim_matches('/');
    let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
    if trimmed.is_empty() || !trimmed.split('/').all(plain) {
        return Err(Error::Name { name: root.to_owned() });
    }
    Ok(PathBuf::from(trimmed))
}

fn make_own(path: &Path) -> Result<(), Error> {
    if files::make(path)? { Ok(()) } else { Err(Error::Exists { path: path.to_owned() }) }
}

/// Lets the children of a v2 cgroup have controllers.
fn enable(path: &Path, wanted: &[&str]) -> Result<(), Error> {
    let control = path.join("cgroup.subtree_control");
    let enabled = files::read(&control)?;
    for name in wanted.iter().filter(|name| !enabled.split_whitespace().any(|one| one == **name)) {
        files::write(&control, &format!("+{name}")).map_err(|error| match error {
            Error::Write { source, .. } => {
                Error::Enable { controller: (*name).to_owned(), path: path.to_owned(), source }
            }
            other => other,
        })?;
    }
    Ok(())
}
