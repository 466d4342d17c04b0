//! How a container ended, as it is written to disk and reported: append-only, every field named.
use std::fmt;

use serde::{Deserialize, Serialize};

/// What the keeper leaves behind for whoever comes later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The command ran and ended.
    Exited(ExitRecord),
    /// The command never ran.
    Failed(Failure),
}

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

/// Why we ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KillReason {
    /// A kill was asked for.
    Requested,
    /// It ran longer than its `max_completion`.
    CompletionTime,
    /// It used more disk than it may; whoever asked for the kill measured that.
    DiskQuota,
}

/// The record of a command that ran and ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// The command's own status, not that of the init in front of it.
    pub status: Exit,
    /// Processes of the container that the kernel killed for want of memory.
    #[serde(default)]
    pub oom_kills: u64,
    /// Set when a kill of ours came before the end, even if the command exited by itself then.
    #[serde(default)]
    pub killed_by_us: Option<KillReason>,
    /// Whether SIGKILL was needed, because the grace period ran out.
    #[serde(default)]
    pub forced: bool,
    /// Process id on the host.
    pub pid: u32,
    /// Milliseconds since 1970.
    pub started_at_ms: u64,
    /// Milliseconds since 1970.
    pub finished_at_ms: u64,
    /// What could not be removed (a cgroup that stayed busy, …), one line each; empty as a rule.
    #[serde(default)]
    pub left_behind: Vec<String>,
}

/// How far the start had come when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Reading the job, the runtime folder, the socket.
    Prepare,
    /// Mounting and checking the root filesystem.
    Rootfs,
    /// Looking the user up.
    User,
    /// Opening the output files.
    Output,
    /// Cgroups, limits, the device filter.
    Cgroup,
    /// Namespaces, mounts, capabilities, seccomp: libcontainer's part.
    Build,
    /// The command's own `execve`.
    Exec,
}

/// What kind of failure, for a caller that turns it into a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// No such program in the container.
    ProgramNotFound,
    /// The file is there but can't be executed.
    ProgramNotExecutable,
    /// The working directory is missing or leads out of the container.
    WorkingDirectory,
    /// The user or group is unknown or malformed.
    User,
    /// The image or the spec is unsafe or unusable; trying again won't help.
    Refused,
    /// The host said no: full disk, no memory, a missing controller. Another try may work.
    Host,
    /// A kill came before the command ran.
    Killed,
}

/// A start that failed; nothing of it is left but this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// How far it had come.
    pub stage: Stage,
    /// What kind.
    pub kind: FailureKind,
    /// What was tried, on what, and what to do; for people.
    pub message: String,
}

impl Failure {
    pub(crate) fn new(stage: Stage, kind: FailureKind, message: impl Into<String>) -> Self {
        Self { stage, kind, message: message.into() }
    }

    /// A failure of the host with the whole chain of its error.
    pub(crate) fn host(stage: Stage, what: impl fmt::Display, error: &dyn std::error::Error) -> Self {
        Self::new(stage, FailureKind::Host, format!("{what}: {}", chain(error)))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// An error and its sources in one line, each said once.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let part = error.to_string();
        if !text.ends_with(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn the_record_on_disk_keeps_its_shape() {
        let record = Ending::Exited(ExitRecord {
            status: Exit::Signal(9),
            oom_kills: 1,
            killed_by_us: Some(KillReason::CompletionTime),
            forced: true,
            pid: 42,
            started_at_ms: 1_700_000_000_000,
            finished_at_ms: 1_700_000_000_900,
            left_behind: vec![],
        });
        let text = serde_json::to_string(&record).unwrap();
        expect![[r#"{"exited":{"status":{"signal":9},"oom_kills":1,"killed_by_us":"completion_time","forced":true,"pid":42,"started_at_ms":1700000000000,"finished_at_ms":1700000000900,"left_behind":[]}}"#]]
        .assert_eq(&text);
        assert_eq!(serde_json::from_str::<Ending>(&text).unwrap(), record);
    }

    #[test]
    fn a_record_of_an_older_version_is_read() {
        let text =
            r#"{"exited":{"status":{"code":7},"pid":1,"started_at_ms":1,"finished_at_ms":2,"new_field":1}}"#;
        let Ending::Exited(record) = serde_json::from_str(text).unwrap() else { panic!("not exited") };
        assert_eq!(record.status, Exit::Code(7));
        assert_eq!(record.oom_kills, 0);
    }
}
