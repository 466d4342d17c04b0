//! How long a scheduler is without offers when the leading master is killed: three masters, a real ensemble, two agents,
//! all with the flags that they have by default.
//!
//! Most of it is the wait for the end of the dead master's session, which nobody can shorten but by
//! `--zk_session_timeout`; so the time from the moment in which the next one leads is measured, too. That moment is in
//! its log: it has read the registry, and takes agents and schedulers from then on.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use coordination::{EnsembleUrl, LeaderDetector as _, ZooKeeper};
use sdk::scheduler::News;
use sdk::{Client, Notice, Options, Scheduler};
use wire::media::Media;
use wire::v1::FrameworkInfo;

use super::ensemble::Ensemble;
use crate::cluster::{Process, free_port, sibling, wait_for_port, wait_until};
use crate::figures::{Figures, percentile};

const MASTERS: usize = 3;
const AGENTS: usize = 2;
const KILLS: usize = 7;
/// Mesos: the default of `--zk_session_timeout`, of masters, agents and schedulers.
const SESSION: Duration = Duration::from_secs(10);
/// From one leader to the offers of the next, at most.
const PATIENCE: Duration = Duration::from_secs(120);

pub fn run(figures: &mut Figures) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("tepui-bench-").tempdir_in("/var/tmp")?;
    let ensemble = Ensemble::start(dir.path())?;
    let url = ensemble.url("/mesos");
    let masters = Masters::start(dir.path(), &url)?;
    let _agents = (0..AGENTS).map(|n| agent(dir.path(), n, &url)).collect::<Result<Vec<_>>>()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let outages = runtime.block_on(kill_leaders(masters, &url.parse()?))?;
    let of = |what: fn(&Outage) -> Duration| outages.iter().map(what).collect::<Vec<Duration>>();
    let text = |times: &[Duration]| {
        let longest = times.iter().max().copied().unwrap_or_default();
        format!("{:.2} s, longest {:.2} s", percentile(times, 50).as_secs_f64(), longest.as_secs_f64())
    };
    figures.note("time-out of sessions with the ensemble", &format!("{} s, the default", SESSION.as_secs()));
    let what = format!("SIGKILL of the leader to the first offer, median of {KILLS}");
    figures.note(&what, &text(&of(|outage| outage.until_offer)));
    figures.note("SIGKILL of the leader to the next that leads", &text(&of(|outage| outage.until_leader)));
    let after = of(|outage| outage.until_offer.saturating_sub(outage.until_leader));
    figures.note("that to the first offer", &text(&after));
    let longest = after.iter().max().copied().unwrap_or_default();
    figures.at_most("election to the first offer, the longest", longest.as_secs_f64(), " s", 3.0);
    Ok(())
}

/// What a kill of the leader meant, from its moment on.
struct Outage {
    until_leader: Duration,
    until_offer: Duration,
}

/// Masters that contend with each other.
struct Masters {
    dir: PathBuf,
    url: String,
    ports: Vec<u16>,
    running: Vec<Option<Process>>,
}

impl Masters {
    fn start(dir: &Path, url: &str) -> Result<Masters> {
        let ports = (0..MASTERS).map(|_| free_port()).collect::<Result<Vec<u16>>>()?;
        let running = ports.iter().map(|_| None).collect();
        let mut masters = Masters { dir: dir.to_owned(), url: url.to_owned(), ports, running };
        (0..MASTERS).try_for_each(|master| masters.resume(master))?;
        Ok(masters)
    }

    /// Starts one, and waits until it contends.
    fn resume(&mut self, master: usize) -> Result<()> {
        let mut command = Command::new(sibling("tepui")?);
        command.args(["master", "--ip=127.0.0.1"]);
        command.arg(format!("--port={}", self.ports[master])).arg(format!("--zk={}", self.url));
        self.running[master] = Some(Process::start(&mut command, &self.log(master))?);
        wait_until("a master to contend", || self.logged(master).contains("contending for leadership"))
    }

    fn log(&self, master: usize) -> PathBuf {
        self.dir.join(format!("master{master}.log"))
    }

    fn logged(&self, master: usize) -> String {
        fs::read_to_string(self.log(master)).unwrap_or_default()
    }

    /// SIGKILL.
    fn kill(&mut self, master: usize) {
        self.running[master] = None;
    }

    /// When a master began to lead.
    fn led_since(&self, master: usize) -> Result<Moment> {
        let log = self.logged(master);
        let line = log.lines().rev().find(|line| line.contains(": leading epoch="));
        line.and_then(Moment::of_line)
            .with_context(|| format!("master {master} doesn't log that it leads:\n{log}"))
    }
}

/// An agent that finds the leading master by the ensemble.
fn agent(dir: &Path, number: usize, url: &str) -> Result<Process> {
    let port = free_port()?;
    let path = |name: &str| dir.join(format!("agent{number}-{name}"));
    let mut command = Command::new(sibling("tepui")?);
    command.args(["agent", "--ip=127.0.0.1", "--resources=cpus:4;mem:1024"]);
    command.arg(format!("--port={port}")).arg(format!("--master={url}"));
    command.arg(format!("--work_dir={}", path("work").display()));
    command.arg(format!("--runtime_dir={}", path("run").display()));
    let agent = Process::start(&mut command, &path("log"))?;
    wait_for_port(port)?;
    Ok(agent)
}

/// Kills the leader again and again; the next begins only after all is well.
async fn kill_leaders(mut masters: Masters, url: &EnsembleUrl) -> Result<Vec<Outage>> {
    let detector = ZooKeeper::start(url.clone(), SESSION);
    let leader = detector.leader();
    let info = FrameworkInfo {
        user: "root".into(),
        name: "bench".into(),
        failover_timeout: Some(3600.0),
        ..FrameworkInfo::default()
    };
    let client = Client::new(sdk::http::Http::new(), Media::Protobuf);
    let mut scheduler = Scheduler::start(&detector, client, Options::new(info, 1));
    offered(&mut scheduler).await?;
    let mut outages = Vec::new();
    for _ in 0..KILLS {
        let leads = || leader.borrow().as_ref().map(|leader| leader.address.port);
        let index = |port| masters.ports.iter().position(|own| Some(*own) == port);
        let killed = index(leads()).context("nobody leads")?;
        let (at, began) = (Moment::now()?, Instant::now());
        masters.kill(killed);
        let until_offer = offered(&mut scheduler).await?.duration_since(began);
        let next = masters.ports.iter().position(|own| Some(*own) == leads()).context("nobody leads")?;
        ensure!(next != killed, "the master that was killed leads");
        outages.push(Outage { until_leader: masters.led_since(next)?.since(at), until_offer });
        masters.resume(killed)?;
    }
    Ok(outages)
}

/// Waits for a new subscription and then for offers of all agents; when the first of them came.
async fn offered(scheduler: &mut Scheduler) -> Result<Instant> {
    let all = async {
        let (mut subscribed, mut first, mut agents) = (false, None, BTreeSet::new());
        while agents.len() < AGENTS {
            match scheduler.next().await.context("the session ended")? {
                News::Notice(Notice::Subscribed { .. }) => subscribed = true,
                News::Notice(Notice::Event(event)) if subscribed => {
                    let offers = event.offers.unwrap_or_default().offers;
                    if !offers.is_empty() {
                        first.get_or_insert_with(Instant::now);
                    }
                    agents.extend(offers.into_iter().map(|offer| offer.agent_id.value));
                }
                News::Notice(Notice::Failed { why }) => bail!("the session failed: {why}"),
                News::Refused { error, .. } => bail!("a call was refused: {error}"),
                News::Notice(_) => {}
            }
        }
        first.context("no offer")
    };
    tokio::time::timeout(PATIENCE, all).await.context("waiting for offers")?
}

/// A time of day, as logs have it. Two of them are less than a day apart.
#[derive(Clone, Copy)]
struct Moment(Duration);

const DAY: Duration = Duration::from_secs(24 * 3600);

impl Moment {
    fn now() -> Result<Moment> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        Ok(Moment(Duration::new(now.as_secs() % DAY.as_secs(), now.subsec_nanos())))
    }

    /// `2026-11-27T17:15:04.123456Z …`.
    fn of_line(line: &str) -> Option<Moment> {
        let (_, time) = line.split_once('T')?;
        let (time, _) = time.split_once('Z')?;
        let mut parts = time.splitn(3, ':');
        let mut part = || parts.next()?.parse::<f64>().ok();
        let (hours, minutes, seconds) = (part()?, part()?, part()?);
        Duration::try_from_secs_f64(hours * 3600.0 + minutes * 60.0 + seconds).ok().map(Moment)
    }

    fn since(self, earlier: Moment) -> Duration {
        self.0.checked_sub(earlier.0).unwrap_or_else(|| self.0 + DAY - earlier.0)
    }
}
