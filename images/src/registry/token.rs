//! Tokens and logins: fetched once per repository, kept until they expire.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Url;
use serde::Deserialize;

use super::auth::{self, Challenge};
use super::backoff::Backoff;
use super::docker_config::{Credential, DockerConfig};
use super::error::RegistryError;
use super::http::{Ask, Http, Peer, refused};
use crate::reference::RegistryRef;
use crate::source::Waiting;

/// The specification's default when a token service names no lifetime.
const DEFAULT_LIFETIME: u64 = 60;
const DAY: u64 = 86_400;
const ANSWER_LIMIT: u64 = 1 << 20;
const TOKEN_LIMIT: usize = 64 << 10;
const SLOTS: usize = 1000;

/// The value of an `Authorization` header and how long it is good.
#[derive(Clone)]
struct Held {
    header: String,
    until: Instant,
}

impl Held {
    fn a_day(header: String) -> Self {
        Self { header, until: Instant::now() + Duration::from_secs(DAY) }
    }
}

type Slot = Arc<tokio::sync::Mutex<Option<Held>>>;

/// Authorizations by registry and repository, shared by all pulls with the same logins.
#[derive(Default)]
pub(crate) struct Tokens {
    /// Logins that one pull brings; they win over the operator's.
    secret: Option<DockerConfig>,
    docker_config: Option<DockerConfig>,
    secret_used: AtomicBool,
    slots: Mutex<HashMap<(String, String), Slot>>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl Tokens {
    pub(crate) fn new(docker_config: Option<DockerConfig>) -> Self {
        Self { docker_config, ..Self::default() }
    }

    /// The same logins and those of `secret`; nothing of what is known so far is shared.
    pub(crate) fn with_secret(&self, secret: DockerConfig) -> Self {
        let (secret, docker_config) = (Some(secret.without_helpers()), self.docker_config.clone());
        Self { secret, docker_config, ..Self::default() }
    }

    /// Whether a login that the pull brought was given to a registry that asked for one.
    pub(crate) fn is_secret_used(&self) -> bool {
        self.secret_used.load(Ordering::Relaxed)
    }

    fn slot(&self, of: &RegistryRef) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= SLOTS {
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        slots.entry((of.registry.clone(), of.repository.clone())).or_default().clone()
    }

    async fn credential(&self, of: &RegistryRef) -> Result<Option<Credential>, RegistryError> {
        if let Some(own) = self.secret.as_ref().and_then(|secret| secret.written(of)) {
            self.secret_used.store(true, Ordering::Relaxed);
            return Ok(Some(own.clone()));
        }
        match &self.docker_config {
            Some(config) => config.credential(of).await,
            None => Ok(None),
        }
    }

    /// The header to try first: none until the registry has asked for one.
    pub(super) async fn known(&self, of: &RegistryRef) -> Option<String> {
        let slot = self.slot(of);
        let held = slot.lock().await;
        held.as_ref().filter(|held| held.until > Instant::now()).map(|held| held.header.clone())
    }

    /// Answers a 401. Of many layers that are refused at once, one fetches the token and the others use it.
    pub(super) async fn answer(
        &self,
        refusal: Refusal<'_>,
        backoff: &mut Backoff,
    ) -> Result<Option<String>, RegistryError> {
        let Refusal { http, peer, of, refused, challenge, waiting } = refusal;
        let slot = self.slot(of);
        let mut held = slot.lock().await;
        if let Some(other) =
            held.as_ref().filter(|h| Some(h.header.as_str()) != refused && h.until > Instant::now())
        {
            return Ok(Some(other.header.clone()));
        }
        let credential = self.credential(of).await?;
        let fresh = match (challenge, credential) {
            (_, Some(token @ Credential::RegistryToken(_))) => token.header().map(Held::a_day),
            (Challenge::Basic, credential) => credential.and_then(|c| c.header()).map(Held::a_day),
            (Challenge::Bearer { realm, service }, credential) => {
                let service = Service { http, peer, of, realm, service: service.as_deref(), waiting };
                Some(service.token(credential, backoff).await?)
            }
        };
        // A login that was refused already will be refused again.
        held.clone_from(&fresh);
        Ok(fresh.map(|held| held.header).filter(|header| Some(header.as_str()) != refused))
    }

    /// What a user whose access was refused may do.
    pub(super) fn hint(&self, of: &RegistryRef, tried: Option<&str>) -> String {
        let registry = &of.registry;
        let wrong =
            |whose: &str| format!("the login for {registry} in {whose} is wrong or lacks the right to pull");
        let found = [&self.secret, &self.docker_config].into_iter().flatten().find_map(|c| c.written(of));
        if matches!(found, Some(Credential::IdentityToken(_))) {
            return format!(
                "the identity token for {registry} is not accepted, or it asks for user and password instead; \
                 store these (or an access token) in \"auth\""
            );
        }
        let written = |config: &Option<DockerConfig>| {
            config.as_ref().is_some_and(|config| config.written(of).is_some())
        };
        if written(&self.secret) {
            return wrong("the secret of this pull");
        }
        if written(&self.docker_config) || tried.is_some_and(|header| header.starts_with("Basic ")) {
            return wrong("the Docker configuration");
        }
        self.docker_config.as_ref().unwrap_or(&DockerConfig::default()).hint(of)
    }
}

/// A request that was answered with 401.
pub(super) struct Refusal<'a> {
    pub(super) http: &'a Http,
    pub(super) peer: &'a Peer,
    pub(super) of: &'a RegistryRef,
    /// The authorization that it had.
    pub(super) refused: Option<&'a str>,
    pub(super) challenge: &'a Challenge,
    /// Hears of pauses.
    pub(super) waiting: &'a Waiting,
}

/// The token in a service's answer, and for how many seconds it is good.
pub(super) fn token_in(answer: &[u8]) -> Result<(String, u64), &'static str> {
    let answer: Answer = serde_json::from_slice(answer).map_err(|_| "its answer is not JSON")?;
    let token = if answer.token.is_empty() { answer.access_token } else { answer.token };
    if token.is_empty() || token.len() > TOKEN_LIMIT || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("its answer has no usable \"token\"");
    }
    Ok((token, answer.expires_in.unwrap_or(DEFAULT_LIFETIME).clamp(DEFAULT_LIFETIME, DAY)))
}

/// Where a registry sends us for tokens.
struct Service<'a> {
    http: &'a Http,
    peer: &'a Peer,
    of: &'a RegistryRef,
    realm: &'a str,
    service: Option<&'a str>,
    waiting: &'a Waiting,
}

impl Service<'_> {
    /// Always asks for the right to pull this one repository, whatever scope the registry suggests.
    async fn token(
        &self,
        credential: Option<Credential>,
        backoff: &mut Backoff,
    ) -> Result<Held, RegistryError> {
        let with_login = credential.is_some();
        let ask = self.ask(credential)?;
        loop {
            let error = match self.token_once(&ask, with_login, backoff).await {
                Ok(held) => return Ok(held),
                Err(error) => error,
            };
            if !backoff.rest(&error, self.waiting).await {
                return Err(error);
            }
        }
    }

    async fn token_once(
        &self,
        ask: &Ask,
        with_login: bool,
        backoff: &mut Backoff,
    ) -> Result<Held, RegistryError> {
        let bad = |why: String| RegistryError::Token {
            registry: self.peer.registry.clone(),
            realm: ask.url.host_str().unwrap_or_default().to_owned(),
            why,
        };
        let response = self.http.get(self.peer, ask, backoff).await?;
        let status = response.status();
        if !status.is_success() {
            let who = if with_login { "with the login it was given" } else { "without a login" };
            return Err(bad(format!("it answers {} {who}", status.as_u16())));
        }
        let bytes = self.http.read(self.peer, &ask.what, response, ANSWER_LIMIT).await?;
        let (token, seconds) = token_in(&bytes).map_err(|why| bad(why.into()))?;
        // A tenth less, so that a token does not run out on the way.
        let until = Instant::now() + Duration::from_secs(seconds - seconds / 10);
        Ok(Held { header: format!("Bearer {token}"), until })
    }

    /// A GET with the login, or for an identity token a POST in the manner of OAuth2.
    fn ask(&self, credential: Option<Credential>) -> Result<Ask, RegistryError> {
        let mut url = auth::check_realm(self.peer, self.realm).map_err(|why| self.refused(why))?;
        let scope = format!("repository:{}:pull", self.of.repository);
        let service = self.service.map(|service| ("service", service));
        let pairs = service.into_iter().chain([("scope", scope.as_str())]);
        let (mut form, mut authorization) = (None, None);
        match &credential {
            Some(Credential::IdentityToken(token)) => {
                let own = [
                    ("grant_type", "refresh_token"),
                    ("client_id", "tepui"),
                    ("refresh_token", token.as_str()),
                ];
                form = Some(urlencoded(pairs.chain(own)));
            }
            other => {
                url.query_pairs_mut().extend_pairs(pairs);
                authorization = other.as_ref().and_then(Credential::header);
            }
        }
        let what = format!("a token for {}", self.of.repository);
        Ok(Ask { url, what, accept: None, authorization, from: 0, form, waiting: self.waiting.clone() })
    }

    fn refused(&self, why: &'static str) -> RegistryError {
        match Url::parse(self.realm) {
            Ok(url) => refused(self.peer, &url, why),
            Err(_) => {
                let (registry, to) = (self.peer.registry.clone(), "a token service".into());
                RegistryError::Refused { registry, to, why }
            }
        }
    }
}

/// Pairs as a form has them; the query of a URL is written by the same rules.
fn urlencoded<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut url = Url::parse("http://form/").expect("a URL");
    url.query_pairs_mut().extend_pairs(pairs);
    url.query().unwrap_or_default().to_owned()
}
