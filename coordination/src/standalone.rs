//! One master, named by its address: it leads as soon as it contends, and stays where it is.

use tokio::sync::watch;

use crate::{Contender, Leader, LeaderAddress, LeaderContender, LeaderDetector, Leadership, Lease, Tenure};

/// Coordination of a cluster with a single master.
#[derive(Debug)]
pub struct Standalone {
    leader: watch::Sender<Option<Leader>>,
}

impl Standalone {
    /// For agents and schedulers: the master is at `address`.
    pub fn at(address: LeaderAddress) -> Standalone {
        Standalone { leader: watch::Sender::new(Some(address.into())) }
    }

    /// For the master itself: nobody leads until it contends.
    pub fn new() -> Standalone {
        Standalone { leader: watch::Sender::new(None) }
    }
}

impl Default for Standalone {
    fn default() -> Self {
        Standalone::new()
    }
}

impl LeaderDetector for Standalone {
    fn leader(&self) -> watch::Receiver<Option<Leader>> {
        self.leader.subscribe()
    }
}

impl LeaderContender for Standalone {
    fn contend(&self, own: Contender) -> watch::Receiver<Leadership> {
        self.leader.send_replace(Some(own.leader));
        // A receiver whose sender is gone keeps the last value, and that is right here: nobody can take it away.
        let tenure = Tenure { lease: Lease::endless(), session: None };
        watch::Sender::new(Leadership::Leading(Box::new(tenure))).subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_master_leads() {
        let alone = Standalone::new();
        let detected = alone.leader();
        assert_eq!(*detected.borrow(), None);
        let address: LeaderAddress = "127.0.0.1:5050".parse().unwrap();
        let own = Contender { leader: address.clone().into(), info: String::new() };
        assert!(alone.contend(own).borrow().tenure().unwrap().lease.holds());
        assert_eq!(*detected.borrow(), Some(address.into()));
    }
}
