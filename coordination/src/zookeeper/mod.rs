//! Coordination in a real ZooKeeper ensemble: one task keeps a session, watches the masters' nodes, keeps an own one
//! while this process contends, and tells what [`Contest`](crate::contest::Contest) makes of it.
//!
//! The ensemble decides, nothing here does: there is no consensus of our own. A session that ends is followed by a new
//! one, in which this process is a new candidate.

mod group;
pub mod records;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use zookeeper_client::{Acl, Acls, Client, CreateMode, Error, Permission};

use crate::lease::Moment;
use crate::url::EnsembleUrl;
use crate::{Contender, Leader, LeaderContender, LeaderDetector, Leadership};
use group::{Group, Over};

/// Between two tries to open a session; each try asks all servers once.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the own node's removal may take when this process withdraws.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Everything that the creator of a node may do, and that others may read it.
const WITH_LOGIN: &[Acl] =
    &[Acl::new_const(Permission::ALL, "auth", ""), Acl::new_const(Permission::READ, "world", "anyone")];
const OPEN: &[Acl] = &[Acl::new_const(Permission::ALL, "world", "anyone")];

/// A session with the ensemble, and where in it the masters' nodes are. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Session {
    client: Client,
    url: EnsembleUrl,
    /// The whole path of this process' candidate node; none for one that doesn't contend.
    own: Option<String>,
}

impl Session {
    /// Opens a session for work beside the contest: looking at records, and moving them.
    ///
    /// # Errors
    /// No server of the ensemble answered within the time-out, or none may.
    pub async fn open(url: &EnsembleUrl, timeout: Duration) -> Result<Session, NoSession> {
        let client = connect(url, timeout).await.map_err(|source| NoSession { url: url.clone(), source })?;
        Ok(Session { client, url: url.clone(), own: None })
    }

    /// The node that holds the masters' own.
    pub fn path(&self) -> &str {
        self.url.path()
    }

    /// Who may do what with the nodes that are made here. Mesos: with a login its creator everything and all others
    /// read; without one everybody everything.
    fn acls(&self) -> Acls<'static> {
        Acls::new(if self.url.login().is_some() { WITH_LOGIN } else { OPEN })
    }

    /// Makes the node that holds the masters' own, if it isn't there.
    ///
    /// # Errors
    /// The ensemble doesn't answer, or refuses.
    pub async fn make_path(&self) -> Result<(), NoSession> {
        self.make_node().await.map_err(|source| NoSession { url: self.url.clone(), source })
    }

    async fn make_node(&self) -> Result<(), Error> {
        match self.client.check_stat(self.path()).await? {
            None => self.client.mkdir(self.path(), &CreateMode::Persistent.with_acls(self.acls())).await,
            Some(_) => Ok(()),
        }
    }

    /// The names of the candidates' nodes, the leader's first.
    ///
    /// # Errors
    /// The ensemble doesn't answer.
    pub async fn candidates(&self) -> Result<Vec<String>, NoSession> {
        let failed = |source| NoSession { url: self.url.clone(), source };
        let nodes = match self.client.list_children(self.path()).await {
            Err(Error::NoNode) => Vec::new(),
            other => other.map_err(failed)?,
        };
        let mut found: Vec<_> =
            nodes.iter().filter_map(|name| crate::contest::Candidate::read(name)).collect();
        found.sort_unstable();
        Ok(found.iter().map(|candidate| candidate.name().to_owned()).collect())
    }
}

/// No session with an ensemble.
#[derive(Debug, thiserror::Error)]
#[error(
    "ZooKeeper at {url} can't be used; look whether a majority of its servers runs and can be reached from here"
)]
pub struct NoSession {
    url: EnsembleUrl,
    source: Error,
}

async fn connect(url: &EnsembleUrl, timeout: Duration) -> Result<Client, Error> {
    // Who waits hears soon that nobody answers.
    let connector = Client::connector().with_session_timeout(timeout).with_fail_eagerly();
    let connector = match url.login() {
        Some(login) => connector.with_auth("digest", login.as_bytes()),
        None => connector,
    };
    connector.connect(&url.servers()).await
}

/// Who contends in this process, and who waits for its withdrawal.
#[derive(Debug, Default)]
enum Wish {
    /// Only to know who leads.
    #[default]
    Watch,
    Contend(Contender),
    Withdraw(Arc<Notify>),
}

/// Detection of the leader and the contest for leadership in an ensemble. Dropping it ends both.
#[derive(Debug)]
pub struct ZooKeeper {
    wish: watch::Sender<Wish>,
    leader: watch::Sender<Option<Leader>>,
    leadership: watch::Sender<Leadership>,
    task: JoinHandle<()>,
}

impl ZooKeeper {
    /// Begins to look for the leader, within a runtime of tokio's.
    pub fn start(url: EnsembleUrl, session_timeout: Duration) -> ZooKeeper {
        let (wish, wished) = watch::channel(Wish::Watch);
        let leader = watch::Sender::new(None);
        let leadership = watch::Sender::new(Leadership::Standby);
        let told = Told { leader: leader.clone(), leadership: leadership.clone() };
        let task = tokio::spawn(keep(url, session_timeout, wished, told));
        ZooKeeper { wish, leader, leadership, task }
    }
}

impl Drop for ZooKeeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl LeaderDetector for ZooKeeper {
    fn leader(&self) -> watch::Receiver<Option<Leader>> {
        self.leader.subscribe()
    }
}

impl LeaderContender for ZooKeeper {
    fn contend(&self, own: Contender) -> watch::Receiver<Leadership> {
        self.wish.send_replace(Wish::Contend(own));
        self.leadership.subscribe()
    }

    fn withdraw(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let done = Arc::new(Notify::new());
        self.wish.send_replace(Wish::Withdraw(done.clone()));
        Box::pin(async move {
            // The node goes with the session all the same, only later.
            let _ = tokio::time::timeout(LAST_WORDS, done.notified()).await;
        })
    }
}

/// Where what is found out is told.
#[derive(Debug)]
struct Told {
    leader: watch::Sender<Option<Leader>>,
    leadership: watch::Sender<Leadership>,
}

impl Told {
    fn leader(&self, leader: Option<&Leader>) {
        self.leader.send_if_modified(|now| {
            if now.as_ref() == leader {
                return false;
            }
            match leader {
                Some(leader) => tracing::info!(leader = %leader.address, hostname = leader.hostname, "detected the leading master"),
                None => tracing::info!("no master leads, as far as is known"),
            }
            *now = leader.cloned();
            true
        });
    }

    /// This process doesn't lead, or no longer.
    fn stand_by(&self) {
        self.leadership.send_if_modified(|now| match now.tenure() {
            None => false,
            Some(tenure) => {
                tenure.lease.end();
                *now = Leadership::Standby;
                true
            }
        });
    }
}

/// One session after another, for as long as the process wants to know.
async fn keep(url: EnsembleUrl, timeout: Duration, mut wish: watch::Receiver<Wish>, told: Told) {
    let (mut heard, mut complained) = (Moment::now(), None);
    loop {
        match connect(&url, timeout).await {
            Ok(client) => {
                complained = None;
                tracing::info!(ensemble = %url, session = %client.session_id(), "opened a ZooKeeper session");
                let session = Session { client, url: url.clone(), own: None };
                let over = Group::new(session, &mut wish, &told).run().await;
                told.stand_by();
                match over {
                    Over::Expired(error) => {
                        tracing::warn!(ensemble = %url, %error, "the ZooKeeper session ended; opening another");
                    }
                    Over::Unwanted => return,
                }
                heard = Moment::now();
            }
            Err(error) => {
                // Once for each time and reason, not for each try.
                if complained.as_ref() != Some(&error) {
                    tracing::warn!(ensemble = %url, %error, "no server of the ZooKeeper ensemble answers; trying on");
                    complained = Some(error);
                }
                if Moment::now().since(heard) > timeout {
                    told.leader(None);
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            // Nobody is left who wants to know.
            changed = wish.changed() => if changed.is_err() { return },
        }
    }
}
