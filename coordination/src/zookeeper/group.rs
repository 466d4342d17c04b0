//! The masters' nodes within one session: looked at when they change and, by a leader, often enough to keep its lease.

use std::time::Duration;

use tokio::sync::watch;
use zookeeper_client::{CreateMode, Error, Permission, WatchedEvent};

use super::{Session, Told, Wish};
use crate::contest::{Candidate, Contest, LABEL, Verdict};
use crate::lease::{Lease, Moment};
use crate::{Contender, Leadership, Tenure};

/// Between two looks after one failed.
const AFTER_FAILURE: Duration = Duration::from_millis(500);
/// Between two looks of one who doesn't lead. The watch tells of changes before.
const IDLE: Duration = Duration::from_secs(60);
/// Looks of a leader within one session time-out.
const LOOKS: u32 = 8;
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);

/// Why the work within a session is over.
pub(super) enum Over {
    /// The ensemble ended the session, or can't be reached for longer than it lasts.
    Expired(Error),
    /// Nobody wants to know any more.
    Unwanted,
}

type Changed = std::pin::Pin<Box<dyn Future<Output = WatchedEvent> + Send>>;

/// What happens next.
enum Next {
    Look,
    Wish,
    Gone,
}

/// The work within one session.
pub(super) struct Group<'a> {
    session: Session,
    contest: Contest,
    wish: &'a mut watch::Receiver<Wish>,
    told: &'a Told,
    changed: Option<Changed>,
    lease: Option<Lease>,
    /// Since when every look has failed.
    failing: Option<Moment>,
    timeout: Duration,
    complained: Option<String>,
}

impl<'a> Group<'a> {
    pub(super) fn new(session: Session, wish: &'a mut watch::Receiver<Wish>, told: &'a Told) -> Group<'a> {
        let timeout = session.client.session_timeout();
        Group {
            session,
            contest: Contest::new(timeout),
            wish,
            told,
            changed: None,
            lease: None,
            failing: None,
            timeout,
            complained: None,
        }
    }

    pub(super) async fn run(mut self) -> Over {
        loop {
            let pause = match self.within_lease().await {
                Ok(()) => match self.lease {
                    Some(_) => (self.timeout / LOOKS).max(SHORTEST_PAUSE),
                    None => IDLE,
                },
                Err(error) => {
                    if self.session.client.state().is_terminated() {
                        return Over::Expired(error);
                    }
                    self.complain(&error);
                    AFTER_FAILURE
                }
            };
            match self.next(pause).await {
                Next::Look => {}
                Next::Wish => self.wish_changed().await,
                Next::Gone => return Over::Unwanted,
            }
        }
    }

    /// Looks, but ends a lease that runs out meanwhile when it does.
    async fn within_lease(&mut self) -> Result<(), Error> {
        let Some(lease) = self.lease.clone() else { return self.look().await };
        let left = lease.left(Moment::now());
        let looked = tokio::time::timeout(left, self.look()).await;
        if !lease.holds() {
            self.step_back("the ensemble did not confirm it in time");
        }
        looked.unwrap_or(Err(Error::Timeout))
    }

    async fn next(&mut self, pause: Duration) -> Next {
        let pause = match &self.lease {
            Some(lease) => pause.min(lease.left(Moment::now())),
            None => pause,
        };
        let mut state = self.session.client.state_watcher();
        // Only what comes from now on.
        let ended = state.state().is_terminated();
        let changed = async {
            match &mut self.changed {
                Some(changed) => {
                    changed.await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            wish = self.wish.changed() => if wish.is_err() { Next::Gone } else { Next::Wish },
            () = changed => {
                self.changed = None;
                Next::Look
            }
            _ = state.changed(), if !ended => Next::Look,
            () = tokio::time::sleep(pause) => Next::Look,
        }
    }

    /// One look at the nodes, and what follows from it.
    async fn look(&mut self) -> Result<(), Error> {
        let contender = match &*self.wish.borrow() {
            Wish::Contend(contender) => Some(contender.clone()),
            _ => None,
        };
        if contender.is_some() && self.contest.own().is_none() {
            self.make_path().await?;
        }
        let verdict = self.see().await?;
        match (verdict, contender) {
            (Verdict::Absent, Some(contender)) => {
                self.step_back("its node is gone");
                self.join(&contender).await?;
                let verdict = self.see().await?;
                self.judge(verdict);
            }
            (verdict, Some(_)) => self.judge(verdict),
            // It withdrew, but the answer to that was lost.
            (Verdict::Leads { .. } | Verdict::Stands, None) => self.leave().await,
            (Verdict::Absent, None) => {}
        }
        self.learn_leader().await?;
        self.complained = None;
        self.failing = None;
        Ok(())
    }

    /// Reads the names of the nodes, after everything that a majority of the ensemble knew when this began.
    async fn see(&mut self) -> Result<Verdict, Error> {
        let asked = Moment::now();
        let nodes = loop {
            match self.list().await {
                // No master was ever there: its coming can be watched, too.
                Err(Error::NoNode) if self.watch_for_path().await? => break Vec::new(),
                // It came just now.
                Err(Error::NoNode) => {}
                other => break other?,
            }
        };
        Ok(self.contest.seen(asked, nodes.iter().map(String::as_str)))
    }

    async fn list(&mut self) -> Result<Vec<String>, Error> {
        let (client, path) = (self.session.client.clone(), self.session.path().to_owned());
        let synced = client.sync(&path);
        if self.changed.is_some() {
            let (synced, nodes) = tokio::join!(synced, client.list_children(&path));
            synced?;
            return nodes;
        }
        let (synced, nodes) = tokio::join!(synced, client.list_and_watch_children(&path));
        synced?;
        let (nodes, watcher) = nodes?;
        self.changed = Some(Box::pin(watcher.changed()));
        Ok(nodes)
    }

    /// Watches for the making of the node of all; not when it was made meanwhile, for then its children are to be watched.
    async fn watch_for_path(&mut self) -> Result<bool, Error> {
        let (made, watcher) = self.session.client.check_and_watch_stat(self.session.path()).await?;
        self.changed = made.is_none().then(|| Box::pin(watcher.changed()) as Changed);
        Ok(made.is_none())
    }

    fn judge(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Leads { until } => match self.lease.as_ref().filter(|lease| lease.holds()) {
                Some(lease) => lease.prolong(until),
                None => self.lead(until),
            },
            Verdict::Stands | Verdict::Absent => self.step_back("another one leads"),
        }
    }

    fn lead(&mut self, until: Moment) {
        let lease = Lease::until(until);
        let own = self.contest.own().map(|name| format!("{}/{name}", self.session.path()));
        tracing::info!(node = own.as_deref().unwrap_or_default(), "elected as the leading master");
        self.lease = Some(lease.clone());
        let session = Some(Session { own, ..self.session.clone() });
        self.told.leadership.send_replace(Leadership::Leading(Box::new(Tenure { lease, session })));
    }

    fn step_back(&mut self, why: &str) {
        if let Some(lease) = self.lease.take() {
            tracing::warn!(why, "this master no longer leads");
            lease.end();
            self.told.stand_by();
        }
    }

    async fn learn_leader(&mut self) -> Result<(), Error> {
        while let Some(node) = self.contest.unread().map(str::to_owned) {
            match self.session.client.get_data(&format!("{}/{node}", self.session.path())).await {
                Ok((content, _)) => {
                    if let Err(bad) = self.contest.read(&node, &content) {
                        tracing::warn!(ensemble = %self.session.url, "{bad}");
                    }
                }
                // Gone between the two reads.
                Err(Error::NoNode) => {
                    self.see().await?;
                }
                Err(error) => return Err(error),
            }
        }
        self.told.leader(self.contest.leader());
        Ok(())
    }

    /// Makes the node of all, and warns where a login protects nothing of it.
    async fn make_path(&mut self) -> Result<(), Error> {
        let session = self.session.clone();
        session.make_node().await?;
        if session.url.login().is_none() {
            return Ok(());
        }
        let (acls, _) = session.client.get_acl(session.path()).await?;
        if acls.iter().any(|acl| acl.scheme() == "world" && acl.permission().has(Permission::CREATE)) {
            tracing::warn!(
                ensemble = %session.url,
                "everybody may make nodes at {}, and so say that he leads; take that right from world:anyone",
                session.path()
            );
        }
        Ok(())
    }

    /// Makes this process' node, unless one is there whose making was never answered.
    async fn join(&mut self, contender: &Contender) -> Result<(), Error> {
        let client = self.session.client.clone();
        let name = match self.find_own().await? {
            Some(name) => name,
            None => {
                let options = CreateMode::EphemeralSequential.with_acls(self.session.acls());
                let prefix = format!("{}/{LABEL}", self.session.path());
                let (_, number) = client.create(&prefix, contender.info.as_bytes(), &options).await?;
                format!("{LABEL}{number}")
            }
        };
        tracing::info!(node = name, "contending for leadership");
        self.contest.joined(&name);
        Ok(())
    }

    async fn find_own(&mut self) -> Result<Option<String>, Error> {
        let (client, path) = (self.session.client.clone(), self.session.path().to_owned());
        let own = client.session_id().0;
        for name in client.list_children(&path).await? {
            if Candidate::read(&name).is_some()
                && client
                    .check_stat(&format!("{path}/{name}"))
                    .await?
                    .is_some_and(|stat| stat.ephemeral_owner == own)
            {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    async fn wish_changed(&mut self) {
        let withdraw = match &*self.wish.borrow() {
            Wish::Withdraw(done) => Some(done.clone()),
            _ => None,
        };
        if let Some(done) = withdraw {
            self.step_back("it withdraws");
            self.leave().await;
            done.notify_one();
        }
    }

    /// Takes the own node away.
    async fn leave(&mut self) {
        if let Some(own) = self.contest.own() {
            let node = format!("{}/{own}", self.session.path());
            if let Err(error) = self.session.client.delete(&node, None).await {
                tracing::warn!(node, %error, "the own node could not be removed; it goes with the session");
            }
        }
    }

    fn complain(&mut self, error: &Error) {
        let now = Moment::now();
        // A single server that ended, or was changed for another, is no reason to doubt who leads.
        if now.since(*self.failing.get_or_insert(now)) > self.timeout {
            // Mesos: who leads is unknown once the ensemble was away for a session's time.
            self.told.leader(None);
        }
        let text = error.to_string();
        if self.complained.as_ref() != Some(&text) {
            let advice = match error {
                Error::NoAuth => "; its nodes belong to another login: give user and password in the URL",
                _ => "",
            };
            tracing::warn!(ensemble = %self.session.url, "the ZooKeeper ensemble can't be used now: {text}{advice}");
            self.complained = Some(text);
        }
    }
}
