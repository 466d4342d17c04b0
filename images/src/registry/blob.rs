//! A blob as it streams from a registry: bounded in length and slowness, resumed when the connection breaks, continued
//! by the next server when one gives up.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use reqwest::header::CONTENT_RANGE;
use reqwest::{Response, StatusCode};
use tokio::time::Instant;

use super::backoff::Backoff;
use super::client::{RegistrySource, with_mirrors};
use super::endpoint::{Endpoint, Missing};
use super::error::RegistryError;
use crate::digest::Digest;
use crate::manifest::Descriptor;
use crate::source::{BlobBody, SourceError, Start, Waiting};

/// After so many bytes a broken connection has as many tries again as the first.
const PROGRESS: u64 = 1 << 20;

/// The body of one blob. A resumed body continues the same stream, so the caller's hash covers every byte. That is also
/// why `ETag`s are not looked at: servers behind one name have different ones for the same blob, and the hash tells.
pub(crate) struct RegistryBody {
    source: RegistrySource,
    /// Which of the source's servers sends it.
    at: usize,
    blob: Blob,
    /// Bytes handed out, and those that were had before.
    got: u64,
    answer: Answer,
    stitched: bool,
    backoff: Backoff,
    /// Where the stream stood when the tries were counted anew.
    counted: u64,
    window: Window,
    waiting: Waiting,
}

/// What is wanted.
#[derive(Clone)]
struct Blob {
    digest: Digest,
    size: u64,
}

/// What a server sends.
struct Answer {
    response: Response,
    /// Bytes that a server without ranges sends again.
    skip: u64,
}

/// Waiting time and what it brought, since the last look.
#[derive(Default)]
struct Window {
    waited: Duration,
    bytes: u64,
}

impl RegistryBody {
    /// Asks the source's servers in their order.
    pub(super) async fn open(
        source: RegistrySource,
        of: &Descriptor,
        start: Start,
    ) -> Result<Self, RegistryError> {
        let blob = Blob { digest: of.digest.clone(), size: of.size };
        let (last, mut failed) = (source.endpoints.len() - 1, Vec::new());
        for at in 0..=last {
            let endpoint = source.endpoints[at].clone();
            if !endpoint.is_up() {
                continue;
            }
            let mut backoff = endpoint.backoff();
            match blob.request(&endpoint, &start, &mut backoff).await {
                Ok(answer) => {
                    let backoff = endpoint.backoff();
                    let (got, window, waiting) = (start.from, Window::default(), start.waiting);
                    let (stitched, counted) = (got > 0, got);
                    let body =
                        Self { source, at, blob, got, answer, stitched, backoff, counted, window, waiting };
                    return Ok(body);
                }
                Err(error) if at == last => return Err(with_mirrors(&endpoint, &failed, error)),
                Err(error) => {
                    endpoint.note(&error);
                    failed.push(error.to_string());
                }
            }
        }
        unreachable!("the registry itself is never left out")
    }

    async fn advance(&mut self) -> Result<Option<Bytes>, RegistryError> {
        loop {
            let error = match self.receive().await {
                Ok(Some(bytes)) => match self.accept(bytes)? {
                    Some(fresh) => return Ok(Some(fresh)),
                    None => continue,
                },
                Ok(None) if self.got == self.blob.size => return Ok(None),
                // A body without a length ends when its connection does, whatever became of that.
                Ok(None) => self.short(),
                // Every byte is here; how the connection ends is of no interest.
                Err(_) if self.got == self.blob.size => return Ok(None),
                Err(error) => error,
            };
            self.resume(error).await?;
        }
    }

    fn endpoint(&self) -> &Endpoint {
        &self.source.endpoints[self.at]
    }

    /// Goes on where the stream broke: at the same server as long as it has tries left, then at the next one.
    async fn resume(&mut self, mut error: RegistryError) -> Result<(), RegistryError> {
        self.stitched = true;
        self.window = Window::default();
        if self.got - self.counted >= PROGRESS {
            self.counted = self.got;
            self.backoff = self.endpoint().backoff();
        }
        let start = Start { from: self.got, waiting: self.waiting.clone() };
        loop {
            let endpoint = self.source.endpoints[self.at].clone();
            tracing::debug!(registry = %endpoint.peer.registry, digest = %self.blob.digest, got = self.got, %error, "resuming");
            if !self.backoff.rest(&error, &self.waiting).await {
                let Some(next) = self.next_server() else { return Err(error) };
                endpoint.note(&error);
                self.at = next;
                self.backoff = self.endpoint().backoff();
            }
            let endpoint = self.source.endpoints[self.at].clone();
            match self.blob.request(&endpoint, &start, &mut self.backoff).await {
                Ok(answer) => {
                    self.answer = answer;
                    return Ok(());
                }
                Err(next) => error = next,
            }
        }
    }

    /// The registry itself is the last one.
    fn next_server(&self) -> Option<usize> {
        (self.at + 1..self.source.endpoints.len()).find(|at| self.source.endpoints[*at].is_up())
    }

    async fn receive(&mut self) -> Result<Option<Bytes>, RegistryError> {
        let endpoint = self.source.endpoints[self.at].clone();
        let limits = &endpoint.http.limits;
        let (what, size) = (self.blob.digest.to_string(), self.blob.size);
        let stalled = |got| endpoint.http.stalled(&endpoint.peer, &what, got, size);
        let started = Instant::now();
        let chunk = tokio::time::timeout(limits.idle_timeout, self.answer.response.chunk()).await;
        let chunk = chunk.map_err(|_| stalled(self.got))?;
        let chunk = chunk.map_err(|source| RegistryError::Broken {
            registry: endpoint.peer.registry.clone(),
            what: what.clone(),
            got: self.got,
            total: size,
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
        let again = usize::try_from(self.answer.skip).unwrap_or(usize::MAX).min(bytes.len());
        bytes.advance(again);
        self.answer.skip -= again as u64;
        let total = self.got + bytes.len() as u64;
        if total > self.blob.size {
            return Err(self.wrong_length(total));
        }
        self.got = total;
        Ok((!bytes.is_empty()).then_some(bytes))
    }

    fn wrong_length(&self, got: u64) -> RegistryError {
        self.blob.wrong_length(self.endpoint(), got)
    }

    fn short(&self) -> RegistryError {
        RegistryError::Short {
            registry: self.endpoint().peer.registry.clone(),
            what: self.blob.digest.to_string(),
            got: self.got,
            expected: self.blob.size,
        }
    }
}

impl Blob {
    /// Asks for the blob from the start on. A server that does not do what it was asked for with a range is asked for all
    /// of it, and what was had before is skipped.
    async fn request(
        &self,
        endpoint: &Endpoint,
        start: &Start,
        backoff: &mut Backoff,
    ) -> Result<Answer, RegistryError> {
        let response = self.get(endpoint, start, backoff).await?;
        let ranged = start.from > 0;
        let (response, skip) = match response.status() {
            StatusCode::PARTIAL_CONTENT if ranged && self.is_rest(&response, start.from) => (response, 0),
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if ranged => {
                drop(response);
                let whole = Start { from: 0, waiting: start.waiting.clone() };
                (self.get(endpoint, &whole, backoff).await?, start.from)
            }
            _ => (response, start.from),
        };
        let is_rest = ranged && skip == 0;
        if response.status() != StatusCode::OK && !is_rest {
            let missing = Missing::Blob(&self.digest);
            return Err(endpoint.refusal(response, self.digest.to_string(), missing).await);
        }
        let expected = if is_rest { self.size - start.from } else { self.size };
        match response.content_length() {
            Some(length) if length != expected => {
                Err(self.wrong_length(endpoint, (self.size - expected).saturating_add(length)))
            }
            _ => Ok(Answer { response, skip }),
        }
    }

    async fn get(
        &self,
        endpoint: &Endpoint,
        start: &Start,
        backoff: &mut Backoff,
    ) -> Result<Response, RegistryError> {
        endpoint.get(&format!("blobs/{}", self.digest), self.digest.to_string(), start, backoff).await
    }

    /// Whether the answer is what was asked for: everything from `from` on, of something as long as the blob.
    fn is_rest(&self, response: &Response, from: u64) -> bool {
        let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
        range.is_some_and(|range| is_rest(range, from, self.size))
    }

    fn wrong_length(&self, endpoint: &Endpoint, got: u64) -> RegistryError {
        RegistryError::WrongLength {
            registry: endpoint.peer.registry.clone(),
            what: self.digest.to_string(),
            got,
            expected: self.size,
        }
    }
}

/// Whether a `Content-Range` is from `from` to the end of something of that size.
pub(super) fn is_rest(range: &str, from: u64, size: u64) -> bool {
    let Some((span, total)) = range.strip_prefix("bytes ").and_then(|range| range.split_once('/')) else {
        return false;
    };
    let whole = total == "*" || total.parse() == Ok(size);
    let ends = |last: &str| last.parse::<u64>().ok().and_then(|last| last.checked_add(1)) == Some(size);
    whole && span.split_once('-').is_some_and(|(first, last)| first.parse() == Ok(from) && ends(last))
}

impl BlobBody for RegistryBody {
    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        Ok(self.advance().await?)
    }

    fn is_stitched(&self) -> bool {
        self.stitched
    }
}
