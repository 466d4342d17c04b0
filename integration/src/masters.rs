//! Several masters that elect their leader in a real ensemble.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;

use crate::client::Request;
use crate::cluster::{Cluster, Options, binary};
use crate::ensemble::Ensemble;
use crate::job::{Daemon, bound};
use crate::network::Host;
use crate::place::Place;
use crate::{OrFail, eventually};

/// The path of the masters' nodes.
pub const PATH: &str = "/test/mesos";

/// How soon one that can answer says whether it leads.
const ANSWER: Duration = Duration::from_secs(1);

/// Masters of one cluster, with their ensemble. They end when this is dropped.
#[derive(Debug)]
pub struct Masters {
    /// The ensemble.
    pub ensemble: Ensemble,
    masters: Vec<Option<Daemon>>,
    flags: Vec<String>,
    /// Where they are; none on the loopback.
    hosts: Vec<Host>,
    place: Place,
}

impl Masters {
    /// So many masters, ten at most, with further flags, and an ensemble of three. One of them leads.
    #[track_caller]
    pub fn start(masters: u16, flags: &[&str]) -> Masters {
        Masters::start_on(masters, Vec::new(), Ensemble::start(3), flags)
    }

    /// A master on each of the hosts, with an ensemble that is there. One of them leads.
    #[track_caller]
    pub fn on(hosts: Vec<Host>, ensemble: Ensemble, flags: &[&str]) -> Masters {
        let masters = u16::try_from(hosts.len()).or_fail("not too many hosts");
        Masters::start_on(masters, hosts, ensemble, flags)
    }

    #[track_caller]
    fn start_on(masters: u16, hosts: Vec<Host>, ensemble: Ensemble, flags: &[&str]) -> Masters {
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let masters = (0..masters).map(|_| None).collect();
        let mut masters = Masters { ensemble, masters, flags, hosts, place: Place::new() };
        (0..masters.count()).for_each(|master| masters.resume(master));
        masters.leader();
        masters
    }

    /// How many there are, whether they run or not.
    pub fn count(&self) -> u16 {
        u16::try_from(self.masters.len()).unwrap_or(0)
    }

    /// `zk://…`, as agents, schedulers and masters are told it.
    pub fn url(&self) -> String {
        self.ensemble.url(PATH)
    }

    /// Where a master answers.
    pub fn address(&self, master: u16) -> SocketAddr {
        match self.hosts.get(usize::from(master)) {
            Some(host) => host.socket(5050),
            None => self.place.socket(master),
        }
    }

    /// A master's log.
    pub fn log(&self, master: u16) -> PathBuf {
        self.place.dir().join(format!("master{master}.log"))
    }

    /// Starts a master that doesn't run.
    #[track_caller]
    pub fn resume(&mut self, master: u16) {
        let host = self.hosts.get(usize::from(master));
        let mut command = host.map_or_else(|| bound(binary()), |host| host.command(binary()));
        let address = self.address(master);
        command.args(["master", "--allocation_interval=50ms", "--zk_session_timeout=2secs"]);
        command.arg(format!("--ip={}", address.ip())).arg(format!("--port={}", address.port()));
        command.arg(format!("--zk={}", self.url())).args(&self.flags);
        let daemon = Daemon::start("tepui master", &mut command, &self.log(master));
        self.masters[usize::from(master)] = Some(daemon);
    }

    /// The process of a master that was started and not killed.
    pub fn pid(&self, master: u16) -> Option<u32> {
        self.masters[usize::from(master)].as_ref().map(Daemon::pid)
    }

    /// Whether a master's process was started and not killed.
    pub fn is_started(&self, master: u16) -> bool {
        self.masters[usize::from(master)].is_some()
    }

    /// SIGKILL.
    pub fn kill(&mut self, master: u16) {
        self.masters[usize::from(master)] = None;
    }

    /// Stops a master's process, or lets it go on, or ends it.
    pub fn signal(&self, master: u16, with: Signal) {
        if let Some(daemon) = &self.masters[usize::from(master)] {
            daemon.signal(with);
        }
    }

    /// Waits for a master's own end.
    #[track_caller]
    pub fn wait(&mut self, master: u16) {
        let mut daemon = self.masters[usize::from(master)].take().or_fail("a master that runs");
        daemon.wait();
    }

    /// Whether a master leads and has read its registry.
    pub fn leads(&self, master: u16) -> bool {
        leads(self.address(master))
    }

    /// The master that leads, waited for.
    #[track_caller]
    pub fn leader(&self) -> u16 {
        eventually("a master leads", || (0..self.count()).find(|master| self.leads(*master)))
    }

    /// The master that leads and is not that one, waited for.
    #[track_caller]
    pub fn successor(&self, of: u16) -> u16 {
        eventually("another master leads", || {
            (0..self.count()).find(|master| *master != of && self.leads(*master))
        })
    }

    /// An agent that finds its master by the ensemble, registered.
    #[track_caller]
    pub fn agent(&self, options: Options) -> Cluster {
        let led_from = Some(self.address(self.leader()));
        let mut cluster = Cluster::empty(Options { found: Some(self.url()), led_from, ..options });
        cluster.start_agent();
        cluster.agent_id();
        cluster
    }
}

/// Whether the master at an address says that it leads and has read its registry.
pub fn leads(master: SocketAddr) -> bool {
    let reply = Request::new("GET", "/metrics/snapshot").within(ANSWER).send(master);
    reply.is_ok_and(|reply| reply.status == 200 && reply.json()["master/elected"] == 1.0)
}

impl Drop for Masters {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for master in 0..self.count() {
                let text = std::fs::read_to_string(self.log(master)).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                eprintln!("----- master {master}\n{}", lines[lines.len().saturating_sub(80)..].join("\n"));
            }
        }
    }
}
