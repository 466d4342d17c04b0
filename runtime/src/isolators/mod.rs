//! What isolates a container, one file a concern; the order of preparation is a table.
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxCapabilities, LinuxNamespace, LinuxSeccomp, Mount};

use crate::ending::Failure;
use crate::spec::ContainerSpec;

mod capabilities;
pub mod devices;
pub(crate) mod filesystem;
mod namespaces;
pub(crate) mod rlimits;
pub mod seccomp;

/// What the isolators may look at.
pub(crate) struct Request<'a> {
    pub spec: &'a ContainerSpec,
    /// The runtime folder, hidden from a command that sees the host's files.
    pub runtime_dir: &'a Path,
}

/// What they put together.
#[derive(Default)]
pub(crate) struct Draft {
    pub mounts: Vec<Mount>,
    pub masked: Vec<String>,
    pub readonly: Vec<String>,
    pub namespaces: Vec<LinuxNamespace>,
    pub capabilities: Option<LinuxCapabilities>,
    pub seccomp: Option<LinuxSeccomp>,
    pub no_new_privileges: bool,
}

/// One isolator's part. It is pure: it reads the request and adds to the draft.
pub(crate) type Prepare = fn(&Request<'_>, &mut Draft) -> Result<(), Failure>;

/// First prepared, first written. (Cgroups, devices, resource limits and the sandbox are set up outside of
/// libcontainer.)
pub(crate) const ORDER: &[(&str, Prepare)] = &[
    ("filesystem", filesystem::prepare),
    ("capabilities", capabilities::prepare),
    ("namespaces", namespaces::prepare),
    ("seccomp", prepare_seccomp),
];

fn prepare_seccomp(request: &Request<'_>, draft: &mut Draft) -> Result<(), Failure> {
    let isolation = &request.spec.isolation;
    draft.no_new_privileges = isolation.no_new_privileges;
    // With no-new-privileges the executor loads our own filter: libseccomp takes 15 ms to make one.
    if isolation.seccomp && !isolation.no_new_privileges {
        draft.seccomp = Some(seccomp::profile(&request.spec.capabilities));
    }
    Ok(())
}

/// Whether `path` is `below` or lies in it, compared as text.
pub(crate) fn lies_in(path: &Path, below: &Path) -> bool {
    let clean = |path: &Path| -> PathBuf { path.components().collect() };
    clean(path).starts_with(clean(below))
}
