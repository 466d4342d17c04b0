//! What fails, and when: a plan that a seed makes, and how each fault of it is begun and ended.

use std::time::Duration;

use integration::Host;
use model::random::Random;
use rustix::process::Signal;

use super::drills::Drill;
use super::town::{SERVERS, Town};

/// When one that was killed is started again.
const ABSENCE: Duration = Duration::from_secs(3);
/// After the death of a leader another one has this time before something else fails.
const CALM: Duration = Duration::from_secs(4);
/// Offers are held back for so long before a fault, and used at its beginning.
const HOLD: Duration = Duration::from_secs(1);
/// How long a fault lasts: more than twice a session, and longer than an agent may be silent.
pub const FAULT: Duration = Duration::from_millis(4500);
/// Between two faults.
const PAUSE: Duration = Duration::from_millis(500);
/// What a drill is planned for. It ends by itself; one that is tried again delays all that comes after it.
const DRILL: Duration = Duration::from_secs(3);
/// Deaths of leaders of a run that has every fault once.
pub const KILLS: usize = 5;
/// Faults after each of them.
const FAULTS: usize = 3;

/// Something that fails for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The leader's process is stopped beyond its session.
    LeaderStopped,
    /// The leader and the ensemble don't reach each other.
    LeaderFromEnsemble,
    /// The leader and the agents don't.
    LeaderFromAgents,
    /// The agents and the ensemble don't.
    AgentsFromEnsemble,
    /// Nothing that the leader says arrives at agents and ensemble.
    LeaderMute,
    /// Nothing that they say arrives at the leader.
    LeaderDeaf,
    /// Two agents are reached by nobody.
    AgentsAlone,
    /// The masters don't reach each other.
    MastersApart,
    /// The leader, a server and two agents on one side, all others on the other.
    LeaderInMinority,
    /// The leader of the ensemble is cut off from the other servers, but not from its clients.
    EnsembleSplit,
    /// No server of the ensemble reaches another: there is no majority.
    QuorumLost,
    /// The leader of the ensemble is killed.
    ServerKilled,
    /// One that a single fence can stop.
    Drill(Drill),
}

impl Fault {
    /// Whether it is about agents that a leader has.
    pub fn cuts_agents_off(self) -> bool {
        matches!(self, Fault::LeaderFromAgents | Fault::AgentsAlone)
    }
}

const ALL: [Fault; 15] = [
    Fault::LeaderStopped,
    Fault::LeaderFromEnsemble,
    Fault::LeaderFromAgents,
    Fault::AgentsFromEnsemble,
    Fault::LeaderMute,
    Fault::LeaderDeaf,
    Fault::AgentsAlone,
    Fault::MastersApart,
    Fault::LeaderInMinority,
    Fault::EnsembleSplit,
    Fault::QuorumLost,
    Fault::ServerKilled,
    Fault::Drill(Drill::LoopGoesOnFirst),
    Fault::Drill(Drill::WriteArrivesLate),
    Fault::Drill(Drill::AgentIsLedBack),
];

/// A step of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// SIGKILL to the leader.
    Kill,
    /// It is started again.
    Start,
    /// Offers are held back.
    Hold,
    Begin(Fault),
    End,
}

/// All that happens, each with its moment: the leader is killed so many times, and after each time other things fail. Every
/// fault has its turn before one has another.
pub fn plan(random: &mut Random, kills: usize, quorum_lost: Duration) -> Vec<(Duration, Step)> {
    let (mut plan, mut deck, mut now) = (Vec::new(), Vec::new(), Duration::ZERO);
    for _ in 0..kills {
        plan.extend([(now, Step::Kill), (now + ABSENCE, Step::Start)]);
        let mut next = now + CALM;
        for _ in 0..FAULTS {
            if deck.is_empty() {
                deck = ALL.to_vec();
                random.shuffle(&mut deck);
            }
            let Some(fault) = deck.pop() else { continue };
            let length = match fault {
                Fault::QuorumLost => quorum_lost,
                Fault::Drill(_) => DRILL,
                _ => FAULT,
            };
            let begins = next + HOLD;
            plan.extend([(next, Step::Hold), (begins, Step::Begin(fault)), (begins + length, Step::End)]);
            next = begins + length + PAUSE;
        }
        now = next;
    }
    plan
}

/// What has failed and must be undone.
#[derive(Debug, Default)]
pub struct Broken {
    killed: Option<u16>,
    stopped: Option<u16>,
    server: Option<u16>,
}

impl Broken {
    /// Kills the leader.
    pub fn kill(&mut self, town: &mut Town, leader: u16) {
        town.masters.kill(leader);
        self.killed = Some(leader);
    }

    /// Starts it again.
    pub fn start(&mut self, town: &mut Town) {
        if let Some(master) = self.killed.take() {
            town.masters.resume(master);
        }
    }

    /// Begins a fault.
    pub fn begin(&mut self, town: &mut Town, random: &mut Random, fault: Fault, leader: u16) {
        let (servers, masters, agents) = (town.servers(), town.masters(), town.agents());
        let lead = [masters[usize::from(leader)].clone()];
        let everybody_else = [servers.clone(), agents.clone()].concat();
        let network = &town.network;
        match fault {
            Fault::LeaderStopped => {
                town.masters.signal(leader, Signal::STOP);
                self.stopped = Some(leader);
            }
            Fault::LeaderFromEnsemble => network.part(&lead, &servers),
            Fault::LeaderFromAgents => network.part(&lead, &agents),
            Fault::AgentsFromEnsemble => network.part(&agents, &servers),
            Fault::LeaderMute => network.drop_from(&lead, &everybody_else),
            Fault::LeaderDeaf => network.drop_from(&everybody_else, &lead),
            Fault::AgentsAlone => {
                let (alone, others) = parted(random, &agents, 2);
                network.part(&alone, &[servers, masters, others].concat());
            }
            Fault::MastersApart => apart(town, &masters),
            Fault::LeaderInMinority => {
                let (server, servers) = parted(random, &servers, 1);
                let (few, most) = parted(random, &agents, 2);
                let others = masters.iter().filter(|host| host.ip != lead[0].ip).cloned().collect();
                network.part(&[lead.to_vec(), server, few].concat(), &[others, servers, most].concat());
            }
            Fault::EnsembleSplit => {
                let leads = usize::from(server_that_leads(town, random));
                let others: Vec<Host> =
                    servers.iter().filter(|host| host.ip != servers[leads].ip).cloned().collect();
                town.network.part(&servers[leads..=leads], &others);
            }
            Fault::QuorumLost => apart(town, &servers),
            Fault::ServerKilled => {
                let leads = server_that_leads(town, random);
                town.masters.ensemble.kill(leads);
                self.server = Some(leads);
            }
            Fault::Drill(_) => {}
        }
    }

    /// Ends whatever has failed but the absence of a master.
    pub fn end(&mut self, town: &mut Town) {
        town.network.heal();
        if let Some(master) = self.stopped.take() {
            town.masters.signal(master, Signal::CONT);
        }
        if let Some(server) = self.server.take() {
            town.masters.ensemble.resume(server);
        }
    }
}

/// Some of the hosts, by chance, and the others.
fn parted(random: &mut Random, hosts: &[Host], some: usize) -> (Vec<Host>, Vec<Host>) {
    let mut hosts = hosts.to_vec();
    random.shuffle(&mut hosts);
    let others = hosts.split_off(some);
    (hosts, others)
}

/// None of them reaches another.
fn apart(town: &Town, hosts: &[Host]) {
    for (number, host) in hosts.iter().enumerate() {
        town.network.part(std::slice::from_ref(host), &hosts[number + 1..]);
    }
}

/// The server that leads the ensemble, or any while none does.
fn server_that_leads(town: &Town, random: &mut Random) -> u16 {
    let leads = |server: &u16| town.masters.ensemble.mode(*server).is_some_and(|mode| mode == "leader");
    (0..SERVERS).find(leads).unwrap_or_else(|| any(random, SERVERS))
}

/// A number below that.
pub fn any(random: &mut Random, count: u16) -> u16 {
    u16::try_from(random.below(u64::from(count))).unwrap_or(0)
}

#[test]
fn a_plan_has_every_fault_and_dead_leaders_all_the_time() {
    let plan_of = |seed| plan(&mut Random::new(seed), KILLS, FAULT);
    let plan = plan_of(7);
    let kills: Vec<Duration> =
        plan.iter().filter(|(_, step)| *step == Step::Kill).map(|(at, _)| *at).collect();
    assert_eq!(kills.len(), KILLS);
    assert!(kills.windows(2).all(|two| two[1] - two[0] >= Duration::from_secs(17)), "{kills:?}");
    for fault in ALL {
        assert!(plan.iter().any(|(_, step)| *step == Step::Begin(fault)), "{fault:?}");
    }
    assert_eq!(plan, plan_of(7));
    assert_ne!(plan, plan_of(8));
    assert!(plan.windows(2).all(|two| two[0].0 <= two[1].0), "in order: {plan:?}");
}
