//! Bodies: of answers as they are sent, and of requests read within limits.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::sync::Semaphore;

use super::stream::EventStream;
use super::{Refusal, refuse};

/// Largest body of a request.
pub const MAX_BODY: usize = 8 << 20;
/// What is not larger, and says so, needs no turn.
const SMALL_BODY: u64 = 64 << 10;
/// How many larger ones are read at once.
pub const LARGE_BODIES: usize = 32;
/// Longest time for it to arrive.
const MAX_TIME: Duration = Duration::from_secs(60);

/// The body of an answer.
#[derive(Debug)]
pub enum Body {
    /// All of it.
    Bytes(Bytes),
    /// Events of a scheduler's subscription.
    Events(Box<EventStream>),
    /// Of the agents' link.
    Link(tonic::body::Body),
}

impl Body {
    /// Nothing.
    pub fn empty() -> Body {
        Body::Bytes(Bytes::new())
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Body {
        Body::Bytes(bytes)
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        match self.get_mut() {
            Body::Bytes(bytes) if bytes.is_empty() => Poll::Ready(None),
            Body::Bytes(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Body::Events(events) => events.poll_record(cx).map(|record| record.map(|r| Ok(Frame::data(r)))),
            Body::Link(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Bytes(bytes) => bytes.is_empty(),
            Body::Events(_) => false,
            Body::Link(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Body::Events(_) => SizeHint::default(),
            Body::Link(body) => body.size_hint(),
        }
    }
}

/// Reads the whole body of a request. Large ones take turns, so that many senders can't fill the memory.
pub async fn read(large: &Semaphore, request: Request<Incoming>) -> Result<Bytes, Refusal> {
    let too_large = || {
        let message = format!("The body is larger than {MAX_BODY} bytes");
        refuse(StatusCode::PAYLOAD_TOO_LARGE, &message)
    };
    let body = request.into_body();
    if http_body::Body::size_hint(&body).lower() > MAX_BODY as u64 {
        return Err(too_large());
    }
    let small = http_body::Body::size_hint(&body).exact().is_some_and(|size| size <= SMALL_BODY);
    let _turn = match small {
        true => None,
        false => large.acquire().await.ok(),
    };
    match tokio::time::timeout(MAX_TIME, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(refuse(StatusCode::BAD_REQUEST, "The body ended early or is malformed")),
        Err(_) => Err(refuse(StatusCode::REQUEST_TIMEOUT, "The body took too long to arrive")),
    }
}
