//! The pages and the operator API.

use expect_test::expect;
use wire::v1;
use wire::v1::agent::{Call, Response, call, response};

use crate::common::{framework, get, post, task};
use crate::fake::Set;

#[tokio::test]
async fn every_spelling_of_a_route() {
    let set = Set::new().await;
    let agent = set.agent().await;
    let at = agent.address();
    for path in ["/health", "/slave(1)/health", "/slave%281%29/health/"] {
        let answer = get(at, path).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, ""), "{path}");
    }
    for path in ["/state", "/slave(1)/state.json", "/version", "/flags", "/containers", "/files/debug"] {
        let answer = get(at, path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.head.contains("content-type: application/json"), "{path}: {}", answer.head);
    }
    for path in ["/nothing", "/state/..", "/", "/slave(1)/../state"] {
        let answer = get(at, path).await;
        assert_eq!((answer.status, answer.body.len()), (404, 0), "{path}");
    }
    let script = get(at, "/version?jsonp=f.g").await;
    assert_eq!(script.text(), format!("f.g({{\"version\":\"{}\"}});", agent::VERSION));
    assert!(script.head.contains("text/javascript"));
    assert_eq!(get(at, "/version?jsonp=alert(1)").await.status, 400);
    assert_eq!(get(at, "/containers?executor_id=x").await.status, 400);
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn the_state_page_shows_what_runs() {
    let mut set = Set::new().await;
    let agent = set.agent().await;
    set.master.register().await;
    set.master.run(&framework("F", true), task("t", "sleep 9")).await;
    let container = set.fake.start(0).await;
    set.master.status().await;
    set.master.status().await;
    let state = get(agent.address(), "/state").await.json();
    let executor = &state["frameworks"][0]["executors"][0];
    assert_eq!(
        executor["directory"].as_str().unwrap(),
        set.paths().sandbox(&set.fake.launched(0).await.0.run).to_str().unwrap()
    );
    assert_eq!(executor["container"], container.as_str());
    assert_eq!(executor["tasks"][0]["state"], "TASK_RUNNING");
    assert_eq!(executor["tasks"][0]["statuses"][1]["container_status"]["executor_pid"], 42);
    let brief = serde_json::json!({
        "id": state["id"], "hostname": state["hostname"], "pid": state["pid"],
        "attributes": state["attributes"], "resources": state["resources"],
        "reserved_resources": state["reserved_resources"],
        "unreserved_resources_allocated": state["unreserved_resources_allocated"],
        "executor": {"id": executor["id"], "name": executor["name"], "source": executor["source"]},
        "full": state["reserved_resources_full"],
    });
    expect![[r#"
        {
          "attributes": {
            "level": 3.0,
            "rack": "r1"
          },
          "executor": {
            "id": "t",
            "name": "Command Executor (Task: t) (Command: sh -c 'sleep 9')",
            "source": "t"
          },
          "full": {
            "web": [
              {
                "name": "cpus",
                "reservations": [
                  {
                    "role": "web",
                    "type": "STATIC"
                  }
                ],
                "role": "web",
                "scalar": {
                  "value": 2.0
                },
                "type": "SCALAR"
              }
            ]
          },
          "hostname": "host-a",
          "id": "A-S0",
          "pid": "slave(1)@127.0.0.1:5051",
          "reserved_resources": {
            "web": {
              "cpus": 2.0,
              "disk": 0.0,
              "gpus": 0.0,
              "mem": 0.0
            }
          },
          "resources": {
            "cpus": 6.0,
            "disk": 100.0,
            "gpus": 0.0,
            "mem": 1024.0,
            "ports": "[31000-31009]"
          },
          "unreserved_resources_allocated": {
            "cpus": 0.1,
            "disk": 0.0,
            "gpus": 0.0,
            "mem": 64.0
          }
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&brief).unwrap());
    let containers = get(agent.address(), "/containers?framework_id=F").await.json();
    assert_eq!(containers[0]["container_id"], container.as_str());
    agent.stop().await.unwrap();
}

async fn call(at: std::net::SocketAddr, call: &Call) -> Response {
    let answer = post(at, "/api/v1", "application/x-protobuf", &wire::proto::encode(call)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.head.contains("content-type: application/json"), "JSON is preferred: {}", answer.head);
    wire::json::from_slice(&answer.body).unwrap()
}

fn of(kind: call::Type) -> Call {
    Call { r#type: Some(kind.into()), ..Default::default() }
}

#[tokio::test]
async fn the_operator_api() {
    let mut set = Set::new().await;
    let agent = set.agent().await;
    let at = agent.address();
    set.master.register().await;
    set.master.run(&framework("F", true), task("t", "sleep 9")).await;
    set.fake.start(0).await;
    set.master.status().await;
    set.master.status().await;
    assert!(call(at, &of(call::Type::GetHealth)).await.get_health.unwrap().healthy);
    let version = call(at, &of(call::Type::GetVersion)).await.get_version.unwrap();
    assert_eq!(version.version_info.version, agent::VERSION);
    let state = call(at, &of(call::Type::GetState)).await.get_state.unwrap();
    assert_eq!(state.get_tasks.unwrap().launched_tasks[0].task_id.value, "t");
    assert_eq!(state.get_executors.unwrap().executors.len(), 1);
    let info = call(at, &of(call::Type::GetAgent)).await.get_agent.unwrap().agent_info.unwrap();
    assert_eq!(info.id.unwrap().value, "A-S0");
    let containers = call(at, &of(call::Type::GetContainers)).await.get_containers.unwrap();
    let response::get_containers::Container { framework_id, .. } = &containers.containers[0];
    assert_eq!(framework_id, &Some(v1::FrameworkId { value: "F".to_owned() }));
    let flags = call(at, &of(call::Type::GetFlags)).await.get_flags.unwrap().flags;
    assert!(flags.iter().any(|f| f.name == "hostname" && f.value.as_deref() == Some("host-a")));
    let missing = post(at, "/api/v1", "application/json", br#"{"type":"PRUNE_IMAGES"}"#).await;
    assert_eq!(missing.status, 501);
    for (content_type, body, status) in [
        ("application/json", &br#"{}"#[..], 400),
        ("application/json", b"nonsense", 400),
        ("application/json; charset=utf-8", b"{}", 415),
        ("application/recordio", b"", 400),
    ] {
        assert_eq!(post(at, "/api/v1", content_type, body).await.status, status, "{content_type}");
    }
    let method = get(at, "/api/v1").await;
    assert_eq!(method.status, 405);
    assert!(method.head.contains("allow: post"));
    agent.stop().await.unwrap();
}
