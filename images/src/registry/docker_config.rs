//! Docker's `config.json`: which credentials belong to which registry.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::error::RegistryError;
use crate::reference::DEFAULT_REGISTRY;

/// Credentials per registry, from Docker's `config.json`.
#[derive(Clone, Default)]
pub struct DockerConfig {
    auths: BTreeMap<String, Entry>,
    helpers: BTreeMap<String, String>,
    has_store: bool,
}

/// Why a Docker configuration could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DockerConfigError {
    /// The file.
    #[error("cannot read the Docker configuration {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// Its content. The text is not shown: it holds secrets.
    #[error(
        "the Docker configuration is not JSON of the form {{\"auths\": {{\"host\": {{\"auth\": \"…\"}}}}}} (line {line})"
    )]
    Parse {
        /// Line of the error, from 1.
        line: usize,
    },
    /// `auth` is not base64 of `user:password`.
    #[error("the Docker configuration's \"auth\" for {registry} is not base64 of user:password")]
    Auth {
        /// Key in `auths`.
        registry: String,
    },
}

#[derive(Clone)]
enum Entry {
    Basic(Login),
    IdentityToken,
    RegistryToken,
}

/// A user name and its password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Login {
    user: String,
    password: String,
}

impl Login {
    /// The value of an `Authorization` header.
    pub(super) fn basic(&self) -> String {
        format!("Basic {}", STANDARD.encode(format!("{}:{}", self.user, self.password)))
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({:?}, …)", self.user)
    }
}

impl fmt::Debug for DockerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DockerConfig").field("registries", &self.auths.keys()).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, AuthEntry>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default)]
    creds_store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct AuthEntry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

impl DockerConfig {
    /// Parses the JSON text of a `config.json`.
    pub fn parse(text: &str) -> Result<Self, DockerConfigError> {
        let file: File =
            serde_json::from_str(text).map_err(|e| DockerConfigError::Parse { line: e.line() })?;
        let mut auths = BTreeMap::new();
        for (key, entry) in file.auths {
            if let Some(entry) = entry.read(&key)? {
                auths.insert(host_of(&key), entry);
            }
        }
        let helpers = file.cred_helpers.into_iter().map(|(key, helper)| (host_of(&key), helper)).collect();
        Ok(Self { auths, helpers, has_store: file.creds_store.is_some_and(|s| !s.is_empty()) })
    }

    /// Reads a `config.json`.
    pub fn load(path: &Path) -> Result<Self, DockerConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| DockerConfigError::Read { path: path.into(), source })?;
        Self::parse(&text)
    }

    /// The login for `registry` (host with optional port), if there is one that we can use.
    pub(crate) fn login(&self, registry: &str) -> Result<Option<&Login>, RegistryError> {
        let refuse = |what, remedy| RegistryError::Credentials { registry: registry.into(), what, remedy };
        match self.auths.get(registry) {
            Some(Entry::Basic(login)) => Ok(Some(login)),
            Some(Entry::IdentityToken) => {
                Err(refuse("an identity token", "store user and password (or an access token) in \"auth\""))
            }
            Some(Entry::RegistryToken) => {
                Err(refuse("a registry token", "store user and password (or an access token) in \"auth\""))
            }
            None if self.helpers.contains_key(registry) => {
                Err(refuse("a credential helper", "store the login itself in \"auths\""))
            }
            None => Ok(None),
        }
    }

    /// What to tell a user whose anonymous pull was refused.
    pub(super) fn hint(&self, registry: &str) -> String {
        if self.has_store {
            return format!(
                "the Docker configuration keeps its logins in a credential store, which is not supported; \
                 add {registry} with its login to \"auths\""
            );
        }
        format!(
            "no login for {registry} is known (add one to \"auths\" in --docker_config), or the image does not exist"
        )
    }
}

impl AuthEntry {
    fn read(self, key: &str) -> Result<Option<Entry>, DockerConfigError> {
        if !self.identitytoken.is_empty() {
            return Ok(Some(Entry::IdentityToken));
        }
        if !self.registrytoken.is_empty() {
            return Ok(Some(Entry::RegistryToken));
        }
        if !self.auth.is_empty() {
            let refuse = || DockerConfigError::Auth { registry: key.into() };
            let raw = STANDARD.decode(self.auth.trim()).map_err(|_| refuse())?;
            let text = String::from_utf8(raw).map_err(|_| refuse())?;
            let (user, password) = text.trim_end_matches('\0').split_once(':').ok_or_else(refuse)?;
            return Ok(Some(Entry::Basic(Login { user: user.into(), password: password.into() })));
        }
        if self.username.is_empty() {
            return Ok(None);
        }
        Ok(Some(Entry::Basic(Login { user: self.username, password: self.password })))
    }
}

/// Keys are hosts, or URLs such as Docker Hub's `https://index.docker.io/v1/`.
fn host_of(key: &str) -> String {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or_default().to_ascii_lowercase();
    match host.as_str() {
        "docker.io" | "index.docker.io" => DEFAULT_REGISTRY.to_owned(),
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_logins_by_host() {
        let text = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpwOnE="},
            "H.example:5000":{"username":"a","password":"b"},"none.example":{},
            "token.example":{"auth":"dTpw","identitytoken":"x"}},
            "credHelpers":{"ecr.example":"ecr-login"},"HttpHeaders":{}}"#;
        let config = DockerConfig::parse(text).unwrap();
        let basic = |host: &str| config.login(host).unwrap().map(Login::basic);
        assert_eq!(basic("registry-1.docker.io").as_deref(), Some("Basic dTpwOnE="));
        assert_eq!(basic("h.example:5000").as_deref(), Some("Basic YTpi"));
        assert_eq!(basic("h.example"), None);
        assert_eq!(basic("none.example"), None);
        assert!(config.login("token.example").unwrap_err().to_string().contains("identity token"));
        assert!(config.login("ecr.example").unwrap_err().to_string().contains("credential helper"));
        assert!(!format!("{config:?}").contains("dTpwOnE"), "secrets show in Debug");
    }

    #[test]
    fn refuses_what_it_cannot_read_without_showing_it() {
        let error = DockerConfig::parse(r#"{"auths":{"h":{"auth":"c2VjcmV0"}}}"#).err().unwrap().to_string();
        assert!(error.contains("user:password") && !error.contains("c2VjcmV0"), "{error}");
        assert!(DockerConfig::parse("{\"auths\": [secret]}").is_err());
    }
}
