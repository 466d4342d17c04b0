//! Plain HTTP to masters and agents: bounded in size and time, following a standing-by master's redirect.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use coordination::LeaderAddress;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client as Pool, Error as PoolError};
use hyper_util::rt::TokioExecutor;
use security::ClientTls;

use crate::connect::Connector;

/// A standing-by master names the leader; more hops than this are a loop.
const MAX_HOPS: usize = 4;
/// How long a connection may take to be made.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Nobody listens there, or it can't be reached.
    #[error("cannot connect to {to}")]
    Connect {
        /// Host and port.
        to: String,
        /// What the connection ended with.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The connection broke while it was used.
    #[error("{path} at {to}: the connection broke")]
    Broken {
        /// Host and port.
        to: String,
        /// Path asked for.
        path: String,
        /// What it ended with.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer in time.
    #[error("{path} at {to}: no answer within {} s", .limit.as_secs())]
    Late {
        /// Host and port.
        to: String,
        /// Path asked for.
        path: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The answer is longer than the caller takes.
    #[error("{path} at {to}: the answer is longer than {limit} bytes")]
    TooLong {
        /// Host and port.
        to: String,
        /// Path asked for.
        path: String,
        /// Bytes.
        limit: usize,
    },
    /// Redirected in a circle or to nowhere.
    #[error("{path} at {to}: redirected to '{location}', which leads nowhere")]
    Astray {
        /// Host and port.
        to: String,
        /// Path asked for.
        path: String,
        /// The last `Location`.
        location: String,
    },
    /// Path or header that can't be sent.
    #[error("{path} at {to}: not a valid request")]
    Invalid {
        /// Host and port.
        to: String,
        /// Path asked for.
        path: String,
        /// What is wrong with it.
        #[source]
        source: http::Error,
    },
}

/// An answer in full.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Who gave it, after redirects.
    pub from: LeaderAddress,
}

impl Reply {
    /// The body as text, cut to what fits a message for people.
    pub fn message(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        text.trim().chars().take(1000).collect()
    }
}

/// Something to ask.
#[derive(Clone, Debug)]
pub struct Ask {
    /// GET, POST …
    pub method: Method,
    /// Path with its query, beginning with a slash.
    pub path: String,
    /// Headers besides Host.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Body.
    pub body: Bytes,
    /// Bytes of an answer that are taken at most.
    pub limit: usize,
    /// How long the whole may take.
    pub timeout: Duration,
}

impl Ask {
    /// GET, at most 64 MiB and 30 seconds.
    pub fn get(path: impl Into<String>) -> Ask {
        Ask {
            method: Method::GET,
            path: path.into(),
            headers: Vec::new(),
            body: Bytes::new(),
            limit: 64 << 20,
            timeout: Duration::from_secs(30),
        }
    }

    /// POST with a body of that type.
    pub fn post(path: impl Into<String>, content_type: &'static str, body: Bytes) -> Ask {
        let headers = vec![(CONTENT_TYPE, HeaderValue::from_static(content_type))];
        Ask { method: Method::POST, headers, body, ..Ask::get(path) }
    }

    /// With one more header; a value that no header can hold is left out.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &str) -> Ask {
        self.headers.extend(HeaderValue::from_str(value).map(|value| (name, value)));
        self
    }
}

/// A client with kept-alive connections; cheap to clone.
#[derive(Clone, Debug)]
pub struct Http {
    connector: Connector,
    /// Who asks, if he says so. Hidden in debug texts.
    login: Option<HeaderValue>,
    pool: Pool<Connector, Full<Bytes>>,
}

impl Default for Http {
    fn default() -> Self {
        Http::new()
    }
}

impl Http {
    /// A client without connections yet, that speaks in plain text and doesn't say who asks.
    pub fn new() -> Http {
        Http::secured(None, None)
    }

    /// A client without connections yet. All that it asks, after a redirect too, is encrypted if that was asked for; who
    /// asks is told to every server.
    pub fn secured(tls: Option<ClientTls>, login: Option<HeaderValue>) -> Http {
        let connector = Connector::new(tls);
        let mut pool = Pool::builder(TokioExecutor::new());
        let pool = pool.pool_idle_timeout(Duration::from_secs(20)).build(connector.clone());
        let login = login.map(|mut login| {
            login.set_sensitive(true);
            login
        });
        Http { connector, login, pool }
    }

    /// How its connections are made.
    pub(crate) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// Asks and reads the whole answer. Mesos: a master that doesn't lead answers 307; that is followed.
    ///
    /// # Errors
    /// No connection, no answer in time, or one that is too long. Any status is an answer.
    pub async fn ask(&self, to: &LeaderAddress, ask: &Ask) -> Result<Reply, HttpError> {
        let late = || HttpError::Late { to: to.to_string(), path: ask.path.clone(), limit: ask.timeout };
        tokio::time::timeout(ask.timeout, self.follow(to, ask)).await.map_err(|_| late())?
    }

    async fn follow(&self, to: &LeaderAddress, ask: &Ask) -> Result<Reply, HttpError> {
        let mut to = to.clone();
        let mut path = ask.path.clone();
        for _ in 0..MAX_HOPS {
            let reply = self.once(&to, &path, ask).await?;
            match moved(reply.status, &reply.headers) {
                None => return Ok(reply),
                Some(location) => {
                    (to, path) = self.target(&location).ok_or_else(|| astray(&to, &path, &location))?;
                }
            }
        }
        Err(astray(&to, &path, "the same again"))
    }

    async fn once(&self, to: &LeaderAddress, path: &str, ask: &Ask) -> Result<Reply, HttpError> {
        let request = self.request(to, path, ask)?;
        let answer = self.pool.request(request).await.map_err(|error| pool_error(to, path, error))?;
        let (head, body) = answer.into_parts();
        let body = read(to, path, body, ask.limit).await?;
        Ok(Reply { status: head.status, headers: head.headers, body, from: to.clone() })
    }
}

impl Http {
    pub(crate) fn request(
        &self,
        to: &LeaderAddress,
        path: &str,
        ask: &Ask,
    ) -> Result<Request<Full<Bytes>>, HttpError> {
        let uri = format!("{}://{to}{path}", self.connector.scheme());
        let mut builder = Request::builder().method(ask.method.clone()).uri(uri).header(HOST, to.to_string());
        for (name, value) in &ask.headers {
            builder = builder.header(name, value);
        }
        if let Some(login) = &self.login {
            builder = builder.header(AUTHORIZATION, login);
        }
        builder.body(Full::new(ask.body.clone())).map_err(|source| HttpError::Invalid {
            to: to.to_string(),
            path: path.to_owned(),
            source,
        })
    }

    /// Where a redirect leads: never from an encrypted connection to a plain one.
    pub(crate) fn target(&self, location: &str) -> Option<(LeaderAddress, String)> {
        target(self.connector.scheme(), location)
    }
}

pub(crate) fn astray(to: &LeaderAddress, path: &str, location: &str) -> HttpError {
    HttpError::Astray { to: to.to_string(), path: path.to_owned(), location: location.to_owned() }
}

fn pool_error(to: &LeaderAddress, path: &str, error: PoolError) -> HttpError {
    if error.is_connect() {
        HttpError::Connect { to: to.to_string(), source: innermost(error) }
    } else {
        broken(to, path, error)
    }
}

/// The source that says what happened: the layers above it only say that something did.
fn innermost(error: PoolError) -> Box<dyn std::error::Error + Send + Sync> {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(inner) = source {
        text = inner.to_string();
        source = inner.source();
    }
    text.into()
}

pub(crate) fn broken(
    to: &LeaderAddress,
    path: &str,
    error: impl std::error::Error + Send + Sync + 'static,
) -> HttpError {
    HttpError::Broken { to: to.to_string(), path: path.to_owned(), source: Box::new(error) }
}

/// Where a redirect points, if the answer is one.
pub(crate) fn moved(status: StatusCode, headers: &HeaderMap) -> Option<String> {
    let redirect = matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
    redirect.then(|| headers.get(LOCATION)?.to_str().ok().map(str::to_owned)).flatten()
}

/// Reads `//host:port/path` (Mesos' protocol-relative form) or `http://host:port/path`, with the protocol that is spoken.
fn target(scheme: &str, location: &str) -> Option<(LeaderAddress, String)> {
    let same = location.strip_prefix(scheme).and_then(|rest| rest.strip_prefix(':'));
    let rest = same.unwrap_or(location).strip_prefix("//")?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = if path.is_empty() { "/" } else { path };
    Some((host.parse().ok()?, path.to_owned()))
}

pub(crate) async fn read(
    to: &LeaderAddress,
    path: &str,
    mut body: Incoming,
    limit: usize,
) -> Result<Bytes, HttpError> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(to, path, error))?;
        if let Ok(data) = frame.into_data() {
            if all.len() + data.len() > limit {
                return Err(HttpError::TooLong { to: to.to_string(), path: path.to_owned(), limit });
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(all.freeze())
}

/// The head of an answer whose body is read elsewhere.
pub(crate) type Streaming = Response<Incoming>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_read() {
        let of = |scheme: &str, text: &str| target(scheme, text).map(|(to, path)| format!("{to} {path}"));
        let read = |text: &str| of("http", text);
        assert_eq!(of("https", "//m1:1/x").as_deref(), Some("m1:1 /x"));
        assert_eq!(of("https", "https://m1:1/x").as_deref(), Some("m1:1 /x"));
        assert_eq!(of("https", "http://m1:1/x"), None);
        assert_eq!(read("//10.0.0.1:5050/api/v1?x=1").as_deref(), Some("10.0.0.1:5050 /api/v1?x=1"));
        assert_eq!(read("http://m1:5050").as_deref(), Some("m1:5050 /"));
        for astray in ["", "/state", "https://m1:5050/", "//", "//m1/", "ftp://m1:1/"] {
            assert_eq!(read(astray), None, "{astray}");
        }
    }
}
