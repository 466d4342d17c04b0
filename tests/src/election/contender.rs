//! A master that contends: the product's own contest and lease, with the steps around them in the order in which the
//! product takes them. Its clock runs a little faster or slower than others'.

use std::time::Duration;

use coordination::contest::{Contest, Verdict};
use coordination::lease::Moment;

use super::ensemble::{Ask, Reply, TIMEOUT};

/// Between two looks of a leader, of another one, and after a failure.
const LOOK: Duration = Duration::from_millis(TIMEOUT.as_millis() as u64 / 8);
const IDLE: Duration = Duration::from_secs(60);
const AFTER_FAILURE: Duration = Duration::from_millis(500);
/// Before one that gave up contends again.
const PAUSE: Duration = Duration::from_secs(2);

/// What it wants to happen.
#[derive(Debug)]
pub enum Wish {
    /// To ask the ensemble this.
    Ask(Ask),
    /// To look again after this time.
    LookIn(Duration),
    /// To act again soon: it leads.
    Act,
}

/// The right to act, and what is needed to write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tenure {
    /// Its number.
    pub epoch: u64,
    /// The version of the head as it left it.
    pub version: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Contender {
    /// Where it says that it is.
    pub address: String,
    /// Raised when its process starts again.
    pub life: u64,
    /// The session it has, or believes to have.
    pub session: Option<u64>,
    /// What it knows within the session.
    pub contest: Contest,
    /// How far it got.
    pub tenure: Option<Tenure>,
    lease: Option<Moment>,
    asked: Option<Moment>,
    /// It waits to hear what became of a takeover or a write.
    writing: bool,
    boot: Duration,
    /// Of its clock, in thousandths of the true one.
    rate: u32,
}

impl Contender {
    pub fn new(address: String, boot: Duration, rate: u32) -> Contender {
        let contest = Contest::new(TIMEOUT);
        let (session, tenure, lease, asked, writing) = (None, None, None, None, false);
        Contender { address, life: 0, session, contest, tenure, lease, asked, writing, boot, rate }
    }

    /// Its process starts again: it knows nothing.
    pub fn restart(&mut self) {
        let fresh = Contender::new(self.address.clone(), self.boot, self.rate);
        *self = Contender { life: self.life + 1, ..fresh };
    }

    fn clock(&self, now: Duration) -> Moment {
        Moment::after_boot(self.boot + now * self.rate / 1000)
    }

    /// Whether it may act. Asked before anything leaves it.
    pub fn may_act(&self, now: Duration) -> bool {
        self.tenure.is_some() && self.holds(now)
    }

    fn holds(&self, now: Duration) -> bool {
        self.lease.is_some_and(|end| self.clock(now) < end)
    }

    /// A lease that ran out is over, whatever is learned later.
    pub fn mind_lease(&mut self, now: Duration) {
        if self.lease.is_some() && !self.holds(now) {
            self.step_back();
        }
    }

    fn step_back(&mut self) {
        (self.lease, self.tenure) = (None, None);
    }

    /// Looks at the nodes, if it has a session and doesn't look already.
    pub fn look(&mut self, now: Duration, out: &mut Vec<Wish>) {
        self.mind_lease(now);
        if self.session.is_some() && self.asked.is_none() {
            self.asked = Some(self.clock(now));
            out.push(Wish::Ask(Ask::Look));
        }
    }

    /// Its connection is gone, with all that had no answer.
    pub fn disconnected(&mut self, now: Duration, out: &mut Vec<Wish>) {
        self.mind_lease(now);
        // A takeover or a write of which nobody knows how it went: all is begun again.
        if std::mem::take(&mut self.writing) {
            self.step_back();
        }
        self.asked = None;
        out.push(Wish::LookIn(AFTER_FAILURE));
    }

    /// The ensemble answers.
    pub fn hear(&mut self, now: Duration, reply: Reply, out: &mut Vec<Wish>) {
        self.mind_lease(now);
        match reply {
            Reply::Session(id) => {
                // What was asked before there was a connection was never sent.
                (self.asked, self.writing) = (None, false);
                if self.session.replace(id) != Some(id) {
                    self.contest = Contest::new(TIMEOUT);
                }
                self.look(now, out);
            }
            Reply::Expired => {
                (self.session, self.asked) = (None, None);
                self.step_back();
                out.push(Wish::Ask(Ask::Open));
            }
            Reply::Nodes(nodes, own) => self.sees(now, &nodes, own, out),
            Reply::Created(node) => {
                self.contest.joined(&node);
                self.look(now, out);
            }
            Reply::Content(node, content) => match content {
                Some(content) => self.contest.read(&node, content.as_bytes()).expect("all of ours are good"),
                None => self.look(now, out),
            },
            Reply::Head(epoch, version) => {
                self.writing = false;
                if self.holds(now) {
                    if self.tenure.is_none() {
                        out.push(Wish::Act);
                    }
                    self.tenure = Some(Tenure { epoch, version });
                }
            }
            Reply::Fenced => {
                self.writing = false;
                self.gives_up(out);
            }
            Reply::Done => {}
        }
    }

    /// Lets another one lead.
    fn gives_up(&mut self, out: &mut Vec<Wish>) {
        self.step_back();
        if let Some(own) = self.contest.own() {
            out.push(Wish::Ask(Ask::Delete(own.to_owned())));
        }
        out.push(Wish::LookIn(PAUSE));
    }

    fn sees(&mut self, now: Duration, nodes: &[String], own: Option<String>, out: &mut Vec<Wish>) {
        let Some(asked) = self.asked.take() else { return };
        match self.contest.seen(asked, nodes.iter().map(String::as_str)) {
            Verdict::Leads { until } => {
                let led = self.holds(now);
                self.lease = Some(self.lease.map_or(until, |end| end.max(until)));
                if let (false, Some(node)) = (led, self.contest.own().map(str::to_owned)) {
                    self.writing = true;
                    out.push(Wish::Ask(Ask::TakeOver(node)));
                }
                out.push(Wish::LookIn(LOOK));
            }
            Verdict::Stands => {
                self.step_back();
                out.push(Wish::LookIn(IDLE));
            }
            Verdict::Absent => {
                self.step_back();
                match own {
                    // Its making was never answered.
                    Some(own) => {
                        self.contest.joined(&own);
                        self.look(now, out);
                    }
                    None => out.push(Wish::Ask(Ask::Create(self.content()))),
                }
            }
        }
        if let Some(node) = self.contest.unread().map(str::to_owned) {
            out.push(Wish::Ask(Ask::Read(node)));
        }
    }

    /// Writes a record, if it may and doesn't write already.
    pub fn write(&mut self, now: Duration, out: &mut Vec<Wish>) {
        if let (true, false, Some(tenure)) = (self.may_act(now), self.writing, self.tenure)
            && let Some(own) = self.contest.own()
        {
            out.push(Wish::Ask(Ask::Write(own.to_owned(), tenure.version)));
            self.writing = true;
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
