//! What the tests here are made of.

use std::time::Duration;

use coordination::{
    Contender, EnsembleUrl, Leader, LeaderAddress, LeaderContender as _, Leadership, Tenure, ZooKeeper,
};
use integration::Ensemble;
use tokio::sync::watch;

/// Sessions of these tests: four ticks of the ensemble's.
pub const SESSION: Duration = Duration::from_secs(2);
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn url(ensemble: &Ensemble, path: &str) -> EnsembleUrl {
    ensemble.url(path).parse().unwrap()
}

/// With a login.
pub fn url_as(ensemble: &Ensemble, login: &str, path: &str) -> EnsembleUrl {
    format!("zk://{login}@{}{path}", ensemble.connect_string()).parse().unwrap()
}

pub fn address(port: u16) -> LeaderAddress {
    LeaderAddress { host: "127.0.0.1".to_owned(), port }
}

/// A master that contends.
pub struct Candidate {
    pub zookeeper: ZooKeeper,
    pub leadership: watch::Receiver<Leadership>,
    pub port: u16,
}

impl Candidate {
    pub fn start(url: EnsembleUrl, port: u16) -> Candidate {
        let zookeeper = ZooKeeper::start(url, SESSION);
        let leadership = contend(&zookeeper, port);
        Candidate { zookeeper, leadership, port }
    }

    /// Waits until it leads.
    pub async fn leads(&mut self) -> Tenure {
        let port = self.port;
        let led = soon(format!("{port} leads"), self.leadership.wait_for(|now| now.tenure().is_some())).await;
        led.unwrap().tenure().unwrap().clone()
    }

    /// Waits until it doesn't lead.
    pub async fn stands_by(&mut self) {
        let port = self.port;
        let stood = soon(format!("{port} stands by"), self.leadership.wait_for(|now| now.tenure().is_none()));
        drop(stood.await.unwrap());
    }

    pub fn is_leading(&self) -> bool {
        self.leadership.borrow().tenure().is_some()
    }
}

pub fn contend(zookeeper: &ZooKeeper, port: u16) -> watch::Receiver<Leadership> {
    let info = format!(
        r#"{{"address":{{"hostname":"m{port}","ip":"127.0.0.1","port":{port}}},"hostname":"m{port}","id":"x","ip":16777343,"port":{port}}}"#
    );
    zookeeper.contend(Contender { leader: address(port).into(), info })
}

pub async fn soon<T>(what: impl std::fmt::Display, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => panic!("not within {PATIENCE:?}: {what}"),
    }
}

/// Waits until that one is told as the leader.
pub async fn told(leader: &mut watch::Receiver<Option<Leader>>, port: Option<u16>) {
    let wanted = |now: &Option<Leader>| now.as_ref().map(|leader| leader.address.port) == port;
    drop(soon(format!("{port:?} is told as the leader"), leader.wait_for(wanted)).await.unwrap());
}
