//! A ZooKeeper ensemble as far as masters need it, with what it guarantees and no more.
//!
//! Writes are decided by a majority of the servers, in one order. Each server follows that order in its own time; a read
//! tells what its server knows, and after a `sync` at least what the majority knew when it was asked for. Servers that
//! have lost the majority go on answering reads for a while, `sync` included: their leader may be the one that was left
//! behind. Sessions end by the clock of the majority's leader; a new one gives all of them their whole time again. The
//! nodes of a session go with it, and not before. A session belongs to the connection on which it was resumed last: what
//! comes on an older one is not done. Watches are told before anything newer is read from the same server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use master::logic::{Change, Contents};

/// How many servers there are.
pub const SERVERS: usize = 3;
/// The time-out of sessions.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// Who wrote the registry last, and what: the content of its head.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Head {
    /// Of the leader.
    pub epoch: u64,
    /// Raised by each of its writes.
    pub serial: u64,
    /// Which of all that ever wrote.
    pub writer: u64,
}

/// What the servers keep.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// The number of the last write.
    pub zxid: u64,
    /// Candidates' nodes by name: the session each belongs to and what is in it.
    pub nodes: BTreeMap<String, (u64, String)>,
    /// The registry's head and its version; 0 before there is one.
    pub head: (Head, u64),
    /// What the registry says.
    pub registry: Arc<Contents>,
    created: u64,
}

/// What a server can do for its clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It belongs to the majority.
    Serves,
    /// It has lost the majority and doesn't know it yet.
    Stale,
    /// It answers nobody.
    Silent,
}

/// One server.
#[derive(Clone, Debug)]
pub struct Server {
    /// What it knows.
    pub tree: Tree,
    /// What it can do.
    pub standing: Standing,
    /// It runs.
    pub up: bool,
    /// How often it was started again.
    pub boot: u64,
    /// It is about to follow what was decided.
    pub following: bool,
    /// The side of the network it is on.
    pub side: usize,
}

#[derive(Debug)]
struct Session {
    heard: Duration,
    /// The connection that has it.
    at: u64,
}

/// All servers, and what the majority has decided.
#[derive(Debug)]
pub struct Ensemble {
    /// Each of them.
    pub servers: Vec<Server>,
    /// What the majority has decided.
    pub tree: Tree,
    /// Servers that have learned of other candidates, and whose watchers have to be told.
    pub told: Vec<usize>,
    leader: Option<usize>,
    /// The majority's leader of before, where it doesn't know yet that it is none.
    left_behind: Option<usize>,
    sessions: BTreeMap<u64, Session>,
    last_session: u64,
    /// Raised by each change among the servers: what was planned before no longer holds.
    pub generation: u64,
}

/// What a client asks.
#[derive(Clone, Debug)]
pub enum Ask {
    /// A new session.
    Open,
    /// To go on with a session.
    Resume(u64),
    /// Nothing; it is there.
    Ping,
    /// `sync`, then the names of all nodes.
    Look,
    /// The content of a node, as the server knows it.
    Read(String),
    /// An ephemeral sequential node with a content.
    Create(String),
    /// To remove a node.
    Delete(String),
    /// `sync`, then the registry's head.
    Head,
    /// What the registry says, as the server knows it.
    Registry,
    /// To write the head and changes, if these conditions hold.
    Write(Box<Write>),
}

/// One transaction.
#[derive(Clone, Debug)]
pub struct Write {
    /// This candidate's node is there,
    pub own: String,
    /// and the head has this version.
    pub version: u64,
    /// What the head becomes.
    pub head: Head,
    /// What changes with it.
    pub changes: Vec<Change>,
}

/// What a client is answered.
#[derive(Clone, Debug)]
pub enum Reply {
    /// The session goes on; the client may have a new number for it.
    Session(u64),
    /// There is no such session.
    Expired,
    /// Nothing to say.
    Done,
    /// All nodes, and the one of this session.
    Nodes(Vec<String>, Option<String>),
    /// A node's content, if it is there.
    Content(String, Option<String>),
    /// A node of that name was made.
    Created(String),
    /// A node is gone.
    Deleted,
    /// The head and its version.
    Head(Head, u64),
    /// What the registry says.
    Registry(Arc<Contents>),
    /// It is written, and the head has this version now.
    Written(u64),
    /// The own node is gone.
    NoNode,
    /// The head has another version.
    BadVersion,
}

/// What becomes of a request that has arrived.
#[derive(Debug)]
pub enum Answer {
    /// This is said.
    Now(Reply),
    /// It waits until the server belongs to a majority.
    Later,
    /// The session has moved on: nothing.
    Never,
}

impl Ensemble {
    /// A healthy one, in which nobody has done anything.
    pub fn new() -> Ensemble {
        let server = Server {
            tree: Tree::default(),
            standing: Standing::Serves,
            up: true,
            boot: 0,
            following: false,
            side: 0,
        };
        Ensemble {
            servers: vec![server; SERVERS],
            tree: Tree::default(),
            told: Vec::new(),
            leader: Some(0),
            left_behind: None,
            sessions: BTreeMap::new(),
            last_session: 0,
            generation: 0,
        }
    }

    /// Whether there is a majority that decides.
    pub fn decides(&self) -> bool {
        self.leader.is_some()
    }

    /// The servers that could be a majority together now.
    fn majority(&self) -> Vec<usize> {
        let on = |side: usize| {
            let servers = self.servers.iter().enumerate();
            servers.filter(|(_, s)| s.up && s.side == side).map(|(i, _)| i).collect::<Vec<_>>()
        };
        [on(0), on(1)].into_iter().find(|side| side.len() > SERVERS / 2).unwrap_or_default()
    }

    /// The network or a server changed. Answers whether it takes an election until there is a majority again.
    pub fn changed(&mut self) -> bool {
        self.generation += 1;
        let majority = self.majority();
        let led = self.leader.is_some_and(|leader| majority.contains(&leader));
        for (i, server) in self.servers.iter_mut().enumerate() {
            if !server.up {
                server.standing = Standing::Silent;
            } else if server.standing == Standing::Serves && !(led && majority.contains(&i)) {
                server.standing = Standing::Stale;
            }
        }
        if let (false, Some(leader)) = (led, self.leader) {
            // It has decided all of it.
            self.catch_up(leader);
            (self.leader, self.left_behind) = (None, Some(leader));
        }
        !majority.is_empty()
    }

    /// Who lost the majority learns it.
    pub fn notices(&mut self) {
        self.left_behind = None;
        for server in self.servers.iter_mut().filter(|server| server.standing == Standing::Stale) {
            server.standing = Standing::Silent;
        }
    }

    /// The majority is one, with a leader who knows all that was decided.
    pub fn forms(&mut self, now: Duration) {
        let majority = self.majority();
        if majority.is_empty() {
            return;
        }
        if self.leader.is_none() {
            self.leader = majority.first().copied();
            self.sessions.values_mut().for_each(|session| session.heard = now);
        }
        for i in majority {
            self.servers[i].standing = Standing::Serves;
            self.catch_up(i);
        }
    }

    /// A server has followed all decisions so far.
    pub fn follows(&mut self, server: usize) {
        self.servers[server].following = false;
        if self.servers[server].standing == Standing::Serves {
            self.catch_up(server);
        }
    }

    fn catch_up(&mut self, server: usize) {
        let known = &mut self.servers[server].tree;
        if known.zxid != self.tree.zxid {
            if !known.nodes.keys().eq(self.tree.nodes.keys()) {
                self.told.push(server);
            }
            *known = self.tree.clone();
        }
    }

    /// Ends the sessions that were silent for too long, with their nodes.
    pub fn expire(&mut self, now: Duration) {
        let silent = |session: &Session| now.saturating_sub(session.heard) > TIMEOUT;
        if self.leader.is_some() && self.sessions.values().any(silent) {
            self.sessions.retain(|_, session| !silent(session));
            self.tree.nodes.retain(|_, (owner, _)| self.sessions.contains_key(owner));
            self.tree.zxid += 1;
        }
    }

    /// An operator, or an administrator's tool, ends a session. Whether there was one to end.
    pub fn end_session(&mut self, session: u64) -> bool {
        let ended = self.leader.is_some() && self.sessions.remove(&session).is_some();
        if ended {
            self.tree.nodes.retain(|_, (owner, _)| *owner != session);
            self.tree.zxid += 1;
        }
        ended
    }

    /// An operator removes a candidate's node. Whether there was one.
    pub fn remove_node(&mut self, node: &str) -> bool {
        let removed = self.leader.is_some() && self.tree.nodes.remove(node).is_some();
        self.tree.zxid += u64::from(removed);
        removed
    }

    /// A request of a session arrives on a connection to a server.
    pub fn answer(
        &mut self,
        (server, connection): (usize, u64),
        session: Option<u64>,
        ask: &Ask,
        now: Duration,
    ) -> Answer {
        match self.servers[server].standing {
            Standing::Silent => return Answer::Later,
            Standing::Stale => return self.stale(server, session, ask),
            Standing::Serves => {}
        }
        if let Ask::Open = ask {
            self.last_session += 1;
            self.sessions.insert(self.last_session, Session { heard: now, at: connection });
            return Answer::Now(Reply::Session(self.last_session));
        }
        let id = if let Ask::Resume(session) = ask { Some(*session) } else { session };
        let Some((id, session)) = id.and_then(|id| Some((id, self.sessions.get_mut(&id)?))) else {
            return Answer::Now(Reply::Expired);
        };
        if let Ask::Resume(_) = ask {
            session.at = connection;
        } else if session.at != connection {
            return Answer::Never;
        }
        session.heard = now;
        Answer::Now(self.does(server, id, ask))
    }

    /// A follower asks its leader, which doesn't answer; but that one believes that it still leads.
    fn stale(&self, server: usize, session: Option<u64>, ask: &Ask) -> Answer {
        let (tree, leads) = (&self.servers[server].tree, self.left_behind == Some(server));
        match ask {
            Ask::Look if leads => Answer::Now(nodes(tree, session)),
            Ask::Head if leads => Answer::Now(Reply::Head(tree.head.0, tree.head.1)),
            Ask::Read(node) => Answer::Now(content(tree, node)),
            Ask::Registry => Answer::Now(Reply::Registry(tree.registry.clone())),
            _ => Answer::Later,
        }
    }

    fn does(&mut self, server: usize, session: u64, ask: &Ask) -> Reply {
        match ask {
            Ask::Open | Ask::Resume(_) => Reply::Session(session),
            Ask::Ping => Reply::Done,
            Ask::Look => {
                self.catch_up(server);
                nodes(&self.tree, Some(session))
            }
            Ask::Read(node) => content(&self.servers[server].tree, node),
            Ask::Head => {
                self.catch_up(server);
                Reply::Head(self.tree.head.0, self.tree.head.1)
            }
            Ask::Registry => Reply::Registry(self.servers[server].tree.registry.clone()),
            Ask::Create(_) | Ask::Delete(_) | Ask::Write(_) => {
                let reply = self.changes(session, ask);
                // Who is answered through a server can read there what he wrote.
                self.catch_up(server);
                reply
            }
        }
    }

    fn changes(&mut self, session: u64, ask: &Ask) -> Reply {
        let tree = &mut self.tree;
        match ask {
            Ask::Create(content) => {
                let name = format!("json.info_{:010}", tree.created);
                tree.created += 1;
                tree.nodes.insert(name.clone(), (session, content.clone()));
                tree.zxid += 1;
                Reply::Created(name)
            }
            Ask::Delete(node) => {
                tree.zxid += u64::from(tree.nodes.remove(node).is_some());
                Reply::Deleted
            }
            Ask::Write(write) => tree.write(write),
            _ => Reply::Done,
        }
    }
}

impl Tree {
    fn write(&mut self, write: &Write) -> Reply {
        if !self.nodes.contains_key(&write.own) {
            return Reply::NoNode;
        }
        if self.head.1 != write.version {
            return Reply::BadVersion;
        }
        self.zxid += 1;
        self.head = (write.head, self.head.1 + 1);
        let registry = Arc::make_mut(&mut self.registry);
        registry.epoch = write.head.epoch;
        write.changes.iter().for_each(|change| registry.apply(change));
        Reply::Written(self.head.1)
    }

    /// Where the candidate is that leads.
    pub fn leader(&self) -> Option<&str> {
        self.nodes.values().next().map(|(_, content)| content.as_str())
    }
}

fn nodes(tree: &Tree, session: Option<u64>) -> Reply {
    let own = tree.nodes.iter().find(|(_, (owner, _))| Some(*owner) == session);
    Reply::Nodes(tree.nodes.keys().cloned().collect(), own.map(|(name, _)| name.clone()))
}

fn content(tree: &Tree, node: &str) -> Reply {
    Reply::Content(node.to_owned(), tree.nodes.get(node).map(|(_, content)| content.clone()))
}
