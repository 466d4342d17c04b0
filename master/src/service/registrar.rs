//! The registrar: writes what one turn of the loop asked for in one transaction, on a thread that may block.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::clock::Clock;
use super::registry_store::{RegistryStore, StoreError};
use super::vitals::Vitals;
use crate::MasterError;
use crate::logic::{Change, Contents, Ticket};

/// What became of some writes.
#[derive(Debug)]
pub struct Written {
    /// Which.
    pub tickets: Vec<Ticket>,
    /// Whether they are on disk.
    pub done: bool,
}

/// The way to the registrar.
#[derive(Debug)]
pub struct Registrar {
    writes: mpsc::UnboundedSender<Vec<(Ticket, Change)>>,
    task: JoinHandle<()>,
}

/// What a registrar starts with.
pub struct Start {
    /// Opened, and led by this process.
    pub store: Box<dyn RegistryStore>,
    /// Longest time for one write.
    pub limit: Duration,
    /// Tells when writes were done.
    pub clock: Clock,
    /// Where it is told how long they took.
    pub vitals: Arc<Vitals>,
}

impl Start {
    /// Starts writing. What became of the writes arrives at `written`.
    pub fn start(self, written: mpsc::UnboundedSender<Written>) -> Registrar {
        let (writes, asked) = mpsc::unbounded_channel();
        Registrar { writes, task: tokio::spawn(serve(self, asked, written)) }
    }
}

/// Opens the registry for a new leader.
///
/// # Errors
/// The store failed or took too long.
pub async fn lead(
    mut store: Box<dyn RegistryStore>,
    least_epoch: u64,
    limit: Duration,
) -> Result<(Box<dyn RegistryStore>, Contents), MasterError> {
    let work = tokio::task::spawn_blocking(move || {
        let contents = store.lead(least_epoch)?;
        Ok::<_, StoreError>((store, contents))
    });
    let slow = MasterError::Slow { what: "loading the registry", limit, flag: "registry_fetch_timeout" };
    let joined = tokio::time::timeout(limit, work).await.map_err(|_| slow)?;
    Ok(joined.map_err(|_| MasterError::Ended("registry"))??)
}

impl Registrar {
    /// Asks for writes. Their number is bounded by what the state lets wait.
    pub fn write(&self, changes: Vec<(Ticket, Change)>) {
        // The task ends only after a failed write, which the loop hears of by `written` and steps down.
        let _ = self.writes.send(changes);
    }

    /// Leaves it: what is still being written comes too late to count, and the store sees to that.
    pub fn abandon(self) {
        self.task.abort();
    }

    /// Waits until all is written and the store is closed.
    pub async fn finish(self) {
        drop(self.writes);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the registrar ended unexpectedly");
        }
    }
}

async fn serve(
    start: Start,
    mut asked: mpsc::UnboundedReceiver<Vec<(Ticket, Change)>>,
    written: mpsc::UnboundedSender<Written>,
) {
    let Start { mut store, limit, clock, vitals } = start;
    while let Some(mut batch) = asked.recv().await {
        let began = Instant::now();
        while let Ok(more) = asked.try_recv() {
            batch.extend(more);
        }
        let (tickets, changes): (Vec<Ticket>, Vec<Change>) = batch.into_iter().unzip();
        let work = tokio::task::spawn_blocking(move || {
            let result = store.apply(&changes);
            (store, result)
        });
        match tokio::time::timeout(limit, work).await {
            Ok(Ok((back, Ok(())))) => {
                store = back;
                vitals.stored(clock.now(), began.elapsed(), store.size());
                if written.send(Written { tickets, done: true }).is_err() {
                    return;
                }
                continue;
            }
            Ok(Ok((_, Err(error)))) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "the registry was not written");
            }
            Ok(Err(panic)) => tracing::error!(%panic, "the registry's thread ended"),
            Err(_) => {
                tracing::error!(?limit, "writing the registry took too long (--registry_store_timeout)");
            }
        }
        // Mesos: a failed write ends the leading master. Nothing is written after it.
        let _ = written.send(Written { tickets, done: false });
        return;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::registry_store::InMemory;
    use model::AgentId;

    /// Fails or hangs from its n-th write on.
    struct Broken {
        left: usize,
        hang: Option<std::sync::mpsc::Receiver<()>>,
    }

    impl RegistryStore for Broken {
        fn lead(&mut self, _: u64) -> Result<Contents, StoreError> {
            Ok(Contents::default())
        }

        fn apply(&mut self, _: &[Change]) -> Result<(), StoreError> {
            match (self.left.checked_sub(1), &self.hang) {
                (Some(left), _) => self.left = left,
                (None, Some(hang)) => hang.recv().unwrap_or_default(),
                (None, None) => return Err(StoreError::Locked { path: "/registry".into() }),
            }
            Ok(())
        }
    }

    fn change(n: u64) -> (Ticket, Change) {
        (Ticket(n), Change::Remove(AgentId::from("A")))
    }

    fn started(
        store: impl RegistryStore + 'static,
        limit_ms: u64,
        written: mpsc::UnboundedSender<Written>,
    ) -> Registrar {
        let (limit, clock, vitals) = (Duration::from_millis(limit_ms), Clock::start(), Arc::default());
        Start { store: Box::new(store), limit, clock, vitals }.start(written)
    }

    #[tokio::test]
    async fn writes_are_answered_in_order_and_in_batches() {
        let (written, mut answers) = mpsc::unbounded_channel();
        let registrar = started(InMemory::default(), 20_000, written);
        for n in 0..100 {
            registrar.write(vec![change(2 * n), change(2 * n + 1)]);
        }
        let mut seen = Vec::new();
        while seen.len() < 200 {
            let answer = answers.recv().await.unwrap();
            assert!(answer.done);
            seen.extend(answer.tickets.iter().map(|ticket| ticket.0));
        }
        assert_eq!(seen, (0..200).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn after_a_failed_write_nothing_is_written() {
        let (written, mut answers) = mpsc::unbounded_channel();
        let store = Broken { left: 1, hang: None };
        let registrar = started(store, 20_000, written);
        for n in 0..2 {
            registrar.write(vec![change(n)]);
            assert_eq!(answers.recv().await.unwrap().done, n == 0);
        }
        registrar.write(vec![change(2)]);
        assert!(answers.recv().await.is_none());
    }

    #[tokio::test]
    async fn a_write_that_hangs_counts_as_failed() {
        let (written, mut answers) = mpsc::unbounded_channel();
        let (let_go, hang) = std::sync::mpsc::channel();
        let store = Broken { left: 0, hang: Some(hang) };
        let registrar = started(store, 20, written);
        registrar.write(vec![change(0)]);
        assert!(!answers.recv().await.unwrap().done);
        drop(let_go);
    }
}
