//! One master, named by its address: it leads as soon as it contends, and stays where it is.

use tokio::sync::watch;

use crate::{LeaderAddress, LeaderContender, LeaderDetector, Leadership};

/// Coordination of a cluster with a single master.
#[derive(Debug)]
pub struct Standalone {
    leader: watch::Sender<Option<LeaderAddress>>,
}

impl Standalone {
    /// For agents and schedulers: the master is at `address`.
    pub fn at(address: LeaderAddress) -> Standalone {
        Standalone { leader: watch::Sender::new(Some(address)) }
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
    fn leader(&self) -> watch::Receiver<Option<LeaderAddress>> {
        self.leader.subscribe()
    }
}

impl LeaderContender for Standalone {
    fn contend(&self, own: LeaderAddress) -> watch::Receiver<Leadership> {
        self.leader.send_replace(Some(own));
        // A receiver whose sender is gone keeps the last value, and that is right here: nobody can take it away.
        watch::Sender::new(Leadership::Leading).subscribe()
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
        let own: LeaderAddress = "127.0.0.1:5050".parse().unwrap();
        assert_eq!(*alone.contend(own.clone()).borrow(), Leadership::Leading);
        assert_eq!(*detected.borrow(), Some(own));
    }
}
