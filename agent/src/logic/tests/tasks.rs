//! Tasks from RunTask to their end.

use std::time::Duration;

use expect_test::expect;
use wire::{link, v1};

use super::world::{FINISHED, TERMINATED, World, framework, task, with_killing};
use crate::logic::{Event, Exit, ExitStatus, LaunchFailure, LaunchFailureKind, Stage};

#[test]
fn a_task_that_goes_well() {
    let mut world = World::registered();
    world.run(&framework("F", true), task("t"));
    world.prepared();
    world.started();
    world.acknowledge();
    world.acknowledge();
    world.exited(FINISHED);
    world.acknowledge();
    expect![[r#"
        write task t
        launch t grace 3s
        write update t TASK_STARTING
        say t TASK_STARTING SOURCE_EXECUTOR
        write update t TASK_RUNNING
        write acknowledged t
        say t TASK_RUNNING SOURCE_EXECUTOR
        write acknowledged t
        write update t TASK_FINISHED
        destroy t
        say t TASK_FINISHED SOURCE_EXECUTOR 'Command exited with status 0'
        write acknowledged t
        write done t
    "#]]
    .assert_eq(&world.told());
    let view = world.state.view();
    assert!(view.frameworks.is_empty());
    let task = &view.completed_frameworks[0].completed[0];
    let states: Vec<&str> = task.statuses.iter().map(|s| s.state().as_str_name()).collect();
    assert_eq!(states, ["TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED"]);
    let status = task.statuses.last().unwrap();
    assert_eq!(status.executor_id.as_ref().unwrap().value, "t");
    assert_eq!(status.agent_id.as_ref().unwrap().value, "A-S0");
    assert_eq!(status.uuid().len(), 16);
    let container = status.container_status.as_ref().unwrap();
    assert_eq!(container.executor_pid, Some(42));
    assert_eq!(container.container_id.as_ref().unwrap().value, task.run.container.as_str());
    assert_eq!(container.network_infos[0].ip_addresses[0].ip_address(), "10.0.0.1");
}

#[test]
fn without_checkpointing_nothing_is_written() {
    let mut world = World::registered();
    world.run(&framework("F", false), task("t"));
    world.started();
    world.acknowledge();
    world.acknowledge();
    world.exited(Exit { status: ExitStatus::Code(7), out_of_memory: false, killed: None });
    world.acknowledge();
    expect![[r#"
        launch t grace 3s
        say t TASK_STARTING SOURCE_EXECUTOR
        say t TASK_RUNNING SOURCE_EXECUTOR
        destroy t
        say t TASK_FAILED SOURCE_EXECUTOR 'Command exited with status 7'
    "#]]
    .assert_eq(&world.told());
}

#[test]
fn nothing_is_done_before_it_is_on_disk() {
    let mut world = World::registered();
    world.disk = false;
    world.run(&framework("F", true), task("t"));
    assert_eq!(world.told(), "write task t\n");
    world.saved(Ok(()));
    assert_eq!(world.told(), "launch t grace 3s\n");
    world.started();
    assert_eq!(world.told(), "write update t TASK_STARTING\nwrite update t TASK_RUNNING\n");
    world.saved(Ok(()));
    assert_eq!(world.told(), "say t TASK_STARTING SOURCE_EXECUTOR latest TASK_RUNNING\n");
    world.acknowledge();
    assert_eq!(world.told(), "write acknowledged t\n");
    // The acknowledgement is on disk before the update is: the next waits for both.
    let acknowledged = world.writes.remove(1);
    world.give(Event::Checkpointed { ticket: acknowledged.0, outcome: Ok(()) });
    assert_eq!(world.told(), "");
    world.saved(Ok(()));
    assert_eq!(world.told(), "say t TASK_RUNNING SOURCE_EXECUTOR\n");
}

#[test]
fn a_full_disk_fails_the_task() {
    let mut world = World::registered();
    world.disk = false;
    world.run(&framework("F", true), task("t"));
    world.saved(Err("can't write task.info: no space left on device".to_owned()));
    world.acknowledge();
    expect![[r#"
        write task t
        destroy beeb8da1-658e-4c67-b893-a2eefb32555e
        say t TASK_FAILED SOURCE_AGENT REASON_CONTAINER_LAUNCH_FAILED 'The agent could not write the task's checkpoint: can't write task.info: no space left on device'
        write done t
        collect t
    "#]]
    .assert_eq(&world.told());
}

#[test]
fn a_task_is_launched_once() {
    let mut world = World::registered();
    let run = |world: &mut World| world.run(&framework("F", true), task("t"));
    run(&mut world);
    run(&mut world);
    world.started();
    run(&mut world);
    world.exited(FINISHED);
    run(&mut world);
    assert_eq!(world.launched.len(), 1);
    for _ in 0..3 {
        world.acknowledge();
    }
    // Completed ids may be used again, before the acknowledgement is on disk.
    world.disk = false;
    for _ in 0..3 {
        run(&mut world);
    }
    assert_eq!(world.writes.len(), 1);
    world.saved(Ok(()));
    assert_eq!(world.launched.len(), 2);
    assert_ne!(world.launched[0].container, world.launched[1].container);
    assert_eq!(world.state.view().frameworks.values().next().unwrap().completed.len(), 1);
}

#[test]
fn what_can_t_be_run_is_an_error() {
    let mut without = task("a");
    without.command = None;
    let mut with_executor = task("b");
    with_executor.executor = Some(v1::ExecutorInfo::default());
    let mut bad = task("c");
    bad.resources[0].scalar = Some(v1::value::Scalar { value: -1.0 });
    let mut world = World::registered();
    for task in [without, with_executor, bad, task("d/.."), task(&"%".repeat(200))] {
        world.run(&framework("F", true), task);
    }
    let told = world.told();
    assert_eq!(told.matches("TASK_ERROR SOURCE_AGENT REASON_TASK_INVALID").count(), 5, "{told}");
    assert!(world.launched.is_empty() && !told.contains("write"), "{told}");
}

#[test]
fn launches_that_fail() {
    for (kind, expected) in [
        (
            LaunchFailureKind::Failed,
            "TASK_FAILED SOURCE_AGENT REASON_CONTAINER_LAUNCH_FAILED 'no such image'",
        ),
        (LaunchFailureKind::Invalid, "TASK_ERROR SOURCE_AGENT REASON_TASK_INVALID 'no such image'"),
        (LaunchFailureKind::Killed, "TASK_KILLED SOURCE_AGENT REASON_TASK_KILLED_DURING_LAUNCH"),
    ] {
        let mut world = World::registered();
        world.run(&framework("F", true), task("t"));
        let container = world.container();
        let failure = LaunchFailure { kind, message: "no such image".to_owned() };
        world.give(Event::ContainerFailed { container, failure });
        world.acknowledge();
        let told = world.told();
        assert!(told.contains(expected), "{told}");
        // It never ran, so nothing of it is kept.
        assert!(told.ends_with("write done t\ncollect t\n"), "{told}");
    }
}

#[test]
fn a_kill_ends_a_running_task() {
    let mut world = World::registered();
    world.run(&with_killing(framework("F", true)), task("t"));
    world.started();
    world.acknowledge();
    world.acknowledge();
    world.told();
    world.kill("t", None);
    world.acknowledge();
    world.kill("t", Some(0.5));
    world.exited(TERMINATED);
    world.kill("t", None);
    expect![[r#"
        write update t TASK_KILLING
        say t TASK_KILLING SOURCE_EXECUTOR
        kill t grace 3s
        write acknowledged t
        kill t grace 500ms
        write update t TASK_KILLED
        destroy t
        say t TASK_KILLED SOURCE_EXECUTOR 'Command terminated with signal Terminated'
    "#]]
    .assert_eq(&world.told());
}

#[test]
fn grace_periods() {
    let policy = |seconds: i64| v1::KillPolicy {
        grace_period: Some(v1::DurationInfo { nanoseconds: seconds * 1_000_000_000 }),
    };
    for (own, call, expected) in [
        (None, None, 3),
        (Some(9), None, 9),
        (Some(9), Some(2.0), 2),
        (None, Some(-1.0), 3),
        (None, Some(f64::NAN), 3),
        (Some(-5), None, 3),
    ] {
        let mut world = World::registered();
        let mut task = task("t");
        task.kill_policy = own.map(policy);
        world.run(&framework("F", true), task);
        world.started();
        world.told();
        world.kill("t", call);
        let expected = format!("kill t grace {:?}\n", Duration::from_secs(expected));
        assert_eq!(world.told(), expected, "{own:?} {call:?}");
    }
}

#[test]
fn a_kill_during_the_launch() {
    // While its checkpoint is written.
    let mut world = World::registered();
    world.disk = false;
    world.run(&framework("F", true), task("t"));
    world.kill("t", None);
    world.saved(Ok(()));
    world.saved(Ok(()));
    // While its image is pulled.
    world.disk = true;
    world.run(&framework("F", true), task("u"));
    world.kill("u", None);
    let container = world.container();
    let failure = LaunchFailure { kind: LaunchFailureKind::Killed, message: String::new() };
    world.give(Event::ContainerFailed { container, failure });
    expect![[r#"
        write task t
        write update t TASK_KILLED
        destroy beeb8da1-658e-4c67-b893-a2eefb32555e
        say t TASK_KILLED SOURCE_AGENT REASON_TASK_KILLED_DURING_LAUNCH 'The task was killed before its command was started'
        write task u
        launch u grace 3s
        kill u grace 3s
        write update u TASK_KILLED
        destroy u
        say u TASK_KILLED SOURCE_AGENT REASON_TASK_KILLED_DURING_LAUNCH 'The task was killed before its command was started'
    "#]]
    .assert_eq(&world.told());
}

#[test]
fn a_command_that_beats_its_kill_counts_as_killed() {
    let mut world = World::running(true);
    world.kill("t", None);
    world.exited(FINISHED);
    assert!(world.told().contains("TASK_KILLED SOURCE_EXECUTOR 'Command exited with status 0'"));
}

#[test]
fn unknown_tasks_are_dropped_once() {
    let mut world = World::running(true);
    world.kill("x", None);
    world.kill("x", None);
    let ids = ["x", "y", "t"].map(str::to_owned).to_vec();
    world.says(link::ReconcileTasks { framework_id: "F".to_owned(), task_ids: ids });
    expect![[r#"
        say x TASK_DROPPED SOURCE_AGENT REASON_EXECUTOR_TERMINATED 'The agent was asked to kill a task that it does not know'
        say y TASK_DROPPED SOURCE_AGENT REASON_RECONCILIATION 'The agent does not know the task'
    "#]]
    .assert_eq(&world.told());
}

#[test]
fn a_framework_that_is_shut_down() {
    let mut world = World::running(true);
    world.run(&framework("F", true), task("u"));
    world.told();
    world.says(link::ShutdownFramework { framework_id: "F".to_owned() });
    world.run(&framework("F", true), task("late"));
    world.exited(TERMINATED);
    let first = world.launched[0].container.clone();
    world.give(Event::ContainerExited { container: first, exit: TERMINATED });
    // Nobody wants to hear how they ended.
    expect![[r#"
        kill t grace 4s
        kill u grace 4s
        say late TASK_DROPPED SOURCE_AGENT REASON_EXECUTOR_TERMINATED 'The framework F is being shut down on the agent'
        destroy u
        write done u
        destroy t
        write done t
    "#]]
    .assert_eq(&world.told());
    assert!(!world.framework_is_live("F"));
}

/// A master that doesn't know of the shutdown hears of none of its tasks: neither that they are there nor how they do.
#[test]
fn nothing_more_is_said_of_tasks_that_are_shut_down() {
    let mut world = World::running(true);
    world.run(&framework("F", true), task("u"));
    world.started();
    assert!(world.told().contains("say u TASK_STARTING"));
    world.says(link::ShutdownFramework { framework_id: "F".to_owned() });
    world.give(Event::LinkLost { link: world.link });
    world.told();
    world.join();
    world.pass(60.0);
    let told = world.told();
    assert!(told.contains("say reregister [] of []") && !told.contains("say u"), "{told}");
}

#[test]
fn lost_containers_fail_their_tasks() {
    let mut world = World::running(true);
    let container = world.container();
    world.give(Event::ContainerLost { container, why: "the keeper is gone".to_owned() });
    let told = world.told();
    assert!(
        told.contains("TASK_FAILED SOURCE_AGENT REASON_EXECUTOR_TERMINATED 'the keeper is gone'"),
        "{told}"
    );
}

#[test]
fn an_updated_framework_is_written_when_it_changed() {
    let mut world = World::running(true);
    let mut info = framework("F", true);
    world.says(link::UpdateFramework { framework: Some(info.clone()) });
    assert_eq!(world.told(), "");
    info.name = "G".to_owned();
    world.says(link::UpdateFramework { framework: Some(info) });
    assert_eq!(world.told(), "write framework G\n");
    world.says(link::UpdateFramework { framework: Some(framework("unknown", true)) });
    assert_eq!(world.told(), "");
}

#[test]
fn finished_sandboxes_go_after_a_while_or_when_the_disk_fills() {
    let mut world = World::running(true);
    world.exited(FINISHED);
    world.acknowledge();
    world.give(Event::LinkLost { link: world.link });
    world.told();
    // gc_delay * (1 - 0.1 - 0.4)
    world.give(Event::DiskUsage { used: 0.4 });
    world.pass(499.0);
    assert_eq!(world.told(), "");
    world.pass(2.0);
    assert_eq!(world.told(), "collect t\n");
    world.join();
    world.run(&framework("F", true), task("u"));
    world.started();
    world.acknowledge();
    world.acknowledge();
    world.exited(FINISHED);
    world.acknowledge();
    world.told();
    world.give(Event::DiskUsage { used: 0.95 });
    assert_eq!(world.told(), "collect u\n");
}

#[test]
fn only_so_many_completed_tasks_are_kept() {
    let mut world = World::registered();
    for n in 0..4 {
        world.run(&framework("F", false), task(&format!("t{n}")));
        world.started();
        world.acknowledge();
        world.acknowledge();
        world.exited(FINISHED);
        world.acknowledge();
    }
    let view = world.state.view();
    let kept: Vec<&str> =
        view.completed_frameworks[0].completed.iter().map(|t| t.run.task.as_str()).collect();
    assert_eq!(kept, ["t2", "t3"]);
    assert!(view.tasks().all(|(_, task)| task.stage == Stage::Ended));
    world.told();
    // And a master that may be new is told of them.
    world.give(Event::LinkLost { link: world.link });
    world.join();
    assert_eq!(world.told(), "say reregister [] of [] epoch 1 after [\"t2\", \"t3\"]\n");
}

#[test]
fn an_operator_kills_a_container() {
    let mut world = World::registered();
    world.run(&framework("F", true), task("t"));
    world.started();
    let view = world.state.view();
    let container = view.tasks().next().unwrap().1.run.container.clone();
    world.told();
    world.give(Event::KillContainer { container: "no-such".into(), grace: None });
    world.give(Event::KillContainer { container: container.clone(), grace: None });
    world.give(Event::KillContainer { container, grace: Some(Duration::ZERO) });
    expect![[r#"
        kill t grace 3s
        kill t grace 0ns
    "#]]
    .assert_eq(&world.told());
}
