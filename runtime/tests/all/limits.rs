//! Limits that the kernel enforces, and what the keeper tells of them.
use runtime::Exit;
use runtime::protocol::{Command, Report};

use crate::world::{eventually, wait_for, world};

#[test]
fn running_out_of_memory_is_told_apart_from_a_kill() {
    let Some(world) = world("running_out_of_memory_is_told_apart_from_a_kill") else { return };
    let mut spec = world.spec("oom", &["tail", "/dev/zero"]);
    spec.limits.memory_limit_bytes = Some(48 << 20);
    let record = world.run(&spec);
    assert_eq!((record.status, record.killed_by_us), (Exit::Signal(libc::SIGKILL), None));
    assert!(record.oom_kills >= 1, "{record:?}");
    let mut spec = world.script("enough", "head -c 10000000 /dev/zero | tail -c 1 >/dev/null; kill -9 $$");
    spec.limits.memory_limit_bytes = Some(48 << 20);
    let record = world.run(&spec);
    assert_eq!((record.status, record.oom_kills), (Exit::Signal(libc::SIGKILL), 0));
}

#[test]
fn processes_are_limited() {
    let Some(world) = world("processes_are_limited") else { return };
    let mut spec =
        world.script("pids", "i=0; while [ $i -lt 40 ]; do sleep 100 & i=$((i+1)); done; echo all");
    spec.limits.pids_max = Some(12);
    let record = world.run(&spec);
    assert_ne!(record.status, Exit::Code(0));
    assert!(world.stderr("pids").contains("can't fork"), "{}", world.stderr("pids"));
}

#[test]
fn a_limit_too_low_for_any_process_is_said() {
    let Some(world) = world("a_limit_too_low_for_any_process_is_said") else { return };
    let mut spec = world.spec("one", &["true"]);
    spec.limits.pids_max = Some(2);
    let failure = world.refused(&spec);
    assert!(failure.message.contains("limit of 2 processes is too low"), "{failure}");
}

#[test]
fn statistics_are_told_when_asked_for() {
    let Some(world) = world("statistics_are_told_when_asked_for") else { return };
    let mut spec =
        world.script("busy", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo done; sleep 100");
    spec.limits.memory_limit_bytes = Some(64 << 20);
    let mut keeper = world.start(&spec);
    eventually("it worked", || world.stdout("busy") == "done\n");
    keeper.send(&Command::Statistics {}).unwrap();
    let report = wait_for(&mut keeper, |report| matches!(report, Report::Statistics { .. }));
    let Report::Statistics { usage, .. } = report else { unreachable!() };
    assert!(usage.cpu_user_us.is_some_and(|time| time > 0), "{usage:?}");
    assert_eq!(usage.memory_limit_bytes, Some(64 << 20));
    assert_eq!(usage.pids_current, Some(2), "PID 1 and the command: {usage:?}");
    world.kill(keeper, Some(0));
}
