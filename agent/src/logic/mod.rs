//! What an agent decides, without any I/O: a state, events that change it, effects that follow.
//!
//! The service gives each [`Event`] to [`State::step`] with the present time and carries out the [`Effect`]s in order.
//! What has to wait for the disk waits in the state, keyed by a [`Ticket`].

mod counts;
pub mod effect;
pub mod event;
mod garbage;
mod kills;
mod limits;
mod reconfiguration;
mod recovery;
pub mod registration;
mod say;
pub mod state;
mod status;
mod tables;
mod tasks;
pub mod updates;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use model::Timestamp;
use model::random::Random;

pub use counts::Counts;
pub use effect::{Effect, Launch, Run, Write};
pub use event::{
    Event, Exit, ExitStatus, Found, KillCause, LaunchFailure, LaunchFailureKind, LinkId, Recovered,
    RecoveredFramework, RecoveredRun, RecoveredUpdate, Ticket,
};
pub use kills::DEFAULT_GRACE;
pub use limits::disk_quota;
pub use reconfiguration::Reconfiguration;
pub use state::{Framework, Settings, Stage, State, Task, TaskKey, View};

use state::{Standing, Waiting};

impl State {
    /// An agent that has not looked at its disk yet: its first event is [`Event::Recovered`].
    pub fn new(settings: Settings, seed: u64) -> State {
        State {
            settings: Arc::new(settings),
            random: Random::new(seed),
            agent: None,
            master: None,
            epoch: 0,
            standing: Standing::Apart,
            recovered: false,
            frameworks: BTreeMap::new(),
            completed_frameworks: VecDeque::new(),
            containers: BTreeMap::new(),
            streams: BTreeMap::new(),
            tickets: BTreeMap::new(),
            next_ticket: 0,
            garbage: VecDeque::new(),
            undone: VecDeque::new(),
            undone_due: None,
            disk_used: 0.0,
            counts: Counts::default(),
            leaving: None,
            left: false,
        }
    }

    /// Takes one event in; what has to be done about it is put to `out`.
    pub fn step(&mut self, now: Timestamp, event: Event, out: &mut Vec<Effect>) {
        if self.left {
            return;
        }
        match event {
            Event::Recovered(found) => self.recover(now, *found, out),
            Event::LinkUp { link } => self.link_up(now, link),
            Event::LinkSays { link, epoch, body } => self.master_says(now, link, epoch, *body, out),
            Event::LinkLost { link } => self.link_lost(link),
            Event::Checkpointed { ticket, outcome } => self.checkpointed(now, ticket, outcome, out),
            Event::ContainerPrepared { container } => self.container_prepared(now, &container, out),
            Event::ContainerStarted { container, pid } => self.container_started(now, &container, pid, out),
            Event::ContainerFailed { container, failure } => {
                self.container_failed(now, &container, &failure, out);
            }
            Event::ContainerExited { container, exit } => self.container_exited(now, &container, exit, out),
            Event::ContainerLost { container, why } => self.container_lost(now, &container, &why, out),
            Event::DiskUsage { used } => self.disk_used = used,
            Event::Collected { removed: true } => self.counts.removals += 1,
            Event::Collected { removed: false } => self.counts.failed_removals += 1,
            Event::DiskQuotaExceeded { container, why } => self.over_disk_quota(&container, why, out),
            Event::KillContainer { container, grace } => self.kill_container(now, &container, grace, out),
            Event::ShutdownRequested => self.leave(now, true, "the operator asked for it".to_owned(), out),
            Event::Tick => {}
        }
        if !self.left {
            self.tick(now, out);
        }
    }

    /// Fires what is due.
    fn tick(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        self.check_standing(now, out);
        self.retry_updates(now, out);
        self.collect(now, out);
        self.retry_done(now, out);
        self.leave_when_empty(now, out);
    }

    /// When the next [`Event::Tick`] is due, if time alone will change anything.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        if self.left {
            return None;
        }
        let updates = self.streams.values().filter_map(updates::Stream::due).min();
        let leaving = self.leaving.as_ref().map(|l| l.deadline);
        [self.standing_due(), updates, self.garbage_due(), self.undone_due, leaving]
            .into_iter()
            .flatten()
            .min()
    }

    /// The agent's id, once a master has given one.
    pub fn agent_id(&self) -> Option<&model::AgentId> {
        self.agent.as_ref()
    }

    /// Whether it is registered right now.
    pub fn is_registered(&self) -> bool {
        self.registered_link().is_some()
    }

    /// The epoch of the master that it obeyed last.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Containers of frameworks without checkpointing that still run or start: no restart finds them again.
    pub fn unsaved_containers(&self) -> Vec<model::ContainerId> {
        let unsaved = self.frameworks.values().filter(|f| !f.checkpoints());
        let tasks = unsaved.flat_map(|f| f.tasks.values()).filter(|t| t.stage != Stage::Ended);
        tasks.map(|t| t.run.container.clone()).collect()
    }

    /// What the HTTP API shows.
    pub fn view(&self) -> View {
        View {
            settings: self.settings.clone(),
            agent: self.agent.clone(),
            registered: self.registered_link().is_some(),
            frameworks: self.frameworks.clone(),
            completed_frameworks: self.completed_frameworks.clone(),
            counts: self.counts,
            garbage: self.garbage.len(),
            garbage_age: self.garbage_age(),
        }
    }

    fn checkpoint(&mut self, waiting: Waiting, write: Write, out: &mut Vec<Effect>) {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.tickets.insert(ticket, waiting);
        out.push(Effect::Checkpoint { ticket, write });
    }

    fn checkpointed(
        &mut self,
        now: Timestamp,
        ticket: Ticket,
        outcome: Result<(), String>,
        out: &mut Vec<Effect>,
    ) {
        match self.tickets.remove(&ticket) {
            Some(Waiting::Agent) => self.agent_checkpointed(outcome, out),
            Some(Waiting::Task(key, container)) => {
                self.task_checkpointed(now, &key, &container, outcome, out);
            }
            Some(Waiting::Update(key, uuid)) => self.update_checkpointed(now, &key, &uuid, outcome, out),
            Some(Waiting::Acknowledged(key, uuid)) => {
                warn_of(outcome, out);
                self.acknowledged(now, &key, &uuid, out);
            }
            Some(Waiting::Done(run)) => {
                self.done_checkpointed(now, run, outcome.is_ok(), out);
                warn_of(outcome, out);
            }
            Some(Waiting::Nothing) => warn_of(outcome, out),
            None => {}
        }
    }
}

fn warn_of(outcome: Result<(), String>, out: &mut Vec<Effect>) {
    if let Err(why) = outcome {
        out.push(Effect::Warn(format!("Could not write a checkpoint: {why}")));
    }
}
