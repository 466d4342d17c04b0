//! What an agent writes down before it acts on it, so that another life of it can go on.

mod disk;
mod file;
mod late;
mod memory;
mod record;

use std::path::PathBuf;
use std::sync::mpsc;

use crate::logic::{Recovered, RecoveredFramework, Run, Ticket, Write};

pub(crate) use disk::remove_run;
pub use file::FileStore;
pub use memory::MemoryStore;

/// Keeps checkpoints. Calls block, and come from one thread in the order of their tickets.
pub trait CheckpointStore: Send {
    /// What an earlier life wrote. `warn` hears of what was damaged and skipped.
    ///
    /// # Errors
    /// The disk can't be read, or something is damaged and nothing may be skipped.
    fn load(&mut self, warn: &mut dyn FnMut(String)) -> Result<Recovered, CheckpointError>;

    /// What was loaded is settled: another start in the same life of the host is not one after a reboot any more.
    ///
    /// # Errors
    /// It could not be written down. Later writes try it first.
    fn settle(&mut self) -> Result<(), CheckpointError>;

    /// Makes a write durable.
    ///
    /// # Errors
    /// It could not be; then nothing of a new run is left, and an update or acknowledgement is as if it had not been.
    fn write(&mut self, write: &Write) -> Result<(), CheckpointError>;

    /// Deletes the checkpoints of a run.
    ///
    /// # Errors
    /// They could not be deleted.
    fn collect(&mut self, run: &Run) -> Result<(), CheckpointError>;

    /// Forgets the agent's id.
    ///
    /// # Errors
    /// It could not be forgotten.
    fn forget_agent(&mut self) -> Result<(), CheckpointError>;
}

/// Why a checkpoint could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The disk said no.
    #[error("can't {operation} {path}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the disk said.
        #[source]
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path} is damaged: {why}; restore it, or start with --no-strict to go on without it")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl CheckpointError {
    /// The error and its causes in one line.
    pub fn chain(&self) -> String {
        crate::chain(self)
    }
}

/// What the checkpoint thread is asked to do.
#[derive(Debug)]
pub(crate) enum Order {
    /// Write, and say so.
    Write(Ticket, Write),
    /// Recovery is over, and all that came of it was ordered before.
    Settle,
    /// Delete the checkpoints of a run.
    Collect(std::sync::Arc<Run>),
    /// Forget the agent's id.
    ForgetAgent,
}

/// Starts the thread that writes. It ends when the sender is dropped and everything before is done; `done` hears of
/// each write.
pub(crate) fn start(
    mut store: Box<dyn CheckpointStore>,
    done: impl Fn(Ticket, Result<(), String>) + Send + 'static,
) -> std::io::Result<(mpsc::Sender<Order>, std::thread::JoinHandle<()>)> {
    let (sender, orders) = mpsc::channel();
    let body = move || {
        let mut late = late::Late::default();
        while let Some(order) = next(&orders, &mut late, &mut *store) {
            match order {
                Order::Write(ticket, write) => {
                    done(ticket, late.write(&mut *store, &write).map_err(|e| e.chain()));
                }
                Order::Settle => warn(store.settle()),
                Order::Collect(run) => {
                    late.forget(&run);
                    warn(store.collect(&run));
                }
                Order::ForgetAgent => warn(store.forget_agent()),
            }
        }
    };
    let thread = std::thread::Builder::new().name("checkpoint".to_owned()).spawn(body)?;
    Ok((sender, thread))
}

/// Waits for an order, and writes meanwhile what could not be written before; none at the end.
fn next(
    orders: &mpsc::Receiver<Order>,
    late: &mut late::Late,
    store: &mut dyn CheckpointStore,
) -> Option<Order> {
    loop {
        late.write_due(store);
        let Some(pause) = late.pause() else { return orders.recv().ok() };
        match orders.recv_timeout(pause) {
            Ok(order) => return Some(order),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => return None,
        }
    }
}

fn warn(outcome: Result<(), CheckpointError>) {
    if let Err(error) = outcome {
        tracing::warn!("{}", error.chain());
    }
}

/// Puts one more recovered framework into place.
pub(crate) fn insert(recovered: &mut Recovered, framework: RecoveredFramework) {
    if let Some(id) = &framework.info.id {
        recovered.frameworks.insert(id.into(), framework);
    }
}
