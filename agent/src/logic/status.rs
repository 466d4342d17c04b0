//! How a command's end reads as a task state, with Mesos' reasons, sources and messages.

use model::{Resources, TaskState};
use wire::v1;
use wire::v1::task_status::{Reason, Source};

use super::event::{Exit, ExitStatus, KillCause, LaunchFailure, LaunchFailureKind};

/// What is said of a task, before it gets its ids, time and uuid.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Say {
    pub(super) state: TaskState,
    pub(super) source: Source,
    pub(super) reason: Option<Reason>,
    pub(super) message: Option<String>,
    /// Resources whose limit was hit.
    pub(super) limitation: Vec<v1::Resource>,
}

impl Say {
    /// As an executor would say it.
    pub(super) fn executor(state: TaskState) -> Say {
        Say { state, source: Source::Executor, reason: None, message: None, limitation: Vec::new() }
    }

    /// As the agent says it.
    pub(super) fn agent(state: TaskState, reason: Reason, message: impl Into<String>) -> Say {
        let message = Some(message.into());
        Say { state, source: Source::Agent, reason: Some(reason), message, limitation: Vec::new() }
    }

    fn message(mut self, message: String) -> Say {
        self.message = Some(message);
        self
    }

    fn reason(mut self, reason: Reason) -> Say {
        self.reason = Some(reason);
        self
    }
}

/// A command ended. Mesos: a kill that was asked for makes it KILLED whatever its status.
pub(super) fn of_exit(exit: Exit, task: &v1::TaskInfo, resources: &Resources) -> Say {
    let message = describe(exit.status);
    match exit.killed {
        // Told in other words where the reason is known.
        Some(KillCause::Requested | KillCause::DiskQuota) => {
            return Say::executor(TaskState::Killed).message(message);
        }
        Some(KillCause::CompletionTime) => {
            let limit = task.max_completion_time.as_ref().map_or(0, |t| t.nanoseconds / 1_000_000);
            let message =
                format!("{message}: the task ran longer than its max_completion_time of {limit} ms");
            return Say::executor(TaskState::Failed)
                .reason(Reason::MaxCompletionTimeReached)
                .message(message);
        }
        None => {}
    }
    match exit.status {
        ExitStatus::Code(0) => Say::executor(TaskState::Finished).message(message),
        status if exit.out_of_memory => out_of_memory(status, task, resources),
        _ => Say::executor(TaskState::Failed).message(message),
    }
}

/// A container could not be started.
pub(super) fn of_failure(failure: &LaunchFailure) -> Say {
    let message = failure.message.clone();
    match failure.kind {
        LaunchFailureKind::Invalid => Say::agent(TaskState::Error, Reason::TaskInvalid, message),
        LaunchFailureKind::Failed => Say::agent(TaskState::Failed, Reason::ContainerLaunchFailed, message),
        LaunchFailureKind::Killed => Say::agent(TaskState::Killed, Reason::TaskKilledDuringLaunch, message),
    }
}

fn out_of_memory(status: ExitStatus, task: &v1::TaskInfo, resources: &Resources) -> Say {
    // Mesos: the limit, where there is none the request.
    let limit = task.limits.get("mem").map_or_else(|| resources.mem().as_f64(), |limit| limit.value);
    let message = format!(
        "{}: the container ran out of memory; its limit is {limit} MB (ask for more 'mem', or set a higher limit)",
        describe(status)
    );
    let mut mem = v1::Resource { name: "mem".to_owned(), ..Default::default() };
    mem.set_type(v1::value::Type::Scalar);
    mem.scalar = Some(v1::value::Scalar { value: limit });
    let mut say = Say::agent(TaskState::Failed, Reason::ContainerLimitationMemory, message);
    say.limitation = vec![mem];
    say
}

/// Mesos: "Command exited with status 7", "Command terminated with signal Killed".
pub(super) fn describe(status: ExitStatus) -> String {
    match status {
        ExitStatus::Code(code) => format!("Command exited with status {code}"),
        ExitStatus::Signal(signal) => format!("Command terminated with signal {}", signal_name(signal)),
    }
}

/// The names that the C library gives to signals.
fn signal_name(signal: i32) -> String {
    const NAMES: [&str; 31] = [
        "Hangup",
        "Interrupt",
        "Quit",
        "Illegal instruction",
        "Trace/breakpoint trap",
        "Aborted",
        "Bus error",
        "Floating point exception",
        "Killed",
        "User defined signal 1",
        "Segmentation fault",
        "User defined signal 2",
        "Broken pipe",
        "Alarm clock",
        "Terminated",
        "Stack fault",
        "Child exited",
        "Continued",
        "Stopped (signal)",
        "Stopped",
        "Stopped (tty input)",
        "Stopped (tty output)",
        "Urgent I/O condition",
        "CPU time limit exceeded",
        "File size limit exceeded",
        "Virtual timer expired",
        "Profiling timer expired",
        "Window changed",
        "I/O possible",
        "Power failure",
        "Bad system call",
    ];
    let index = usize::try_from(signal).ok().and_then(|s| s.checked_sub(1));
    match index.and_then(|i| NAMES.get(i)) {
        Some(name) => (*name).to_owned(),
        None if (34..=64).contains(&signal) => format!("Real-time signal {}", signal - 34),
        None => format!("Unknown signal {signal}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use model::Role;

    fn told(say: &Say) -> String {
        let reason = say.reason.map_or("-", |r| r.as_str_name());
        let message = say.message.as_deref().unwrap_or("-");
        format!("{} {} {reason} {message}", say.state.name(), say.source.as_str_name())
    }

    #[test]
    fn ends_of_commands() {
        let task = v1::TaskInfo {
            max_completion_time: Some(v1::DurationInfo { nanoseconds: 2_000_000_000 }),
            ..Default::default()
        };
        let resources = model::resources::parse("cpus:1;mem:64", &Role::any()).unwrap();
        let mut lines = String::new();
        for status in [
            ExitStatus::Code(0),
            ExitStatus::Code(7),
            ExitStatus::Signal(9),
            ExitStatus::Signal(35),
            ExitStatus::Signal(-1),
        ] {
            for (out_of_memory, killed) in [
                (false, None),
                (true, None),
                (false, Some(KillCause::Requested)),
                (false, Some(KillCause::CompletionTime)),
            ] {
                let say = of_exit(Exit { status, out_of_memory, killed }, &task, &resources);
                lines += &told(&say);
                lines.push('\n');
            }
        }
        expect![[r#"
            TASK_FINISHED SOURCE_EXECUTOR - Command exited with status 0
            TASK_FINISHED SOURCE_EXECUTOR - Command exited with status 0
            TASK_KILLED SOURCE_EXECUTOR - Command exited with status 0
            TASK_FAILED SOURCE_EXECUTOR REASON_MAX_COMPLETION_TIME_REACHED Command exited with status 0: the task ran longer than its max_completion_time of 2000 ms
            TASK_FAILED SOURCE_EXECUTOR - Command exited with status 7
            TASK_FAILED SOURCE_AGENT REASON_CONTAINER_LIMITATION_MEMORY Command exited with status 7: the container ran out of memory; its limit is 64 MB (ask for more 'mem', or set a higher limit)
            TASK_KILLED SOURCE_EXECUTOR - Command exited with status 7
            TASK_FAILED SOURCE_EXECUTOR REASON_MAX_COMPLETION_TIME_REACHED Command exited with status 7: the task ran longer than its max_completion_time of 2000 ms
            TASK_FAILED SOURCE_EXECUTOR - Command terminated with signal Killed
            TASK_FAILED SOURCE_AGENT REASON_CONTAINER_LIMITATION_MEMORY Command terminated with signal Killed: the container ran out of memory; its limit is 64 MB (ask for more 'mem', or set a higher limit)
            TASK_KILLED SOURCE_EXECUTOR - Command terminated with signal Killed
            TASK_FAILED SOURCE_EXECUTOR REASON_MAX_COMPLETION_TIME_REACHED Command terminated with signal Killed: the task ran longer than its max_completion_time of 2000 ms
            TASK_FAILED SOURCE_EXECUTOR - Command terminated with signal Real-time signal 1
            TASK_FAILED SOURCE_AGENT REASON_CONTAINER_LIMITATION_MEMORY Command terminated with signal Real-time signal 1: the container ran out of memory; its limit is 64 MB (ask for more 'mem', or set a higher limit)
            TASK_KILLED SOURCE_EXECUTOR - Command terminated with signal Real-time signal 1
            TASK_FAILED SOURCE_EXECUTOR REASON_MAX_COMPLETION_TIME_REACHED Command terminated with signal Real-time signal 1: the task ran longer than its max_completion_time of 2000 ms
            TASK_FAILED SOURCE_EXECUTOR - Command terminated with signal Unknown signal -1
            TASK_FAILED SOURCE_AGENT REASON_CONTAINER_LIMITATION_MEMORY Command terminated with signal Unknown signal -1: the container ran out of memory; its limit is 64 MB (ask for more 'mem', or set a higher limit)
            TASK_KILLED SOURCE_EXECUTOR - Command terminated with signal Unknown signal -1
            TASK_FAILED SOURCE_EXECUTOR REASON_MAX_COMPLETION_TIME_REACHED Command terminated with signal Unknown signal -1: the task ran longer than its max_completion_time of 2000 ms
        "#]].assert_eq(&lines);
    }
}
