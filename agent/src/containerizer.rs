//! The seam between deciding and running: what an agent asks of whoever runs its containers.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use model::ContainerId;

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

    /// Removes whatever is left of a container but its sandbox, running or not.
    fn destroy(&self, container: &ContainerId);

    /// Waits until nothing is being removed any more.
    fn settled(&self) -> Pending<'_, ()>;
}
