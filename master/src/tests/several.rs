//! Pages with nothing on them, with several of a kind, with one that is away, and with everything a status can have.

use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use wire::link;
use wire::media::Media;
use wire::v1;
use wire::v1::TaskState;
use wire::v1::framework_info::capability::Type as Capability;
use wire::v1::scheduler::event::Type;

use super::agent::{self, Agent};
use super::client::{self, eventually, get, post_json};
use super::scheduler::{self, Scheduler, part, task};
use super::{config, soon, start, watcher, with_file};
use crate::config::Config;

/// The value of a field of each element of a list.
fn each(page: &Value, list: &str, field: &str) -> Vec<Value> {
    page[list].as_array().unwrap().iter().map(|one| one[field].clone()).collect()
}

/// http.md 5: lists are there, empty, when there is nothing to tell.
#[tokio::test]
async fn pages_of_an_empty_cluster() {
    let master = start(config()).await;
    let to = master.address();
    for (path, page) in [
        ("/slaves", json!({"slaves": [], "recovered_slaves": []})),
        ("/frameworks", json!({"frameworks": [], "completed_frameworks": [], "unregistered_frameworks": []})),
        ("/tasks", json!({"tasks": []})),
        // Mesos: "*" is not forced in.
        ("/roles", json!({"roles": []})),
    ] {
        assert_eq!(get(to, path).await.json(), page, "{path}");
    }
    for (call, part) in
        [("GET_AGENTS", "get_agents"), ("GET_FRAMEWORKS", "get_frameworks"), ("GET_ROLES", "get_roles")]
    {
        let answer = post_json(to, "/api/v1", &format!(r#"{{"type":"{call}"}}"#)).await;
        assert_eq!(answer.json(), json!({"type": call, part: {}}));
    }
    master.stop().await.unwrap();
}

/// http.md 5, S: an agent without a link is there, and not active; `slave_id` picks one.
#[tokio::test]
async fn two_agents_of_which_one_is_away() {
    let master = start(config()).await;
    let to = master.address();
    let stays = Agent::registered(to, agent::register("a1")).await;
    let second = link::Register { address: "127.0.0.2:5051".to_owned(), ..agent::register("a2") };
    let goes = Agent::registered(to, second).await;
    let (first, second) = (stays.id.clone(), goes.id.clone());
    drop(goes);
    let page = eventually(to, "/slaves", |page| each(page, "slaves", "active") == [true, false]).await;
    assert_eq!(each(&page, "slaves", "id"), [first.as_str(), second.as_str()]);
    assert_eq!(each(&page, "slaves", "hostname"), ["a1", "a2"]);
    assert_eq!(each(&page, "slaves", "pid"), ["slave(1)@127.0.0.1:5051", "slave(1)@127.0.0.2:5051"]);
    // Being away is no deactivation by an operator.
    assert_eq!(each(&page, "slaves", "deactivated"), [false, false]);
    let one = get(to, &format!("/master/slaves?slave_id={second}")).await.json();
    assert_eq!(each(&one, "slaves", "id"), [second.as_str()]);
    let state = get(to, "/state").await.json();
    assert_eq!((&state["activated_slaves"], &state["deactivated_slaves"]), (&json!(1), &json!(1)));
    let agents = post_json(to, "/api/v1", r#"{"type":"GET_AGENTS"}"#).await.json();
    assert_eq!(each(&agents["get_agents"], "agents", "active"), [true, false]);
    master.stop().await.unwrap();
}

fn of_roles(name: &str, roles: &[&str]) -> v1::FrameworkInfo {
    let roles = roles.iter().map(|&role| role.to_owned()).collect();
    v1::FrameworkInfo { name: name.to_owned(), roles, ..scheduler::info(&[Capability::MultiRole]) }
}

/// http.md 5, F and /roles: those that are connected, those that are not, and those that have ended; each role of one
/// of them, and all above, by name.
#[tokio::test]
async fn several_frameworks_and_their_roles() {
    let master = start(config()).await;
    let to = master.address();
    let here = Scheduler::subscribed(to, Media::Json, of_roles("here", &["web", "eng/dev"])).await;
    let away = Scheduler::subscribed(to, Media::Protobuf, of_roles("away", &["web"])).await;
    let ended = Scheduler::subscribed(to, Media::Json, of_roles("ended", &["gone"])).await;
    ended.accepted(v1::scheduler::call::Type::Teardown, Default::default()).await;
    let id = |scheduler: &Scheduler| scheduler.framework.clone().unwrap().value;
    let (first, second, third) = (id(&here), id(&away), id(&ended));
    drop(away);
    let page =
        eventually(to, "/frameworks", |page| each(page, "frameworks", "connected") == [true, false]).await;
    assert_eq!(each(&page, "frameworks", "id"), [first.as_str(), second.as_str()]);
    assert_eq!(each(&page, "frameworks", "active"), [true, false]);
    assert_eq!(each(&page, "frameworks", "roles"), [json!(["web", "eng/dev"]), json!(["web"])]);
    assert_eq!(each(&page, "completed_frameworks", "id"), [third.as_str()]);
    assert_eq!(page["unregistered_frameworks"], json!([]));
    assert!(page["completed_frameworks"][0]["unregistered_time"].as_f64().unwrap() > 1e9);

    // A reservation makes a role, too.
    let mut hello = agent::register("a1");
    let reserved = model::resources::parse("cpus:1;mem:512;cpus(ops/db):2", &model::Role::any()).unwrap();
    hello.agent.as_mut().unwrap().resources = reserved.to_wire();
    let _agent = Agent::registered(to, hello).await;
    let page = get(to, "/roles").await.json();
    let names = ["eng", "eng/dev", "ops", "ops/db", "web"];
    assert_eq!(each(&page, "roles", "name"), names);
    assert_eq!(each(&page, "roles", "weight"), [1.0; 5]);
    let frameworks = [json!([]), json!([&first]), json!([]), json!([]), json!([&first, &second])];
    assert_eq!(each(&page, "roles", "frameworks"), frameworks);
    // Mesos: what belongs to the roles below is counted, too.
    let two = json!({"cpus": 2.0});
    assert_eq!(each(&page, "roles", "reserved"), [json!({}), json!({}), two.clone(), two, json!({})]);
    let told = post_json(to, "/api/v1", r#"{"type":"GET_ROLES"}"#).await.json();
    assert_eq!(each(&told["get_roles"], "roles", "name"), names);
    master.stop().await.unwrap();
}

/// http.md 5, /roles: of a role and all below it. behaviour.md 12: a quota is consumed by reservations and by what else
/// is allocated.
#[tokio::test]
async fn roles_have_what_the_roles_below_have() {
    let master = start(config()).await;
    let to = master.address();
    let mut hello = agent::register("a1");
    let all = "cpus:1;mem:512;ports:[1-2];cpus(eng/dev):2;mem(eng/ops):64";
    let all = model::resources::parse(all, &model::Role::any()).unwrap();
    hello.agent.as_mut().unwrap().resources = all.to_wire();
    let mut agent = Agent::registered(to, hello).await;
    let mut scheduler = Scheduler::subscribed(to, Media::Json, of_roles("one", &["eng/dev"])).await;
    let offer = scheduler.offers().await.remove(0);
    let mut cpus = offer.resources.iter().filter(|resource| resource.name == "cpus").cloned();
    let (mut one, mut other) = (cpus.next().unwrap(), cpus.next().unwrap());
    for part in [&mut one, &mut other] {
        part.scalar = Some(v1::value::Scalar { value: 0.5 });
    }
    // Half a CPU of those that are reserved, and another one; both parts of memory stay.
    scheduler.launch(&offer, task("T", &offer, vec![one, other, part(&offer, "mem", 32.0)])).await;
    agent.run_task().await;
    let page = get(to, "/roles").await.json();
    assert_eq!(each(&page, "roles", "name"), ["eng", "eng/dev", "eng/ops"]);
    let used = json!({"cpus": 1.0, "mem": 32.0});
    assert_eq!(each(&page, "roles", "allocated"), [used.clone(), used, json!({})]);
    let consumed = |index: usize| page["roles"][index]["quota"]["consumed"].clone();
    assert_eq!(consumed(0), json!({"cpus": 2.5, "mem": 96.0}));
    assert_eq!(consumed(1), json!({"cpus": 2.5, "mem": 32.0}));
    assert_eq!(consumed(2), json!({"mem": 64.0}));
    let told = post_json(to, "/api/v1", r#"{"type":"GET_ROLES"}"#).await.json();
    let mut sums = each(&told["get_roles"], "roles", "resources").into_iter();
    // Bare sums, of cpus, gpus, mem and disk alone.
    let sum = |name: &str, value: f64| json!({"name": name, "type": "SCALAR", "scalar": {"value": value}});
    assert_eq!(sums.next(), Some(json!([sum("cpus", 1.0), sum("mem", 32.0)])));
    master.stop().await.unwrap();
}

/// Mesos: an id that is set and empty counts as none.
#[tokio::test]
async fn an_empty_framework_id_is_none() {
    let master = start(config()).await;
    let info = v1::FrameworkInfo { id: Some(v1::FrameworkId::default()), ..scheduler::info(&[]) };
    let scheduler = Scheduler::subscribed(master.address(), Media::Json, info).await;
    assert_eq!(scheduler.framework.unwrap().value, format!("{}-0000", master.id()));
    master.stop().await.unwrap();
}

/// http.md 5: the region and zone of master and agents, behaviour.md 9: which agents are taken.
#[tokio::test]
async fn regions_and_zones_are_told() {
    let domain = |zone: &str| {
        let text = format!(r#"{{"fault_domain":{{"region":{{"name":"eu"}},"zone":{{"name":"{zone}"}}}}}}"#);
        model::domain::parse(&text).unwrap()
    };
    let config = Config { domain: Some(domain("z1")), require_agent_domain: true, ..config() };
    let master = start(config).await;
    let to = master.address();
    let of_zone = |zone: &str| {
        let mut hello = agent::register("a1");
        hello.agent.as_mut().unwrap().domain = Some(domain(zone));
        hello
    };
    let mut refused = Agent::open(to, agent::register("a2")).await.unwrap();
    let message = refused.message().await.unwrap().body;
    let Some(link::from_master::Body::Refused(why)) = message else { panic!("{message:?}") };
    assert!(why.message.contains("--require_agent_domain"), "{}", why.message);
    let _agent = Agent::registered(to, of_zone("z2")).await;
    let zone = |value: &Value| value["fault_domain"]["zone"]["name"].clone();
    let state = get(to, "/state").await.json();
    assert_eq!([zone(&state["domain"]), zone(&state["leader_info"]["domain"])], ["z1", "z1"]);
    assert_eq!(zone(&state["slaves"][0]["domain"]), "z2");
    assert_eq!(zone(&get(to, "/slaves").await.json()["slaves"][0]["domain"]), "z2");
    let told = post_json(to, "/api/v1", r#"{"type":"GET_MASTER"}"#).await.json();
    assert_eq!(zone(&told["get_master"]["master_info"]["domain"]), "z1");
    let told = post_json(to, "/api/v1", r#"{"type":"GET_AGENTS"}"#).await.json();
    assert_eq!(zone(&told["get_agents"]["agents"][0]["agent_info"]["domain"]), "z2");
    let mut scheduler = Scheduler::subscribed(to, Media::Json, scheduler::info(&[])).await;
    let offered = scheduler.offers().await.remove(0).domain.unwrap();
    assert_eq!(offered.fault_domain.unwrap().zone.name, "z2");
    master.stop().await.unwrap();
}

/// --max_completed_tasks_per_framework: the oldest is forgotten.
#[tokio::test]
async fn completed_tasks_are_kept_as_many_as_told() {
    let master = start(Config { max_completed_tasks: 1, ..config() }).await;
    let to = master.address();
    let mut agent = Agent::registered(to, agent::register("a1")).await;
    let mut scheduler = Scheduler::subscribed(to, Media::Json, scheduler::info(&[])).await;
    let offer = scheduler.offers().await.remove(0);
    let small = |id: &str| task(id, &offer, vec![part(&offer, "cpus", 1.0), part(&offer, "mem", 64.0)]);
    scheduler.launch_all(&offer, vec![small("first"), small("second")]).await;
    let runs = [agent.run_task().await, agent.run_task().await];
    for (n, run) in (1..).zip(&runs) {
        agent.status(run, TaskState::TaskFinished, [n; 16]).await;
        let status = scheduler.update().await;
        scheduler.acknowledge(&status).await;
        while !matches!(agent.message().await.unwrap().body, Some(link::from_master::Body::Acknowledge(_))) {}
    }
    let page = get(to, "/frameworks").await.json();
    assert_eq!(each(&page["frameworks"][0], "completed_tasks", "id"), ["second"]);
    assert_eq!(each(&page["frameworks"][0], "tasks", "id"), Vec::<Value>::new());
    master.stop().await.unwrap();
}

/// behaviour.md 13: what an agent comes back with, more or less, is what pages, metrics and offers tell.
#[tokio::test]
async fn an_agent_with_another_total_is_shown_with_it() {
    let master = start(config()).await;
    let to = master.address();
    let mut agent = Agent::registered(to, agent::register("a1")).await;
    let mut scheduler = Scheduler::subscribed(to, Media::Json, scheduler::info(&[])).await;
    assert_eq!(scheduler.offers().await.len(), 1);
    for cpus in [8.0, 2.0] {
        let total = model::resources::parse(&format!("cpus:{cpus};mem:1024"), &model::Role::any()).unwrap();
        let mut hello = agent::reregister("a1", &agent.id);
        hello.agent.as_mut().unwrap().resources = total.to_wire();
        agent = Agent::registered(to, hello).await;
        scheduler.next(Type::Rescind).await;
        let offer = scheduler.offers().await.remove(0);
        let offered = offer.resources.iter().find(|resource| resource.name == "cpus").unwrap();
        assert_eq!(offered.scalar.unwrap().value, cpus);
        let slave = get(to, "/slaves").await.json()["slaves"][0].clone();
        for field in ["resources", "unreserved_resources", "offered_resources"] {
            assert_eq!(slave[field]["cpus"], cpus, "{field}: {slave}");
        }
        assert!(slave["resources"]["ports"].is_null(), "{slave}");
        let told = post_json(to, "/api/v1", r#"{"type":"GET_AGENTS"}"#).await.json();
        assert_eq!(told["get_agents"]["agents"][0]["total_resources"][0]["scalar"]["value"], cpus);
        assert_eq!(get(to, "/metrics/snapshot").await.json()["master/cpus_total"], cpus);
    }
    master.stop().await.unwrap();
}

/// http.md 4: GET_AGENTS has the agents of the registry that are not back yet; metrics.txt: the registry's size.
#[tokio::test]
async fn agents_that_are_not_back_yet() {
    let directory = tempfile::tempdir().unwrap();
    let master = start(with_file(directory.path())).await;
    let id = Agent::registered(master.address(), agent::register("a1")).await.id;
    let size = |page: &Value| page["registrar/registry_size_bytes"].as_f64();
    let before = size(&get(master.address(), "/metrics/snapshot").await.json());
    master.stop().await.unwrap();
    let on_disk: u64 =
        std::fs::read_dir(directory.path()).unwrap().map(|f| f.unwrap().metadata().unwrap().len()).sum();
    assert!(
        before.is_some_and(|bytes| bytes > 0.0 && bytes <= on_disk as f64 * 2.0),
        "{before:?}, {on_disk}"
    );

    let master = start(with_file(directory.path())).await;
    let to = master.address();
    let told =
        async || post_json(to, "/api/v1", r#"{"type":"GET_AGENTS"}"#).await.json()["get_agents"].clone();
    let agents = told().await;
    assert_eq!(each(&agents, "recovered_agents", "hostname"), ["a1"]);
    assert_eq!(agents["recovered_agents"][0]["id"]["value"], id.as_str());
    assert!(agents["agents"].is_null(), "{agents}");
    for path in ["/slaves", "/state", &format!("/slaves?slave_id={id}")] {
        assert_eq!(each(&get(to, path).await.json(), "recovered_slaves", "id"), [id.as_str()], "{path}");
    }
    let none = get(to, "/slaves?slave_id=other").await.json();
    assert_eq!(none, json!({"slaves": [], "recovered_slaves": []}));
    let _back = Agent::registered(to, agent::reregister("a1", &id)).await;
    let agents = told().await;
    assert!(agents["recovered_agents"].is_null(), "{agents}");
    assert_eq!(agents["agents"][0]["agent_info"]["id"]["value"], id.as_str());
    master.stop().await.unwrap();
}

fn labels() -> v1::Labels {
    let label =
        |key: &str, value: Option<&str>| v1::Label { key: key.to_owned(), value: value.map(str::to_owned) };
    v1::Labels { labels: vec![label("k", Some("v")), label("bare", None)] }
}

fn container_status() -> v1::ContainerStatus {
    let address = v1::network_info::IpAddress {
        protocol: Some(v1::network_info::Protocol::IPv4.into()),
        ip_address: Some("10.1.2.3".to_owned()),
    };
    let mapping = v1::network_info::PortMapping {
        host_port: 31_000,
        container_port: 80,
        protocol: Some("tcp".to_owned()),
    };
    let network = v1::NetworkInfo {
        groups: vec!["public".to_owned()],
        labels: Some(labels()),
        ip_addresses: vec![address],
        name: Some("net".to_owned()),
        port_mappings: vec![mapping],
    };
    v1::ContainerStatus {
        container_id: Some(v1::ContainerId { value: "c".to_owned(), parent: None }),
        network_infos: vec![network],
        executor_pid: Some(42),
        ..Default::default()
    }
}

/// http.md 5, T: labels and networks of a status; metrics.txt: transitions in the older spelling.
#[tokio::test]
async fn a_status_with_everything() {
    let master = start(config()).await;
    let to = master.address();
    let mut agent = Agent::registered(to, agent::register("a1")).await;
    let mut scheduler = Scheduler::subscribed(to, Media::Protobuf, scheduler::info(&[])).await;
    let offer = scheduler.offers().await.remove(0);
    scheduler
        .launch(&offer, task("T", &offer, vec![part(&offer, "cpus", 1.0), part(&offer, "mem", 64.0)]))
        .await;
    let run = agent.run_task().await;
    let full = |state: TaskState, uuid: u8| v1::TaskStatus {
        task_id: run.task.as_ref().unwrap().task_id.clone(),
        state: state.into(),
        source: Some(v1::task_status::Source::Agent.into()),
        agent_id: Some(v1::AgentId { value: agent.id.clone() }),
        timestamp: Some(1_700_000_000.5),
        uuid: Some(vec![uuid; 16].into()),
        labels: Some(labels()),
        container_status: Some(container_status()),
        healthy: Some(true),
        ..Default::default()
    };
    let framework_id = scheduler.framework.clone().unwrap().value;
    let say = |status: v1::TaskStatus| link::Status {
        framework_id: framework_id.clone(),
        latest_state: status.state,
        status: Some(status),
    };
    agent.say(say(full(TaskState::TaskRunning, 1))).await;
    let status = scheduler.update().await;
    scheduler.acknowledge(&status).await;
    let pairs = json!([{"key": "k", "value": "v"}, {"key": "bare"}]);
    let network = json!({
        "groups": ["public"],
        "labels": pairs,
        "ip_addresses": [{"protocol": "IPv4", "ip_address": "10.1.2.3"}],
        "name": "net",
        "port_mappings": [{"host_port": 31_000, "container_port": 80, "protocol": "tcp"}],
    });
    let expected = json!({
        "state": "TASK_RUNNING",
        "timestamp": 1_700_000_000.5,
        "labels": pairs,
        "container_status": {"container_id": {"value": "c"}, "network_infos": [network]},
        "healthy": true,
    });
    let state = get(to, "/state").await.json();
    assert_eq!(state["frameworks"][0]["tasks"][0]["statuses"], json!([expected]));
    assert_eq!(get(to, "/tasks").await.json()["tasks"][0]["statuses"], json!([expected]));

    let reason = Some(v1::task_status::Reason::AgentDisconnected.into());
    agent.say(say(v1::TaskStatus { reason, ..full(TaskState::TaskFailed, 2) })).await;
    scheduler.update().await;
    let metrics = get(to, "/metrics/snapshot").await.json();
    assert_eq!(metrics["master/task_failed/source_slave/reason_slave_disconnected"], 1.0);
    let lines = get(to, "/metrics").await.text();
    let line = "mesos_master_task_transitions{state=\"task_failed\",source=\"source_slave\",reason=\"reason_slave_disconnected\"} 1";
    assert!(lines.lines().any(|found| found == line), "{lines}");
    master.stop().await.unwrap();
}

/// http.md 1: streams and files are not compressed, whatever the client takes.
#[tokio::test]
async fn streams_are_never_compressed() {
    let log = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(log.path(), "word ".repeat(1000)).unwrap();
    let external_log_file = Some(log.path().to_owned());
    let master = start(Config { external_log_file, ..config() }).await;
    let to = master.address();
    let _agent = Agent::registered(to, agent::register("a1")).await;
    let json = Media::Json;
    let headers = [("content-type", json.content_type()), ("accept-encoding", "gzip")];
    for (path, body) in [
        ("/api/v1", watcher::subscribe(json)),
        (scheduler::PATH, scheduler::bytes(json, &scheduler::subscribe(scheduler::info(&[])))),
    ] {
        let answer = client::open(to, client::request(Method::POST, path, &headers, body)).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        assert!(answer.headers().get("content-encoding").is_none(), "{path}");
        let first = soon(answer.into_body().frame()).await.unwrap().unwrap().into_data().unwrap();
        let record = String::from_utf8_lossy(&first).into_owned();
        assert!(record.contains("{\"type\":\"SUBSCRIBED\""), "{path}: {record}");
    }
    let path = "/files/download?path=/master/log";
    let answer = client::send(to, Method::GET, path, &headers, "").await;
    assert_eq!((answer.header("content-encoding"), answer.body.len()), ("", 5000));
    master.stop().await.unwrap();
}
