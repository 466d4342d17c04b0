//! Operators that watch: what they are told, and what the slow ones of them cost.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use wire::link::from_master;
use wire::media::Media;
use wire::v1;
use wire::v1::TaskState;
use wire::v1::framework_info::capability::Type as Capability;
use wire::v1::master::event::Type;
use wire::v1::scheduler::Call;
use wire::v1::scheduler::call::{self, Type as CallType};

use super::agent::{self, Agent};
use super::client::eventually;
use super::scheduler::{self, Scheduler, part, task};
use super::watcher::{self, Watcher};
use super::{config, soon, start};
use crate::config::Config;
use crate::service::{Limits, WATCH_LIMITS};

/// behaviour.md 22, http.md 4 "Heartbeats".
#[tokio::test]
async fn an_operator_is_told_the_state_and_then_all_that_happens() {
    for media in [Media::Json, Media::Protobuf] {
        let master = start(config()).await;
        let to = master.address();
        let agent = Agent::registered(to, agent::register("a1")).await;
        let mut watcher = Watcher::open(to, media).await;
        let subscribed = watcher.event().await.unwrap().subscribed.unwrap();
        assert_eq!(subscribed.heartbeat_interval_seconds, Some(15.0));
        let state = subscribed.get_state.unwrap();
        assert_eq!(state.get_agents.unwrap().agents.len(), 1);
        assert!(state.get_tasks.is_some() && state.get_frameworks.is_some() && state.get_executors.is_some());
        assert_eq!(watcher.event().await.unwrap().r#type(), Type::Heartbeat, "one at once");
        Box::pin(a_task_is_told(&mut watcher, agent, to, media)).await;
        master.stop().await.unwrap();
        assert!(watcher.event().await.is_none());
    }
}

async fn a_task_is_told(watcher: &mut Watcher, mut agent: Agent, to: SocketAddr, media: Media) {
    let info = scheduler::info(&[Capability::MultiRole]);
    let mut scheduler = Scheduler::subscribed(to, media, info.clone()).await;
    let added = watcher.next(Type::FrameworkAdded).await.framework_added.unwrap().framework;
    assert_eq!(added.framework_info.id, scheduler.framework);
    assert!(added.active && added.connected && !added.recovered);
    let offer = scheduler.offers().await.remove(0);
    let resources = vec![part(&offer, "cpus", 1.0), part(&offer, "mem", 64.0)];
    scheduler.launch(&offer, task("T", &offer, resources)).await;
    let added = watcher.next(Type::TaskAdded).await.task_added.unwrap().task;
    assert_eq!((added.task_id.value.as_str(), added.state()), ("T", TaskState::TaskStaging));
    let run = agent.run_task().await;
    for (state, uuid) in [(TaskState::TaskRunning, [1; 16]), (TaskState::TaskFinished, [2; 16])] {
        agent.status(&run, state, uuid).await;
        let updated = watcher.next(Type::TaskUpdated).await.task_updated.unwrap();
        assert_eq!((updated.state(), updated.status.state()), (state, state));
        assert_eq!(Some(updated.framework_id), scheduler.framework);
    }
    let info = v1::FrameworkInfo { id: scheduler.framework.clone(), name: "renamed".to_owned(), ..info };
    let update = call::UpdateFramework { framework_info: info, ..Default::default() };
    let answer = scheduler
        .send(CallType::UpdateFramework, Call { update_framework: Some(update), ..Default::default() })
        .await;
    // http.md 2: 200 for UPDATE_FRAMEWORK, 202 for the others.
    assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0), "{}", answer.text());
    let updated = watcher.next(Type::FrameworkUpdated).await.framework_updated.unwrap().framework;
    assert_eq!(updated.framework_info.name, "renamed");
    assert!(matches!(agent.message().await.unwrap().body, Some(from_master::Body::UpdateFramework(_))));
    scheduler.accepted(CallType::Teardown, Call::default()).await;
    // The task has ended: its end stays what it is.
    let removed = watcher.next(Type::FrameworkRemoved).await.framework_removed.unwrap();
    assert_eq!(removed.framework_info.id, scheduler.framework);
    agent.say(wire::link::Unregister {}).await;
    let removed = watcher.next(Type::AgentRemoved).await.agent_removed.unwrap();
    assert_eq!(removed.agent_id.value, agent.id);
    let again = Agent::registered(to, agent::register("a2")).await;
    let added = watcher.next(Type::AgentAdded).await.agent_added.unwrap().agent;
    assert_eq!(added.agent_info.id.unwrap().value, again.id);
}

/// flags.tsv: beyond `max_operator_event_stream_subscribers` the oldest is closed.
#[tokio::test]
async fn beyond_the_limit_the_oldest_operator_is_closed() {
    let master = start(Config { max_watchers: 2, ..config() }).await;
    let to = master.address();
    let mut watchers = Vec::new();
    for _ in 0..3 {
        let mut watcher = Watcher::open(to, Media::Json).await;
        watcher.next(Type::Subscribed).await;
        watchers.push(watcher);
    }
    while watchers[0].event().await.is_some() {}
    let _agent = Agent::registered(to, agent::register("a1")).await;
    for watcher in &mut watchers[1..] {
        watcher.next(Type::AgentAdded).await;
    }
    master.stop().await.unwrap();
}

const STALLED: usize = 500;
const UPDATES: usize = 60;
const UPDATE_BYTES: usize = 32 << 10;

/// Subscribes, reads the head of the answer and then nothing more.
async fn stalled(to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = soon(socket.connect(to)).await.unwrap();
    let body = watcher::subscribe(Media::Json);
    let head = format!(
        "POST /api/v1 HTTP/1.1\r\nhost: m\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body).await.unwrap();
    let mut byte = [0; 1];
    soon(stream.read_exact(&mut byte)).await.unwrap();
    stream
}

/// Bytes of memory that this process takes.
fn memory() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn many_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).unwrap();
}

/// Issue: 500 operators that read nothing take no memory that grows and delay nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_stalled_operators_cost_little_and_delay_nobody() {
    many_descriptors();
    let watch_limits =
        Limits { bytes: 512 << 10, bytes_when_tight: 256 << 10, all: 64 << 20, ..WATCH_LIMITS };
    let master = start(Config { watch_limits, ..config() }).await;
    let to = master.address();
    let info = scheduler::info(&[]);
    let scheduler = Scheduler::subscribed(to, Media::Protobuf, info.clone()).await;
    let mut reader = Watcher::open(to, Media::Protobuf).await;
    reader.next(Type::Subscribed).await;
    let mut lazy = Vec::new();
    for _ in 0..STALLED {
        lazy.push(stalled(to).await);
    }
    let (before, began) = (memory(), Instant::now());
    let mut slowest = Duration::ZERO;
    for n in 0..UPDATES {
        let text = format!("{n:0>UPDATE_BYTES$}");
        let info =
            v1::FrameworkInfo { id: scheduler.framework.clone(), webui_url: Some(text), ..info.clone() };
        let update = call::UpdateFramework { framework_info: info, ..Default::default() };
        let asked = Instant::now();
        let call = Call { update_framework: Some(update), ..Default::default() };
        assert_eq!(scheduler.send(CallType::UpdateFramework, call).await.status.as_u16(), 200);
        slowest = slowest.max(asked.elapsed());
        let told = reader.next(Type::FrameworkUpdated).await.framework_updated.unwrap().framework;
        // In order, each once.
        assert!(told.framework_info.webui_url().ends_with(&format!("0{n}")), "{n}");
    }
    let grown = memory().saturating_sub(before);
    let each = STALLED * UPDATES * UPDATE_BYTES;
    println!("{grown} bytes for {each} told; {:?} in all, a call {slowest:?} at most", began.elapsed());
    assert!(grown < each / 8, "{grown} bytes");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    // They have been cut, the one that reads has not.
    subscribers_are(to, 1.0).await;
    drop(lazy);
    master.stop().await.unwrap();
}

const ATTRIBUTES: usize = 200 << 10;
const RENAMINGS: usize = 30;

/// Issue: what of an event waits is its message, which for a framework has in it all of its offers with the attributes of
/// their agents.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_operator_is_cut_for_what_offers_take_in_its_events() {
    let watch_limits = Limits { bytes: 2 << 20, ..WATCH_LIMITS };
    let master = start(Config { watch_limits, ..config() }).await;
    let to = master.address();
    let mut reader = Watcher::open(to, Media::Protobuf).await;
    reader.next(Type::Subscribed).await;
    // While there is little to tell: who takes nothing of a large state is cut for that.
    let lazy = stalled(to).await;
    let mut hello = agent::register("a1");
    let attributes = model::attributes::parse(&format!("blob:{}", "x".repeat(ATTRIBUTES))).unwrap();
    hello.agent.as_mut().unwrap().attributes = attributes;
    let _agent = Agent::registered(to, hello).await;
    reader.next(Type::AgentAdded).await;
    let info = scheduler::info(&[]);
    let mut scheduler = Scheduler::subscribed(to, Media::Protobuf, info.clone()).await;
    reader.next(Type::FrameworkAdded).await;
    scheduler.offers().await;
    for n in 0..RENAMINGS {
        let (id, name) = (scheduler.framework.clone(), n.to_string());
        let update = call::UpdateFramework {
            framework_info: v1::FrameworkInfo { id, name: name.clone(), ..info.clone() },
            ..Default::default()
        };
        let call = Call { update_framework: Some(update), ..Default::default() };
        assert_eq!(scheduler.send(CallType::UpdateFramework, call).await.status.as_u16(), 200);
        let told = reader.next(Type::FrameworkUpdated).await.framework_updated.unwrap().framework;
        assert_eq!((told.framework_info.name, told.offers.len()), (name, 1));
    }
    subscribers_are(to, 1.0).await;
    drop(lazy);
    master.stop().await.unwrap();
}

/// Waits until so many operators watch.
async fn subscribers_are(to: SocketAddr, count: f64) {
    eventually(to, "/metrics/snapshot", |page| page["master/operator_event_stream_subscribers"] == count)
        .await;
}
