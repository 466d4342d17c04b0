//! One repository of one registry as a source of manifests and blobs.

use std::sync::Arc;

use bytes::Bytes;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Response, StatusCode};
use serde::Deserialize;

use super::auth;
use super::blob::RegistryBody;
use super::error::RegistryError;
use super::http::{Ask, Http, Peer};
use super::token::Tokens;
use crate::digest::Digest;
use crate::manifest::{ACCEPT, Descriptor};
use crate::reference::RegistryRef;
use crate::source::{BlobSource, RawDocument, SourceError};

/// A repository that images are pulled from. Cheap to clone.
#[derive(Clone)]
pub(crate) struct RegistrySource {
    pub(super) http: Arc<Http>,
    tokens: Arc<Tokens>,
    pub(super) peer: Arc<Peer>,
    reference: Arc<RegistryRef>,
}

impl RegistrySource {
    pub(crate) fn new(
        http: Arc<Http>,
        tokens: Arc<Tokens>,
        insecure: &[String],
        reference: &RegistryRef,
    ) -> Result<Self, RegistryError> {
        let peer = Arc::new(Peer::new(&reference.registry, insecure)?);
        Ok(Self { http, tokens, peer, reference: Arc::new(reference.clone()) })
    }

    /// GET below `/v2/<repository>/`, with whatever authorization the registry asks for.
    pub(super) async fn get(&self, path: &str, what: String, from: u64) -> Result<Response, RegistryError> {
        let (reference, peer) = (&self.reference, &self.peer);
        let path = format!("v2/{}/{path}", reference.repository);
        let url = peer.base.join(&path);
        let url =
            url.map_err(|_| RegistryError::Url { registry: peer.registry.clone(), path: path.clone() })?;
        let accept = path.contains("/manifests/").then_some(ACCEPT);
        let authorization = self.tokens.known(reference).await;
        let mut ask = Ask { url, what, accept, authorization, from };

        let response = self.http.get(peer, &ask).await?;
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
        ask.authorization =
            self.tokens.answer(&self.http, peer, reference, refused.as_deref(), &challenge).await?;
        if ask.authorization.is_none() {
            return Err(unauthorized(refused.as_deref()));
        }
        let response = self.http.get(peer, &ask).await?;
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

    async fn document(&self, target: &str, limit: u64) -> Result<RawDocument, RegistryError> {
        let what = format!("the manifest of {}:{target}", self.reference.repository);
        let response = self.get(&format!("manifests/{target}"), what.clone(), 0).await?;
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
                let body = self.http.read(&self.peer, &what, response, 64 << 10).await.unwrap_or_default();
                RegistryError::Status { registry, what, status, detail: complaint(&body) }
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
fn complaint(body: &[u8]) -> String {
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

impl BlobSource for RegistrySource {
    type Body = RegistryBody;

    async fn top(&self) -> Result<RawDocument, SourceError> {
        Ok(self.document(&self.reference.target(), self.http.limits.manifest_bytes).await?)
    }

    async fn manifest(&self, of: &Descriptor) -> Result<RawDocument, SourceError> {
        Ok(self.document(&of.digest.to_string(), of.size).await?)
    }

    async fn blob(&self, of: &Descriptor) -> Result<RegistryBody, SourceError> {
        Ok(RegistryBody::open(self.clone(), of).await?)
    }

    fn demanded(&self) -> Option<&Digest> {
        self.reference.digest.as_ref()
    }
}
