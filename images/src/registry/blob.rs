//! A blob as it streams from a registry: bounded in length and slowness, resumed when the connection breaks.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use reqwest::header::CONTENT_RANGE;
use reqwest::{Response, StatusCode};
use tokio::time::Instant;

use super::client::{Missing, RegistrySource};
use super::error::RegistryError;
use crate::digest::Digest;
use crate::manifest::Descriptor;
use crate::source::{BlobBody, SourceError};

/// The body of one blob. A resumed body continues the same stream, so the caller's hash covers every byte.
pub(crate) struct RegistryBody {
    source: RegistrySource,
    digest: Digest,
    size: u64,
    /// Bytes handed out.
    got: u64,
    /// Bytes that a server without ranges sends again.
    skip: u64,
    response: Response,
    retries: u32,
    pause: Duration,
    window: Window,
}

/// Waiting time and what it brought, since the last look.
#[derive(Default)]
struct Window {
    waited: Duration,
    bytes: u64,
}

impl RegistryBody {
    pub(super) async fn open(source: RegistrySource, of: &Descriptor) -> Result<Self, RegistryError> {
        let (response, skip) = request(&source, &of.digest, of.size, 0).await?;
        let limits = &source.http.limits;
        let (retries, pause) = (limits.retries, limits.first_pause);
        let (digest, size, window) = (of.digest.clone(), of.size, Window::default());
        Ok(Self { source, digest, size, got: 0, skip, response, retries, pause, window })
    }

    async fn advance(&mut self) -> Result<Option<Bytes>, RegistryError> {
        loop {
            let error = match self.receive().await {
                Ok(Some(bytes)) => match self.accept(bytes)? {
                    Some(fresh) => return Ok(Some(fresh)),
                    None => continue,
                },
                Ok(None) if self.got == self.size => return Ok(None),
                Ok(None) => return Err(self.wrong_length(self.got)),
                // Every byte is here; how the connection ends is of no interest.
                Err(_) if self.got == self.size => return Ok(None),
                Err(error) => error,
            };
            if self.retries == 0 {
                return Err(error);
            }
            self.retries -= 1;
            tracing::debug!(registry = %self.source.peer.registry, digest = %self.digest, got = self.got, %error, "resuming");
            tokio::time::sleep(self.pause).await;
            self.pause *= 2;
            self.window = Window::default();
            (self.response, self.skip) = request(&self.source, &self.digest, self.size, self.got).await?;
        }
    }

    async fn receive(&mut self) -> Result<Option<Bytes>, RegistryError> {
        let limits = &self.source.http.limits;
        let what = self.digest.to_string();
        let stalled = |got| self.source.http.stalled(&self.source.peer, &what, got, self.size);
        let started = Instant::now();
        let chunk = tokio::time::timeout(limits.idle_timeout, self.response.chunk()).await;
        let chunk = chunk.map_err(|_| stalled(self.got))?;
        let chunk = chunk.map_err(|source| RegistryError::Broken {
            registry: self.source.peer.registry.clone(),
            what: what.clone(),
            got: self.got,
            total: self.size,
            source: Arc::new(source.without_url()),
        })?;
        self.window.waited += started.elapsed();
        self.window.bytes += chunk.as_ref().map_or(0, |c| c.len() as u64);
        if self.window.waited >= limits.idle_timeout {
            if self.window.bytes < limits.least_rate.saturating_mul(limits.idle_timeout.as_secs()) {
                return Err(stalled(self.got));
            }
            self.window = Window::default();
        }
        Ok(chunk)
    }

    /// Drops what was had before; refuses what is too much.
    fn accept(&mut self, mut bytes: Bytes) -> Result<Option<Bytes>, RegistryError> {
        let again = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        bytes.advance(again);
        self.skip -= again as u64;
        let total = self.got + bytes.len() as u64;
        if total > self.size {
            return Err(self.wrong_length(total));
        }
        self.got = total;
        Ok((!bytes.is_empty()).then_some(bytes))
    }

    fn wrong_length(&self, got: u64) -> RegistryError {
        RegistryError::WrongLength {
            registry: self.source.peer.registry.clone(),
            what: self.digest.to_string(),
            got,
            expected: self.size,
        }
    }
}

/// Asks for the blob from byte `from` on; also says how many bytes of the answer were had before.
async fn request(
    source: &RegistrySource,
    digest: &Digest,
    size: u64,
    from: u64,
) -> Result<(Response, u64), RegistryError> {
    let response = source.get(&format!("blobs/{digest}"), digest.to_string(), from).await?;
    let registry = &source.peer.registry;
    let (expected, skip) = match response.status() {
        StatusCode::OK => (size, from),
        StatusCode::PARTIAL_CONTENT if from > 0 && starts_at(&response, from) => (size - from, 0),
        StatusCode::RANGE_NOT_SATISFIABLE if from > 0 => {
            return Err(RegistryError::WrongLength {
                registry: registry.clone(),
                what: digest.to_string(),
                got: from,
                expected: size,
            });
        }
        _ => return Err(source.refusal(response, digest.to_string(), Missing::Blob(digest)).await),
    };
    match response.content_length() {
        Some(length) if length != expected => Err(RegistryError::WrongLength {
            registry: registry.clone(),
            what: digest.to_string(),
            got: (size - expected).saturating_add(length),
            expected: size,
        }),
        _ => Ok((response, skip)),
    }
}

fn starts_at(response: &Response, from: u64) -> bool {
    let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {from}-")))
}

impl BlobBody for RegistryBody {
    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        Ok(self.advance().await?)
    }
}
