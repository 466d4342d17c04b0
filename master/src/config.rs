//! What a master is told at its start, read from flags and checked.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use coordination::{BadUrl, EnsembleUrl};
use model::flags::{BadFlag, Values, bad};
use security::{GateSettings, TlsSettings};
use wire::v1::DomainInfo;

use crate::service::{LINK_LIMITS, Limits, Patience, STREAM_LIMITS, WATCH_LIMITS};

/// Mesos' realm of requests that only look.
pub const READONLY: &str = "mesos-master-readonly";
/// Mesos' realm of requests that may change something.
pub const READWRITE: &str = "mesos-master-readwrite";
/// Mesos' realm of schedulers.
pub const SCHEDULER: &str = "mesos-master-scheduler";

const REALMS: &[(&str, &str)] = &[
    ("authenticate_http_readonly", READONLY),
    ("authenticate_http_readwrite", READWRITE),
    ("authenticate_http_frameworks", SCHEDULER),
];

/// Where the registry is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Registry {
    /// In `registry.redb` of this directory.
    File(PathBuf),
    /// Nowhere: a restarted master knows no agents.
    InMemory,
    /// In the ZooKeeper ensemble of `--zk`.
    Ensemble,
}

/// Everything a master is told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Puts the loop's thread ahead of others, which it calls at its start; none leaves that to its niceness.
    pub ahead: Option<fn() -> std::io::Result<()>>,
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
    /// TLS of the port, if it is spoken.
    pub tls: Option<TlsSettings>,
    /// What stands before the routes.
    pub gate: GateSettings,
    /// Agents need a login.
    pub authenticate_agents: bool,
    /// The ensemble in which masters contend, if there are several.
    pub zk: Option<EnsembleUrl>,
    /// How long a session with the ensemble outlives a silence. Mesos: 10 s.
    pub zk_session_timeout: Duration,
    /// Where the registry is kept.
    pub registry: Registry,
    /// Longest time to load the registry. Mesos: 60 s.
    pub registry_fetch_timeout: Duration,
    /// Longest time for one registry write. Mesos: 20 s.
    pub registry_store_timeout: Duration,
    /// Name of the cluster.
    pub cluster: Option<String>,
    /// Between two pings of an agent. Mesos: 15 s.
    pub agent_ping_timeout: Duration,
    /// Pings missed before an agent is unreachable. Mesos: 5.
    pub max_agent_ping_timeouts: u32,
    /// How long a disconnected or recovered agent may stay away. Mesos: 10 min.
    pub agent_reregister_timeout: Duration,
    /// Between two rounds of the allocator. Mesos: 1 s.
    pub allocation_interval: Duration,
    /// Between two heartbeats of a scheduler's stream. Mesos: 15 s, no flag.
    pub heartbeat_interval: Duration,
    /// Offers are rescinded after this long, if set.
    pub offer_timeout: Option<Duration>,
    /// Completed frameworks kept. Mesos: 50.
    pub max_completed_frameworks: usize,
    /// Completed tasks kept per framework. Mesos: 1000.
    pub max_completed_tasks: usize,
    /// Unreachable tasks kept per framework. Mesos: 1000.
    pub max_unreachable_tasks: usize,
    /// Frameworks with user root are accepted. Mesos: true.
    pub root_submissions: bool,
    /// Region and zone of this host.
    pub domain: Option<DomainInfo>,
    /// Agents without a domain are refused.
    pub require_agent_domain: bool,
    /// Least time between two agents that are marked unreachable, if set.
    pub agent_removal_interval: Option<Duration>,
    /// Share of the known agents that may stay away after a failover, from 0 to 1. Mesos: 1.
    pub recovery_agent_removal_limit: f64,
    /// Operators that watch at once; beyond this the oldest is closed. Mesos: 1000.
    pub max_watchers: usize,
    /// Between two prunings of the registry. Mesos: 15 min.
    pub registry_gc_interval: Duration,
    /// Age at which unreachable and gone agents are forgotten. Mesos: 2 weeks.
    pub registry_max_agent_age: Duration,
    /// Number beyond which unreachable and gone agents are forgotten. Mesos: 102,400.
    pub registry_max_agent_count: usize,
    /// Metrics of each framework are told. Mesos: true.
    pub publish_per_framework_metrics: bool,
    /// A file with this process' log, which something else writes.
    pub external_log_file: Option<PathBuf>,
    /// What may wait for an operator that doesn't read.
    pub(crate) watch_limits: Limits,
    /// What may wait for a scheduler that doesn't read.
    pub(crate) stream_limits: Limits,
    /// What may wait for an agent that doesn't read.
    pub(crate) link_limits: Limits,
    /// How long connections are waited for.
    pub(crate) patience: Patience,
    /// All flags with a value, as `/flags` and `/state` show them.
    pub flags: Vec<(String, String)>,
}

impl Config {
    /// Reads and checks the flags of [`crate::flags::FLAGS`].
    ///
    /// # Errors
    /// Names the flag that can't be used and what would be right.
    pub fn from_flags(values: &Values) -> Result<Config, BadFlag> {
        refuse_unsupported(values)?;
        let zk = ensemble(values)?;
        Ok(Config {
            ahead: None,
            ip: address(values)?,
            port: number(values, "port", 5050)?,
            advertise_ip: values.text("advertise_ip").map(|text| ip("advertise_ip", text)).transpose()?,
            advertise_port: values.number("advertise_port")?,
            hostname: hostname(values)?,
            hostname_lookup: values.bool("hostname_lookup")?,
            tls: TlsSettings::from_flags(values)?,
            gate: gate(values)?,
            authenticate_agents: authenticate_agents(values)?,
            registry: registry(values, zk.is_some())?,
            zk: zk.clone(),
            zk_session_timeout: between(values, "zk_session_timeout", 10, 1, 3600)?,
            registry_fetch_timeout: duration(values, "registry_fetch_timeout", 60)?,
            registry_store_timeout: duration(values, "registry_store_timeout", 20)?,
            cluster: values.text("cluster").map(str::to_owned),
            agent_ping_timeout: between(values, "agent_ping_timeout", 15, 1, 15 * 60)?,
            max_agent_ping_timeouts: at_least_one(values, "max_agent_ping_timeouts", 5)?,
            agent_reregister_timeout: between(values, "agent_reregister_timeout", 600, 600, u64::MAX)?,
            allocation_interval: allocation_interval(values)?,
            heartbeat_interval: Duration::from_secs(15),
            offer_timeout: values.duration("offer_timeout")?,
            max_completed_frameworks: number(values, "max_completed_frameworks", 50)?,
            max_completed_tasks: number(values, "max_completed_tasks_per_framework", 1000)?,
            max_unreachable_tasks: number(values, "max_unreachable_tasks_per_framework", 1000)?,
            root_submissions: values.bool("root_submissions")?,
            domain: domain(values)?,
            require_agent_domain: values.bool("require_agent_domain")?,
            agent_removal_interval: removal_interval(values)?,
            recovery_agent_removal_limit: percentage(values, "recovery_agent_removal_limit", 1.0)?,
            max_watchers: at_least_one(values, "max_operator_event_stream_subscribers", 1000)?,
            registry_gc_interval: between(values, "registry_gc_interval", 15 * 60, 1, u64::MAX)?,
            registry_max_agent_age: duration(values, "registry_max_agent_age", 14 * 24 * 3600)?,
            registry_max_agent_count: number(values, "registry_max_agent_count", 102_400)?,
            publish_per_framework_metrics: values.bool("publish_per_framework_metrics")?,
            external_log_file: values.path("external_log_file"),
            watch_limits: WATCH_LIMITS,
            stream_limits: STREAM_LIMITS,
            link_limits: LINK_LIMITS,
            patience: Patience::default(),
            flags: shown(values, zk.as_ref()),
        })
    }
}

/// The flags as pages show them: with the registry that is really used, and without the ensemble's password.
fn shown(values: &Values, zk: Option<&EnsembleUrl>) -> Vec<(String, String)> {
    let mut all: BTreeMap<String, String> =
        values.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    all.entry("registry".to_owned()).or_insert_with(|| default_registry(zk.is_some()).to_owned());
    if let Some(zk) = zk {
        all.insert("zk".to_owned(), zk.to_string());
    }
    all.into_iter().collect()
}

fn default_registry(ensemble: bool) -> &'static str {
    if ensemble { "zookeeper" } else { "file" }
}

/// What protects a cluster elsewhere must not be dropped in silence.
fn refuse_unsupported(values: &Values) -> Result<(), BadFlag> {
    const SWITCHES: [&str; 1] = ["registry_strict"];
    const SETTINGS: [&str; 9] = [
        "acls",
        "rate_limits",
        "whitelist",
        "roles",
        "modules",
        "modules_dir",
        "hooks",
        "master_contender",
        "master_detector",
    ];
    for name in SWITCHES {
        if values.bool(name)? {
            return Err(bad(name, "true", "this protection is not supported yet; leave the flag out"));
        }
    }
    for name in SETTINGS {
        if let Some(value) = values.text(name) {
            return Err(bad(name, value, "not supported yet; leave the flag out"));
        }
    }
    Ok(())
}

/// The ensemble, to which no address is told that others can't reach.
fn ensemble(values: &Values) -> Result<Option<EnsembleUrl>, BadFlag> {
    let Some(text) = values.text("zk").filter(|zk| !zk.is_empty()) else { return Ok(None) };
    // The text may hold a password.
    let url: EnsembleUrl = text.parse().map_err(|why: BadUrl| bad("zk", "zk://…", &why.to_string()))?;
    let told = match values.text("advertise_ip") {
        Some(told) => ip("advertise_ip", told)?,
        None => address(values)?,
    };
    if told.is_loopback() && !url.is_local() {
        let why = "other hosts could not reach this master at its loopback address, which it would publish there; give \
                   --ip or --advertise_ip";
        return Err(bad("zk", &url.to_string(), why));
    }
    Ok(Some(url))
}

fn ip(name: &str, text: &str) -> Result<IpAddr, BadFlag> {
    text.parse().map_err(|_| bad(name, text, "expected an IP address such as 127.0.0.1"))
}

fn address(values: &Values) -> Result<IpAddr, BadFlag> {
    let text = values.text("ip").unwrap_or("127.0.0.1");
    let ip = ip("ip", text)?;
    if ip.is_loopback() || values.bool("insecure")? || is_guarded(values)? {
        return Ok(ip);
    }
    Err(bad(
        "ip",
        text,
        "whoever reaches this address could run programs on every agent; turn authentication on (docs/security.md says \
         how), listen on 127.0.0.1, or give --insecure as well if only trusted hosts reach it",
    ))
}

/// Whether nobody is obeyed whom an operator has not let in.
fn is_guarded(values: &Values) -> Result<bool, BadFlag> {
    let (tls, gate) = (TlsSettings::from_flags(values)?, gate(values)?);
    if tls.as_ref().is_some_and(TlsSettings::everybody_is_certified) {
        return Ok(true);
    }
    let agents = authenticate_agents(values)? || tls.is_some_and(|tls| tls.require_agent_cert);
    Ok(agents && gate.protects(READWRITE) && gate.protects(SCHEDULER))
}

fn gate(values: &Values) -> Result<GateSettings, BadFlag> {
    GateSettings::from_flags(values, "credentials", REALMS)
}

fn authenticate_agents(values: &Values) -> Result<bool, BadFlag> {
    let asked = values.bool("authenticate_agents")?;
    if asked && !gate(values)?.has_logins() {
        return Err(bad(
            "authenticate_agents",
            "true",
            "nobody could be authenticated; give --credentials, too",
        ));
    }
    Ok(asked)
}

fn hostname(values: &Values) -> Result<Option<String>, BadFlag> {
    let Some(name) = values.text("hostname") else { return Ok(None) };
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
    if name.is_empty() || name.len() > 253 || !name.chars().all(fits) {
        return Err(bad("hostname", name, "expected a host name such as m1.example.com"));
    }
    Ok(Some(name.to_owned()))
}

fn domain(values: &Values) -> Result<Option<DomainInfo>, BadFlag> {
    let Some(text) = values.text("domain") else { return Ok(None) };
    model::domain::parse(text).map(Some).map_err(|why| bad("domain", text, &why))
}

fn registry(values: &Values, ensemble: bool) -> Result<Registry, BadFlag> {
    let default = default_registry(ensemble);
    match values.text("registry").filter(|text| !text.is_empty()).unwrap_or(default) {
        "in_memory" => Ok(Registry::InMemory),
        "zookeeper" if ensemble => Ok(Registry::Ensemble),
        "zookeeper" => {
            Err(bad("registry", "zookeeper", "the ensemble must be given, as --zk=zk://host:2181/path"))
        }
        // Mesos: the replicated log is the one that all masters share.
        "replicated_log" if ensemble => Ok(Registry::Ensemble),
        "file" if ensemble => Err(bad(
            "registry",
            "file",
            "with --zk another master may lead next, which would not see this file; leave the flag out to keep the \
             registry in ZooKeeper",
        )),
        "file" | "replicated_log" => {
            match values.path("work_dir").filter(|dir| !dir.as_os_str().is_empty()) {
                Some(dir) => Ok(Registry::File(dir)),
                None => Err(bad(
                    "work_dir",
                    "",
                    "a directory for the registry must be given, or --registry=in_memory",
                )),
            }
        }
        other => Err(bad("registry", other, "expected file, in_memory, zookeeper or replicated_log")),
    }
}

fn number<T: std::str::FromStr>(values: &Values, name: &str, default: T) -> Result<T, BadFlag> {
    Ok(values.number(name)?.unwrap_or(default))
}

fn duration(values: &Values, name: &str, default_secs: u64) -> Result<Duration, BadFlag> {
    Ok(values.duration(name)?.unwrap_or(Duration::from_secs(default_secs)))
}

fn between(values: &Values, name: &str, default: u64, least: u64, most: u64) -> Result<Duration, BadFlag> {
    let value = duration(values, name, default)?;
    if value < Duration::from_secs(least) || value > Duration::from_secs(most) {
        let most = if most == u64::MAX { String::new() } else { format!(" and at most {most}secs") };
        return Err(bad(
            name,
            values.text(name).unwrap_or_default(),
            &format!("expected at least {least}secs{most}"),
        ));
    }
    Ok(value)
}

/// Zero would make the allocator run without a pause.
fn allocation_interval(values: &Values) -> Result<Duration, BadFlag> {
    let value = duration(values, "allocation_interval", 1)?;
    if value < Duration::from_millis(10) {
        let text = values.text("allocation_interval").unwrap_or_default();
        return Err(bad("allocation_interval", text, "expected at least 10ms"));
    }
    Ok(value)
}

/// `N/duration`: so many agents in that time, evenly spread.
fn removal_interval(values: &Values) -> Result<Option<Duration>, BadFlag> {
    let Some(text) = values.text("agent_removal_rate_limit") else { return Ok(None) };
    let (count, per) =
        serving::metrics::rate(text).map_err(|why| bad("agent_removal_rate_limit", text, &why))?;
    Ok(Some(per / count))
}

/// A share such as `50%`, as a part of one.
fn percentage(values: &Values, name: &str, default: f64) -> Result<f64, BadFlag> {
    let Some(text) = values.text(name) else { return Ok(default) };
    let percent = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    match percent.filter(|percent| (0.0..=100.0).contains(percent)) {
        Some(percent) => Ok(percent / 100.0),
        None => Err(bad(name, text, "expected a percentage from 0% to 100%")),
    }
}

fn at_least_one<T: std::str::FromStr + PartialEq + From<u8>>(
    values: &Values,
    name: &str,
    default: T,
) -> Result<T, BadFlag> {
    let value = number(values, name, default)?;
    if value == T::from(0) {
        return Err(bad(name, "0", "expected at least 1"));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::{FLAGS, IGNORED};

    fn with(pairs: &[(&str, &str)]) -> Result<Config, BadFlag> {
        let mut values = Values::defaults(FLAGS);
        values.set("work_dir", "/var/lib/tepui");
        for (name, value) in pairs {
            values.set(name, *value);
        }
        Config::from_flags(&values)
    }

    #[test]
    fn defaults_are_those_of_mesos() {
        let config = with(&[]).unwrap();
        assert_eq!(config.ip.to_string(), "127.0.0.1");
        assert_eq!(config.port, 5050);
        assert_eq!(config.registry, Registry::File("/var/lib/tepui".into()));
        assert_eq!(config.agent_ping_timeout, Duration::from_secs(15));
        assert_eq!(config.max_agent_ping_timeouts, 5);
        assert_eq!(config.agent_reregister_timeout, Duration::from_secs(600));
        assert_eq!(config.max_completed_tasks, 1000);
        assert_eq!((config.agent_removal_interval, config.recovery_agent_removal_limit), (None, 1.0));
        assert_eq!((config.max_watchers, config.registry_max_agent_count), (1000, 102_400));
        assert_eq!(config.registry_max_agent_age, Duration::from_secs(14 * 24 * 3600));
        let limited = with(&[("agent_removal_rate_limit", "2/10mins")]).unwrap();
        assert_eq!(limited.agent_removal_interval, Some(Duration::from_secs(300)));
        assert!(config.root_submissions && config.hostname_lookup);
        assert_eq!(with(&[("registry", "replicated_log")]).unwrap().registry, config.registry);
    }

    #[test]
    fn an_open_address_without_authentication_is_refused() {
        for ip in ["0.0.0.0", "10.0.0.1", "::"] {
            let message = with(&[("ip", ip)]).unwrap_err().to_string();
            assert!(
                message.contains("--insecure") && message.starts_with(&format!("--ip={ip}")),
                "{message}"
            );
            assert!(with(&[("ip", ip), ("insecure", "true")]).is_ok());
            let certified =
                [("ssl_enabled", "true"), ("ssl_ca_file", "/ca"), ("ssl_require_client_cert", "true")];
            let logins = [
                ("credentials", "/c"),
                ("authenticate_http_readwrite", "true"),
                ("authenticate_http_frameworks", "true"),
                ("authenticate_agents", "true"),
            ];
            for all in [&certified[..], &logins] {
                let with_ip = |flags: &[(&'static str, &'static str)]| with(&[flags, &[("ip", ip)]].concat());
                assert!(with_ip(all).is_ok(), "{all:?}");
                assert!(with_ip(&all[..all.len() - 1]).is_err(), "{all:?}");
            }
            assert!(
                with(&[&certified[..], &[("ip", ip), ("ssl_support_downgrade", "true")]].concat()).is_err()
            );
            // Agents are certified, the others have logins.
            assert!(with(&[&certified[..2], &logins[..3], &[("ip", ip)]].concat()).is_ok());
        }
        assert!(with(&[("ip", "127.0.0.2")]).is_ok() && with(&[("ip", "::1")]).is_ok());
    }

    #[test]
    fn unusable_values_name_the_flag() {
        for (name, value) in [
            ("ip", "localhost"),
            ("port", "70000"),
            ("advertise_ip", "m1"),
            ("registry", "etcd"),
            ("agent_ping_timeout", "500ms"),
            ("agent_ping_timeout", "16mins"),
            ("max_agent_ping_timeouts", "0"),
            ("agent_reregister_timeout", "9mins"),
            ("allocation_interval", "0secs"),
            ("hostname", "a b"),
            ("agent_removal_rate_limit", "often"),
            ("agent_removal_rate_limit", "0/1secs"),
            ("recovery_agent_removal_limit", "50"),
            ("recovery_agent_removal_limit", "101%"),
            ("max_operator_event_stream_subscribers", "0"),
            ("zk", "zk://localhost:2181"),
            ("zk", "localhost:2181/mesos"),
            ("registry", "zookeeper"),
            ("authenticate_agents", "true"),
            ("authenticate_http_readonly", "true"),
            ("firewall_rules", "{\"x\":1}"),
            ("acls", "{}"),
            ("domain", "{}"),
        ] {
            assert_eq!(with(&[(name, value)]).unwrap_err().flag, name, "{name}={value}");
        }
    }

    #[test]
    fn an_ensemble_keeps_the_registry_and_its_password_is_not_shown() {
        let zk = ("zk", "zk://me:secret@localhost:2181,127.0.0.1:2182/chroot/mesos");
        let config = with(&[zk]).unwrap();
        assert_eq!(config.registry, Registry::Ensemble);
        assert_eq!(config.zk_session_timeout, Duration::from_secs(10));
        assert!(!format!("{config:?}").contains("secret"));
        let shown: BTreeMap<String, String> = config.flags.into_iter().collect();
        assert_eq!(shown["zk"], "zk://me:…@localhost:2181,127.0.0.1:2182/chroot/mesos");
        assert_eq!(shown["registry"], "zookeeper");
        for same in ["zookeeper", "replicated_log", ""] {
            assert_eq!(with(&[zk, ("registry", same)]).unwrap().registry, Registry::Ensemble, "{same}");
        }
        assert_eq!(with(&[zk, ("registry", "in_memory")]).unwrap().registry, Registry::InMemory);
        // The next leader would not see the file.
        assert!(
            with(&[zk, ("registry", "file")]).unwrap_err().to_string().contains("another master may lead")
        );
        // Nobody elsewhere reaches a loopback address.
        let far = ("zk", "zk://me:secret@zk1:2181/mesos");
        let message = with(&[far]).unwrap_err().to_string();
        assert!(
            !message.contains("secret") && message.contains("zk1:2181") && message.contains("--ip"),
            "{message}"
        );
        assert!(with(&[far, ("advertise_ip", "10.0.0.1")]).is_ok());
        assert!(with(&[far, ("ip", "10.0.0.1"), ("insecure", "true")]).is_ok());
        // Mesos' packages leave it empty for a single master.
        assert_eq!(with(&[("zk", "")]).unwrap().zk, None);
    }

    #[test]
    fn no_name_stands_twice() {
        let names = FLAGS.iter().flat_map(|f| std::iter::once(f.name).chain(f.aliases.iter().copied()));
        let mut all: Vec<&str> = names.chain(IGNORED.iter().copied()).collect();
        all.sort_unstable();
        let count = all.len();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
