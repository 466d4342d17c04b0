//! Where the calling process itself belongs: the keepers' cgroup, and for a moment the container's.

use std::path::Path;

use super::{Cgroups, Error, KEEPERS, Layout, files, relative};

/// v1 controllers of which a keeper leaves the agent's cgroup, lest the agent's limits hold for it.
const V1_OF_KEEPERS: [&str; 5] = ["cpu", "cpuacct", "memory", "pids", "freezer"];

/// "The calling process" in a `cgroup.procs` file.
const MYSELF: &str = "0";

impl Layout {
    /// Moves the calling process to `<root>/keepers`, in the v2 tree and, on a hybrid host, in the v1 hierarchies
    /// that limit anything: out of the agent's cgroup, so neither its limits nor its end reach a keeper.
    ///
    /// # Errors
    /// What the kernel said about the first hierarchy where it failed; the others were tried all the same.
    pub fn settle_keeper(&self, root: &str) -> Result<(), Error> {
        let root = relative(root)?;
        let v1 = V1_OF_KEEPERS.iter().filter_map(|name| self.v1_mount(name));
        let mut done = Ok(());
        let mut seen: Vec<&Path> = Vec::new();
        for mount in std::iter::once(self.unified.as_path()).chain(v1) {
            if !seen.contains(&mount) {
                seen.push(mount);
                done = done.and(enter_keepers(mount, &root));
            }
        }
        done
    }

    /// Removes `<root>/keepers` and `<root>` from every hierarchy, as far as nobody is in them: for who stops using
    /// this root for good. With containers or keepers left it does nothing to what they are in.
    ///
    /// # Errors
    /// [`Error::Name`] for a bad `root`.
    pub fn remove_root(&self, root: &str) -> Result<(), Error> {
        let root = relative(root)?;
        for mount in std::iter::once(&self.unified).chain(self.v1.iter().map(|mount| &mount.path)) {
            let _ = std::fs::remove_dir(mount.join(&root).join(KEEPERS));
            for part in root.ancestors().filter(|part| !part.as_os_str().is_empty()) {
                let _ = std::fs::remove_dir(mount.join(part));
            }
        }
        Ok(())
    }
}

impl Cgroups {
    /// On a hybrid host, moves the calling process into the container's cgroup of the unified tree, so that the
    /// container is born there; libcontainer knows nothing of that tree, and once its first process has a cgroup
    /// namespace it is too late. Nothing on pure v2.
    ///
    /// Call it just before libcontainer's `build()`, and [`Cgroups::leave`] before its `start()`: as long as the
    /// caller is inside, a kill of the container kills it as well.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn enter(&self) -> Result<(), Error> {
        if !self.layout.is_hybrid() {
            return Ok(());
        }
        files::write(&self.tracking().join("cgroup.procs"), MYSELF)
    }

    /// Ends what [`Cgroups::enter`] began: the calling process goes to the keepers' cgroup of the unified tree.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn leave(&self) -> Result<(), Error> {
        if !self.layout.is_hybrid() {
            return Ok(());
        }
        enter_keepers(&self.layout.unified, &self.root)
    }
}

fn enter_keepers(mount: &Path, root: &Path) -> Result<(), Error> {
    let mut at = mount.to_owned();
    for part in root.iter().chain([KEEPERS.as_ref()]) {
        at.push(part);
        files::make(&at)?;
    }
    files::write(&at.join("cgroup.procs"), MYSELF)
}
