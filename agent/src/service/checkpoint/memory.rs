//! Checkpoints that live as long as the process: for tests and simulations.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use model::{FrameworkId, Timestamp};
use wire::v1;

use super::{CheckpointError, CheckpointStore, insert};
use crate::logic::{Recovered, RecoveredFramework, RecoveredRun, RecoveredUpdate, Run, Write};

/// Clones share their content, so that a restarted agent finds what its predecessor wrote.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<Content>>);

#[derive(Debug, Default)]
struct Content {
    agent: Option<v1::AgentInfo>,
    frameworks: BTreeMap<FrameworkId, Arc<v1::FrameworkInfo>>,
    runs: BTreeMap<Arc<Run>, RecoveredRun>,
    full: bool,
}

impl MemoryStore {
    /// From now on writes of new runs fail as on a full disk, or no longer do.
    pub fn set_full(&self, full: bool) {
        self.content().full = full;
    }

    fn content(&self) -> std::sync::MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CheckpointStore for MemoryStore {
    fn load(&mut self, _: &mut dyn FnMut(String)) -> Result<Recovered, CheckpointError> {
        let content = self.content();
        let mut recovered = Recovered { agent: content.agent.clone(), ..Default::default() };
        for (id, info) in &content.frameworks {
            let runs = content.runs.values().filter(|r| r.run.framework == *id).cloned().collect();
            insert(&mut recovered, RecoveredFramework { info: info.clone(), runs });
        }
        Ok(recovered)
    }

    fn settle(&mut self) -> Result<(), CheckpointError> {
        Ok(())
    }

    fn write(&mut self, write: &Write) -> Result<(), CheckpointError> {
        let mut content = self.content();
        match write {
            Write::Agent(info) => content.agent = Some((**info).clone()),
            Write::Framework { info, .. } => content.keep(info),
            Write::Task { run, .. } if content.full => {
                return Err(CheckpointError::Io {
                    operation: "write",
                    path: run.task.as_str().into(),
                    source: std::io::ErrorKind::StorageFull.into(),
                });
            }
            Write::Task { run, framework, task } => {
                content.keep(framework);
                let kept = RecoveredRun {
                    run: run.clone(),
                    info: task.clone(),
                    updates: Vec::new(),
                    done: false,
                    touched: Timestamp::ZERO,
                };
                content.runs.insert(run.clone(), kept);
            }
            Write::Update { run, status } => {
                let update = RecoveredUpdate { status: status.clone(), acknowledged: false };
                if let Some(kept) = content.runs.get_mut(run) {
                    kept.updates.push(update);
                }
            }
            Write::Acknowledged { run, uuid } => {
                let updates = content.runs.get_mut(run).map(|r| &mut r.updates);
                let named = updates.into_iter().flatten().filter(|u| u.status.uuid.as_ref() == Some(uuid));
                named.for_each(|update| update.acknowledged = true);
            }
            Write::Done { run } => {
                if let Some(kept) = content.runs.get_mut(run) {
                    kept.done = true;
                }
            }
        }
        Ok(())
    }

    fn collect(&mut self, run: &Run) -> Result<(), CheckpointError> {
        self.content().runs.retain(|have, _| **have != *run);
        Ok(())
    }

    fn forget_agent(&mut self) -> Result<(), CheckpointError> {
        *self.content() = Content::default();
        Ok(())
    }
}

impl Content {
    fn keep(&mut self, info: &Arc<v1::FrameworkInfo>) {
        if let Some(id) = &info.id {
            self.frameworks.insert(id.into(), info.clone());
        }
    }
}
