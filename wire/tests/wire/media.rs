//! Content negotiation: tables of headers and what becomes of them.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use wire::media::{self, Body, Media, Refusal};

const OK_JSON: Result<Media, u16> = Ok(Media::Json);
const OK_PROTOBUF: Result<Media, u16> = Ok(Media::Protobuf);

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
    };
    pairs.iter().map(pair).collect()
}

fn code<T>(result: Result<T, Refusal>) -> Result<T, u16> {
    result.map_err(|refusal| refusal.status().as_u16())
}

#[test]
fn content_types() {
    let table = [
        ("application/json", OK_JSON),
        ("application/x-protobuf", OK_PROTOBUF),
        // Mesos: 415 when a charset is given, and for another case.
        ("application/json; charset=utf-8", Err(415)),
        ("application/json;", Err(415)),
        ("Application/JSON", Err(415)),
        ("application/x-protobuf;x=y", Err(415)),
        ("application/recordio", Err(415)),
        ("application/protobuf", Err(415)),
        ("text/plain", Err(415)),
        ("*/*", Err(415)),
        ("", Err(415)),
        ("é", Err(415)),
    ];
    for (value, expected) in table {
        assert_eq!(code(media::content_type(&headers(&[("content-type", value)]))), expected, "{value}");
    }
    assert_eq!(code(media::content_type(&headers(&[]))), Err(400));
}

#[test]
fn accepts() {
    let table = [
        ("*/*", OK_JSON),
        ("application/*", OK_JSON),
        ("application/json", OK_JSON),
        ("APPLICATION/JSON", OK_JSON),
        ("application/json; charset=utf-8", OK_JSON),
        ("application/x-protobuf", OK_PROTOBUF),
        ("application/x-protobuf, application/json", OK_JSON),
        ("application/x-protobuf;q=1.0, application/json;q=0.1", OK_JSON),
        ("application/json;q=0, application/x-protobuf", OK_PROTOBUF),
        ("application/json;q=0.0,*/*", OK_PROTOBUF),
        ("application/json ; q = 0 , application/*", OK_PROTOBUF),
        ("*/*;q=0, application/x-protobuf;q=0.5", OK_PROTOBUF),
        ("*/*;q=0, application/*", OK_JSON),
        ("application/*;q=0, */*", Err(406)),
        ("application/*;q=0", Err(406)),
        ("*/*;q=0", Err(406)),
        ("application/json;q=0", Err(406)),
        ("application/json;q=nonsense", Err(406)),
        ("text/html, text/*", Err(406)),
        ("application/recordio", Err(406)),
        ("json", Err(406)),
        ("", Err(406)),
        (",;,=,", Err(406)),
    ];
    for (value, expected) in table {
        assert_eq!(code(media::accept(&headers(&[("accept", value)]))), expected, "{value}");
    }
    assert_eq!(code(media::accept(&headers(&[]))), OK_JSON);
    let two = headers(&[("accept", "text/html"), ("accept", "application/x-protobuf")]);
    assert_eq!(code(media::accept(&two)), OK_PROTOBUF);
}

#[test]
fn agent_content_types() {
    let json = ("content-type", "application/json");
    let records = ("content-type", "application/recordio");
    let inner = |value| ("message-content-type", value);
    let table = [
        (vec![json], Ok(Body::Message(Media::Json))),
        (vec![("content-type", "application/x-protobuf")], Ok(Body::Message(Media::Protobuf))),
        (vec![records, inner("application/json")], Ok(Body::Records(Media::Json))),
        (vec![records, inner("application/x-protobuf")], Ok(Body::Records(Media::Protobuf))),
        (vec![records], Err(400)),
        (vec![records, inner("application/recordio")], Err(415)),
        (vec![records, inner("application/json; charset=utf-8")], Err(415)),
        (vec![json, inner("application/json")], Err(415)),
        (vec![("content-type", "text/plain")], Err(415)),
        (vec![], Err(400)),
        (vec![inner("application/json")], Err(400)),
    ];
    for (pairs, expected) in table {
        assert_eq!(code(media::agent_content_type(&headers(&pairs))), expected, "{pairs:?}");
    }
    assert_eq!(media::unexpected_content_type(true).status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(
        media::unexpected_content_type(false).to_string(),
        "Expecting 'Content-Type' of application/json or application/x-protobuf"
    );
}

#[test]
fn agent_accepts() {
    let records = ("accept", "application/recordio");
    let inner = |value| ("message-accept", value);
    let table = [
        (vec![], false, Ok(Body::Message(Media::Json))),
        (vec![("accept", "*/*")], true, Ok(Body::Message(Media::Json))),
        (vec![("accept", "application/recordio, */*")], true, Ok(Body::Message(Media::Json))),
        (
            vec![("accept", "application/x-protobuf, application/recordio")],
            true,
            Ok(Body::Message(Media::Protobuf)),
        ),
        (vec![records], true, Ok(Body::Records(Media::Json))),
        (vec![records, inner("application/x-protobuf")], true, Ok(Body::Records(Media::Protobuf))),
        (vec![records, inner("*/*")], true, Ok(Body::Records(Media::Json))),
        (vec![records, inner("text/plain")], true, Err(406)),
        (vec![records], false, Err(406)),
        (vec![("accept", "application/json"), inner("application/json")], true, Err(406)),
        (vec![inner("application/json")], false, Err(406)),
        (vec![("accept", "text/html")], true, Err(406)),
    ];
    for (pairs, streaming, expected) in table {
        assert_eq!(code(media::agent_accept(&headers(&pairs), streaming)), expected, "{pairs:?} {streaming}");
    }
}

#[test]
fn bodies_name_their_headers() {
    let body = Body::Records(Media::Protobuf);
    assert_eq!(body.content_type(), "application/recordio");
    assert_eq!(body.message_content_type(), Some("application/x-protobuf"));
    let body = Body::Message(Media::Json);
    assert_eq!((body.content_type(), body.message_content_type()), ("application/json", None));
    assert_eq!(body.media(), Media::Json);
}

#[test]
fn bodies_are_read_and_written_in_their_form() {
    let id = wire::v1::TaskId { value: "t".into() };
    for media in [Media::Json, Media::Protobuf] {
        let bytes = media::encode_message(media, &id);
        assert_eq!(media::decode_body::<wire::v1::TaskId>(media, &bytes).unwrap(), id);
        assert!(media::decode_body::<wire::v1::TaskId>(media, b"[").is_err());
    }
    let error = media::decode_body::<wire::v1::TaskId>(Media::Protobuf, b"").unwrap_err();
    assert_eq!(error.to_string(), "Missing required fields: value");
    assert_eq!(&media::encode_record(Media::Json, &id)[..], b"13\n{\"value\":\"t\"}");
}

#[test]
fn the_link_wraps_its_messages() {
    use wire::link::{FromAgent, FromMaster, Ping, Pong, from_agent, from_master};
    let pong = FromAgent::from(Pong { sequence: 4 });
    assert_eq!(pong.body, Some(from_agent::Body::Pong(Pong { sequence: 4 })));
    let ping = FromMaster::new(3, Ping { sequence: 4, connected: true });
    assert_eq!(ping.epoch, 3);
    assert!(matches!(ping.body, Some(from_master::Body::Ping(_))));
}
