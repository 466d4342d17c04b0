//! The client and the scheduler over real sockets, against a master that says word for word what the test wants.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use coordination::{LeaderAddress, Standalone};
use sdk::client::{Client, ClientError};
use sdk::http::{Ask, Http, HttpError};
use sdk::scheduler::{News, Scheduler};
use sdk::session::{Notice, Options};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use wire::media::{self, Media};
use wire::v1::scheduler::{Call, Event, call, event};
use wire::v1::{FrameworkId, FrameworkInfo};

/// A request as it came: head and body.
struct Request {
    head: String,
    body: Vec<u8>,
}

impl Request {
    fn call(&self) -> Call {
        let json = self.head.contains("content-type: application/json");
        media::decode_body(if json { Media::Json } else { Media::Protobuf }, &self.body).unwrap()
    }
}

async fn listen() -> (TcpListener, LeaderAddress) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, LeaderAddress { host: "127.0.0.1".to_owned(), port })
}

async fn request(listener: &TcpListener) -> (TcpStream, Request) {
    let (mut stream, _) =
        tokio::time::timeout(Duration::from_secs(10), listener.accept()).await.unwrap().unwrap();
    let mut bytes = Vec::new();
    let end = loop {
        stream.read_buf(&mut bytes).await.unwrap();
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_ascii_lowercase();
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    while bytes.len() < end + length {
        stream.read_buf(&mut bytes).await.unwrap();
    }
    (stream, Request { head, body: bytes.split_off(end) })
}

async fn answer(stream: &mut TcpStream, head: &str, body: &[u8]) {
    let length = body.len();
    stream
        .write_all(
            format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n").as_bytes(),
        )
        .await
        .unwrap();
    stream.write_all(body).await.unwrap();
}

async fn begin(stream: &mut TcpStream, media: Media, stream_id: &str) {
    let kind = media.content_type();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nMesos-Stream-Id: {stream_id}\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
}

async fn chunk(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(format!("{:x}\r\n", bytes.len()).as_bytes()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream.write_all(b"\r\n").await.unwrap();
    stream.flush().await.unwrap();
}

fn subscribed(id: &str) -> Event {
    let framework_id = FrameworkId { value: id.to_owned() };
    let subscribed =
        event::Subscribed { framework_id, heartbeat_interval_seconds: Some(15.0), master_info: None };
    Event { r#type: Some(event::Type::Subscribed.into()), subscribed: Some(subscribed), ..Event::default() }
}

fn heartbeat() -> Event {
    Event { r#type: Some(event::Type::Heartbeat.into()), ..Event::default() }
}

/// With every field that Mesos' JSON writes even when it isn't set.
fn info() -> FrameworkInfo {
    FrameworkInfo {
        user: "root".to_owned(),
        name: "test".to_owned(),
        failover_timeout: Some(0.0),
        checkpoint: Some(false),
        ..FrameworkInfo::default()
    }
}

fn subscribe() -> Call {
    let subscribe = call::Subscribe { framework_info: info(), ..call::Subscribe::default() };
    Call { r#type: Some(call::Type::Subscribe.into()), subscribe: Some(subscribe), ..Call::default() }
}

/// Nothing may hang: a broken client would wait for ever.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("it came to an end within 20 seconds")
}

/// A master that stands by redirects; records come in pieces that have nothing to do with their borders.
#[tokio::test]
async fn a_subscription_follows_the_leader_and_reads_any_chunks() {
    for media in [Media::Json, Media::Protobuf] {
        let (standby, to) = listen().await;
        let (leader, leads) = listen().await;
        let expected = leads.clone();
        let masters = tokio::spawn(async move {
            let (mut stream, _) = request(&standby).await;
            let location = format!("307 Temporary Redirect\r\nLocation: //{leads}/api/v1/scheduler");
            answer(&mut stream, &location, b"").await;
            let (mut stream, asked) = request(&leader).await;
            assert!(asked.head.starts_with("post /api/v1/scheduler http/1.1"), "{}", asked.head);
            assert!(asked.head.contains(&format!("accept: {}", media.content_type())), "{}", asked.head);
            assert_eq!(asked.call(), subscribe());
            begin(&mut stream, media, "stream-1").await;
            let mut bytes = media::encode_record(media, &subscribed("F1")).to_vec();
            bytes.extend_from_slice(&media::encode_record(media, &heartbeat()));
            for piece in bytes.chunks(7) {
                chunk(&mut stream, piece).await;
            }
            stream.write_all(b"0\r\n\r\n").await.unwrap();
        });
        let client = Client::new(Http::new(), media);
        let mut subscription = soon(client.subscribe(&to, &subscribe())).await.unwrap();
        assert_eq!((subscription.leader(), subscription.stream_id()), (&expected, "stream-1"));
        assert_eq!(soon(subscription.next()).await.unwrap(), Some(subscribed("F1")));
        assert_eq!(soon(subscription.next()).await.unwrap(), Some(heartbeat()));
        assert_eq!(soon(subscription.next()).await.unwrap(), None);
        soon(masters).await.unwrap();
    }
}

#[tokio::test]
async fn refusals_and_strangers_are_told_apart() {
    let (listener, to) = listen().await;
    let master = tokio::spawn(async move {
        for head in ["400 Bad Request", "503 Service Unavailable", "200 OK\r\nContent-Type: text/html"] {
            let (mut stream, _) = request(&listener).await;
            answer(&mut stream, head, b"why it is so").await;
        }
        let (mut stream, _) = request(&listener).await;
        begin(&mut stream, Media::Json, "s").await;
        chunk(&mut stream, b"this is no record").await;
    });
    let client = Client::new(Http::new(), Media::Json);
    let refused = soon(client.subscribe(&to, &subscribe())).await.unwrap_err();
    assert!(
        refused.is_final() && refused.to_string().ends_with("400 Bad Request: why it is so"),
        "{refused}"
    );
    let later = soon(client.subscribe(&to, &subscribe())).await.unwrap_err();
    assert!(!later.is_final(), "{later}");
    let stranger = soon(client.subscribe(&to, &subscribe())).await.unwrap_err();
    assert!(matches!(stranger, ClientError::NoMaster { .. }), "{stranger}");
    let mut stream = soon(client.subscribe(&to, &subscribe())).await.unwrap();
    assert!(matches!(soon(stream.next()).await, Err(ClientError::Records { .. })));
    soon(master).await.unwrap();
}

#[tokio::test]
async fn answers_are_bounded() {
    let (listener, to) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = request(&listener).await;
        answer(&mut stream, "200 OK", &[b'x'; 5000]).await;
        let (mut stream, _) = request(&listener).await;
        let around = format!("307 x\r\nLocation: //{}/again", listener.local_addr().unwrap());
        answer(&mut stream, &around, b"").await;
        for _ in 0..3 {
            let (mut stream, _) = request(&listener).await;
            answer(&mut stream, &around, b"").await;
        }
    });
    let http = Http::new();
    let long = soon(http.ask(&to, &Ask { limit: 4999, ..Ask::get("/x") })).await.unwrap_err();
    assert!(matches!(long, HttpError::TooLong { limit: 4999, .. }), "{long}");
    let circle = soon(Http::new().ask(&to, &Ask::get("/x"))).await.unwrap_err();
    assert!(matches!(circle, HttpError::Astray { .. }), "{circle}");
    soon(server).await.unwrap();
    let nobody = soon(http.ask(&LeaderAddress { port: 1, ..to }, &Ask::get("/x"))).await.unwrap_err();
    assert!(matches!(nobody, HttpError::Connect { .. }), "{nobody}");
}

/// A lost stream is taken up again under the framework's id; calls carry the id of the stream they belong to.
#[tokio::test]
async fn a_scheduler_comes_back_and_its_calls_carry_the_stream() {
    let (listener, to) = listen().await;
    let master = tokio::spawn(async move {
        let (mut first, asked) = request(&listener).await;
        assert_eq!(asked.call().framework_id, None);
        begin(&mut first, Media::Protobuf, "one").await;
        chunk(&mut first, &media::encode_record(Media::Protobuf, &subscribed("F1"))).await;
        let (mut stream, asked) = request(&listener).await;
        assert!(asked.head.contains("mesos-stream-id: one"), "{}", asked.head);
        assert_eq!(asked.call().framework_id.unwrap().value, "F1");
        answer(&mut stream, "403 Forbidden", b"not yours").await;
        drop(first);
        let (mut second, asked) = request(&listener).await;
        assert_eq!(asked.call().framework_id.unwrap().value, "F1");
        begin(&mut second, Media::Protobuf, "two").await;
        chunk(&mut second, &media::encode_record(Media::Protobuf, &subscribed("F1"))).await;
        let error = event::Error { message: "enough".to_owned() };
        let error = Event { r#type: Some(event::Type::Error.into()), error: Some(error), ..Event::default() };
        chunk(&mut second, &media::encode_record(Media::Protobuf, &error)).await;
        second
    });
    let client = Client::new(Http::new(), Media::Protobuf);
    let options = Options { backoff: Duration::from_millis(20), ..Options::new(info(), 7) };
    let mut scheduler = Scheduler::start(&Standalone::at(to), client, options);
    let mut heard = Vec::new();
    while let Some(news) = soon(scheduler.next()).await {
        match news {
            News::Notice(Notice::Subscribed { again, .. }) => {
                heard.push(format!("subscribed {again}"));
                if !again {
                    scheduler.call(sdk::launch::plain(call::Type::Revive)).await;
                    soon(scheduler.flush()).await;
                }
            }
            News::Notice(Notice::Disconnected { .. }) => heard.push("disconnected".to_owned()),
            News::Notice(Notice::Failed { why }) => heard.push(format!("failed: {why}")),
            News::Refused { call, error } => {
                heard.push(format!(
                    "{} refused: {}",
                    call.r#type().as_str_name(),
                    error.to_string().contains("not yours")
                ));
            }
            News::Notice(other) => heard.push(format!("{other:?}")),
        }
    }
    let expected =
        ["subscribed false", "REVIVE refused: true", "disconnected", "subscribed true", "failed: enough"];
    assert_eq!(heard, expected);
    drop(soon(master).await.unwrap());
}

/// A master that was stopped, or cut off, leaves a call unanswered: what is said to the next one doesn't wait for it.
#[tokio::test]
async fn a_call_without_an_answer_holds_nothing_up_after_its_stream() {
    let (listener, to) = listen().await;
    let record = |event: &Event| media::encode_record(Media::Protobuf, event);
    let master = tokio::spawn(async move {
        let (mut first, _) = request(&listener).await;
        begin(&mut first, Media::Protobuf, "one").await;
        chunk(&mut first, &record(&subscribed("F1"))).await;
        let (unanswered, asked) = request(&listener).await;
        assert!(asked.head.contains("mesos-stream-id: one"), "{}", asked.head);
        drop(first);
        let (mut second, _) = request(&listener).await;
        begin(&mut second, Media::Protobuf, "two").await;
        chunk(&mut second, &record(&subscribed("F1"))).await;
        let (mut stream, asked) = request(&listener).await;
        assert!(asked.head.contains("mesos-stream-id: two"), "{}", asked.head);
        answer(&mut stream, "202 Accepted", b"").await;
        // Only now the first one is over.
        drop(unanswered);
        second
    });
    let client = Client::new(Http::new(), Media::Protobuf);
    let options = Options { backoff: Duration::from_millis(20), ..Options::new(info(), 7) };
    let mut scheduler = Scheduler::start(&Standalone::at(to), client, options);
    let mut heard = Vec::new();
    while heard.len() < 4 {
        match soon(scheduler.next()).await.unwrap() {
            News::Notice(Notice::Subscribed { again, .. }) => {
                heard.push(format!("subscribed {again}"));
                scheduler.call(sdk::launch::plain(call::Type::Revive)).await;
            }
            News::Notice(Notice::Disconnected { .. }) => heard.push("disconnected".to_owned()),
            News::Refused { .. } => heard.push("unanswered".to_owned()),
            News::Notice(other) => heard.push(format!("{other:?}")),
        }
    }
    assert_eq!(heard, ["subscribed false", "disconnected", "subscribed true", "unanswered"]);
    drop(soon(master).await.unwrap());
}
