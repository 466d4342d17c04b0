//! Tokens and logins: fetched once per repository, kept until they expire.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::auth::{self, Challenge};
use super::docker_config::DockerConfig;
use super::error::RegistryError;
use super::http::{Ask, Http, Peer, refused};
use crate::reference::RegistryRef;

/// The specification's default when a token service names no lifetime.
const DEFAULT_LIFETIME: u64 = 60;
const ANSWER_LIMIT: u64 = 1 << 20;
const TOKEN_LIMIT: usize = 64 << 10;
const SLOTS: usize = 1000;

/// The value of an `Authorization` header and how long it is good.
#[derive(Clone)]
struct Held {
    header: String,
    until: Instant,
}

type Slot = Arc<tokio::sync::Mutex<Option<Held>>>;

/// Authorizations by registry and repository, shared by all pulls of one store.
#[derive(Default)]
pub(crate) struct Tokens {
    docker_config: Option<DockerConfig>,
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
        Self { docker_config, slots: Mutex::default() }
    }

    fn slot(&self, of: &RegistryRef) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= SLOTS {
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        slots.entry((of.registry.clone(), of.repository.clone())).or_default().clone()
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
        http: &Http,
        peer: &Peer,
        of: &RegistryRef,
        refused: Option<&str>,
        challenge: &Challenge,
    ) -> Result<Option<String>, RegistryError> {
        let slot = self.slot(of);
        let mut held = slot.lock().await;
        if let Some(other) =
            held.as_ref().filter(|h| Some(h.header.as_str()) != refused && h.until > Instant::now())
        {
            return Ok(Some(other.header.clone()));
        }
        let login = match &self.docker_config {
            Some(config) => config.login(&of.registry)?,
            None => None,
        };
        let fresh = match challenge {
            Challenge::Basic => {
                login.map(|l| Held { header: l.basic(), until: Instant::now() + Duration::from_secs(86_400) })
            }
            Challenge::Bearer { realm, service } => {
                let basic = login.map(super::docker_config::Login::basic);
                Some(fetch(http, peer, of, realm, service.as_deref(), basic).await?)
            }
        };
        // A login that was refused already will be refused again.
        held.clone_from(&fresh);
        Ok(fresh.map(|held| held.header).filter(|header| Some(header.as_str()) != refused))
    }

    /// What a user whose access was refused may do.
    pub(super) fn hint(&self, of: &RegistryRef, tried: Option<&str>) -> String {
        match (&self.docker_config, tried) {
            (_, Some(header)) if header.starts_with("Basic ") => {
                format!(
                    "the login for {} in the Docker configuration is wrong or lacks the right to pull",
                    of.registry
                )
            }
            (Some(config), _) if matches!(config.login(&of.registry), Ok(Some(_))) => {
                format!(
                    "the login for {} in the Docker configuration is wrong or lacks the right to pull",
                    of.registry
                )
            }
            (Some(config), _) => config.hint(&of.registry),
            (None, _) => DockerConfig::default().hint(&of.registry),
        }
    }
}

/// Always asks for the right to pull this one repository, whatever scope the registry suggests.
async fn fetch(
    http: &Http,
    peer: &Peer,
    of: &RegistryRef,
    realm: &str,
    service: Option<&str>,
    basic: Option<String>,
) -> Result<Held, RegistryError> {
    let mut url = auth::check_realm(peer, realm).map_err(|why| match reqwest::Url::parse(realm) {
        Ok(url) => refused(peer, &url, why),
        Err(_) => {
            RegistryError::Refused { registry: peer.registry.clone(), to: "a token service".into(), why }
        }
    })?;
    if let Some(service) = service {
        url.query_pairs_mut().append_pair("service", service);
    }
    url.query_pairs_mut().append_pair("scope", &format!("repository:{}:pull", of.repository));
    let host = url.host_str().unwrap_or_default().to_owned();
    let bad =
        |why: String| RegistryError::Token { registry: peer.registry.clone(), realm: host.clone(), why };

    let with_login = basic.is_some();
    let what = format!("a token for {}", of.repository);
    let ask = Ask { url, what: what.clone(), accept: None, authorization: basic, from: 0 };
    let response = http.get(peer, &ask).await?;
    let status = response.status();
    if !status.is_success() {
        let who = if with_login { "with the login of the Docker configuration" } else { "without a login" };
        return Err(bad(format!("it answers {} {who}", status.as_u16())));
    }
    let bytes = http.read(peer, &what, response, ANSWER_LIMIT).await?;
    let answer: Answer = serde_json::from_slice(&bytes).map_err(|_| bad("its answer is not JSON".into()))?;
    let token = if answer.token.is_empty() { answer.access_token } else { answer.token };
    if token.is_empty() || token.len() > TOKEN_LIMIT || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(bad("its answer has no usable \"token\"".into()));
    }
    let seconds = answer.expires_in.unwrap_or(DEFAULT_LIFETIME).clamp(DEFAULT_LIFETIME, 86_400);
    // A tenth less, so that a token does not run out on the way.
    let until = Instant::now() + Duration::from_secs(seconds - seconds / 10);
    Ok(Held { header: format!("Bearer {token}"), until })
}
