//! Three masters that contend for leadership in an ensemble that is cut in two, killed and slow, while they are stopped,
//! killed and cut off themselves. The contest and the lease are the product's; `contender` and `records` take its steps.
//!
//! What is here is the network between masters and servers, and a queue of what happens there. Whoever has it (`alone`,
//! which has nothing but masters that say who they are, or the world with agents and schedulers) lets it go on by
//! [`Election::step`] and hears of what becomes of the masters by [`News`]. In some worlds sessions are ended, or
//! candidates removed, from outside before their time, so that a leader can't know that another one leads.

mod alone;
mod chaos;
mod contender;
mod ensemble;
mod records;
mod wires;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use master::logic::Contents;
use model::random::Random;

use crate::faults::Faults;
use contender::{Contender, Wish};
use ensemble::{Ask, Ensemble, Reply, Standing};

pub use ensemble::{SERVERS, TIMEOUT};
pub use records::Batch;

/// How many masters there are.
pub const MASTERS: usize = 3;
/// How long a client waits for a server that says nothing.
const SILENCE: Duration = Duration::from_millis(TIMEOUT.as_millis() as u64 * 2 / 3);
/// Lines of the trace that are kept.
const TRACE: usize = 4000;

/// What becomes of a master.
#[derive(Debug)]
pub enum News {
    /// It leads, with this in the registry.
    Leads(usize, Arc<Contents>),
    /// What it asked to be written is.
    Written(usize, Batch),
    /// It leads no more.
    Lost(usize, &'static str),
    /// Its process was killed.
    Killed(usize),
    /// Its process does nothing for so long.
    Stopped(usize, Duration),
    /// Something was done from outside so that it leads no more, and it doesn't know yet.
    Forced(usize),
    /// A server knows other candidates than before.
    Candidates(usize),
}

#[derive(Debug)]
enum Event {
    /// A master's process does what was due, if it still lives that life.
    Due(usize, u64, Due),
    /// A request arrives at its server.
    Arrives(Request),
    /// An answer arrives, to a request or to a watch.
    Answered { connection: u64, by: Option<u64>, zxid: u64, reply: Option<Reply> },
    /// A master notices that its connection is gone.
    Broken(u64),
    /// A server has followed what was decided.
    Follows(usize),
    /// Servers notice that the majority is gone.
    Notices(u64),
    /// Servers are a majority again.
    Forms(u64),
    /// The ensemble looks after its sessions.
    Expiry,
    /// Something goes wrong.
    Chaos,
}

#[derive(Clone, Copy, Debug)]
enum Due {
    Look,
    Ping,
    Connect,
    Contend,
    GoOn(u64),
}

#[derive(Clone, Debug)]
struct Request {
    connection: u64,
    session: Option<u64>,
    /// The writer of the registry that asks, if it is one.
    by: Option<u64>,
    ask: Ask,
}

/// A connection of a master.
#[derive(Clone, Copy, Debug)]
struct Connection {
    master: usize,
    server: usize,
    /// Of the server's lives.
    boot: u64,
    /// No answer passes any more, though one end may not know. What was sent before may arrive all the same.
    cut: bool,
    /// Nothing passes any more.
    closed: bool,
    /// What arrives waits so long: something before it does.
    held: Duration,
}

/// See the module.
pub struct Election {
    /// Since it began.
    pub now: Duration,
    random: Random,
    queue: BTreeMap<(Duration, u64), Event>,
    scheduled: u64,
    ensemble: Ensemble,
    masters: Vec<Contender>,
    sides: [usize; MASTERS],
    stopped_until: [Duration; MASTERS],
    connections: BTreeMap<u64, Connection>,
    current: [Option<u64>; MASTERS],
    last_connection: u64,
    /// When requests and answers of a connection are there: in order.
    arrival: [Duration; MASTERS],
    /// Writes of the registry that were done.
    pub written: u64,
    /// Things go wrong.
    pub chaotic: bool,
    /// Sessions are ended before their time: their masters can't know it in time, and only what they say is refused.
    pub forced: bool,
    /// Between two faults at most.
    rest: Duration,
    /// For how long a killed master is away at most.
    away: Duration,
    /// What became of masters.
    pub news: Vec<News>,
    /// What went wrong.
    pub faults: Faults,
    /// Whether `trace` is filled.
    pub tracing: bool,
    /// What happened.
    pub trace: Vec<String>,
    /// What broke, if anything did.
    pub broken: Option<String>,
}

impl Election {
    /// Faults begin after the first `rest` and go on with at most one such between two of them.
    pub fn new(seed: u64, rest: Duration, away: Duration) -> Election {
        let mut random = Random::new(seed);
        let masters = (0..MASTERS).map(|index| {
            let boot = Duration::from_secs(random.below(100_000));
            // Clocks differ by two in a hundred at most.
            let rate = 980 + u32::try_from(random.below(41)).unwrap_or(20);
            Contender::new(index, boot, rate)
        });
        let masters = masters.collect();
        let mut election = Election {
            now: Duration::ZERO,
            random,
            queue: BTreeMap::new(),
            scheduled: 0,
            ensemble: Ensemble::new(),
            masters,
            sides: [0; MASTERS],
            stopped_until: [Duration::ZERO; MASTERS],
            connections: BTreeMap::new(),
            current: [None; MASTERS],
            last_connection: 0,
            arrival: [Duration::ZERO; MASTERS],
            written: 0,
            chaotic: true,
            forced: seed.is_multiple_of(4),
            rest,
            away,
            news: Vec::new(),
            faults: Faults::default(),
            tracing: false,
            trace: Vec::new(),
            broken: None,
        };
        for master in 0..MASTERS {
            election.due(master, 1000, Due::Connect);
            election.due(master, 1000, Due::Ping);
        }
        election.after(Duration::ZERO, Event::Expiry);
        election.after(rest.min(Duration::from_secs(10)), Event::Chaos);
        election
    }

    /// When something happens next.
    pub fn next(&self) -> Duration {
        self.queue.first_key_value().map_or(Duration::MAX, |((when, _), _)| *when)
    }

    /// Lets it happen.
    pub fn step(&mut self) {
        if let Some(((when, _), event)) = self.queue.pop_first() {
            self.now = when;
            self.happen(event);
        }
    }

    /// Whether a master leads and may act. Asked before anything leaves it.
    pub fn may_act(&self, master: usize) -> bool {
        self.masters[master].may_act(self.now)
    }

    /// A master learns that its lease is over.
    pub fn mind_lease(&mut self, master: usize) {
        let mut wishes = Vec::new();
        self.masters[master].mind_lease(self.now, &mut wishes);
        self.fulfil(master, wishes);
    }

    /// A master writes, if it leads.
    pub fn write(&mut self, master: usize, batch: Batch) {
        let mut wishes = Vec::new();
        self.masters[master].write(self.now, batch, &mut wishes);
        self.fulfil(master, wishes);
    }

    /// Until when a master's process does nothing.
    pub fn stopped_until(&self, master: usize) -> Duration {
        self.stopped_until[master]
    }

    /// Whether a master leads, or believes so.
    pub fn leads(&self, master: usize) -> bool {
        self.masters[master].epoch().is_some()
    }

    /// Whether a server answers those on that side of the network.
    pub fn serves(&self, server: usize, side: usize) -> bool {
        let server = &self.ensemble.servers[server];
        server.standing != Standing::Silent && server.up && server.side == side
    }

    /// What a server says about who leads, if it says anything.
    pub fn leader_at(&self, server: usize) -> Option<usize> {
        let server = &self.ensemble.servers[server];
        let content = Some(server).filter(|server| server.standing != Standing::Silent)?.tree.leader()?;
        self.masters.iter().position(|master| content.contains(&master.address))
    }

    /// What a master says about who leads.
    pub fn leader_for(&self, master: usize) -> Option<usize> {
        let leader = self.masters[master].leader()?;
        self.masters.iter().position(|master| master.address == leader)
    }

    /// Which life of its process a master lives.
    pub fn life_of(&self, master: usize) -> u64 {
        self.masters[master].life
    }

    /// What a majority has decided to be in the registry.
    pub fn registry(&self) -> &Contents {
        &self.ensemble.tree.registry
    }

    fn after(&mut self, pause: Duration, event: Event) {
        self.scheduled += 1;
        self.queue.insert((self.now + pause, self.scheduled), event);
    }

    fn within(&mut self, most: Duration) -> Duration {
        Duration::from_micros(self.random.below(u64::try_from(most.as_micros()).unwrap_or(u64::MAX)))
    }

    fn millis(&mut self, most: u64) -> Duration {
        self.within(Duration::from_millis(most))
    }

    fn pick(&mut self, count: usize) -> usize {
        usize::try_from(self.random.below(count as u64)).unwrap_or(0)
    }

    fn due(&mut self, master: usize, millis: u64, due: Due) {
        let pause = self.millis(millis);
        self.due_in(master, pause, due);
    }

    fn due_in(&mut self, master: usize, pause: Duration, due: Due) {
        let life = self.masters[master].life;
        self.after(pause, Event::Due(master, life, due));
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if self.tracing {
            if self.trace.len() > TRACE {
                self.trace.drain(..TRACE / 2);
            }
            let line = format!("{:?} {}", self.now, line());
            self.trace.push(line);
        }
    }

    /// The master to which this happens, if it is stopped: it happens when it goes on.
    fn sleeper(&self, event: &Event) -> Option<usize> {
        let master = match event {
            Event::Due(master, ..) => *master,
            Event::Answered { connection, .. } | Event::Broken(connection) => {
                self.connections.get(connection)?.master
            }
            _ => return None,
        };
        (self.stopped_until[master] > self.now).then_some(master)
    }

    fn happen(&mut self, event: Event) {
        if let Some(master) = self.sleeper(&event) {
            let left = self.stopped_until[master] - self.now;
            return self.after(left, event);
        }
        match event {
            Event::Due(master, life, due) if self.masters[master].life == life => self.is_due(master, due),
            Event::Due(..) => {}
            Event::Arrives(request) => self.arrives(request),
            Event::Answered { connection, by, zxid, reply } => self.answered(connection, by, zxid, reply),
            Event::Broken(connection) => self.breaks(connection),
            Event::Follows(server) => {
                self.ensemble.follows(server);
                self.tell_watchers();
            }
            Event::Notices(generation) if generation == self.ensemble.generation => self.notices(),
            Event::Forms(generation) if generation == self.ensemble.generation => {
                self.ensemble.forms(self.now);
                self.tell_watchers();
            }
            Event::Notices(_) | Event::Forms(_) => {}
            Event::Expiry => {
                self.ensemble.expire(self.now);
                self.spread();
                self.after(Duration::from_millis(500), Event::Expiry);
            }
            Event::Chaos => self.chaos(),
        }
    }

    fn is_due(&mut self, master: usize, due: Due) {
        let mut wishes = Vec::new();
        match due {
            Due::Look => self.masters[master].look(self.now, &mut wishes),
            Due::Contend => self.masters[master].contend(self.now, &mut wishes),
            Due::GoOn(writer) => self.masters[master].goes_on(self.now, writer, &mut wishes),
            Due::Ping => {
                wishes.push(Wish::Ask(None, Ask::Ping));
                self.due_in(master, TIMEOUT / 3, Due::Ping);
            }
            Due::Connect => return self.connect(master),
        }
        self.fulfil(master, wishes);
    }

    fn fulfil(&mut self, master: usize, wishes: Vec<Wish>) {
        for wish in wishes {
            match wish {
                Wish::Ask(by, ask) => {
                    if let Some(connection) = self.current[master] {
                        let (pause, session) = (self.travel(master), self.masters[master].session);
                        self.after(pause, Event::Arrives(Request { connection, session, by, ask }));
                    }
                }
                Wish::LookIn(pause) => self.due_in(master, pause, Due::Look),
                Wish::ContendIn(pause) => self.due_in(master, pause, Due::Contend),
                Wish::GoOnIn(pause, writer) => self.due_in(master, pause, Due::GoOn(writer)),
                Wish::Leads(contents) => {
                    self.note(|| format!("master {master} leads with epoch {}", contents.epoch));
                    self.news.push(News::Leads(master, contents));
                }
                Wish::Written(batch) => self.news.push(News::Written(master, batch)),
                Wish::Lost(why) => {
                    self.note(|| format!("master {master} leads no more: {why}"));
                    self.news.push(News::Lost(master, why));
                }
            }
        }
    }
}
