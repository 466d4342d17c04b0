//! What an agent owes of status updates, told from the outside: from what it hears, writes and sends.
//!
//! Nothing here asks the agent's logic what it means to do. An update is owed from the moment it is written (or shown,
//! where nothing is written) until its acknowledgement has arrived and is written, its framework is shut down or the
//! process ends; a new process owes what its disk holds. While the agent is registered the head of each queue must
//! have been sent, and is sent again exactly when its back-off is over.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use agent::logic::{Effect, Event, LinkId, Ticket, Write};
use bytes::Bytes;
use model::{FrameworkId, TaskId, TaskState, Timestamp};
use wire::link::{from_agent, from_master};
use wire::{link, v1};

use crate::host::Host;

/// Mesos: an update is sent again after 10 s, then after twice as long each time, up to 10 min.
const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(600);

type Key = (FrameworkId, TaskId);
type Outcome = Result<(), String>;

/// An update that somebody has to hear of.
#[derive(Debug)]
struct Letter {
    status: Arc<v1::TaskStatus>,
    /// It is written down before it is sent.
    kept: bool,
    /// The disk has answered.
    settled: bool,
    /// Its acknowledgement is being written.
    acknowledged: bool,
    /// Times it was sent since the agent registered, and when the next one is due.
    sent: u32,
    due: Timestamp,
}

#[derive(Debug)]
enum Pending {
    Update(Key, Bytes),
    Acknowledged(Key, Bytes),
}

/// See the module.
#[derive(Debug, Default)]
pub struct Postman {
    link: Option<LinkId>,
    epoch: u64,
    registered: bool,
    queues: BTreeMap<Key, VecDeque<Letter>>,
    pending: BTreeMap<Ticket, Pending>,
    /// Updates that were ever in a queue: one that is acknowledged is never owed again.
    seen: BTreeSet<Bytes>,
    /// Frameworks that were shut down: nobody waits for their updates any more.
    over: BTreeSet<FrameworkId>,
    /// The agent leaves; its process owes nothing more.
    left: bool,
    /// When the next letter must be sent again.
    pub deadline: Option<Timestamp>,
    /// Updates that were sent again.
    pub repeated: u64,
}

impl Letter {
    fn new(status: Arc<v1::TaskStatus>, kept: bool, settled: bool) -> Letter {
        Letter { status, kept, settled, acknowledged: false, sent: 0, due: Timestamp::ZERO }
    }

    fn uuid(&self) -> &[u8] {
        self.status.uuid()
    }

    fn ends(&self) -> bool {
        TaskState::from(self.status.state()).is_terminal()
    }
}

impl Postman {
    /// A process starts and owes what its disk holds. Acknowledgements come in order, so an update that was
    /// acknowledged answers for those before it.
    pub fn starts(host: &Host) -> Postman {
        let mut postman = Postman::default();
        for (framework, runs) in host.runs() {
            for found in runs.iter().filter(|found| !found.done) {
                let heard = found.updates.iter().rposition(|u| u.acknowledged).map_or(0, |last| last + 1);
                let letters: VecDeque<Letter> = found.updates[heard..]
                    .iter()
                    .map(|u| Letter::new(u.status.clone(), true, true))
                    .collect();
                postman.seen.extend(found.updates.iter().filter_map(|u| u.status.uuid.clone()));
                if !letters.is_empty() {
                    postman.queues.insert((framework.clone(), found.run.task.clone()), letters);
                }
            }
        }
        postman
    }

    /// The agent is about to take an event in.
    pub fn hears(&mut self, event: &Event) {
        match event {
            Event::LinkUp { link } => (self.link, self.registered) = (Some(*link), false),
            Event::LinkLost { link } if self.link == Some(*link) => self.parts(),
            // The word of an older master than the last one does not count.
            Event::LinkSays { link, epoch, body } if self.link == Some(*link) && *epoch >= self.epoch => {
                self.epoch = *epoch;
                self.told(body);
            }
            Event::Checkpointed { ticket, .. } => match self.pending.remove(ticket) {
                Some(Pending::Update(key, uuid)) => {
                    let letters = self.queues.get_mut(&key).into_iter().flatten();
                    letters.filter(|l| l.uuid() == &uuid[..]).for_each(|letter| letter.settled = true);
                }
                Some(Pending::Acknowledged(key, uuid)) => self.delivered(&key, &uuid),
                None => {}
            },
            _ => {}
        }
    }

    fn told(&mut self, body: &from_master::Body) {
        match body {
            from_master::Body::Registered(_) => {
                self.registered = true;
                self.queues.values_mut().flatten().for_each(|letter| letter.sent = 0);
            }
            from_master::Body::Ping(ping) if !ping.connected => self.registered = false,
            from_master::Body::ShutdownFramework(m) => {
                self.over.insert(FrameworkId::from(m.framework_id.as_str()));
            }
            from_master::Body::Acknowledge(m) => self.acknowledged(m),
            _ => {}
        }
    }

    fn acknowledged(&mut self, message: &link::Acknowledge) {
        let key = (FrameworkId::from(message.framework_id.as_str()), TaskId::from(message.task_id.as_str()));
        let Some(head) = self.queues.get_mut(&key).and_then(VecDeque::front_mut) else { return };
        if head.uuid() != &message.uuid[..] || !head.settled {
            return;
        }
        // After an end nothing follows that could overtake the record of its acknowledgement.
        if head.kept && !head.ends() {
            head.acknowledged = true;
        } else {
            self.delivered(&key, &message.uuid);
        }
    }

    fn delivered(&mut self, key: &Key, uuid: &[u8]) {
        let Some(queue) = self.queues.get_mut(key) else { return };
        if queue.front().is_some_and(|head| head.uuid() == uuid) {
            queue.pop_front();
        }
        if queue.is_empty() {
            self.queues.remove(key);
        }
    }

    fn parts(&mut self) {
        (self.link, self.registered) = (None, false);
    }

    /// Whether all that was ever said has been heard.
    pub fn owes_nothing(&self) -> bool {
        self.queues.keys().all(|key| self.over.contains(&key.0))
    }

    /// Whether a framework was shut down on the agent.
    pub fn is_over(&self, framework: &FrameworkId) -> bool {
        self.over.contains(framework)
    }

    /// The agent shows on its API that a task, of which nothing is written down, came so far.
    pub fn shows(&mut self, key: &Key, statuses: &[Arc<v1::TaskStatus>]) {
        for status in statuses {
            if self.seen.insert(status.uuid.clone().unwrap_or_default()) {
                self.queues.entry(key.clone()).or_default().push_back(Letter::new(
                    status.clone(),
                    false,
                    true,
                ));
            }
        }
    }

    /// The agent does something.
    ///
    /// # Errors
    /// It may not.
    pub fn does(&mut self, now: Timestamp, effect: &Effect, host: &Host) -> Outcome {
        match effect {
            Effect::Checkpoint { ticket, write: Write::Update { run, status } } => {
                let key = (run.framework.clone(), run.task.clone());
                let uuid = status.uuid.clone().unwrap_or_default();
                if !host.has(run) {
                    return Err(format!("an update of {key:?} is written without its task"));
                }
                self.seen.insert(uuid.clone());
                self.queues.entry(key.clone()).or_default().push_back(Letter::new(
                    status.clone(),
                    true,
                    false,
                ));
                self.pending.insert(*ticket, Pending::Update(key, uuid));
            }
            Effect::Checkpoint { ticket, write: Write::Acknowledged { run, uuid } } => {
                let key = (run.framework.clone(), run.task.clone());
                let head = self.queues.get(&key).and_then(VecDeque::front);
                let awaited = head.is_some_and(|head| head.uuid() == &uuid[..] && head.acknowledged);
                let ended = !self.owes(&key, uuid) && self.seen.contains(uuid);
                if !(awaited || ended) {
                    return Err(format!("an update of {key:?} counts as heard but nobody said so"));
                }
                self.pending.insert(*ticket, Pending::Acknowledged(key, uuid.clone()));
            }
            Effect::Reconnect { .. } => self.parts(),
            Effect::Exit { .. } => self.left = true,
            Effect::ToMaster { link, body } => {
                if let from_agent::Body::Status(status) = &**body {
                    return self.sends(now, *link, status, host);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn owes(&self, key: &Key, uuid: &[u8]) -> bool {
        self.queues.get(key).is_some_and(|queue| queue.iter().any(|letter| letter.uuid() == uuid))
    }

    fn sends(&mut self, now: Timestamp, link: LinkId, message: &link::Status, host: &Host) -> Outcome {
        let status = message.status.as_ref().ok_or("an update without a status is sent")?;
        let key = (FrameworkId::from(message.framework_id.as_str()), TaskId::from(&status.task_id));
        let uuid = status.uuid.clone().unwrap_or_default();
        let what = || format!("update {:?} of {key:?}", status.state());
        if !self.registered || self.link != Some(link) {
            return Err(format!("{} is sent while the agent is not registered", what()));
        }
        if !self.owes(&key, &uuid) {
            if !self.seen.insert(uuid.clone()) {
                return Err(format!("{} is sent after it was acknowledged", what()));
            }
            if host.keeps(&key, status) {
                return Err(format!("{} is sent and was never written", what()));
            }
            let letter = Letter::new(Arc::new(status.clone()), false, true);
            self.queues.entry(key.clone()).or_default().push_back(letter);
        }
        let queue = self.queues.get_mut(&key).ok_or("an empty queue")?;
        let newest = queue.back().map(|letter| letter.status.state());
        if newest != Some(message.latest_state()) {
            return Err(format!(
                "{} says {:?} as the latest state, not {newest:?}",
                what(),
                message.latest_state()
            ));
        }
        let head = queue.front_mut().ok_or("an empty queue")?;
        if head.uuid() != &uuid[..] {
            return Err(format!("{} is sent before the update before it is acknowledged", what()));
        }
        if !head.settled {
            return Err(format!("{} is sent before it is on disk", what()));
        }
        if *head.status != *status {
            return Err(format!("{} is not what was written", what()));
        }
        if head.acknowledged {
            return Err(format!("{} is sent although it was acknowledged", what()));
        }
        if head.sent > 0 && now != head.due {
            return Err(format!("{} is sent again at {now:?}, not at {:?}", what(), head.due));
        }
        self.repeated += u64::from(head.sent > 0);
        let wait = FIRST.saturating_mul(1 << head.sent.min(16)).min(LONGEST);
        (head.sent, head.due) = (head.sent + 1, now + wait);
        Ok(())
    }

    /// The agent has done all that an event made it do: whatever can be sent is on its way.
    ///
    /// # Errors
    /// An update is forgotten.
    pub fn rests(&mut self, now: Timestamp) -> Outcome {
        self.deadline = None;
        if self.left || !self.registered {
            return Ok(());
        }
        for (key, queue) in self.queues.iter().filter(|(key, _)| !self.over.contains(&key.0)) {
            let Some(head) = queue.front().filter(|head| head.settled && !head.acknowledged) else {
                continue;
            };
            let state = head.status.state();
            if head.sent == 0 {
                return Err(format!("update {state:?} of {key:?} can be sent but is not"));
            }
            if head.due < now {
                return Err(format!("update {state:?} of {key:?} was to be sent again at {:?}", head.due));
            }
            self.deadline = Some(self.deadline.map_or(head.due, |first| first.min(head.due)));
        }
        Ok(())
    }
}
