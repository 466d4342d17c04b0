//! How often things happened since the process started, for the metrics.

use model::TaskState;

/// Counters that only grow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Tasks that finished.
    pub finished: u64,
    /// Tasks that failed.
    pub failed: u64,
    /// Tasks that were killed.
    pub killed: u64,
    /// Tasks that are lost, which frameworks without PARTITION_AWARE hear of those that were dropped, too.
    pub lost: u64,
    /// Tasks that are gone.
    pub gone: u64,
    /// Status updates that were taken in.
    pub updates: u64,
    /// Executors, that is here containers of tasks, that ended.
    pub executors_terminated: u64,
    /// Containers that could not be started.
    pub launch_errors: u64,
    /// Checkpoints that were damaged and skipped.
    pub recovery_errors: u64,
    /// Sandboxes that were deleted.
    pub removals: u64,
    /// Sandboxes that could not be deleted.
    pub failed_removals: u64,
}

impl Counts {
    /// A state was said of a task.
    pub(super) fn said(&mut self, state: TaskState) {
        self.updates += 1;
        match state {
            TaskState::Finished => self.finished += 1,
            TaskState::Failed => self.failed += 1,
            TaskState::Killed => self.killed += 1,
            TaskState::Lost | TaskState::Dropped => self.lost += 1,
            TaskState::Gone | TaskState::GoneByOperator => self.gone += 1,
            _ => {}
        }
    }
}
