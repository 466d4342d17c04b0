//! Logs that can't be written: master and agent go on without.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use integration::{Cluster, Options, OrFail, needs};
use rustix::fs::OFlags;

/// A cluster that logs there runs a task.
fn logging_to(logs: PathBuf) -> Cluster {
    let mut cluster = Cluster::with(Options { logs: Some(logs), ..Options::default() });
    runs(&mut cluster);
    cluster
}

#[track_caller]
fn runs(cluster: &mut Cluster) {
    cluster.run(&["--command", "true"]).expect(0);
    assert!(cluster.master_process().runs(), "the master ended");
    assert!(cluster.agent_process().runs(), "the agent ended");
}

#[test]
fn a_log_on_a_full_disk_is_lost_and_nothing_else() {
    needs!();
    logging_to("/dev/full".into());
}

#[test]
fn a_log_whose_reader_is_gone_is_lost_and_nothing_else() {
    needs!("mkfifo");
    let folder = tempfile::tempdir().or_fail("a folder");
    let pipe = folder.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().or_fail("mkfifo");
    assert!(made.success());
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).or_fail("a flag");
    let reader = OpenOptions::new().read(true).custom_flags(nonblocking).open(&pipe).or_fail("the pipe");
    let mut cluster = logging_to(pipe);
    drop(reader);
    runs(&mut cluster);
}
