//! Codes of the v1 endpoints and of routing, each with the fact it shows.

use http::{Method, StatusCode};
use wire::media::Media;

use super::client::{get, get_http2, post_json, send};
use super::scheduler::{self, PATH};
use super::{config, start};

const JSON: (&str, &str) = ("content-type", "application/json");
const SUBSCRIBE: &str = r#"{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"u","name":"n"}}}"#;
const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const STREAM: (&str, &str) = ("mesos-stream-id", "x");

type Case<'a> = (&'a str, Method, &'a [(&'a str, &'a str)], &'a str, u16, &'a str);

#[tokio::test]
async fn checks_of_the_scheduler_endpoint_come_in_mesos_order() {
    let master = start(config()).await;
    let accept_text = ("accept", "text/html");
    let revive = r#"{"type":"REVIVE","framework_id":{"value":"F"}}"#;
    let cases: &[Case<'_>] = &[
        ("not POST is 405, before all else", Method::GET, &[], "", 405, "POST"),
        ("no Content-Type is 400", Method::POST, &[], "{}", 400, "Content-Type"),
        (
            "another type is 415",
            Method::POST,
            &[("content-type", "text/plain")],
            "{",
            415,
            "application/json",
        ),
        (
            "parameters of the type are 415",
            Method::POST,
            &[("content-type", "application/json; charset=utf-8")],
            SUBSCRIBE,
            415,
            "",
        ),
        ("the type is case-sensitive", Method::POST, &[("content-type", "Application/JSON")], "{}", 415, ""),
        (
            "recordio is no type of requests here",
            Method::POST,
            &[("content-type", "application/recordio")],
            "",
            415,
            "",
        ),
        ("a malformed body is 400", Method::POST, &[JSON], "{", 400, ""),
        ("no body is 400", Method::POST, &[JSON], "", 400, ""),
        (
            "missing required fields are named",
            Method::POST,
            &[JSON],
            r#"{"type":"KILL","kill":{}}"#,
            400,
            "task_id",
        ),
        ("validation comes before Accept", Method::POST, &[JSON, accept_text], "{}", 400, "'type'"),
        (
            "an unknown type is dropped, so missing",
            Method::POST,
            &[JSON],
            r#"{"type":"NOPE"}"#,
            400,
            "'type'",
        ),
        (
            "an unknown number of a type is dropped, too",
            Method::POST,
            &[PROTOBUF],
            "\x0a\x03\x0a\x01F\x10\x7f",
            400,
            "'type'",
        ),
        ("SUBSCRIBE needs its part", Method::POST, &[JSON], r#"{"type":"SUBSCRIBE"}"#, 400, "'subscribe'"),
        (
            "the ids of SUBSCRIBE must agree",
            Method::POST,
            &[JSON],
            r#"{"type":"SUBSCRIBE","framework_id":{"value":"A"},"subscribe":{"framework_info":{"user":"u","name":"n"}}}"#,
            400,
            "framework_info.id",
        ),
        (
            "other calls need a framework id",
            Method::POST,
            &[JSON],
            r#"{"type":"REVIVE"}"#,
            400,
            "framework_id",
        ),
        (
            "ACCEPT needs its part",
            Method::POST,
            &[JSON],
            r#"{"type":"ACCEPT","framework_id":{"value":"F"}}"#,
            400,
            "'accept'",
        ),
        (
            "the uuid of ACKNOWLEDGE must be one",
            Method::POST,
            &[JSON],
            r#"{"type":"ACKNOWLEDGE","framework_id":{"value":"F"},"acknowledge":{"agent_id":{"value":"A"},"task_id":{"value":"T"},"uuid":"YQ=="}}"#,
            400,
            "UUID",
        ),
        (
            "a grace period must not be negative",
            Method::POST,
            &[JSON],
            r#"{"type":"KILL","framework_id":{"value":"F"},"kill":{"task_id":{"value":"T"},"kill_policy":{"grace_period":{"nanoseconds":-1}}}}"#,
            400,
            "grace_period",
        ),
        ("Accept matters for SUBSCRIBE", Method::POST, &[JSON, accept_text], SUBSCRIBE, 406, "Accept"),
        ("Accept comes before the stream id", Method::POST, &[JSON, accept_text, STREAM], SUBSCRIBE, 406, ""),
        (
            "SUBSCRIBE with a stream id is 400",
            Method::POST,
            &[JSON, STREAM],
            SUBSCRIBE,
            400,
            "Mesos-Stream-Id",
        ),
        (
            "Accept doesn't matter elsewhere",
            Method::POST,
            &[JSON, accept_text],
            revive,
            400,
            "cannot be found",
        ),
        ("an unknown framework is 400", Method::POST, &[JSON, STREAM], revive, 400, "cannot be found"),
        (
            "UNKNOWN of an unknown framework is 400 as any call",
            Method::POST,
            &[JSON, STREAM],
            r#"{"type":"UNKNOWN","framework_id":{"value":"F"}}"#,
            400,
            "cannot be found",
        ),
        (
            "what is not there yet is 501 and named",
            Method::POST,
            &[JSON],
            r#"{"type":"UPDATE_FRAMEWORK","framework_id":{"value":"F"},"update_framework":{"framework_info":{"id":{"value":"F"},"user":"u","name":"n"},"offer_constraints":{"role_constraints":{"r":{"groups":[]}}}}}"#,
            501,
            "offer_constraints",
        ),
        (
            "UPDATE_FRAMEWORK needs its part",
            Method::POST,
            &[JSON],
            r#"{"type":"UPDATE_FRAMEWORK","framework_id":{"value":"F"}}"#,
            400,
            "'update_framework'",
        ),
        (
            "the ids of UPDATE_FRAMEWORK must agree",
            Method::POST,
            &[JSON],
            r#"{"type":"UPDATE_FRAMEWORK","framework_id":{"value":"F"},"update_framework":{"framework_info":{"id":{"value":"G"},"user":"u","name":"n"}}}"#,
            400,
            "framework_info.id",
        ),
        (
            "UPDATE_FRAMEWORK of an unknown framework is 400",
            Method::POST,
            &[JSON, STREAM],
            r#"{"type":"UPDATE_FRAMEWORK","framework_id":{"value":"F"},"update_framework":{"framework_info":{"id":{"value":"F"},"user":"u","name":"n"}}}"#,
            400,
            "cannot be found",
        ),
        (
            "MESSAGE needs its part",
            Method::POST,
            &[JSON],
            r#"{"type":"MESSAGE","framework_id":{"value":"F"}}"#,
            400,
            "'message'",
        ),
        (
            "SHUTDOWN needs its part",
            Method::POST,
            &[JSON],
            r#"{"type":"SHUTDOWN","framework_id":{"value":"F"}}"#,
            400,
            "'shutdown'",
        ),
        (
            "executor ids follow the rules of ids",
            Method::POST,
            &[JSON],
            r#"{"type":"SHUTDOWN","framework_id":{"value":"F"},"shutdown":{"executor_id":{"value":"a/b"},"agent_id":{"value":"A"}}}"#,
            400,
            "executor_id",
        ),
        (
            "REQUEST needs its part",
            Method::POST,
            &[JSON],
            r#"{"type":"REQUEST","framework_id":{"value":"F"}}"#,
            400,
            "'request'",
        ),
        (
            "Accept matters for RECONCILE_OPERATIONS",
            Method::POST,
            &[JSON, accept_text],
            r#"{"type":"RECONCILE_OPERATIONS","framework_id":{"value":"F"},"reconcile_operations":{}}"#,
            406,
            "Accept",
        ),
    ];
    for (fact, method, headers, body, status, needle) in cases {
        for path in [PATH, "/master/api/v1/scheduler"] {
            let answer =
                send(master.address(), method.clone(), path, headers, body.as_bytes().to_vec()).await;
            assert_eq!(answer.status.as_u16(), *status, "{fact}: {}", answer.text());
            assert!(answer.text().contains(needle), "{fact}: {}", answer.text());
            assert!(answer.header("content-type").starts_with("text/plain"), "{fact}");
        }
    }
    let answer = get(master.address(), PATH).await;
    assert_eq!(answer.header("allow"), "POST");
    master.stop().await.unwrap();
}

#[tokio::test]
async fn checks_of_the_operator_endpoint_come_in_mesos_order() {
    let master = start(config()).await;
    let accept_text = ("accept", "text/html");
    let cases: &[Case<'_>] = &[
        ("not POST is 405", Method::PUT, &[JSON], "{}", 405, "POST"),
        ("no Content-Type is 400", Method::POST, &[], "{}", 400, "Content-Type"),
        ("another type is 415", Method::POST, &[("content-type", "text/plain")], "{}", 415, ""),
        ("a malformed body is 400", Method::POST, &[JSON], "[]", 400, ""),
        ("validation comes before Accept", Method::POST, &[JSON, accept_text], "{}", 400, "'type'"),
        ("the part that the type names", Method::POST, &[JSON], r#"{"type":"TEARDOWN"}"#, 400, "'teardown'"),
        ("an unknown number of a type is dropped", Method::POST, &[PROTOBUF], "\x08\x7f", 400, "'type'"),
        ("Accept", Method::POST, &[JSON, accept_text], r#"{"type":"GET_HEALTH"}"#, 406, "Accept"),
        ("UNKNOWN is 501", Method::POST, &[JSON], r#"{"type":"UNKNOWN"}"#, 501, "UNKNOWN"),
        (
            "what is not there is 501 and named",
            Method::POST,
            &[JSON],
            r#"{"type":"UPDATE_WEIGHTS","update_weights":{}}"#,
            501,
            "UPDATE_WEIGHTS",
        ),
        (
            "SUBSCRIBE looks at Accept",
            Method::POST,
            &[JSON, accept_text],
            r#"{"type":"SUBSCRIBE"}"#,
            406,
            "Accept",
        ),
        (
            "GET_METRICS needs its part",
            Method::POST,
            &[JSON],
            r#"{"type":"GET_METRICS"}"#,
            400,
            "'get_metrics'",
        ),
        (
            "SET_LOGGING_LEVEL needs its part",
            Method::POST,
            &[JSON],
            r#"{"type":"SET_LOGGING_LEVEL"}"#,
            400,
            "'set_logging_level'",
        ),
        (
            "a negative duration of a level is 400",
            Method::POST,
            &[JSON],
            r#"{"type":"SET_LOGGING_LEVEL","set_logging_level":{"level":1,"duration":{"nanoseconds":-1}}}"#,
            400,
            "negative",
        ),
        (
            "LIST_FILES of what is not there is 404",
            Method::POST,
            &[JSON],
            r#"{"type":"LIST_FILES","list_files":{"path":"/none"}}"#,
            404,
            "not there",
        ),
        (
            "READ_FILE of what is not there is 404",
            Method::POST,
            &[JSON],
            r#"{"type":"READ_FILE","read_file":{"path":"/none","offset":0}}"#,
            404,
            "not there",
        ),
        (
            "READ_FILE that leads out is 400",
            Method::POST,
            &[JSON],
            r#"{"type":"READ_FILE","read_file":{"path":"/master/log/../x","offset":0}}"#,
            400,
            "leads out",
        ),
        (
            "TEARDOWN of an unknown framework is 400",
            Method::POST,
            &[JSON],
            r#"{"type":"TEARDOWN","teardown":{"framework_id":{"value":"F"}}}"#,
            400,
            "cannot be found",
        ),
        (
            "MARK_AGENT_GONE of an unknown agent is 404",
            Method::POST,
            &[JSON],
            r#"{"type":"MARK_AGENT_GONE","mark_agent_gone":{"agent_id":{"value":"A"}}}"#,
            404,
            "cannot be found",
        ),
    ];
    for (fact, method, headers, body, status, needle) in cases {
        for path in ["/api/v1", "/master/api/v1"] {
            let answer =
                send(master.address(), method.clone(), path, headers, body.as_bytes().to_vec()).await;
            assert_eq!(answer.status.as_u16(), *status, "{fact}: {}", answer.text());
            assert!(answer.text().contains(needle), "{fact}: {}", answer.text());
        }
    }
    master.stop().await.unwrap();
}

#[tokio::test]
async fn json_is_preferred_and_protobuf_given_on_request() {
    let master = start(config()).await;
    let health = r#"{"type":"GET_HEALTH"}"#;
    for (accept, expected) in [
        (None, "application/json"),
        (Some("*/*"), "application/json"),
        (Some("application/*"), "application/json"),
        (Some("application/x-protobuf, application/json"), "application/json"),
        (Some("application/x-protobuf"), "application/x-protobuf"),
        (Some("application/json;q=0, application/x-protobuf"), "application/x-protobuf"),
    ] {
        let headers: Vec<_> = std::iter::once(JSON).chain(accept.map(|value| ("accept", value))).collect();
        let answer = send(master.address(), Method::POST, "/api/v1", &headers, health).await;
        assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, expected), "{accept:?}");
        if expected == "application/json" {
            assert_eq!(answer.text(), r#"{"type":"GET_HEALTH","get_health":{"healthy":true}}"#);
        }
    }
    let call = wire::v1::master::Call {
        r#type: Some(wire::v1::master::call::Type::GetVersion.into()),
        ..Default::default()
    };
    let headers = [("content-type", "application/x-protobuf"), ("accept", "application/x-protobuf")];
    let body = wire::media::encode_message(Media::Protobuf, &call);
    let answer = send(master.address(), Method::POST, "/api/v1", &headers, body).await;
    let message: wire::v1::master::Response =
        wire::media::decode_body(Media::Protobuf, &answer.body).unwrap();
    assert_eq!(message.get_version.unwrap().version_info.version, crate::VERSION);
    master.stop().await.unwrap();
}

#[tokio::test]
async fn a_refused_subscription_is_200_with_one_error_event() {
    let master = start(config()).await;
    for media in [Media::Json, Media::Protobuf] {
        let info = wire::v1::FrameworkInfo { role: Some("a//b".to_owned()), ..scheduler::info(&[]) };
        let mut refused = scheduler::Scheduler::open(master.address(), media, info).await;
        let event = refused.event().await.unwrap();
        assert!(event.error.unwrap().message.contains("a//b"));
        assert!(refused.event().await.is_none());
    }
    master.stop().await.unwrap();
}

#[tokio::test]
async fn paths_and_pages_answer_in_every_spelling() {
    let master = start(config()).await;
    let to = master.address();
    for page in ["state", "state-summary", "slaves", "frameworks", "tasks", "roles", "flags", "version"] {
        for path in [
            format!("/{page}"),
            format!("/master/{page}"),
            format!("/master/{page}/"),
            format!("/{page}.json"),
            format!("/master/{page}.json?x=y"),
        ] {
            let answer = get(to, &path).await;
            assert_eq!(answer.status, StatusCode::OK, "{path}");
            assert_eq!(answer.header("content-type"), "application/json");
            assert!(answer.json().is_object());
        }
        let answer = get(to, &format!("/{page}?jsonp=angular.callbacks._0")).await;
        assert_eq!(answer.header("content-type"), "text/javascript");
        assert!(answer.text().starts_with("angular.callbacks._0({") && answer.text().ends_with("});"));
        assert_eq!(get(to, &format!("/{page}?jsonp=alert(1)//")).await.status, StatusCode::BAD_REQUEST);
        // Mesos: without authorization the method of a page is not looked at.
        assert_eq!(send(to, Method::POST, &format!("/{page}"), &[], "x").await.status, StatusCode::OK);
    }
    for path in ["/health", "/master/health", "/health/"] {
        let answer = get(to, path).await;
        assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 0));
    }
    for path in ["/", "/master", "/slave(1)/state", "/nothing", "/state/..", "/master/redirect/x"] {
        let answer = get(to, path).await;
        assert_eq!((answer.status, answer.body.len()), (StatusCode::NOT_FOUND, 0), "{path}");
    }
    assert_eq!(get_http2(to, "/master/state").await.json()["hostname"], "master.test");
    let redirect = get(to, "/master/redirect").await;
    assert_eq!(redirect.status, StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(redirect.header("location"), format!("//master.test:{}", to.port()));
    master.stop().await.unwrap();
}

#[tokio::test]
async fn teardown_takes_a_form() {
    let master = start(config()).await;
    let to = master.address();
    let answer = get(to, "/teardown").await;
    assert_eq!((answer.status, answer.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, "POST"));
    for body in ["", "frameworkId=", "other=x", "\u{0}%"] {
        assert_eq!(post_json(to, "/master/teardown", body).await.status, StatusCode::BAD_REQUEST, "{body:?}");
    }
    let answer = post_json(to, "/master/teardown", "frameworkId=no%20such").await;
    assert!(answer.status == StatusCode::BAD_REQUEST && answer.text().contains("no such"));
    master.stop().await.unwrap();
}
