//! How a store is set up.

use std::path::PathBuf;

use crate::limits::Limits;
use crate::reference::DEFAULT_REGISTRY;
use crate::registry::{DockerConfig, Mirrors};

/// How a store is set up.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Directory of the store, made when missing. Nobody but us may write to it.
    pub root: PathBuf,
    /// Logins for registries.
    pub docker_config: Option<DockerConfig>,
    /// Where names without a registry are looked for: `host[:port]`, or a URL as in Mesos' `--docker_registry`. One with
    /// `http://` counts as listed below.
    pub default_registry: String,
    /// Registries (`host[:port]`) spoken to without TLS, besides those on the loopback.
    pub insecure_registries: Vec<String>,
    /// Stand-ins that are asked before the registries themselves.
    pub mirrors: Mirrors,
    /// Registries (`host[:port]`) and hosts of token services that may be given their logins, when those are not the
    /// registries' own hosts: (`registry.example.com`, `gitlab.example.com`).
    pub token_services: Vec<(String, String)>,
    /// Folders below which local images must lie; they may be anywhere without.
    pub local_dirs: Option<Vec<PathBuf>>,
    /// Bounds of one pull.
    pub limits: Limits,
}

impl StoreConfig {
    /// A store at `root` with every other setting at its default.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            docker_config: None,
            default_registry: DEFAULT_REGISTRY.into(),
            insecure_registries: Vec::new(),
            mirrors: Mirrors::default(),
            token_services: Vec::new(),
            local_dirs: None,
            limits: Limits::default(),
        }
    }

    /// The default registry as a host, whatever form it was given in.
    pub(super) fn with_plain_default(mut self) -> Self {
        let given = std::mem::take(&mut self.default_registry);
        let (scheme, rest) = given.split_once("://").unwrap_or(("", &given));
        let host = rest.trim_end_matches('/').to_ascii_lowercase();
        if scheme == "http" {
            self.insecure_registries.push(host.clone());
        }
        self.default_registry = if host.is_empty() { DEFAULT_REGISTRY.into() } else { host };
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_registry_may_be_a_url() {
        let plain = |given: &str| {
            let config = StoreConfig { default_registry: given.into(), ..StoreConfig::at("/nonexistent") };
            let config = config.with_plain_default();
            (config.default_registry, config.insecure_registries)
        };
        assert_eq!(plain("https://registry-1.docker.io"), (DEFAULT_REGISTRY.into(), vec![]));
        assert_eq!(
            plain("http://R.example:5000/"),
            ("r.example:5000".into(), vec!["r.example:5000".to_owned()])
        );
        assert_eq!(plain("r.example"), ("r.example".into(), vec![]));
        assert_eq!(plain(""), (DEFAULT_REGISTRY.into(), vec![]));
    }
}
