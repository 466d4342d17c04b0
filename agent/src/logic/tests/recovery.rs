//! Restarts of the agent.

use std::collections::BTreeMap;
use std::sync::Arc;

use expect_test::expect;
use model::{ContainerId, FrameworkId, Timestamp};
use wire::v1;

use super::world::{FINISHED, World, framework, settings, task};
use crate::logic::{
    Event, Found, LaunchFailure, LaunchFailureKind, Recovered, RecoveredFramework, RecoveredRun,
    RecoveredUpdate, Run,
};

fn run(id: &str) -> Arc<Run> {
    Arc::new(Run {
        agent: "A-S0".into(),
        framework: "F".into(),
        executor: id.into(),
        task: id.into(),
        container: ContainerId::new(format!("c-{id}")),
    })
}

/// A run with updates of these states, of which so many are acknowledged.
fn recovered_run(id: &str, states: &[v1::TaskState], acknowledged: usize) -> RecoveredRun {
    let update = |(n, state): (usize, &v1::TaskState)| {
        let status = v1::TaskStatus {
            task_id: v1::TaskId { value: id.to_owned() },
            state: (*state).into(),
            uuid: Some(vec![u8::try_from(n).unwrap(); 16].into()),
            ..Default::default()
        };
        RecoveredUpdate { status: Arc::new(status), acknowledged: n < acknowledged }
    };
    RecoveredRun {
        run: run(id),
        info: Arc::new(task(id)),
        updates: states.iter().enumerate().map(update).collect(),
        done: false,
        touched: Timestamp::ZERO,
    }
}

fn recovered(runs: Vec<RecoveredRun>, containers: &[(&str, Found)]) -> Recovered {
    let mut agent = settings().info;
    agent.id = Some(v1::AgentId { value: "A-S0".to_owned() });
    let info = Arc::new(framework("F", true));
    Recovered {
        agent: Some(agent),
        frameworks: BTreeMap::from([(FrameworkId::new("F"), RecoveredFramework { info, runs })]),
        containers: containers.iter().map(|(id, found)| (ContainerId::new(*id), found.clone())).collect(),
        ..Default::default()
    }
}

use v1::TaskState::{TaskFinished, TaskRunning, TaskStarting};

#[test]
fn running_tasks_go_on() {
    let found = recovered(
        vec![recovered_run("t", &[TaskStarting, TaskRunning], 2)],
        &[("c-t", Found::Running), ("c-other", Found::Running)],
    );
    let mut world = World::recovered(found);
    world.join();
    world.give(Event::ContainerStarted { container: "c-t".into(), pid: 42 });
    world.kill("t", None);
    world.give(Event::ContainerExited { container: "c-t".into(), exit: FINISHED });
    expect![[r#"
        reattach t
        destroy c-other
        Connect
        say reregister ["t TASK_RUNNING head -"] of ["F"] epoch 0
        kill c-t grace 3s
        write update t TASK_KILLED
        destroy c-t
        say t TASK_KILLED SOURCE_EXECUTOR 'Command exited with status 0'
    "#]]
    .assert_eq(&world.told());
}

#[test]
fn what_was_not_said_yet_is_said_after_the_restart() {
    let found = recovered(vec![recovered_run("t", &[], 0)], &[("c-t", Found::Running)]);
    let mut world = World::recovered(found);
    world.give(Event::ContainerStarted { container: "c-t".into(), pid: 42 });
    world.join();
    expect![[r#"
        reattach t
        Connect
        write update t TASK_STARTING
        write update t TASK_RUNNING
        say reregister ["t TASK_RUNNING head TASK_STARTING"] of ["F"] epoch 0
        say t TASK_STARTING SOURCE_EXECUTOR latest TASK_RUNNING
    "#]]
    .assert_eq(&world.told());
}

#[test]
fn every_way_a_task_may_have_ended_meanwhile() {
    let failure = LaunchFailure { kind: LaunchFailureKind::Failed, message: "no program".to_owned() };
    let both = &[TaskStarting, TaskRunning];
    let runs = vec![
        recovered_run("exited", both, 2),
        recovered_run("failed", &[TaskStarting], 1),
        recovered_run("gone", both, 2),
        recovered_run("lost", both, 2),
        recovered_run("prepared", &[TaskStarting], 1),
        recovered_run("unstarted", &[], 0),
    ];
    let containers = [
        ("c-exited", Found::Exited(FINISHED)),
        ("c-failed", Found::Failed(failure)),
        ("c-lost", Found::Lost("keeper died".to_owned())),
    ];
    let mut world = World::recovered(recovered(runs, &containers));
    world.told();
    world.join();
    let told = world.told();
    let says: Vec<&str> = told.lines().filter(|line| !line.contains("reregister")).collect();
    expect![[r#"
        say exited TASK_FINISHED SOURCE_EXECUTOR 'Command exited with status 0'
        say failed TASK_FAILED SOURCE_AGENT REASON_CONTAINER_LAUNCH_FAILED 'no program'
        say gone TASK_FAILED SOURCE_AGENT REASON_EXECUTOR_TERMINATED 'The task's container is gone and left no exit record'
        say lost TASK_FAILED SOURCE_AGENT REASON_EXECUTOR_TERMINATED 'keeper died'
        say prepared TASK_FAILED SOURCE_AGENT REASON_CONTAINER_LAUNCH_FAILED 'The agent was restarted before it could start the task'
        say unstarted TASK_DROPPED SOURCE_AGENT REASON_AGENT_RESTARTED 'The agent was restarted before it could start the task'"#]]
    .assert_eq(&says.join("\n"));
}

#[test]
fn after_a_reboot_nothing_runs() {
    let mut found = recovered(vec![recovered_run("t", &[], 0)], &[]);
    found.rebooted = true;
    let mut world = World::recovered(found);
    let told = world.told();
    world.join();
    assert!(told.starts_with("write update t TASK_FAILED\ndestroy c-t\n"), "{told}");
    assert!(world.told().contains("'The host was rebooted while the task ran'"));
}

#[test]
fn ended_tasks_end_once() {
    let all = &[TaskStarting, TaskRunning, TaskFinished];
    let mut done = recovered_run("done", all, 3);
    done.done = true;
    let runs = vec![done, recovered_run("acknowledged", all, 3), recovered_run("unacknowledged", all, 1)];
    let containers = [("c-unacknowledged", Found::Exited(FINISHED)), ("c-done", Found::Exited(FINISHED))];
    let mut world = World::recovered(recovered(runs, &containers));
    world.join();
    world.acknowledge();
    world.acknowledge();
    expect![[r#"
        destroy c-unacknowledged
        destroy c-done
        Connect
        collect acknowledged
        collect done
        say reregister ["unacknowledged TASK_FINISHED head TASK_RUNNING"] of ["F"] epoch 0 after ["acknowledged", "done"]
        say unacknowledged TASK_RUNNING SOURCE_MASTER latest TASK_FINISHED
        write acknowledged unacknowledged
        say unacknowledged TASK_FINISHED SOURCE_MASTER
        write acknowledged unacknowledged
        write done unacknowledged
    "#]]
    .assert_eq(&world.told());
    assert!(!world.framework_is_live("F"));
}

#[test]
fn a_changed_agent_does_not_start() {
    let mut found = recovered(Vec::new(), &[]);
    found.agent.as_mut().unwrap().hostname = "other".to_owned();
    let mut world = World::recovered(found);
    let told = world.told();
    assert!(
        told.starts_with("exit clean=false This agent is not what it was when it registered as A-S0"),
        "{told}"
    );
    assert!(told.contains("its hostname was other and is a1"), "{told}");
}

/// Mesos: `reconfiguration_policy` and what a reboot does to it.
#[test]
fn an_agent_with_more_than_before_goes_on_where_that_is_allowed() {
    let both = &[TaskStarting, TaskRunning];
    let mut found = recovered(vec![recovered_run("t", both, 2)], &[("c-t", Found::Running)]);
    let before = found.agent.as_mut().unwrap();
    before.resources = model::resources::parse("cpus:2;mem:1024", &model::Role::any()).unwrap().to_wire();
    let refused = World::recovered(found.clone()).told();
    assert!(
        refused.starts_with("exit clean=false") && refused.contains("resources were cpus:2"),
        "{refused}"
    );
    let mut allowing = settings();
    allowing.reconfiguration = crate::logic::Reconfiguration::Additive;
    let mut world = World::with(allowing, found);
    world.join();
    expect![[r#"
        write agent A-S0
        reattach t
        Connect
        say reregister ["t TASK_RUNNING head -"] of ["F"] epoch 0
    "#]]
    .assert_eq(&world.told());
}

#[test]
fn a_changed_agent_is_another_one_after_a_reboot() {
    let mut found = recovered(vec![recovered_run("t", &[TaskStarting, TaskRunning], 2)], &[]);
    found.agent.as_mut().unwrap().hostname = "other".to_owned();
    found.rebooted = true;
    let mut world = World::recovered(found);
    world.pass(2000.0);
    world.join();
    expect![[r#"
        warn This agent was A-S0 before the host was rebooted and registers as a new one, because its hostname was other and is a1
        ForgetAgent
        Connect
        collect t
        say register
        write agent A-S0
    "#]]
    .assert_eq(&world.told());
}

#[test]
fn recovery_happens_once() {
    let mut world = World::registered();
    world.give(Event::Recovered(Box::default()));
    assert_eq!(world.told(), "");
    assert!(world.state.is_registered());
}

#[test]
fn a_later_acknowledgement_answers_for_one_that_could_not_be_written() {
    let mut run = recovered_run("t", &[TaskStarting, TaskRunning, TaskFinished], 0);
    run.updates[1].acknowledged = true;
    let mut world = World::recovered(recovered(vec![run], &[]));
    world.join();
    expect![[r#"
        destroy c-t
        Connect
        say reregister ["t TASK_FINISHED head TASK_FINISHED"] of ["F"] epoch 0
        say t TASK_FINISHED SOURCE_MASTER
    "#]]
    .assert_eq(&world.told());
}
