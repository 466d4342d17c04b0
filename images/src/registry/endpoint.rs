//! One server that may have a repository: the registry itself or a mirror of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Response, StatusCode};
use serde::Deserialize;

use super::auth;
use super::backoff::Backoff;
use super::error::RegistryError;
use super::http::{Ask, Http, Peer, retry_after};
use super::token::{Refusal, Tokens};
use crate::digest::Digest;
use crate::manifest::ACCEPT;
use crate::reference::RegistryRef;
use crate::source::{RawDocument, Start, Waiting};

/// A mirror that fails is soon given up for the next one.
const MIRROR_TRIES: u32 = 1;

/// A repository on one server.
pub(super) struct Endpoint {
    pub(super) http: Arc<Http>,
    pub(super) tokens: Arc<Tokens>,
    pub(super) peer: Peer,
    /// The image as this server names it; logins are looked up by it.
    pub(super) reference: RegistryRef,
    pub(super) is_mirror: bool,
    /// A mirror that could not be reached is left out for the rest of a pull.
    pub(super) down: AtomicBool,
}

impl Endpoint {
    /// Whether to ask it at all.
    pub(super) fn is_up(&self) -> bool {
        !self.down.load(Ordering::Relaxed)
    }

    /// Remembers that this mirror fails, if it is its fault.
    pub(super) fn note(&self, error: &RegistryError) {
        tracing::warn!(mirror = %self.peer.registry, %error, "mirror did not help");
        if error.is_transport() {
            self.down.store(true, Ordering::Relaxed);
        }
    }

    /// The pauses of one request or body of this server.
    pub(super) fn backoff(&self) -> Backoff {
        let backoff = Backoff::new(&self.http.limits);
        if self.is_mirror { backoff.at_most(MIRROR_TRIES) } else { backoff }
    }

    /// GET below `/v2/<repository>/`, with whatever authorization the registry asks for.
    pub(super) async fn get(
        &self,
        path: &str,
        what: String,
        start: &Start,
        backoff: &mut Backoff,
    ) -> Result<Response, RegistryError> {
        let (reference, peer) = (&self.reference, &self.peer);
        let path = format!("v2/{}/{path}", reference.repository);
        let url = peer.base.join(&path);
        let url =
            url.map_err(|_| RegistryError::Url { registry: peer.registry.clone(), path: path.clone() })?;
        let accept = path.contains("/manifests/").then_some(ACCEPT);
        let authorization = self.tokens.known(reference).await;
        let (from, waiting) = (start.from, start.waiting.clone());
        let mut ask = Ask { url, what, accept, authorization, from, form: None, waiting };

        let response = self.http.get(peer, &ask, backoff).await?;
        if !self.asks_for_login(&response) {
            return Ok(response);
        }
        let challenge = auth::challenge(response.headers());
        let status = response.status().as_u16();
        let unauthorized = |tried: Option<&str>| RegistryError::Unauthorized {
            registry: peer.registry.clone(),
            repository: reference.repository.clone(),
            status,
            hint: self.tokens.hint(reference, tried),
        };
        let challenge = challenge.ok_or_else(|| unauthorized(ask.authorization.as_deref()))?;
        drop(response);
        let refused = ask.authorization.take();
        let refusal = Refusal {
            http: &self.http,
            peer,
            of: reference,
            refused: refused.as_deref(),
            challenge: &challenge,
            waiting: &start.waiting,
        };
        ask.authorization = self.tokens.answer(refusal, backoff).await?;
        if ask.authorization.is_none() {
            return Err(unauthorized(refused.as_deref()));
        }
        let response = self.http.get(peer, &ask, backoff).await?;
        if self.asks_for_login(&response) {
            Err(unauthorized(ask.authorization.as_deref()))
        } else {
            Ok(response)
        }
    }

    /// A challenge counts only when it comes from the registry itself, not from where it redirects.
    fn asks_for_login(&self, response: &Response) -> bool {
        response.status() == StatusCode::UNAUTHORIZED && response.url().origin() == self.peer.base.origin()
    }

    /// A manifest or index by tag or digest. A connection that breaks in the midst of it is no worse than one that was
    /// refused: it is asked for again.
    pub(super) async fn document(
        &self,
        target: &str,
        limit: u64,
        waiting: &Waiting,
    ) -> Result<RawDocument, RegistryError> {
        let mut backoff = self.backoff();
        loop {
            let error = match self.document_once(target, limit, waiting, &mut backoff).await {
                Ok(document) => return Ok(document),
                Err(error) => error,
            };
            if !backoff.rest(&error, waiting).await {
                return Err(error);
            }
        }
    }

    async fn document_once(
        &self,
        target: &str,
        limit: u64,
        waiting: &Waiting,
        backoff: &mut Backoff,
    ) -> Result<RawDocument, RegistryError> {
        let what = format!("the manifest of {}:{target}", self.reference.repository);
        let start = Start { from: 0, waiting: waiting.clone() };
        let response = self.get(&format!("manifests/{target}"), what.clone(), &start, backoff).await?;
        if !response.status().is_success() {
            return Err(self.refusal(response, what, Missing::Image(target)).await);
        }
        let header = |name: &str| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let stated = header("docker-content-digest");
        let content_type = header(CONTENT_TYPE.as_str());
        let bytes = self.http.read(&self.peer, &what, response, limit).await?;
        self.check_stated(stated, &bytes, what)?;
        Ok(RawDocument { bytes, content_type })
    }

    fn check_stated(&self, stated: Option<String>, bytes: &Bytes, what: String) -> Result<(), RegistryError> {
        let Some(stated) = stated else { return Ok(()) };
        let digest = stated.parse::<Digest>();
        if digest.as_ref().is_ok_and(|digest| digest.matches(bytes)) {
            return Ok(());
        }
        let algorithm = digest.map_or(crate::digest::Algorithm::Sha256, |digest| digest.algorithm());
        Err(RegistryError::WrongDigestHeader {
            registry: self.peer.registry.clone(),
            what,
            stated: printable(&stated, 160),
            actual: Digest::of(algorithm, bytes).to_string(),
        })
    }

    /// Turns a status into what it means for the user.
    pub(super) async fn refusal(
        &self,
        response: Response,
        what: String,
        missing: Missing<'_>,
    ) -> RegistryError {
        let (registry, repository) = (self.peer.registry.clone(), self.reference.repository.clone());
        let status = response.status().as_u16();
        match (status, missing) {
            (404, Missing::Image(target)) => {
                RegistryError::UnknownImage { registry, repository, target: target.into() }
            }
            (404, Missing::Blob(digest)) => {
                RegistryError::MissingBlob { registry, repository, what: digest.to_string() }
            }
            (401 | 403, _) => {
                let hint = self.tokens.hint(&self.reference, None);
                RegistryError::Unauthorized { registry, repository, status, hint }
            }
            _ => {
                let later = retry_after(&response);
                let body = self.http.read(&self.peer, &what, response, 64 << 10).await.unwrap_or_default();
                let later = later.map(|time| format!("; it asks to come back in {} s", time.as_secs()));
                let detail = complaint(&body) + &later.unwrap_or_default();
                RegistryError::Status { registry, what, status, detail }
            }
        }
    }
}

/// What a 404 is about.
pub(super) enum Missing<'a> {
    Image(&'a str),
    Blob(&'a Digest),
}

/// The registry's own words, from the specification's error document.
pub(super) fn complaint(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Complaints {
        errors: Vec<Complaint>,
    }
    #[derive(Deserialize)]
    struct Complaint {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let first = serde_json::from_slice::<Complaints>(body).ok().and_then(|c| c.errors.into_iter().next());
    first.map(|c| format!(": {} {}", printable(&c.code, 60), printable(&c.message, 200))).unwrap_or_default()
}

fn printable(text: &str, limit: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(limit).collect()
}
