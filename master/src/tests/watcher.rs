//! An operator on the event stream, in JSON or protobuf.

use std::net::SocketAddr;

use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use wire::media::{self, Media};
use wire::recordio::Decoder;
use wire::v1::master::event::Type;
use wire::v1::master::{Call, Event, call};

use super::client;
use super::soon;

/// A subscription and its events.
pub struct Watcher {
    media: Media,
    body: Incoming,
    decoder: Decoder,
}

/// The call that begins a subscription.
pub fn subscribe(media: Media) -> bytes::Bytes {
    media::encode_message(media, &Call { r#type: Some(call::Type::Subscribe.into()), ..Default::default() })
}

impl Watcher {
    pub async fn open(to: SocketAddr, media: Media) -> Watcher {
        let kind = media.content_type();
        let headers = [("content-type", kind), ("accept", kind)];
        let request = client::request(Method::POST, "/api/v1", &headers, subscribe(media));
        let response = client::open(to, request).await;
        assert_eq!(response.status(), StatusCode::OK);
        // http.md section 4: the type of the records, and no stream id.
        assert_eq!(response.headers()["content-type"], kind);
        assert!(response.headers().get("mesos-stream-id").is_none());
        Watcher { media, body: response.into_body(), decoder: Decoder::new(64 << 20) }
    }

    /// The next event; none when the stream has ended.
    pub async fn event(&mut self) -> Option<Event> {
        loop {
            if let Some(record) = self.decoder.next().unwrap() {
                return Some(media::decode_body(self.media, &record).unwrap());
            }
            let frame = soon(self.body.frame()).await?;
            // A cut connection is an end, too.
            let Ok(Ok(data)) = frame.map(|frame| frame.into_data()) else { return None };
            self.decoder.push(&data);
        }
    }

    /// The next event that is no heartbeat; it must be of this type.
    pub async fn next(&mut self, kind: Type) -> Event {
        loop {
            let event = self.event().await.unwrap_or_else(|| panic!("the stream ended before {kind:?}"));
            if event.r#type() != Type::Heartbeat {
                assert_eq!(event.r#type(), kind, "{event:?}");
                return event;
            }
        }
    }
}
