//! Counts of what has happened since this master leads, by Mesos' keys. Data only: `crate::metrics` tells it.

use std::collections::BTreeMap;

use model::{FrameworkId, TaskState};
use wire::v1;
use wire::v1::offer::operation;
use wire::v1::scheduler::{call, event};
use wire::v1::task_status::{Reason, Source};

use super::table::Table;

macro_rules! counts {
    ($($name:ident = $key:literal),+ $(,)?) => {
        /// One counter.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[allow(missing_docs)]
        pub enum Count { $($name),+ }

        impl Count {
            /// All counters with the keys under which they are told.
            pub const ALL: &'static [(Count, &'static str)] = &[$((Count::$name, $key)),+];
        }
    };
}

counts! {
    TasksFinished = "master/tasks_finished",
    TasksFailed = "master/tasks_failed",
    TasksKilled = "master/tasks_killed",
    TasksLost = "master/tasks_lost",
    TasksError = "master/tasks_error",
    TasksDropped = "master/tasks_dropped",
    TasksGone = "master/tasks_gone",
    TasksGoneByOperator = "master/tasks_gone_by_operator",
    DroppedMessages = "master/dropped_messages",
    RegisterFramework = "master/messages_register_framework",
    ReregisterFramework = "master/messages_reregister_framework",
    UnregisterFramework = "master/messages_unregister_framework",
    DeactivateFramework = "master/messages_deactivate_framework",
    KillTask = "master/messages_kill_task",
    StatusUpdateAcknowledgement = "master/messages_status_update_acknowledgement",
    ResourceRequest = "master/messages_resource_request",
    LaunchTasks = "master/messages_launch_tasks",
    DeclineOffers = "master/messages_decline_offers",
    ReviveOffers = "master/messages_revive_offers",
    SuppressOffers = "master/messages_suppress_offers",
    ReconcileTasks = "master/messages_reconcile_tasks",
    ReconcileOperations = "master/messages_reconcile_operations",
    FrameworkToExecutor = "master/messages_framework_to_executor",
    OperationAcknowledgement = "master/messages_operation_status_update_acknowledgement",
    ExecutorToFramework = "master/messages_executor_to_framework",
    RegisterAgent = "master/messages_register_slave",
    ReregisterAgent = "master/messages_reregister_slave",
    UnregisterAgent = "master/messages_unregister_slave",
    StatusUpdate = "master/messages_status_update",
    ExitedExecutor = "master/messages_exited_executor",
    UpdateAgent = "master/messages_update_slave",
    OperationStatusUpdate = "master/messages_operation_status_update",
    Authenticate = "master/messages_authenticate",
    ValidFrameworkToExecutor = "master/valid_framework_to_executor_messages",
    ValidExecutorToFramework = "master/valid_executor_to_framework_messages",
    ValidStatusUpdates = "master/valid_status_updates",
    ValidAcknowledgements = "master/valid_status_update_acknowledgements",
    ValidOperationUpdates = "master/valid_operation_status_updates",
    ValidOperationAcknowledgements = "master/valid_operation_status_update_acknowledgements",
    InvalidFrameworkToExecutor = "master/invalid_framework_to_executor_messages",
    InvalidExecutorToFramework = "master/invalid_executor_to_framework_messages",
    InvalidStatusUpdates = "master/invalid_status_updates",
    InvalidAcknowledgements = "master/invalid_status_update_acknowledgements",
    InvalidOperationUpdates = "master/invalid_operation_status_updates",
    InvalidOperationAcknowledgements = "master/invalid_operation_status_update_acknowledgements",
    RecoveryRemovals = "master/recovery_slave_removals",
    Registrations = "master/slave_registrations",
    Reregistrations = "master/slave_reregistrations",
    Removals = "master/slave_removals",
    RemovalsUnhealthy = "master/slave_removals/reason_unhealthy",
    RemovalsUnregistered = "master/slave_removals/reason_unregistered",
    RemovalsRegistered = "master/slave_removals/reason_registered",
    ShutdownsScheduled = "master/slave_shutdowns_scheduled",
    ShutdownsCompleted = "master/slave_shutdowns_completed",
    ShutdownsCanceled = "master/slave_shutdowns_canceled",
    UnreachableScheduled = "master/slave_unreachable_scheduled",
    UnreachableCompleted = "master/slave_unreachable_completed",
    UnreachableCanceled = "master/slave_unreachable_canceled",
    AllocationRuns = "allocator/mesos/allocation_runs",
}

/// How a task ended, for the counters that Mesos makes on the first occurrence.
pub type Ending = (TaskState, Source, Reason);

/// State, source and reason of a status, as far as it has them.
type Told = (TaskState, Option<Source>, Option<Reason>);

/// Everything that is counted.
#[derive(Clone, Debug)]
pub struct Tally {
    counts: [u64; Count::ALL.len()],
    /// Task transitions by state, source and reason.
    pub endings: BTreeMap<Ending, u64>,
    /// By framework, while it is in the table.
    pub frameworks: Table<FrameworkId, FrameworkTally>,
}

/// What is counted of one framework. Enums are by their number.
#[derive(Clone, Debug, Default)]
pub struct FrameworkTally {
    /// Calls it made.
    pub calls: BTreeMap<call::Type, u64>,
    /// Events it was sent.
    pub events: BTreeMap<event::Type, u64>,
    /// Operations it asked for.
    pub operations: BTreeMap<operation::Type, u64>,
    /// Its tasks by terminal state.
    pub ended: BTreeMap<TaskState, u64>,
    /// Offers.
    pub offers_sent: u64,
    /// Of those, used by an ACCEPT.
    pub offers_accepted: u64,
    /// Of those, declined in whole.
    pub offers_declined: u64,
    /// Of those, taken back.
    pub offers_rescinded: u64,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally { counts: [0; Count::ALL.len()], endings: BTreeMap::new(), frameworks: Table::new() }
    }
}

impl Tally {
    /// It happened once more.
    pub fn bump(&mut self, count: Count) {
        self.counts[count as usize] += 1;
    }

    /// How often it happened.
    pub fn get(&self, count: Count) -> u64 {
        self.counts[count as usize]
    }

    /// A status of a task was told for the first time; ends are counted.
    pub(super) fn status(&mut self, framework: &FrameworkId, status: &v1::TaskStatus) {
        let source = status.source.and_then(|number| Source::try_from(number).ok());
        let reason = status.reason.and_then(|number| Reason::try_from(number).ok());
        self.task(framework, (status.state().into(), source, reason));
    }

    fn task(&mut self, framework: &FrameworkId, (state, source, reason): Told) {
        let count = match state {
            TaskState::Finished => Count::TasksFinished,
            TaskState::Failed => Count::TasksFailed,
            TaskState::Killed => Count::TasksKilled,
            TaskState::Lost => Count::TasksLost,
            TaskState::Error => Count::TasksError,
            TaskState::Dropped => Count::TasksDropped,
            TaskState::Gone => Count::TasksGone,
            TaskState::GoneByOperator => Count::TasksGoneByOperator,
            TaskState::Staging
            | TaskState::Starting
            | TaskState::Running
            | TaskState::Killing
            | TaskState::Unreachable
            | TaskState::Unknown => return,
        };
        self.bump(count);
        if let (Some(source), Some(reason)) = (source, reason) {
            *self.endings.entry((state, source, reason)).or_default() += 1;
        }
        self.framework(framework, |tally| *tally.ended.entry(state).or_default() += 1);
    }

    /// Counts something of a framework that is in the table.
    pub fn framework(&mut self, framework: &FrameworkId, count: impl FnOnce(&mut FrameworkTally)) {
        if let Some(tally) = self.frameworks.get_mut(framework) {
            count(tally);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_its_own_place_and_key() {
        for (at, (count, key)) in Count::ALL.iter().enumerate() {
            assert_eq!(*count as usize, at);
            assert_eq!(Count::ALL.iter().filter(|(_, other)| other == key).count(), 1, "{key}");
        }
    }
}
