//! Masters that contend and do nothing else than say in whose name they act; one seed each world.
//!
//! What must hold whatever happens: once a leader has acted, none with a lower epoch acts any more; no two have the same
//! epoch; a write of a lower epoch never follows one of a higher. And once nothing goes wrong any more one of them leads,
//! and all know which. Where sessions are ended from outside only the writes are bound to their epoch, and what agents
//! are told.

use std::collections::BTreeMap;
use std::time::Duration;

use master::logic::{Change, Ticket};
use model::random::Random;

use super::{Election, MASTERS, News};

const AGENTS: u64 = 4;
/// How long things go wrong, and how long it may take after that.
const CHAOS: Duration = Duration::from_secs(400);
const PEACE: Duration = Duration::from_secs(90);
/// Between two faults at most, and until a killed master is back.
const REST: Duration = Duration::from_secs(12);
const AWAY: Duration = Duration::from_secs(5);

#[derive(Debug)]
enum Happening {
    /// A master acts, if it leads with that epoch.
    Acts(usize, u64),
    /// What a leader said arrives at an agent.
    Said(u64, u64),
}

struct Alone {
    election: Election,
    random: Random,
    queue: BTreeMap<(Duration, u64), Happening>,
    scheduled: u64,
    /// The epoch in which each master leads, or believes so.
    leading: [Option<u64>; MASTERS],
    /// The highest epoch each agent has obeyed.
    agents: BTreeMap<u64, u64>,
    /// Who acts with which epoch.
    actors: BTreeMap<u64, (usize, u64)>,
    acts: u64,
    refused: u64,
    last_act: Option<(usize, Duration)>,
}

impl Alone {
    fn new(seed: u64) -> Alone {
        Alone {
            election: Election::new(seed, REST, AWAY),
            random: Random::new(seed ^ 0xA10E),
            queue: BTreeMap::new(),
            scheduled: 0,
            leading: [None; MASTERS],
            agents: BTreeMap::new(),
            actors: BTreeMap::new(),
            acts: 0,
            refused: 0,
            last_act: None,
        }
    }

    fn after(&mut self, millis: u64, happening: Happening) {
        let pause = Duration::from_micros(self.random.below(millis * 1000));
        self.scheduled += 1;
        self.queue.insert((self.election.now + pause, self.scheduled), happening);
    }

    fn run(&mut self, until: Duration) -> Result<(), String> {
        loop {
            let own = self.queue.first_key_value().map_or(Duration::MAX, |((when, _), _)| *when);
            if own.min(self.election.next()) > until {
                self.election.now = until;
                return Ok(());
            }
            if own < self.election.next() {
                self.election.now = own;
                let happening = self.queue.pop_first().map(|(_, happening)| happening);
                happening.into_iter().for_each(|happening| self.happen(happening));
            } else {
                self.election.step();
            }
            self.hear();
            if let Some(why) = self.election.broken.take() {
                return Err(why);
            }
        }
    }

    fn hear(&mut self) {
        for news in std::mem::take(&mut self.election.news) {
            match news {
                News::Leads(master, contents) => {
                    self.leading[master] = Some(contents.epoch);
                    self.after(300, Happening::Acts(master, contents.epoch));
                }
                News::Lost(master, _) | News::Killed(master) => self.leading[master] = None,
                News::Written(..) | News::Stopped(..) | News::Forced(_) | News::Candidates(_) => {}
            }
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Acts(master, epoch) if self.leading[master] == Some(epoch) => self.acts(master, epoch),
            Happening::Acts(..) => {}
            Happening::Said(agent, epoch) => {
                let highest = self.agents.entry(agent).or_default();
                self.refused += u64::from(epoch < *highest);
                *highest = epoch.max(*highest);
            }
        }
    }

    /// A leader does what leaders do: it speaks to agents, and writes.
    fn acts(&mut self, master: usize, epoch: u64) {
        let left = self.election.stopped_until(master).saturating_sub(self.election.now);
        if left > Duration::ZERO {
            self.scheduled += 1;
            let when = self.election.now + left;
            self.queue.insert((when, self.scheduled), Happening::Acts(master, epoch));
            return;
        }
        if !self.election.may_act(master) {
            return self.election.mind_lease(master);
        }
        self.acts += 1;
        self.last_act = Some((master, self.election.now));
        self.judge(master, epoch);
        let (agent, slow) = (self.random.below(AGENTS), self.random.below(20) == 0);
        self.after(if slow { 30_000 } else { 50 }, Happening::Said(agent, epoch));
        if self.random.below(3) == 0 {
            let change = Change::Remove(format!("S{agent}").as_str().into());
            self.election.write(master, vec![(Ticket(self.acts), change)]);
        }
        self.after(300, Happening::Acts(master, epoch));
    }

    fn judge(&mut self, master: usize, epoch: u64) {
        let higher =
            self.actors.last_key_value().map(|(highest, _)| *highest).filter(|highest| *highest > epoch);
        if let (Some(higher), false) = (higher, self.election.forced) {
            self.broken(format!("master {master} acts with epoch {epoch} after one with epoch {higher}"));
        }
        let actor = (master, self.election.life_of(master));
        if *self.actors.entry(epoch).or_insert(actor) != actor {
            self.broken(format!("epoch {epoch} is master {master}'s and another's"));
        }
    }

    fn broken(&mut self, why: String) {
        self.election.broken.get_or_insert(why);
    }

    /// Nothing goes wrong any more: one leads, and all know which.
    fn come_to_rest(&mut self) -> Result<(), String> {
        self.election.calms();
        self.run(self.election.now + PEACE)?;
        let leader = self.election.agreed()?;
        let recently = |(who, when)| who == leader && self.election.now - when < Duration::from_secs(1);
        match self.last_act {
            Some(act) if recently(act) => Ok(()),
            other => Err(format!("{leader} leads and doesn't act: {other:?}")),
        }
    }
}

/// Acts, writes, messages refused by agents, epochs.
type Sums = [u64; 4];

fn live(seed: u64, tracing: bool) -> Result<Sums, String> {
    let mut world = Alone::new(seed);
    world.election.tracing = tracing;
    let lived = world.run(CHAOS).and_then(|()| world.come_to_rest());
    let trace = &world.election.trace;
    let told = trace.len().saturating_sub(120);
    lived.map_err(|why| format!("{}\n\nseed {seed}: {why}", trace[told..].join("\n")))?;
    Ok([world.acts, world.election.written, world.refused, world.actors.len() as u64])
}

/// `SIM_ELECTIONS` is how many there are.
#[test]
fn whatever_happens_one_at_a_time_leads_and_in_the_end_one_does() {
    let wanted = std::env::var("SIM_ELECTIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(1000);
    let first = std::env::var("SIM_ELECTION").ok().and_then(|text| text.parse().ok());
    let seeds = first.map_or(0..wanted, |seed| seed..seed + 1);
    let mut sums = [0; 4];
    for seed in seeds {
        match live(seed, false).or_else(|_| live(seed, true)) {
            Ok(sum) => sums.iter_mut().zip(sum).for_each(|(all, one)| *all += one),
            Err(story) => panic!("{story}\nto repeat: SIM_ELECTION={seed}"),
        }
    }
    let [acts, written, refused, epochs] = sums;
    println!("{acts} acts with {epochs} epochs, {written} writes, {refused} messages refused by agents");
    assert!(first.is_some() || (acts > 1000 && written > 100 && refused > 10 && epochs > wanted * 3));
}
