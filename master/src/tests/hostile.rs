//! What no client should send: nothing of it may panic, hang or take much memory.

use http::{Method, StatusCode};
use model::random::Random;
use wire::media::Media;
use wire::v1;
use wire::v1::scheduler::Call;
use wire::v1::scheduler::call::{self, Type};

use super::agent::{self, Agent};
use super::client::{get, post_json, raw, send};
use super::scheduler::{self, Scheduler};
use super::{config, start};
use crate::api::{MAX_BODY, ROUTES};

/// Routes that read bodies.
const CALLS: [&str; 3] = ["/api/v1", "/api/v1/scheduler", "/teardown"];
const ODD: [&str; 6] = [
    "/nothing",
    "/logging/toggle?level=%ff&duration=x",
    "/files/read?path=/../../etc/passwd",
    "/files/browse?path=%00",
    "/files/download?path=/",
    "/metrics/snapshot?timeout=%ff",
];

/// A large call with everything in it.
fn accept() -> Call {
    let info = v1::TaskInfo {
        name: "n".to_owned(),
        task_id: v1::TaskId { value: "T".to_owned() },
        agent_id: v1::AgentId { value: "A".to_owned() },
        resources: agent::info("h").resources,
        command: Some(v1::CommandInfo { value: Some("x".to_owned()), ..Default::default() }),
        ..Default::default()
    };
    let launch = v1::offer::operation::Launch { task_infos: vec![info] };
    let operation = v1::offer::Operation {
        r#type: Some(v1::offer::operation::Type::Launch.into()),
        launch: Some(launch),
        ..Default::default()
    };
    Call {
        framework_id: Some(v1::FrameworkId { value: "F".to_owned() }),
        r#type: Some(Type::Accept.into()),
        accept: Some(call::Accept { operations: vec![operation], ..Default::default() }),
        ..Default::default()
    }
}

async fn still_well(master: &crate::Running) {
    assert_eq!(get(master.address(), "/health").await.status, StatusCode::OK);
    assert_eq!(get(master.address(), "/state").await.status, StatusCode::OK);
}

#[tokio::test]
async fn truncated_and_damaged_bodies_are_refused() {
    let master = start(config()).await;
    let mut random = Random::new(7);
    for media in [Media::Json, Media::Protobuf] {
        let whole = scheduler::bytes(media, &accept());
        let headers = [("content-type", media.content_type())];
        for length in (0..=whole.len()).step_by(7) {
            let mut body = whole[..length].to_vec();
            if length % 2 == 0 && length > 0 {
                let at = usize::try_from(random.below(length as u64)).unwrap();
                body[at] ^= 1 << random.below(8);
            }
            for path in CALLS {
                let answer = send(master.address(), Method::POST, path, &headers, body.clone()).await;
                let status = answer.status.as_u16();
                assert!(matches!(status, 400 | 501), "{path} {length}: {status} {}", answer.text());
            }
        }
    }
    still_well(&master).await;
    master.stop().await.unwrap();
}

#[tokio::test]
async fn noise_on_every_route_is_answered() {
    let master = start(config()).await;
    let mut random = Random::new(8);
    let routes = ROUTES.iter().map(|(name, _)| format!("/{name}"));
    let paths: Vec<String> = routes.chain(ODD.map(str::to_owned)).collect();
    for round in 0..6 * paths.len() {
        let length = random.below(300);
        let body: Vec<u8> = (0..length).map(|_| random.next_u64().to_le_bytes()[0]).collect();
        let types = ["application/json", "application/x-protobuf", "application/recordio", "\u{7f}"];
        let headers = [("content-type", types[round % 3]), ("accept", types[(round / 3) % 3])];
        let path = &paths[round % paths.len()];
        let answer = send(master.address(), Method::POST, path, &headers, body).await;
        assert!(answer.status.as_u16() < 502, "{path}: {}", answer.status);
    }
    still_well(&master).await;
    master.stop().await.unwrap();
}

#[tokio::test]
async fn bodies_have_a_limit_and_depth_has_one() {
    let master = start(config()).await;
    let to = master.address();
    let large = " ".repeat(MAX_BODY + 1);
    for path in CALLS {
        assert_eq!(post_json(to, path, &large).await.status, StatusCode::PAYLOAD_TOO_LARGE, "{path}");
        let deep = r#"{"type":"#.repeat(200_000);
        assert_eq!(post_json(to, path, &deep).await.status, StatusCode::BAD_REQUEST, "{path}");
    }
    // Without a length the limit counts as well.
    let mut chunked = b"POST /api/v1 HTTP/1.1\r\nhost: m\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..=(MAX_BODY / (1 << 20)) {
        chunked.extend_from_slice(b"100000\r\n");
        chunked.extend(std::iter::repeat_n(b' ', 1 << 20));
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    let answer = raw(to, &chunked).await;
    // The connection may be reset while the rest is on the way; what came is the refusal.
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 413"), "{}", String::from_utf8_lossy(&answer));
    still_well(&master).await;
    master.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let master = start(config()).await;
    let to = master.address();
    let long_header = format!("GET /state HTTP/1.1\r\nhost: m\r\nx: {}\r\n\r\n", "y".repeat(200_000));
    let many_headers = format!("GET /state HTTP/1.1\r\nhost: m\r\n{}\r\n", "x: y\r\n".repeat(500));
    let cases: [(&str, &[u8], &str); 9] = [
        ("no path", b"GET nopath\r\n\r\n", "400"),
        ("no version", b"GET /state\r\n\r\n", "400"),
        ("noise", b"\x00\x01\x02\xff\xfe\r\n\r\n", "400"),
        ("a bad percent sign", b"GET /%zz HTTP/1.1\r\nhost: m\r\nconnection: close\r\n\r\n", "400"),
        ("a long header", long_header.as_bytes(), "431"),
        ("many headers", many_headers.as_bytes(), "431"),
        (
            "trailers",
            b"POST /api/v1 HTTP/1.1\r\nhost: m\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\ntrailer: x\r\nconnection: close\r\n\r\n2\r\n{}\r\n0\r\nx: y\r\n\r\n",
            "400",
        ),
        (
            "a bad chunk",
            b"POST /api/v1 HTTP/1.1\r\nhost: m\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n",
            "400",
        ),
        (
            "a body that ends early",
            b"POST /api/v1 HTTP/1.1\r\nhost: m\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{}",
            "400",
        ),
    ];
    for (what, bytes, code) in cases {
        let answer = raw(to, bytes).await;
        let line = String::from_utf8_lossy(&answer);
        // Some are closed without a word.
        assert!(answer.is_empty() || line.starts_with(&format!("HTTP/1.1 {code}")), "{what}: {line}");
    }
    let pipelined = "GET /health HTTP/1.1\r\nhost: m\r\n\r\n".repeat(50);
    let answers = raw(to, pipelined.as_bytes()).await;
    assert_eq!(String::from_utf8_lossy(&answers).matches("HTTP/1.1 200 OK").count(), 50);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff garbage";
    raw(to, preface).await;
    still_well(&master).await;
    master.stop().await.unwrap();
}

#[tokio::test]
async fn noise_on_the_link_is_refused() {
    let master = start(config()).await;
    let to = master.address();
    let mut random = Random::new(9);
    for path in ["/tepui.link.v1.AgentLink/Attach", "/tepui.link.v1.AgentLink/Nothing", "/state"] {
        for _ in 0..20 {
            let body: Vec<u8> = (0..random.below(100)).map(|_| random.next_u64().to_le_bytes()[0]).collect();
            let headers = [("content-type", "application/grpc"), ("te", "trailers")];
            // gRPC answers 200 and tells what is wrong in a header or trailer.
            let answer = send(to, Method::POST, path, &headers, body).await;
            assert!(answer.status.as_u16() < 502, "{}", answer.status);
        }
    }
    Agent::registered(to, agent::register("a1")).await;
    still_well(&master).await;
    master.stop().await.unwrap();
}

#[tokio::test]
async fn hostile_numbers_and_names_in_calls_do_no_harm() {
    let master = start(config()).await;
    let to = master.address();
    let _agent = Agent::registered(to, agent::register("a1")).await;
    // JSON has no such numbers.
    let mut scheduler = Scheduler::subscribed(to, Media::Protobuf, scheduler::info(&[])).await;
    let offer = scheduler.offers().await.remove(0);
    for (n, amount) in [f64::NAN, f64::INFINITY, -1.0, 1e308, -0.0, f64::MIN_POSITIVE].into_iter().enumerate()
    {
        let mut task = scheduler::task(&format!("T{n}"), &offer, offer.resources.clone());
        task.resources[0].scalar = Some(v1::value::Scalar { value: amount });
        scheduler.launch(&offer, task).await;
        // The first one ends as an error of the task, the others as invalid offers: it was used up.
        assert!(matches!(
            scheduler.update().await.state(),
            v1::TaskState::TaskError | v1::TaskState::TaskLost
        ));
    }
    for seconds in [f64::NAN, f64::INFINITY, -1.0, 1e308] {
        let decline = call::Decline {
            offer_ids: vec![offer.id.clone()],
            filters: Some(v1::Filters { refuse_seconds: Some(seconds) }),
        };
        scheduler.accepted(Type::Decline, Call { decline: Some(decline), ..Default::default() }).await;
    }
    let page = get(to, "/slaves").await.json();
    assert_eq!(page["slaves"][0]["used_resources"]["cpus"], 0.0);
    for query in [
        "limit=-2&offset=-1",
        "limit=99999999999999999999",
        "limit=a&order=%00",
        "offset=18446744073709551615",
    ] {
        assert_eq!(get(to, &format!("/tasks?{query}")).await.status, StatusCode::OK, "{query}");
    }
    master.stop().await.unwrap();
}
