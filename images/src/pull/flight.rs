//! One flight per image and per layer: whoever asks for the same thing at the same time waits for the same work.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::{BoxFuture, Shared, WeakShared};

use super::error::{LayerError, PullError};
use crate::digest::Digest;
use crate::progress::{Fanout, Progress};
use crate::reference::ImageName;
use crate::store::{Grant, Image, LayerLease};

/// Everything that is being pulled into one store.
#[derive(Default)]
pub(crate) struct Flights {
    pub(super) images: Table<(ImageName, bool, Option<Grant>), Result<Image, PullError>>,
    pub(super) layers: Table<Digest, Result<Arc<LayerLease>, Arc<LayerError>>>,
}

type Work<T> = BoxFuture<'static, T>;

/// Work in progress by key. The table alone keeps none of it alive: work whose last waiter goes away stops.
pub(super) struct Table<K, T: Clone> {
    flights: Mutex<HashMap<K, Flight<T>>>,
}

struct Flight<T: Clone> {
    work: WeakShared<Work<T>>,
    fanout: Arc<Fanout>,
}

impl<K, T: Clone> Default for Table<K, T> {
    fn default() -> Self {
        Self { flights: Mutex::default() }
    }
}

impl<K: Eq + Hash, T: Clone> Table<K, T> {
    /// Joins the work for `key`, or starts it; `progress` hears of it from now on.
    pub(super) fn join(
        &self,
        key: K,
        progress: Arc<dyn Progress>,
        start: impl FnOnce(Arc<Fanout>) -> Work<T>,
    ) -> Shared<Work<T>> {
        use futures_util::FutureExt as _;
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(&key)
            && let Some(work) = flight.work.upgrade()
            && work.peek().is_none()
        {
            flight.fanout.join(progress);
            return work;
        }
        flights.retain(|_, flight| flight.work.upgrade().is_some_and(|work| work.peek().is_none()));
        let fanout = Arc::new(Fanout::default());
        fanout.join(progress);
        let work = start(fanout.clone()).shared();
        if let Some(weak) = work.downgrade() {
            flights.insert(key, Flight { work: weak, fanout });
        }
        work
    }
}
