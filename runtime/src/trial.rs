//! Limits tried out on this host, before any container is to have them.
use std::time::Duration;

use crate::cgroups::{Cgroups, Error};
use crate::isolators::devices::Policy;
use crate::launch::Runtime;
use crate::spec::{ContainerId, Isolation, Limits};

/// The cgroup that is made for it; callers name their containers otherwise.
const NAME: &str = "trial";

impl Runtime {
    /// Makes a cgroup with these limits, in which there is nobody, and removes it again. What the kernel doesn't take
    /// now it would not take of any container. Controllers that `isolation` leaves out are not tried.
    ///
    /// # Errors
    /// The controller that the host lacks, or the file that was not taken and what the kernel said.
    pub fn try_limits(&self, limits: &Limits, isolation: &Isolation) -> Result<(), Error> {
        let (layout, root) = (&self.host.layout, &self.config.cgroups_root);
        let id = ContainerId::new(NAME).expect("the name is a plain word");
        let mut only = isolation.clone();
        only.controllers.retain(|one| limits.asks_for().contains(one));
        // A trial that was killed may have left it.
        Cgroups::open(layout, root, &id)?.remove(Duration::ZERO)?;
        let made = Cgroups::create(layout, root, &id, limits, &only, &Policy::standard())?;
        made.remove(Duration::ZERO)
    }
}
