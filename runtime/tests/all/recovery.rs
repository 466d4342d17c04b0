//! Callers die, keepers don't; and when a keeper dies too, nothing of its container survives cleanup.
use std::fs;
use std::process::{Command as Process, Stdio};

use runtime::protocol::{Command, Report};
use runtime::{Ending, Exit, Found, KeeperHandle};
use rustix::process::{Pid, Signal, kill_process};

use crate::world::{PROBE, World, eventually, wait_for, world};

/// Launches through another process and kills that once the command runs.
fn orphan(world: &World, spec: &runtime::ContainerSpec) {
    let file = world.path("spec.json");
    fs::write(&file, serde_json::to_vec(spec).unwrap()).unwrap();
    let mut caller = Process::new(PROBE)
        .args(["run".as_ref(), file.as_os_str(), world.config.runtime_dir.as_os_str(), world.marker.as_ref()])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    eventually("the command runs", || world.stdout(spec.id.as_str()).contains("ready"));
    caller.kill().unwrap();
    caller.wait().unwrap();
}

#[test]
fn a_container_outlives_its_caller_and_is_found_again() {
    let Some(world) = world("a_container_outlives_its_caller_and_is_found_again") else { return };
    let spec = world
        .script("orphan", "echo ready; while [ ! -e /mnt/mesos/sandbox/go ]; do sleep 0.05; done; exit 9");
    orphan(&world, &spec);
    let mut found = world.runtime.recover();
    assert_eq!(found.len(), 1);
    let Found::Running(stream) = found.remove(0).state else { panic!("it must be running") };
    let mut keeper = KeeperHandle::new(spec.id.clone(), stream);
    let started = keeper.wait_started().unwrap();
    // Any number of callers, each told the same.
    for _ in 0..20 {
        let mut other = KeeperHandle::new(spec.id.clone(), world.runtime.connect(&spec.id).unwrap());
        assert_eq!(other.wait_started().unwrap(), started);
    }
    fs::write(world.sandbox("orphan").join("go"), "").unwrap();
    let mut last = KeeperHandle::new(spec.id.clone(), world.runtime.connect(&spec.id).unwrap());
    let record = last.wait_exit().unwrap();
    assert_eq!((record.status, record.killed_by_us), (Exit::Code(9), None));
    while last.report().is_ok() {}
    // Who comes too late finds the record.
    assert!(world.runtime.connect(&spec.id).is_err());
    let found = world.runtime.recover();
    assert!(
        matches!(&found[..], [one] if matches!(&one.state, Found::Ended(Ending::Exited(r)) if *r == record))
    );
    world.bury(last, &spec.id);
    assert!(world.runtime.recover().is_empty());
}

#[test]
fn a_container_that_ends_unobserved_leaves_its_record() {
    let Some(world) = world("a_container_that_ends_unobserved_leaves_its_record") else { return };
    let spec = world
        .script("alone", "echo ready; while [ ! -e /mnt/mesos/sandbox/go ]; do sleep 0.05; done; kill -9 $$");
    orphan(&world, &spec);
    fs::write(world.sandbox("alone").join("go"), "").unwrap();
    eventually("the record is there", || world.runtime.ending(&spec.id).is_some());
    eventually("all is gone", || world.processes().is_empty() && world.cgroups().is_empty());
    let Some(Ending::Exited(record)) = world.runtime.ending(&spec.id) else { panic!("no record") };
    assert_eq!((record.status, record.oom_kills), (Exit::Signal(9), 0));
    world.runtime.cleanup(&spec.id).unwrap();
}

#[test]
fn a_keeper_that_was_killed_is_found_as_lost_and_cleaned_up() {
    let Some(world) = world("a_keeper_that_was_killed_is_found_as_lost_and_cleaned_up") else { return };
    let spec = world.script("lost", "trap '' TERM HUP; echo ready; while :; do sleep 100; done");
    let mut keeper = world.runtime.launch(&spec).unwrap();
    let Report::Hello { keeper_pid, .. } = wait_for(&mut keeper, |r| matches!(r, Report::Hello { .. }))
    else {
        unreachable!()
    };
    keeper.wait_started().unwrap();
    kill_process(Pid::from_raw(i32::try_from(keeper_pid).unwrap()).unwrap(), Signal::KILL).unwrap();
    assert!(keeper.wait_exit().is_err());
    assert!(matches!(&world.runtime.recover()[..], [one] if matches!(one.state, Found::Lost)));
    assert!(!world.processes().is_empty());
    world.runtime.cleanup(&spec.id).unwrap();
    world.assert_gone();
    assert!(world.runtime.recover().is_empty());
}

#[test]
fn a_keeper_killed_at_any_moment_of_the_start_leaves_nothing_after_cleanup() {
    let Some(world) = world("a_keeper_killed_at_any_moment_of_the_start_leaves_nothing_after_cleanup") else {
        return;
    };
    for step in 0..25u32 {
        let spec = world.spec(&format!("early{step}"), &["sleep", "100"]);
        let mut keeper = world.runtime.launch(&spec).unwrap();
        let Report::Hello { keeper_pid, .. } = wait_for(&mut keeper, |r| matches!(r, Report::Hello { .. }))
        else {
            unreachable!()
        };
        let pause = rustix::event::Timespec { tv_sec: 0, tv_nsec: i64::from(step) * 1_000_000 };
        let _ = rustix::event::poll(&mut [], Some(&pause));
        let pid = Pid::from_raw(i32::try_from(keeper_pid).unwrap()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
        while keeper.report().is_ok() {}
        world.runtime.cleanup(&spec.id).unwrap();
        eventually("nothing is left", || world.processes().is_empty() && world.cgroups().is_empty());
        assert_eq!(world.mounts(), Vec::<String>::new());
    }
}

#[test]
fn a_slow_caller_can_not_hold_a_keeper() {
    let Some(world) = world("a_slow_caller_can_not_hold_a_keeper") else { return };
    let spec = world.spec("slow", &["sleep", "100"]);
    let mut keeper = world.start(&spec);
    let mut deaf = KeeperHandle::new(spec.id.clone(), world.runtime.connect(&spec.id).unwrap());
    for _ in 0..2000 {
        if deaf.send(&Command::Statistics {}).is_err() {
            break;
        }
    }
    keeper.send(&Command::Statistics {}).unwrap();
    wait_for(&mut keeper, |report| matches!(report, Report::Statistics { .. }));
    world.kill(keeper, Some(0));
}
