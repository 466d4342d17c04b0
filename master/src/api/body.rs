//! Bodies: of answers as they are sent, and of requests read within limits.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, HeaderValue, VARY};
use http::{Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use serving::sending::Sending;
use tokio::sync::{Semaphore, mpsc};

use super::events::WatchStream;
use super::stream::EventStream;
use super::{Refusal, refuse};

/// Largest body of a request.
pub const MAX_BODY: usize = 8 << 20;
/// What is not larger needs no turn.
const SMALL_BODY: usize = 64 << 10;
/// How many larger ones are read at once.
pub const LARGE_BODIES: usize = 32;
/// Longest time for it to arrive.
const MAX_TIME: Duration = Duration::from_secs(60);

/// The body of an answer.
#[derive(Debug)]
pub enum Body {
    /// All of it.
    Bytes(Bytes),
    /// All of it, in parts.
    Large(Sending),
    /// Events of a scheduler's subscription.
    Events(Box<EventStream>),
    /// Events of an operator's subscription.
    Watch(Box<WatchStream>),
    /// A file, part by part.
    Parts(mpsc::Receiver<std::io::Result<Vec<u8>>>),
    /// Of the agents' link.
    Link(tonic::body::Body),
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
            Body::Large(sending) => Poll::Ready(sending.next().map(|part| Ok(Frame::data(part)))),
            Body::Events(events) => events.poll_record(cx).map(|record| record.map(|r| Ok(Frame::data(r)))),
            Body::Watch(events) => events.poll_bytes(cx).map(|bytes| bytes.map(|b| Ok(Frame::data(b)))),
            Body::Parts(parts) => parts.poll_recv(cx).map(|part| {
                let failed = |error: std::io::Error| tonic::Status::internal(error.to_string());
                part.map(|part| part.map(|bytes| Frame::data(bytes.into())).map_err(failed))
            }),
            Body::Link(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Bytes(bytes) => bytes.is_empty(),
            Body::Large(sending) => sending.left() == 0,
            Body::Events(_) | Body::Watch(_) | Body::Parts(_) => false,
            Body::Link(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Body::Large(sending) => SizeHint::with_exact(sending.left() as u64),
            Body::Events(_) | Body::Watch(_) | Body::Parts(_) => SizeHint::default(),
            Body::Link(body) => body.size_hint(),
        }
    }
}

/// Reads the whole body of a request. Large ones take turns, so that many senders can't fill the memory; those who
/// have sent only a little keep nobody's turn from them, whatever they say that is still to come.
pub async fn read(large: &Semaphore, request: Request<Incoming>) -> Result<Bytes, Refusal> {
    let body = request.into_body();
    if http_body::Body::size_hint(&body).lower() > MAX_BODY as u64 {
        return Err(too_large());
    }
    let (mut body, mut bytes) = (Limited::new(body, MAX_BODY), BytesMut::new());
    if !take(&mut body, &mut bytes, SMALL_BODY).await? {
        let _turn = large.acquire().await.ok();
        take(&mut body, &mut bytes, usize::MAX).await?;
    }
    Ok(bytes.freeze())
}

fn too_large() -> Refusal {
    refuse(StatusCode::PAYLOAD_TOO_LARGE, &format!("The body is larger than {MAX_BODY} bytes"))
}

/// Reads until there is more than that many bytes; true at the end.
async fn take(body: &mut Limited<Incoming>, bytes: &mut BytesMut, most: usize) -> Result<bool, Refusal> {
    let taking = async {
        while bytes.len() <= most {
            let Some(frame) = body.frame().await else { return Ok(true) };
            if let Ok(data) = frame?.into_data() {
                bytes.extend_from_slice(&data);
            }
        }
        Ok(false)
    };
    match tokio::time::timeout(MAX_TIME, taking).await {
        Ok(Ok(ended)) => Ok(ended),
        Ok(Err(error)) => {
            let error: Box<dyn std::error::Error + Send + Sync> = error;
            match error.is::<LengthLimitError>() {
                true => Err(too_large()),
                false => Err(refuse(StatusCode::BAD_REQUEST, "The body ended early or is malformed")),
            }
        }
        Err(_) => Err(refuse(StatusCode::REQUEST_TIMEOUT, "The body took too long to arrive")),
    }
}

/// Answers of this size and more are compressed on a thread of their own.
const LARGE_ANSWER: usize = 64 << 10;

/// The answer with its body compressed. Mesos: not small ones, and never streams.
pub async fn compressed(answer: Response<Body>) -> Response<Body> {
    let (mut head, body) = answer.into_parts();
    let Body::Bytes(bytes) = body else { return Response::from_parts(head, body) };
    if bytes.len() < serving::gzip::LEAST {
        return Response::from_parts(head, Body::Bytes(bytes));
    }
    let small = bytes.len() < LARGE_ANSWER;
    let compressed = if small {
        Some(serving::gzip::compress(&bytes))
    } else {
        let bytes = bytes.clone();
        tokio::task::spawn_blocking(move || serving::gzip::compress(&bytes)).await.ok()
    };
    let Some(compressed) = compressed else { return Response::from_parts(head, Body::Bytes(bytes)) };
    head.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    head.headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    Response::from_parts(head, Body::Bytes(compressed.into()))
}
