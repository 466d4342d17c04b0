//! Watching how much disk tasks use, and ending those that use more than they asked for, where that is wanted.
//!
//! Mesos' isolator `disk/du`: every 15 s, one task at a time. What a task writes to its root filesystem counts as well
//! as its sandbox, as with `disk/xfs`: a quota that leaves a door open is none.

mod measure;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use model::size::format_bytes;
use model::{ContainerId, Resources};
use tokio::task::spawn_blocking;

use crate::api::Sources;
use crate::config::DiskQuota;
use crate::logic::{Event, Run, Stage, View, disk_quota};
use measure::{MeasureError, is_folder, measure};

/// What was measured last of each running container, in bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct DiskUsage(Arc<Mutex<BTreeMap<ContainerId, u64>>>);

impl DiskUsage {
    /// What a container used when it was last looked at.
    pub(crate) fn of(&self, container: &ContainerId) -> Option<u64> {
        self.content().get(container).copied()
    }

    fn content(&self) -> std::sync::MutexGuard<'_, BTreeMap<ContainerId, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at all running tasks, one after the other, again and again.
pub(crate) struct DiskWatch {
    pub(crate) quota: DiskQuota,
    pub(crate) sources: Sources,
}

impl DiskWatch {
    /// Until the agent ends.
    pub(crate) async fn run(self) {
        loop {
            tokio::time::sleep(self.quota.interval).await;
            let Some(view) = self.sources.reader.view().await else { return };
            let tasks = running(&view);
            self.sources
                .disk
                .content()
                .retain(|container, _| tasks.iter().any(|(run, _)| run.container == *container));
            for (run, resources) in tasks {
                self.look_at(&run, &resources).await;
            }
        }
    }

    async fn look_at(&self, run: &Run, resources: &Resources) {
        let mut folders = vec![self.sources.paths.sandbox(run)];
        folders.extend(self.sources.containers.writable(&run.container));
        let Ok(measured) = spawn_blocking(move || measure_all(&folders)).await else { return };
        if let Ok(bytes) = measured {
            self.sources.disk.content().insert(run.container.clone(), bytes);
        }
        let Some(why) = disk_quota(resources).and_then(|quota| excess(measured, quota)) else { return };
        if self.quota.enforced {
            self.sources
                .reader
                .tell(Event::DiskQuotaExceeded { container: run.container.clone(), why })
                .await;
        } else {
            tracing::warn!(task = %run.task, container = %run.container, "{why}");
        }
    }
}

fn running(view: &View) -> Vec<(Arc<Run>, Resources)> {
    let tasks = view.frameworks.values().flat_map(|f| f.tasks.values());
    let running = tasks.filter(|task| task.stage == Stage::Running);
    running.map(|task| (task.run.clone(), task.resources.clone())).collect()
}

fn measure_all(folders: &[PathBuf]) -> Result<u64, MeasureError> {
    folders.iter().filter(|folder| is_folder(folder)).map(|folder| measure(folder)).sum()
}

/// What is to be said of a task that uses more than its quota, or makes sure that nobody can tell.
fn excess(measured: Result<u64, MeasureError>, quota: u64) -> Option<String> {
    let quota_text = format_bytes(quota);
    match measured {
        Ok(used) => {
            // Mesos' words.
            (used > quota)
                .then(|| format!("Disk usage ({}) exceeds quota ({quota_text})", format_bytes(used)))
        }
        Err(why @ (MeasureError::TooDeep | MeasureError::TooMany)) => {
            Some(format!("Disk usage can't be compared with the quota ({quota_text}): {why}"))
        }
        Err(MeasureError::Gone | MeasureError::Io(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_over_the_quota() {
        assert_eq!(excess(Ok(10 << 20), 10 << 20), None);
        let said = excess(Ok((10 << 20) + 4096), 10 << 20).unwrap();
        assert_eq!(said, "Disk usage (10244KB) exceeds quota (10MB)");
        assert!(excess(Err(MeasureError::TooDeep), 1 << 20).unwrap().contains("nested more than 128 deep"));
        assert_eq!(excess(Err(MeasureError::Gone), 0), None);
    }
}
