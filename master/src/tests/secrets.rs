//! Secrets of tasks: the agent gets them, and no route shows them, whatever becomes of the task.

use std::net::SocketAddr;

use http::Method;
use integration::canary::{self, sings_in};
use wire::media::{self, Media};
use wire::v1;
use wire::v1::TaskState;
use wire::v1::master::event::Type as EventType;
use wire::v1::master::{Call, call};

use super::agent::{self, Agent};
use super::client::{self, get};
use super::scheduler::{self, Scheduler, part, task};
use super::watcher::Watcher;
use super::{config, start};

const PAGES: &[&str] = &[
    "/state",
    "/state-summary",
    "/slaves",
    "/frameworks",
    "/tasks",
    "/roles",
    "/flags",
    "/metrics",
    "/metrics/snapshot",
    "/files/debug",
];

/// With a secret in its environment, in that of its health check, and one with which its image is pulled.
fn secretive(offer: &v1::Offer) -> v1::TaskInfo {
    let mut info = task("T", offer, vec![part(offer, "cpus", 1.0), part(offer, "mem", 128.0)]);
    let command = info.command.as_mut().unwrap();
    command.environment = Some(canary::environment());
    info.health_check = Some(v1::HealthCheck {
        r#type: Some(v1::health_check::Type::Command.into()),
        command: Some(command.clone()),
        ..Default::default()
    });
    info.container = Some(canary::container());
    info
}

/// Every page and every call that needs nothing but its type, in JSON and in protobuf.
async fn nowhere(to: SocketAddr, when: &str) {
    for page in PAGES {
        let answer = get(to, page).await;
        assert_eq!(answer.status, 200, "{page}");
        assert!(!sings_in(&answer.body), "{page} {when}: {}", answer.text());
    }
    let mut answered = 0;
    let kinds = (1..200).filter_map(|number| call::Type::try_from(number).ok());
    for kind in kinds.filter(|kind| *kind != call::Type::Subscribe) {
        for media in [Media::Json, Media::Protobuf] {
            let body =
                media::encode_message(media, &Call { r#type: Some(kind.into()), ..Default::default() });
            let headers = [("content-type", media.content_type()), ("accept", media.content_type())];
            let answer = client::send(to, Method::POST, "/api/v1", &headers, body).await;
            answered += usize::from(answer.status == 200);
            assert!(!sings_in(&answer.body), "{kind:?} {when} in {media:?}: {}", answer.text());
        }
    }
    assert!(answered >= 2 * 10, "{answered} calls were answered");
    for media in [Media::Json, Media::Protobuf] {
        let mut watcher = Watcher::open(to, media).await;
        let first = watcher.next(EventType::Subscribed).await;
        assert!(!sings_in(&wire::proto::encode(&first)), "SUBSCRIBED {when}");
    }
}

#[tokio::test]
async fn secrets_are_on_no_route() {
    let master = start(config()).await;
    let to = master.address();
    let mut agent = Agent::registered(to, agent::register("a1")).await;
    let mut scheduler = Scheduler::subscribed(to, Media::Json, scheduler::info(&[])).await;
    let mut watcher = Watcher::open(to, Media::Protobuf).await;
    watcher.next(EventType::Subscribed).await;
    let offers = scheduler.offers().await;
    scheduler.launch(&offers[0], secretive(&offers[0])).await;
    let run = agent.run_task().await;
    let sent = run.task.as_ref().unwrap();
    assert_eq!(sent.command.as_ref().unwrap().environment, Some(canary::environment()), "the agent needs it");
    let added = watcher.next(EventType::TaskAdded).await;
    assert!(!sings_in(&wire::proto::encode(&added)), "TASK_ADDED");
    nowhere(to, "before the start").await;
    for (state, uuid) in [(TaskState::TaskRunning, [1; 16]), (TaskState::TaskFinished, [2; 16])] {
        nowhere(to, state.as_str_name()).await;
        agent.status(&run, state, uuid).await;
        let status = scheduler.update().await;
        scheduler.acknowledge(&status).await;
        agent.message().await.expect("an acknowledgement");
    }
    nowhere(to, "after the end").await;
    master.stop().await.unwrap();
}
