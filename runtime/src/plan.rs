//! From what was asked for to an OCI runtime spec, without touching the host. Every field that
//! libcontainer or oci-spec would fill with a default of their own is set here.
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxIdMappingBuilder, Process, Root, Spec, User};

use crate::ending::Failure;
use crate::isolators::{Draft, ORDER, Request};
use crate::spec::{ContainerSpec, IdRange};

mod check;

pub(crate) use check::check;

/// Used when the environment names none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Who the command runs as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    /// For `HOME`.
    pub home: String,
}

/// What the host contributes to a plan.
pub(crate) struct Ground<'a> {
    pub rootfs: &'a Path,
    pub runtime_dir: &'a Path,
    pub cgroup: PathBuf,
    pub identity: &'a Identity,
}

/// The environment as the command gets it: the given one, and `PATH` and `HOME` when they lack.
pub(crate) fn environment(spec: &ContainerSpec, identity: &Identity) -> Vec<(String, String)> {
    let mut env = spec.env.clone();
    for (name, value) in [("PATH", DEFAULT_PATH), ("HOME", identity.home.as_str())] {
        if !env.iter().any(|(given, value)| given == name && !value.is_empty()) {
            env.retain(|(given, _)| given != name);
            env.push((name.to_owned(), value.to_owned()));
        }
    }
    env
}

/// The whole spec for libcontainer.
///
/// # Errors
/// A [`Failure`] of an isolator that can't do what is asked.
pub(crate) fn oci_spec(spec: &ContainerSpec, ground: &Ground<'_>) -> Result<Spec, Failure> {
    let request = Request { spec, runtime_dir: ground.runtime_dir };
    let mut draft = Draft::default();
    for (_, prepare) in ORDER {
        prepare(&request, &mut draft)?;
    }
    let mut root = Root::default();
    root.set_path(ground.rootfs.to_owned()).set_readonly(Some(spec.read_only_rootfs));
    let hostname = spec.hostname.clone().filter(|_| spec.isolation.uts);
    let mut oci = Spec::default();
    oci.set_version("1.2.0".to_owned())
        .set_root(Some(root))
        .set_hostname(hostname)
        .set_domainname(None)
        .set_mounts(Some(std::mem::take(&mut draft.mounts)))
        .set_process(Some(process(spec, ground.identity, &mut draft)))
        .set_linux(Some(linux(spec, ground, draft)))
        .set_hooks(None)
        .set_annotations(None);
    Ok(oci)
}

/// Arguments, environment and working directory are the executor's business; what libcontainer gets
/// of them only satisfies its checks.
fn process(spec: &ContainerSpec, identity: &Identity, draft: &mut Draft) -> Process {
    let mut user = User::default();
    user.set_uid(identity.uid)
        .set_gid(identity.gid)
        .set_umask(Some(0o022))
        .set_additional_gids(Some(identity.groups.clone()));
    let env = environment(spec, identity).into_iter().map(|(name, value)| format!("{name}={value}"));
    let mut process = Process::default();
    process
        .set_terminal(Some(false))
        .set_user(user)
        .set_args(Some(spec.argv.clone()))
        .set_env(Some(env.collect()))
        .set_cwd(PathBuf::from("/"))
        .set_capabilities(draft.capabilities.take())
        // Set by us, from outside.
        .set_rlimits(None)
        // `false` given would load seccomp after the capabilities are dropped, which fails; absent loads
        // it before.
        .set_no_new_privileges(draft.no_new_privileges.then_some(true))
        .set_apparmor_profile(None)
        // libcontainer would write it to the keeper itself, for good.
        .set_oom_score_adj(None)
        .set_selinux_label(None);
    process
}

fn linux(spec: &ContainerSpec, ground: &Ground<'_>, draft: Draft) -> Linux {
    let ids = spec.user_namespace.map(|ids| vec![id_mapping(ids)]);
    let mut linux = Linux::default();
    linux
        .set_namespaces(Some(draft.namespaces))
        .set_cgroups_path(Some(ground.cgroup.clone()))
        // Limits and the device filter are in force already, set by us.
        .set_resources(None)
        .set_devices(None)
        .set_seccomp(draft.seccomp)
        .set_masked_paths(Some(draft.masked))
        .set_readonly_paths(Some(draft.readonly))
        .set_rootfs_propagation(None)
        .set_uid_mappings(ids.clone())
        .set_gid_mappings(ids)
        .set_sysctl(None)
        .set_mount_label(None)
        .set_intel_rdt(None)
        .set_personality(None);
    linux
}

fn id_mapping(ids: IdRange) -> LinuxIdMapping {
    let mapping =
        LinuxIdMappingBuilder::default().container_id(0u32).host_id(ids.base).size(ids.length).build();
    mapping.expect("all of its fields are given")
}

#[cfg(test)]
mod tests;
