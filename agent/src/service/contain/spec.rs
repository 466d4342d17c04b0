//! From a task to what the runtime is asked for. Pure but for the paths it is given.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use images::ImageConfig;
use model::user::of_task;
use runtime::{ContainerSpec, IdRange, Isolation, Limits, Rootfs, SandboxMount};
use wire::v1;
use wire::v1::container_info::Type as ContainerType;
use wire::v1::container_info::docker_info::Network;
use wire::v1::image::Type as ImageType;
use wire::v1::linux_info::IpcMode;

use super::bounds::{limits, rlimits};
use super::command::{self, Command};
use crate::config::Logger;
use crate::logic::Launch;
use crate::rotation::RotateBy;

/// What all containers of an agent have in common.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    pub(crate) isolation: Isolation,
    /// The host's ids of each container's user namespace, if containers have one.
    pub(crate) user_namespace: Option<IdRange>,
    /// What containers are limited to beside what their tasks ask for.
    pub(crate) limits: Limits,
    pub(crate) sandbox_directory: PathBuf,
    pub(crate) switch_user: bool,
    pub(crate) cgroups_enable_cfs: bool,
    pub(crate) ignore_runtime: bool,
    pub(crate) use_image_user: bool,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) shm_bytes: Option<u64>,
    /// A task may ask for the host's process ids.
    pub(crate) shares_pid: bool,
    /// A task may ask for the host's System V IPC and POSIX queues.
    pub(crate) shares_ipc: bool,
    pub(crate) logger: Logger,
    /// Folders below which tasks may name local images; everywhere without.
    pub(crate) local_image_dirs: Option<Vec<PathBuf>>,
    /// Names of images that are never removed.
    pub(crate) excluded_images: Vec<String>,
    pub(crate) shutdown_grace: Duration,
    /// Where the agent's own API answers, as told to others.
    pub(crate) endpoint: SocketAddr,
}

/// The image that a task asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct WantedImage {
    /// Its name, as given.
    pub(crate) name: String,
    /// Ask the registry even if the image is there. Mesos: `cached=false`, `force_pull_image`.
    pub(crate) force: bool,
    /// Logins of the task's own, as Docker's `config.json`.
    pub(crate) secret: Option<String>,
}

/// The image of a task, if it has one.
///
/// # Errors
/// It asks for something that this agent can't do.
pub(crate) fn wanted_image(task: &v1::TaskInfo) -> Result<Option<WantedImage>, String> {
    let Some(container) = &task.container else { return Ok(None) };
    match container.r#type() {
        ContainerType::Docker => {
            let docker = container.docker.as_ref().ok_or("A container of type DOCKER needs 'docker'")?;
            let force = docker.force_pull_image();
            Ok(Some(WantedImage { name: docker.image.clone(), force, secret: None }))
        }
        ContainerType::Mesos => {
            let Some(image) = container.mesos.as_ref().and_then(|m| m.image.as_ref()) else {
                return Ok(None);
            };
            if image.r#type() != ImageType::Docker {
                return Err("Images of type APPC are not supported; use DOCKER".to_owned());
            }
            let docker = image.docker.as_ref().ok_or("An image of type DOCKER needs 'docker'")?;
            if docker.credential.is_some() {
                return Err(
                    "docker.credential is not supported; give a config.json in docker.config".to_owned()
                );
            }
            let secret = docker.config.as_ref().map(config_of).transpose()?;
            Ok(Some(WantedImage { name: docker.name.clone(), force: !image.cached(), secret }))
        }
    }
}

/// The `config.json` of an image's secret. Mesos: a reference needs a secret resolver.
fn config_of(secret: &v1::Secret) -> Result<String, String> {
    let value = secret.value.as_ref().filter(|_| secret.r#type() != v1::secret::Type::Reference);
    let value = value
        .ok_or("The image's config refers to a secret; only secrets given by value are supported yet")?;
    String::from_utf8(value.data.to_vec()).map_err(|_| "The image's config is no text".to_owned())
}

/// Refuses what this agent would otherwise leave out in silence.
///
/// # Errors
/// Names what is not supported.
pub(crate) fn check(task: &v1::TaskInfo) -> Result<(), String> {
    let command = task.command.as_ref();
    let container = task.container.as_ref();
    let linux = container.and_then(|c| c.linux_info.as_ref());
    let docker = container.and_then(|c| c.docker.as_ref());
    let networks = container.map(|c| c.network_infos.as_slice()).unwrap_or_default();
    let unsupported = [
        (command.is_some_and(|c| !c.uris.is_empty()), "command.uris"),
        (task.health_check.is_some(), "health_check"),
        (task.check.is_some(), "check"),
        (container.is_some_and(|c| !c.volumes.is_empty()), "container.volumes"),
        (container.is_some_and(|c| c.tty_info.is_some()), "container.tty_info"),
        (
            networks.iter().any(|n| n.name.is_some() || !n.port_mappings.is_empty()),
            "named container networks",
        ),
        (docker.is_some_and(|d| d.privileged()), "docker.privileged"),
        (docker.is_some_and(|d| !d.parameters.is_empty()), "docker.parameters"),
        (docker.is_some_and(|d| !d.port_mappings.is_empty()), "docker.port_mappings"),
        (
            docker.is_some_and(|d| !matches!(d.network(), Network::Host | Network::None)),
            "docker.network other than HOST and NONE",
        ),
        (linux.is_some_and(|l| l.bounding_capabilities.is_some()), "linux_info.bounding_capabilities"),
        (linux.is_some_and(|l| l.effective_capabilities.is_some()), "linux_info.effective_capabilities"),
        (linux.is_some_and(|l| l.capability_info.is_some()), "linux_info.capability_info"),
        (linux.is_some_and(|l| l.seccomp.is_some()), "linux_info.seccomp"),
        (
            linux.is_some_and(|l| l.share_cgroups == Some(false)),
            "linux_info.share_cgroups=false outside of a task group",
        ),
    ];
    match unsupported.iter().find(|(asked, _)| *asked) {
        None => Ok(()),
        Some((_, what)) => Err(format!("The task asks for {what}, which this agent does not support yet")),
    }
}

/// The whole spec.
///
/// # Errors
/// The task can't be run as it is described.
pub(crate) fn spec(
    common: &Common,
    launch: &Launch,
    sandbox: &Path,
    image: Option<(&ImageConfig, Rootfs)>,
) -> Result<ContainerSpec, String> {
    let task = &*launch.task;
    let default = v1::CommandInfo::default();
    let info = task.command.as_ref().unwrap_or(&default);
    let silent = ImageConfig::default();
    let config = image.as_ref().map(|(config, _)| if common.ignore_runtime { &silent } else { *config });
    let Command { program, argv } = command::merge(info, config)?;
    let users = user_namespace(common, image.is_some())?;
    let id = runtime::ContainerId::new(launch.run.container.as_str()).map_err(|e| e.to_string())?;
    let mut spec = ContainerSpec::new(id, argv);
    spec.program = program;
    let inside = match image {
        Some(_) => common.sandbox_directory.clone(),
        None => sandbox.to_owned(),
    };
    spec.env = environment(common, launch, sandbox, &inside, config)?;
    spec.cwd = working_directory(config, &inside);
    spec.user = user(common, launch, config)?;
    if let Some((_, rootfs)) = image {
        spec.rootfs = rootfs;
    }
    spec.sandbox = Some(SandboxMount { source: sandbox.to_owned(), target: inside });
    spec.stdout = Some(sandbox.join("stdout"));
    spec.stderr = Some(sandbox.join("stderr"));
    spec.rotation = rotation(&common.logger, task)?;
    spec.hostname = task.container.as_ref().and_then(|c| c.hostname.clone());
    spec.limits = limits(common, task)?;
    spec.isolation = isolation(common, task)?;
    spec.user_namespace = users;
    spec.rlimits = rlimits(task)?;
    if let Some(bytes) = shm_bytes(common, task)? {
        spec.shm_bytes = bytes;
    }
    spec.kill_grace = launch.grace;
    spec.max_completion = task.max_completion_time.as_ref().map(|t| nanoseconds(t.nanoseconds));
    Ok(spec)
}

/// Mesos: the task's own environment overrides how its output is rotated.
fn rotation(logger: &Logger, task: &v1::TaskInfo) -> Result<Option<runtime::Rotation>, String> {
    let Some(rotation) = logger.rotation else { return Ok(None) };
    let own = task.command.as_ref().map(command::environment).transpose()?.unwrap_or_default();
    let (rotation, left_out) = rotation.for_task(&logger.prefix, &own)?;
    for option in left_out {
        tracing::warn!(task = %task.task_id.value, option, "logrotate's option is not supported and left out");
    }
    let by = |by: RotateBy| runtime::RotateBy { max_bytes: by.max_bytes, keep: by.keep };
    Ok(Some(runtime::Rotation { stdout: by(rotation.stdout), stderr: by(rotation.stderr) }))
}

fn nanoseconds(n: i64) -> Duration {
    Duration::from_nanos(u64::try_from(n).unwrap_or(0))
}

/// Mesos: WORKDIR of the image, else the sandbox.
fn working_directory(image: Option<&ImageConfig>, sandbox: &Path) -> PathBuf {
    match image.and_then(|i| i.working_dir.as_deref()).filter(|dir| !dir.is_empty()) {
        Some(dir) => Path::new("/").join(dir),
        None => sandbox.to_owned(),
    }
}

/// Mesos: the command's user, else the framework's; the image's is ignored. One without a name is nobody's, never root.
fn user(common: &Common, launch: &Launch, image: Option<&ImageConfig>) -> Result<Option<String>, String> {
    if !common.switch_user {
        return Ok(None);
    }
    let own = launch.task.command.as_ref().and_then(|c| c.user.as_deref());
    let of_image = image.filter(|_| common.use_image_user).and_then(|i| i.user.as_deref());
    let user = of_task(own, of_task(of_image, &launch.framework.user));
    if user.is_empty() {
        return Err("Neither the task's command nor its framework names the user to run it as".to_owned());
    }
    // An image need not have a user named root to run as root.
    Ok((user != "root").then(|| user.to_owned()))
}

/// What executors get of Mesos, and under it what the image, over it what the task says.
fn environment(
    common: &Common,
    launch: &Launch,
    sandbox: &Path,
    inside: &Path,
    image: Option<&ImageConfig>,
) -> Result<Vec<(String, String)>, String> {
    let run = &launch.run;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let checkpoint = if launch.framework.checkpoint() { "1" } else { "0" };
    let mut own = vec![
        ("MESOS_FRAMEWORK_ID", run.framework.to_string()),
        ("MESOS_EXECUTOR_ID", run.executor.to_string()),
        ("MESOS_TASK_ID", run.task.to_string()),
        ("MESOS_DIRECTORY", text(sandbox)),
        ("MESOS_SANDBOX", text(inside)),
        ("MESOS_CONTAINER_ID", run.container.to_string()),
        ("MESOS_SLAVE_ID", run.agent.to_string()),
        ("MESOS_AGENT_ID", run.agent.to_string()),
        ("MESOS_SLAVE_PID", format!("slave(1)@{}", common.endpoint)),
        ("MESOS_AGENT_ENDPOINT", common.endpoint.to_string()),
        ("MESOS_CHECKPOINT", checkpoint.to_owned()),
        ("MESOS_HTTP_COMMAND_EXECUTOR", "0".to_owned()),
        ("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", model::time::format_duration(common.shutdown_grace)),
        ("LIBPROCESS_PORT", "0".to_owned()),
    ];
    if launch.framework.checkpoint() {
        own.push(("MESOS_RECOVERY_TIMEOUT", "15mins".to_owned()));
        own.push(("MESOS_SUBSCRIPTION_BACKOFF_MAX", "2secs".to_owned()));
    }
    let role = launch.task.resources.iter().find_map(|r| r.allocation_info.as_ref()?.role.clone());
    own.extend(role.map(|role| ("MESOS_ALLOCATION_ROLE", role)));
    let own: Vec<(String, String)> = own.into_iter().map(|(n, v)| (n.to_owned(), v)).collect();
    let operator: Vec<(String, String)> =
        common.environment.iter().map(|(n, v)| (n.clone(), v.clone())).collect();
    let task = launch.task.command.as_ref().map(command::environment).transpose()?.unwrap_or_default();
    let image = image.map(|i| i.env.as_slice()).unwrap_or_default();
    Ok(command::overlay([image, &own, &operator, &task]))
}

fn linux_info(task: &v1::TaskInfo) -> Option<&v1::LinuxInfo> {
    task.container.as_ref()?.linux_info.as_ref()
}

/// What all containers of the agent have, less what the task asks to share with the host, and without its network
/// where the task wants none.
fn isolation(common: &Common, task: &v1::TaskInfo) -> Result<Isolation, String> {
    let mut isolation = common.isolation.clone();
    let docker = task.container.as_ref().and_then(|c| c.docker.as_ref());
    isolation.net |= docker.is_some_and(|docker| docker.network() == Network::None);
    let Some(linux) = linux_info(task) else { return Ok(isolation) };
    if linux.share_pid_namespace() {
        let flag = "disallow_sharing_agent_pid_namespace";
        may_share(common, common.shares_pid, "linux_info.share_pid_namespace", flag)?;
        isolation.pid = false;
    }
    // Mesos: of a container at the top the parent is the agent.
    if linux.ipc_mode() == IpcMode::ShareParent {
        let flag = "disallow_sharing_agent_ipc_namespace";
        may_share(common, common.shares_ipc, "linux_info.ipc_mode SHARE_PARENT", flag)?;
        isolation.ipc = false;
    }
    Ok(isolation)
}

/// Refuses what the operator doesn't allow, and what a user namespace makes impossible.
fn may_share(common: &Common, allowed: bool, what: &str, flag: &str) -> Result<(), String> {
    let asks = format!("The task asks for {what}, which this agent");
    if common.user_namespace.is_some() {
        return Err(format!(
            "{asks} can't give: its tasks have user namespaces (namespaces/user in --isolation), and those can't \
             share the host's"
        ));
    }
    if allowed { Ok(()) } else { Err(format!("{asks} does not allow; it would with --no-{flag}")) }
}

/// The ids of the container's user namespace. Without an image there can be none, and no task runs less isolated than
/// its operator said.
fn user_namespace(common: &Common, has_image: bool) -> Result<Option<IdRange>, String> {
    match common.user_namespace {
        Some(_) if !has_image => Err("The task has no image, and this agent runs tasks in user namespaces \
            (namespaces/user in --isolation), in which the host's files belong to nobody: give it an image"
            .to_owned()),
        ids => Ok(ids),
    }
}

/// Size of /dev/shm. Mesos: `shm_size` is in MB, and only for an IPC namespace of one's own.
fn shm_bytes(common: &Common, task: &v1::TaskInfo) -> Result<Option<u64>, String> {
    let Some(linux) = linux_info(task) else { return Ok(common.shm_bytes) };
    match (linux.shm_size, linux.ipc_mode()) {
        (Some(_), mode) if mode != IpcMode::Private => {
            Err("linux_info.shm_size can be set only with ipc_mode PRIVATE".to_owned())
        }
        (asked, _) => Ok(asked.map(|megabytes| u64::from(megabytes) << 20).or(common.shm_bytes)),
    }
}

#[cfg(test)]
#[path = "spec_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "metadata_tests.rs"]
mod metadata_tests;
