//! The image configuration: how the image wants to be run, and which layers it is made of.

use serde::Deserialize;

use super::platform::Platform;
use crate::digest::Digest;

/// What an image says about running it. Labels and annotations are never read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// Environment in the image's order; entries without `=` or with an empty name are left out.
    pub env: Vec<(String, String)>,
    /// Default arguments, or the default program when there is no entrypoint.
    pub cmd: Vec<String>,
    /// Default program with its first arguments.
    pub entrypoint: Vec<String>,
    /// Directory to start in.
    pub working_dir: Option<String>,
    /// `user[:group]` by name or number. Mesos ignores it.
    pub user: Option<String>,
    /// Name (`SIGTERM`) or number of the signal that asks the program to end.
    pub stop_signal: Option<String>,
}

/// Why an image configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not the JSON that the image specification asks for.
    #[error("the image configuration is malformed: {0}")]
    Malformed(String),
    /// `rootfs.type` is something else than `layers`.
    #[error("the image configuration has a root file system of type {0:?}, not \"layers\"")]
    Rootfs(String),
    /// A value that no program could be given.
    #[error("the image configuration has a NUL byte in {0}")]
    Nul(&'static str),
    /// The image is for another kind of machine.
    #[error("the image is made for {image}, this host is {host}")]
    Platform {
        /// What the image names.
        image: String,
        /// What we are.
        host: String,
    },
}

/// The parts of the configuration file that we read.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ConfigFile {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    variant: Option<String>,
    #[serde(default)]
    config: Option<RunConfig>,
    rootfs: Rootfs,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RunConfig {
    env: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    working_dir: Option<String>,
    user: Option<String>,
    stop_signal: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Rootfs {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    diff_ids: Option<Vec<Digest>>,
}

impl ConfigFile {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        let file: Self = serde_json::from_slice(bytes).map_err(|e| ConfigError::Malformed(e.to_string()))?;
        if file.rootfs.kind != "layers" {
            return Err(ConfigError::Rootfs(file.rootfs.kind.chars().take(40).collect()));
        }
        Ok(file)
    }

    /// Digests of the uncompressed layers, the lowest first.
    pub(crate) fn diff_ids(&self) -> &[Digest] {
        self.rootfs.diff_ids.as_deref().unwrap_or_default()
    }

    /// Refuses an image for another machine; a configuration that names none passes.
    pub(crate) fn check_platform(&self, host: &Platform) -> Result<(), ConfigError> {
        if self.os.is_empty() || self.architecture.is_empty() {
            return Ok(());
        }
        let own = Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
            variant: self.variant.clone(),
        };
        match own.fit(host) {
            Some(_) => Ok(()),
            None => Err(ConfigError::Platform { image: own.to_string(), host: host.to_string() }),
        }
    }

    pub(crate) fn image_config(&self) -> Result<ImageConfig, ConfigError> {
        let run = self.config.clone().unwrap_or_default();
        let filled = |text: Option<String>| text.filter(|t| !t.is_empty());
        let config = ImageConfig {
            env: run.env.unwrap_or_default().iter().filter_map(|line| variable(line)).collect(),
            cmd: run.cmd.unwrap_or_default(),
            entrypoint: run.entrypoint.unwrap_or_default(),
            working_dir: filled(run.working_dir),
            user: filled(run.user),
            stop_signal: filled(run.stop_signal),
        };
        refuse_nul(&config)?;
        Ok(config)
    }
}

fn variable(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once('=')?;
    (!name.is_empty()).then(|| (name.to_owned(), value.to_owned()))
}

fn refuse_nul(config: &ImageConfig) -> Result<(), ConfigError> {
    let nul = |text: &String| text.contains('\0');
    let optional = |text: &Option<String>| text.as_ref().is_some_and(nul);
    let checks = [
        (config.env.iter().any(|(k, v)| nul(k) || nul(v)), "Env"),
        (config.cmd.iter().any(nul), "Cmd"),
        (config.entrypoint.iter().any(nul), "Entrypoint"),
        (optional(&config.working_dir), "WorkingDir"),
        (optional(&config.user), "User"),
        (optional(&config.stop_signal), "StopSignal"),
    ];
    match checks.iter().find(|(bad, _)| *bad) {
        Some((_, field)) => Err(ConfigError::Nul(field)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_needed_and_nothing_else() {
        let hex = "b".repeat(64);
        let text = format!(
            r#"{{"architecture":"amd64","os":"linux","config":{{"Env":["PATH=/bin","A=b=c","bad","=x"],
            "Cmd":["sh"],"Entrypoint":null,"WorkingDir":"","User":"1000","StopSignal":"SIGQUIT",
            "Labels":{{"run":"as root"}}}},"rootfs":{{"type":"layers","diff_ids":["sha256:{hex}"]}}}}"#
        );
        let file = ConfigFile::parse(text.as_bytes()).unwrap();
        assert_eq!(file.diff_ids().len(), 1);
        let config = file.image_config().unwrap();
        assert_eq!(config.env, [("PATH".into(), "/bin".into()), ("A".into(), "b=c".into())]);
        assert_eq!((config.cmd, config.entrypoint.len()), (vec!["sh".to_owned()], 0));
        assert_eq!((config.working_dir, config.user), (None, Some("1000".into())));
        assert_eq!(config.stop_signal.as_deref(), Some("SIGQUIT"));
    }

    #[test]
    fn refuses_other_roots_nul_bytes_and_machines() {
        let parse = |text: &str| ConfigFile::parse(text.as_bytes());
        assert!(matches!(parse("{}"), Err(ConfigError::Malformed(_))));
        assert!(matches!(parse(r#"{"rootfs":{"type":"zfs"}}"#), Err(ConfigError::Rootfs(_))));
        assert!(parse(r#"{"rootfs":{"type":"layers","diff_ids":["sha256:../x"]}}"#).is_err());
        let nul = parse(r#"{"config":{"Env":["A=\u0000"]},"rootfs":{"type":"layers"}}"#).unwrap();
        assert_eq!(nul.image_config(), Err(ConfigError::Nul("Env")));
        let host = Platform { os: "linux".into(), architecture: "amd64".into(), variant: None };
        let other = parse(r#"{"os":"linux","architecture":"s390x","rootfs":{"type":"layers"}}"#).unwrap();
        assert!(other.check_platform(&host).unwrap_err().to_string().contains("linux/s390x"));
        let own = parse(r#"{"os":"linux","architecture":"x86_64","rootfs":{"type":"layers"}}"#).unwrap();
        assert!(own.check_platform(&host).is_ok());
    }
}
