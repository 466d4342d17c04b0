//! A master with ten thousand agents: memory for each link, agent and task, and what /state and GET_STATE cost it while
//! agents go on telling of their tasks.
//!
//! The agents are simulated: each has a connection and a gRPC stream of its own to a real master process.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use model::Role;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use wire::link::agent_link_client::AgentLinkClient;
use wire::link::{self, FromAgent, Pong, Register, Reregister, from_agent, from_master};
use wire::v1;

use crate::cluster::{Process, free_port, sibling, wait_for_port};
use crate::figures::{Figures, millis};
use crate::reads;

const LINKS: usize = 5_000;
const AGENTS: usize = 10_000;
const TASKS_PER_AGENT: usize = 10;
/// Links being made at a time.
const AT_ONCE: usize = 64;
/// Descriptors for as many connections, and some.
const DESCRIPTORS: u64 = 15_000;
const FRAMEWORK: &str = "bench-framework";

pub fn run(figures: &mut Figures) -> Result<()> {
    more_descriptors()?;
    let dir = tempfile::Builder::new().prefix("tepui-bench-").tempdir_in("/var/tmp")?;
    let per_agent = links_and_agents(figures, dir.path())?;
    tasks_and_reads(figures, &dir.path().join("second"), per_agent)
}

/// Links on which nobody says anything yet, and then their agents; how many KB both take together, for each.
fn links_and_agents(figures: &mut Figures, dir: &Path) -> Result<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (master, port) = start_master(dir, &["--registry=in_memory"])?;
    master.wait_until_idle()?;
    let idle = master.resident_mb()?;
    let crowd = runtime.block_on(Crowd::gather(port, LINKS, Vec::new(), false))?;
    master.wait_until_idle()?;
    let links = master.resident_mb()?;
    let crowd = runtime.block_on(crowd.register())?;
    let agents = master.resident_mb()?;
    let each = |megabytes: f64| megabytes * 1024.0 / LINKS as f64;
    figures.at_most("memory of a link in the master, at 5,000", each(links - idle), " KB", 40.0);
    let text = format!("{:.2} KB", each(agents - links));
    figures.note("memory of an agent in the master, without its link", &text);
    drop((runtime, crowd));
    Ok(each(agents - idle))
}

/// Another master, whose agents come back with ten tasks each, as after a failover.
fn tasks_and_reads(figures: &mut Figures, dir: &Path, per_agent: f64) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (master, port) = start_master(dir, &["--registry=in_memory"])?;
    master.wait_until_idle()?;
    let idle = master.resident_mb()?;
    let tasks = (0..TASKS_PER_AGENT).map(task).collect();
    let started = Instant::now();
    let crowd = runtime.block_on(Crowd::gather(port, AGENTS, tasks, true))?;
    let crowd = runtime.block_on(crowd.register())?;
    figures.note("10,000 agents with 100,000 tasks come back within", &millis(started.elapsed()));
    let storm_over = Instant::now();
    let all = master.resident_mb()?;
    let tasks_kb = (all - idle) * 1024.0 - per_agent * AGENTS as f64;
    figures.note(
        "memory of a task in the master, at 100,000",
        &format!("{:.2} KB", tasks_kb / (AGENTS * TASKS_PER_AGENT) as f64),
    );
    crowd.busy.store(true, Ordering::Relaxed);
    runtime.block_on(reads::read_state(figures, port, storm_over))?;
    let told = crowd.updates.load(Ordering::Relaxed);
    figures.note("updates that agents told meanwhile", &told.to_string());
    ensure!(told > 0, "no agent told of its tasks meanwhile, so that the master had nothing to do");
    figures.note("resident memory of the master after these", &format!("{:.0} MB", master.resident_mb()?));
    drop((runtime, crowd));
    Ok(())
}

/// This process and the master, which inherits it, have a connection for each agent.
pub fn more_descriptors() -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(DESCRIPTORS, |most| most.min(DESCRIPTORS));
    ensure!(
        wanted >= DESCRIPTORS,
        "this needs {DESCRIPTORS} descriptors, and only {wanted} are allowed (ulimit -Hn)"
    );
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum })
        .context("raising the limit of descriptors")
}

/// A master with further flags, once it listens.
pub fn start_master(dir: &Path, flags: &[&str]) -> Result<(Process, u16)> {
    fs::create_dir_all(dir)?;
    let port = free_port()?;
    let mut command = Command::new(sibling("tepui")?);
    command.args(["master", "--ip=127.0.0.1"]).args(flags);
    command.arg(format!("--port={port}")).arg(format!("--work_dir={}", dir.join("master").display()));
    let master = Process::start(&mut command, &dir.join("master.log"))?;
    wait_for_port(port)?;
    Ok((master, port))
}

/// Agents with a link each. They answer pings as long as this is held.
struct Crowd {
    count: usize,
    /// Whether they may introduce themselves.
    speak: watch::Sender<bool>,
    admitted: mpsc::Receiver<()>,
    /// Whether they tell of their tasks whenever they are pinged.
    busy: Arc<AtomicBool>,
    /// How many updates they told.
    updates: Arc<AtomicU64>,
}

/// What the agents of a crowd share.
#[derive(Clone)]
struct Shared {
    port: u16,
    tasks: Arc<Vec<v1::Task>>,
    turn: Arc<Semaphore>,
    linked: mpsc::Sender<()>,
    speak: watch::Receiver<bool>,
    admitted: mpsc::Sender<()>,
    busy: Arc<AtomicBool>,
    updates: Arc<AtomicU64>,
}

impl Crowd {
    /// Links so many agents, each with these tasks, which introduce themselves at once or say nothing yet.
    async fn gather(port: u16, count: usize, tasks: Vec<v1::Task>, at_once: bool) -> Result<Crowd> {
        let (say_linked, mut linked) = mpsc::channel(count);
        let (say_admitted, admitted) = mpsc::channel(count);
        let (speak, may_speak) = watch::channel(at_once);
        let (busy, updates) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let shared = Shared {
            port,
            tasks: Arc::new(tasks),
            turn: Arc::new(Semaphore::new(AT_ONCE)),
            linked: say_linked,
            speak: may_speak,
            admitted: say_admitted,
            busy: busy.clone(),
            updates: updates.clone(),
        };
        for number in 0..count {
            let shared = shared.clone();
            tokio::spawn(async move {
                if let Err(error) = agent(number, shared).await {
                    eprintln!("simulated agent {number}: {error:#}");
                }
            });
        }
        drop(shared);
        all_of(count, &mut linked).await.context("linking the agents")?;
        Ok(Crowd { count, speak, admitted, busy, updates })
    }

    /// Lets them introduce themselves, and waits until the master has admitted them all.
    async fn register(mut self) -> Result<Crowd> {
        self.speak.send_replace(true);
        all_of(self.count, &mut self.admitted).await.context("registering the agents")?;
        Ok(self)
    }
}

async fn all_of(count: usize, news: &mut mpsc::Receiver<()>) -> Result<()> {
    let all = async {
        for _ in 0..count {
            news.recv().await.context("an agent gave up")?;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(300), all).await?
}

/// One agent, until its link ends.
async fn agent(number: usize, shared: Shared) -> Result<()> {
    let permit = shared.turn.acquire().await?;
    let to = format!("http://127.0.0.1:{}", shared.port);
    let channel = Endpoint::from_shared(to)?.connect().await?;
    drop(permit);
    let (say, outgoing) = mpsc::channel(8);
    let mut client = AgentLinkClient::new(channel);
    // The master answers the call only once the agent has introduced itself.
    let attached = client.attach(ReceiverStream::new(outgoing));
    let mut speak = shared.speak.clone();
    let introduced = async {
        shared.linked.send(()).await?;
        speak.wait_for(|may| *may).await?;
        let permit = shared.turn.acquire().await?;
        say.send(FromAgent { body: Some(hello(number, &shared.tasks)) }).await?;
        anyhow::Ok(permit)
    };
    let (attached, permit) = tokio::join!(attached, introduced);
    let (mut incoming, mut permit) = (attached?.into_inner(), Some(permit?));
    while let Some(message) = incoming.message().await? {
        match message.body {
            Some(from_master::Body::Registered(_)) => {
                permit.take();
                shared.admitted.send(()).await?;
            }
            Some(from_master::Body::Ping(ping)) => {
                let pong = Pong { sequence: ping.sequence };
                say.send(FromAgent { body: Some(from_agent::Body::Pong(pong)) }).await?;
                if shared.busy.load(Ordering::Relaxed) {
                    tell_of_tasks(number, ping.sequence, &shared, &say).await?;
                }
            }
            Some(from_master::Body::Refused(refused)) => anyhow::bail!("refused: {}", refused.message),
            _ => {}
        }
    }
    Ok(())
}

/// An update of each task: it runs on.
async fn tell_of_tasks(
    number: usize,
    sequence: u64,
    shared: &Shared,
    say: &mpsc::Sender<FromAgent>,
) -> Result<()> {
    for (i, task) in shared.tasks.iter().enumerate() {
        let mut status = task.statuses[0].clone();
        status.task_id = task_id(number, i);
        status.agent_id = Some(agent_id(number));
        let uuid = (number as u128) << 96 | (i as u128) << 64 | u128::from(sequence);
        status.uuid = Some(uuid.to_be_bytes().to_vec().into());
        let status = link::Status {
            framework_id: FRAMEWORK.to_owned(),
            status: Some(status),
            latest_state: v1::TaskState::TaskRunning.into(),
        };
        say.send(FromAgent { body: Some(from_agent::Body::Status(status)) }).await?;
        shared.updates.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

fn agent_id(number: usize) -> v1::AgentId {
    v1::AgentId { value: format!("bench-S{number}") }
}

fn task_id(number: usize, i: usize) -> v1::TaskId {
    v1::TaskId { value: format!("task-{number}-{i}") }
}

/// What an agent is, but for its id.
pub fn description(number: usize) -> v1::AgentInfo {
    let total = model::resources::parse("cpus:16;mem:65536;disk:100000;ports:[31000-32000]", &Role::any());
    v1::AgentInfo {
        hostname: format!("host{number}.example"),
        port: Some(5051),
        resources: total.expect("these are resources").to_wire(),
        ..Default::default()
    }
}

/// What an agent says first: one with tasks has been here before.
pub fn hello(number: usize, tasks: &[v1::Task]) -> from_agent::Body {
    let id = agent_id(number);
    let agent = description(number);
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
        task_id: task_id(number, i),
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
pub fn task(_: usize) -> v1::Task {
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
