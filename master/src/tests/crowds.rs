//! Many readers of a large state: none of them holds up the loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;
use model::{Role, resources};
use wire::link;
use wire::media::Media;
use wire::v1;
use wire::v1::TaskState;
use wire::v1::scheduler::Call;
use wire::v1::scheduler::call::Type;

use super::agent::{self, Agent};
use super::client::get;
use super::scheduler::{self, Scheduler};
use super::{config, start};

const AGENTS: usize = 40;
const TASKS: usize = 200;

/// Agents that come back with tasks to a master that has forgotten them: the quickest way to many.
async fn crowd(to: std::net::SocketAddr) -> Vec<Agent> {
    let framework =
        v1::FrameworkInfo { id: Some(v1::FrameworkId { value: "F".to_owned() }), ..scheduler::info(&[]) };
    let resources =
        resources::parse("cpus:0.01;mem:1", &Role::any()).unwrap().allocated_to(Some(&Role::any()));
    let mut agents = Vec::new();
    for n in 0..AGENTS {
        let id = format!("earlier-S{n}");
        let task = |t: usize| v1::Task {
            name: "one of many".to_owned(),
            task_id: v1::TaskId { value: format!("T{n}-{t}") },
            framework_id: framework.id.clone().unwrap(),
            agent_id: v1::AgentId { value: id.clone() },
            state: TaskState::TaskRunning.into(),
            resources: resources.to_wire(),
            ..Default::default()
        };
        let hello = link::Reregister {
            tasks: (0..TASKS).map(task).collect(),
            frameworks: vec![framework.clone()],
            ..agent::reregister(&format!("a{n}"), &id)
        };
        agents.push(Agent::registered(to, hello).await);
    }
    agents
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_a_large_state_do_not_hold_up_the_loop() {
    let master = start(config()).await;
    let to = master.address();
    let _agents = crowd(to).await;
    let page = get(to, "/state").await;
    assert_eq!(page.json()["frameworks"][0]["tasks"].as_array().unwrap().len(), AGENTS * TASKS);
    let began = Instant::now();
    get(to, "/state").await;
    let one_page = began.elapsed();

    let done = Arc::new(AtomicBool::new(false));
    let pages = Arc::new(AtomicUsize::new(0));
    let readers: Vec<_> = (0..6)
        .map(|_| {
            let (done, pages) = (done.clone(), pages.clone());
            tokio::spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    assert_eq!(get(to, "/state").await.status, StatusCode::OK);
                    pages.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let before = master.longest_hold_up();
    let scheduler = Scheduler::subscribed(to, Media::Json, scheduler::info(&[])).await;
    let mut calls = Vec::new();
    while pages.load(Ordering::Relaxed) < 12 {
        let began = Instant::now();
        scheduler.accepted(Type::Suppress, Call::default()).await;
        calls.push(began.elapsed());
    }
    done.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
    calls.sort_unstable();
    let (median, longest) = (calls[calls.len() / 2], master.longest_hold_up());
    println!(
        "a page takes {one_page:?}; a call meanwhile {median:?} (of {}); turns {before:?} -> {longest:?}",
        calls.len()
    );
    // Were pages made in the loop, a turn would take as long as a page. Threads are shared with other work here, so
    // that a turn may be interrupted: half a page is far above any turn and far below that.
    assert!(longest < before.max(one_page / 2).max(Duration::from_millis(50)), "{before:?} -> {longest:?}");
    assert!(median < one_page, "{median:?}");
    master.stop().await.unwrap();
}
