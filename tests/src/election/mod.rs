//! Three masters that contend for leadership in an ensemble that is cut in two, killed and slow, while they are stopped,
//! killed and cut off themselves; one seed each world. The contest and the lease are the product's.
//!
//! What must hold whatever happens: once a leader has acted, none with a lower epoch acts any more; no two have the same
//! epoch; a write of a lower epoch never follows one of a higher. And once nothing goes wrong any more one of them leads,
//! and all know which. In some worlds sessions are ended from outside before their time, so that a leader can't know
//! that another one leads: there only the writes are bound to their epoch, and what agents are told.

mod contender;
mod ensemble;

use std::collections::BTreeMap;
use std::time::Duration;

use model::random::Random;

use contender::{Contender, Wish};
use ensemble::{Ask, Ensemble, Reply, SERVERS, Standing, TIMEOUT};

const MASTERS: usize = 3;
const AGENTS: usize = 4;
/// How long things go wrong, and how long it may take after that.
const CHAOS: Duration = Duration::from_secs(400);
const PEACE: Duration = Duration::from_secs(90);
/// How long a client waits for a server that says nothing.
const SILENCE: Duration = Duration::from_millis(TIMEOUT.as_millis() as u64 * 2 / 3);

#[derive(Debug)]
enum Event {
    /// A master's process does what was due: look, act, ping, connect; if it still lives that life.
    Due(usize, u64, Due),
    /// A request of a connection arrives at its server.
    Arrives { master: usize, connection: u64, ask: Ask },
    /// An answer arrives, to a request or to a watch.
    Answered { master: usize, connection: u64, reply: Option<Reply> },
    /// A master notices that its connection is gone.
    Broken { master: usize, connection: u64 },
    /// A server has followed what was decided.
    Follows(usize),
    /// Servers notice that the majority is gone.
    Notices(u64),
    /// Servers are a majority again.
    Forms(u64),
    /// The ensemble looks after its sessions.
    Expiry,
    /// What a leader said arrives at an agent.
    Said { agent: usize, epoch: u64 },
    /// Something goes wrong.
    Chaos,
}

#[derive(Clone, Copy, Debug)]
enum Due {
    Look,
    Act,
    Ping,
    Connect,
}

/// A master's connection.
#[derive(Clone, Copy, Debug)]
struct Connection {
    id: u64,
    server: usize,
    /// It is cut, though one end may not know.
    cut: bool,
}

struct Election {
    now: Duration,
    random: Random,
    queue: BTreeMap<(Duration, u64), Event>,
    scheduled: u64,
    ensemble: Ensemble,
    masters: Vec<Contender>,
    sides: Vec<usize>,
    stopped_until: Vec<Duration>,
    connections: Vec<Option<Connection>>,
    last_connection: u64,
    /// When requests and answers of a connection are there: in order.
    arrival: Vec<Duration>,
    /// The highest epoch each agent has obeyed.
    agents: Vec<u64>,
    /// Who acts with which epoch.
    actors: BTreeMap<u64, (usize, u64)>,
    acts: u64,
    refused: u64,
    written: u64,
    last_act: Option<(usize, Duration)>,
    chaotic: bool,
    /// Sessions are ended before their time: their masters can't know it in time, and only what they say is refused.
    forced: bool,
    trace: Vec<String>,
    broken: Option<String>,
}

impl Election {
    fn new(seed: u64) -> Election {
        let mut random = Random::new(seed);
        let masters = (0..MASTERS).map(|i| {
            let boot = Duration::from_secs(random.below(100_000));
            // Clocks differ by two in a hundred at most.
            let rate = 980 + u32::try_from(random.below(41)).unwrap_or(20);
            Contender::new(format!("10.0.0.{}:5050", i + 1), boot, rate)
        });
        let masters = masters.collect();
        let mut world = Election {
            now: Duration::ZERO,
            random,
            queue: BTreeMap::new(),
            scheduled: 0,
            ensemble: Ensemble::new(),
            masters,
            sides: vec![0; MASTERS],
            stopped_until: vec![Duration::ZERO; MASTERS],
            connections: vec![None; MASTERS],
            last_connection: 0,
            arrival: vec![Duration::ZERO; MASTERS],
            agents: vec![0; AGENTS],
            actors: BTreeMap::new(),
            acts: 0,
            refused: 0,
            written: 0,
            last_act: None,
            chaotic: true,
            forced: seed.is_multiple_of(4),
            trace: Vec::new(),
            broken: None,
        };
        for master in 0..MASTERS {
            world.due(master, 1000, Due::Connect);
            world.due(master, 1000, Due::Ping);
        }
        world.after(Duration::ZERO, Event::Expiry);
        world.after(Duration::from_secs(10), Event::Chaos);
        world
    }

    fn after(&mut self, pause: Duration, event: Event) {
        self.scheduled += 1;
        self.queue.insert((self.now + pause, self.scheduled), event);
    }

    fn within(&mut self, millis: u64) -> Duration {
        Duration::from_micros(self.random.below(millis * 1000))
    }

    fn pick(&mut self, count: usize) -> usize {
        usize::try_from(self.random.below(count as u64)).unwrap_or(0)
    }

    fn due(&mut self, master: usize, millis: u64, due: Due) {
        let pause = self.within(millis);
        let life = self.masters[master].life;
        self.after(pause, Event::Due(master, life, due));
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if self.trace.len() > 4000 {
            self.trace.drain(..2000);
        }
        let line = format!("{:?} {}", self.now, line());
        self.trace.push(line);
    }

    fn run(&mut self, until: Duration) -> Result<(), String> {
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > until {
                break;
            }
            let ((when, _), event) = entry.remove_entry();
            self.now = when;
            self.happen(event);
            if let Some(why) = self.broken.take() {
                return Err(why);
            }
        }
        self.now = until;
        Ok(())
    }

    /// The master to which this happens, if it is stopped: it happens when it goes on.
    fn sleeper(&self, event: &Event) -> Option<usize> {
        let (Event::Due(master, ..) | Event::Answered { master, .. } | Event::Broken { master, .. }) = event
        else {
            return None;
        };
        (self.stopped_until[*master] > self.now).then_some(*master)
    }

    fn happen(&mut self, event: Event) {
        if let Some(master) = self.sleeper(&event) {
            let left = self.stopped_until[master] - self.now;
            return self.after(left, event);
        }
        match event {
            Event::Due(master, life, due) if self.masters[master].life == life => self.is_due(master, due),
            Event::Due(..) => {}
            Event::Arrives { master, connection, ask } => self.arrives(master, connection, &ask),
            Event::Answered { master, connection, reply } => self.answered(master, connection, reply),
            Event::Broken { master, connection } => self.breaks(master, connection),
            Event::Follows(server) => self.follows(server),
            Event::Notices(generation) if generation == self.ensemble.generation => self.notices(),
            Event::Forms(generation) if generation == self.ensemble.generation => {
                self.ensemble.forms(self.now);
                (0..SERVERS).for_each(|server| self.tell_watchers(server));
            }
            Event::Notices(_) | Event::Forms(_) => {}
            Event::Expiry => {
                self.ensemble.expire(self.now);
                self.spread();
                self.after(Duration::from_millis(500), Event::Expiry);
            }
            Event::Said { agent, epoch } => self.said(agent, epoch),
            Event::Chaos => self.chaos(),
        }
    }

    fn is_due(&mut self, master: usize, due: Due) {
        let mut wishes = Vec::new();
        match due {
            Due::Look => self.masters[master].look(self.now, &mut wishes),
            Due::Act => self.act(master, &mut wishes),
            Due::Ping => {
                wishes.push(Wish::Ask(Ask::Ping));
                let life = self.masters[master].life;
                self.after(TIMEOUT / 3, Event::Due(master, life, Due::Ping));
            }
            Due::Connect => return self.connect(master),
        }
        self.fulfil(master, wishes);
    }

    fn connect(&mut self, master: usize) {
        if self.connections[master].is_some() {
            return;
        }
        let (side, server) = (self.sides[master], self.pick(SERVERS));
        let there = &self.ensemble.servers[server];
        if there.side != side || there.standing != Standing::Serves {
            return self.due(master, 1000, Due::Connect);
        }
        self.last_connection += 1;
        self.connections[master] = Some(Connection { id: self.last_connection, server, cut: false });
        let ask = self.masters[master].session.map_or(Ask::Open, Ask::Resume);
        self.fulfil(master, vec![Wish::Ask(ask)]);
    }

    fn fulfil(&mut self, master: usize, wishes: Vec<Wish>) {
        for wish in wishes {
            match wish {
                Wish::Ask(ask) => {
                    // Without a connection requests wait; here they are made anew once there is one.
                    if let Some(Connection { id, .. }) = self.connections[master] {
                        let pause = self.travel(master);
                        self.after(pause, Event::Arrives { master, connection: id, ask });
                    }
                }
                Wish::LookIn(pause) => {
                    let life = self.masters[master].life;
                    self.after(pause, Event::Due(master, life, Due::Look));
                }
                Wish::Act => self.due(master, 300, Due::Act),
            }
        }
    }

    /// How long something is under way on a connection, on which nothing overtakes anything.
    fn travel(&mut self, master: usize) -> Duration {
        let slow = if self.random.below(50) == 0 { 3000 } else { 20 };
        let there = (self.now + self.within(slow)).max(self.arrival[master]);
        self.arrival[master] = there;
        there - self.now
    }

    /// Whether the connection goes on, seen from the network.
    fn stands(&self, master: usize, id: u64) -> Option<usize> {
        let connection =
            self.connections[master].filter(|connection| connection.id == id && !connection.cut)?;
        let server = &self.ensemble.servers[connection.server];
        (server.up && server.side == self.sides[master]).then_some(connection.server)
    }

    fn arrives(&mut self, master: usize, connection: u64, ask: &Ask) {
        let Some(server) = self.stands(master, connection) else { return };
        let (session, head) = (self.masters[master].session, self.ensemble.tree.head);
        let Some(reply) = self.ensemble.answer(server, session, ask, self.now) else {
            // It waits there until the server belongs to a majority again, or closes the connection.
            let ask = ask.clone();
            return self.after(Duration::from_millis(500), Event::Arrives { master, connection, ask });
        };
        self.note(|| format!("server {server} answers master {master} {ask:?}: {reply:?}"));
        if let (Ask::Write(..), Reply::Head(epoch, _)) = (ask, &reply) {
            self.written += 1;
            let own = self.masters[master].tenure.map(|tenure| tenure.epoch);
            if head.0 != *epoch || own.is_some_and(|own| own != *epoch) {
                self.broken = Some(format!("master {master} of epoch {own:?} writes into epoch {epoch}"));
            }
        }
        self.spread();
        let pause = self.travel(master);
        self.after(pause, Event::Answered { master, connection, reply: Some(reply) });
    }

    /// The other servers follow.
    fn spread(&mut self) {
        for server in 0..SERVERS {
            if self.ensemble.servers[server].tree.nodes.len() != self.ensemble.tree.nodes.len()
                || !self.ensemble.servers[server].tree.nodes.keys().eq(self.ensemble.tree.nodes.keys())
            {
                let pause = self.within(200);
                self.after(pause, Event::Follows(server));
            }
        }
    }

    fn follows(&mut self, server: usize) {
        if self.ensemble.follows(server) {
            self.tell_watchers(server);
        }
    }

    /// Who watches the nodes at that server is told that they changed. (A watch that was not set tells of nothing new.)
    fn tell_watchers(&mut self, server: usize) {
        for master in 0..MASTERS {
            let watching = self.connections[master].filter(|connection| connection.server == server);
            if let Some(Connection { id, .. }) = watching
                && self.stands(master, id).is_some()
            {
                let pause = self.travel(master);
                self.after(pause, Event::Answered { master, connection: id, reply: None });
            }
        }
    }

    fn answered(&mut self, master: usize, connection: u64, reply: Option<Reply>) {
        if self.stands(master, connection).is_none() {
            return;
        }
        let mut wishes = Vec::new();
        match reply {
            Some(reply) => self.masters[master].hear(self.now, reply, &mut wishes),
            None => self.masters[master].look(self.now, &mut wishes),
        }
        self.fulfil(master, wishes);
    }

    fn breaks(&mut self, master: usize, connection: u64) {
        if self.connections[master].is_none_or(|now| now.id != connection) {
            return;
        }
        self.connections[master] = None;
        self.note(|| format!("master {master} has lost its connection"));
        let mut wishes = Vec::new();
        self.masters[master].disconnected(self.now, &mut wishes);
        self.fulfil(master, wishes);
        self.due(master, 500, Due::Connect);
    }

    /// Servers without a majority know it now, and close their connections.
    fn notices(&mut self) {
        self.ensemble.notices();
        for master in 0..MASTERS {
            let at =
                self.connections[master].map(|connection| self.ensemble.servers[connection.server].standing);
            if at == Some(Standing::Silent) {
                self.cut(master);
            }
        }
    }

    /// A leader does what leaders do: it speaks to agents, and writes.
    fn act(&mut self, master: usize, wishes: &mut Vec<Wish>) {
        self.masters[master].mind_lease(self.now);
        let Some(tenure) = self.masters[master].tenure.filter(|_| self.masters[master].may_act(self.now))
        else {
            return;
        };
        let (epoch, life) = (tenure.epoch, self.masters[master].life);
        self.acts += 1;
        self.last_act = Some((master, self.now));
        self.note(|| format!("master {master} acts with epoch {epoch}"));
        let higher = self.actors.last_key_value().filter(|(highest, _)| **highest > epoch);
        if let (Some((higher, _)), false) = (higher, self.forced) {
            self.broken =
                Some(format!("master {master} acts with epoch {epoch} after one with epoch {higher}"));
        }
        if *self.actors.entry(epoch).or_insert((master, life)) != (master, life) {
            self.broken = Some(format!("epoch {epoch} is master {master}'s and another's"));
        }
        let (agent, slow) = (self.pick(AGENTS), if self.random.below(20) == 0 { 30_000 } else { 50 });
        let pause = self.within(slow);
        self.after(pause, Event::Said { agent, epoch });
        if self.random.below(3) == 0 {
            self.masters[master].write(self.now, wishes);
        }
        wishes.push(Wish::Act);
    }

    fn said(&mut self, agent: usize, epoch: u64) {
        if epoch < self.agents[agent] {
            self.refused += 1;
        } else {
            self.agents[agent] = epoch;
        }
    }
}

mod chaos;
