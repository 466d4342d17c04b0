//! From what was asked for to an OCI runtime spec, without touching the host. Every field that
//! libcontainer or oci-spec would fill with a default of their own is set here.
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, Process, Root, Spec, User};

use crate::ending::{Failure, FailureKind, Stage};
use crate::isolators::{Draft, ORDER, Request, lies_in};
use crate::spec::ContainerSpec;

/// Used when the environment names none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Longest argument list with environment, in bytes: well below what `execve` takes.
const MAX_STRINGS: usize = 1 << 20;

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
    pub open_files: (u64, u64),
}

/// Refuses what no container can be made of, whatever the host.
pub(crate) fn check(spec: &ContainerSpec) -> Result<(), Failure> {
    let refused = |message: String| Err(Failure::new(Stage::Prepare, FailureKind::Refused, message));
    let Some(program) = spec.program() else { return refused("the command is empty".to_owned()) };
    if spec.argv.is_empty() || program.is_empty() {
        return refused("the command is empty: name a program, and its argv[0]".to_owned());
    }
    let strings = spec.argv.iter().chain(spec.env.iter().flat_map(|(name, value)| [name, value]));
    if program.contains('\0') || strings.clone().any(|text| text.contains('\0')) {
        return refused("an argument or environment variable holds a zero byte".to_owned());
    }
    if strings.map(|text| text.len() + 1).sum::<usize>() > MAX_STRINGS {
        return refused(format!("arguments and environment together are longer than {MAX_STRINGS} bytes"));
    }
    if let Some((name, _)) = spec.env.iter().find(|(name, _)| name.is_empty() || name.contains('=')) {
        return refused(format!("{name:?} can't be the name of an environment variable"));
    }
    check_cwd(&spec.cwd)
}

/// The folders of descriptors are the classic way out of a container (CVE-2024-21626).
fn check_cwd(cwd: &Path) -> Result<(), Failure> {
    if cwd.is_absolute() && !lies_in(cwd, Path::new("/proc")) {
        return Ok(());
    }
    let message =
        format!("{} can't be the working directory: give an absolute path outside of /proc", cwd.display());
    Err(Failure::new(Stage::Prepare, FailureKind::WorkingDirectory, message))
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
    let request = Request { spec, runtime_dir: ground.runtime_dir, open_files: ground.open_files };
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
        .set_linux(Some(linux(ground, draft)))
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
        .set_rlimits(Some(std::mem::take(&mut draft.rlimits)))
        // `false` given would load seccomp after the capabilities are dropped, which fails; absent loads
        // it before.
        .set_no_new_privileges(draft.no_new_privileges.then_some(true))
        .set_apparmor_profile(None)
        // libcontainer would write it to the keeper itself, for good.
        .set_oom_score_adj(None)
        .set_selinux_label(None);
    process
}

fn linux(ground: &Ground<'_>, draft: Draft) -> Linux {
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
        .set_uid_mappings(None)
        .set_gid_mappings(None)
        .set_sysctl(None)
        .set_mount_label(None)
        .set_intel_rdt(None)
        .set_personality(None);
    linux
}

#[cfg(test)]
mod tests;
