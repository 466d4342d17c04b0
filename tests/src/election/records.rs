//! The registry as one tenure of a master reads and writes it: the steps of the product's `Records`, and of the registrar
//! that lets it write one batch after another.
//!
//! ```text
//! takeover:  head? ─> write the head with a higher epoch ─> registry? ─> taken
//!              └──────── changed meanwhile, or unknown ───┘
//! a write:   write ─> done                    again, if the head is as before
//!              ├─ answer lost ─> head? (until one answers) ─┴─> done, if it is this write's; else failed
//!              └─ refused ─────> head? ─> done, if it is this write's; else failed
//! ```

use std::sync::Arc;
use std::time::Duration;

use master::logic::{Change, Contents, Ticket};

use super::ensemble::{Ask, Head, Reply, Write};

/// Between two tries to learn what became of a write.
const PAUSE: Duration = Duration::from_millis(250);
/// Takeovers that collide with writes of others.
const TRIES: u32 = 16;

/// Writes that are asked for together.
pub type Batch = Vec<(Ticket, Change)>;

/// What comes of what it hears.
#[derive(Debug)]
pub enum Outcome {
    /// It asks the ensemble this.
    Asks(Ask),
    /// It goes on after this time.
    GoesOnIn(Duration),
    /// The registry is taken over: this is in it.
    Taken(Arc<Contents>),
    /// These are written.
    Written(Batch),
    /// It can't go on.
    Failed(&'static str),
}

#[derive(Clone, Debug)]
enum Doing {
    Nothing,
    LooksBefore,
    WritesHead(Head),
    Reads,
    Writes(Head, Batch),
    /// What became of a write: it was refused, or nobody knows.
    FindsOut(Head, Batch, Doubt),
    /// It tries again soon.
    Pauses(Box<Doing>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Doubt {
    Unknown,
    Refused(&'static str),
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Records {
    /// Which of all that ever wrote.
    pub writer: u64,
    own: String,
    held: (Head, u64),
    doing: Doing,
    waiting: Batch,
    tries: u32,
}

impl Records {
    /// The records for the candidate with that node.
    pub fn new(writer: u64, own: &str) -> Records {
        let (own, held, waiting) = (own.to_owned(), Default::default(), Vec::new());
        Records { writer, own, held, doing: Doing::Nothing, waiting, tries: 0 }
    }

    /// Its epoch, once it has one.
    pub fn epoch(&self) -> u64 {
        self.held.0.epoch
    }

    /// Takes the registry over.
    pub fn take_over(&mut self) -> Outcome {
        self.doing = Doing::LooksBefore;
        self.tries += 1;
        if self.tries > TRIES {
            Outcome::Failed("others write all the time")
        } else {
            Outcome::Asks(Ask::Head)
        }
    }

    /// Writes a batch when that is possible.
    pub fn write(&mut self, batch: Batch, out: &mut Vec<Outcome>) {
        self.waiting.extend(batch);
        if let (Doing::Nothing, false) = (&self.doing, self.waiting.is_empty()) {
            let head = Head { serial: self.held.0.serial + 1, ..self.held.0 };
            let batch = std::mem::take(&mut self.waiting);
            out.push(Outcome::Asks(self.transaction(head, batch)));
        }
    }

    fn transaction(&mut self, head: Head, batch: Batch) -> Ask {
        let changes = batch.iter().map(|(_, change)| change.clone()).collect();
        self.doing = Doing::Writes(head, batch);
        self.multi(head, changes)
    }

    fn multi(&self, head: Head, changes: Vec<Change>) -> Ask {
        Ask::Write(Box::new(Write { own: self.own.clone(), version: self.held.1, head, changes }))
    }

    /// Nobody waits for it any more. Whether it goes on all the same, with what is under way.
    pub fn is_abandoned(&mut self) -> bool {
        self.waiting.clear();
        let doing = if let Doing::Pauses(next) = &self.doing { next } else { &self.doing };
        matches!(doing, Doing::Writes(..) | Doing::FindsOut(..))
    }

    /// The ensemble answers.
    pub fn hear(&mut self, reply: Reply, out: &mut Vec<Outcome>) {
        let doing = std::mem::replace(&mut self.doing, Doing::Nothing);
        match (doing, reply) {
            (_, Reply::Expired) => out.push(Outcome::Failed("the session is over")),
            (Doing::LooksBefore, Reply::Head(before, version)) => {
                let head = Head { epoch: before.epoch + 1, serial: 0, writer: self.writer };
                self.held = (before, version);
                self.doing = Doing::WritesHead(head);
                out.push(Outcome::Asks(self.multi(head, Vec::new())));
            }
            (Doing::WritesHead(head), Reply::Written(version)) => {
                self.held = (head, version);
                self.doing = Doing::Reads;
                out.push(Outcome::Asks(Ask::Registry));
            }
            (Doing::WritesHead(_), Reply::BadVersion) => self.pause(Doing::LooksBefore, out),
            (Doing::WritesHead(_), Reply::NoNode) => out.push(Outcome::Failed("the own node is gone")),
            (Doing::Reads, Reply::Registry(contents)) => out.push(Outcome::Taken(contents)),
            (Doing::Writes(head, batch), Reply::Written(version)) => self.settled(head, version, batch, out),
            (Doing::Writes(head, batch), Reply::NoNode) => {
                self.asks(head, batch, Doubt::Refused("the own node is gone"), out);
            }
            (Doing::Writes(head, batch), Reply::BadVersion) => {
                self.asks(head, batch, Doubt::Refused("another master has taken over"), out);
            }
            (Doing::FindsOut(head, batch, doubt), Reply::Head(now, version)) => {
                if now == head {
                    self.settled(head, version, batch, out);
                } else if let Doubt::Refused(why) = doubt {
                    out.push(Outcome::Failed(why));
                } else if now == self.held.0 {
                    out.push(Outcome::Asks(self.transaction(head, batch)));
                } else {
                    out.push(Outcome::Failed("another master has taken over"));
                }
            }
            (doing, _) => self.doing = doing,
        }
    }

    fn asks(&mut self, head: Head, batch: Batch, doubt: Doubt, out: &mut Vec<Outcome>) {
        self.doing = Doing::FindsOut(head, batch, doubt);
        out.push(Outcome::Asks(Ask::Head));
    }

    fn settled(&mut self, head: Head, version: u64, batch: Batch, out: &mut Vec<Outcome>) {
        self.held = (head, version);
        out.push(Outcome::Written(batch));
        self.write(Vec::new(), out);
    }

    fn pause(&mut self, next: Doing, out: &mut Vec<Outcome>) {
        self.doing = Doing::Pauses(Box::new(next));
        out.push(Outcome::GoesOnIn(PAUSE));
    }

    /// The connection is gone, and with it the answer to what was asked.
    pub fn disconnected(&mut self, out: &mut Vec<Outcome>) {
        match std::mem::replace(&mut self.doing, Doing::Nothing) {
            Doing::WritesHead(_) => self.pause(Doing::LooksBefore, out),
            Doing::Writes(head, batch) | Doing::FindsOut(head, batch, Doubt::Unknown) => {
                self.pause(Doing::FindsOut(head, batch, Doubt::Unknown), out);
            }
            Doing::LooksBefore | Doing::Reads | Doing::FindsOut(..) => {
                out.push(Outcome::Failed("the connection is gone"));
            }
            doing @ (Doing::Nothing | Doing::Pauses(_)) => self.doing = doing,
        }
    }

    /// A pause is over.
    pub fn goes_on(&mut self, out: &mut Vec<Outcome>) {
        match std::mem::replace(&mut self.doing, Doing::Nothing) {
            Doing::Pauses(next) => match *next {
                Doing::LooksBefore => out.push(self.take_over()),
                Doing::FindsOut(head, batch, doubt) => self.asks(head, batch, doubt, out),
                other => self.doing = other,
            },
            doing => self.doing = doing,
        }
    }
}
