//! GET requests to a registry: guarded redirects, retries with back-off, bounded bodies.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LOCATION, RANGE, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url, redirect};

use super::backoff::{self, Backoff};
use super::error::RegistryError;
use super::guard::{self, GuardedResolver};
use crate::limits::Limits;
use crate::source::Waiting;

const REDIRECTS: usize = 5;

/// What the operator says about registries.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trust {
    /// Spoken to without TLS.
    pub(crate) insecure: Vec<String>,
    /// Registries and the hosts of their token services.
    pub(crate) token_services: Vec<(String, String)>,
}

/// A registry as an HTTP server.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// Host with optional port, as in the image's name.
    pub(super) registry: String,
    pub(super) base: Url,
    /// Spoken to without TLS: it is on the loopback or the operator listed it.
    pub(super) plain: bool,
    /// Hosts that may be given its login, besides its own.
    pub(super) token_services: Vec<String>,
    loopback: bool,
}

impl Peer {
    pub(crate) fn new(registry: &str, trust: &Trust) -> Result<Self, RegistryError> {
        let refuse = || RegistryError::Url { registry: registry.into(), path: "/v2/".into() };
        let listed = |host: &str| {
            trust
                .insecure
                .iter()
                .any(|entry| entry.eq_ignore_ascii_case(registry) || entry.eq_ignore_ascii_case(host))
        };
        let with = |scheme: &str| Url::parse(&format!("{scheme}://{registry}/")).map_err(|_| refuse());
        let base = with("https")?;
        let host = base.host_str().ok_or_else(refuse)?;
        let loopback = guard::is_loopback_host(host);
        let plain = loopback || listed(host);
        let base = if plain { with("http")? } else { base };
        let own = trust.token_services.iter().filter(|(of, _)| of.eq_ignore_ascii_case(registry));
        let token_services = own.map(|(_, host)| host.to_ascii_lowercase()).collect();
        Ok(Self { registry: registry.to_owned(), base, plain, token_services, loopback })
    }
}

/// One GET, or a POST when it has a form.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) url: Url,
    /// For messages: `the manifest of a/b:latest`.
    pub(super) what: String,
    pub(super) accept: Option<&'static str>,
    pub(super) authorization: Option<String>,
    /// First byte wanted.
    pub(super) from: u64,
    /// An urlencoded form to send.
    pub(super) form: Option<String>,
    /// Hears of pauses.
    pub(super) waiting: Waiting,
}

/// HTTP clients for all registries of one store.
pub(crate) struct Http {
    pub(super) limits: Limits,
    /// Registries on this machine: no proxy.
    local: OnceLock<Client>,
    /// A registry's own host.
    home: OnceLock<Client>,
    /// Hosts that a registry on the network leads to: never this machine.
    away: OnceLock<Client>,
}

impl Http {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, local: OnceLock::new(), home: OnceLock::new(), away: OnceLock::new() }
    }

    /// Sends the request until it is answered with something else than "later", or tries are used up. They are the
    /// caller's, who may have spent some on what came of it.
    pub(super) async fn get(
        &self,
        peer: &Peer,
        ask: &Ask,
        backoff: &mut Backoff,
    ) -> Result<Response, RegistryError> {
        loop {
            let response = match self.follow(peer, ask).await {
                Ok(response) if is_temporary(response.status()) => response,
                Ok(response) => return Ok(response),
                Err(error) if backoff.rest(&error, &ask.waiting).await => continue,
                Err(error) => return Err(error),
            };
            let Some(pause) = backoff.pause(1, retry_after(&response)) else { return Ok(response) };
            let why = format!("registry {} answers {}", peer.registry, response.status().as_u16());
            drop(response);
            backoff::sleep(pause, &why, &ask.waiting).await;
        }
    }

    /// One attempt, with its redirects. `Authorization` goes to the first origin only.
    async fn follow(&self, peer: &Peer, ask: &Ask) -> Result<Response, RegistryError> {
        let mut url = ask.url.clone();
        for _ in 0..=REDIRECTS {
            check_address(peer, &url)?;
            let client = self.client(peer, &url)?;
            let mut request = match &ask.form {
                Some(form) => {
                    let form = client.post(url.clone()).body(form.clone());
                    form.header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                }
                None => client.get(url.clone()),
            };
            if let Some(accept) = ask.accept {
                request = request.header(ACCEPT, accept);
            }
            if let Some(authorization) =
                ask.authorization.as_ref().filter(|_| url.origin() == ask.url.origin())
            {
                request = request.header(AUTHORIZATION, authorization);
            }
            if ask.from > 0 {
                request = request.header(RANGE, format!("bytes={}-", ask.from));
            }
            let response = self.send(peer, ask, request).await?;
            match next_hop(peer, &url, &response)? {
                Some(next) if ask.form.is_some() => {
                    return Err(refused(peer, &next, "what is sent to a token service is sent nowhere else"));
                }
                Some(next) => url = next,
                None => return Ok(response),
            }
        }
        Err(refused(peer, &url, "it redirects more than 5 times"))
    }

    async fn send(
        &self,
        peer: &Peer,
        ask: &Ask,
        request: reqwest::RequestBuilder,
    ) -> Result<Response, RegistryError> {
        let limit = self.limits.connect_timeout + self.limits.idle_timeout;
        match tokio::time::timeout(limit, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(RegistryError::Unreachable {
                registry: peer.registry.clone(),
                what: ask.what.clone(),
                source: Arc::new(error.without_url()),
            }),
            Err(_) => Err(self.stalled(peer, &ask.what, 0, 0)),
        }
    }

    pub(super) fn stalled(&self, peer: &Peer, what: &str, got: u64, total: u64) -> RegistryError {
        let seconds = self.limits.idle_timeout.as_secs();
        let least = (self.limits.least_rate * seconds).max(1);
        RegistryError::Stalled {
            registry: peer.registry.clone(),
            what: what.into(),
            got,
            total,
            least,
            seconds,
        }
    }

    /// Reads a document of at most `limit` bytes.
    pub(super) async fn read(
        &self,
        peer: &Peer,
        what: &str,
        mut response: Response,
        limit: u64,
    ) -> Result<Bytes, RegistryError> {
        let too_large =
            || RegistryError::TooLarge { registry: peer.registry.clone(), what: what.into(), limit };
        if response.content_length().is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let mut whole = Vec::new();
        let started = tokio::time::Instant::now();
        loop {
            let got = whole.len() as u64;
            let chunk = tokio::time::timeout(self.limits.idle_timeout, response.chunk()).await;
            let chunk = chunk.map_err(|_| self.stalled(peer, what, got, 0))?;
            let chunk = chunk.map_err(|error| RegistryError::Broken {
                registry: peer.registry.clone(),
                what: what.into(),
                got,
                total: response.content_length().unwrap_or(0),
                source: Arc::new(error.without_url()),
            })?;
            let Some(chunk) = chunk else { return Ok(whole.into()) };
            if got + chunk.len() as u64 > limit {
                return Err(too_large());
            }
            whole.extend_from_slice(&chunk);
            if started.elapsed() > self.limits.idle_timeout * 4 {
                return Err(self.stalled(peer, what, whole.len() as u64, 0));
            }
        }
    }

    /// The client whose rules fit where the URL points.
    fn client(&self, peer: &Peer, url: &Url) -> Result<Client, RegistryError> {
        let at_home = url.host_str() == peer.base.host_str();
        let (slot, loopback_allowed) = match (peer.loopback, at_home) {
            (true, _) => (&self.local, true),
            (false, true) => (&self.home, true),
            (false, false) => (&self.away, false),
        };
        if let Some(client) = slot.get() {
            return Ok(client.clone());
        }
        let builder = Client::builder()
            .user_agent(concat!("tepui/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .referer(false)
            .connect_timeout(self.limits.connect_timeout)
            .dns_resolver(GuardedResolver { loopback_allowed });
        let builder = if peer.loopback { builder.no_proxy() } else { builder };
        let client = builder.build().map_err(|source| RegistryError::Client {
            registry: peer.registry.clone(),
            source: Arc::new(source),
        })?;
        Ok(slot.get_or_init(|| client).clone())
    }
}

/// What a URL has to be before we connect to it; names are checked once more when they resolve.
fn check_address(peer: &Peer, url: &Url) -> Result<(), RegistryError> {
    let host = url.host_str().unwrap_or_default();
    let at_home = Some(host) == peer.base.host_str();
    if guard::literal(host).is_some_and(guard::is_forbidden) {
        return Err(refused(peer, url, "link-local and metadata addresses are off limits"));
    }
    if !at_home && !peer.loopback && guard::is_loopback_host(host) {
        return Err(refused(peer, url, "a registry on the network must not lead to this machine"));
    }
    match url.scheme() {
        "https" => Ok(()),
        "http" if peer.plain => Ok(()),
        _ => Err(refused(peer, url, "only HTTPS is followed")),
    }
}

fn next_hop(peer: &Peer, url: &Url, response: &Response) -> Result<Option<Url>, RegistryError> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let next = location.and_then(|location| url.join(location).ok());
    let next = next.ok_or_else(|| refused(peer, url, "it redirects without saying where to"))?;
    if !next.username().is_empty() || next.password().is_some() {
        return Err(refused(peer, &next, "the redirect carries a login"));
    }
    Ok(Some(next))
}

pub(super) fn refused(peer: &Peer, url: &Url, why: &'static str) -> RegistryError {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let to = format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default());
    RegistryError::Refused { registry: peer.registry.clone(), to, why }
}

/// 501 and 505 are the same tomorrow.
fn is_temporary(status: StatusCode) -> bool {
    let code = status.as_u16();
    matches!(code, 408 | 429) || (code >= 500 && !matches!(code, 501 | 505))
}

/// The date form is not read: our own pause is as good then.
pub(super) fn retry_after(response: &Response) -> Option<Duration> {
    pause_in(response.headers().get(RETRY_AFTER)?.to_str().ok()?)
}

/// The pause that a `Retry-After` asks for.
pub(super) fn pause_in(value: &str) -> Option<Duration> {
    value.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_the_loopback_and_the_listed() {
        let insecure = vec!["r.example:5000".to_owned(), "lan.example".to_owned()];
        let listed = Trust { insecure, ..Trust::default() };
        let scheme = |registry: &str| Peer::new(registry, &listed).unwrap().base.scheme().to_owned();
        assert_eq!(scheme("127.0.0.1:5000"), "http");
        assert_eq!(scheme("[::1]:5000"), "http");
        assert_eq!(scheme("localhost:5000"), "http");
        assert_eq!(scheme("r.example:5000"), "http");
        assert_eq!(scheme("r.example"), "https");
        assert_eq!(scheme("lan.example:1234"), "http");
        assert_eq!(scheme("ghcr.io"), "https");
    }

    #[test]
    fn addresses_are_checked_before_connecting() {
        let none = Trust::default();
        let (own, plain) =
            (Peer::new("r.example", &none).unwrap(), Peer::new("127.0.0.1:5000", &none).unwrap());
        let check = |peer: &Peer, url: &str| check_address(peer, &Url::parse(url).unwrap());
        assert!(check(&own, "https://cdn.example/x").is_ok());
        assert!(check(&plain, "http://127.0.0.1:6000/x").is_ok());
        for bad in [
            "http://cdn.example/x",
            "https://169.254.169.254/",
            "https://127.0.0.1/",
            "https://localhost:5051/",
            "https://[::1]/",
            "https://[::ffff:169.254.169.254]/",
            "file:///etc/shadow",
            "https://0x7f.1/",
        ] {
            assert!(check(&own, bad).is_err(), "{bad} was taken");
        }
        assert!(check(&plain, "http://169.254.169.254/latest/meta-data").is_err());
    }
}
