//! The world: masters (one at a time, or some that contend), agents on hosts, schedulers, a registry, and one queue of
//! everything to come.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use master::logic::{Event as MasterEvent, SchedulerEvent};
use model::random::Random;
use model::{ContainerId, FrameworkId, TaskId, Timestamp};
use wire::link::{from_agent, from_master};

use crate::agent_node::AgentNode;
use crate::containers::ContainerEvent;
use crate::detectors::Seeker;
use crate::faults::{Fault, Faults};
use crate::joined::Joined;
use crate::master_node::MasterNode;
use crate::network::{Network, Peer};
use crate::registry::Registry;
use crate::scheduler::{Call, Scheduler};

/// Lines of the trace that are kept.
const TRACE: usize = 60_000;
/// Steps at one moment after which something must be turning in circles.
const MOST_AT_ONCE: u32 = 20_000;

/// When every world begins.
pub const START: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

/// Something that will happen.
#[derive(Clone, Debug)]
pub enum Happening {
    /// A master is elected.
    Elected,
    /// An operator begins to watch the master of this life.
    OperatorWatches(u64),
    /// The master of this life takes something in, which came while it was stopped.
    MasterHears(u64, Box<MasterEvent>),
    /// The master of this life may look at its timers.
    MasterTick(u64),
    /// The master of this life, which stepped down, ends.
    MasterEnds(u64),
    /// The registry has done the first of the writes of this life.
    RegistryWrote(u64),
    /// A message of an agent arrives.
    ToMaster(u64, Box<from_agent::Body>),
    /// A message to an agent arrives.
    ToAgent(u64, u64, Box<from_master::Body>),
    /// An event arrives at a scheduler.
    ToScheduler(u64, Box<SchedulerEvent>),
    /// The master learns that a connection ended.
    EndsAtMaster(u64),
    /// The other end learns that a connection ended.
    EndsAtPeer(u64),
    /// A connection breaks.
    Breaks(u64),
    /// Somebody may have heard that another master leads.
    Detects(Seeker),
    /// An agent's process starts.
    AgentStarts(usize),
    /// An agent's process dials the master.
    AgentDials(usize, u64),
    /// An agent's process may look at its timers.
    AgentTick(usize, u64),
    /// The disk has done the first of the writes of an agent's process.
    DiskWrote(usize, u64),
    /// Something happens to a container.
    Container(usize, ContainerId, ContainerEvent),
    /// A scheduler dials the master to subscribe.
    Subscribes(usize, u64),
    /// A scheduler looks around.
    SchedulerTick(usize),
    /// A call of a scheduler arrives.
    Call(Box<Call>),
    /// The refusal of a call arrives.
    Refusal(Box<Call>),
    /// All links of an agent break.
    LinksBreak(usize),
    /// All streams of a scheduler break.
    StreamsBreak(usize),
    /// Something goes wrong.
    Chaos,
}

/// See the module.
pub struct World {
    /// What decides everything.
    pub seed: u64,
    /// Virtual time.
    pub now: Timestamp,
    /// The only source of chance.
    pub random: Random,
    /// Things go wrong.
    pub chaotic: bool,
    queue: BTreeMap<(Timestamp, u64), Happening>,
    scheduled: u64,
    at_once: u32,
    /// The masters that lead, or believe so, by the number of their life.
    pub masters: BTreeMap<u64, MasterNode>,
    /// How many masters there were.
    pub lives: u64,
    /// What survives a master that is alone.
    pub registry: Registry,
    /// Where masters contend, and what survives them there.
    pub ensemble: Option<Box<Joined>>,
    /// All connections.
    pub network: Network,
    /// All hosts and what runs on them.
    pub agents: Vec<AgentNode>,
    /// All schedulers.
    pub schedulers: Vec<Scheduler>,
    /// Last number of a call.
    pub last_call: u64,
    /// Every task that was ever started somewhere.
    pub started: BTreeSet<(FrameworkId, TaskId)>,
    /// Events handled.
    pub steps: u64,
    /// How many of them lie between two audits of the master: 1 for one after each.
    pub audit_every: u64,
    /// Updates that agents sent again.
    pub repeated: u64,
    /// What went wrong.
    pub faults: Faults,
    /// How often all that ran on a host was what the master believed.
    pub compared: u64,
    /// What broke, if anything did.
    pub violation: Option<String>,
    /// Whether `trace` is filled.
    pub tracing: bool,
    /// The last things that happened.
    pub trace: VecDeque<String>,
}

impl World {
    /// An empty world.
    pub fn new(seed: u64) -> World {
        World {
            seed,
            now: START,
            random: Random::new(seed),
            chaotic: false,
            queue: BTreeMap::new(),
            scheduled: 0,
            at_once: 0,
            masters: BTreeMap::new(),
            lives: 0,
            registry: Registry::default(),
            ensemble: None,
            network: Network::default(),
            agents: Vec::new(),
            schedulers: Vec::new(),
            last_call: 0,
            started: BTreeSet::new(),
            steps: 0,
            audit_every: 1,
            repeated: 0,
            faults: Faults::default(),
            compared: 0,
            violation: None,
            tracing: false,
            trace: VecDeque::new(),
        }
    }

    /// Events, tasks started, updates sent again, and hosts compared with what the master believes of them.
    pub fn counts(&self) -> [u64; 4] {
        [self.steps, self.started.len() as u64, self.repeated, self.compared]
    }

    /// Puts something on the queue.
    pub fn after(&mut self, delay: Duration, happening: Happening) {
        self.at(self.now + delay, happening);
    }

    /// Puts something on the queue.
    pub fn at(&mut self, when: Timestamp, happening: Happening) {
        self.scheduled += 1;
        self.queue.insert((when.max(self.now), self.scheduled), happening);
    }

    /// A random time below `seconds`.
    pub fn within(&mut self, seconds: u64) -> Duration {
        Duration::from_micros(self.random.below(seconds * 1_000_000))
    }

    /// Whether something of this many in a hundred happens.
    pub fn percent(&mut self, chance: u64) -> bool {
        self.random.below(100) < chance
    }

    /// Something that must never be is.
    pub fn broken(&mut self, why: impl Into<String>) {
        let why = why.into();
        self.note(|| format!("BROKEN: {why}"));
        self.violation.get_or_insert(why);
    }

    /// Writes a line of the trace.
    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if self.tracing {
            if self.trace.len() == TRACE {
                self.trace.pop_front();
            }
            self.trace.push_back(format!("{:?} {}", self.now, line()));
        }
    }

    /// Lets things happen until a time.
    ///
    /// # Errors
    /// What broke.
    pub fn run(&mut self, until: Timestamp) -> Result<(), String> {
        loop {
            let own = self.queue.first_key_value().map(|((when, _), _)| *when);
            let elected = self.next_of_election();
            let Some(when) = own.into_iter().chain(elected).min().filter(|when| *when <= until) else {
                break;
            };
            if own == Some(when) {
                let happening = self.queue.pop_first().map(|(_, happening)| happening);
                self.at_once = if when == self.now { self.at_once + 1 } else { 0 };
                self.now = when;
                self.steps += 1;
                happening.into_iter().for_each(|happening| self.happen(happening));
                self.check_deadlines();
            } else {
                self.now = self.now.max(when);
                self.election_goes_on();
            }
            if self.at_once > MOST_AT_ONCE {
                self.broken("time stands still: something asks to be woken at once, again and again");
            }
            if let Some(why) = self.violation.clone() {
                return Err(why);
            }
        }
        self.now = until;
        Ok(())
    }

    fn happen(&mut self, happening: Happening) {
        if let Some(until) = self.sleeps_until(&happening) {
            return self.at(until, happening);
        }
        match happening {
            Happening::Elected => self.elect(),
            Happening::OperatorWatches(life) => self.operator_watches(life),
            Happening::MasterHears(life, event) => self.step_master(life, *event),
            Happening::MasterTick(life) => self.master_tick(life),
            Happening::MasterEnds(life) => self.master_ends(life),
            Happening::RegistryWrote(life) => self.registry_wrote(life),
            Happening::ToMaster(connection, body) => self.arrives_at_master(connection, *body),
            Happening::ToAgent(connection, epoch, body) => self.arrives_at_agent(connection, epoch, body),
            Happening::ToScheduler(connection, event) => self.arrives_at_scheduler(connection, *event),
            Happening::EndsAtMaster(connection) => self.ends_at_master(connection),
            Happening::EndsAtPeer(connection) => self.ends_at_peer(connection),
            Happening::Breaks(connection) => self.break_connection(connection),
            Happening::Detects(seeker) => self.hears_of_leader(seeker),
            Happening::AgentStarts(agent) => self.start_agent(agent),
            Happening::AgentDials(agent, process) => self.agent_dials(agent, process),
            Happening::AgentTick(agent, process) => self.agent_tick(agent, process),
            Happening::DiskWrote(agent, process) => self.disk_wrote(agent, process),
            Happening::Container(agent, container, event) => self.container(agent, &container, event),
            Happening::Subscribes(scheduler, attempt) => self.subscribes(scheduler, attempt),
            Happening::SchedulerTick(scheduler) => self.scheduler_tick(scheduler),
            Happening::Call(call) => self.call_arrives(*call),
            Happening::Refusal(call) => self.refused(&call),
            Happening::LinksBreak(agent) => self.break_links(agent),
            Happening::StreamsBreak(scheduler) => self.break_streams(scheduler),
            Happening::Chaos => self.chaos(),
        }
    }

    /// A connection breaks: what is under way is lost, and each end learns of it in its own time.
    pub fn break_connection(&mut self, id: u64) {
        let Some(connection) = self.network.get_mut(id).filter(|c| !c.broken) else { return };
        connection.broken = true;
        let peer = connection.peer;
        self.faults.add(Fault::Broken);
        self.note(|| format!("connection {id} to {peer:?} breaks"));
        let most = if self.percent(30) { 60 } else { 1 };
        let (master, other) = (self.within(most), self.within(most));
        self.after(master, Happening::EndsAtMaster(id));
        self.after(other, Happening::EndsAtPeer(id));
    }

    /// One end closes a connection after what it sent before; the other learns of it in order.
    pub fn close_connection(&mut self, id: u64) {
        let Some(when) = self.network.arrival_at_peer(id, self.now, &mut self.random) else { return };
        self.at(when, Happening::EndsAtPeer(id));
        self.after(Duration::from_millis(1), Happening::EndsAtMaster(id));
    }

    fn ends_at_master(&mut self, id: u64) {
        let Some(connection) = self.network.get_mut(id).filter(|c| !c.master_told) else { return };
        connection.master_told = true;
        let (peer, life) = (connection.peer, connection.life);
        self.network.sweep();
        self.master_loses(life, peer, id);
    }

    /// The end that is not the master's learns that a connection is over, or leaves it.
    pub fn ends_at_peer(&mut self, id: u64) {
        let Some(connection) = self.network.get_mut(id).filter(|c| !c.peer_told) else { return };
        connection.peer_told = true;
        connection.broken = true;
        let (peer, told) = (connection.peer, connection.master_told);
        if !told {
            self.after(Duration::from_millis(1), Happening::EndsAtMaster(id));
        }
        self.network.sweep();
        match peer {
            Peer::Agent(agent, process) => self.agent_loses(agent, process, id),
            Peer::Scheduler(scheduler, attempt) => self.stream_ends(scheduler, attempt),
        }
    }
}
