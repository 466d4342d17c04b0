//! Agents that don't answer, come back, or are given up by an operator.

use std::fs;

use integration::client::post;
use integration::task::{framework, shell, task};
use integration::{Cluster, Options, Scheduler, eventually, needs};
use rustix::process::Signal;
use serde_json::{Value, json};

/// A cluster whose master gives an agent up after three seconds.
fn impatient() -> Cluster {
    Cluster::with(
        Options::default().master("--agent_ping_timeout=1secs").master("--max_agent_ping_timeouts=2"),
    )
}

fn status(event: &Value, id: &str, state: &str) -> Option<Value> {
    let status = &event["update"]["status"];
    (status["task_id"]["value"] == id && status["state"] == state).then(|| status.clone())
}

#[test]
fn a_silent_agent_is_unreachable_and_its_tasks_come_back_with_it() {
    needs!();
    let mut cluster = impatient();
    let agent = cluster.agent_id();
    let mut aware = cluster.scheduler();
    let mut info = framework();
    info["capabilities"] = json!([{"type": "MULTI_ROLE"}, {"type": "RESERVATION_REFINEMENT"}]);
    aware.start_last(|offer| task("aware", offer, shell("exec sleep 1000")));
    aware.wait_for("aware", "TASK_RUNNING");
    let mut unaware = Scheduler::subscribe(cluster.master(), info);
    unaware.start_last(|offer| task("unaware", offer, shell("exec sleep 1000")));
    unaware.wait_for("unaware", "TASK_RUNNING");

    cluster.agent_process().signal(Signal::STOP);
    let lost = aware.wait("the task unreachable", |event| status(event, "aware", "TASK_UNREACHABLE"));
    assert_eq!(
        (lost["reason"].as_str(), lost["source"].as_str()),
        (Some("REASON_AGENT_REMOVED"), Some("SOURCE_MASTER"))
    );
    assert!(lost["unreachable_time"]["nanoseconds"].is_number(), "{lost}");
    let lost = unaware.wait("the task lost", |event| status(event, "unaware", "TASK_LOST"));
    assert_eq!(lost["reason"], "REASON_AGENT_REMOVED");
    eventually("every framework hears of the agent", || {
        aware
            .seen
            .iter()
            .find(|event| event["type"] == "FAILURE" && event["failure"]["agent_id"]["value"] == agent)
            .map(drop)
            .or_else(|| {
                aware.next(std::time::Duration::from_millis(50));
                None
            })
    });
    let state = cluster.state("/state");
    assert_eq!(
        (state["unreachable_slaves"].as_u64(), state["slaves"].as_array().map(Vec::len)),
        (Some(1), Some(0))
    );
    aware.tell(json!({"type": "RECONCILE", "reconcile": {"tasks": [{"task_id": {"value": "aware"}}]}}));
    aware.wait("an answer", |event| status(event, "aware", "TASK_UNREACHABLE"));

    cluster.agent_process().signal(Signal::CONT);
    let back = aware.wait("the task back", |event| status(event, "aware", "TASK_RUNNING"));
    assert_eq!(back["reason"], "REASON_AGENT_REREGISTERED", "{back}");
    // Mesos: tasks of others aren't killed any more, they re-appear.
    unaware.wait("the task back", |event| status(event, "unaware", "TASK_RUNNING"));
    assert_eq!(cluster.agent_id(), agent);
    aware.kill("aware");
    assert_eq!(aware.wait_for("aware", "TASK_KILLED")["state"], "TASK_KILLED");
    unaware.kill("unaware");
    unaware.wait_for("unaware", "TASK_KILLED");
}

#[test]
fn an_agent_that_is_marked_gone_ends_its_tasks_and_never_comes_back() {
    needs!();
    let mut cluster = Cluster::start();
    let agent = cluster.agent_id();
    let mut scheduler = cluster.scheduler();
    scheduler.start(|offer| task("gone", offer, shell("exec sleep 1000")));
    scheduler.wait_for("gone", "TASK_RUNNING");
    let call = json!({"type": "MARK_AGENT_GONE", "mark_agent_gone": {"agent_id": {"value": agent}}});
    let unknown = json!({"type": "MARK_AGENT_GONE", "mark_agent_gone": {"agent_id": {"value": "nobody"}}});
    assert_eq!(post(cluster.master(), "/api/v1", &unknown).status, 404);
    post(cluster.master(), "/api/v1", &call).expect(200);
    let end = scheduler.end_of("gone");
    assert_eq!(
        (end["state"].as_str(), end["reason"].as_str()),
        (Some("TASK_GONE_BY_OPERATOR"), Some("REASON_AGENT_REMOVED_BY_OPERATOR"))
    );
    // It is told to shut down.
    cluster.agent_process().wait();
    let scope = cluster.scope();
    assert_eq!(scope.cgroups(), Vec::<std::path::PathBuf>::new());
    eventually("its keepers have ended, too", || scope.processes().is_empty().then_some(()));
    // Again is as good as once.
    post(cluster.master(), "/api/v1", &call).expect(200);
    // A restart must not bring it back under that id, even after one of the master.
    cluster.kill_agent();
    cluster.kill_master();
    cluster.start_master();
    cluster.launch_agent();
    eventually("it comes as another agent, or not at all", || {
        let reply = integration::client::Request::new("GET", "/slaves").send(cluster.master()).ok()?;
        let ids: Vec<String> = (reply.status == 200).then(|| reply.json())?["slaves"]
            .as_array()?
            .iter()
            .filter_map(|agent| Some(agent["id"].as_str()?.to_owned()))
            .collect();
        assert!(!ids.contains(&agent), "{ids:?}");
        let ended = !cluster.agent_process().runs();
        (ended || !ids.is_empty()).then_some(())
    });
    let log = fs::read_to_string(cluster.path("agent.log")).unwrap_or_default();
    assert!(!log.contains("panicked"), "{log}");
}
