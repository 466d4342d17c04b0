//! Where a keeper itself belongs: the keepers' cgroup.

use std::path::Path;

use super::{Error, KEEPERS, Layout, files, relative};

/// v1 controllers of which a keeper leaves the agent's cgroup, lest the agent's limits hold for it.
const V1_OF_KEEPERS: [&str; 5] = ["cpu", "cpuacct", "memory", "pids", "freezer"];

/// "The caller" in the files through which one joins a cgroup.
pub(super) const MYSELF: &str = "0";

/// The v1 file through which a thread joins; for the calling one the kernel waits for nothing.
pub(super) const V1_SELF: &str = "tasks";

impl Layout {
    /// Moves the calling process, which has one thread, to `<root>/keepers`, in the v2 tree and, on a hybrid host, in the v1 hierarchies
    /// that limit anything: out of the agent's cgroup, so neither its limits nor its end reach a keeper.
    ///
    /// # Errors
    /// What the kernel said about the first hierarchy where it failed; the others were tried all the same.
    pub fn settle_keeper(&self, root: &str) -> Result<(), Error> {
        let root = relative(root)?;
        let v1 = V1_OF_KEEPERS.iter().filter_map(|name| self.v1_mount(name));
        let mut done = enter_keepers(&self.unified, &root, "cgroup.procs");
        let mut seen: Vec<&Path> = Vec::new();
        for mount in v1 {
            if !seen.contains(&mount) {
                seen.push(mount);
                done = done.and(enter_keepers(mount, &root, V1_SELF));
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

fn enter_keepers(mount: &Path, root: &Path, file: &str) -> Result<(), Error> {
    let mut at = mount.to_owned();
    for part in root.iter().chain([KEEPERS.as_ref()]) {
        at.push(part);
        files::make(&at)?;
    }
    files::write(&at.join(file), MYSELF)
}
