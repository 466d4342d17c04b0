//! Secrets of tasks and of the operator: on none of the routes, whatever becomes of the task.

use std::net::SocketAddr;

use integration::canary::{self, CANARY, ENCODED, sings_in};
use prost::Message as _;
use wire::v1;
use wire::v1::agent::{Call, call};

use crate::common::{call_with, eventually, framework, get, task};
use crate::fake::Set;

const PAGES: &[&str] = &[
    "/state",
    "/flags",
    "/version",
    "/containers",
    "/containerizer/debug",
    "/monitor/statistics",
    "/files/debug",
    "/metrics",
    "/metrics/snapshot",
    "/system/stats.json",
];

/// With a secret in its environment and one with which its image is pulled.
fn secretive(id: &str) -> v1::TaskInfo {
    let mut info = task(id, "true");
    info.command.as_mut().unwrap().environment = Some(canary::environment());
    info.container = Some(canary::container());
    info
}

/// Every page and every call, in JSON and in protobuf.
async fn nowhere(at: SocketAddr, when: &str) {
    for page in PAGES {
        let answer = get(at, page).await;
        assert_eq!(answer.status, 200, "{page}");
        assert!(!sings_in(&answer.body), "{page} {when}: {}", answer.text());
    }
    let kinds = (1..200).filter_map(|number| call::Type::try_from(number).ok());
    let mut answered = 0;
    for kind in kinds.filter(|kind| *kind != call::Type::PruneImages) {
        let call = wire::proto::encode(&Call { r#type: Some(kind.into()), ..Default::default() });
        for accept in ["application/json", "application/x-protobuf"] {
            let more = format!("accept: {accept}\r\n");
            let answer = call_with(at, "application/x-protobuf", &more, &call).await;
            answered += usize::from(answer.status == 200);
            assert!(!sings_in(&answer.body), "{kind:?} {when} as {accept}: {}", answer.text());
        }
    }
    // GET_HEALTH, _FLAGS, _VERSION, _LOGGING_LEVEL, _FRAMEWORKS, _EXECUTORS, _TASKS, _STATE, _AGENT and others.
    assert!(answered >= 2 * 9, "{answered} calls were answered");
}

#[tokio::test]
async fn secrets_are_on_no_route() {
    let mut set = Set::new().await;
    let config = format!(r#"{{"auths":{{"r.example.com":{{"auth":"{ENCODED}"}}}}}}"#);
    let environment = format!(r#"{{"TOKEN":"{CANARY}"}}"#);
    // The login is none, but what is shown is what matters.
    let flags =
        [("docker_config", config.as_str()), ("executor_environment_variables", environment.as_str())];
    let agent = set.agent_with(&flags).await;
    let at = agent.address();
    set.master.register().await;
    set.master.run(&framework("F", true), secretive("t")).await;
    let (launch, _) = set.fake.launched(0).await;
    let kept =
        &launch.task.container.as_ref().unwrap().mesos.as_ref().unwrap().image.as_ref().unwrap().docker;
    assert_eq!(kept.as_ref().unwrap().config, Some(canary::secret()), "whoever pulls the image needs it");
    nowhere(at, "before the start").await;
    set.fake.start(0).await;
    set.master.status().await;
    set.master.status().await;
    nowhere(at, "while it runs").await;
    // What the agent tells another master of its tasks.
    set.master.cut();
    let hello = set.master.register().await;
    assert!(!sings_in(format!("{hello:?}").as_bytes()));
    let wire::link::from_agent::Body::Reregister(hello) = hello else { panic!("{hello:?}") };
    assert!(!hello.tasks.is_empty() && !sings_in(&hello.encode_to_vec()));
    set.fake.exit(0, 0).await;
    set.master.status().await;
    eventually("the task is among the completed ones", async || {
        let state = get(at, "/state").await.json();
        !state["completed_frameworks"].as_array().unwrap().is_empty()
    })
    .await;
    nowhere(at, "after its end").await;
    agent.stop().await.unwrap();
}
