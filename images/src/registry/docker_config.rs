//! Docker's `config.json`: which credentials belong to which registry.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::error::RegistryError;
use super::helper;
use crate::reference::{RegistryRef, canonical_registry};

/// Credentials per registry, from Docker's `config.json`.
#[derive(Clone, Default)]
pub struct DockerConfig {
    /// By host, or by host and the beginning of a repository's path.
    auths: BTreeMap<String, Credential>,
    /// `credHelpers`: programs for single registries.
    helpers: BTreeMap<String, String>,
    /// `credsStore`: the program for all others.
    store: Option<String>,
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

/// What convinces a registry.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credential {
    /// For the registry itself or its token service.
    Login { user: String, password: String },
    /// An OAuth2 refresh token, for the token service.
    IdentityToken(String),
    /// Given to the registry as it is.
    RegistryToken(String),
}

impl Credential {
    pub(super) fn login(user: String, password: String) -> Self {
        Self::Login { user, password }
    }

    pub(super) fn identity_token(token: String) -> Self {
        Self::IdentityToken(token)
    }

    /// The value of an `Authorization` header, when one can be made without asking anybody.
    pub(super) fn header(&self) -> Option<String> {
        match self {
            Self::Login { user, password } => {
                Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
            }
            Self::RegistryToken(token) => Some(format!("Bearer {token}")),
            Self::IdentityToken(_) => None,
        }
    }

    /// For telling credentials apart, not for showing.
    fn bytes(&self) -> String {
        match self {
            Self::Login { user, password } => format!("l\0{user}\0{password}"),
            Self::IdentityToken(token) => format!("i\0{token}"),
            Self::RegistryToken(token) => format!("r\0{token}"),
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(…)")
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
    auths: Option<BTreeMap<String, AuthEntry>>,
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
        let (mut auths, mut by_url) = (BTreeMap::new(), BTreeMap::new());
        // Mesos: docker_spec_tests.cpp, ParseDockercfg: in the older `.dockercfg` nothing is around the logins.
        let written = file.auths.unwrap_or_else(|| serde_json::from_str(text).unwrap_or_default());
        for (key, entry) in written {
            if let Some(entry) = entry.read(&key)? {
                let keys = if key.contains("://") { &mut by_url } else { &mut auths };
                keys.insert(key_of(&key), entry);
            }
        }
        // A plain name counts more than a URL of the same host.
        by_url.into_iter().for_each(|(host, entry)| {
            auths.entry(host).or_insert(entry);
        });
        let helpers = file.cred_helpers.into_iter().filter(|(_, helper)| !helper.is_empty());
        let helpers = helpers.map(|(key, helper)| (host_of(&key), helper)).collect();
        Ok(Self { auths, helpers, store: file.creds_store.filter(|store| !store.is_empty()) })
    }

    /// Reads a `config.json`.
    pub fn load(path: &Path) -> Result<Self, DockerConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| DockerConfigError::Read { path: path.into(), source })?;
        Self::parse(&text)
    }

    /// Only what is written in it: a configuration that a task brings must not start programs on this host.
    pub(crate) fn without_helpers(mut self) -> Self {
        (self.helpers, self.store) = (BTreeMap::new(), None);
        self
    }

    /// The credential that is written in the configuration for the repository: that of the longest path that leads to it,
    /// or else that of its registry (containers-auth.json(5), which `skopeo login` follows).
    pub(super) fn written(&self, of: &RegistryRef) -> Option<&Credential> {
        self.by_path(of).or_else(|| self.auths.get(&of.registry))
    }

    fn by_path(&self, of: &RegistryRef) -> Option<&Credential> {
        let (whole, host) = (format!("{}/{}", of.registry, of.repository), of.registry.len());
        let ends = std::iter::once(whole.len()).chain(whole.rmatch_indices('/').map(|(at, _)| at));
        ends.take_while(|end| *end > host).find_map(|end| self.auths.get(&whole[..end]))
    }

    /// Docker: a registry's own helper counts more than the store for all. That store knows of hosts only, so a login for
    /// the repository's path counts more.
    fn program(&self, of: &RegistryRef) -> Option<&String> {
        let own = self.helpers.get(&of.registry);
        own.or_else(|| self.store.as_ref().filter(|_| self.by_path(of).is_none()))
    }

    /// The credential for the repository, from its registry's helper or else as it is written.
    pub(super) async fn credential(&self, of: &RegistryRef) -> Result<Option<Credential>, RegistryError> {
        let registry = of.registry.as_str();
        let written = self.written(of);
        let Some(program) = self.program(of) else { return Ok(written.cloned()) };
        match helper::ask(program, registry).await {
            Ok(Some(credential)) => Ok(Some(credential)),
            Ok(None) => Ok(written.cloned()),
            // What is written still serves when the store for all is broken.
            Err(error) if written.is_some() && !self.helpers.contains_key(registry) => {
                tracing::warn!(%error, "using the login in \"auths\" instead");
                Ok(written.cloned())
            }
            Err(error) => Err(error),
        }
    }

    /// Everything that is written in it, for telling two configurations apart. It holds the secrets themselves.
    pub(crate) fn identity(&self) -> Vec<u8> {
        let lines = self.auths.iter().map(|(host, credential)| format!("{host}\0{}\0\0", credential.bytes()));
        lines.collect::<String>().into_bytes()
    }

    /// What to tell a user whose anonymous pull was refused.
    pub(super) fn hint(&self, of: &RegistryRef) -> String {
        let registry = &of.registry;
        if let Some(program) = self.program(of) {
            return format!(
                "docker-credential-{} knows no login for {registry}, nor has the Docker configuration one in \
                 \"auths\"; or the image does not exist",
                program.escape_default()
            );
        }
        format!(
            "no login for {registry} is known (add one to \"auths\" in --docker_config), or the image does not exist"
        )
    }
}

impl AuthEntry {
    fn read(self, key: &str) -> Result<Option<Credential>, DockerConfigError> {
        if !self.identitytoken.is_empty() {
            return Ok(Some(Credential::IdentityToken(self.identitytoken)));
        }
        if !self.registrytoken.is_empty() {
            return Ok(Some(Credential::RegistryToken(self.registrytoken)));
        }
        if !self.auth.is_empty() {
            let refuse = || DockerConfigError::Auth { registry: key.into() };
            let raw = STANDARD.decode(self.auth.trim()).map_err(|_| refuse())?;
            let text = String::from_utf8(raw).map_err(|_| refuse())?;
            let (user, password) = text.trim_end_matches('\0').split_once(':').ok_or_else(refuse)?;
            return Ok(Some(Credential::login(user.into(), password.into())));
        }
        if self.username.is_empty() {
            return Ok(None);
        }
        Ok(Some(Credential::login(self.username, self.password)))
    }
}

/// Keys are hosts, hosts with the beginning of a path (`host/team`), or URLs such as Docker Hub's
/// `https://index.docker.io/v1/`, whose path says nothing.
fn key_of(key: &str) -> String {
    let (host, path) = key.trim_end_matches('/').split_once('/').unwrap_or((key, ""));
    if key.contains("://") || path.is_empty() || matches!(path, "v1" | "v2") {
        return host_of(key);
    }
    format!("{}/{path}", canonical_registry(host))
}

fn host_of(key: &str) -> String {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    canonical_registry(rest.split('/').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::ImageName;

    fn reference(name: &str) -> RegistryRef {
        let ImageName::Registry(reference) = name.parse().unwrap() else { panic!("{name}") };
        reference
    }

    #[test]
    fn finds_logins_by_host() {
        let text = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpwOnE="},
            "H.example:5000":{"username":"a","password":"b"},"none.example":{},
            "token.example":{"auth":"dTpw","identitytoken":"x"}},
            "credHelpers":{"ecr.example":"ecr-login"},"HttpHeaders":{}}"#;
        let config = DockerConfig::parse(text).unwrap();
        let written = |name: &str| config.written(&reference(name)).cloned();
        let header = |name: &str| written(name).and_then(|credential| credential.header());
        assert_eq!(header("busybox").as_deref(), Some("Basic dTpwOnE="));
        assert_eq!(header("h.example:5000/a/b").as_deref(), Some("Basic YTpi"));
        assert_eq!(written("h.example/a"), None);
        assert_eq!(written("none.example/a"), None);
        assert_eq!(written("token.example/a"), Some(Credential::IdentityToken("x".into())));
        assert_eq!(config.helpers["ecr.example"], "ecr-login");
        assert!(config.clone().without_helpers().helpers.is_empty());
        assert!(!format!("{config:?}").contains("dTpwOnE"), "secrets show in Debug");
    }

    #[test]
    fn the_older_dockercfg_is_read() {
        let text = r#"{"https://index.docker.io/v1/":{"auth":"dTpwOnE=","email":"u@h.example"},
            "h.example:5000":{"auth":"YTpi"}}"#;
        let config = DockerConfig::parse(text).unwrap();
        for (name, expected) in [("busybox", "Basic dTpwOnE="), ("h.example:5000/a", "Basic YTpi")] {
            let written = config.written(&reference(name)).and_then(Credential::header);
            assert_eq!(written.as_deref(), Some(expected));
        }
        for other in [r#"{"credsStore":"x"}"#, r#"{"HttpHeaders":{"auth":""},"detachKeys":"x"}"#, "{}"] {
            assert!(DockerConfig::parse(other).unwrap().auths.is_empty(), "{other}");
        }
    }

    #[test]
    fn the_longest_path_of_a_login_wins() {
        let login = |key: &str| format!(r#""{key}":{{"username":"{key}","password":"p"}}"#);
        let keys = [
            "h.example/team-a",
            "h.example/team-b/",
            "H.example/team-b/app/deep",
            "v.example/v1/",
            "https://v2.example/v2/",
            "https://both.example/v1/",
            "both.example",
            "docker.io/team",
        ];
        let text = format!(
            r#"{{"auths":{{{}}},"credsStore":"all","credHelpers":{{"own.example":"own"}}}}"#,
            keys.map(login).join(",")
        );
        let config = DockerConfig::parse(&text).unwrap();
        let user = |name: &str| match config.written(&reference(name)) {
            Some(Credential::Login { user, .. }) => user.clone(),
            _ => String::new(),
        };
        for (image, expected) in [
            ("h.example/team-a", "h.example/team-a"),
            ("h.example/team-a/x/y:tag", "h.example/team-a"),
            ("h.example/team-b/app", "h.example/team-b/"),
            ("h.example/team-b/app/deep", "H.example/team-b/app/deep"),
            ("h.example/team-b/app/deeper", "h.example/team-b/"),
            ("h.example/team-ab", ""),
            ("h.example/other", ""),
            ("v.example/v1", "v.example/v1/"),
            ("v.example/any", "v.example/v1/"),
            ("v2.example/any", "https://v2.example/v2/"),
            ("both.example/any", "both.example"),
            ("team/app", "docker.io/team"),
            ("busybox", ""),
        ] {
            assert_eq!(user(image), expected, "{image}");
        }
        let program = |name: &str| config.program(&reference(name)).cloned().unwrap_or_default();
        assert_eq!(program("h.example/team-a/x"), "", "a login for the path before the store for all");
        assert_eq!((program("h.example/x"), program("own.example/x")), ("all".to_owned(), "own".to_owned()));
    }

    #[test]
    fn refuses_what_it_cannot_read_without_showing_it() {
        let error = DockerConfig::parse(r#"{"auths":{"h":{"auth":"c2VjcmV0"}}}"#).err().unwrap().to_string();
        assert!(error.contains("user:password") && !error.contains("c2VjcmV0"), "{error}");
        assert!(DockerConfig::parse("{\"auths\": [secret]}").is_err());
    }
}
