//! Three masters, an ensemble of three servers and five agents, each on a host of its own, and the test on another. With the
//! test is one more agent, which knows nothing of the ensemble: its road to the master is the test's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use integration::client::Request;
use integration::leftovers::Inventory;
use integration::masters::leads;
use integration::{Cluster, Ensemble, Host, Masters, Network, Options, OrFail, Proxy, within};
use serde_json::Value;

use super::passers::{PASSER, Passers};

pub const SERVERS: u16 = 3;
pub const MASTERS: u16 = 3;
/// Agents on hosts of their own.
const AGENTS: u16 = 5;
/// What masters are told: agents that are cut off are given up within a fault.
const FLAGS: [&str; 3] = ["--insecure", "--agent_ping_timeout=1secs", "--max_agent_ping_timeouts=3"];
/// How long all may take to be as it was once nothing fails any more.
pub const RECOVERY: Duration = Duration::from_secs(120);
/// Between two looks at who leads.
const LOOK: Duration = Duration::from_millis(100);

/// Everything there is. Agents end first, the network last.
pub struct Town {
    pub lookout: Lookout,
    _passers: Passers,
    /// The one that is led about is the last.
    pub agents: Vec<Cluster>,
    /// The road of that one.
    pub road: Proxy,
    pub masters: Masters,
    pub network: Network,
    /// The agents' ids.
    pub ids: BTreeSet<String>,
}

impl Town {
    pub fn build() -> Town {
        let network = Network::of(u8::try_from(1 + SERVERS + MASTERS + AGENTS).or_fail("not too many hosts"));
        let ensemble = Ensemble::on(hosts(&network, 1, SERVERS));
        let masters = Masters::on(hosts(&network, 1 + SERVERS, MASTERS), ensemble, &FLAGS);
        let road = Proxy::to(masters.address(masters.leader()));
        let led = Options { link: Some(road.address()), ..Options::default() };
        let found = |host| Options { host: Some(host), found: Some(masters.url()), ..Options::default() };
        let found = hosts(&network, 1 + SERVERS + MASTERS, AGENTS).into_iter().map(found);
        let agents = found.chain([led]).map(|options| {
            // Room for an hour's tasks that last.
            let resources = Some("cpus:64;mem:65536;disk:10240;ports:[31000-32000]".to_owned());
            let mut agent = Cluster::empty(Options { resources, ..options.agent("--insecure") });
            agent.start_agent();
            agent
        });
        let agents = agents.collect();
        let lookout = Lookout::over((0..MASTERS).map(|master| masters.address(master)).collect());
        let _passers = Passers::by(lookout.seen.clone());
        let mut town = Town { lookout, _passers, agents, road, masters, network, ids: BTreeSet::new() };
        town.ids = town.whole();
        town
    }

    /// The hosts of the ensemble's servers, of the masters, of the agents.
    pub fn servers(&self) -> Vec<Host> {
        hosts(&self.network, 1, SERVERS)
    }

    pub fn masters(&self) -> Vec<Host> {
        hosts(&self.network, 1 + SERVERS, MASTERS)
    }

    pub fn agents(&self) -> Vec<Host> {
        hosts(&self.network, 1 + SERVERS + MASTERS, AGENTS)
    }

    /// The master that leads now, as far as can be seen.
    pub fn leader(&self) -> Option<u16> {
        let at = self.lookout.leader()?;
        (0..MASTERS).find(|master| self.masters.address(*master) == at)
    }

    /// The agent that knows nothing of the ensemble is led to who leads.
    pub fn follow(&self) {
        if let Some(leader) = self.lookout.leader().filter(|leader| *leader != self.road.target()) {
            self.road.lead_to(leader);
        }
    }

    /// The log of that agent.
    pub fn log_of_led(&self) -> PathBuf {
        self.agents[usize::from(AGENTS)].path("agent.log")
    }

    /// Waits until all agents are registered; their ids.
    #[track_caller]
    pub fn whole(&self) -> BTreeSet<String> {
        within(RECOVERY, "all agents are registered with the leader", || {
            self.follow();
            Some(self.active("/slaves", "slaves")?).filter(|ids| ids.len() == self.agents.len())
        })
    }

    /// Whether all agents are with who leads now.
    pub fn is_whole(&self) -> bool {
        self.active("/slaves", "slaves").is_some_and(|ids| ids.is_superset(&self.ids))
    }

    /// The ids of all frameworks, which must be active.
    #[track_caller]
    pub fn frameworks(&self) -> BTreeSet<String> {
        within(RECOVERY, "all frameworks are subscribed", || self.active("/frameworks", "frameworks"))
    }

    /// The ids of what a page of the leader lists but for agents that pass by; none unless all of it is active.
    fn active(&self, page: &str, list: &str) -> Option<BTreeSet<String>> {
        let request = Request::new("GET", page).within(Duration::from_secs(2));
        let reply = request.send(self.lookout.leader()?).ok().filter(|reply| reply.status == 200)?.json();
        let all = reply[list].as_array()?;
        let passes = |one: &&Value| one["hostname"].as_str().is_some_and(|name| name.starts_with(PASSER));
        let stay = all.iter().filter(|one| !passes(one));
        stay.map(|one| Some(one["id"].as_str().filter(|_| one["active"] == true)?.to_owned())).collect()
    }

    /// What the agents' hosts have of them.
    pub fn inventories(&self) -> Vec<Inventory> {
        self.agents.iter().map(Cluster::inventory).collect()
    }

    /// How often each task's command was begun, by what is in the sandboxes of all agents.
    pub fn begun(&self) -> BTreeMap<(String, String), usize> {
        let mut begun = BTreeMap::new();
        let frameworks = self.agents.iter().flat_map(|agent| {
            below(&agent.work_dir().join("slaves"))
                .into_iter()
                .flat_map(|(_, dir)| below(&dir.join("frameworks")))
        });
        for (framework, dir) in frameworks {
            for (task, dir) in below(&dir.join("executors")) {
                let runs = below(&dir.join("runs"));
                let output = |dir: &Path| fs::read_to_string(dir.join("stdout")).unwrap_or_default();
                let times = runs.iter().map(|(_, run)| output(run).matches("begun").count()).sum::<usize>();
                *begun.entry((framework.clone(), task)).or_default() += times;
            }
        }
        begun
    }
}

fn hosts(network: &Network, first: u16, count: u16) -> Vec<Host> {
    (first..first + count).map(|number| network.host(usize::from(number))).collect()
}

/// Folders in a folder; links to them are not.
fn below(dir: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path())).collect()
}

/// Who leads, as far as can be seen.
#[derive(Clone, Default)]
pub struct Seen(Arc<Mutex<Option<SocketAddr>>>);

impl Seen {
    pub fn get(&self) -> Option<SocketAddr> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, leader: Option<SocketAddr>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = leader;
    }
}

/// Sees who leads, on a thread of its own: a master that is stopped keeps whoever asks it waiting.
pub struct Lookout {
    seen: Seen,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Lookout {
    fn over(masters: Vec<SocketAddr>) -> Lookout {
        let (seen, ends) = (Seen::default(), Arc::new(AtomicBool::new(false)));
        let (sees, until) = (seen.clone(), ends.clone());
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::SeqCst) {
                sees.set(leader_among(&masters, sees.get()));
                std::thread::park_timeout(LOOK);
            }
        });
        Lookout { seen, ends, thread: Some(thread) }
    }

    pub fn leader(&self) -> Option<SocketAddr> {
        self.seen.get()
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Who says that he leads; the one of before, where two do.
fn leader_among(masters: &[SocketAddr], before: Option<SocketAddr>) -> Option<SocketAddr> {
    let leading = |master: &SocketAddr| leads(*master).then_some(*master);
    let all: Vec<SocketAddr> = std::thread::scope(|scope| {
        let asked: Vec<_> = masters.iter().map(|master| scope.spawn(move || leading(master))).collect();
        asked.into_iter().filter_map(|answer| answer.join().ok().flatten()).collect()
    });
    before.filter(|before| all.contains(before)).or(all.first().copied())
}
