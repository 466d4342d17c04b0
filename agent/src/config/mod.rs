//! What an agent is told at its start, read from flags and checked.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use coordination::{BadWhereabouts, Whereabouts};
use model::flags::{BadFlag, Values, bad};
use model::size::parse_bytes;
use security::{GateSettings, TlsSettings};
use wire::v1;

use crate::logic::Reconfiguration;
use crate::{flags, isolation};

mod contained;
mod images;
mod resources;
mod room;

pub(crate) use contained::asked;
pub use images::{ImageCollection, Images};
pub use resources::Given;
pub use room::{DiskQuota, Logger};

/// Mesos' realm of requests that only look.
pub(crate) const READONLY: &str = "mesos-agent-readonly";
/// Mesos' realm of requests that may change something.
pub(crate) const READWRITE: &str = "mesos-agent-readwrite";

/// What becomes of the tasks of an earlier life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Recover {
    /// They go on.
    Reconnect,
    /// They are ended, and the agent exits.
    Cleanup,
}

/// Everything an agent is told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address to listen on.
    pub ip: IpAddr,
    /// Port to listen on; 0 takes any free one.
    pub port: u16,
    /// Address to tell others, if not the one listened on.
    pub advertise_ip: Option<IpAddr>,
    /// Port to tell others, if not the one listened on.
    pub advertise_port: Option<u16>,
    /// Name to tell others.
    pub hostname: Option<String>,
    /// Find a name when none is given.
    pub hostname_lookup: bool,
    /// TLS of the port and of the link to the master, if it is spoken.
    pub tls: Option<TlsSettings>,
    /// What stands before the routes.
    pub gate: GateSettings,
    /// The file with the login that the master may ask for.
    pub credential: Option<PathBuf>,
    /// `--master`, for whoever makes the detector.
    pub master: Option<Whereabouts>,
    /// How long a session with an ensemble outlives a silence. Mesos: 10 s.
    pub zk_session_timeout: Duration,
    /// Sandboxes, checkpoints, images.
    pub work_dir: PathBuf,
    /// Sockets and exit records.
    pub runtime_dir: PathBuf,
    /// Program that keepers are started from, and what it is called with before anything else.
    pub keeper_command: (PathBuf, Vec<OsString>),
    /// What is isolated.
    pub isolation: runtime::Isolation,
    /// Names of `--isolation` that only hosts with cgroup v1 controllers know.
    pub isolation_of_v1: Vec<&'static str>,
    /// The host's ids of each container's user namespace, if containers have one.
    pub user_namespace: Option<runtime::IdRange>,
    /// What containers are limited to whatever their tasks ask for.
    pub limits: runtime::Limits,
    /// Don't start when the host lacks any of it.
    pub isolation_strict: bool,
    /// Cgroup below which all containers live.
    pub cgroups_root: String,
    /// A task without a limit gets no more CPU time than it asked for.
    pub cgroups_enable_cfs: bool,
    /// Numbers of processes and threads are told in statistics.
    pub counts_processes: bool,
    /// Resources as given; what is missing is detected.
    pub resources: Given,
    /// Attributes.
    pub attributes: Vec<v1::Attribute>,
    /// Region and zone of the host.
    pub domain: Option<v1::DomainInfo>,
    /// What may be different after a restart.
    pub reconfiguration: Reconfiguration,
    /// Images.
    pub images: Images,
    /// Where a container with an image sees its sandbox.
    pub sandbox_directory: PathBuf,
    /// Run tasks as the user of the command or framework.
    pub switch_user: bool,
    /// Environment variables that every task gets.
    pub environment: BTreeMap<String, String>,
    /// Size of a container's /dev/shm in bytes, if not the runtime's default.
    pub shm_bytes: Option<u64>,
    /// A task may ask for the host's own process ids.
    pub shares_pid: bool,
    /// A task may ask for the host's own System V IPC and POSIX queues.
    pub shares_ipc: bool,
    /// Where the output of tasks goes.
    pub logger: Logger,
    /// How the disk usage of tasks is watched.
    pub disk_quota: DiskQuota,
    /// First back-off of a registration. Mesos: 1 s.
    pub registration_backoff: Duration,
    /// Time that tasks have to end when their framework or the agent is shut down. Mesos: 5 s.
    pub shutdown_grace: Duration,
    /// What becomes of the tasks of an earlier life.
    pub recover: Recover,
    /// A damaged checkpoint stops the agent.
    pub strict: bool,
    /// Longest life of a finished sandbox. Mesos: 1 week.
    pub gc_delay: Duration,
    /// Share of the disk kept free. Mesos: 0.1.
    pub gc_disk_headroom: f64,
    /// Between two looks at the disk. Mesos: 1 min.
    pub disk_watch_interval: Duration,
    /// Finished tasks kept in memory per framework. Mesos: 150.
    pub max_completed_executors: usize,
    /// File with the process' log, shown as `/slave/log`.
    pub external_log_file: Option<PathBuf>,
    /// All flags with a value, as `/flags` and `/state` show them.
    pub flags: Vec<(String, String)>,
}

impl Config {
    /// Reads and checks the flags of [`FLAGS`](crate::FLAGS).
    ///
    /// # Errors
    /// Names the flag that can't be used and what would be right.
    pub fn from_flags(values: &Values) -> Result<Config, BadFlag> {
        refuse_unsupported(values)?;
        let isolation_text = values.text("isolation").unwrap_or("cgroups,namespaces");
        let isolators =
            isolation::parse(isolation_text).map_err(|why| bad("isolation", isolation_text, &why))?;
        Ok(Config {
            ip: address(values)?,
            port: values.number("port")?.unwrap_or(5051),
            advertise_ip: values.number("advertise_ip")?,
            advertise_port: values.number("advertise_port")?,
            hostname: hostname(values)?,
            hostname_lookup: values.bool("hostname_lookup")?,
            tls: TlsSettings::from_flags(values)?,
            gate: gate(values)?,
            credential: values.path("credential").filter(|path| !path.as_os_str().is_empty()),
            master: master(values)?,
            zk_session_timeout: duration(values, "zk_session_timeout", 10)?.max(Duration::from_secs(1)),
            work_dir: absolute(values, "work_dir")?,
            runtime_dir: absolute(values, "runtime_dir")?,
            keeper_command: (PathBuf::from("/proc/self/exe"), vec![OsString::from("supervise")]),
            user_namespace: contained::user_namespace(values, &isolators)?,
            limits: contained::limits(values, &isolators)?,
            disk_quota: room::disk_quota(values, isolators.disk)?,
            isolation: isolators.runtime,
            isolation_of_v1: isolators.only_v1,
            isolation_strict: values.bool("isolation_strict")?,
            cgroups_root: cgroups_root(values)?,
            cgroups_enable_cfs: values.bool("cgroups_enable_cfs")?,
            counts_processes: values.bool("cgroups_cpu_enable_pids_and_tids_count")?,
            resources: resources::resources(values)?,
            attributes: resources::attributes(values)?,
            domain: resources::domain(values)?,
            reconfiguration: reconfiguration(values)?,
            images: images::images(values)?,
            sandbox_directory: absolute(values, "sandbox_directory")?,
            switch_user: values.bool("switch_user")?,
            environment: environment(values)?,
            shm_bytes: values.text("default_container_shm_size").map(shm_bytes).transpose()?,
            shares_pid: !values.bool("disallow_sharing_agent_pid_namespace")?,
            shares_ipc: !values.bool("disallow_sharing_agent_ipc_namespace")?,
            logger: room::logger(values)?,
            registration_backoff: duration(values, "registration_backoff_factor", 1)?,
            shutdown_grace: duration(values, "executor_shutdown_grace_period", 5)?,
            recover: recover(values)?,
            strict: values.bool("strict")?,
            gc_delay: duration(values, "gc_delay", 604_800)?,
            gc_disk_headroom: headroom(values)?,
            disk_watch_interval: duration(values, "disk_watch_interval", 60)?.max(Duration::from_secs(1)),
            max_completed_executors: values.number("max_completed_executors_per_framework")?.unwrap_or(150),
            external_log_file: values.path("external_log_file"),
            flags: values.iter().map(|(name, value)| (name.to_owned(), shown(name, value))).collect(),
        })
    }
}

/// Flags whose JSON may hold secrets. The path of a file with it is none.
const MAY_BE_SECRET: &[&str] = &["docker_config", "executor_environment_variables"];

/// A flag's value as pages show it: an ensemble's URL without its password, and no secrets.
fn shown(name: &str, value: &str) -> String {
    if MAY_BE_SECRET.contains(&name) && !value.starts_with('/') {
        return "…".to_owned();
    }
    match value.parse::<Whereabouts>() {
        Ok(ensemble @ Whereabouts::Ensemble(_)) if name == "master" => ensemble.to_string(),
        _ => value.to_owned(),
    }
}

/// What protects a host elsewhere must not be dropped in silence.
fn refuse_unsupported(values: &Values) -> Result<(), BadFlag> {
    for name in flags::REFUSED_SWITCHES {
        if values.bool(name)? {
            return Err(bad(name, "true", "this protection is not supported yet; leave the flag out"));
        }
    }
    for name in flags::REFUSED_SETTINGS {
        if values.text(name).is_some() {
            // The value may be a secret.
            return Err(bad(name, "…", "not supported yet; leave the flag out"));
        }
    }
    Ok(())
}

fn address(values: &Values) -> Result<IpAddr, BadFlag> {
    let text = values.text("ip").unwrap_or("127.0.0.1");
    let ip: IpAddr = text.parse().map_err(|_| bad("ip", text, "expected an IP address such as 127.0.0.1"))?;
    if ip.is_loopback() || values.bool("insecure")? || is_guarded(values)? {
        return Ok(ip);
    }
    Err(bad(
        "ip",
        text,
        "whoever reaches this address could read the files of all tasks; turn authentication on (docs/security.md says \
         how), listen on 127.0.0.1, or give --insecure as well if only trusted hosts reach it",
    ))
}

/// Whether nobody is told anything whom an operator has not let in.
fn is_guarded(values: &Values) -> Result<bool, BadFlag> {
    let (tls, gate) = (TlsSettings::from_flags(values)?, gate(values)?);
    let certified = tls.is_some_and(|tls| tls.everybody_is_certified());
    Ok(certified || gate.protects(READONLY) && gate.protects(READWRITE))
}

fn gate(values: &Values) -> Result<GateSettings, BadFlag> {
    let realms = [("authenticate_http_readonly", READONLY), ("authenticate_http_readwrite", READWRITE)];
    GateSettings::from_flags(values, "http_credentials", &realms)
}

fn hostname(values: &Values) -> Result<Option<String>, BadFlag> {
    let Some(name) = values.text("hostname") else { return Ok(None) };
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
    if name.is_empty() || name.len() > 253 || !name.chars().all(fits) {
        return Err(bad("hostname", name, "expected a host name such as a1.example.com"));
    }
    Ok(Some(name.to_owned()))
}

fn master(values: &Values) -> Result<Option<Whereabouts>, BadFlag> {
    let Some(text) = values.text("master") else { return Ok(None) };
    // An ensemble's URL may hold a password.
    let shown = if text.starts_with("zk://") { "zk://…" } else { text };
    text.parse().map(Some).map_err(|why: BadWhereabouts| bad("master", shown, &why.to_string()))
}

fn absolute(values: &Values, name: &str) -> Result<PathBuf, BadFlag> {
    let text = values.required(name)?;
    let path = Path::new(text);
    let plain = path.components().all(|part| !matches!(part, std::path::Component::ParentDir));
    // Overlayfs separates the layers in its options by colons and commas.
    if !path.is_absolute() || !plain || text.contains([':', ',', '\\', '\n']) {
        return Err(bad(name, text, "expected an absolute path without '..', ':', ',' and '\\'"));
    }
    Ok(path.components().collect())
}

fn cgroups_root(values: &Values) -> Result<String, BadFlag> {
    let text = values.text("cgroups_root").unwrap_or("mesos").trim_matches('/');
    let fits = |part: &str| !part.is_empty() && part != "." && part != "..";
    if !text.split('/').all(fits) || text.contains(['\0', '\n']) {
        return Err(bad("cgroups_root", text, "expected the name of a cgroup such as mesos"));
    }
    Ok(text.to_owned())
}

fn environment(values: &Values) -> Result<BTreeMap<String, String>, BadFlag> {
    let Some(text) = values.text("executor_environment_variables") else { return Ok(BTreeMap::new()) };
    // The values may be secrets.
    serde_json::from_str(text).map_err(|why| {
        bad("executor_environment_variables", "…", &format!("expected a JSON object of texts: {why}"))
    })
}

fn recover(values: &Values) -> Result<Recover, BadFlag> {
    match values.text("recover").unwrap_or("reconnect") {
        "reconnect" => Ok(Recover::Reconnect),
        "cleanup" => Ok(Recover::Cleanup),
        other => Err(bad("recover", other, "expected reconnect or cleanup")),
    }
}

fn reconfiguration(values: &Values) -> Result<Reconfiguration, BadFlag> {
    match values.text("reconfiguration_policy").unwrap_or("equal") {
        "equal" => Ok(Reconfiguration::Equal),
        "additive" => Ok(Reconfiguration::Additive),
        // Mesos knows 'any' as a name, and refuses it as well.
        other => Err(bad("reconfiguration_policy", other, "expected equal or additive")),
    }
}

fn shm_bytes(text: &str) -> Result<u64, BadFlag> {
    let bytes = parse_bytes(text).filter(|bytes| *bytes > 0);
    bytes.ok_or_else(|| bad("default_container_shm_size", text, "expected a size such as 64MB"))
}

fn headroom(values: &Values) -> Result<f64, BadFlag> {
    let share: f64 = values.number("gc_disk_headroom")?.unwrap_or(0.1);
    if (0.0..=1.0).contains(&share) {
        return Ok(share);
    }
    Err(bad("gc_disk_headroom", &share.to_string(), "expected a share from 0 to 1"))
}

fn duration(values: &Values, name: &str, default_secs: u64) -> Result<Duration, BadFlag> {
    Ok(values.duration(name)?.unwrap_or(Duration::from_secs(default_secs)))
}

#[cfg(test)]
mod tests;
