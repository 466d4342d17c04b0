//! Writes a second of the registry in a real ensemble: as a leading master makes them, fenced and in shards, one at a
//! time and with many agents waiting.
//!
//! Each write is one transaction that names the leader's own node and moves the head; when many wait, the registrar
//! hands all of them over, and 250 at most share a transaction. Peer: plain `setData` of one client on one node, with as
//! many bytes, one at a time. Both speak to the same server, in turn.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use coordination::{
    Change, Contender, EnsembleUrl, Leader, LeaderAddress, LeaderContender as _, Records, Session, ZooKeeper,
};
use prost::Message as _;
use zookeeper_client::{Acls, Client, CreateMode};

use super::ensemble::Ensemble;
use crate::figures::Figures;
use crate::scale::description;

/// Agents that are admitted at once, and whose records change at once.
const WAITING: usize = 10_000;
/// Writes one at a time: so often, for so long.
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(1);
const SESSION: Duration = Duration::from_secs(10);
const PEER: &str = "/peer";

pub fn run(figures: &mut Figures) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("tepui-bench-").tempdir_in("/var/tmp")?;
    let ensemble = Ensemble::start(dir.path())?;
    let url: EnsembleUrl = ensemble.url_of_one("/bench").parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(measure(figures, &url))
}

async fn measure(figures: &mut Figures, url: &EnsembleUrl) -> Result<()> {
    let coordination = ZooKeeper::start(url.clone(), SESSION);
    let mut records = Records::new(elected(&coordination).await?);
    records.take_over(1).await?;
    let admitted = all_at_once(&mut records, 0).await?;
    let changed = all_at_once(&mut records, 1).await?;
    let peer = Client::connector().with_session_timeout(SESSION).connect(&url.servers()).await?;
    let value = record(0, 0);
    peer.create(PEER, &value, &CreateMode::Persistent.with_acls(Acls::anyone_all())).await?;
    let (mut ours, mut theirs) = (Pace::default(), Pace::default());
    for _ in 0..ROUNDS {
        ours.add(one_at_a_time(&mut records).await?);
        theirs.add(plain(&peer, &value).await?);
    }
    let per_second = |what: &str, pace: f64| figures.note(what, &format!("{pace:.0}/s"));
    let what = format!("plain setData of {} bytes, one at a time", value.len());
    per_second(&what, theirs.per_second());
    per_second("registry writes to the ensemble, one at a time", ours.per_second());
    per_second("registry writes, 10,000 agents admitted at once", admitted);
    per_second("registry writes, 10,000 records changed at once", changed);
    let ratio = |pace: f64| format!("{:.2}", pace / theirs.per_second());
    figures.note("registry writes: ratio to setData, one at a time", &ratio(ours.per_second()));
    figures.note("registry writes: ratio to setData, all at once", &ratio(changed));
    Ok(())
}

/// The session of a leader: its own node fences what it writes.
async fn elected(coordination: &ZooKeeper) -> Result<Session> {
    let address: LeaderAddress = "127.0.0.1:5050".parse()?;
    let info = r#"{"address":{"ip":"127.0.0.1","port":5050}}"#.to_owned();
    let mut leadership = coordination.contend(Contender { leader: Leader::from(address), info });
    let won = leadership.wait_for(|now| now.tenure().is_some());
    let won = tokio::time::timeout(Duration::from_secs(30), won).await.context("waiting to be elected")??;
    won.tenure().and_then(|tenure| tenure.session.clone()).context("a leader without a session")
}

/// What the registry keeps of an agent.
fn record(agent: usize, version: usize) -> Vec<u8> {
    let mut info = description(agent);
    info.port = i32::try_from(version).ok();
    info.encode_to_vec()
}

fn put(agent: usize, version: usize) -> Change {
    Change::Put { key: format!("bench-S{agent}"), value: record(agent, version) }
}

/// Writes a second while all of them wait from the beginning.
async fn all_at_once(records: &mut Records, version: usize) -> Result<f64> {
    let changes: Vec<Change> = (0..WAITING).map(|agent| put(agent, version)).collect();
    let began = Instant::now();
    records.commit(&changes).await?;
    Ok(WAITING as f64 / began.elapsed().as_secs_f64())
}

/// How many were written, in how long.
#[derive(Default)]
struct Pace {
    writes: u32,
    took: Duration,
}

impl Pace {
    fn add(&mut self, (writes, took): (u32, Duration)) {
        self.writes += writes;
        self.took += took;
    }

    fn per_second(&self) -> f64 {
        f64::from(self.writes) / self.took.as_secs_f64()
    }
}

async fn one_at_a_time(records: &mut Records) -> Result<(u32, Duration)> {
    let (mut writes, began) = (0, Instant::now());
    while began.elapsed() < ROUND {
        records.commit(&[put(writes as usize % WAITING, 2)]).await?;
        writes += 1;
    }
    Ok((writes, began.elapsed()))
}

async fn plain(client: &Client, value: &[u8]) -> Result<(u32, Duration)> {
    let (mut writes, began) = (0, Instant::now());
    while began.elapsed() < ROUND {
        client.set_data(PEER, value, None).await?;
        writes += 1;
    }
    Ok((writes, began.elapsed()))
}
