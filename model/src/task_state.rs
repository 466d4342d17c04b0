//! Task states and what each framework gets to see of them.

use wire::v1;

/// State of a task, by Mesos' names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TaskState {
    /// Sent to the agent, nothing heard yet. Set by the master only.
    Staging,
    /// The executor has it.
    Starting,
    /// It runs.
    Running,
    /// A kill is under way (only told to frameworks with TASK_KILLING_STATE).
    Killing,
    /// Ended with status 0.
    Finished,
    /// Ended with another status, or could not run.
    Failed,
    /// Ended by request.
    Killed,
    /// Refused: the description was invalid.
    Error,
    /// Gone for a reason that a framework without PARTITION_AWARE can't be told.
    Lost,
    /// Never started.
    Dropped,
    /// Its agent doesn't answer; it may come back.
    Unreachable,
    /// It ended with its agent or executor.
    Gone,
    /// The operator declared its agent gone.
    GoneByOperator,
    /// The master doesn't know it.
    Unknown,
}

use TaskState::*;

impl TaskState {
    /// All states, in the order of this list.
    pub const ALL: [TaskState; 14] = [
        Staging,
        Starting,
        Running,
        Killing,
        Finished,
        Failed,
        Killed,
        Error,
        Lost,
        Dropped,
        Unreachable,
        Gone,
        GoneByOperator,
        Unknown,
    ];

    /// Whether a task in this state never changes again.
    pub fn is_terminal(self) -> bool {
        matches!(self, Finished | Failed | Killed | Error | Lost | Dropped | Gone | GoneByOperator)
    }

    /// The state as a framework sees it. Mesos: DROPPED, UNREACHABLE, GONE, GONE_BY_OPERATOR and UNKNOWN are LOST to
    /// frameworks without PARTITION_AWARE.
    pub fn seen_by(self, partition_aware: bool) -> TaskState {
        match self {
            Dropped | Unreachable | Gone | GoneByOperator | Unknown if !partition_aware => Lost,
            state => state,
        }
    }

    /// Mesos' name, such as `TASK_RUNNING`.
    pub fn name(self) -> &'static str {
        v1::TaskState::from(self).as_str_name()
    }
}

macro_rules! states {
    ($($ours:ident = $wire:ident),+ $(,)?) => {
        impl From<v1::TaskState> for TaskState {
            fn from(state: v1::TaskState) -> Self {
                match state { $(v1::TaskState::$wire => $ours),+ }
            }
        }
        impl From<TaskState> for v1::TaskState {
            fn from(state: TaskState) -> Self {
                match state { $($ours => v1::TaskState::$wire),+ }
            }
        }
    };
}

states! {
    Staging = TaskStaging,
    Starting = TaskStarting,
    Running = TaskRunning,
    Killing = TaskKilling,
    Finished = TaskFinished,
    Failed = TaskFailed,
    Killed = TaskKilled,
    Error = TaskError,
    Lost = TaskLost,
    Dropped = TaskDropped,
    Unreachable = TaskUnreachable,
    Gone = TaskGone,
    GoneByOperator = TaskGoneByOperator,
    Unknown = TaskUnknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_and_what_a_plain_framework_sees() {
        let names = |of: &dyn Fn(&TaskState) -> bool| {
            TaskState::ALL.into_iter().filter(|s| of(s)).map(TaskState::name).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            names(&|s| !s.is_terminal()),
            "TASK_STAGING TASK_STARTING TASK_RUNNING TASK_KILLING TASK_UNREACHABLE TASK_UNKNOWN"
        );
        assert_eq!(
            names(&|s| s.seen_by(false) == Lost),
            "TASK_LOST TASK_DROPPED TASK_UNREACHABLE TASK_GONE TASK_GONE_BY_OPERATOR TASK_UNKNOWN"
        );
        assert!(TaskState::ALL.into_iter().all(|s| s.seen_by(true) == s));
    }
}
