//! One repository of a registry and its mirrors as a source of manifests and blobs.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::blob::RegistryBody;
use super::endpoint::Endpoint;
use super::error::RegistryError;
use super::http::{Http, Peer, Trust};
use super::mirrors::Mirrors;
use super::token::Tokens;
use crate::digest::Digest;
use crate::manifest::Descriptor;
use crate::reference::RegistryRef;
use crate::source::{BlobSource, RawDocument, SourceError, Start, Waiting};

/// What all registries of one store share.
pub(crate) struct Registries {
    pub(crate) http: Arc<Http>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) trust: Trust,
    pub(crate) mirrors: Mirrors,
}

/// A repository that images are pulled from. Cheap to clone.
#[derive(Clone)]
pub(crate) struct RegistrySource {
    /// Mirrors in their order, the registry itself at the end.
    pub(super) endpoints: Arc<[Arc<Endpoint>]>,
    digest: Option<Digest>,
    /// Hears of pauses until the layers are known.
    waiting: Waiting,
}

impl Registries {
    /// The source for one image. `tokens` are those of the pull, when it brings a login.
    pub(crate) fn source(
        &self,
        reference: &RegistryRef,
        tokens: Option<Arc<Tokens>>,
        waiting: Waiting,
    ) -> Result<RegistrySource, RegistryError> {
        let tokens = tokens.unwrap_or_else(|| self.tokens.clone());
        let endpoint = |reference: RegistryRef, peer: Peer, is_mirror| {
            let (http, tokens, down) = (self.http.clone(), tokens.clone(), AtomicBool::new(false));
            Arc::new(Endpoint { http, tokens, peer, reference, is_mirror, down })
        };
        let mut endpoints = Vec::new();
        for mirror in self.mirrors.of(&reference.registry) {
            let mut trust = self.trust.clone();
            trust.insecure.extend(mirror.plain.then(|| mirror.host.clone()));
            endpoints.push(endpoint(mirror.reference(reference), Peer::new(&mirror.host, &trust)?, true));
        }
        endpoints.push(endpoint(reference.clone(), Peer::new(&reference.registry, &self.trust)?, false));
        Ok(RegistrySource { endpoints: endpoints.into(), digest: reference.digest.clone(), waiting })
    }
}

impl RegistrySource {
    /// The registry itself.
    pub(super) fn own(&self) -> &Arc<Endpoint> {
        self.endpoints.last().expect("the registry is always there")
    }

    /// Asks the mirrors in their order and then the registry itself. What a mirror sends has to have the digest, when
    /// one is known: a damaged mirror is no reason to fail.
    async fn document(
        &self,
        target: &str,
        limit: u64,
        digest: Option<&Digest>,
    ) -> Result<RawDocument, RegistryError> {
        let (own, mirrors) = (self.own(), &self.endpoints[..self.endpoints.len() - 1]);
        let mut failed = Vec::new();
        for mirror in mirrors.iter().filter(|mirror| mirror.is_up()) {
            let error = match mirror.document(target, limit, &self.waiting).await {
                Ok(document) => match digest.filter(|digest| !digest.matches(&document.bytes)) {
                    None => return Ok(document),
                    Some(digest) => RegistryError::WrongDigestHeader {
                        registry: mirror.peer.registry.clone(),
                        what: format!("the manifest {target}"),
                        stated: digest.to_string(),
                        actual: Digest::of(digest.algorithm(), &document.bytes).to_string(),
                    },
                },
                Err(error) => error,
            };
            mirror.note(&error);
            failed.push(error.to_string());
        }
        let document = own.document(target, limit, &self.waiting).await;
        document.map_err(|error| with_mirrors(own, &failed, error))
    }
}

/// The registry's own error, and before it what its mirrors did.
pub(super) fn with_mirrors(own: &Endpoint, failed: &[String], error: RegistryError) -> RegistryError {
    if failed.is_empty() {
        return error;
    }
    let (registry, mirrors) = (own.peer.registry.clone(), failed.join("; "));
    RegistryError::Mirrors { registry, mirrors, source: Box::new(error) }
}

impl BlobSource for RegistrySource {
    type Body = RegistryBody;

    const RESUMES: bool = true;

    async fn top(&self) -> Result<RawDocument, SourceError> {
        let own = self.own();
        let limit = own.http.limits.manifest_bytes;
        Ok(self.document(&own.reference.target(), limit, self.digest.as_ref()).await?)
    }

    async fn manifest(&self, of: &Descriptor) -> Result<RawDocument, SourceError> {
        Ok(self.document(&of.digest.to_string(), of.size, Some(&of.digest)).await?)
    }

    async fn blob(&self, of: &Descriptor, start: Start) -> Result<RegistryBody, SourceError> {
        Ok(RegistryBody::open(self.clone(), of, start).await?)
    }

    fn demanded(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    fn start(&self) -> Start {
        Start { from: 0, waiting: self.waiting.clone() }
    }

    fn origin(&self) -> Option<Arc<Self>> {
        (self.endpoints.len() > 1).then(|| {
            let endpoints: Arc<[Arc<Endpoint>]> = Arc::new([self.own().clone()]);
            Arc::new(Self { endpoints, digest: self.digest.clone(), waiting: self.waiting.clone() })
        })
    }
}
