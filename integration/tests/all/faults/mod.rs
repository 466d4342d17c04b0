//! Disks that fail, clocks that jump, peers that stall or die: nobody panics, nobody waits for ever, everybody is told
//! what failed and where, and once it is over all goes on as before.

mod broken;
mod clocks;
mod full;
mod keeper_clock;
mod lines;
mod logs;
mod output;
mod registry;
mod registry_later;
mod stopped;
mod task_output;

use integration::client::Request;
use integration::task::{shell, task};
use integration::{Cluster, Scheduler, eventually};
use serde_json::Value;

/// Runs a line to its end on a host without an image; the last status.
#[track_caller]
fn ends(scheduler: &mut Scheduler, id: &str, line: &str) -> Value {
    scheduler.start(|offer| task(id, offer, shell(line)));
    let end = scheduler.end_of(id);
    assert_eq!(scheduler.ends(id), 1, "{:?}", scheduler.states(id));
    end
}

/// A task runs as if nothing had ever happened.
#[track_caller]
fn works(scheduler: &mut Scheduler, id: &str) {
    let end = ends(scheduler, id, "echo works");
    assert_eq!(end["state"], "TASK_FINISHED", "{end}");
}

/// The end of a task that a failing disk has ended: what failed, on which path below the work folder, and why.
#[track_caller]
fn tells_of_disk(cluster: &Cluster, end: &Value, reason: &str) {
    let message = end["message"].as_str().unwrap_or_default();
    let dir = cluster.path("");
    let place = dir.to_string_lossy();
    assert!(message.contains(reason) && message.contains(place.as_ref()), "{end}");
}

/// Agents that are connected; none while the master can't tell.
fn active(cluster: &Cluster) -> Option<usize> {
    let reply =
        Request::new("GET", "/slaves").send(cluster.master()).ok().filter(|r| r.status == 200)?.json();
    Some(reply["slaves"].as_array()?.iter().filter(|slave| slave["active"] == true).count())
}

/// Some task runs, whoever has launched it.
#[track_caller]
fn runs(cluster: &Cluster) {
    eventually("it runs", || {
        let frameworks = cluster.state("/state")["frameworks"].as_array()?.clone();
        let mut tasks = frameworks.iter().filter_map(|f| f["tasks"].as_array()).flatten();
        tasks.any(|task| task["state"] == "TASK_RUNNING").then_some(())
    });
}

/// No log of the cluster tells of a panic.
#[track_caller]
fn nobody_panicked(cluster: &Cluster) {
    for name in ["master.log", "agent.log"] {
        let log = std::fs::read_to_string(cluster.path(name)).unwrap_or_default();
        if let Some(at) = log.find("panicked") {
            panic!("{name}: {}", &log[at.saturating_sub(200)..(at + 800).min(log.len())]);
        }
    }
}
