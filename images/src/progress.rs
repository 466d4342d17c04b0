//! What a pull tells its callers while it runs.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::digest::Digest;

/// One step of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerEvent {
    /// The layer is part of the image and will be looked at; `total` is its compressed size in bytes.
    Planned {
        /// Compressed bytes.
        total: u64,
    },
    /// The unpacked layer is in the store already.
    Cached,
    /// Compressed bytes that arrived so far.
    Fetching {
        /// Bytes that arrived.
        done: u64,
        /// Compressed bytes in all.
        total: u64,
    },
    /// The source failed or wants to be left alone for a while; it will be asked again.
    Waiting {
        /// Until then.
        pause: Duration,
    },
    /// Every byte arrived; the rest is being verified and written.
    Unpacking,
    /// Verified and in the store.
    Done,
}

/// Receives the events of a pull. Calls come from several threads and must return quickly.
pub trait Progress: Send + Sync {
    /// `digest` is that of the compressed layer, as the manifest names it.
    fn layer(&self, digest: &Digest, event: LayerEvent);

    /// The registry failed before it said what the image is made of, or wants to be left alone; it will be asked again
    /// after the pause.
    fn waiting(&self, _why: &str, _pause: Duration) {}
}

/// Ignores every event.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn layer(&self, _digest: &Digest, _event: LayerEvent) {}
}

/// Passes events on to every caller that waits for the same pull.
#[derive(Default)]
pub(crate) struct Fanout {
    listeners: Mutex<Vec<Arc<dyn Progress>>>,
}

impl Fanout {
    pub(crate) fn join(&self, listener: Arc<dyn Progress>) {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(listener);
    }
}

impl Fanout {
    fn all(&self) -> Vec<Arc<dyn Progress>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Progress for Fanout {
    fn layer(&self, digest: &Digest, event: LayerEvent) {
        self.all().iter().for_each(|listener| listener.layer(digest, event));
    }

    fn waiting(&self, why: &str, pause: Duration) {
        self.all().iter().for_each(|listener| listener.waiting(why, pause));
    }
}
