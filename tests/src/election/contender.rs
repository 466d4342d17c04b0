//! A master's process as far as it contends and leads: the product's own contest and lease, with the steps around them in
//! the order in which the product takes them. Its clock runs a little faster or slower than others'.
//!
//! What it wants comes out as [`Wish`]es. A tenure has one lease. When that is over all of the tenure is dropped; only a
//! write that is under way may go on, as the thread does that nobody waits for any more (`ghosts`). One that can't go on
//! while its lease holds leaves the contest for a while.

use std::sync::Arc;
use std::time::Duration;

use coordination::contest::{Contest, Verdict};
use coordination::lease::Moment;
use master::logic::Contents;

use super::ensemble::{Ask, Reply, TIMEOUT};
use super::records::{Batch, Outcome, Records};

/// Between two looks of a leader, of another one, and after a failure.
const LOOK: Duration = Duration::from_millis(TIMEOUT.as_millis() as u64 / 8);
const IDLE: Duration = Duration::from_secs(60);
const AFTER_FAILURE: Duration = Duration::from_millis(500);
/// Before one that gave up contends again.
const PAUSE: Duration = Duration::from_secs(2);

/// What it wants to happen, and what it tells.
#[derive(Debug)]
pub enum Wish {
    /// To ask the ensemble this; the answer is for a writer of the registry, or for the contest.
    Ask(Option<u64>, Ask),
    /// To look again after this time.
    LookIn(Duration),
    /// A writer of the registry goes on after this time.
    GoOnIn(Duration, u64),
    /// To contend again after this time.
    ContendIn(Duration),
    /// It leads, with this in the registry.
    Leads(Arc<Contents>),
    /// These are written.
    Written(Batch),
    /// It leads no more.
    Lost(&'static str),
}

/// How far it is.
#[derive(Debug)]
enum Part {
    Standby,
    TakesOver {
        lease: u64,
        records: Records,
    },
    Leads {
        lease: u64,
        records: Records,
    },
    /// Its node is being removed.
    Withdraws,
    Pauses,
}

/// See the module.
#[derive(Debug)]
pub struct Contender {
    /// Which of the masters.
    index: usize,
    /// Where it says that it is.
    pub address: String,
    /// Raised when its process starts again.
    pub life: u64,
    /// The session it has, or believes to have.
    pub session: Option<u64>,
    /// What it knows within the session.
    pub contest: Contest,
    /// The newest that it was ever shown by a server.
    pub seen: u64,
    part: Part,
    ghosts: Vec<Records>,
    lease: Option<(u64, Moment)>,
    asked: Option<Moment>,
    connected: bool,
    /// What waits for a connection.
    unsent: Vec<(Option<u64>, Ask)>,
    /// Leases and writers that there were.
    count: u64,
    boot: Duration,
    /// Of its clock, in thousandths of the true one.
    rate: u32,
}

impl Contender {
    pub fn new(index: usize, boot: Duration, rate: u32) -> Contender {
        Contender {
            index,
            address: format!("10.0.0.{}:5050", index + 1),
            life: 0,
            session: None,
            contest: Contest::new(TIMEOUT),
            seen: 0,
            part: Part::Standby,
            ghosts: Vec::new(),
            lease: None,
            asked: None,
            connected: false,
            unsent: Vec::new(),
            count: 0,
            boot,
            rate,
        }
    }

    /// Its process starts again: it knows nothing.
    pub fn restart(&mut self) {
        let fresh = Contender::new(self.index, self.boot, self.rate);
        *self = Contender { life: self.life + 1, count: self.count, ..fresh };
    }

    fn clock(&self, now: Duration) -> Moment {
        Moment::after_boot(self.boot + now * self.rate / 1000)
    }

    fn next(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    /// Whether it leads and may act. Asked before anything leaves it.
    pub fn may_act(&self, now: Duration) -> bool {
        matches!(self.part, Part::Leads { lease, .. } if self.holds(lease, now))
    }

    /// The epoch in which it leads, or believes so.
    pub fn epoch(&self) -> Option<u64> {
        match &self.part {
            Part::Leads { records, .. } => Some(records.epoch()),
            _ => None,
        }
    }

    fn holds(&self, lease: u64, now: Duration) -> bool {
        self.lease.is_some_and(|(id, end)| id == lease && self.clock(now) < end)
    }

    /// A lease that ran out is over, whatever is learned later; and a tenure with it.
    pub fn mind_lease(&mut self, now: Duration, out: &mut Vec<Wish>) {
        if self.lease.is_some_and(|(id, _)| !self.holds(id, now)) {
            self.lease = None;
        }
        match &self.part {
            Part::Leads { lease, .. } if !self.holds(*lease, now) => self.loses("its lease is over", out),
            Part::Standby => self.begins(out),
            _ => {}
        }
    }

    fn begins(&mut self, out: &mut Vec<Wish>) {
        let (Some((lease, _)), Some(own)) = (self.lease, self.contest.own().map(str::to_owned)) else {
            return;
        };
        let writer = self.next() * 100 + self.index as u64;
        let mut records = Records::new(writer, &own);
        let first = records.take_over();
        self.part = Part::TakesOver { lease, records };
        if let Outcome::Asks(ask) = first {
            self.asks(Some(writer), ask, out);
        }
    }

    fn loses(&mut self, why: &'static str, out: &mut Vec<Wish>) {
        if let Part::Leads { mut records, .. } = std::mem::replace(&mut self.part, Part::Standby) {
            if records.is_abandoned() {
                self.ghosts.push(records);
            }
            out.push(Wish::Lost(why));
        }
    }

    /// Without a connection requests wait.
    fn asks(&mut self, by: Option<u64>, ask: Ask, out: &mut Vec<Wish>) {
        if self.connected {
            out.push(Wish::Ask(by, ask));
        } else {
            self.unsent.push((by, ask));
        }
    }

    /// Looks at the nodes, if it is connected and doesn't look already.
    pub fn look(&mut self, now: Duration, out: &mut Vec<Wish>) {
        self.mind_lease(now, out);
        if self.connected && self.asked.is_none() && !matches!(self.part, Part::Withdraws) {
            self.asked = Some(self.clock(now));
            out.push(Wish::Ask(None, Ask::Look));
        }
    }

    /// Its connection is gone, with all that had no answer.
    pub fn disconnected(&mut self, now: Duration, out: &mut Vec<Wish>) {
        self.mind_lease(now, out);
        (self.asked, self.connected) = (None, false);
        // What was not sent yet waits on.
        let waits: Vec<u64> = self.unsent.iter().filter_map(|(by, _)| *by).collect();
        for writer in self.writers().into_iter().filter(|writer| !waits.contains(writer)) {
            self.tell(writer, now, out, Records::disconnected);
        }
        if let (Part::Withdraws, true) = (&self.part, self.unsent.is_empty()) {
            self.pauses(out);
        }
        out.push(Wish::LookIn(AFTER_FAILURE));
    }

    fn writers(&self) -> Vec<u64> {
        let own = match &self.part {
            Part::TakesOver { records, .. } | Part::Leads { records, .. } => Some(records.writer),
            _ => None,
        };
        own.into_iter().chain(self.ghosts.iter().map(|records| records.writer)).collect()
    }

    /// The ensemble answers the contest.
    pub fn hear(&mut self, now: Duration, reply: Reply, out: &mut Vec<Wish>) {
        self.mind_lease(now, out);
        match reply {
            Reply::Session(id) => self.has_session(now, id, out),
            Reply::Expired => self.expired(now, out),
            Reply::Nodes(nodes, own) => self.sees(now, &nodes, own, out),
            Reply::Created(node) => {
                self.contest.joined(&node);
                self.look(now, out);
            }
            Reply::Content(node, content) => match content {
                Some(content) => self.contest.read(&node, content.as_bytes()).expect("all of ours are good"),
                None => self.look(now, out),
            },
            Reply::Deleted => {
                if let Part::Withdraws = self.part {
                    self.pauses(out);
                }
            }
            Reply::Done
            | Reply::Head(..)
            | Reply::Registry(_)
            | Reply::Written(_)
            | Reply::NoNode
            | Reply::BadVersion => {}
        }
        self.mind_lease(now, out);
    }

    fn has_session(&mut self, now: Duration, id: u64, out: &mut Vec<Wish>) {
        (self.asked, self.connected) = (None, true);
        if self.session.replace(id) != Some(id) {
            self.contest = Contest::new(TIMEOUT);
        }
        out.extend(self.unsent.drain(..).map(|(by, ask)| Wish::Ask(by, ask)));
        self.look(now, out);
    }

    fn expired(&mut self, now: Duration, out: &mut Vec<Wish>) {
        // All that was asked within a session is answered so.
        if self.session.take().is_none() {
            return;
        }
        (self.asked, self.lease) = (None, None);
        self.unsent.clear();
        self.loses("its session is over", out);
        self.ghosts.clear();
        match self.part {
            Part::Withdraws => self.pauses(out),
            Part::TakesOver { .. } => self.part = Part::Standby,
            _ => {}
        }
        self.connected = false;
        self.mind_lease(now, out);
        out.push(Wish::Ask(None, Ask::Open));
    }

    /// The ensemble answers a writer of the registry.
    pub fn hear_of_registry(&mut self, now: Duration, writer: u64, reply: Reply, out: &mut Vec<Wish>) {
        self.mind_lease(now, out);
        if let Reply::Expired = reply {
            return self.expired(now, out);
        }
        self.tell(writer, now, out, |records, outcomes| records.hear(reply, outcomes));
    }

    /// A pause of a writer of the registry is over.
    pub fn goes_on(&mut self, now: Duration, writer: u64, out: &mut Vec<Wish>) {
        self.mind_lease(now, out);
        self.tell(writer, now, out, Records::goes_on);
    }

    /// Writes, if it leads.
    pub fn write(&mut self, now: Duration, batch: Batch, out: &mut Vec<Wish>) {
        if let Part::Leads { records, .. } = &self.part {
            let writer = records.writer;
            self.tell(writer, now, out, |records, outcomes| records.write(batch, outcomes));
        }
    }

    fn tell(
        &mut self,
        writer: u64,
        now: Duration,
        out: &mut Vec<Wish>,
        what: impl FnOnce(&mut Records, &mut Vec<Outcome>),
    ) {
        let mut outcomes = Vec::new();
        match &mut self.part {
            Part::TakesOver { records, .. } | Part::Leads { records, .. } if records.writer == writer => {
                what(records, &mut outcomes);
            }
            _ => {
                if let Some(ghost) = self.ghosts.iter_mut().find(|ghost| ghost.writer == writer) {
                    what(ghost, &mut outcomes);
                }
                self.ghosts.retain_mut(|ghost| ghost.writer != writer || ghost.is_abandoned());
                outcomes.retain(|outcome| matches!(outcome, Outcome::Asks(_) | Outcome::GoesOnIn(_)));
            }
        }
        outcomes.into_iter().for_each(|outcome| self.comes_of(writer, outcome, now, out));
    }

    fn comes_of(&mut self, writer: u64, outcome: Outcome, now: Duration, out: &mut Vec<Wish>) {
        match outcome {
            Outcome::Asks(ask) => self.asks(Some(writer), ask, out),
            Outcome::GoesOnIn(pause) => out.push(Wish::GoOnIn(pause, writer)),
            Outcome::Written(batch) => out.push(Wish::Written(batch)),
            Outcome::Failed(why) => self.fails(now, why, out),
            Outcome::Taken(contents) => match std::mem::replace(&mut self.part, Part::Standby) {
                Part::TakesOver { lease, records } if self.holds(lease, now) => {
                    self.part = Part::Leads { lease, records };
                    out.push(Wish::Leads(contents));
                }
                _ => self.mind_lease(now, out),
            },
        }
    }

    /// It can't go on: another one gets the chance, unless it lost the leadership anyway.
    fn fails(&mut self, now: Duration, why: &'static str, out: &mut Vec<Wish>) {
        let (Part::TakesOver { lease, .. } | Part::Leads { lease, .. }) = self.part else { return };
        let held = self.holds(lease, now);
        self.loses(why, out);
        self.part = Part::Standby;
        if !held {
            return;
        }
        self.lease = None;
        match self.contest.own().map(str::to_owned) {
            Some(own) => {
                self.part = Part::Withdraws;
                self.asks(None, Ask::Delete(own), out);
            }
            None => self.pauses(out),
        }
    }

    fn pauses(&mut self, out: &mut Vec<Wish>) {
        self.part = Part::Pauses;
        out.push(Wish::ContendIn(PAUSE));
    }

    /// It contends again.
    pub fn contend(&mut self, now: Duration, out: &mut Vec<Wish>) {
        if let Part::Pauses = self.part {
            self.part = Part::Standby;
        }
        self.look(now, out);
    }

    fn sees(&mut self, now: Duration, nodes: &[String], own: Option<String>, out: &mut Vec<Wish>) {
        let Some(asked) = self.asked.take().filter(|_| !matches!(self.part, Part::Withdraws)) else { return };
        match self.contest.seen(asked, nodes.iter().map(String::as_str)) {
            Verdict::Leads { until } => {
                let id = self.lease.map_or_else(|| self.next(), |(id, _)| id);
                self.lease = Some((id, self.lease.map_or(until, |(_, end)| end.max(until))));
                out.push(Wish::LookIn(LOOK));
            }
            Verdict::Stands => {
                self.lease = None;
                out.push(Wish::LookIn(IDLE));
            }
            Verdict::Absent => {
                self.lease = None;
                self.joins(now, own, out);
            }
        }
        if let Some(node) = self.contest.unread().map(str::to_owned) {
            out.push(Wish::Ask(None, Ask::Read(node)));
        }
    }

    fn joins(&mut self, now: Duration, own: Option<String>, out: &mut Vec<Wish>) {
        match (&self.part, own) {
            (Part::Withdraws | Part::Pauses, _) => out.push(Wish::LookIn(IDLE)),
            // Its making was never answered.
            (_, Some(own)) => {
                self.contest.joined(&own);
                self.look(now, out);
            }
            (_, None) => out.push(Wish::Ask(None, Ask::Create(self.content()))),
        }
    }

    fn content(&self) -> String {
        format!(r#"{{"pid":"master@{}"}}"#, self.address)
    }

    /// Who leads, as far as it knows.
    pub fn leader(&self) -> Option<String> {
        self.contest.leader().map(|leader| leader.address.to_string())
    }
}
