//! Connections: whatever is sent on one arrives in order after a delay, or not at all once it is broken.

use std::collections::BTreeMap;
use std::time::Duration;

use model::Timestamp;
use model::random::Random;

/// Who is at the two ends. The master's end carries the number of its life, so that nothing reaches a later one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Peer {
    /// An agent by index, and the number of its process.
    Agent(usize, u64),
    /// A scheduler by index, and the number of its attempt to subscribe.
    Scheduler(usize, u64),
}

/// One connection to the master.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The other end.
    pub peer: Peer,
    /// Which life of the master it leads to.
    pub life: u64,
    /// Nothing passes any more.
    pub broken: bool,
    /// The master was told of the end.
    pub master_told: bool,
    /// The peer was told of the end.
    pub peer_told: bool,
    to_master: Timestamp,
    to_peer: Timestamp,
}

/// All connections, by number.
#[derive(Clone, Debug, Default)]
pub struct Network {
    connections: BTreeMap<u64, Connection>,
    last: u64,
}

/// A delay as networks have them: mostly short, sometimes long.
pub fn delay(random: &mut Random) -> Duration {
    let most = if random.below(20) == 0 { 3_000 } else { 30 };
    Duration::from_micros(random.below(most * 1000) + 50)
}

impl Network {
    /// A new connection.
    pub fn connect(&mut self, peer: Peer, life: u64) -> u64 {
        self.last += 1;
        let connection = Connection {
            peer,
            life,
            broken: false,
            master_told: false,
            peer_told: false,
            to_master: Timestamp::ZERO,
            to_peer: Timestamp::ZERO,
        };
        self.connections.insert(self.last, connection);
        self.last
    }

    /// A connection.
    pub fn get(&self, id: u64) -> Option<&Connection> {
        self.connections.get(&id)
    }

    /// A connection to change.
    pub fn get_mut(&mut self, id: u64) -> Option<&mut Connection> {
        self.connections.get_mut(&id)
    }

    /// Connections that stand, to all peers for which `of` holds.
    pub fn standing(&self, of: impl Fn(Peer) -> bool) -> Vec<u64> {
        let standing = self.connections.iter().filter(|(_, c)| !c.broken && of(c.peer));
        standing.map(|(id, _)| *id).collect()
    }

    /// Connections that stand, to that master.
    pub fn leading_to(&self, life: u64) -> Vec<u64> {
        let standing = self.connections.iter().filter(|(_, c)| !c.broken && c.life == life);
        standing.map(|(id, _)| *id).collect()
    }

    /// When something sent to the master now arrives: never before what was sent earlier.
    pub fn arrival_at_master(&mut self, id: u64, now: Timestamp, random: &mut Random) -> Option<Timestamp> {
        let connection = self.connections.get_mut(&id).filter(|c| !c.broken)?;
        connection.to_master = connection.to_master.max(now + delay(random));
        Some(connection.to_master)
    }

    /// When something sent to the peer now arrives.
    pub fn arrival_at_peer(&mut self, id: u64, now: Timestamp, random: &mut Random) -> Option<Timestamp> {
        let connection = self.connections.get_mut(&id).filter(|c| !c.broken)?;
        connection.to_peer = connection.to_peer.max(now + delay(random));
        Some(connection.to_peer)
    }

    /// Whether a connection stands, and all that was sent on it has arrived.
    pub fn is_silent(&self, id: u64, now: Timestamp) -> bool {
        self.connections.get(&id).is_some_and(|c| {
            !(c.broken || c.master_told || c.peer_told) && c.to_master < now && c.to_peer < now
        })
    }

    /// Forgets connections that both ends know to be over.
    pub fn sweep(&mut self) {
        self.connections.retain(|_, c| !(c.broken && c.master_told && c.peer_told));
    }
}
