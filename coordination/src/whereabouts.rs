//! What `--master` says: the master itself, or the ensemble that knows which one leads.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::LeaderDetector;
use crate::address::{BadAddress, LeaderAddress};
use crate::standalone::Standalone;
use crate::url::{BadUrl, EnsembleUrl};
use crate::zookeeper::ZooKeeper;

/// Where to look for the leading master.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Whereabouts {
    /// There. If another one leads, that one answers where.
    At(LeaderAddress),
    /// Where this ensemble says.
    Ensemble(EnsembleUrl),
}

/// A text that says neither.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadWhereabouts {
    /// It began like an ensemble's URL.
    #[error(transparent)]
    Url(#[from] BadUrl),
    /// It did not.
    #[error(transparent)]
    Address(#[from] BadAddress),
}

/// No leader within the time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} names no leading master within {1:?}; look whether a majority of its servers runs, and whether masters with the \
     same --zk do"
)]
pub struct NobodyLeads(EnsembleUrl, Duration);

impl FromStr for Whereabouts {
    type Err = BadWhereabouts;

    fn from_str(text: &str) -> Result<Whereabouts, BadWhereabouts> {
        if EnsembleUrl::is_one(text) {
            return Ok(Whereabouts::Ensemble(text.parse()?));
        }
        Ok(Whereabouts::At(text.parse()?))
    }
}

/// Without a password.
impl fmt::Display for Whereabouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Whereabouts::At(address) => write!(f, "{address}"),
            Whereabouts::Ensemble(url) => write!(f, "{url}"),
        }
    }
}

impl Whereabouts {
    /// What tells who leads, from now on. Within a runtime of tokio's.
    pub fn detector(&self, session_timeout: Duration) -> Arc<dyn LeaderDetector> {
        match self {
            Whereabouts::At(address) => Arc::new(Standalone::at(address.clone())),
            Whereabouts::Ensemble(url) => Arc::new(ZooKeeper::start(url.clone(), session_timeout)),
        }
    }

    /// Who leads now.
    ///
    /// # Errors
    /// Nobody within the time.
    pub async fn find(&self, limit: Duration) -> Result<LeaderAddress, NobodyLeads> {
        let url = match self {
            Whereabouts::At(address) => return Ok(address.clone()),
            Whereabouts::Ensemble(url) => url,
        };
        let detector = self.detector(limit);
        let mut leader = detector.leader();
        let found = tokio::time::timeout(limit, leader.wait_for(Option::is_some)).await;
        let found = found.ok().and_then(|found| found.ok()?.clone());
        found.map(|leader| leader.address).ok_or_else(|| NobodyLeads(url.clone(), limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_are_read_and_shown_without_a_password() {
        let shown = |text: &str| text.parse::<Whereabouts>().map(|found| found.to_string());
        assert_eq!(shown("10.0.0.1:5050").unwrap(), "10.0.0.1:5050");
        assert_eq!(shown("zk://me:secret@h:1/m").unwrap(), "zk://me:…@h:1/m");
        assert!(shown("zk://h").unwrap_err().to_string().contains("zk://host1:2181"));
        assert!(shown("h").unwrap_err().to_string().contains("host:port"));
    }
}
