//! 40,000 agents with 400,000 tasks come back to a master that has just begun to lead: how long until it has answered
//! the last of them, and what of that was its work.
//!
//! Measured is the product as it runs: a master process of the release binary whose registry knows all of the agents,
//! its port, HTTP/2, the gRPC link, the checks of what agents say, the one loop that decides, and the answers. The clock
//! runs from the moment in which the agents may speak, each on a stream of its own with its first message already
//! encoded, until the last of them has read that it is registered; a thousand of them wait for an answer at any time. Not
//! in it: the election, the reading of the registry, and the making of connections. One thing differs from a cluster:
//! four agents share a connection, since two processes of one host don't get 40,000 descriptors. The agents are simulated
//! on the same processors, and what they take there is in the time as well, but not in the processor time of the master.
//!
//! Peer: Mesos 1.5.0 in the benchmark of its developers, from which the load is taken: ten tasks an agent of five
//! frameworks, ten labels a task, messages prepared before, local message passing. It ran on another machine, so this is
//! no ratio: their progress report of December 2017 shows it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use coordination::LeaderAddress;
use sdk::http::{Ask, Http};
use tokio::runtime::Runtime;
use wire::link::from_agent;
use wire::v1;

use super::lines::{Lines, Said};
use crate::cluster::{Process, wait_until};
use crate::figures::Figures;
use crate::scale::{hello, more_descriptors, start_master, task};

const AGENTS: usize = 40_000;
const TASKS_PER_AGENT: usize = 10;
/// As in Mesos' benchmark.
const FRAMEWORKS: usize = 5;
const LABELS: usize = 10;
const PER_CONNECTION: usize = 4;
const MESOS: &str = "19 s (1.5.0, 2015 MacBook Pro, local messages)";

pub fn run(figures: &mut Figures) -> Result<()> {
    more_descriptors()?;
    let dir = tempfile::Builder::new().prefix("tepui-bench-").tempdir_in("/var/tmp")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    become_known(&runtime, dir.path())?;
    let (master, port) = lead(&runtime, dir.path())?;
    let said = all(TASKS_PER_AGENT)?;
    let bytes: usize = said.iter().map(Said::bytes).sum();
    let mut lines = runtime.block_on(Lines::connect(port, said))?;
    master.wait_until_idle()?;
    let (before, began) = (master.processor_times()?, Instant::now());
    runtime.block_on(lines.speak())?;
    let (took, after) = (began.elapsed(), master.processor_times()?);
    let taken = runtime.block_on(counts(port))?;
    let expected = [AGENTS, AGENTS * TASKS_PER_AGENT].map(|count| count as f64);
    ensure!(taken == expected, "the master has {taken:?} agents and tasks");
    let resident = master.resident_mb()?;
    drop((lines, master));
    figures.at_most("40,000 agents with 400,000 tasks are taken back in", took.as_secs_f64(), " s", 5.0);
    let [own, kernel] = [0, 1].map(|n| after[n].saturating_sub(before[n]).as_secs_f64());
    let text = format!("{own:.2} s of its own, {kernel:.2} s of the kernel's");
    figures.note("processor time of the master for it, all threads", &text);
    let each = (own + kernel) * 1e6 / AGENTS as f64;
    figures.note("the same for each agent", &format!("{each:.0} µs"));
    figures.note("the same load in Mesos' own benchmark", MESOS);
    figures.note("what the agents say", &format!("{} MB", bytes >> 20));
    figures.note("resident memory of the master with them", &format!("{resident:.0} MB"));
    let text = format!("{:.2} s", touch(resident).as_secs_f64());
    figures.note("as much memory, only touched, one thread", &text);
    Ok(())
}

/// What the host takes to hand out so much memory. On virtual machines that is much of what a master needs to grow.
fn touch(megabytes: f64) -> Duration {
    let (began, mut held) = (Instant::now(), Vec::new());
    while (held.len() as f64) < megabytes {
        let mut megabyte = vec![0u8; 1 << 20];
        megabyte.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
        held.push(megabyte);
    }
    began.elapsed()
}

/// A master of before admits all agents to the registry, and is killed.
fn become_known(runtime: &Runtime, dir: &Path) -> Result<()> {
    let (master, port) = lead(runtime, dir)?;
    let mut lines = runtime.block_on(Lines::connect(port, all(0)?))?;
    runtime.block_on(lines.speak())?;
    drop(master);
    Ok(())
}

/// A master with its registry in a file of that folder, once it leads.
fn lead(runtime: &Runtime, dir: &Path) -> Result<(Process, u16)> {
    let (master, port) = start_master(dir, &[])?;
    wait_until("the master to lead", || {
        runtime.block_on(metric(port, "master/elected")).is_ok_and(|elected| elected == 1.0)
    })?;
    Ok((master, port))
}

/// All agents by the connections that they share, with so many tasks each.
fn all(tasks: usize) -> Result<Vec<Said>> {
    let connections = (0..AGENTS).step_by(PER_CONNECTION);
    connections
        .map(|first| Said::of((first..first + PER_CONNECTION).map(|n| again(n, tasks)).collect()))
        .collect()
}

/// What an agent says that comes back.
fn again(number: usize, tasks: usize) -> from_agent::Body {
    // The other benchmark's agents have no id as long as they have no task.
    let some: Vec<_> = (0..tasks.max(1)).map(task).collect();
    let mut said = hello(number, &some);
    if let from_agent::Body::Reregister(message) = &mut said {
        message.tasks.truncate(tasks);
        let named = |n: usize| v1::FrameworkId { value: format!("bench-framework-{}", n % FRAMEWORKS) };
        for (n, task) in message.tasks.iter_mut().enumerate() {
            task.framework_id = named(n);
            task.labels = Some(v1::Labels { labels: (0..LABELS).map(label).collect() });
        }
        let frameworks = if tasks == 0 { 0 } else { FRAMEWORKS };
        let info = message.frameworks[0].clone();
        message.frameworks =
            (0..frameworks).map(|n| v1::FrameworkInfo { id: Some(named(n)), ..info.clone() }).collect();
    }
    said
}

fn label(n: usize) -> v1::Label {
    v1::Label { key: format!("key-{n}"), value: Some(format!("value-{n}")) }
}

/// Active agents and running tasks as the master counts them.
async fn counts(port: u16) -> Result<[f64; 2]> {
    Ok([metric(port, "master/slaves_active").await?, metric(port, "master/tasks_running").await?])
}

async fn metric(port: u16, key: &str) -> Result<f64> {
    let to: LeaderAddress = format!("127.0.0.1:{port}").parse()?;
    let ask = Ask { timeout: Duration::from_secs(30), ..Ask::get("/metrics/snapshot") };
    let reply = Http::new().ask(&to, &ask).await?;
    let metrics: serde_json::Value = serde_json::from_slice(&reply.body)?;
    metrics[key].as_f64().with_context(|| format!("the master tells no {key}"))
}
