//! How things end: slow readers, closed connections, the master itself, and starts that can't be.

use std::time::{Duration, Instant};

use coordination::{
    Contender, Leader, LeaderAddress, LeaderContender, LeaderDetector, Leadership, Lease, Tenure,
};
use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use wire::media::Media;
use wire::v1;
use wire::v1::scheduler::Call;
use wire::v1::scheduler::call::{self, Type};

use super::agent::{self, Agent};
use super::client::{get, post_json, request, send};
use super::scheduler::{self, Scheduler, part, task};
use super::{DEADLINE, config, soon, start, with_file};
use crate::config::Config;
use crate::service::{LINK_LIMITS, Limits, Patience, STREAM_LIMITS};
use crate::{Master, MasterError, StoreError};

/// Subscribes on a socket and then doesn't read it.
async fn subscribe_without_reading(to: std::net::SocketAddr) -> (TcpStream, String, String) {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let body = scheduler::bytes(Media::Json, &scheduler::subscribe(scheduler::info(&[])));
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: m\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        scheduler::PATH,
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body).await.unwrap();
    let mut seen = String::new();
    while !seen.contains("HEARTBEAT") {
        let mut piece = [0; 4096];
        let read = soon(stream.read(&mut piece)).await.unwrap();
        seen.push_str(std::str::from_utf8(&piece[..read]).unwrap());
    }
    let after = |mark: &str| seen.split(mark).nth(1).unwrap().split(['\r', '"']).next().unwrap().to_owned();
    (stream, after("mesos-stream-id: "), after(r#""framework_id":{"value":""#))
}

#[tokio::test]
async fn a_scheduler_that_does_not_read_is_cut_and_holds_up_nobody() {
    let stream_limits = Limits { bytes: 1 << 20, bytes_when_tight: 1 << 20, ..STREAM_LIMITS };
    let master = start(Config { stream_limits, ..config() }).await;
    let to = master.address();
    let mut other = Scheduler::subscribed(to, Media::Json, scheduler::info(&[])).await;
    let (mut lazy, stream_id, framework) = subscribe_without_reading(to).await;

    // Each unknown task is answered with an update.
    let tasks: Vec<String> = (0..50).map(|n| format!(r#"{{"task_id":{{"value":"{n:0>200}"}}}}"#)).collect();
    let call = format!(
        r#"{{"type":"RECONCILE","framework_id":{{"value":"{framework}"}},"reconcile":{{"tasks":[{}]}}}}"#,
        tasks.join(",")
    );
    let began = Instant::now();
    loop {
        let headers = [("content-type", "application/json"), ("mesos-stream-id", stream_id.as_str())];
        let answer = send(to, Method::POST, scheduler::PATH, &headers, call.clone()).await;
        if answer.status == StatusCode::FORBIDDEN {
            break;
        }
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
        assert!(began.elapsed() < DEADLINE, "it is not cut");
    }
    let mut rest = Vec::new();
    // Cut off: an error or an end, after what the kernel already had.
    let _ = soon(lazy.read_to_end(&mut rest)).await;
    assert!(!rest.ends_with(b"0\r\n\r\n"), "a cut stream has no proper end");

    let task = call::reconcile::Task { task_id: v1::TaskId { value: "x".to_owned() }, agent_id: None };
    let reconcile = call::Reconcile { tasks: vec![task] };
    other.accepted(Type::Reconcile, Call { reconcile: Some(reconcile), ..Default::default() }).await;
    assert_eq!(other.update().await.task_id.value, "x");
    master.stop().await.unwrap();
}

#[tokio::test]
async fn an_agent_that_does_not_read_is_cut_and_may_come_back() {
    let link_limits = Limits { bytes: 64 << 10, bytes_when_tight: 64 << 10, ..LINK_LIMITS };
    let master = start(Config { link_limits, ..config() }).await;
    let to = master.address();
    let mut agent = Agent::registered(to, agent::register("a1")).await;
    let mut scheduler = Scheduler::subscribed(to, Media::Protobuf, scheduler::info(&[])).await;
    let offer = scheduler.offers().await.remove(0);
    let tasks = (0..30).map(|n| {
        let resources = vec![part(&offer, "cpus", 0.1), part(&offer, "mem", 32.0)];
        let data = Some(vec![0; 32 << 10].into());
        v1::TaskInfo { data, ..task(&format!("T{n}"), &offer, resources) }
    });
    scheduler.launch_all(&offer, tasks.collect()).await;
    let page = get(to, "/slaves").await.json();
    assert_eq!(page["slaves"][0]["active"], false);
    while agent.message().await.is_some() {}
    let again = Agent::registered(to, agent::reregister("a1", &agent.id)).await;
    assert_eq!(again.id, agent.id);
    assert_eq!(get(to, "/slaves").await.json()["slaves"][0]["active"], true);
    master.stop().await.unwrap();
}

#[tokio::test]
async fn stopping_ends_streams_and_links_properly_and_frees_the_registry() {
    let directory = tempfile::tempdir().unwrap();
    let master = start(with_file(directory.path())).await;
    let to = master.address();
    let mut agent = Agent::registered(to, agent::register("a1")).await;
    let mut scheduler = Scheduler::subscribed(to, Media::Protobuf, scheduler::info(&[])).await;
    let idle = TcpStream::connect(to).await.unwrap();
    let began = Instant::now();
    soon(master.stop()).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    while scheduler.event().await.is_some() {}
    assert!(agent.message().await.is_none());
    assert!(TcpStream::connect(to).await.is_err());
    drop(idle);
    // The same port and file can be had again at once.
    let again = Config { port: to.port(), ..with_file(directory.path()) };
    start(again).await.stop().await.unwrap();
}

#[tokio::test]
async fn dropping_a_master_ends_it() {
    let master = start(config()).await;
    let to = master.address();
    drop(master);
    soon(async {
        while TcpStream::connect(to).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn starts_that_cannot_be_say_why() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = Master::start(Config { port, ..config() }).await.unwrap_err();
    assert!(matches!(error, MasterError::Listen { .. }), "{error:?}");
    assert!(error.to_string().contains(&port.to_string()) && error.to_string().contains("--port"));

    let directory = tempfile::tempdir().unwrap();
    let first = start(with_file(directory.path())).await;
    let error = Master::start(with_file(directory.path())).await.unwrap_err();
    assert!(matches!(error, MasterError::Registry(StoreError::Locked { .. })), "{error:?}");
    assert!(error.to_string().contains("--work_dir"));
    first.stop().await.unwrap();

    let file = directory.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let error = Master::start(with_file(&file)).await.unwrap_err();
    assert!(matches!(error, MasterError::Registry(StoreError::Directory { .. })), "{error:?}");
    assert!(error.to_string().contains("file"));
}

/// A contest that a test decides.
struct Contest {
    leader: watch::Sender<Option<Leader>>,
    own: watch::Sender<Leadership>,
}

impl LeaderDetector for Contest {
    fn leader(&self) -> watch::Receiver<Option<Leader>> {
        self.leader.subscribe()
    }
}

impl LeaderContender for Contest {
    fn contend(&self, own: Contender) -> watch::Receiver<Leadership> {
        // Mesos: others' detectors read a MasterInfo in JSON.
        let info: serde_json::Value = serde_json::from_str(&own.info).unwrap();
        assert_eq!(info["address"]["port"], own.leader.address.port);
        assert_eq!(
            info["pid"],
            format!("master@{}:{}", info["address"]["ip"].as_str().unwrap(), own.leader.address.port)
        );
        self.own.subscribe()
    }
}

impl Contest {
    fn new() -> std::sync::Arc<Contest> {
        let (leader, own) = (watch::Sender::new(None), watch::Sender::new(Leadership::Standby));
        std::sync::Arc::new(Contest { leader, own })
    }

    /// Lets it lead, until the lease that this gives is ended.
    fn elect(&self) -> Lease {
        let lease = Lease::endless();
        let tenure = Tenure { lease: lease.clone(), session: None };
        self.own.send_replace(Leadership::Leading(Box::new(tenure)));
        lease
    }
}

#[tokio::test]
async fn who_does_not_lead_sends_clients_to_the_leader_and_a_lost_leadership_ends_it() {
    let contest = Contest::new();
    let master = Master::start_with(config(), contest.clone()).await.unwrap();
    let to = master.address();
    for path in ["/state", "/redirect", "/master/tasks"] {
        let answer = get(to, path).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!(answer.header("retry-after"), "1", "{path}");
    }
    for path in ["/health", "/version", "/flags"] {
        assert_eq!(get(to, path).await.status, StatusCode::OK, "{path}");
    }
    // Mesos: what is about the process answers whoever leads.
    let metrics = get(to, "/metrics/snapshot").await.json();
    assert_eq!(metrics["master/elected"], 0.0);
    assert!(metrics["master/uptime_secs"].is_f64() && metrics.get("master/slaves_active").is_none());
    for (path, status) in [
        ("/metrics", 200),
        ("/logging/toggle", 200),
        ("/system/stats.json", 200),
        ("/files/read?path=/x", 404),
    ] {
        assert_eq!(get(to, path).await.status.as_u16(), status, "{path}");
    }
    let nameless = LeaderAddress { host: "no\nname".to_owned(), port: 5050 };
    contest.leader.send_replace(Some(nameless.into()));
    let answer = get(to, "/redirect").await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR, "{}", answer.text());
    let other: LeaderAddress = "other.test:5050".parse().unwrap();
    contest.leader.send_replace(Some(other.into()));
    for (path, location) in [
        ("/state?jsonp=x", "//other.test:5050/state?jsonp=x"),
        ("/master/api/v1", "//other.test:5050/master/api/v1"),
        ("/redirect", "//other.test:5050"),
    ] {
        // Mesos: who leads is asked before all else.
        let answer = get(to, path).await;
        assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT, "{path}");
        assert_eq!(answer.header("location"), location);
    }
    assert!(Agent::open(to, agent::register("a1")).await.is_err());
    contest.leader.send_replace(Some(master.advertised().clone().into()));
    let answer = post_json(to, "/api/v1", "{}").await;
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (StatusCode::SERVICE_UNAVAILABLE, "1"),
        "{}",
        answer.text()
    );

    let lease = contest.elect();
    assert!(soon(master.leads()).await);
    let mut agent = Agent::registered(to, agent::register("a1")).await;
    let mut scheduler = Scheduler::subscribed(to, Media::Json, scheduler::info(&[])).await;
    assert_eq!(get(to, "/state").await.status, StatusCode::OK);
    let epoch = agent.epoch;
    // What a leader knew and promised ends with its leadership.
    lease.end();
    contest.own.send_replace(Leadership::Standby);
    while soon(agent.message()).await.is_some() {}
    while soon(scheduler.event()).await.is_some() {}
    while get(to, "/state").await.status != StatusCode::SERVICE_UNAVAILABLE {}
    contest.leader.send_replace(None);
    assert!(Agent::open(to, agent::register("a1")).await.is_err());
    assert_eq!(get(to, "/slaves").await.status, StatusCode::SERVICE_UNAVAILABLE);
    // It can lead again, as if it had just started.
    contest.elect();
    while get(to, "/state").await.status != StatusCode::OK {}
    assert_eq!(get(to, "/slaves").await.json()["slaves"].as_array().map(Vec::len), Some(0));
    let again = Agent::registered(to, agent::register("a1")).await;
    assert!(again.epoch > epoch, "{} after {epoch}", again.epoch);
    // Nor does it give names again that it has forgotten.
    let anew = Scheduler::subscribed(to, Media::Json, scheduler::info(&[])).await;
    assert_ne!(again.id, agent.id);
    assert_ne!(anew.framework, scheduler.framework);
    soon(master.stop()).await.unwrap();
}

#[tokio::test]
async fn without_a_lease_nothing_leaves_the_master() {
    let contest = Contest::new();
    let master = Master::start_with(config(), contest.clone()).await.unwrap();
    let to = master.address();
    let lease = contest.elect();
    assert!(soon(master.leads()).await);
    let mut agent = Agent::registered(to, agent::register("a1")).await;
    let mut scheduler = Scheduler::subscribed(to, Media::Json, scheduler::info(&[])).await;
    let offer = scheduler.offers().await.remove(0);
    // Its contest has not noticed yet; as after a stop of the process.
    lease.end();
    let late = scheduler::task("late", &offer, vec![scheduler::part(&offer, "cpus", 0.1)]);
    let answer = scheduler.send(Type::Accept, scheduler::accept(&offer, vec![late])).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    while let Some(message) = soon(agent.message()).await {
        assert!(!format!("{message:?}").contains("RunTask"), "{message:?}");
    }
    assert_ne!(get(to, "/state").await.status, StatusCode::OK);
    soon(master.stop()).await.unwrap();
}

#[tokio::test]
async fn connections_that_bring_no_request_are_closed() {
    let short = Duration::from_millis(100);
    let patience = Patience { first_request: short, next_request: short };
    let master = start(Config { patience, ..config() }).await;
    let to = master.address();
    let mut scheduler = Scheduler::subscribed(to, Media::Json, scheduler::info(&[])).await;
    let _agent = Agent::registered(to, agent::register("a1")).await;
    for begin in ["", "PRI * HT", "GET /state HTTP/1.1\r\nhost:", "GET /health HTTP/1.1\r\nhost: m\r\n\r\n"] {
        let mut stream = TcpStream::connect(to).await.unwrap();
        stream.write_all(begin.as_bytes()).await.unwrap();
        let mut seen = Vec::new();
        soon(stream.read_to_end(&mut seen)).await.unwrap();
        assert_eq!(seen.starts_with(b"HTTP/1.1 200"), begin.contains("health"), "{begin}");
    }
    // Streams and links are no idle connections.
    scheduler.offers().await;
    scheduler.accepted(Type::Revive, Call::default()).await;
    assert_eq!(get(to, "/slaves").await.json()["slaves"][0]["active"], true);
    master.stop().await.unwrap();
}

#[tokio::test]
async fn a_stopped_client_frees_its_request() {
    let master = start(config()).await;
    let to = master.address();
    for _ in 0..20 {
        drop(super::client::open(to, request(Method::GET, "/state", &[], "")).await);
    }
    assert_eq!(get(to, "/state").await.status, StatusCode::OK);
    master.stop().await.unwrap();
}
