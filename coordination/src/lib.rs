//! Who leads: detection of the leading master and contention for leadership, behind two narrow seams.
//!
//! A single master is its own coordination ([`Standalone`]); several contend in a real ZooKeeper ensemble
//! ([`ZooKeeper`]), where the leader also keeps its records ([`Records`]), out of reach of any other.

#![forbid(unsafe_code)]

mod address;
pub mod contest;
#[doc(hidden)]
pub mod fuzzing;
pub mod lease;
mod standalone;
mod url;
mod whereabouts;
mod zookeeper;

use std::pin::Pin;

use tokio::sync::watch;

pub use address::{BadAddress, Leader, LeaderAddress};
pub use lease::Lease;
pub use standalone::Standalone;
pub use url::{BadUrl, EnsembleUrl};
pub use whereabouts::{BadWhereabouts, NobodyLeads, Whereabouts};
pub use zookeeper::records::{Change, Records, RecordsError, Taken};
pub use zookeeper::{NoSession, Session, ZooKeeper};

/// Tells who leads.
pub trait LeaderDetector: Send + Sync {
    /// The leader, none while there is none; the receiver hears of each change.
    fn leader(&self) -> watch::Receiver<Option<Leader>>;
}

/// What a contender knows of its own leadership.
#[derive(Clone, Debug)]
pub enum Leadership {
    /// Another leads, or nobody yet, or it led and must have stopped.
    Standby,
    /// This process leads.
    Leading(Box<Tenure>),
}

/// One time of leading.
#[derive(Clone, Debug)]
pub struct Tenure {
    /// Nothing may leave this process once it doesn't hold.
    pub lease: Lease,
    /// Where the ensemble knows it; none for a master that is alone.
    pub session: Option<Session>,
}

impl Leadership {
    /// The tenure, while this process leads.
    pub fn tenure(&self) -> Option<&Tenure> {
        match self {
            Leadership::Leading(tenure) => Some(tenure),
            Leadership::Standby => None,
        }
    }
}

/// Who contends.
#[derive(Clone, Debug)]
pub struct Contender {
    /// Where agents and schedulers find it.
    pub leader: Leader,
    /// Its MasterInfo in JSON, as it is told to others' detectors.
    pub info: String,
}

/// Contends for leadership.
pub trait LeaderContender: Send + Sync {
    /// Joins the contest, and joins it again whenever its place in it was lost.
    fn contend(&self, own: Contender) -> watch::Receiver<Leadership>;

    /// Leaves the contest, so that another can lead at once. Ready when that is done, or can't be.
    fn withdraw(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }
}
