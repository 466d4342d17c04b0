//! Answers: made of a status, a type and bytes, compressed for those who accept it.

use bytes::Bytes;
use http::header::{CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use security::Stop;
use serving::answers::{self, text};
use serving::files::Download;
use serving::sending::Sending;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

/// Largest body of a request.
const MAX_BODY: usize = 1 << 20;
/// Longest time for it to arrive.
const MAX_TIME: std::time::Duration = std::time::Duration::from_secs(60);

/// The body of an answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// An answer that is all there.
pub(super) type Whole = Response<Bytes>;

/// An answer that ends the handling of a request. Boxed, because answers are large and errors rare.
pub(super) type Refusal = Box<Whole>;

pub(super) fn refuse(status: StatusCode, message: &str) -> Refusal {
    Box::new(text(status, message))
}

/// The answer to whom the gate doesn't let through.
pub(super) fn stop(stop: Stop) -> Refusal {
    match stop {
        Stop::Forbidden(why) => refuse(StatusCode::FORBIDDEN, &why),
        Stop::Unauthorized(why) => Box::new(answers::unauthorized(why.message, &why.challenges)),
    }
}

/// Mesos: answers are compressed from 1024 bytes on, if the client accepts that.
pub(super) fn compressed(asked: &HeaderMap, mut answer: Whole) -> Whole {
    let long = answer.body().len() >= serving::gzip::LEAST;
    if long && serving::gzip::is_accepted(asked) {
        let compressed = serving::gzip::compress(answer.body());
        *answer.body_mut() = compressed.into();
        answer.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    answer
}

/// Sends an answer at once.
pub(super) fn at_once(answer: Whole) -> Response<Body> {
    answer.map(|bytes| Full::new(bytes).map_err(|never| match never {}).boxed_unsync())
}

/// Sends an answer in parts.
pub(super) fn in_parts(answer: Response<Sending>) -> Response<Body> {
    let length = HeaderValue::from(answer.body().left());
    let frames = |sending: Sending| tokio_stream::iter(sending.map(|part| Ok(Frame::data(part))));
    let mut answer = answer.map(|sending| StreamBody::new(frames(sending)).boxed_unsync());
    answer.headers_mut().insert(CONTENT_LENGTH, length);
    answer
}

/// Sends a file as it is read.
pub(super) fn stream(download: Download) -> Response<Body> {
    let frames = ReceiverStream::new(download.parts).map(|part| part.map(|part| Frame::data(part.into())));
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(download.content_type));
    if let Ok(disposition) = HeaderValue::try_from(download.disposition) {
        headers.insert(CONTENT_DISPOSITION, disposition);
    }
    response
}

/// Reads the whole body of a request.
pub(super) async fn read_body(request: Request<Incoming>) -> Result<Bytes, Refusal> {
    let too_large = || {
        let message = format!("The body is larger than {MAX_BODY} bytes");
        refuse(StatusCode::PAYLOAD_TOO_LARGE, &message)
    };
    let body = request.into_body();
    if hyper::body::Body::size_hint(&body).lower() > MAX_BODY as u64 {
        return Err(too_large());
    }
    match tokio::time::timeout(MAX_TIME, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(refuse(StatusCode::BAD_REQUEST, "The body ended early or is malformed")),
        Err(_) => Err(refuse(StatusCode::REQUEST_TIMEOUT, "The body took too long to arrive")),
    }
}
