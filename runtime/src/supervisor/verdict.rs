//! From what the kernel says of a command's start and end to our words.
use std::io;

use crate::ending::{Exit, Failure, FailureKind, Stage};

/// A wait status in our words.
pub(super) fn exit_of(wait_status: i32) -> Exit {
    if libc::WIFSIGNALED(wait_status) {
        Exit::Signal(libc::WTERMSIG(wait_status))
    } else {
        Exit::Code(libc::WEXITSTATUS(wait_status))
    }
}

/// Why the command's `execve` failed.
pub(super) fn exec_failed(errno: i32, program_found: bool) -> Failure {
    let error = io::Error::from_raw_os_error(errno);
    let (kind, message) = match errno {
        libc::ENOENT if program_found => (
            FailureKind::ProgramNotExecutable,
            "the program is in the container, but the interpreter or loader that it names is not; \
             add it to the image, or link the program statically"
                .to_owned(),
        ),
        libc::ENOENT => (FailureKind::ProgramNotFound, "the program is not in the container".to_owned()),
        libc::ENOEXEC => (
            FailureKind::ProgramNotExecutable,
            "the program is neither a binary of this machine nor a script with a #! line".to_owned(),
        ),
        _ => (FailureKind::ProgramNotExecutable, format!("the program can't be executed: {error}")),
    };
    Failure::new(Stage::Exec, kind, message)
}

/// Why PID 1 could not start the command.
pub(super) fn broken(errno: i32) -> Failure {
    let error = io::Error::from_raw_os_error(errno);
    let message =
        format!("the container's PID 1 can't start a process: {error}; is the limit of processes too low?");
    Failure::new(Stage::Exec, FailureKind::Host, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_statuses() {
        assert_eq!(exit_of(7 << 8), Exit::Code(7));
        assert_eq!(exit_of(libc::SIGKILL), Exit::Signal(libc::SIGKILL));
        assert_eq!(exit_of(libc::SIGSEGV | 0x80), Exit::Signal(libc::SIGSEGV));
    }

    #[test]
    fn a_lost_loader_is_not_a_lost_program() {
        assert_eq!(exec_failed(libc::ENOENT, false).kind, FailureKind::ProgramNotFound);
        assert_eq!(exec_failed(libc::ENOENT, true).kind, FailureKind::ProgramNotExecutable);
        assert!(exec_failed(libc::ENOENT, true).message.contains("loader"));
        assert!(exec_failed(libc::EACCES, true).message.contains("Permission denied"));
    }
}
