//! Deleting finished sandboxes, one after the other: whoever deletes a thousand must not be felt by the tasks.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc as blocking;

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

use super::checkpoint::{Order, remove_run};
use super::paths::Paths;
use crate::containerizer::Reports;
use crate::logic::{Event, Run};

/// The task that deletes. Dropping it leaves what has not been begun to the next life of the agent.
pub(crate) struct Collector {
    runs: mpsc::UnboundedSender<Arc<Run>>,
    task: JoinHandle<()>,
}

impl Collector {
    /// Starts it. `disk` deletes the checkpoints of a run, `reports` hears of each.
    pub(crate) fn start(paths: Paths, disk: blocking::Sender<Order>, reports: Reports) -> Collector {
        let (runs, mut waiting) = mpsc::unbounded_channel::<Arc<Run>>();
        let task = tokio::spawn(async move {
            while let Some(run) = waiting.recv().await {
                tracing::info!(task = %run.task, container = %run.container, "deleting the sandbox");
                let sandbox = paths.sandbox(&run);
                let removed = remove(&sandbox).await;
                if removed {
                    // The checkpoints go last: by them the next life finds out what it has to go on with.
                    let _ = disk.send(Order::Collect(run));
                }
                reports.tell(Event::Collected { removed });
            }
        });
        Collector { runs, task }
    }

    /// Deletes the sandbox and then the checkpoints of a run, in its turn.
    pub(crate) fn collect(&self, run: Arc<Run>) {
        if self.runs.send(run).is_err() {
            tracing::error!("the collector of sandboxes has ended");
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn remove(sandbox: &Path) -> bool {
    let folder = sandbox.to_owned();
    match spawn_blocking(move || remove_run(&folder)).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::warn!("{}", error.chain());
            false
        }
        Err(error) => {
            tracing::warn!("can't remove {}: {error}", sandbox.display());
            false
        }
    }
}
