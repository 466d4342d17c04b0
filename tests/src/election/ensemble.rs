//! A ZooKeeper ensemble as far as a contest for leadership needs it, with what it guarantees and no more.
//!
//! Writes are decided by a majority of the servers, in one order. Each server follows that order in its own time; a read
//! tells what its server knows, and after a `sync` at least what the majority knew when it was asked for. Servers that
//! have lost the majority go on answering reads for a while, `sync` included: their leader may be the one that was left
//! behind. Sessions end by the clock of the majority's leader; a new one gives all of them their whole time again. The
//! nodes of a session go with it, and not before.

use std::collections::BTreeMap;
use std::time::Duration;

/// How many servers there are.
pub const SERVERS: usize = 3;
/// The time-out of sessions.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// What the servers keep.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// Candidates' nodes by name: the session each belongs to and what is in it.
    pub nodes: BTreeMap<String, (u64, String)>,
    /// The epoch in the registry's head, and the version of the head.
    pub head: (u64, u64),
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
    /// The side of the network it is on.
    pub side: usize,
}

/// All servers, and what the majority has decided.
#[derive(Debug)]
pub struct Ensemble {
    /// Each of them.
    pub servers: Vec<Server>,
    /// What the majority has decided.
    pub tree: Tree,
    leader: Option<usize>,
    /// The majority's leader of before, where it doesn't know yet that it is none.
    left_behind: Option<usize>,
    sessions: BTreeMap<u64, Duration>,
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
    /// To raise the epoch in the head, if that node is there.
    TakeOver(String),
    /// To write a record, if that node is there and the head has this version.
    Write(String, u64),
}

/// What it is answered.
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
    /// The head has this epoch and version now.
    Head(u64, u64),
    /// The conditions didn't hold.
    Fenced,
}

impl Ensemble {
    /// A healthy one, in which nobody has done anything.
    pub fn new() -> Ensemble {
        let server = Server { tree: Tree::default(), standing: Standing::Serves, up: true, side: 0 };
        Ensemble {
            servers: vec![server; SERVERS],
            tree: Tree::default(),
            leader: Some(0),
            left_behind: None,
            sessions: BTreeMap::new(),
            last_session: 0,
            generation: 0,
        }
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
        if !led {
            self.left_behind = self.leader.take().or(self.left_behind);
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
            self.sessions.values_mut().for_each(|heard| *heard = now);
        }
        for i in majority {
            self.servers[i].tree = self.tree.clone();
            self.servers[i].standing = Standing::Serves;
        }
    }

    /// A server has followed all decisions so far. Whether it learned something.
    pub fn follows(&mut self, server: usize) -> bool {
        let server = &mut self.servers[server];
        let news =
            server.standing == Standing::Serves && !server.tree.nodes.keys().eq(self.tree.nodes.keys());
        if server.standing == Standing::Serves {
            server.tree = self.tree.clone();
        }
        news
    }

    /// Ends the sessions that were silent for too long, with their nodes.
    pub fn expire(&mut self, now: Duration) {
        if self.leader.is_none() {
            return;
        }
        let silent = |heard: &Duration| now.saturating_sub(*heard) > TIMEOUT;
        self.sessions.retain(|_, heard| !silent(heard));
        self.tree.nodes.retain(|_, (session, _)| self.sessions.contains_key(session));
    }

    /// An operator, or an administrator's tool, ends a session.
    pub fn end_session(&mut self, session: u64) {
        if self.leader.is_some() {
            self.sessions.remove(&session);
            self.tree.nodes.retain(|_, (owner, _)| *owner != session);
        }
    }

    /// A request arrives at a server. None when it can't be answered, now or ever.
    pub fn answer(&mut self, server: usize, session: Option<u64>, ask: &Ask, now: Duration) -> Option<Reply> {
        match self.servers[server].standing {
            Standing::Silent => return None,
            Standing::Stale => {
                return match ask {
                    // A follower asks the leader, which doesn't answer.
                    Ask::Look if self.left_behind == Some(server) => {
                        Some(nodes(&self.servers[server].tree, session))
                    }
                    Ask::Read(node) => Some(content(&self.servers[server].tree, node)),
                    _ => None,
                };
            }
            Standing::Serves => {}
        }
        if let Ask::Open = ask {
            self.last_session += 1;
            self.sessions.insert(self.last_session, now);
            return Some(Reply::Session(self.last_session));
        }
        let session = match ask {
            Ask::Resume(session) => *session,
            _ => session?,
        };
        let Some(heard) = self.sessions.get_mut(&session) else { return Some(Reply::Expired) };
        *heard = now;
        Some(self.does(server, session, ask))
    }

    fn does(&mut self, server: usize, session: u64, ask: &Ask) -> Reply {
        let is_there = |tree: &Tree, node: &String| tree.nodes.contains_key(node);
        match ask {
            Ask::Open | Ask::Resume(_) => Reply::Session(session),
            Ask::Ping => Reply::Done,
            Ask::Look => {
                self.servers[server].tree = self.tree.clone();
                nodes(&self.tree, Some(session))
            }
            Ask::Read(node) => content(&self.servers[server].tree, node),
            Ask::Create(content) => {
                let name = format!("json.info_{:010}", self.tree.created);
                self.tree.created += 1;
                self.tree.nodes.insert(name.clone(), (session, content.clone()));
                Reply::Created(name)
            }
            Ask::Delete(node) => {
                self.tree.nodes.remove(node);
                Reply::Done
            }
            Ask::TakeOver(node) if is_there(&self.tree, node) => {
                self.tree.head = (self.tree.head.0 + 1, self.tree.head.1 + 1);
                Reply::Head(self.tree.head.0, self.tree.head.1)
            }
            Ask::Write(node, version) if is_there(&self.tree, node) && self.tree.head.1 == *version => {
                self.tree.head.1 += 1;
                Reply::Head(self.tree.head.0, self.tree.head.1)
            }
            Ask::TakeOver(_) | Ask::Write(..) => Reply::Fenced,
        }
    }
}

fn nodes(tree: &Tree, session: Option<u64>) -> Reply {
    let own = tree.nodes.iter().find(|(_, (owner, _))| Some(*owner) == session);
    Reply::Nodes(tree.nodes.keys().cloned().collect(), own.map(|(name, _)| name.clone()))
}

fn content(tree: &Tree, node: &str) -> Reply {
    Reply::Content(node.to_owned(), tree.nodes.get(node).map(|(_, content)| content.clone()))
}
