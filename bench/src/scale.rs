//! A master with ten thousand agents: memory for each link, agent and task, and what /state and GET_STATE cost it.
//!
//! The agents are simulated: each has a connection and a gRPC stream of its own to a real master process.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use coordination::LeaderAddress;
use model::Role;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sdk::http::{Ask, Http};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use wire::link::agent_link_client::AgentLinkClient;
use wire::link::{FromAgent, Pong, Register, Reregister, from_agent, from_master};
use wire::v1;

use crate::cluster::{Process, free_port, sibling, wait_for_port};
use crate::figures::{Figures, millis, percentile};

const LINKS: usize = 5_000;
const AGENTS: usize = 10_000;
const TASKS_PER_AGENT: usize = 10;
/// Links being made at a time.
const AT_ONCE: usize = 64;
/// Descriptors for as many connections, and some.
const DESCRIPTORS: u64 = 15_000;
const READS: usize = 5;
const FRAMEWORK: &str = "bench-framework";

pub fn run(figures: &mut Figures) -> Result<()> {
    more_descriptors()?;
    let dir = tempfile::Builder::new().prefix("tepui-bench-").tempdir_in("/var/tmp")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (master, port) = start_master(dir.path())?;
    let idle = master.resident_mb()?;
    let registered = runtime.block_on(crowd(port, LINKS, Vec::new()))?;
    let links = master.resident_mb()?;
    figures.at_most(
        "memory of a link and its agent in the master, at 5,000",
        (links - idle) * 1024.0 / LINKS as f64,
        " KB",
        40.0,
    );
    drop((runtime, registered, master));

    // Another master, whose agents come back with ten tasks each, as after a failover.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (master, port) = start_master(&dir.path().join("second"))?;
    let idle = master.resident_mb()?;
    let tasks = (0..TASKS_PER_AGENT).map(task).collect();
    let started = Instant::now();
    let registered = runtime.block_on(crowd(port, AGENTS, tasks))?;
    figures.note("10,000 agents with 100,000 tasks come back within", &millis(started.elapsed()));
    let all = master.resident_mb()?;
    let per_task = ((all - idle) - (links - idle) * AGENTS as f64 / LINKS as f64) * 1024.0;
    figures.note(
        "memory of a task in the master, at 100,000",
        &format!("{:.2} KB", per_task / (AGENTS * TASKS_PER_AGENT) as f64),
    );
    runtime.block_on(read_state(figures, port))?;
    figures.note("resident memory of the master after these", &format!("{:.0} MB", master.resident_mb()?));
    drop((runtime, registered, master));
    Ok(())
}

/// This process and the master, which inherits it, have a connection for each agent.
fn more_descriptors() -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(DESCRIPTORS, |most| most.min(DESCRIPTORS));
    ensure!(
        wanted >= DESCRIPTORS,
        "this needs {DESCRIPTORS} descriptors, and only {wanted} are allowed (ulimit -Hn)"
    );
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum })
        .context("raising the limit of descriptors")
}

fn start_master(dir: &Path) -> Result<(Process, u16)> {
    fs::create_dir_all(dir)?;
    let port = free_port()?;
    let mut command = Command::new(sibling("tepui")?);
    command.args(["master", "--ip=127.0.0.1", "--registry=in_memory"]);
    command.arg(format!("--port={port}")).arg(format!("--work_dir={}", dir.join("master").display()));
    let master = Process::start(&mut command, &dir.join("master.log"))?;
    wait_for_port(port)?;
    Ok((master, port))
}

/// Agents that are registered, and answer pings as long as this is held.
type Crowd = mpsc::Receiver<String>;

/// Attaches so many agents, each with these tasks, and waits until the master has admitted them all.
async fn crowd(port: u16, count: usize, tasks: Vec<v1::Task>) -> Result<Crowd> {
    let (admitted, mut ids) = mpsc::channel(count);
    let turn = Arc::new(Semaphore::new(AT_ONCE));
    let tasks = Arc::new(tasks);
    for number in 0..count {
        let (admitted, turn, tasks) = (admitted.clone(), turn.clone(), tasks.clone());
        tokio::spawn(async move {
            if let Err(error) = agent(port, number, &tasks, &admitted, &turn).await {
                eprintln!("simulated agent {number}: {error:#}");
            }
        });
    }
    drop(admitted);
    let all = async {
        for _ in 0..count {
            ids.recv().await.context("an agent gave up")?;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(300), all).await.context("registering the agents")??;
    Ok(ids)
}

/// One agent, until its link ends.
async fn agent(
    port: u16,
    number: usize,
    tasks: &[v1::Task],
    admitted: &mpsc::Sender<String>,
    turn: &Semaphore,
) -> Result<()> {
    let permit = turn.acquire().await?;
    let channel = Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?.connect().await?;
    let (say, outgoing) = mpsc::channel(8);
    say.send(FromAgent { body: Some(hello(number, tasks)) }).await?;
    let mut incoming =
        AgentLinkClient::new(channel).attach(ReceiverStream::new(outgoing)).await?.into_inner();
    let mut permit = Some(permit);
    while let Some(message) = incoming.message().await? {
        match message.body {
            Some(from_master::Body::Registered(registered)) => {
                permit.take();
                admitted.send(registered.agent_id).await?;
            }
            Some(from_master::Body::Ping(ping)) => {
                let pong = Pong { sequence: ping.sequence };
                say.send(FromAgent { body: Some(from_agent::Body::Pong(pong)) }).await?;
            }
            Some(from_master::Body::Refused(refused)) => anyhow::bail!("refused: {}", refused.message),
            _ => {}
        }
    }
    Ok(())
}

fn hello(number: usize, tasks: &[v1::Task]) -> from_agent::Body {
    let total = model::resources::parse("cpus:16;mem:65536;disk:100000;ports:[31000-32000]", &Role::any());
    let id = v1::AgentId { value: format!("bench-S{number}") };
    let agent = v1::AgentInfo {
        hostname: format!("host{number}.example"),
        port: Some(5051),
        resources: total.expect("these are resources").to_wire(),
        ..Default::default()
    };
    let address = format!("10.{}.{}.{}:5051", number >> 16, (number >> 8) & 255, number & 255);
    let capabilities = vec!["MULTI_ROLE".to_owned(), "HIERARCHICAL_ROLE".to_owned()];
    let (version, incarnation) = ("1.11.0".to_owned(), format!("{number}"));
    if tasks.is_empty() {
        let register = Register {
            version,
            agent: Some(agent),
            address,
            capabilities,
            incarnation,
            ..Default::default()
        };
        return from_agent::Body::Register(register);
    }
    let agent = v1::AgentInfo { id: Some(id.clone()), ..agent };
    let own = tasks.iter().enumerate().map(|(i, task)| v1::Task {
        task_id: v1::TaskId { value: format!("task-{number}-{i}") },
        agent_id: id.clone(),
        ..task.clone()
    });
    let framework = v1::FrameworkInfo {
        user: "root".to_owned(),
        name: "bench".to_owned(),
        id: Some(v1::FrameworkId { value: FRAMEWORK.to_owned() }),
        failover_timeout: Some(3600.0),
        checkpoint: Some(true),
        ..Default::default()
    };
    from_agent::Body::Reregister(Reregister {
        version,
        agent: Some(agent),
        address,
        capabilities,
        incarnation,
        tasks: own.collect(),
        frameworks: vec![framework],
        ..Default::default()
    })
}

/// A running task as an agent tells of it.
fn task(_: usize) -> v1::Task {
    let resources = model::resources::parse("cpus:0.5;mem:512", &Role::any()).expect("these are resources");
    let status = v1::TaskStatus {
        state: v1::TaskState::TaskRunning.into(),
        timestamp: Some(1_700_000_000.5),
        uuid: Some(vec![7; 16].into()),
        ..Default::default()
    };
    v1::Task {
        name: "bench".to_owned(),
        framework_id: v1::FrameworkId { value: FRAMEWORK.to_owned() },
        state: v1::TaskState::TaskRunning.into(),
        resources: resources.allocated_to(Some(&Role::any())).to_wire(),
        statuses: vec![status],
        status_update_state: Some(v1::TaskState::TaskRunning.into()),
        status_update_uuid: Some(vec![7; 16].into()),
        ..Default::default()
    }
}

/// Reads the whole state in each of its forms, while the master's loop goes on.
async fn read_state(figures: &mut Figures, port: u16) -> Result<()> {
    let to: LeaderAddress = format!("127.0.0.1:{port}").parse()?;
    let get_state = |content_type: &'static str| {
        let call =
            v1::master::Call { r#type: Some(v1::master::call::Type::GetState.into()), ..Default::default() };
        let media = if content_type.ends_with("json") {
            wire::media::Media::Json
        } else {
            wire::media::Media::Protobuf
        };
        Ask::post("/api/v1", content_type, wire::media::encode_message(media, &call))
            .header(http::header::ACCEPT, content_type)
    };
    let forms = [
        ("/state", Ask::get("/state")),
        ("GET_STATE in JSON", get_state("application/json")),
        ("GET_STATE in protobuf", get_state("application/x-protobuf")),
    ];
    let http = Http::new();
    for (name, ask) in forms {
        let ask = Ask { limit: 1 << 30, timeout: Duration::from_secs(120), ..ask };
        let (mut times, mut size) = (Vec::new(), 0);
        for _ in 0..READS {
            let started = Instant::now();
            let reply = http.ask(&to, &ask).await?;
            ensure!(reply.status.is_success(), "{name}: {}", reply.message());
            times.push(started.elapsed());
            size = reply.body.len();
        }
        let text = format!("{} ({} MB)", millis(percentile(&times, 50)), size >> 20);
        figures.note(&format!("{name} of 10,000 agents and 100,000 tasks"), &text);
    }
    let metrics = http.ask(&to, &Ask::get("/metrics/snapshot")).await?;
    let metrics: serde_json::Value = serde_json::from_slice(&metrics.body)?;
    let longest =
        metrics["tepui/loop/longest_ms"].as_f64().context("the master tells no tepui/loop/longest_ms")?;
    figures.at_most("longest hold-up of the master's loop meanwhile", longest, " ms", 5.0);
    Ok(())
}
