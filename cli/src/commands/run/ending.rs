//! What exit code a task's last status stands for.

use model::TaskState;
use wire::v1::TaskStatus;

/// Where signals begin in exit codes, as shells have it.
const SIGNALS: i32 = 128;

/// How a task ended, for the one who ran it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Our exit code.
    pub code: u8,
    /// What to print on standard error; none when the task's own code says it all.
    pub message: Option<String>,
}

/// Reads a terminal status. Mesos: the command's status is only in the message ("Command exited with status 7",
/// "Command terminated with signal Killed").
pub fn of(status: &TaskStatus) -> Ending {
    let message = status.message();
    let code = code_in(message);
    let state = TaskState::from(status.state());
    if state == TaskState::Finished {
        return Ending { code: 0, message: None };
    }
    let plain = code.filter(|_| state == TaskState::Failed && status.reason.is_none());
    match plain {
        Some(code) if code < SIGNALS => Ending { code: as_exit(code), message: None },
        _ => Ending { code: as_exit(code.unwrap_or(1)), message: Some(in_words(state, status)) },
    }
}

fn in_words(state: TaskState, status: &TaskStatus) -> String {
    let mut words = state.name().to_owned();
    if status.reason.is_some() {
        words.push_str(&format!(" ({})", status.reason().as_str_name()));
    }
    if status.message().is_empty() { words } else { format!("{words}: {}", status.message()) }
}

/// Exit codes have eight bits, and a task that failed must not look like one that succeeded.
fn as_exit(code: i32) -> u8 {
    u8::try_from(code & 0xff).ok().filter(|code| *code != 0).unwrap_or(1)
}

fn code_in(message: &str) -> Option<i32> {
    if let Some(rest) = after(message, "exited with status ") {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        return digits.parse().ok();
    }
    after(message, "terminated with signal ").and_then(signal).map(|signal| SIGNALS + signal)
}

fn after<'a>(text: &'a str, words: &str) -> Option<&'a str> {
    text.find(words).map(|at| &text[at + words.len()..])
}

/// The names that the C library gives to signals, as far as they end processes.
fn signal(text: &str) -> Option<i32> {
    const NAMES: [(&str, i32); 26] = [
        ("Hangup", 1),
        ("Interrupt", 2),
        ("Quit", 3),
        ("Illegal instruction", 4),
        ("Trace/breakpoint trap", 5),
        ("Aborted", 6),
        ("Bus error", 7),
        ("Floating point exception", 8),
        ("Killed", 9),
        ("User defined signal 1", 10),
        ("Segmentation fault", 11),
        ("User defined signal 2", 12),
        ("Broken pipe", 13),
        ("Alarm clock", 14),
        ("Terminated", 15),
        ("Stack fault", 16),
        ("CPU time limit exceeded", 24),
        ("File size limit exceeded", 25),
        ("Virtual timer expired", 26),
        ("Profiling timer expired", 27),
        ("I/O possible", 29),
        ("Power failure", 30),
        ("Bad system call", 31),
        ("Stopped (signal)", 19),
        ("Stopped", 20),
        ("Urgent I/O condition", 23),
    ];
    if let Some(number) =
        text.strip_prefix("Real-time signal ").or_else(|| text.strip_prefix("Unknown signal "))
    {
        let real_time = text.starts_with("Real-time");
        let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
        return digits.parse::<i32>().ok().map(|number| if real_time { number + 34 } else { number });
    }
    NAMES.iter().find(|(name, _)| text.starts_with(name)).map(|(_, number)| *number)
}

#[cfg(test)]
mod tests {
    use wire::v1::TaskState as State;
    use wire::v1::task_status::Reason;

    use super::*;

    #[test]
    fn codes_signals_and_messages() {
        let check = |state: State, reason: Option<Reason>, message: &str, code: u8, words: Option<&str>| {
            let mut status = TaskStatus { message: Some(message.to_owned()), ..Default::default() };
            status.state = state.into();
            status.reason = reason.map(Into::into);
            assert_eq!(of(&status), Ending { code, message: words.map(str::to_owned) }, "{message}");
        };
        check(State::TaskFinished, None, "Command exited with status 0", 0, None);
        check(State::TaskFailed, None, "Command exited with status 7", 7, None);
        check(
            State::TaskFailed,
            None,
            "Command exited with status 137",
            137,
            Some("TASK_FAILED: Command exited with status 137"),
        );
        let killed = "Command terminated with signal Killed";
        check(State::TaskFailed, None, killed, 137, Some(&format!("TASK_FAILED: {killed}")));
        check(
            State::TaskKilled,
            None,
            "Command terminated with signal Terminated",
            143,
            Some("TASK_KILLED: Command terminated with signal Terminated"),
        );
        check(
            State::TaskFailed,
            None,
            "Command terminated with signal Segmentation fault (core dumped)",
            139,
            Some("TASK_FAILED: Command terminated with signal Segmentation fault (core dumped)"),
        );
        check(
            State::TaskFailed,
            None,
            "Command terminated with signal Real-time signal 1",
            163,
            Some("TASK_FAILED: Command terminated with signal Real-time signal 1"),
        );
        let oom = "Command terminated with signal Killed: the container ran out of memory";
        check(
            State::TaskFailed,
            Some(Reason::ContainerLimitationMemory),
            oom,
            137,
            Some(&format!("TASK_FAILED (REASON_CONTAINER_LIMITATION_MEMORY): {oom}")),
        );
        check(
            State::TaskFailed,
            Some(Reason::ContainerLaunchFailed),
            "no such image",
            1,
            Some("TASK_FAILED (REASON_CONTAINER_LAUNCH_FAILED): no such image"),
        );
        check(State::TaskError, Some(Reason::TaskInvalid), "", 1, Some("TASK_ERROR (REASON_TASK_INVALID)"));
        check(
            State::TaskFailed,
            None,
            "Command exited with status 256",
            1,
            Some("TASK_FAILED: Command exited with status 256"),
        );
        check(
            State::TaskKilled,
            None,
            "Command exited with status 0",
            1,
            Some("TASK_KILLED: Command exited with status 0"),
        );
    }
}
