//! The world joined to an ensemble: three masters contend, and whoever gets a tenure leads.
//!
//! `election` decides. A contender that has taken the registry over becomes a [`MasterNode`] with what it found there;
//! one that leads no more (its lease ran out, it was fenced, its process ended) drops its node with all connections. There
//! may be several nodes at a time: one that is stopped doesn't know that it was succeeded, nor does one whose session was
//! ended from outside (`forced` worlds). Before anything leaves a master its contender is asked whether it may act. What
//! it writes goes through the ensemble as fenced writes, and what arrives at a stopped process waits there. Agents and
//! schedulers dial whom they believe to lead (`detectors`), over a network that is cut in other shapes than the one
//! between masters and servers.
//!
//! What must hold beside all that holds of one master: once one of a higher epoch has acted none of a lower epoch does,
//! but in forced worlds, where nothing of what it says is obeyed by who has heard of the higher one, and nothing that it
//! writes is written; what a master knows to be written is what the ensemble has; in the end one leads and all know it.

use std::time::Duration;

use master::logic::{Contents, Event};
use model::Timestamp;

use crate::detectors::Detectors;
use crate::election::{Batch, Election, MASTERS, News};
use crate::faults::Fault;
use crate::master_node::MasterNode;
use crate::world::{Happening, START, World};

/// How long a link may be silent before it is asked, and again before it is left.
const KEEP_ALIVE: u64 = 20;

/// See the module.
pub struct Joined {
    /// Who leads.
    pub election: Election,
    /// Whom agents and schedulers believe to lead, and whom they reach.
    pub detectors: Detectors,
    /// The highest epoch in whose name something was done.
    acted: u64,
}

impl Joined {
    /// A world with so many agents and schedulers.
    fn new(seed: u64, rest: Duration, away: Duration, agents: usize, schedulers: usize) -> Joined {
        let election = Election::new(seed, rest, away);
        Joined { election, detectors: Detectors::new(agents, schedulers), acted: 0 }
    }
}

impl World {
    /// Masters contend from now on.
    pub fn join_ensemble(&mut self) {
        let rest = Duration::from_secs([12, 40, 120][self.pick(3)]);
        let away = Duration::from_secs([5, 60][self.pick(2)]);
        let seed = self.seed;
        let mut joined = Joined::new(seed, rest, away, self.agents.len(), self.schedulers.len());
        joined.election.tracing = self.tracing;
        self.ensemble = Some(Box::new(joined));
    }

    /// When something happens next in the election.
    pub(crate) fn next_of_election(&self) -> Option<Timestamp> {
        self.ensemble.as_ref().map(|joined| START + joined.election.next())
    }

    /// It happens.
    pub(crate) fn election_goes_on(&mut self) {
        if let Some(joined) = &mut self.ensemble {
            joined.election.step();
            self.hear_of_election();
        }
    }

    /// Something is asked of the election now.
    fn elects<T>(&mut self, ask: impl FnOnce(&mut Election) -> T) -> Option<T> {
        let joined = self.ensemble.as_mut()?;
        joined.election.now = joined.election.now.max(self.now.since(START));
        let answer = ask(&mut joined.election);
        self.hear_of_election();
        Some(answer)
    }

    fn hear_of_election(&mut self) {
        let Some(joined) = &mut self.ensemble else { return };
        let (news, told) =
            (std::mem::take(&mut joined.election.news), std::mem::take(&mut joined.election.trace));
        let broken = joined.election.broken.take();
        told.into_iter().for_each(|line| self.note(|| line));
        broken.into_iter().for_each(|why| self.broken(why));
        for news in news {
            match news {
                News::Leads(master, contents) => self.gets_tenure(master, (*contents).clone()),
                News::Written(master, batch) => self.ensemble_wrote(master, batch),
                News::Lost(master, why) => self.drops(master, why, false),
                News::Killed(master) => self.drops(master, "its process was killed", true),
                News::Stopped(master, pause) => self.falls_silent(master, pause),
                News::Forced(master) => self.waver(master),
                News::Candidates(server) => self.candidates_changed(server),
            }
        }
    }

    /// The node of a master's process, while it leads or believes so.
    pub fn node_of(&self, process: usize) -> Option<&MasterNode> {
        self.masters.values().find(|master| master.process == Some(process))
    }

    fn gets_tenure(&mut self, process: usize, found: Contents) {
        if !self.masters.is_empty() {
            self.faults.add(Fault::TwoLeaders);
        }
        self.lead(Some(process), found);
    }

    /// A tenure is over: its state is dropped, and its connections with it. What was sent before may arrive, unless the
    /// process was killed.
    fn drops(&mut self, process: usize, why: &str, killed: bool) {
        let Some(life) = self.node_of(process).map(|master| master.life) else { return };
        self.masters.remove(&life);
        self.note(|| format!("master {life} is dropped: {why}"));
        if killed {
            self.faults.add(Fault::MasterKilled);
        }
        for connection in self.network.leading_to(life) {
            if killed || self.percent(50) {
                self.break_connection(connection);
            } else {
                self.close_connection(connection);
            }
        }
    }

    /// Who hears nothing of a process for too long leaves it.
    fn falls_silent(&mut self, process: usize, pause: Duration) {
        let Some(life) = self.node_of(process).map(|master| master.life) else { return };
        for connection in self.network.leading_to(life) {
            let patience = Duration::from_secs(KEEP_ALIVE) + self.within(KEEP_ALIVE);
            if patience < pause {
                self.after(patience, Happening::Breaks(connection));
            }
        }
    }

    /// While two masters may lead, links and streams break, so that some go back to the one that leads no more; and an
    /// operator asks that one to write something.
    fn waver(&mut self, process: usize) {
        for agent in 0..self.agents.len() {
            for most in [2, 6] {
                let pause = self.within(most);
                self.after(pause, Happening::LinksBreak(agent));
            }
        }
        for scheduler in 0..self.schedulers.len() {
            let pause = self.within(12);
            self.after(pause, Happening::StreamsBreak(scheduler));
        }
        let asked = self
            .node_of(process)
            .and_then(|master| Some((master.life, master.state.agents.keys().next()?.clone())));
        if let (Some((life, agent)), true) = (asked, self.percent(30)) {
            let pause = self.within(4);
            self.faults.add(Fault::Gone);
            let event = self.call_to_mark_gone(life, agent);
            self.after(pause, Happening::MasterHears(life, event.into()));
        }
    }

    /// Whether something that a master wants to do may leave it. If not, it steps back.
    pub(crate) fn may_act(&mut self, life: u64) -> bool {
        let Some(master) = self.masters.get(&life) else { return false };
        let (epoch, Some(process)) = (master.epoch, master.process) else { return true };
        if self.elects(|election| election.may_act(process)) != Some(true) {
            self.faults.add(Fault::Silenced);
            self.elects(|election| election.mind_lease(process));
            return false;
        }
        let Some(joined) = &mut self.ensemble else { return true };
        let before = joined.acted;
        joined.acted = before.max(epoch);
        if epoch < before && !joined.election.forced {
            self.broken(format!("master {life} acts with epoch {epoch} after one with epoch {before}"));
        }
        true
    }

    /// Hands what a master wants to be written to the ensemble.
    pub(crate) fn flush(&mut self, life: u64) {
        let Some(master) = self.masters.get_mut(&life) else { return };
        let (Some(process), false) = (master.process, master.writes.is_empty()) else { return };
        let batch = std::mem::take(&mut master.writes);
        self.elects(|election| election.write(process, batch));
    }

    fn ensemble_wrote(&mut self, process: usize, batch: Batch) {
        let Some(life) = self.node_of(process).map(|master| master.life) else { return };
        for (ticket, change) in batch {
            let Some(master) = self.masters.get_mut(&life) else { return };
            master.books.contents.apply(&change);
            self.step_master(life, Event::Persisted { ticket, done: true });
        }
        if let (Some(master), Some(joined)) = (self.masters.get(&life), &self.ensemble) {
            let there = joined.election.registry();
            if there.epoch == master.epoch && *there != master.books.contents {
                let why = format!("{there:?} is written, master {life} knows of {:?}", master.books.contents);
                self.broken(why);
            }
        }
    }

    /// Until when the process is stopped to which this happens.
    pub(crate) fn sleeps_until(&self, happening: &Happening) -> Option<Timestamp> {
        let joined = self.ensemble.as_ref()?;
        let of = |life: &u64| self.masters.get(life)?.process;
        let process = match happening {
            Happening::OperatorWatches(life)
            | Happening::MasterTick(life)
            | Happening::MasterHears(life, _) => of(life)?,
            Happening::ToMaster(connection, _) | Happening::EndsAtMaster(connection) => {
                of(&self.network.get(*connection)?.life)?
            }
            Happening::Call(call) => call.to?,
            _ => return None,
        };
        let until = START + joined.election.stopped_until(process);
        (until > self.now).then_some(until)
    }

    /// Whether a master was succeeded, as far as the ensemble knows, and what it says of tasks counts no more.
    pub fn is_superseded(&self, life: u64) -> bool {
        let Some(joined) = self.ensemble.as_ref().filter(|joined| joined.election.forced) else {
            return false;
        };
        self.masters.get(&life).is_none_or(|master| master.epoch < joined.election.registry().epoch)
    }

    /// Nothing goes wrong any more among masters, and on the way to them.
    pub(crate) fn calm_ensemble(&mut self) {
        self.elects(Election::calms);
        if let Some(joined) = &mut self.ensemble {
            joined.detectors.heal();
        }
    }

    /// One leads and all know it.
    pub(crate) fn judge_ensemble(&self) -> Result<(), String> {
        let Some(joined) = &self.ensemble else { return Ok(()) };
        let leader = joined.election.agreed()?;
        let nodes: Vec<_> = self.masters.values().map(|master| (master.life, master.process)).collect();
        match nodes[..] {
            [(_, Some(process))] if process == leader => Ok(()),
            _ => Err(format!("{leader} leads of {MASTERS}, and there are {nodes:?}")),
        }
    }

    /// What went wrong, among masters too.
    pub fn all_faults(&self) -> crate::faults::Faults {
        let mut all = self.faults.clone();
        self.ensemble.iter().for_each(|joined| all.merge(&joined.election.faults));
        all
    }
}
