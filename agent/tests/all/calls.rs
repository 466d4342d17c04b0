//! The operator API: its calls, and every code that can come before an answer.

use std::net::SocketAddr;

use wire::v1;
use wire::v1::agent::{Call, Response, call, response};

use crate::common::{call_with, framework, get, post, task};
use crate::fake::Set;

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/x-protobuf";

async fn call(at: SocketAddr, call: &Call) -> Response {
    let answer = post(at, "/api/v1", PROTOBUF, &wire::proto::encode(call)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.head.contains("content-type: application/json"), "JSON is preferred: {}", answer.head);
    wire::json::from_slice(&answer.body).unwrap()
}

fn of(kind: call::Type) -> Call {
    Call { r#type: Some(kind.into()), ..Default::default() }
}

#[tokio::test]
async fn what_runs_is_shown() {
    let mut set = Set::new().await;
    let agent = set.agent().await;
    let at = agent.address();
    set.master.register().await;
    set.master.run(&framework("F", true), task("t", "sleep 9")).await;
    set.fake.start(0).await;
    set.master.status().await;
    set.master.status().await;
    let state = call(at, &of(call::Type::GetState)).await.get_state.unwrap();
    assert_eq!(state.get_tasks.unwrap().launched_tasks[0].task_id.value, "t");
    assert_eq!(state.get_executors.unwrap().executors.len(), 1);
    assert_eq!(state.get_frameworks.unwrap().frameworks[0].framework_info.name, "F");
    assert_eq!(call(at, &of(call::Type::GetTasks)).await.get_tasks.unwrap().launched_tasks.len(), 1);
    let executors = call(at, &of(call::Type::GetExecutors)).await.get_executors.unwrap().executors;
    assert_eq!(executors.len(), 1);
    // Mesos: the executor of a command task has what the task has.
    assert_eq!(executors[0].executor_info.resources, task("t", "sleep 9").resources);
    assert_eq!(call(at, &of(call::Type::GetFrameworks)).await.get_frameworks.unwrap().frameworks.len(), 1);
    let info = call(at, &of(call::Type::GetAgent)).await.get_agent.unwrap().agent_info.unwrap();
    assert_eq!(info.id.unwrap().value, "A-S0");
    *set.fake.statistics.lock().unwrap() =
        Some(runtime::Statistics { memory_current_bytes: Some(7), ..Default::default() });
    let containers = call(at, &of(call::Type::GetContainers)).await.get_containers.unwrap();
    let response::get_containers::Container { framework_id, resource_statistics, .. } =
        &containers.containers[0];
    assert_eq!(framework_id, &Some(v1::FrameworkId { value: "F".to_owned() }));
    assert_eq!(resource_statistics.as_ref().unwrap().mem_total_bytes, Some(7));
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn the_agent_tells_of_itself() {
    let set = Set::new().await;
    let agent = set.agent().await;
    let at = agent.address();
    assert!(call(at, &of(call::Type::GetHealth)).await.get_health.unwrap().healthy);
    let version = call(at, &of(call::Type::GetVersion)).await.get_version.unwrap().version_info;
    assert_eq!(version.version, agent::VERSION);
    assert!(version.build_date.is_some() && version.build_time.is_some());
    let flags = call(at, &of(call::Type::GetFlags)).await.get_flags.unwrap().flags;
    assert!(flags.iter().any(|f| f.name == "hostname" && f.value.as_deref() == Some("host-a")));
    assert_eq!(call(at, &of(call::Type::GetLoggingLevel)).await.get_logging_level.unwrap().level, 0);
    assert!(call(at, &of(call::Type::GetOperations)).await.get_operations.unwrap().operations.is_empty());
    let providers = call(at, &of(call::Type::GetResourceProviders)).await.get_resource_providers.unwrap();
    assert!(providers.resource_providers.is_empty());
    let wanted = Call { get_metrics: Some(call::GetMetrics::default()), ..of(call::Type::GetMetrics) };
    let metrics = call(at, &wanted).await.get_metrics.unwrap().metrics;
    assert!(metrics.iter().any(|metric| metric.name == "slave/uptime_secs" && metric.value.is_some()));
    agent.stop().await.unwrap();
}

/// http.md section 4: PRUNE_IMAGES 200, empty.
#[tokio::test]
async fn images_are_pruned_on_request() {
    let set = Set::new().await;
    let agent = set.agent().await;
    let body = br#"{"type":"PRUNE_IMAGES","prune_images":{"excluded_images":
        [{"type":"DOCKER","docker":{"name":"busybox"}}]}}"#;
    for body in [&body[..], br#"{"type":"PRUNE_IMAGES"}"#] {
        let answer = post(agent.address(), "/api/v1", JSON, body).await;
        assert_eq!((answer.status, answer.body.len()), (200, 0), "{}", answer.text());
    }
    assert_eq!(*set.fake.calls.lock().unwrap(), ["prune but [\"busybox\"]", "prune but []"]);
    agent.stop().await.unwrap();
}

/// http.md section 4: the order of checks, each of which ends it.
#[tokio::test]
async fn codes_before_any_answer() {
    let set = Set::new().await;
    let agent = set.agent().await;
    let at = agent.address();
    let health = br#"{"type":"GET_HEALTH"}"#;
    for (content_type, more, body, status) in [
        // Content-Type: exact, without parameters, and needed.
        (JSON, "", &health[..], 200),
        ("", "", health, 400),
        ("application/json; charset=utf-8", "", health, 415),
        ("Application/JSON", "", health, 415),
        ("text/plain", "", health, 415),
        // Request streaming only for ATTACH_CONTAINER_INPUT, and then with Message-Content-Type.
        ("application/recordio", "", b"", 400),
        ("application/recordio", "Message-Content-Type: text/plain\r\n", b"", 415),
        ("application/recordio", "Message-Content-Type: application/json\r\n", b"", 415),
        (JSON, "Message-Content-Type: application/json\r\n", health, 415),
        // The body.
        (JSON, "", b"", 400),
        (JSON, "", b"{}", 400),
        (JSON, "", b"nonsense", 400),
        (JSON, "", b"[]", 400),
        (JSON, "", br#"{"type":"NO_SUCH_CALL"}"#, 400),
        (PROTOBUF, "", b"\xff\xff", 400),
        (PROTOBUF, "", &[0x08, 0x7f], 400),
        // 501 for the UNKNOWN call type.
        (JSON, "", br#"{"type":"UNKNOWN"}"#, 501),
        // Accept.
        (JSON, "Accept: text/html\r\n", health, 406),
        (JSON, "Accept: application/json;q=0, application/x-protobuf;q=0\r\n", health, 406),
        (JSON, "Accept: application/recordio\r\n", health, 406),
        (JSON, "Message-Accept: application/json\r\n", health, 406),
        (JSON, "Accept: text/html\r\n", b"{}", 406),
        // The body is read as a stream, so what is wrong with it comes after the headers; records will do for some calls.
        (JSON, "Accept: text/html\r\n", b"nonsense", 406),
        (PROTOBUF, "Accept: text/html\r\n", b"\xff\xff", 406),
        (JSON, "Message-Accept: application/json\r\n", b"nonsense", 406),
        (JSON, "Accept: application/recordio\r\n", b"nonsense", 400),
        (JSON, "Accept: application/recordio\r\nMessage-Accept: text/html\r\n", b"nonsense", 406),
        ("text/plain", "Accept: text/html\r\n", b"nonsense", 415),
        // Parts that a call needs.
        (JSON, "", br#"{"type":"LIST_FILES"}"#, 400),
        (JSON, "", br#"{"type":"LIST_FILES","list_files":{}}"#, 400),
        (JSON, "", br#"{"type":"LIST_FILES","list_files":{"path":"/none"}}"#, 404),
        (JSON, "", br#"{"type":"READ_FILE"}"#, 400),
        (JSON, "", br#"{"type":"READ_FILE","read_file":{"path":"/x/../y","offset":0}}"#, 400),
        (JSON, "", br#"{"type":"READ_FILE","read_file":{"path":"/none","offset":0}}"#, 404),
        (JSON, "", br#"{"type":"SET_LOGGING_LEVEL"}"#, 400),
        (
            JSON,
            "",
            br#"{"type":"SET_LOGGING_LEVEL","set_logging_level":{"level":1,"duration":{"nanoseconds":-1}}}"#,
            400,
        ),
        (JSON, "", br#"{"type":"GET_METRICS"}"#, 400),
        (JSON, "", br#"{"type":"KILL_CONTAINER"}"#, 400),
        (JSON, "", br#"{"type":"KILL_CONTAINER","kill_container":{"container_id":{"value":"c"}}}"#, 404),
    ] {
        let answer = call_with(at, content_type, more, body).await;
        let what = format!("{content_type} {more} {}: {}", String::from_utf8_lossy(body), answer.text());
        assert_eq!(answer.status, status, "{what}");
    }
    agent.stop().await.unwrap();
}

/// http.md section 4: KILL_CONTAINER is 200 with an empty body, 404 for one that is not there; SIGKILL by default.
#[tokio::test]
async fn containers_are_killed_on_request() {
    let mut set = Set::new().await;
    let agent = set.agent().await;
    let at = agent.address();
    set.master.register().await;
    // What is left of one that has ended is removed.
    let fake = set.fake.clone();
    let kills =
        || -> Vec<String> { fake.calls.lock().unwrap().drain(..).filter(|call| call != "destroy").collect() };
    let kill = async |container: &str, signal: &str| {
        let call = format!(
            r#"{{"type":"KILL_CONTAINER","kill_container":{{"container_id":{{"value":"{container}"}}{signal}}}}}"#
        );
        post(at, "/api/v1", JSON, call.as_bytes()).await
    };
    for (n, (signal, told)) in
        [("", "kill 0ns"), (r#","signal":9"#, "kill 0ns"), (r#","signal":15"#, "kill 3s")]
            .into_iter()
            .enumerate()
    {
        let id = format!("t{n}");
        set.master.run(&framework("F", true), task(&id, "sleep 9")).await;
        let container = set.fake.start(n).await;
        // A keeper only ends its container.
        for other in [0, 1, 19, 64, -9, 99] {
            let answer = kill(container.as_str(), &format!(r#","signal":{other}"#)).await;
            assert_eq!(answer.status, 400, "{other}: {}", answer.text());
            assert!(answer.text().contains("15 and 9 can"), "{}", answer.text());
        }
        assert_eq!(kills(), Vec::<String>::new());
        let answer = kill(container.as_str(), signal).await;
        assert_eq!((answer.status, answer.body.len()), (200, 0), "{signal}: {}", answer.text());
        let last = set.master.until_end().await.pop().unwrap();
        assert_eq!((last.task_id.value.as_str(), last.state()), (id.as_str(), v1::TaskState::TaskKilled));
        assert_eq!(kills(), [told]);
        assert_eq!(kill(container.as_str(), signal).await.status, 404, "it has ended");
    }
    agent.stop().await.unwrap();
}

/// http.md section 4: 405 carries Allow.
#[tokio::test]
async fn only_post_will_do() {
    let set = Set::new().await;
    let agent = set.agent().await;
    let answer = get(agent.address(), "/api/v1").await;
    assert_eq!(answer.status, 405);
    assert!(answer.head.contains("allow: post"), "{}", answer.head);
    agent.stop().await.unwrap();
}

/// http.md section 4: JSON before protobuf when both will do.
#[tokio::test]
async fn answers_in_the_form_that_is_accepted() {
    let set = Set::new().await;
    let agent = set.agent().await;
    let health = br#"{"type":"GET_HEALTH"}"#;
    for (accept, expected) in [
        ("", JSON),
        ("Accept: */*\r\n", JSON),
        ("Accept: application/*\r\n", JSON),
        ("Accept: application/x-protobuf, application/json\r\n", JSON),
        ("Accept: application/x-protobuf\r\n", PROTOBUF),
        ("Accept: application/json;q=0, */*\r\n", PROTOBUF),
    ] {
        let answer = call_with(agent.address(), JSON, accept, health).await;
        assert_eq!(answer.status, 200, "{accept}");
        assert!(answer.head.contains(&format!("content-type: {expected}")), "{accept}: {}", answer.head);
        let message: Response = match expected {
            JSON => wire::json::from_slice(&answer.body).unwrap(),
            _ => wire::proto::decode(&answer.body).unwrap(),
        };
        assert!(message.get_health.unwrap().healthy);
    }
    agent.stop().await.unwrap();
}
