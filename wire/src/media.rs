//! Content negotiation of the v1 endpoints: headers to the form of a message, or to the refusal Mesos
//! answers.
//!
//! The endpoints of the master, schedulers and executors speak whole messages: [`content_type`] and
//! [`accept`]. The agent's operator API also takes and gives records: [`agent_content_type`] and
//! [`agent_accept`].

use crate::json::{self, Json, JsonError};
use crate::proto::{self, DecodeError};
use crate::recordio;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, StatusCode};

/// Content type of JSON bodies.
pub const JSON: &str = "application/json";
/// Content type of protobuf bodies.
pub const PROTOBUF: &str = "application/x-protobuf";
/// Content type of a sequence of records; the agent's alone.
pub const RECORDIO: &str = "application/recordio";
/// Names the form of the records in a request or response of type [`RECORDIO`].
pub const MESSAGE_CONTENT_TYPE: HeaderName = HeaderName::from_static("message-content-type");
/// Like Accept, for the records in a response of type [`RECORDIO`].
pub const MESSAGE_ACCEPT: HeaderName = HeaderName::from_static("message-accept");

/// How one message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Media {
    /// `application/json`
    Json,
    /// `application/x-protobuf`
    Protobuf,
}

/// A body: one message, or a stream of records that hold one message each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// Content-Type is the form of the message. Mesos: the answer to a streaming call is framed as records
    /// even so, and then has no Message-Content-Type.
    Message(Media),
    /// Content-Type is [`RECORDIO`], Message-Content-Type is the form of the messages.
    Records(Media),
}

/// Why a request is refused for its headers. Displays as the body of the answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A header that has to be there is not.
    #[error("Expecting '{0}' to be present")]
    Missing(
        /// Name of the header.
        &'static str,
    ),
    /// The body is of a type the call does not take.
    #[error("Expecting '{header}' of {expected}")]
    Unsupported {
        /// Name of the header.
        header: &'static str,
        /// What it may be.
        expected: &'static str,
    },
    /// The client takes none of what the call can give.
    #[error("Expecting '{header}' to allow {expected}")]
    NotAcceptable {
        /// Name of the header.
        header: &'static str,
        /// What it should allow.
        expected: &'static str,
    },
}

/// Why a body is not the message asked for; 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// As JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// As protobuf.
    #[error(transparent)]
    Protobuf(#[from] DecodeError),
}

const MESSAGE_TYPES: &str = "application/json or application/x-protobuf";
const ALL_TYPES: &str = "application/json or application/x-protobuf or application/recordio";

impl Refusal {
    /// 400, 415 or 406.
    pub fn status(&self) -> StatusCode {
        match self {
            Refusal::Missing(_) => StatusCode::BAD_REQUEST,
            Refusal::Unsupported { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Refusal::NotAcceptable { .. } => StatusCode::NOT_ACCEPTABLE,
        }
    }
}

impl Media {
    /// The value of a Content-Type header.
    pub fn content_type(self) -> &'static str {
        match self {
            Media::Json => JSON,
            Media::Protobuf => PROTOBUF,
        }
    }

    /// Mesos: exact, case-sensitive, without parameters.
    fn of(content_type: &[u8]) -> Option<Self> {
        [Media::Json, Media::Protobuf]
            .into_iter()
            .find(|media| media.content_type().as_bytes() == content_type)
    }
}

impl Body {
    /// The form of the messages in it.
    pub fn media(self) -> Media {
        match self {
            Body::Message(media) | Body::Records(media) => media,
        }
    }

    /// The value of its Content-Type header.
    pub fn content_type(self) -> &'static str {
        match self {
            Body::Message(media) => media.content_type(),
            Body::Records(_) => RECORDIO,
        }
    }

    /// The value of its Message-Content-Type header.
    pub fn message_content_type(self) -> Option<&'static str> {
        match self {
            Body::Message(_) => None,
            Body::Records(media) => Some(media.content_type()),
        }
    }
}

/// The form of a request body, for endpoints that take no records.
///
/// # Errors
/// 400 without Content-Type, 415 when it is neither JSON nor protobuf, also for a charset or another case.
pub fn content_type(headers: &HeaderMap) -> Result<Media, Refusal> {
    let value = headers.get(CONTENT_TYPE).ok_or(Refusal::Missing("Content-Type"))?;
    let unsupported = Refusal::Unsupported { header: "Content-Type", expected: MESSAGE_TYPES };
    Media::of(value.as_bytes()).ok_or(unsupported)
}

/// The form of the answer, for endpoints that give no records: JSON when both will do.
///
/// # Errors
/// 406 when neither will do.
pub fn accept(headers: &HeaderMap) -> Result<Media, Refusal> {
    preferred(headers, &ACCEPT).ok_or(not_acceptable("Accept"))
}

/// The form of a request to the agent's operator API. Records are for ATTACH_CONTAINER_INPUT and nothing
/// else; what does not fit the call is [`unexpected_content_type`].
///
/// # Errors
/// 400 without Content-Type, or records without Message-Content-Type; 415 for other types, and for a
/// Message-Content-Type without records.
pub fn agent_content_type(headers: &HeaderMap) -> Result<Body, Refusal> {
    let value = headers.get(CONTENT_TYPE).ok_or(Refusal::Missing("Content-Type"))?;
    let inner = headers.get(MESSAGE_CONTENT_TYPE);
    if value.as_bytes() == RECORDIO.as_bytes() {
        let inner = inner.ok_or(Refusal::Missing("Message-Content-Type"))?;
        let unsupported = Refusal::Unsupported { header: "Message-Content-Type", expected: MESSAGE_TYPES };
        return Media::of(inner.as_bytes()).map(Body::Records).ok_or(unsupported);
    }
    let unsupported = Refusal::Unsupported { header: "Content-Type", expected: ALL_TYPES };
    let media = Media::of(value.as_bytes()).ok_or(unsupported)?;
    if inner.is_some() {
        let expected = "application/recordio when Message-Content-Type is set";
        return Err(Refusal::Unsupported { header: "Content-Type", expected });
    }
    Ok(Body::Message(media))
}

/// The refusal of a request body whose framing does not fit its call: 415.
pub fn unexpected_content_type(streaming: bool) -> Refusal {
    let expected = if streaming { RECORDIO } else { MESSAGE_TYPES };
    Refusal::Unsupported { header: "Content-Type", expected }
}

/// The form of an answer of the agent's operator API: JSON, else protobuf, else records. Records are for
/// ATTACH_CONTAINER_OUTPUT and LAUNCH_NESTED_CONTAINER_SESSION (`streaming`).
///
/// # Errors
/// 406 when nothing will do, when only records will do and the call has none, and when Message-Accept is set
/// without records.
pub fn agent_accept(headers: &HeaderMap, streaming: bool) -> Result<Body, Refusal> {
    if let Some(media) = preferred(headers, &ACCEPT) {
        return match headers.get(MESSAGE_ACCEPT) {
            None => Ok(Body::Message(media)),
            Some(_) => Err(Refusal::NotAcceptable { header: "Accept", expected: RECORDIO }),
        };
    }
    if !streaming || !accepts(headers, &ACCEPT, RECORDIO) {
        return Err(not_acceptable("Accept"));
    }
    preferred(headers, &MESSAGE_ACCEPT).map(Body::Records).ok_or(not_acceptable("Message-Accept"))
}

/// The bytes of `message`.
pub fn encode_message<T: Json>(media: Media, message: &T) -> Bytes {
    match media {
        Media::Json => json::to_vec(message).into(),
        Media::Protobuf => proto::encode(message).into(),
    }
}

/// The bytes of `message` as a record of a stream.
pub fn encode_record<T: Json>(media: Media, message: &T) -> Bytes {
    recordio::encode(&encode_message(media, message))
}

/// Reads a body. Its size is for the caller to limit.
///
/// # Errors
/// 400: not of that form, or required fields missing.
pub fn decode_body<T: Json>(media: Media, body: &[u8]) -> Result<T, BodyError> {
    match media {
        Media::Json => Ok(json::from_slice(body)?),
        Media::Protobuf => Ok(proto::decode(body)?),
    }
}

fn not_acceptable(header: &'static str) -> Refusal {
    Refusal::NotAcceptable { header, expected: MESSAGE_TYPES }
}

/// JSON comes first, also when the client prefers protobuf by its q values.
fn preferred(headers: &HeaderMap, header: &HeaderName) -> Option<Media> {
    [Media::Json, Media::Protobuf].into_iter().find(|media| accepts(headers, header, media.content_type()))
}

/// Whether `header` allows `media`: its most specific range decides, and no header allows everything.
fn accepts(headers: &HeaderMap, header: &HeaderName, media: &str) -> bool {
    let values = headers.get_all(header);
    if values.iter().next().is_none() {
        return true;
    }
    let ranges = || values.iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let decides = [media, "application/*", "*/*"].into_iter().find_map(|range| {
        ranges().filter_map(|text| std::str::from_utf8(text).ok()).find(|text| matches(text, range))
    });
    decides.is_some_and(|range| !forbidden(range))
}

fn matches(text: &str, range: &str) -> bool {
    let name = text.split(';').next().unwrap_or_default();
    name.trim().eq_ignore_ascii_case(range)
}

/// `q=0`. A q that is no number forbids as well; the parameter counts only when it comes once.
fn forbidden(range: &str) -> bool {
    let mut weights = range.split(';').skip(1).filter_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then_some(value.trim())
    });
    match (weights.next(), weights.next()) {
        (Some(weight), None) => !weight.parse::<f64>().is_ok_and(|weight| weight > 0.0),
        _ => false,
    }
}
