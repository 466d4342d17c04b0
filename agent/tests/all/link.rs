//! The link: registration, reconnection, restarts of either side, the ends of an agent.

use std::time::Duration;

use agent::logic::Found;
use wire::link;
use wire::link::from_agent::Body;

use crate::common::{TestMaster, eventually, framework, lines, task};
use crate::fake::Set;

#[tokio::test]
async fn a_task_over_the_link() {
    let mut set = Set::new().await;
    let agent = set.agent().await;
    let Body::Register(hello) = set.master.register().await else { panic!("a new agent registers") };
    let info = hello.agent.unwrap();
    assert_eq!(
        (info.hostname.as_str(), info.port(), hello.address.as_str()),
        ("host-a", 5051, "127.0.0.1:5051")
    );
    assert!(hello.capabilities.contains(&"TASK_RESOURCE_LIMITS".to_owned()));
    set.master.run(&framework("F", true), task("t", "true")).await;
    set.fake.start(0).await;
    set.fake.exit(0, 7).await;
    let statuses = set.master.until_end().await;
    assert_eq!(
        lines(&statuses),
        ["TASK_STARTING", "TASK_RUNNING", "TASK_FAILED: Command exited with status 7"]
    );
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn a_cut_link_is_made_again() {
    let mut set = Set::new().await;
    let agent = set.agent().await;
    set.master.register().await;
    set.master.run(&framework("F", true), task("t", "true")).await;
    set.fake.start(0).await;
    set.master.status().await;
    set.master.status().await;
    set.master.cut();
    let Body::Reregister(hello) = set.master.register().await else { panic!("it has an id") };
    assert_eq!(hello.tasks[0].state().as_str_name(), "TASK_RUNNING");
    assert_eq!(hello.frameworks[0].name, "F");
    let mut registered = agent.registered();
    registered.wait_for(|registered| *registered).await.unwrap();
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn links_that_are_cut_one_after_another_are_made_again_soon() {
    let mut set = Set::new().await;
    let agent = set.agent().await;
    set.master.register().await;
    let began = std::time::Instant::now();
    // A master that took the agent is none that others must be spared: after eight doublings the pause would be the longest.
    for _ in 0..8 {
        set.master.cut();
        set.master.register().await;
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn an_unacknowledged_update_survives_a_new_master() {
    let mut set = Set::new().await;
    let agent = set.agent().await;
    set.master.register().await;
    set.master.run(&framework("F", true), task("t", "true")).await;
    set.fake.start(0).await;
    let Body::Status(first) = set.master.hear().await else { panic!("an update") };
    let address = set.master.address;
    set.master.cut();
    set.master.stop().await;
    set.fake.exit(0, 0).await;
    set.master = TestMaster::at(address).await;
    set.master.register().await;
    let statuses = set.master.until_end().await;
    assert_eq!(
        lines(&statuses),
        ["TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED: Command exited with status 0"]
    );
    assert_eq!(statuses[0].uuid, first.status.unwrap().uuid);
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn a_restarted_agent_goes_on_under_its_id() {
    let mut set = Set::new().await;
    let agent = set.agent().await;
    set.master.register().await;
    set.master.run(&framework("F", true), task("kept", "true")).await;
    let kept = set.fake.start(0).await;
    set.master.status().await;
    set.master.status().await;
    set.master.run(&framework("G", false), task("lost", "true")).await;
    set.fake.launched(1).await;
    agent.stop().await.unwrap();
    // What no restart would find again was ended.
    assert_eq!(*set.fake.calls.lock().unwrap(), ["destroy"]);
    set.fake.found.lock().unwrap().insert(kept, Found::Running);
    let agent = set.agent().await;
    let Body::Reregister(hello) = set.master.register().await else { panic!("it has an id") };
    assert_eq!(hello.agent.unwrap().id.unwrap().value, "A-S0");
    let tasks: Vec<&str> = hello.tasks.iter().map(|t| t.task_id.value.as_str()).collect();
    assert_eq!(tasks, ["kept"]);
    assert_eq!(*set.fake.calls.lock().unwrap(), ["destroy", "reattach kept"]);
    agent.stop().await.unwrap();
}

/// behaviour.md section 13: `--recover=cleanup` ends everything of before, forgets the agent, and exits.
#[tokio::test]
async fn cleaning_up_ends_containers_and_forgets_the_agent() {
    let mut set = Set::new().await;
    let agent = set.agent().await;
    set.master.register().await;
    set.master.run(&framework("F", true), task("t", "true")).await;
    let container = set.fake.start(0).await;
    set.master.status().await;
    set.master.status().await;
    agent.stop().await.unwrap();
    set.fake.found.lock().unwrap().insert(container, Found::Running);
    let mut agent = set.agent_with(&[("recover", "cleanup")]).await;
    agent.ended().await.unwrap();
    assert_eq!(*set.fake.calls.lock().unwrap(), ["destroy"]);
    // It never spoke to the master, and the next one is another agent.
    set.fake.found.lock().unwrap().clear();
    let agent = set.agent().await;
    let hello = set.master.register().await;
    assert!(matches!(hello, Body::Register(_)), "{hello:?}");
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn an_agent_that_is_killed_and_started_again_tells_how_a_task_ended() {
    let mut set = Set::new().await;
    let agent = set.agent().await;
    set.master.register().await;
    set.master.run(&framework("F", true), task("t", "true")).await;
    let container = set.fake.start(0).await;
    set.master.status().await;
    set.master.status().await;
    let updates = async || {
        let recovered = agent::service::CheckpointStore::load(&mut set.store.clone(), &mut |_| ()).unwrap();
        recovered.frameworks["F"].runs[0].updates.iter().filter(|u| u.acknowledged).count()
    };
    eventually("both acknowledgements are written", async || updates().await == 2).await;
    drop(agent);
    let exit =
        agent::logic::Exit { status: agent::logic::ExitStatus::Signal(9), out_of_memory: true, killed: None };
    set.fake.found.lock().unwrap().insert(container, Found::Exited(exit));
    let agent = set.agent().await;
    set.master.register().await;
    let statuses = set.master.until_end().await;
    let told = lines(&statuses);
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("TASK_FAILED REASON_CONTAINER_LIMITATION_MEMORY: "), "{told:?}");
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn a_full_disk_is_told_to_the_scheduler() {
    let mut set = Set::new().await;
    let agent = set.agent().await;
    set.master.register().await;
    set.store.set_full(true);
    set.master.run(&framework("F", true), task("t", "true")).await;
    let told = lines(&set.master.until_end().await);
    assert!(
        told[0].starts_with("TASK_FAILED REASON_CONTAINER_LAUNCH_FAILED: The agent could not write"),
        "{told:?}"
    );
    assert!(set.fake.launched.lock().unwrap().is_empty());
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn sigusr1_ends_tasks_and_then_the_agent() {
    let mut set = Set::new().await;
    let mut agent = set.agent().await;
    set.master.register().await;
    set.master.run(&framework("F", true), task("t", "true")).await;
    set.fake.start(0).await;
    set.master.status().await;
    set.master.status().await;
    agent.shut_down();
    let told = set.master.until_end().await;
    assert_eq!(lines(&told), ["TASK_KILLED: Command terminated with signal Terminated"]);
    assert!(matches!(set.master.hear().await, Body::Unregister(_)));
    agent.ended().await.unwrap();
    // The next start is a new agent.
    let agent = set.agent().await;
    assert!(matches!(set.master.register().await, Body::Register(_)));
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn a_master_can_end_an_agent() {
    let mut set = Set::new().await;
    let mut agent = set.agent().await;
    set.master.register().await;
    set.master.say(link::Shutdown { message: "the machine is down".to_owned() }).await;
    agent.ended().await.unwrap();
}

#[tokio::test]
async fn pings_are_answered() {
    let mut set = Set::new().await;
    let agent = set.agent().await;
    set.master.register().await;
    set.master.say(link::Ping { sequence: 9, connected: true }).await;
    assert!(matches!(set.master.hear().await, Body::Pong(link::Pong { sequence: 9 })));
    let id = agent.agent_id().borrow().clone();
    assert_eq!(id.unwrap().as_str(), "A-S0");
    agent.stop().await.unwrap();
}
