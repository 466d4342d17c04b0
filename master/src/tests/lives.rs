//! Tasks, frameworks and agents through their lives.

use http::StatusCode;
use serde_json::Value;
use wire::link::{self, from_master};
use wire::media::Media;
use wire::v1;
use wire::v1::TaskState;
use wire::v1::framework_info::capability::Type as Capability;
use wire::v1::scheduler::Call;
use wire::v1::scheduler::call::{self, Type};
use wire::v1::scheduler::event;

use super::agent::{self, Agent};
use super::client::{eventually, get, post_json};
use super::scheduler::{self, Scheduler, part, task};
use super::{config, start, with_file};
use crate::config::Config;

#[tokio::test]
async fn a_task_from_offer_to_acknowledged_end() {
    for media in [Media::Json, Media::Protobuf] {
        let master = start(config()).await;
        let to = master.address();
        let mut agent = Agent::registered(to, agent::register("a1")).await;
        let mut scheduler = Scheduler::subscribed(to, media, scheduler::info(&[Capability::MultiRole])).await;
        let offers = scheduler.offers().await;
        let [offer] = &offers[..] else { panic!("one agent, one role: {offers:?}") };
        assert_eq!((offer.hostname.as_str(), &offer.agent_id.value), ("a1", &agent.id));
        assert_eq!(offer.url.as_ref().unwrap().path(), "/slave(1)");
        assert_eq!(offer.allocation_info.as_ref().unwrap().role(), "*");

        let resources = vec![part(offer, "cpus", 1.0), part(offer, "mem", 128.0)];
        scheduler.launch(offer, task("T", offer, resources)).await;
        let run = agent.run_task().await;
        assert_eq!(run.task.as_ref().unwrap().task_id.value, "T");
        assert_eq!(run.framework.as_ref().unwrap().id, scheduler.framework);

        for (state, uuid) in [(TaskState::TaskRunning, [1; 16]), (TaskState::TaskFinished, [2; 16])] {
            agent.status(&run, state, uuid).await;
            let status = scheduler.update().await;
            assert_eq!((status.state(), status.uuid.as_deref()), (state, Some(&uuid[..])));
            scheduler.acknowledge(&status).await;
            let message = agent.message().await.unwrap().body;
            let Some(from_master::Body::Acknowledge(acknowledged)) = message else { panic!("{message:?}") };
            assert_eq!(acknowledged.uuid, uuid.to_vec());
        }
        let tasks = get(to, "/master/tasks?task_id=T").await.json();
        assert_eq!(tasks["tasks"][0]["state"], "TASK_FINISHED");
        assert_eq!(tasks["tasks"][0]["resources"]["cpus"], 1.0);
        master.stop().await.unwrap();
    }
}

#[tokio::test]
async fn calls_must_name_the_current_stream() {
    let master = start(config()).await;
    let to = master.address();
    let mut scheduler = Scheduler::subscribed(to, Media::Json, scheduler::info(&[])).await;
    scheduler.accepted(Type::Revive, Call::default()).await;
    let right = std::mem::replace(&mut scheduler.stream_id, "another".to_owned());
    let answer = scheduler.send(Type::Revive, Call::default()).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let framework = scheduler.framework.clone().unwrap().value;
    let body = format!(r#"{{"type":"REVIVE","framework_id":{{"value":"{framework}"}}}}"#);
    let answer = post_json(to, scheduler::PATH, &body).await;
    assert!(answer.status == StatusCode::BAD_REQUEST && answer.text().contains("Mesos-Stream-Id"));
    // Mesos: who may not call gets no other answer for a call that means nothing.
    let answer = scheduler.send(Type::Unknown, Call::default()).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    scheduler.stream_id = right;
    scheduler.accepted(Type::Revive, Call::default()).await;
    let answer = scheduler.send(Type::Unknown, Call::default()).await;
    assert_eq!((answer.status.as_u16(), answer.text().contains("UNKNOWN")), (501, true));
    // Its failover timeout is long: without its stream it stays, and is not subscribed.
    drop(scheduler);
    eventually(to, "/frameworks", |page| page["frameworks"][0]["connected"] == false).await;
    assert_eq!(post_json(to, scheduler::PATH, &body).await.status, StatusCode::FORBIDDEN);
    master.stop().await.unwrap();
}

#[tokio::test]
async fn heartbeats_begin_at_once_and_go_on() {
    let short = std::time::Duration::from_millis(100);
    let master = start(Config { heartbeat_interval: short, ..config() }).await;
    let mut scheduler = Scheduler::open(master.address(), Media::Json, scheduler::info(&[])).await;
    let subscribed = scheduler.event().await.unwrap().subscribed.unwrap();
    assert_eq!(subscribed.heartbeat_interval_seconds, Some(0.1));
    let began = std::time::Instant::now();
    for _ in 0..4 {
        scheduler.next(event::Type::Heartbeat).await;
    }
    // The first one doesn't wait.
    assert!(began.elapsed() >= 3 * short - short / 2, "{:?}", began.elapsed());
    master.stop().await.unwrap();
}

#[tokio::test]
async fn a_second_subscription_takes_over() {
    let master = start(config()).await;
    let to = master.address();
    let mut first = Scheduler::subscribed(to, Media::Json, scheduler::info(&[])).await;
    let info = v1::FrameworkInfo { id: first.framework.clone(), ..scheduler::info(&[]) };
    let second = Scheduler::subscribed(to, Media::Protobuf, info).await;
    assert_eq!(first.framework, second.framework);
    assert_ne!(first.stream_id, second.stream_id);
    let error = first.next(event::Type::Error).await.error.unwrap();
    assert_eq!(error.message, "Framework failed over");
    assert!(first.event().await.is_none());
    assert_eq!(first.send(Type::Revive, Call::default()).await.status, StatusCode::BAD_REQUEST);
    second.accepted(Type::Revive, Call::default()).await;
    let page = get(to, "/frameworks").await.json();
    assert_eq!(page["frameworks"].as_array().unwrap().len(), 1);
    assert_eq!(page["frameworks"][0]["connected"], true);
    master.stop().await.unwrap();
}

#[tokio::test]
async fn a_framework_torn_down_ends_everywhere() {
    let master = start(config()).await;
    let to = master.address();
    let mut agent = Agent::registered(to, agent::register("a1")).await;
    let mut scheduler = Scheduler::subscribed(to, Media::Json, scheduler::info(&[])).await;
    let offer = scheduler.offers().await.remove(0);
    // Mesos: frameworks without MULTI_ROLE get no allocation_info.
    assert!(offer.allocation_info.is_none() && offer.resources.iter().all(|r| r.allocation_info.is_none()));
    scheduler
        .launch(&offer, task("T", &offer, vec![part(&offer, "cpus", 0.5), part(&offer, "mem", 64.0)]))
        .await;
    agent.run_task().await;
    let framework = scheduler.framework.clone().unwrap().value;
    let teardown =
        format!(r#"{{"type":"TEARDOWN","teardown":{{"framework_id":{{"value":"{framework}"}}}}}}"#);
    let answer = post_json(to, "/api/v1", &teardown).await;
    assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 0));
    let message = agent.message().await.unwrap().body;
    assert!(matches!(message, Some(from_master::Body::ShutdownFramework(_))), "{message:?}");
    while let Some(event) = scheduler.event().await {
        assert_ne!(event.r#type(), event::Type::Update, "{event:?}");
    }
    let state = get(to, "/state").await.json();
    assert_eq!(state["frameworks"], Value::Array(Vec::new()));
    assert_eq!(state["completed_frameworks"][0]["id"], framework.as_str());
    let mut again = Scheduler::open(
        to,
        Media::Json,
        v1::FrameworkInfo { id: scheduler.framework.clone(), ..scheduler::info(&[]) },
    )
    .await;
    assert_eq!(again.event().await.unwrap().r#type(), event::Type::Error);
    master.stop().await.unwrap();
}

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_registry_survives_a_restart_and_tasks_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let master = start(with_file(directory.path())).await;
    let mut agent = Agent::registered(master.address(), agent::register("a1")).await;
    let info = scheduler::info(&[Capability::PartitionAware]);
    let mut scheduler = Scheduler::subscribed(master.address(), Media::Json, info.clone()).await;
    let offer = scheduler.offers().await.remove(0);
    scheduler
        .launch(&offer, task("T", &offer, vec![part(&offer, "cpus", 0.5), part(&offer, "mem", 64.0)]))
        .await;
    let run = agent.run_task().await;
    let (first_epoch, first_id) = (agent.epoch, master.id().clone());
    master.stop().await.unwrap();
    assert!(agent.message().await.is_none());

    let master = start(with_file(directory.path())).await;
    let to = master.address();
    assert_ne!(master.id(), &first_id);
    let state = get(to, "/state").await.json();
    assert_eq!(state["recovered_slaves"][0]["id"], agent.id.as_str());
    assert_eq!(state["recovered_slaves"][0]["hostname"], "a1");

    let framework = v1::FrameworkInfo { id: scheduler.framework.clone(), ..info };
    let launched = run.task.unwrap();
    let back = v1::Task {
        name: launched.name,
        task_id: launched.task_id,
        framework_id: framework.id.clone().unwrap(),
        agent_id: v1::AgentId { value: agent.id.clone() },
        state: TaskState::TaskRunning.into(),
        resources: launched.resources,
        ..Default::default()
    };
    let ended = |task: &str, framework: &str| v1::Task {
        task_id: v1::TaskId { value: task.to_owned() },
        framework_id: v1::FrameworkId { value: framework.to_owned() },
        state: TaskState::TaskFinished.into(),
        ..back.clone()
    };
    let elsewhere =
        v1::Task { agent_id: v1::AgentId { value: "other-S9".to_owned() }, ..ended("wrong", "late") };
    let completed = vec![ended("before", &back.framework_id.value), ended("longer ago", "late"), elsewhere];
    let hello = link::Reregister {
        tasks: vec![back],
        completed,
        frameworks: vec![framework.clone()],
        epoch: first_epoch,
        ..agent::reregister("a1", &agent.id)
    };
    let again = Agent::registered(to, hello).await;
    assert_eq!(again.id, agent.id);
    assert!(again.epoch > first_epoch);
    let state = get(to, "/state").await.json();
    assert_eq!(state["frameworks"][0]["recovered"], true);
    assert_eq!(state["frameworks"][0]["tasks"][0]["state"], "TASK_RUNNING");
    // Mesos: what ended before is told by agents, too; here also of a framework that comes back only later.
    assert_eq!(ids(&state["frameworks"][0]["completed_tasks"]), ["before"]);
    let late = v1::FrameworkId { value: "late".to_owned() };
    let info = v1::FrameworkInfo { id: Some(late), ..scheduler::info(&[]) };
    let _late = Scheduler::subscribed(to, Media::Json, info).await;
    let state = get(to, "/state").await.json();
    let late = state["frameworks"].as_array().unwrap().iter().find(|row| row["id"] == "late").unwrap();
    assert_eq!(ids(&late["completed_tasks"]), ["longer ago"]);
    let scheduler = Scheduler::subscribed(to, Media::Json, framework).await;
    assert_eq!(scheduler.framework, run.framework.unwrap().id);
    master.stop().await.unwrap();
}

#[tokio::test]
async fn a_task_that_is_in_a_report_twice_counts_once() {
    let master = start(config()).await;
    let to = master.address();
    let framework =
        v1::FrameworkInfo { id: Some(v1::FrameworkId { value: "F".to_owned() }), ..scheduler::info(&[]) };
    let resources = model::resources::parse("cpus:1;mem:32", &model::Role::any()).unwrap();
    let resources = resources.allocated_to(Some(&model::Role::any()));
    for (n, (second, used)) in
        [(TaskState::TaskRunning, 1.0), (TaskState::TaskFinished, 0.0)].into_iter().enumerate()
    {
        let (id, hostname) = (format!("earlier-S{n}"), format!("a{n}"));
        let task = |state: TaskState| v1::Task {
            task_id: v1::TaskId { value: format!("T{n}") },
            framework_id: framework.id.clone().unwrap(),
            agent_id: v1::AgentId { value: id.clone() },
            state: state.into(),
            resources: resources.to_wire(),
            ..Default::default()
        };
        let hello = link::Reregister {
            tasks: vec![task(TaskState::TaskRunning), task(second)],
            frameworks: vec![framework.clone()],
            address: format!("127.0.0.1:{}", 6000 + n),
            ..agent::reregister(&hostname, &id)
        };
        let _agent = Agent::registered(to, hello).await;
        let agents = get(to, "/slaves").await.json();
        let row = agents["slaves"].as_array().unwrap().iter().find(|row| row["id"] == id.as_str()).unwrap();
        assert_eq!(row["used_resources"]["cpus"], used, "{second:?}");
    }
    master.stop().await.unwrap();
}

#[tokio::test]
async fn an_operator_declares_an_agent_gone() {
    let directory = tempfile::tempdir().unwrap();
    let master = start(with_file(directory.path())).await;
    let to = master.address();
    let mut agent = Agent::registered(to, agent::register("a1")).await;
    let call = format!(
        r#"{{"type":"MARK_AGENT_GONE","mark_agent_gone":{{"agent_id":{{"value":"{}"}}}}}}"#,
        agent.id
    );
    for time in ["first", "again: already gone is fine"] {
        let answer = post_json(to, "/api/v1", &call).await;
        assert_eq!((answer.status, answer.text().as_str()), (StatusCode::OK, ""), "{time}");
    }
    let message = agent.message().await.unwrap().body;
    assert!(matches!(message, Some(from_master::Body::Shutdown(_))), "{message:?}");
    assert!(agent.message().await.is_none());
    assert_eq!(get(to, "/slaves").await.json()["slaves"], Value::Array(Vec::new()));
    master.stop().await.unwrap();

    let master = start(with_file(directory.path())).await;
    let mut agent = Agent::open(master.address(), agent::reregister("a1", &agent.id)).await.unwrap();
    let message = agent.message().await.unwrap().body;
    assert!(matches!(message, Some(from_master::Body::Shutdown(_))), "{message:?}");
    master.stop().await.unwrap();
}

#[tokio::test]
async fn an_agent_that_says_nonsense_is_refused_and_told_why() {
    let master = start(config()).await;
    let to = master.address();
    let with = |change: fn(&mut link::Register)| {
        let mut hello = agent::register("a1");
        change(&mut hello);
        hello
    };
    let negative = |hello: &mut link::Register| {
        let resources = &mut hello.agent.as_mut().unwrap().resources;
        resources[0].scalar = Some(v1::value::Scalar { value: -1.0 });
    };
    let cases: [(&str, link::Register); 8] = [
        ("version", with(|hello| hello.version.clear())),
        ("older than 1.0.0", with(|hello| hello.version = "0.28.0".to_owned())),
        ("version 2 of the agent link", with(|hello| hello.protocol = link::PROTOCOL_VERSION + 1)),
        ("hostname", with(|hello| hello.agent.as_mut().unwrap().hostname = "a\nb".to_owned())),
        ("address", with(|hello| hello.address = "somewhere".to_owned())),
        ("agent info", with(|hello| hello.agent = None)),
        ("resources", with(negative)),
        ("checkpointed", with(|hello| hello.checkpointed_resources = hello.agent.clone().unwrap().resources)),
    ];
    for (needle, hello) in cases {
        let mut agent = Agent::open(to, hello).await.unwrap();
        let message = agent.message().await.unwrap().body;
        let Some(from_master::Body::Refused(refused)) = message else { panic!("{needle}: {message:?}") };
        assert!(refused.message.contains(needle), "{needle}: {}", refused.message);
        assert!(agent.message().await.is_none());
    }
    let mut other = Agent::open(to, link::Pong { sequence: 1 }).await.unwrap();
    assert!(matches!(other.message().await.unwrap().body, Some(from_master::Body::Refused(_))));

    let other = link::Reregister { protocol: 99, ..agent::reregister("a1", "some-S0") };
    let message = Agent::open(to, other).await.unwrap().message().await.unwrap().body;
    let Some(from_master::Body::Refused(refused)) = message else { panic!("{message:?}") };
    assert!(refused.message.contains("version 99 of the agent link"), "{}", refused.message);
    // What was written before there was the field is version 1.
    let older = link::Register { protocol: 0, ..agent::register("old") };
    let mut older = Agent::registered(to, older).await;
    older.say(link::Unregister {}).await;
    assert!(older.message().await.is_none());

    let newer = link::Reregister { epoch: u64::MAX, ..agent::reregister("a1", "some-S0") };
    let status = Agent::open(to, newer).await.err().expect("a stale master must not take it");
    assert_eq!(status.code(), tonic::Code::FailedPrecondition);
    assert_eq!(get(to, "/slaves").await.json()["slaves"], Value::Array(Vec::new()));
    master.stop().await.unwrap();
}

#[tokio::test]
async fn statuses_that_make_no_sense_change_nothing() {
    let master = start(config()).await;
    let to = master.address();
    let agent = Agent::registered(to, agent::register("a1")).await;
    let good = || v1::TaskStatus {
        task_id: v1::TaskId { value: "T".to_owned() },
        state: TaskState::TaskRunning.into(),
        uuid: Some(vec![1; 16].into()),
        ..Default::default()
    };
    let statuses = [
        None,
        Some(v1::TaskStatus { uuid: None, ..good() }),
        Some(v1::TaskStatus { uuid: Some(vec![1].into()), ..good() }),
        Some(v1::TaskStatus { state: 99, ..good() }),
        Some(v1::TaskStatus { timestamp: Some(f64::NAN), ..good() }),
        Some(v1::TaskStatus { task_id: v1::TaskId { value: "a/b".to_owned() }, ..good() }),
        Some(v1::TaskStatus { agent_id: Some(v1::AgentId { value: "..".to_owned() }), ..good() }),
        // This one makes sense, but nobody knows the framework.
        Some(good()),
    ];
    for status in statuses {
        agent.say(link::Status { framework_id: "F".to_owned(), status, latest_state: 1 }).await;
    }
    agent.say(agent::register("a2")).await;
    agent.say(link::FromAgent { body: None }).await;
    agent.say(link::Pong { sequence: 77 }).await;
    let page = get(to, "/slaves").await.json();
    assert_eq!(page["slaves"][0]["active"], true);
    assert_eq!(get(to, "/tasks").await.json()["tasks"], Value::Array(Vec::new()));
    let kill = call::Kill { task_id: v1::TaskId { value: "T".to_owned() }, ..Default::default() };
    let mut scheduler = Scheduler::subscribed(to, Media::Json, scheduler::info(&[])).await;
    scheduler.offers().await;
    scheduler.accepted(Type::Kill, Call { kill: Some(kill), ..Default::default() }).await;
    assert_eq!(scheduler.update().await.state(), TaskState::TaskLost);
    master.stop().await.unwrap();
}
