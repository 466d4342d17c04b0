//! The registry on the disk of a master that is alone, and its failures.

use std::collections::VecDeque;
use std::time::Duration;

use master::logic::{Change, Contents, Event, Ticket};
use model::Timestamp;

use crate::faults::Fault;
use crate::network::delay;
use crate::world::{Happening, World};

/// See the module.
#[derive(Default)]
pub struct Registry {
    /// What is on disk.
    pub contents: Contents,
    /// Writes take long before this.
    pub slow_until: Timestamp,
    /// The next write fails.
    pub fails_next: bool,
    writes: VecDeque<(Ticket, Change)>,
    last: Timestamp,
}

impl Registry {
    /// The master ends: the first `count` of the writes under way are done, the others are lost.
    pub fn crash(&mut self, count: usize) {
        let pending: Vec<_> = self.writes.drain(..).take(count).collect();
        pending.iter().for_each(|(_, change)| self.contents.apply(change));
    }

    /// How many writes are under way.
    pub fn pending(&self) -> u64 {
        self.writes.len() as u64
    }
}

impl World {
    pub(crate) fn write_registry(&mut self, life: u64, ticket: Ticket, change: Change) {
        self.note(|| format!("registry: {ticket:?} {change:?}"));
        self.registry.writes.push_back((ticket, change));
        // Mesos: a store may take up to 20 s.
        let pause =
            if self.registry.slow_until > self.now { self.within(20) } else { delay(&mut self.random) };
        let when = self.registry.last.max(self.now + pause);
        self.registry.last = when;
        self.at(when, Happening::RegistryWrote(life));
    }

    pub(crate) fn registry_wrote(&mut self, life: u64) {
        if self.masters.get(&life).is_none_or(|master| master.down) {
            return;
        }
        let Some((ticket, change)) = self.registry.writes.pop_front() else { return };
        let done = !std::mem::take(&mut self.registry.fails_next);
        // A write of which nobody knows how it went may have been done.
        if done || self.percent(50) {
            self.registry.contents.apply(&change);
        }
        match self.masters.get_mut(&life) {
            Some(master) if done => master.books.contents.apply(&change),
            _ => self.registry_failed(life),
        }
        self.step_master(life, Event::Persisted { ticket, done });
        if !done && self.masters.get(&life).is_some_and(|master| !master.stepped_down) {
            self.broken("the registry failed and the master leads on");
        }
    }

    /// The master must step down; until its process ends it may do nothing more, whatever happens to it.
    fn registry_failed(&mut self, life: u64) {
        self.faults.add(Fault::WriteRefused);
        self.note(|| "the registry fails".to_owned());
        if let Some(master) = self.masters.get_mut(&life) {
            master.down = true;
        }
        let pause = self.within(3) + Duration::from_millis(1);
        self.after(pause, Happening::MasterEnds(life));
    }

    /// What a disk or a registry may do to a cluster.
    pub(crate) fn storage_fails(&mut self, agent: usize) {
        let until = self.now + self.within(60);
        // The ensemble has disks of its own.
        let kind = self.random.below(if self.ensemble.is_some() { 2 } else { 4 });
        if matches!(kind, 1 | 2) {
            self.faults.add(Fault::StorageSlow);
        }
        match kind {
            0 => self.agents[agent].disk_broken_until = until,
            1 => self.agents[agent].disk_slow_until = until,
            2 => self.registry.slow_until = until,
            _ => self.registry.fails_next = true,
        }
        self.note(|| format!("storage fails, agent {agent}"));
    }
}
