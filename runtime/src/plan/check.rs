//! What no container can be made of, whatever the host. Pure.
use std::path::Path;

use crate::ending::{Failure, FailureKind, Stage};
use crate::isolators::{filesystem, lies_in, rlimits};
use crate::spec::ContainerSpec;

/// Longest argument list with environment, in bytes: well below what `execve` takes.
const MAX_STRINGS: usize = 1 << 20;

fn refused(message: String) -> Failure {
    Failure::new(Stage::Prepare, FailureKind::Refused, message)
}

/// Refuses what can't be.
pub(crate) fn check(spec: &ContainerSpec) -> Result<(), Failure> {
    command(spec)?;
    cwd(&spec.cwd)?;
    spec.limits.check().map_err(refused)?;
    rlimits::wanted(spec, None)?;
    user_namespace(spec)?;
    filesystem::check_sandbox(spec)
}

fn command(spec: &ContainerSpec) -> Result<(), Failure> {
    let Some(program) = spec.program() else { return Err(refused("the command is empty".to_owned())) };
    if spec.argv.is_empty() || program.is_empty() {
        return Err(refused("the command is empty: name a program, and its argv[0]".to_owned()));
    }
    let strings = spec.argv.iter().chain(spec.env.iter().flat_map(|(name, value)| [name, value]));
    if program.contains('\0') || strings.clone().any(|text| text.contains('\0')) {
        return Err(refused("an argument or environment variable holds a zero byte".to_owned()));
    }
    if strings.map(|text| text.len() + 1).sum::<usize>() > MAX_STRINGS {
        return Err(refused(format!(
            "arguments and environment together are longer than {MAX_STRINGS} bytes"
        )));
    }
    match spec.env.iter().find(|(name, _)| name.is_empty() || name.contains('=')) {
        Some((name, _)) => Err(refused(format!("{name:?} can't be the name of an environment variable"))),
        None => Ok(()),
    }
}

/// The folders of descriptors are the classic way out of a container (CVE-2024-21626).
fn cwd(cwd: &Path) -> Result<(), Failure> {
    if cwd.is_absolute() && !lies_in(cwd, Path::new("/proc")) {
        return Ok(());
    }
    let message =
        format!("{} can't be the working directory: give an absolute path outside of /proc", cwd.display());
    Err(Failure::new(Stage::Prepare, FailureKind::WorkingDirectory, message))
}

/// Without an image the host's files would belong to nobody inside; and what the kernel lets the root of a user
/// namespace mount is what belongs to namespaces of its own.
fn user_namespace(spec: &ContainerSpec) -> Result<(), Failure> {
    let Some(ids) = spec.user_namespace else { return Ok(()) };
    let why = if !ids.is_usable() {
        format!(
            "its ids on the host ({} and {} more) must be 1000 or above, and below {}",
            ids.base,
            ids.length,
            u32::MAX
        )
    } else if !spec.rootfs.is_image() {
        "it needs an image: the host's files would belong to nobody in it".to_owned()
    } else if !(spec.isolation.pid && spec.isolation.ipc && spec.isolation.cgroup && spec.isolation.uts) {
        "it needs pid, ipc, uts and cgroup namespaces of its own as well; don't share them".to_owned()
    } else {
        return Ok(());
    };
    Err(refused(format!("the container can't have a user namespace: {why}")))
}
