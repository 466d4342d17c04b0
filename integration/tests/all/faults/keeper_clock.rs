//! The wall clock jumps by an hour under keepers of containers, which have no environment by which libfaketime could be
//! told: a kill's grace period and a task's longest time are as long as they should be, and an end comes after its start.

use std::time::{Duration, Instant};

use integration::task::{shell, task};
use integration::{Cluster, HostClock, Options, OrFail, Scheduler, eventually, needs};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::nobody_panicked;

const HOUR: i64 = 3600;
/// What a machine of tests may need on top of what a task is given.
const SLACK: Duration = Duration::from_secs(6);

fn on_a_clock() -> (Cluster, HostClock) {
    let mut cluster = Cluster::empty(Options::default());
    let clock = HostClock::new(cluster.path("clock"));
    cluster.options().agent_through = clock.through();
    cluster.start_master();
    cluster.start_agent();
    cluster.agent_id();
    (cluster, clock)
}

/// Launches a line that ignores SIGTERM, with fields of its own; when it ran.
#[track_caller]
fn stubborn(scheduler: &mut Scheduler, id: &str, fields: &Value) -> Instant {
    scheduler.start(|offer| {
        let mut task = task(id, offer, shell("trap '' TERM; date +%s > now; while :; do sleep 0.1; done"));
        for (name, value) in fields.as_object().into_iter().flatten() {
            task[name] = value.clone();
        }
        task
    });
    scheduler.wait_for(id, "TASK_RUNNING");
    Instant::now()
}

#[track_caller]
fn took(what: &str, since: Instant, least: Duration) {
    let took = since.elapsed();
    assert!(took + Duration::from_millis(500) >= least && took < least + SLACK, "{what}: {took:?}");
}

/// Seconds since 1970 by the real clock.
fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).or_fail("the time");
    i64::try_from(since.as_secs()).or_fail("seconds")
}

#[test]
fn a_grace_period_is_as_long_as_it_should_be() {
    needs!("unshare", "cc");
    let (cluster, clock) = on_a_clock();
    let mut scheduler = cluster.scheduler();
    let grace = Duration::from_secs(3);
    let fields = json!({"kill_policy": {"grace_period": {"nanoseconds": 3_000_000_000_u64}}});
    for (number, by) in [HOUR, -HOUR, 0].into_iter().enumerate() {
        let id = format!("killed-{number}");
        stubborn(&mut scheduler, &id, &fields);
        let start = Instant::now();
        scheduler.kill(&id);
        scheduler.wait_for(&id, "TASK_KILLING");
        clock.jump(by);
        assert_eq!(scheduler.end_of(&id)["state"], "TASK_KILLED");
        took(&id, start, grace);
    }
    nobody_panicked(&cluster);
}

#[test]
fn a_longest_time_is_as_long_as_it_should_be_and_an_end_comes_after_its_start() {
    needs!("unshare", "cc");
    let (mut cluster, clock) = on_a_clock();
    let mut scheduler = cluster.scheduler();
    let longest = Duration::from_secs(3);
    let fields = json!({
        "max_completion_time": {"nanoseconds": 3_000_000_000_u64},
        "kill_policy": {"grace_period": {"nanoseconds": 0}},
    });
    let mut before = 0;
    for (number, by) in [HOUR, -HOUR].into_iter().enumerate() {
        let id = format!("limited-{number}");
        let start = stubborn(&mut scheduler, &id, &fields);
        // So the task's own clock is the one that jumps.
        let sandbox = std::fs::canonicalize(cluster.sandbox(scheduler.id(), &id)).unwrap();
        let told = eventually("its own time", || {
            std::fs::read_to_string(sandbox.join("now")).ok()?.trim().parse::<i64>().ok()
        });
        assert!((told - now() - before).abs() < 60, "{told} when it is {} off by {before}", now());
        clock.jump(by);
        before = by;
        // It would take the record away.
        cluster.agent_process().signal(Signal::STOP);
        let (from, to) = eventually("the record of its exit", || record(&cluster));
        took(&id, start, longest);
        cluster.agent_process().signal(Signal::CONT);
        let end = scheduler.end_of(&id);
        assert_eq!(end["reason"], "REASON_MAX_COMPLETION_TIME_REACHED", "{end}");
        let ran = Duration::from_millis(to.saturating_sub(from));
        assert!(from < to && ran >= longest - Duration::from_millis(500), "from {from} to {to}");
        assert!(ran < longest + SLACK, "from {from} to {to}");
        // Statuses are in the order of their times, by whatever clock.
        let times: Vec<f64> = scheduler
            .seen
            .iter()
            .map(|event| &event["update"]["status"])
            .filter(|status| status["task_id"]["value"] == id.as_str() && status.get("uuid").is_some())
            .filter_map(|status| status["timestamp"].as_f64())
            .collect();
        assert!(times.len() >= 3 && times.is_sorted(), "{times:?}");
    }
    nobody_panicked(&cluster);
}

/// The record of an exit, which goes together with its container: when that started and finished.
fn record(cluster: &Cluster) -> Option<(u64, u64)> {
    let folders = std::fs::read_dir(cluster.runtime_dir().join("containers")).ok()?.flatten();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.path()).into_iter().flatten().flatten());
    files.into_iter().find_map(|file| {
        let record: Value = serde_json::from_str(&std::fs::read_to_string(file.path()).ok()?).ok()?;
        let time = |name: &str| record["exited"][name].as_u64();
        Some((time("started_at_ms")?, time("finished_at_ms")?))
    })
}
