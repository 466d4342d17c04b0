//! Faults that one fence alone can stop: what stands still and what goes on is chosen so that all others have nothing to say.
//! Each is tried until its fence was seen at work, for a machine that others load may be too slow for one try.

use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use integration::freezer::{Freezer, Threads};
use integration::http2::{Connection, message};
use integration::masters::PATH;
use integration::zookeeper;
use prost::Message as _;
use wire::link::from_master::Body;
use wire::link::{FromMaster, Ping};

use super::passers::{KNOCKER, knocks};
use super::registry::History;
use super::town::{MASTERS, Town};
use super::worker::Worker;
use super::{ROUND, logs, round};

/// How often each is tried.
const TRIES: usize = 4;
/// How long a call may take to the leader's loop.
const FLIGHT: Duration = Duration::from_millis(200);
/// How long all may take to be ready for a try, and how long a session of a master that stands still lasts at most.
const READY: Duration = Duration::from_secs(10);
/// What must happen within a lease.
const WITHIN_LEASE: Duration = Duration::from_millis(1300);
/// How long a fence may take to be seen.
const SEEN: Duration = Duration::from_secs(1);
/// The thread in which a master decides.
const LOOP: &str = "loop";
/// What masters and agents say.
const LEADING: &str = " leading epoch=";
const TAKEN_OVER: &str = " registry taken over ";
const OBEYING: &str = " obeying another leading master ";
const LEASE_RAN_OUT: &str = "its lease ran out";
const REFUSED: &str = "the agent has obeyed epoch";
const IGNORING: &str = "Ignoring a master of epoch";

/// What is done, and by that which fence is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drill {
    /// A leader stands still beyond its session with launches in its loop's queue. Then the loop goes on before all else in
    /// the process: nobody but the lease tells it that it was succeeded.
    LoopGoesOnFirst,
    /// A leader's node is removed by hand while it stands still for a moment. Then it goes on, well within its lease and its
    /// session, with a write of the registry to make: the ensemble alone can refuse that.
    WriteArrivesLate,
    /// A leader goes on within its lease without hearing that its node was removed, and an agent that has obeyed its
    /// successor is led back to it: only the epoch that the agent tells makes it refuse. And then to one that doesn't ask for
    /// it: only the agent itself can refuse him.
    AgentIsLedBack,
}

const ALL: [Drill; 3] = [Drill::LoopGoesOnFirst, Drill::WriteArrivesLate, Drill::AgentIsLedBack];

/// Each of them must have shown its fence.
#[track_caller]
pub fn were_seen(town: &Town) {
    for drill in ALL {
        assert!(drill.seen(town) > 0, "{drill:?}: its fence was never seen at work");
    }
}

impl Drill {
    /// How often its fence was seen at work so far.
    fn seen(self, town: &Town) -> usize {
        match self {
            Drill::LoopGoesOnFirst => {
                (0..MASTERS).map(|master| logs::count(&town.masters.log(master), LEASE_RAN_OUT)).sum()
            }
            Drill::WriteArrivesLate => History::of(&town.masters.ensemble.history()).late(),
            Drill::AgentIsLedBack => {
                let said = |what| logs::count(&town.log_of_led(), what);
                said(REFUSED).min(said(IGNORING))
            }
        }
    }

    /// Tries it. Whether anything was done that must not be the checker finds.
    pub fn run(self, town: &mut Town, workers: &mut [Worker]) {
        for number in 1..=TRIES {
            let before = self.seen(town);
            let Some(leader) = ready(town, workers) else { continue };
            match self {
                Drill::LoopGoesOnFirst => loop_goes_on_first(town, workers, leader),
                Drill::WriteArrivesLate => write_arrives_late(town, leader),
                Drill::AgentIsLedBack => agent_is_led_back(town, leader),
            }
            town.network.heal();
            if soon(SEEN, || (self.seen(town) > before).then_some(())).is_some() {
                println!("           its fence was seen at try {number}");
                return;
            }
        }
        println!("           its fence was not seen");
    }
}

/// Waits until somebody leads and the agent that can be led is with him.
fn ready(town: &Town, workers: &mut [Worker]) -> Option<u16> {
    soon(READY, || {
        round(town, workers);
        let leader = town.leader()?;
        let led = logs::epoch(&town.masters.log(leader), LEADING)?;
        let offers = workers.iter().map(Worker::offers).sum::<usize>();
        let with_him = logs::epoch(&town.log_of_led(), OBEYING) == Some(led);
        (offers > 0 && with_him && town.masters.leads(leader)).then_some(leader)
    })
}

fn loop_goes_on_first(town: &Town, workers: &mut [Worker], leader: u16) {
    let Some(pid) = town.masters.pid(leader) else { return };
    let epoch = logs::epoch(&town.masters.log(leader), LEADING);
    let freezer = Freezer::of(pid, LOOP);
    freezer.freeze(Threads::Named);
    workers.iter_mut().for_each(Worker::launch_into_silence);
    std::thread::park_timeout(FLIGHT);
    freezer.freeze(Threads::Others);
    soon(READY, || {
        round(town, workers);
        newer(town, leader, epoch, LEADING)
    });
    let log = town.masters.log(leader);
    let before = logs::count(&log, LEASE_RAN_OUT);
    freezer.thaw(Threads::Named);
    soon(SEEN, || (logs::count(&log, LEASE_RAN_OUT) > before).then_some(()));
}

fn write_arrives_late(town: &Town, leader: u16) {
    let Some(pid) = town.masters.pid(leader) else { return };
    let epoch = logs::epoch(&town.masters.log(leader), LEADING);
    let freezer = Freezer::of(pid, LOOP);
    freezer.freeze(Threads::Named);
    // Its admission is the write.
    let knock = knocks(town.masters.address(leader), KNOCKER);
    std::thread::park_timeout(FLIGHT);
    freezer.freeze(Threads::Others);
    if depose(town, leader).is_ok() {
        soon(WITHIN_LEASE, || newer(town, leader, epoch, TAKEN_OVER));
    }
    // The decision comes first: what follows from it is under way when the news of the removal arrives.
    freezer.thaw(Threads::Named);
    freezer.thaw(Threads::Others);
    soon(SEEN, || (Drill::WriteArrivesLate.seen(town) > 0).then_some(()));
    drop(knock);
}

fn agent_is_led_back(town: &Town, leader: u16) {
    let epoch = logs::epoch(&town.masters.log(leader), LEADING);
    let leads = town.masters()[usize::from(leader)].clone();
    town.network.drop_from(&town.servers(), &[leads]);
    if depose(town, leader).is_err() {
        return;
    }
    let Some(next) = soon(WITHIN_LEASE, || newer(town, leader, epoch, LEADING)) else { return };
    town.road.lead_to(town.masters.address(next));
    let obeys = || logs::epoch(&town.log_of_led(), OBEYING).filter(|now| Some(*now) > epoch);
    if let (Some(_), Some(epoch)) = (soon(WITHIN_LEASE, obeys), epoch) {
        refused(town, REFUSED, epoch, || town.road.lead_to(town.masters.address(leader)));
        // Whether he is heard, the log tells.
        refused(town, IGNORING, epoch, || drop(impostor(town, epoch)));
    }
    town.road.lead_to(town.masters.address(next));
}

/// Does something, and waits until the agent that is led about says that once more, or obeys that epoch.
fn refused(town: &Town, what: &str, epoch: u64, act: impl FnOnce()) {
    let log = town.log_of_led();
    let before = logs::count(&log, what);
    act();
    soon(SEEN, || {
        let obeys = logs::epoch(&log, OBEYING) == Some(epoch);
        (obeys || logs::count(&log, what) > before).then_some(())
    });
}

/// Leads the agent to somebody who takes whoever comes and speaks for an epoch.
fn impostor(town: &Town, epoch: u64) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    town.road.lead_to(listener.local_addr()?);
    let come = soon(READY, || listener.accept().ok());
    let (socket, _) = come.ok_or(io::ErrorKind::TimedOut)?;
    socket.set_nonblocking(false)?;
    let mut master = Connection::on(socket);
    master.patience(SEEN);
    master.welcome()?;
    let ping = FromMaster { epoch, body: Some(Body::Ping(Ping { sequence: 1, connected: true })) };
    master.pour(&message(0, &ping.encode_to_vec()), false);
    master.end()
}

/// Another master whose log says something of a higher epoch than that.
fn newer(town: &Town, than: u16, epoch: Option<u64>, what: &str) -> Option<u16> {
    let log = |master: u16| -> PathBuf { town.masters.log(master) };
    (0..MASTERS).find(|master| *master != than && logs::epoch(&log(*master), what) > epoch)
}

/// Removes the node of the master that leads, as an operator might.
fn depose(town: &Town, leader: u16) -> io::Result<()> {
    let address = town.masters.address(leader).to_string();
    town.masters.ensemble.by_hand(|client| {
        let first = first_candidate(client)?;
        let content = client.content(&first)?;
        let is_his = String::from_utf8_lossy(&content).contains(&address);
        if is_his { client.remove(&first) } else { Err(io::Error::other("another one leads by now")) }
    })
}

fn first_candidate(client: &mut zookeeper::Client) -> io::Result<String> {
    let names = client.children(PATH)?;
    let candidates = names.iter().filter(|name| name.starts_with("json.info_"));
    let first = candidates.min().ok_or_else(|| io::Error::other("nobody contends"))?;
    Ok(format!("{PATH}/{first}"))
}

/// Waits for something that need not come.
fn soon<T>(limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        let found = condition();
        if found.is_some() || start.elapsed() > limit {
            return found;
        }
        std::thread::park_timeout(ROUND / 4);
    }
}
