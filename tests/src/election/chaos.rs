//! What goes wrong around an election.

use super::ensemble::{SERVERS, TIMEOUT};
use super::{Due, Election, Event, MASTERS, News, SILENCE};
use crate::faults::Fault;

impl Election {
    pub(super) fn chaos(&mut self) {
        if !self.chaotic {
            return;
        }
        let pause = self.within(self.rest);
        self.after(pause, Event::Chaos);
        let (master, server) = (self.victim(), self.pick(SERVERS));
        match self.random.below(8) {
            0 => self.cut_network(),
            1 | 2 => self.set_sides([0; SERVERS], [0; MASTERS]),
            3 => self.kill_or_start(server),
            4 => self.restart(master),
            5 => self.stop(master),
            6 => self.break_soon(master),
            _ if self.forced => self.force(master),
            _ => {}
        }
    }

    /// Any master, and often the one that leads.
    fn victim(&mut self) -> usize {
        let leads = (0..MASTERS).find(|master| self.may_act(*master));
        let any = self.pick(MASTERS);
        leads.filter(|_| self.random.below(2) == 0).unwrap_or(any)
    }

    /// Every shape there is.
    fn cut_network(&mut self) {
        let servers = [self.pick(2), self.pick(2), self.pick(2)];
        let masters = [self.pick(2), self.pick(2), self.pick(2)];
        if (0..MASTERS)
            .any(|master| self.may_act(master) && servers.iter().any(|side| *side != masters[master]))
        {
            self.faults.add(Fault::LeaderCutOff);
        }
        self.set_sides(servers, masters);
    }

    fn set_sides(&mut self, servers: [usize; SERVERS], masters: [usize; MASTERS]) {
        self.note(|| format!("the network: servers {servers:?}, masters {masters:?}"));
        for (server, side) in self.ensemble.servers.iter_mut().zip(servers) {
            server.side = side;
        }
        self.sides = masters;
        self.servers_changed();
        self.cut_connections();
    }

    fn kill_or_start(&mut self, server: usize) {
        let there = &mut self.ensemble.servers[server];
        there.up = !there.up;
        there.boot += u64::from(there.up);
        let up = there.up;
        self.note(|| format!("server {server} runs: {up}"));
        self.servers_changed();
        self.cut_connections();
    }

    /// Both sides of a cut between servers learn of it about the same time: they wait for each other equally long. The
    /// majority is one again a little later.
    fn servers_changed(&mut self) {
        let decided = self.ensemble.decides();
        let electing = self.ensemble.changed();
        let generation = self.ensemble.generation;
        let noticed = self.millis(10_000);
        self.after(noticed, Event::Notices(generation));
        if electing {
            let formed = noticed + self.millis(1000);
            self.after(formed, Event::Forms(generation));
        } else if decided {
            self.faults.add(Fault::QuorumLost);
        }
    }

    /// Connections over a cut carry nothing more; the master learns of it in its own time. One whose server answers
    /// nobody any more is as good as cut.
    fn cut_connections(&mut self) {
        for master in 0..MASTERS {
            match self.current[master] {
                Some(id) if self.stands(id).is_none() => self.cut(master),
                _ => self.break_soon(master),
            }
        }
    }

    pub(super) fn cut(&mut self, master: usize) {
        let Some(id) = self.current[master] else { return };
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.cut = true;
        }
        let pause = self.within(SILENCE);
        self.after(pause, Event::Broken(id));
    }

    fn break_soon(&mut self, master: usize) {
        if self.random.below(2) == 0 {
            self.cut(master);
        }
    }

    fn restart(&mut self, master: usize) {
        self.note(|| format!("master {master} is killed and starts again"));
        if self.masters[master].epoch().is_some() {
            self.faults.add(Fault::LeaderKilled);
        }
        self.masters[master].restart();
        self.current[master] = None;
        self.stopped_until[master] = self.now;
        let away = self.within(self.away);
        self.due_in(master, away, Due::Connect);
        self.due_in(master, away, Due::Ping);
        self.news.push(News::Killed(master));
    }

    fn stop(&mut self, master: usize) {
        let pause = self.within(TIMEOUT * 3);
        self.note(|| format!("master {master} is stopped for {pause:?}"));
        if self.may_act(master) && pause > TIMEOUT {
            self.faults.add(Fault::LeaderStopped);
        }
        self.stopped_until[master] = self.now + pause;
        self.news.push(News::Stopped(master, pause));
    }

    /// From outside, before its time, a session is ended or a candidate removed; often of one who can't hear of it.
    fn force(&mut self, master: usize) {
        if self.random.below(4) > 0 {
            self.cut(master);
        }
        let (session, node) = (self.masters[master].session, self.masters[master].contest.own());
        let node = node.map(str::to_owned);
        match (self.random.below(2), session, node) {
            (0, Some(session), _) if self.ensemble.end_session(session) => {
                self.note(|| format!("the session of master {master} is ended"));
                self.faults.add(Fault::SessionEnded);
            }
            (1, _, Some(node)) if self.ensemble.remove_node(&node) => {
                self.note(|| format!("the candidate of master {master} is removed"));
                self.faults.add(Fault::CandidateRemoved);
            }
            _ => return,
        }
        self.news.push(News::Forced(master));
        self.spread();
    }

    /// Nothing goes wrong any more.
    pub fn calms(&mut self) {
        self.chaotic = false;
        for server in &mut self.ensemble.servers {
            server.boot += u64::from(!server.up);
            server.up = true;
        }
        self.set_sides([0; SERVERS], [0; MASTERS]);
    }

    /// Who leads, once nothing goes wrong any more and all know it.
    ///
    /// # Errors
    /// Nobody does, or somebody doesn't know.
    pub fn agreed(&self) -> Result<usize, String> {
        let leading: Vec<usize> = (0..MASTERS).filter(|&master| self.may_act(master)).collect();
        let [leader] = leading[..] else { return Err(format!("{leading:?} lead in the end")) };
        match (0..MASTERS).find(|&master| self.leader_for(master) != Some(leader)) {
            Some(other) => Err(format!("{leader} leads, for {other} it is {:?}", self.leader_for(other))),
            None => Ok(leader),
        }
    }
}
