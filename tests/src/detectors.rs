//! Whom agents and schedulers believe to lead, and whom they reach.
//!
//! Most ask a server of the ensemble, which may be behind, and keep what they heard while they reach none. Some ask the
//! masters (as all do now and then in forced worlds), of which one may not know that it leads no more. Three parts of the network are cut by themselves: between
//! masters and servers (`election`), between masters and agents or schedulers, and between these and the servers.

use std::time::Duration;

use model::random::Random;

use crate::election::{Election, MASTERS, SERVERS};
use crate::faults::Fault;
use crate::network::Peer;
use crate::world::{Happening, World};

/// Who wants to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seeker {
    /// An agent, by index.
    Agent(usize),
    /// A scheduler, by index.
    Scheduler(usize),
}

#[derive(Clone, Debug)]
struct Detector {
    /// Asks masters, not servers.
    asks_masters: bool,
    server: usize,
    leader: Option<usize>,
    /// Its side of the network to the servers, and of that to the masters.
    back: usize,
    front: usize,
}

/// See the module.
pub struct Detectors {
    agents: Vec<Detector>,
    schedulers: Vec<Detector>,
    /// The masters' side of the network to agents and schedulers.
    masters: [usize; MASTERS],
}

impl Detectors {
    /// Those of so many agents and schedulers.
    pub fn new(agents: usize, schedulers: usize) -> Detectors {
        let one = |index: usize| Detector {
            asks_masters: index % 3 == 2,
            server: index % SERVERS,
            leader: None,
            back: 0,
            front: 0,
        };
        Detectors {
            agents: (0..agents).map(one).collect(),
            schedulers: (0..schedulers).map(one).collect(),
            masters: [0; MASTERS],
        }
    }

    fn of(&self, seeker: Seeker) -> &Detector {
        match seeker {
            Seeker::Agent(index) => &self.agents[index],
            Seeker::Scheduler(index) => &self.schedulers[index],
        }
    }

    fn of_mut(&mut self, seeker: Seeker) -> &mut Detector {
        match seeker {
            Seeker::Agent(index) => &mut self.agents[index],
            Seeker::Scheduler(index) => &mut self.schedulers[index],
        }
    }

    fn all(&self) -> impl Iterator<Item = Seeker> + use<> {
        let (agents, schedulers) = (self.agents.len(), self.schedulers.len());
        (0..agents).map(Seeker::Agent).chain((0..schedulers).map(Seeker::Scheduler))
    }

    /// Whether the network lets a master be reached.
    pub fn reaches(&self, seeker: Seeker, master: usize) -> bool {
        self.of(seeker).front == self.masters[master]
    }

    /// Asks who leads.
    fn asks(&mut self, seeker: Seeker, election: &Election, random: &mut Random) -> Option<usize> {
        let any = |count: usize, random: &mut Random| {
            usize::try_from(random.below(count as u64)).unwrap_or_default()
        };
        let (asked, server) = (any(MASTERS, random), any(SERVERS, random));
        let answers = self.reaches(seeker, asked);
        // Where masters don't know that they were succeeded it is they who are asked, more often than not.
        let asks_masters = election.forced && random.below(2) == 0;
        let detector = self.of_mut(seeker);
        if detector.asks_masters || asks_masters {
            let awake = election.stopped_until(asked) <= election.now;
            if answers && awake {
                detector.leader =
                    if election.leads(asked) { Some(asked) } else { election.leader_for(asked) };
            }
        } else if election.serves(detector.server, detector.back) {
            detector.leader = election.leader_at(detector.server);
        } else {
            detector.server = server;
        }
        detector.leader
    }

    /// All of the network is whole.
    pub fn heal(&mut self) {
        self.masters = [0; MASTERS];
        for detector in self.agents.iter_mut().chain(&mut self.schedulers) {
            (detector.back, detector.front) = (0, 0);
        }
    }
}

impl World {
    /// The life of the master that somebody dials, if it is there and leads.
    pub(crate) fn dials(&mut self, seeker: Seeker) -> Option<u64> {
        if self.ensemble.is_none() {
            return self.leading();
        }
        let process = self.detects(seeker)?;
        let life = self.node_reached(seeker, process);
        if life.is_none() {
            self.faults.add(Fault::DialledInVain);
        }
        life
    }

    /// The life of the master of a process, if it leads and the network lets it be reached.
    pub(crate) fn node_reached(&self, seeker: Seeker, process: usize) -> Option<u64> {
        let joined = self.ensemble.as_ref().filter(|joined| joined.detectors.reaches(seeker, process));
        joined.and_then(|_| self.node_of(process)).map(|master| master.life)
    }

    fn detects(&mut self, seeker: Seeker) -> Option<usize> {
        let joined = self.ensemble.as_mut()?;
        joined.election.now = joined.election.now.max(self.now.since(crate::world::START));
        joined.detectors.asks(seeker, &joined.election, &mut self.random)
    }

    /// A server knows other candidates; who asks it hears of that.
    pub(crate) fn candidates_changed(&mut self, server: usize) {
        let Some(joined) = &self.ensemble else { return };
        let detectors = &joined.detectors;
        let asks = |seeker: &Seeker| {
            let detector = detectors.of(*seeker);
            detector.server == server && !detector.asks_masters
        };
        for seeker in detectors.all().filter(asks).collect::<Vec<_>>() {
            let pause = Duration::from_micros(self.random.below(500_000));
            self.after(pause, Happening::Detects(seeker));
        }
    }

    /// Somebody hears who leads, and leaves the master that doesn't.
    pub(crate) fn hears_of_leader(&mut self, seeker: Seeker) {
        let leader = self.detects(seeker);
        let (connection, patient) = match seeker {
            Seeker::Agent(index) => (self.agents[index].connection, false),
            Seeker::Scheduler(index) => (self.schedulers[index].connection, true),
        };
        let Some((id, life)) = connection.and_then(|id| Some((id, self.network.get(id)?.life))) else {
            return;
        };
        let process = self.masters.get(&life).and_then(|master| master.process);
        if process != leader && !(patient && leader.is_none()) {
            self.note(|| format!("{seeker:?} leaves master {life}: {leader:?} leads"));
            self.ends_at_peer(id);
        }
    }

    /// The network to masters or to servers is cut in some shape, or is whole again.
    pub(crate) fn cut_front(&mut self) {
        let kind = self.random.below(4);
        let Some(joined) = &mut self.ensemble else { return };
        let detectors = &mut joined.detectors;
        match kind {
            0 | 1 => {
                detectors.masters = [0; MASTERS].map(|_: usize| usize::from(self.random.below(2) == 0));
                for detector in detectors.agents.iter_mut().chain(&mut detectors.schedulers) {
                    detector.front = usize::from(self.random.below(2) == 0);
                }
                self.faults.add(Fault::FrontCut);
            }
            2 => {
                for detector in detectors.agents.iter_mut().chain(&mut detectors.schedulers) {
                    detector.back = usize::from(self.random.below(2) == 0);
                }
                self.faults.add(Fault::DetectorsCut);
            }
            _ => detectors.heal(),
        }
        self.note(|| format!("the network to masters and servers changes: {kind}"));
        self.break_over_cuts();
    }

    fn break_over_cuts(&mut self) {
        let Some(joined) = &self.ensemble else { return };
        let over = |id: &u64| {
            let connection = self.network.get(*id);
            let to = connection.and_then(|it| Some((it.peer, self.masters.get(&it.life)?.process?)));
            to.is_some_and(|(peer, process)| !joined.detectors.reaches(seeker(peer), process))
        };
        let cut: Vec<u64> = self.network.standing(|_| true).into_iter().filter(over).collect();
        cut.into_iter().for_each(|id| self.break_connection(id));
    }
}

fn seeker(peer: Peer) -> Seeker {
    match peer {
        Peer::Agent(index, _) => Seeker::Agent(index),
        Peer::Scheduler(index, _) => Seeker::Scheduler(index),
    }
}
