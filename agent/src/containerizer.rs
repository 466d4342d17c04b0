//! The seam between deciding and running: what an agent asks of whoever runs its containers.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use model::{ContainerId, Timestamp};
use serving::metrics::Timer;

use crate::logic::{Event, Found, Launch, Run};

/// Hears what becomes of containers. Called from any thread; returns at once.
#[derive(Clone)]
pub struct Reports(Arc<dyn Fn(Event) + Send + Sync>);

impl Reports {
    /// Reports to a function.
    pub fn to(hear: impl Fn(Event) + Send + Sync + 'static) -> Reports {
        Reports(Arc::new(hear))
    }

    /// Reports one event.
    pub fn tell(&self, event: Event) {
        (self.0)(event);
    }
}

impl fmt::Debug for Reports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reports")
    }
}

/// What happened to containers since the process started.
#[derive(Clone, Debug)]
pub struct ContainerTally {
    /// How long pulls of images took, whatever came of them. Mesos: those of the last hour.
    pub pulls: Timer,
    /// How often something of a container could not be ended or removed.
    pub destroy_errors: u64,
    /// How often its root filesystem could not.
    pub rootfs_errors: u64,
}

impl ContainerTally {
    /// A pull took this long, which ended at that time since the start.
    pub fn pulled(&mut self, at: Duration, took: Duration) {
        let micros = i64::try_from(at.as_micros()).unwrap_or(i64::MAX);
        self.pulls.add(Timestamp::from_micros(micros), took);
    }
}

impl Default for ContainerTally {
    fn default() -> ContainerTally {
        let pulls = Timer::new(Duration::from_secs(3600));
        ContainerTally { pulls, destroy_errors: 0, rootfs_errors: 0 }
    }
}

/// A future that may cross threads.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Runs containers. All methods but the futures return at once; what happens is told to the [`Reports`].
pub trait Containerizer: Send + Sync {
    /// Every container of an earlier life, and what became of it.
    fn recover(&self) -> Pending<'_, Result<BTreeMap<ContainerId, Found>, String>>;

    /// Starts the command of a task. Told in this order: `ContainerPrepared` (at most once), `ContainerStarted` (at most
    /// once), and in the end exactly one of `ContainerExited`, `ContainerFailed` (nothing is left of it then) and
    /// `ContainerLost`.
    fn launch(&self, launch: Launch, reports: Reports);

    /// Listens again to a container of an earlier life. Told: as for [`Containerizer::launch`], from `ContainerStarted` on.
    fn reattach(&self, run: Arc<Run>, reports: Reports);

    /// Ends a container, however far its start has come. Unknown ones are ignored.
    fn kill(&self, container: &ContainerId, grace: Duration);

    /// Ends a container at once because it uses more disk than it may. What it is told of then says so.
    fn evict(&self, container: &ContainerId) {
        self.kill(container, Duration::ZERO);
    }

    /// Removes whatever is left of a container but its sandbox, running or not.
    fn destroy(&self, container: &ContainerId);

    /// The folder on the host that takes what a container writes to its root filesystem, if it has one of its own.
    fn writable(&self, _container: &ContainerId) -> Option<PathBuf> {
        None
    }

    /// What a container uses now; none when nobody knows.
    fn statistics(&self, _container: &ContainerId) -> Pending<'_, Option<runtime::Statistics>> {
        Box::pin(async { None })
    }

    /// Removes images that no container uses, but for those named.
    fn prune_images(&self, _excluded: Vec<String>) -> Pending<'_, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    /// What happened so far.
    fn tally(&self) -> ContainerTally {
        ContainerTally::default()
    }

    /// Waits until nothing is being removed any more.
    fn settled(&self) -> Pending<'_, ()>;
}
