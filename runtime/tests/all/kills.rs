//! Kills: the grace period, what outlives it, and that nothing survives.
use std::time::{Duration, Instant};

use runtime::protocol::{Command, Report};
use runtime::{Exit, KillReason};

use crate::world::{eventually, wait_for, world};

#[test]
fn a_command_that_minds_sigterm_ends_in_peace() {
    let Some(world) = world("a_command_that_minds_sigterm_ends_in_peace") else { return };
    let spec =
        world.script("polite", "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.05; done");
    let keeper = world.start(&spec);
    eventually("the trap is set", || world.stdout("polite") == "ready\n");
    let record = world.kill(keeper, Some(15_000));
    assert_eq!((record.status, record.forced), (Exit::Code(5), false));
    assert_eq!(record.killed_by_us, Some(KillReason::Requested));
    assert_eq!(world.stdout("polite"), "ready\nbye\n");
}

#[test]
fn a_plain_program_dies_of_sigterm() {
    let Some(world) = world("a_plain_program_dies_of_sigterm") else { return };
    let record = world.kill(world.start(&world.spec("plain", &["sleep", "100"])), None);
    assert_eq!((record.status, record.forced), (Exit::Signal(libc::SIGTERM), false));
}

#[test]
fn a_command_that_ignores_sigterm_is_killed_after_the_grace_period() {
    let Some(world) = world("a_command_that_ignores_sigterm_is_killed_after_the_grace_period") else {
        return;
    };
    let spec = world.script("deaf", "trap '' TERM; echo ready; while :; do sleep 100; done");
    let keeper = world.start(&spec);
    eventually("the trap is set", || world.stdout("deaf") == "ready\n");
    let begun = Instant::now();
    let record = world.kill(keeper, Some(400));
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(400) && took < Duration::from_millis(1900), "{took:?}");
    assert_eq!((record.status, record.forced), (Exit::Signal(libc::SIGKILL), true));
    assert_eq!((record.killed_by_us, record.oom_kills), (Some(KillReason::Requested), 0));
}

#[test]
fn a_second_kill_shortens_the_grace_period() {
    let Some(world) = world("a_second_kill_shortens_the_grace_period") else { return };
    let spec = world.script("twice", "trap '' TERM; echo ready; while :; do sleep 100; done");
    let mut keeper = world.start(&spec);
    eventually("the trap is set", || world.stdout("twice") == "ready\n");
    let begun = Instant::now();
    keeper.send(&Command::Kill { grace_ms: Some(600_000), why: None }).unwrap();
    wait_for(&mut keeper, |report| matches!(report, Report::Killing { grace_ms: 600_000, .. }));
    let record = world.kill(keeper, Some(100));
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert!(record.forced);
}

#[test]
fn children_in_sessions_of_their_own_die_too() {
    let Some(world) = world("children_in_sessions_of_their_own_die_too") else { return };
    let script = "for i in 1 2 3; do setsid sh -c 'trap \"\" TERM HUP; sleep 1000' & done; echo ready; wait";
    let keeper = world.start(&world.script("sessions", script));
    eventually("they run", || world.processes().iter().filter(|line| line.starts_with("sleep")).count() == 3);
    world.kill(keeper, Some(50));
    // Also when the command ends by itself.
    world.run(&world.script("left", "setsid sh -c 'trap \"\" TERM HUP; sleep 1000' & sleep 0.1"));
}

#[test]
fn without_a_pid_namespace_they_die_as_well() {
    let Some(world) = world("without_a_pid_namespace_they_die_as_well") else { return };
    let mut spec =
        world.script("shared", "setsid sh -c 'trap \"\" TERM HUP; sleep 1000' & sleep 0.1; exit 6");
    spec.isolation.pid = false;
    assert_eq!(world.run(&spec).status, Exit::Code(6));
    let mut spec =
        world.script("shared2", "trap '' TERM; setsid sleep 1000 & echo ready; while :; do sleep 100; done");
    spec.isolation.pid = false;
    let keeper = world.start(&spec);
    eventually("the trap is set", || world.stdout("shared2") == "ready\n");
    assert!(world.kill(keeper, Some(100)).forced);
}

#[test]
fn k25_a_fork_bomb_ends_at_once() {
    let Some(world) = world("k25_a_fork_bomb_ends_at_once") else { return };
    let mut spec = world
        .script("bomb", "trap '' TERM; bomb() { while :; do bomb & done; }; bomb & while :; do wait; done");
    spec.limits.pids_max = Some(100);
    let keeper = world.start(&spec);
    eventually("it is at its limit", || world.stderr("bomb").contains("can't fork"));
    let begun = Instant::now();
    let record = world.kill(keeper, Some(100));
    assert!(record.forced && begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[test]
fn a_command_that_runs_too_long_is_ended() {
    let Some(world) = world("a_command_that_runs_too_long_is_ended") else { return };
    let mut spec = world.spec("long", &["sleep", "100"]);
    spec.max_completion = Some(Duration::from_millis(200));
    let record = world.run(&spec);
    assert_eq!(record.killed_by_us, Some(KillReason::CompletionTime));
    assert_eq!(record.status, Exit::Signal(libc::SIGTERM));
}

#[test]
fn a_keeper_that_gets_sigterm_ends_its_container() {
    let Some(world) = world("a_keeper_that_gets_sigterm_ends_its_container") else { return };
    let spec = world.spec("stopped", &["sleep", "100"]);
    let mut keeper = world.runtime.launch(&spec).unwrap();
    let hello = wait_for(&mut keeper, |report| matches!(report, Report::Hello { .. }));
    let Report::Hello { keeper_pid, .. } = hello else { unreachable!() };
    keeper.wait_started().unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(keeper_pid).unwrap()).unwrap();
    for harmless in
        [rustix::process::Signal::HUP, rustix::process::Signal::INT, rustix::process::Signal::TERM]
    {
        rustix::process::kill_process(pid, harmless).unwrap();
    }
    let record = keeper.wait_exit().unwrap();
    assert_eq!(record.killed_by_us, Some(KillReason::Requested));
    world.bury(keeper, &spec.id);
}
