//! The connections between masters and servers: on each nothing overtakes anything. What was sent on one that is cut may
//! arrive later, as long as nobody has closed it; its answer does not.

use std::time::Duration;

use super::ensemble::{Answer, Ask, Head, Reply, SERVERS, Standing};
use super::{Connection, Due, Election, Event, MASTERS, News, Request, Wish};
use crate::faults::Fault;

impl Election {
    /// A client goes to no server that knows less than it was told by another.
    pub(super) fn connect(&mut self, master: usize) {
        if self.current[master].is_some() {
            return;
        }
        let (side, server) = (self.sides[master], self.pick(SERVERS));
        let there = &self.ensemble.servers[server];
        let knows = there.tree.zxid >= self.masters[master].seen;
        if there.side != side || there.standing != Standing::Serves || !knows {
            return self.due(master, 1000, Due::Connect);
        }
        let connection =
            Connection { master, server, boot: there.boot, cut: false, closed: false, held: self.now };
        self.last_connection += 1;
        self.connections.insert(self.last_connection, connection);
        self.current[master] = Some(self.last_connection);
        let ask = self.masters[master].session.map_or(Ask::Open, Ask::Resume);
        self.fulfil(master, vec![Wish::Ask(None, ask)]);
    }

    /// How long something is under way on a connection, on which nothing overtakes anything.
    pub(super) fn travel(&mut self, master: usize) -> Duration {
        let slow = if self.chaotic && self.random.below(50) == 0 { 3000 } else { 20 };
        let there = (self.now + self.millis(slow)).max(self.arrival[master]);
        self.arrival[master] = there;
        there - self.now
    }

    /// The server, if the network lets something pass to it.
    fn reaches(&self, connection: &Connection) -> Option<usize> {
        let server = &self.ensemble.servers[connection.server];
        let passes = !connection.closed && server.boot == connection.boot && server.up;
        (passes && server.side == self.sides[connection.master]).then_some(connection.server)
    }

    /// Whether the connection goes on, seen from the network: the master and the server that it connects.
    pub(super) fn stands(&self, id: u64) -> Option<(usize, usize)> {
        let connection = self.connections.get(&id).filter(|connection| !connection.cut)?;
        let now = self.current[connection.master] == Some(id);
        self.reaches(connection).filter(|_| now).map(|server| (connection.master, server))
    }

    pub(super) fn arrives(&mut self, request: Request) {
        let Some(&connection) = self.connections.get(&request.connection) else { return };
        if connection.held > self.now {
            return self.after(connection.held - self.now, Event::Arrives(request));
        }
        match self.reaches(&connection) {
            Some(server) => self.is_asked(connection.master, server, request),
            // What was sent is sent again by the kernel, as long as nobody has closed the connection.
            None if self.random.below(2) == 0 => {
                let pause = self.millis(5000);
                self.hold(pause, request);
            }
            None => self.close(request.connection),
        }
    }

    fn close(&mut self, connection: u64) {
        if let Some(connection) = self.connections.get_mut(&connection) {
            connection.closed = true;
        }
    }

    /// On a connection nothing overtakes anything.
    fn hold(&mut self, pause: Duration, request: Request) {
        if let Some(connection) = self.connections.get_mut(&request.connection).filter(|it| !it.closed) {
            connection.held = self.now + pause;
            self.after(pause, Event::Arrives(request));
        }
    }

    fn is_asked(&mut self, master: usize, server: usize, request: Request) {
        let before = self.ensemble.tree.head.0;
        let at = (server, request.connection);
        let reply = match self.ensemble.answer(at, request.session, &request.ask, self.now) {
            Answer::Now(reply) => reply,
            Answer::Later => {
                if let Ask::Write(_) = request.ask {
                    self.faults.add(Fault::WriteHeldUp);
                }
                return self.hold(Duration::from_millis(500), request);
            }
            Answer::Never => return,
        };
        if !matches!(request.ask, Ask::Ping) {
            self.note(|| format!("server {server} answers master {master} {:?}: {reply:?}", request.ask));
        }
        self.judge_write(master, before, &request.ask, &reply);
        self.tell_watchers();
        self.spread();
        let (pause, zxid) = (self.travel(master), self.ensemble.servers[server].tree.zxid);
        let (connection, by, reply) = (request.connection, request.by, Some(reply));
        self.after(pause, Event::Answered { connection, by, zxid, reply });
    }

    /// A write is either a takeover, or of the one who took over last.
    fn judge_write(&mut self, master: usize, before: Head, ask: &Ask, reply: &Reply) {
        let Ask::Write(write) = ask else { return };
        let after = write.head;
        match reply {
            Reply::Written(_) => self.written += 1,
            Reply::NoNode | Reply::BadVersion => return self.faults.add(Fault::WriteFenced),
            _ => return,
        }
        let fits = match after.serial {
            0 => after.epoch > before.epoch,
            serial => (before.epoch, before.writer, before.serial + 1) == (after.epoch, after.writer, serial),
        };
        if !fits {
            self.broken =
                Some(format!("master {master} writes {after:?} into the registry after {before:?}"));
        }
    }

    /// The other servers follow.
    pub(super) fn spread(&mut self) {
        for server in 0..SERVERS {
            let there = &mut self.ensemble.servers[server];
            if there.tree.zxid != self.ensemble.tree.zxid && !std::mem::replace(&mut there.following, true) {
                let slow = if self.random.below(20) == 0 { 5000 } else { 200 };
                let pause = self.millis(slow);
                self.after(pause, Event::Follows(server));
            }
        }
    }

    /// Who watches the nodes at a server is told that they changed. (A watch that was not set tells of nothing new.)
    pub(super) fn tell_watchers(&mut self) {
        for server in std::mem::take(&mut self.ensemble.told) {
            self.news.push(News::Candidates(server));
            let zxid = self.ensemble.servers[server].tree.zxid;
            for master in 0..MASTERS {
                let Some(connection) = self.current[master] else { continue };
                if self.stands(connection) == Some((master, server)) {
                    let pause = self.travel(master);
                    self.after(pause, Event::Answered { connection, by: None, zxid, reply: None });
                }
            }
        }
    }

    pub(super) fn answered(&mut self, connection: u64, by: Option<u64>, zxid: u64, reply: Option<Reply>) {
        let Some((master, _)) = self.stands(connection) else {
            if let Some(Reply::Written(_)) = reply {
                self.faults.add(Fault::AnswerLost);
            }
            return;
        };
        let (contender, now) = (&mut self.masters[master], self.now);
        contender.seen = contender.seen.max(zxid);
        let mut wishes = Vec::new();
        match (reply, by) {
            (Some(reply), Some(writer)) => contender.hear_of_registry(now, writer, reply, &mut wishes),
            (Some(reply), None) => contender.hear(now, reply, &mut wishes),
            (None, _) => contender.look(now, &mut wishes),
        }
        self.fulfil(master, wishes);
    }

    pub(super) fn breaks(&mut self, connection: u64) {
        let Some(&Connection { master, .. }) = self.connections.get(&connection) else { return };
        if self.current[master] != Some(connection) {
            return;
        }
        self.current[master] = None;
        self.note(|| format!("master {master} has lost its connection"));
        let mut wishes = Vec::new();
        self.masters[master].disconnected(self.now, &mut wishes);
        self.fulfil(master, wishes);
        self.due(master, 500, Due::Connect);
    }

    /// Servers without a majority know it now, and close their connections.
    pub(super) fn notices(&mut self) {
        self.ensemble.notices();
        for master in 0..MASTERS {
            let connection = self.current[master].and_then(|id| self.connections.get_mut(&id));
            let Some(connection) = connection else { continue };
            if self.ensemble.servers[connection.server].standing == Standing::Silent {
                connection.closed = true;
                self.cut(master);
            }
        }
    }
}
