//! Speaks the v1 scheduler API: one SUBSCRIBE as a stream of events, and single calls.

use std::time::Duration;

use bytes::Bytes;
use coordination::LeaderAddress;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderName, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use wire::media::{self, BodyError, Media};
use wire::recordio::{Decoder, RecordError};
use wire::v1::scheduler::{Call, Event};

use crate::http::{self as plain, Ask, Http, HttpError, Streaming};

/// Route of the scheduler API.
pub const SCHEDULER: &str = "/api/v1/scheduler";
/// Names the stream that a call belongs to.
pub const STREAM_ID: HeaderName = HeaderName::from_static("mesos-stream-id");
/// The largest event that is taken: an OFFERS event of some ten thousand agents.
const MAX_EVENT: usize = 64 << 20;
const MAX_HOPS: usize = 4;
const ERROR_BODY: usize = 64 << 10;

/// Why a call failed or a stream ended.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There was no answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The master said no.
    #[error("{from} refused the call with {status}: {message}")]
    Refused {
        /// Who.
        from: LeaderAddress,
        /// With what status.
        status: StatusCode,
        /// In which words.
        message: String,
    },
    /// An answer without what it must have.
    #[error("{from} answered SUBSCRIBE without {what}; is it a master?")]
    NoMaster {
        /// Who.
        from: LeaderAddress,
        /// What is missing.
        what: &'static str,
    },
    /// The stream is no RecordIO.
    #[error("the event stream of {from} can't be read on")]
    Records {
        /// Whose.
        from: LeaderAddress,
        /// Why.
        #[source]
        source: RecordError,
    },
    /// A record is no event.
    #[error("{from} sent an event that can't be read")]
    Event {
        /// Who.
        from: LeaderAddress,
        /// Why.
        #[source]
        source: BodyError,
    },
}

impl ClientError {
    /// Whether another try, now or later, can end differently.
    pub fn is_final(&self) -> bool {
        match self {
            ClientError::Refused { status, .. } => {
                status.is_client_error()
                    && *status != StatusCode::REQUEST_TIMEOUT
                    && *status != StatusCode::TOO_MANY_REQUESTS
            }
            ClientError::NoMaster { .. } => true,
            _ => false,
        }
    }
}

/// A client of the scheduler API; cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    http: Http,
    media: Media,
}

impl Client {
    /// A client that writes and reads `media`.
    pub fn new(http: Http, media: Media) -> Client {
        Client { http, media }
    }

    /// Subscribes over a connection of its own, which ends with the [`Subscription`].
    ///
    /// # Errors
    /// No connection, or the master refused.
    pub async fn subscribe(&self, to: &LeaderAddress, call: &Call) -> Result<Subscription, ClientError> {
        let ask = self.ask(call).header(ACCEPT, self.media.content_type());
        let (mut to, mut path) = (to.clone(), SCHEDULER.to_owned());
        for _ in 0..MAX_HOPS {
            let answer = open(&self.http, &to, &path, &ask).await?;
            match plain::moved(answer.status(), answer.headers()) {
                None => return self.subscription(to, answer).await,
                Some(location) => {
                    let target = self.http.target(&location);
                    (to, path) = target.ok_or_else(|| plain::astray(&to, &path, &location))?;
                }
            }
        }
        Err(plain::astray(&to, &path, "the same again").into())
    }

    async fn subscription(
        &self,
        from: LeaderAddress,
        answer: Streaming,
    ) -> Result<Subscription, ClientError> {
        let (head, body) = answer.into_parts();
        if head.status != StatusCode::OK {
            let body = plain::read(&from, SCHEDULER, body, ERROR_BODY).await?;
            let message = String::from_utf8_lossy(&body).trim().to_owned();
            return Err(ClientError::Refused { from, status: head.status, message });
        }
        let text = |name: HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
        if text(CONTENT_TYPE) != Some(self.media.content_type()) {
            return Err(ClientError::NoMaster { from, what: "the content type asked for" });
        }
        let Some(stream_id) = text(STREAM_ID).map(str::to_owned) else {
            return Err(ClientError::NoMaster { from, what: "the header Mesos-Stream-Id" });
        };
        Ok(Subscription { from, stream_id, media: self.media, body, records: Decoder::new(MAX_EVENT) })
    }

    /// Sends one call of a subscribed framework.
    ///
    /// # Errors
    /// No connection, or the master refused.
    pub async fn call(&self, to: &LeaderAddress, stream_id: &str, call: &Call) -> Result<(), ClientError> {
        let ask = Ask { limit: ERROR_BODY, timeout: Duration::from_secs(15), ..self.ask(call) };
        let reply = self.http.ask(to, &ask.header(STREAM_ID, stream_id)).await?;
        if reply.status.is_success() {
            return Ok(());
        }
        Err(ClientError::Refused { status: reply.status, message: reply.message(), from: reply.from })
    }

    fn ask(&self, call: &Call) -> Ask {
        Ask::post(SCHEDULER, self.media.content_type(), media::encode_message(self.media, call))
    }
}

/// Makes a connection for one request, whose answer may go on for ever.
async fn open(http: &Http, to: &LeaderAddress, path: &str, ask: &Ask) -> Result<Streaming, HttpError> {
    let stream = http.connector().connect(&to.host, to.port).await;
    let stream =
        stream.map_err(|error| HttpError::Connect { to: to.to_string(), source: Box::new(error) })?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| plain::broken(to, path, error))?;
    // Ends by itself when the body is dropped; what it ends with shows in the body too.
    tokio::spawn(connection);
    let mut request = http.request(to, path, ask)?;
    *request.uri_mut() = path.parse().map_err(|error| HttpError::Invalid {
        to: to.to_string(),
        path: path.to_owned(),
        source: http::Error::from(error),
    })?;
    sender.send_request(request).await.map_err(|error| plain::broken(to, path, error))
}

/// A stream of events. Dropping it ends the connection, which the master takes for a disconnected framework.
#[derive(Debug)]
pub struct Subscription {
    from: LeaderAddress,
    stream_id: String,
    media: Media,
    body: Incoming,
    records: Decoder,
}

impl Subscription {
    /// Who leads: the master that answered.
    pub fn leader(&self) -> &LeaderAddress {
        &self.from
    }

    /// What the framework's other calls must carry.
    pub fn stream_id(&self) -> &str {
        &self.stream_id
    }

    /// The next event; none when the master ended the stream.
    ///
    /// # Errors
    /// The connection broke, or brought what is no event.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        loop {
            let from = || self.from.clone();
            let record =
                self.records.next().map_err(|source| ClientError::Records { from: from(), source })?;
            if let Some(record) = record {
                return self.event(&record).map(Some);
            }
            let Some(piece) = self.piece().await? else { return Ok(None) };
            self.records.push(&piece);
        }
    }

    fn event(&self, record: &[u8]) -> Result<Event, ClientError> {
        media::decode_body(self.media, record)
            .map_err(|source| ClientError::Event { from: self.from.clone(), source })
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, HttpError> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| plain::broken(&self.from, SCHEDULER, error))?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}
