//! Registration, pings, epochs, leaving.

use expect_test::expect;
use wire::link;
use wire::link::from_agent::Body;

use super::world::{TERMINATED, World, framework, task};
use crate::logic::{Event, LinkId, Recovered};

#[test]
fn a_new_agent_registers_until_it_is_answered() {
    let mut world = World::recovered(Recovered::default());
    world.give(Event::LinkUp { link: LinkId(1) });
    world.link = LinkId(1);
    let mut tries = 0;
    let mut moments = Vec::new();
    while tries < 40 {
        world.now = world.state.next_wakeup().expect("it wants to register");
        world.give(Event::Tick);
        moments.push(world.now);
        tries += 1;
    }
    let waits: Vec<f64> = moments.windows(2).map(|w| w[1].since(w[0]).as_secs_f64()).collect();
    // The first try came with the link.
    assert!(waits.iter().zip(2..).all(|(wait, n)| *wait <= 60.0_f64.min(2.0_f64.powi(n))), "{waits:?}");
    assert!(waits.iter().any(|wait| *wait > 30.0), "{waits:?}");
    let Some(Body::Register(hello)) = &world.hello else { panic!("no registration") };
    assert_eq!((hello.incarnation.as_str(), hello.address.as_str()), ("i1", "10.0.0.1:5051"));
    world.told();
    world.accept_registration();
    world.pass(50.0);
    expect![[r#"
        write agent A-S0
    "#]]
    .assert_eq(&world.told());
    assert_eq!(world.state.agent_id().unwrap().as_str(), "A-S0");
}

#[test]
fn a_refused_agent_tries_again() {
    let mut world = World::recovered(Recovered::default());
    world.give(Event::LinkUp { link: LinkId(1) });
    world.link = LinkId(1);
    world.pass(1.0);
    world.says(link::Refused { message: "not yet".to_owned() });
    world.pass(2.0);
    let told = world.told();
    assert!(told.contains("warn The master refuses the registration: not yet\nsay register\n"), "{told}");
    assert!(!world.state.is_registered());
}

#[test]
fn silence_and_lost_links_lead_back_to_the_master() {
    let mut world = World::registered();
    world.says(link::Ping { sequence: 7, connected: true });
    world.pass(74.0);
    expect![[r#"
        say pong 7
    "#]]
    .assert_eq(&world.told());
    world.pass(2.0);
    expect![[r#"
        warn No ping from the master for 75 s
        Reconnect { link: LinkId(1) }
    "#]]
    .assert_eq(&world.told());
    world.give(Event::LinkLost { link: LinkId(1) });
    world.join();
    expect![[r#"
        say reregister [] of [] epoch 1
    "#]]
    .assert_eq(&world.told());
    // The end of an older link means nothing.
    world.give(Event::LinkLost { link: LinkId(1) });
    assert!(world.state.is_registered());
    world.give(Event::LinkLost { link: world.link });
    assert!(!world.state.is_registered());
}

#[test]
fn a_master_that_lost_the_agent_gets_a_registration() {
    let mut world = World::registered();
    world.says(link::Ping { sequence: 1, connected: false });
    assert!(!world.state.is_registered());
    world.pass(1.0);
    expect![[r#"
        say pong 1
        say reregister [] of [] epoch 1
    "#]]
    .assert_eq(&world.told());
}

#[test]
fn an_older_master_is_not_obeyed() {
    let mut world = World::registered();
    world.says_at(5, link::Ping { sequence: 1, connected: true });
    world.told();
    let run = link::RunTask { framework: Some(framework("F", true)), task: Some(task("t")) };
    world.says_at(4, run);
    let told = world.told();
    assert!(told.starts_with("warn Ignoring a master of epoch 4"), "{told}");
    assert!(told.ends_with("Reconnect { link: LinkId(1) }\n"), "{told}");
    assert!(!world.framework_is_live("F"));
}

#[test]
fn another_id_ends_the_agent() {
    let mut world = World::registered();
    world.says(link::Registered { agent_id: "A-S9".to_owned(), ..Default::default() });
    expect![[r#"
        exit clean=false The master registered this agent as A-S9, but it is A-S0
    "#]]
    .assert_eq(&world.told());
    world.says(link::Ping { sequence: 1, connected: true });
    assert_eq!(world.told(), "");
}

#[test]
fn an_agent_that_leaves_ends_its_tasks_first() {
    let mut world = World::running(true);
    world.give(Event::ShutdownRequested);
    expect![[r#"
        kill t grace 4s
    "#]]
    .assert_eq(&world.told());
    world.run(&framework("F", true), task("late"));
    world.acknowledge();
    world.exited(TERMINATED);
    assert!(!world.told_so_far().contains("exit"));
    world.acknowledge();
    expect![[r#"
        say late TASK_DROPPED SOURCE_AGENT REASON_EXECUTOR_TERMINATED 'The agent is shutting down: the operator asked for it'
        write update t TASK_KILLED
        destroy t
        say t TASK_KILLED SOURCE_EXECUTOR 'Command terminated with signal Terminated'
        write acknowledged t
        write done t
        say unregister
        ForgetAgent
        exit clean=true the operator asked for it
    "#]]
    .assert_eq(&world.told());
}

#[test]
fn an_agent_that_is_not_heard_leaves_all_the_same() {
    let mut world = World::running(true);
    world.give(Event::ShutdownRequested);
    world.exited(TERMINATED);
    world.pass(4.0);
    assert!(!world.told().contains("exit"));
    world.pass(2.0);
    expect![[r#"
        say unregister
        ForgetAgent
        exit clean=true the operator asked for it
    "#]]
    .assert_eq(&world.told());
}

#[test]
fn an_agent_that_can_t_end_its_tasks_leaves_all_the_same() {
    let mut world = World::running(true);
    world.says(link::Shutdown { message: "gone by operator".to_owned() });
    world.pass(34.0);
    assert!(!world.told().contains("exit"));
    world.pass(2.0);
    expect![[r#"
        ForgetAgent
        exit clean=true gone by operator
    "#]]
    .assert_eq(&world.told());
}

#[test]
fn an_id_that_can_t_be_written_ends_the_agent() {
    let mut world = World::recovered(Recovered::default());
    world.disk = false;
    world.link = LinkId(1);
    world.give(Event::LinkUp { link: LinkId(1) });
    world.pass(1.0);
    world.accept_registration();
    world.told();
    world.saved(Err("no space left on device".to_owned()));
    expect![[r#"
        exit clean=false The agent could not write its id to its work folder: no space left on device
    "#]]
    .assert_eq(&world.told());
}
