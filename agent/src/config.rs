//! What an agent is told at its start, read from flags and checked.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use coordination::LeaderAddress;
use model::flags::{BadFlag, Values, bad};
use model::{Resources, Role};
use wire::v1;

use crate::{flags, isolation};

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
    /// `--master`, for whoever makes the detector.
    pub master: Option<LeaderAddress>,
    /// Sandboxes, checkpoints, images.
    pub work_dir: PathBuf,
    /// Sockets and exit records.
    pub runtime_dir: PathBuf,
    /// Program that keepers are started from, and what it is called with before anything else.
    pub keeper_command: (PathBuf, Vec<OsString>),
    /// What is isolated.
    pub isolation: runtime::Isolation,
    /// Don't start when the host lacks any of it.
    pub isolation_strict: bool,
    /// Cgroup below which all containers live.
    pub cgroups_root: String,
    /// A task without a limit gets no more CPU time than it asked for.
    pub cgroups_enable_cfs: bool,
    /// Resources as given; what is missing is detected.
    pub resources: Resources,
    /// Attributes.
    pub attributes: Vec<v1::Attribute>,
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
    /// All flags with a value, as `/flags` and `/state` show them.
    pub flags: Vec<(String, String)>,
}

/// Where images come from and lie.
#[derive(Clone, Debug)]
pub struct Images {
    /// Directory of layers, if not `images` in the work folder.
    pub store_dir: Option<PathBuf>,
    /// Registry of names that say none.
    pub registry: Option<String>,
    /// Credentials: a file in the form of Docker's `config.json`, or its JSON.
    pub credentials: Option<String>,
    /// Registries spoken to in plain HTTP.
    pub insecure_registries: Vec<String>,
    /// Ignore what images say about how to be run.
    pub ignore_runtime: bool,
    /// Use the USER of an image when nobody names a user.
    pub use_user: bool,
}

impl Config {
    /// Reads and checks the flags of [`FLAGS`](crate::FLAGS).
    ///
    /// # Errors
    /// Names the flag that can't be used and what would be right.
    pub fn from_flags(values: &Values) -> Result<Config, BadFlag> {
        refuse_unsupported(values)?;
        let isolation_text = values.text("isolation").unwrap_or("cgroups,namespaces");
        Ok(Config {
            ip: address(values)?,
            port: values.number("port")?.unwrap_or(5051),
            advertise_ip: values.number("advertise_ip")?,
            advertise_port: values.number("advertise_port")?,
            hostname: hostname(values)?,
            hostname_lookup: values.bool("hostname_lookup")?,
            master: master(values)?,
            work_dir: absolute(values, "work_dir")?,
            runtime_dir: absolute(values, "runtime_dir")?,
            keeper_command: (PathBuf::from("/proc/self/exe"), vec![OsString::from("supervise")]),
            isolation: isolation::parse(isolation_text)
                .map_err(|why| bad("isolation", isolation_text, &why))?,
            isolation_strict: values.bool("isolation_strict")?,
            cgroups_root: cgroups_root(values)?,
            cgroups_enable_cfs: values.bool("cgroups_enable_cfs")?,
            resources: resources(values)?,
            attributes: attributes(values)?,
            images: images(values)?,
            sandbox_directory: absolute(values, "sandbox_directory")?,
            switch_user: values.bool("switch_user")?,
            environment: environment(values)?,
            shm_bytes: values.text("default_container_shm_size").map(shm_bytes).transpose()?,
            registration_backoff: duration(values, "registration_backoff_factor", 1)?,
            shutdown_grace: duration(values, "executor_shutdown_grace_period", 5)?,
            recover: recover(values)?,
            strict: values.bool("strict")?,
            gc_delay: duration(values, "gc_delay", 604_800)?,
            gc_disk_headroom: headroom(values)?,
            disk_watch_interval: duration(values, "disk_watch_interval", 60)?.max(Duration::from_secs(1)),
            max_completed_executors: values.number("max_completed_executors_per_framework")?.unwrap_or(150),
            flags: values.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        })
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
    let policy = values.text("reconfiguration_policy").unwrap_or("equal");
    if policy != "equal" {
        return Err(bad("reconfiguration_policy", policy, "only 'equal' is supported yet"));
    }
    Ok(())
}

fn address(values: &Values) -> Result<IpAddr, BadFlag> {
    let text = values.text("ip").unwrap_or("127.0.0.1");
    let ip: IpAddr = text.parse().map_err(|_| bad("ip", text, "expected an IP address such as 127.0.0.1"))?;
    if !ip.is_loopback() && !values.bool("insecure")? {
        return Err(bad(
            "ip",
            text,
            "whoever reaches this address could read the files of all tasks, because authentication is not supported \
             yet; listen on 127.0.0.1, or give --insecure as well if only trusted hosts reach it",
        ));
    }
    Ok(ip)
}

fn hostname(values: &Values) -> Result<Option<String>, BadFlag> {
    let Some(name) = values.text("hostname") else { return Ok(None) };
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
    if name.is_empty() || name.len() > 253 || !name.chars().all(fits) {
        return Err(bad("hostname", name, "expected a host name such as a1.example.com"));
    }
    Ok(Some(name.to_owned()))
}

fn master(values: &Values) -> Result<Option<LeaderAddress>, BadFlag> {
    let Some(text) = values.text("master") else { return Ok(None) };
    if text.starts_with("zk://") {
        let why = "finding the master through ZooKeeper is not supported yet; give the address of a single master \
                   as host:port";
        // The URL may hold a password.
        return Err(bad("master", "zk://…", why));
    }
    text.parse().map(Some).map_err(|_| bad("master", text, "expected host:port, such as 127.0.0.1:5050"))
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

fn resources(values: &Values) -> Result<Resources, BadFlag> {
    let Some(text) = values.text("resources") else { return Ok(Resources::none()) };
    let role = values.text("default_role").unwrap_or("*");
    let role = Role::new(role).map_err(|why| bad("default_role", role, &why.to_string()))?;
    if !text.trim_start().starts_with('[') {
        return model::resources::parse(text, &role).map_err(|why| bad("resources", text, &why.to_string()));
    }
    let refuse = |why: &str| bad("resources", text, why);
    let list: Vec<serde_json::Value> =
        serde_json::from_str(text).map_err(|why| refuse(&format!("no JSON array of resources: {why}")))?;
    let mut messages = Vec::new();
    for value in list {
        let mut message: v1::Resource =
            wire::json::from_slice(value.to_string().as_bytes()).map_err(|why| refuse(&why.to_string()))?;
        if message.reservations.is_empty() && message.role.is_none() && role != Role::any() {
            message.role = Some(role.to_string());
        }
        messages.push(message);
    }
    Resources::from_wire(&messages).map_err(|why| refuse(&why.to_string()))
}

fn attributes(values: &Values) -> Result<Vec<v1::Attribute>, BadFlag> {
    let text = values.text("attributes").unwrap_or_default();
    model::attributes::parse(text).map_err(|why| bad("attributes", text, &why))
}

fn images(values: &Values) -> Result<Images, BadFlag> {
    let list = |text: &str| {
        text.split(',').map(str::trim).filter(|p| !p.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    let store_dir = match values.text("docker_store_dir") {
        Some(_) => Some(absolute(values, "docker_store_dir")?),
        None => None,
    };
    let mut insecure_registries = values.text("insecure_registries").map(list).unwrap_or_default();
    let registry =
        values.text("docker_registry").map(|text| registry(text, &mut insecure_registries)).transpose()?;
    Ok(Images {
        store_dir,
        registry,
        credentials: values.text("docker_config").map(str::to_owned),
        insecure_registries,
        ignore_runtime: values.bool("docker_ignore_runtime")?,
        use_user: values.bool("image_user")?,
    })
}

/// Mesos takes a URL or a folder of saved images; the folder has a name of its own here.
fn registry(text: &str, insecure: &mut Vec<String>) -> Result<String, BadFlag> {
    let plain = text.strip_prefix("http://");
    let bare = plain.or(text.strip_prefix("https://")).unwrap_or(text).trim_end_matches('/');
    if bare.is_empty() || bare.contains("://") || text.starts_with('/') {
        let why = "expected a registry such as registry.example.com:5000; for images in a folder name them \
                   oci:/folder";
        return Err(bad("docker_registry", text, why));
    }
    if plain.is_some() {
        insecure.push(bare.to_owned());
    }
    Ok(bare.to_owned())
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

fn headroom(values: &Values) -> Result<f64, BadFlag> {
    let share: f64 = values.number("gc_disk_headroom")?.unwrap_or(0.1);
    if (0.0..=1.0).contains(&share) {
        return Ok(share);
    }
    Err(bad("gc_disk_headroom", &share.to_string(), "expected a share from 0 to 1"))
}

/// Mesos: a number with B, KB, MB, GB or TB (powers of 1024).
fn shm_bytes(text: &str) -> Result<u64, BadFlag> {
    let refuse = || bad("default_container_shm_size", text, "expected a size such as 64MB");
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(refuse)?;
    let (number, unit) = text.split_at(split);
    let shift = match unit {
        "B" => 0,
        "KB" => 10,
        "MB" => 20,
        "GB" => 30,
        "TB" => 40,
        _ => return Err(refuse()),
    };
    let number: u64 = number.parse().map_err(|_| refuse())?;
    number.checked_mul(1 << shift).filter(|bytes| *bytes > 0).ok_or_else(refuse)
}

fn duration(values: &Values, name: &str, default_secs: u64) -> Result<Duration, BadFlag> {
    Ok(values.duration(name)?.unwrap_or(Duration::from_secs(default_secs)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FLAGS;

    fn with(pairs: &[(&str, &str)]) -> Result<Config, BadFlag> {
        let mut values = Values::defaults(FLAGS);
        values.set("work_dir", "/var/lib/tepui");
        pairs.iter().for_each(|(name, value)| values.set(name, *value));
        Config::from_flags(&values)
    }

    #[test]
    fn defaults_are_usable() {
        let config = with(&[]).unwrap();
        assert_eq!((config.ip.to_string().as_str(), config.port), ("127.0.0.1", 5051));
        assert_eq!(Ok(config.isolation), crate::isolation::parse("cgroups,namespaces"));
        assert_eq!(config.sandbox_directory, Path::new("/mnt/mesos/sandbox"));
        assert_eq!(config.shutdown_grace, Duration::from_secs(5));
        assert!(config.strict && config.switch_user && config.resources.is_empty());
    }

    #[test]
    fn refusals_name_the_flag() {
        for (name, value, part) in [
            ("ip", "0.0.0.0", "--insecure"),
            ("master", "zk://u:secret@h:2181/mesos", "zk://…: finding the master through ZooKeeper"),
            ("master", "nonsense", "host:port"),
            ("work_dir", "relative", "absolute"),
            ("work_dir", "/a/../b", "absolute"),
            ("isolation", "cgroups,cgroups", "twice"),
            ("resources", "cpus", "no ':'"),
            ("resources", "[{\"name\":1}]", "name"),
            ("acls", "{}", "not supported yet"),
            ("authenticate_http_readwrite", "true", "not supported yet"),
            ("docker_registry", "/images", "oci:/folder"),
            ("docker_registry", "hdfs://x", "oci:/folder"),
            ("gc_disk_headroom", "2", "share"),
            ("executor_environment_variables", "[1]", "JSON object"),
            ("default_container_shm_size", "64", "64MB"),
            ("cgroups_root", "a/../b", "cgroup"),
            ("recover", "x", "cleanup"),
        ] {
            let message = with(&[(name, value)]).unwrap_err().to_string();
            assert!(message.starts_with(&format!("--{name}=")) && message.contains(part), "{message}");
            assert!(!message.contains("secret"), "{message}");
        }
        assert!(with(&[("ip", "0.0.0.0"), ("insecure", "true")]).is_ok());
    }

    #[test]
    fn registries_as_urls() {
        let images =
            with(&[("docker_registry", "http://r:5000/"), ("insecure_registries", "a, b")]).unwrap().images;
        assert_eq!(images.registry.as_deref(), Some("r:5000"));
        assert_eq!(images.insecure_registries, ["a", "b", "r:5000"]);
        let images = with(&[("docker_registry", "https://registry-1.docker.io")]).unwrap().images;
        assert_eq!(images.registry.as_deref(), Some("registry-1.docker.io"));
        assert!(images.insecure_registries.is_empty());
    }

    #[test]
    fn resources_as_text_and_as_json() {
        let text = with(&[("resources", "cpus:2;mem(web):512")]).unwrap().resources;
        let json = r#"[{"name":"cpus","type":"SCALAR","scalar":{"value":2}},
            {"name":"mem","type":"SCALAR","scalar":{"value":512},"role":"web"}]"#;
        assert_eq!(with(&[("resources", json)]).unwrap().resources, text);
        let all = with(&[("resources", "cpus:2"), ("default_role", "ops")]).unwrap().resources;
        assert_eq!(all.to_string(), "cpus(ops):2");
    }

    #[test]
    fn no_flag_is_both_known_and_ignored() {
        let mut names: Vec<&str> =
            FLAGS.iter().flat_map(|f| f.aliases.iter().copied().chain([f.name])).collect();
        names.extend(crate::IGNORED);
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
