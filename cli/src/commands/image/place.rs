//! Which store is meant and how registries are spoken to: the flags of every `tepui image` command.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use images::{DockerConfig, ImageStore, Mirrors, StoreConfig};
use model::flags::{Flag, Form, bad};

use crate::context::{Trouble, failed};
use crate::flags::Flags;

/// The agent's directory of layers.
pub const STORE: Flag = Flag::new(
    "store",
    Form::Path,
    None,
    "Directory of the image layers: the agent's --docker_store_dir. Default: images in --work_dir.",
)
.aliases(&["docker_store_dir"]);
/// The agent's work directory.
pub const WORK_DIR: Flag = Flag::new(
    "work_dir",
    Form::Path,
    None,
    "The agent's work directory. Default: that of `tepui dev` if it is here, else /var/lib/tepui.",
);
/// Where names without a registry are looked for.
pub const REGISTRY: Flag = Flag::new(
    "docker_registry",
    Form::Text,
    None,
    "Registry of images whose name says none, if not Docker Hub.",
);
/// Logins.
pub const CREDENTIALS: Flag = Flag::new(
    "docker_config",
    Form::Text,
    None,
    "Registry credentials: a file in the form of Docker's config.json, or its JSON. Default: ~/.docker/config.json.",
);
/// Registries without TLS.
pub const INSECURE: Flag = Flag::new(
    "insecure_registries",
    Form::Text,
    None,
    "Comma list of registries spoken to in plain HTTP; the loopback always is.",
);
/// Stand-ins of registries.
pub const MIRRORS: Flag = Flag::new(
    "registry_mirrors",
    Form::Text,
    None,
    "Mirrors asked before a registry: docker.io=http://m1:5000,m2.example/proxy;ghcr.io=m3.example",
);
/// Token services on hosts of their own.
pub const TOKEN_SERVICES: Flag = Flag::new(
    "registry_token_services",
    Form::Text,
    None,
    "Comma list of registry=host whose token service may be given the login: registry.example.com=gitlab.example.com",
);

/// The store that the flags mean.
///
/// # Errors
/// A flag that can't be read.
pub fn store_config(flags: &Flags) -> Result<StoreConfig, Trouble> {
    let values = &flags.values;
    let mut config =
        StoreConfig::at(values.path("store").unwrap_or_else(|| default_store(values.path("work_dir"))));
    if let Some(registry) = values.text("docker_registry") {
        config.default_registry = registry.trim_start_matches("https://").to_owned();
    }
    let insecure = values.text("insecure_registries").unwrap_or_default().split(',').map(str::trim);
    config.insecure_registries = insecure.filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if let Some(mirrors) = values.text("registry_mirrors") {
        let parsed = mirrors.parse::<Mirrors>();
        config.mirrors = parsed.map_err(|error| bad("registry_mirrors", mirrors, &error.to_string()))?;
    }
    config.token_services = token_services(values.text("registry_token_services").unwrap_or_default())?;
    config.docker_config = credentials(values.text("docker_config"))?;
    Ok(config)
}

/// Only a pull makes a store: whoever wants to look at one, or to change it, should hear that there is none.
///
/// # Errors
/// There is no store; the flag that names the place can't be used then.
pub fn check_store(flags: &Flags, root: &Path) -> Result<(), Trouble> {
    if ImageStore::is_at(root) {
        return Ok(());
    }
    let none = format!("there is no image store at {}", root.display());
    match ["store", "work_dir"].into_iter().find(|name| flags.values.text(name).is_some()) {
        Some(name) => Err(bad(name, flags.values.text(name).unwrap_or_default(), &none).into()),
        None => {
            Err(failed(anyhow!("{none}; `tepui image pull` makes one, and --store says where another is")))
        }
    }
}

fn token_services(text: &str) -> Result<Vec<(String, String)>, Trouble> {
    let pair = |part: &str| {
        let pair = part.split_once('=').filter(|(registry, host)| !registry.is_empty() && !host.is_empty());
        let pair = pair.map(|(registry, host)| (registry.trim().to_owned(), host.trim().to_owned()));
        pair.ok_or_else(|| bad("registry_token_services", part, "expected registry=host").into())
    };
    text.split(',').filter(|part| !part.trim().is_empty()).map(pair).collect()
}

/// Where an agent with that work folder keeps images.
fn default_store(work_dir: Option<PathBuf>) -> PathBuf {
    let dev = Path::new("tepui-dev/agent");
    let usual = || if dev.is_dir() { dev.to_owned() } else { PathBuf::from("/var/lib/tepui") };
    work_dir.unwrap_or_else(usual).join("images")
}

fn credentials(text: Option<&str>) -> Result<Option<DockerConfig>, Trouble> {
    let refused = |text: &str, error: images::DockerConfigError| {
        Trouble::from(bad("docker_config", text, &error.to_string()))
    };
    match text {
        Some(json) if json.trim_start().starts_with('{') => {
            // The text may hold passwords: the message doesn't repeat it.
            DockerConfig::parse(json).map(Some).map_err(|error| refused("{…}", error))
        }
        Some(path) => DockerConfig::load(Path::new(path)).map(Some).map_err(|error| refused(path, error)),
        None => {
            let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".docker/config.json"));
            let Some(path) = home.filter(|path| path.exists()) else { return Ok(None) };
            let read =
                DockerConfig::load(&path).with_context(|| format!("credentials in {}", path.display()));
            read.map(Some).map_err(failed)
        }
    }
}
