//! Delivery of updates.

use expect_test::expect;
use wire::link;

use super::world::{FINISHED, World, framework, task};
use crate::logic::Event;

#[test]
fn an_update_is_repeated_until_acknowledged() {
    let mut world = World::registered();
    world.run(&framework("F", false), task("t"));
    world.started();
    world.told();
    let mut moments = Vec::new();
    for _ in 0..10 {
        let before = world.sent.len();
        while world.sent.len() == before {
            // Pings keep it registered meanwhile.
            world.says(link::Ping { sequence: 1, connected: true });
            world.pass(5.0);
        }
        moments.push(world.now);
    }
    let waits: Vec<u64> = moments.windows(2).map(|w| w[1].since(w[0]).as_secs()).collect();
    assert_eq!(waits, [20, 40, 80, 160, 320, 600, 600, 600, 600]);
    assert!(world.sent.iter().all(|s| s.status.as_ref().unwrap().state().as_str_name() == "TASK_STARTING"));
    world.acknowledge();
    assert_eq!(world.sent.last().unwrap().status.as_ref().unwrap().state().as_str_name(), "TASK_RUNNING");
}

#[test]
fn other_acknowledgements_are_ignored() {
    let mut world = World::registered();
    world.run(&framework("F", true), task("t"));
    world.started();
    world.told();
    let acknowledge = |task: &str, uuid: Vec<u8>| link::Acknowledge {
        framework_id: "F".to_owned(),
        task_id: task.to_owned(),
        uuid: uuid.into(),
    };
    let uuid = world.sent[0].status.as_ref().unwrap().uuid().to_vec();
    for (task, uuid) in [("t", vec![0; 16]), ("t", Vec::new()), ("x", uuid.clone())] {
        world.says(acknowledge(task, uuid));
    }
    assert_eq!(world.told(), "");
    world.says(acknowledge("t", uuid.clone()));
    world.says(acknowledge("t", uuid));
    assert_eq!(world.told(), "write acknowledged t\nsay t TASK_RUNNING SOURCE_EXECUTOR\n");
}

#[test]
fn while_disconnected_nothing_is_sent_and_then_everything() {
    let mut world = World::registered();
    world.run(&framework("F", true), task("t"));
    world.started();
    world.give(Event::LinkLost { link: world.link });
    world.told();
    world.exited(FINISHED);
    world.pass(1000.0);
    expect![[r#"
        write update t TASK_FINISHED
        destroy t
    "#]]
    .assert_eq(&world.told());
    world.join();
    expect![[r#"
        say reregister ["t TASK_FINISHED head TASK_STARTING"] of ["F"] epoch 1
        say t TASK_STARTING SOURCE_EXECUTOR latest TASK_FINISHED
    "#]]
    .assert_eq(&world.told());
}

#[test]
fn an_update_that_can_t_be_written_is_sent_all_the_same() {
    let mut world = World::running(true);
    world.disk = false;
    world.exited(FINISHED);
    world.told();
    world.saved(Err("disk on fire".to_owned()));
    let told = world.told();
    assert!(told.contains("warn") && told.contains("disk on fire"), "{told}");
    assert!(told.ends_with("say t TASK_FINISHED SOURCE_EXECUTOR 'Command exited with status 0'\n"), "{told}");
}

#[test]
fn the_record_of_a_finished_task_is_tried_until_it_is_written() {
    let mut world = World::running(true);
    world.exited(FINISHED);
    world.disk = false;
    world.acknowledge();
    world.told();
    // The acknowledgement, then that the run is done.
    world.saved(Err("disk on fire".to_owned()));
    world.saved(Err("disk on fire".to_owned()));
    assert!(!world.told().contains("done"));
    world.pass(9.0);
    assert_eq!(world.told(), "");
    world.pass(1.0);
    assert_eq!(world.told(), "write done t\n");
    world.saved(Ok(()));
    world.pass(600.0);
    assert!(!world.told().contains("done"));
}

#[test]
fn an_update_that_is_heard_is_not_sent_again_while_that_is_written() {
    let mut world = World::registered();
    world.run(&framework("F", true), task("t"));
    world.prepared();
    world.disk = false;
    world.started();
    world.acknowledge();
    world.pass(30.0);
    world.told();
    // The update that follows it is on disk first.
    world.saved(Ok(()));
    assert_eq!(world.told(), "");
    world.saved(Ok(()));
    assert_eq!(world.told(), "say t TASK_RUNNING SOURCE_EXECUTOR\n");
}
