//! The wall clock jumps under running masters and agents: what is due comes when it is due by the clock that never
//! jumps, neither sooner nor later.

use std::path::Path;
use std::time::{Duration, Instant};

use integration::client::Next;
use integration::eventually::stays;
use integration::job::done;
use integration::task::{shell, task};
use integration::{Cluster, Options, OrFail, WallClock, eventually, needs, within};
use rustix::process::Signal;
use serde_json::json;

use super::{ends, nobody_panicked, works};

/// A cluster whose wall clock jumps as it is told.
fn on_a_clock(options: Options) -> (Cluster, WallClock) {
    let mut cluster = Cluster::empty(options);
    let clock = WallClock::new(cluster.path("clock"));
    cluster.options().master_env = clock.environment();
    cluster.options().agent_env = clock.environment();
    cluster.start_master();
    cluster.start_agent();
    cluster.agent_id();
    (cluster, clock)
}

#[track_caller]
fn year_of_last_line(log: &str) -> u32 {
    let last = log.lines().last().unwrap_or_default();
    last.get(..4).and_then(|year| year.parse().ok()).unwrap_or_else(|| panic!("a line with its time: {last}"))
}

#[test]
fn what_is_due_neither_comes_early_nor_stays_away() {
    needs!("faketime");
    let options = Options::default()
        .master("--agent_ping_timeout=1secs")
        .master("--max_agent_ping_timeouts=2")
        .master("--offer_timeout=1secs")
        .agent("--gc_delay=1hrs");
    let (mut cluster, clock) = on_a_clock(options);
    let agent = cluster.agent_id();
    let mut scheduler = cluster.scheduler();
    works(&mut scheduler, "before");
    let sandbox = std::fs::canonicalize(cluster.sandbox(scheduler.id(), "before")).unwrap();
    scheduler.start(|offer| task("survives", offer, shell("exec sleep 1000")));
    scheduler.wait_for("survives", "TASK_RUNNING");
    let mut years = Vec::new();
    for (number, by) in ["+10y", "-10y", "+1d", "-1d", "+0"].into_iter().enumerate() {
        clock.jump(by);
        works(&mut scheduler, &format!("task-{number}"));
        years.push(year_of_last_line(&cluster.master_process().log()));
        // An update that is not acknowledged is told again after ten seconds, not at once.
        scheduler.acknowledging = false;
        scheduler.start(|offer| task(&format!("told-{number}"), offer, shell("exit 0")));
        let first = scheduler.wait_for(&format!("told-{number}"), "TASK_STARTING");
        scheduler.acknowledging = true;
        // An offer that nobody uses comes and goes in its time.
        let offer = scheduler.offer();
        let start = Instant::now();
        scheduler.wait("its end", |event| (event["rescind"]["offer_id"] == offer["id"]).then_some(()));
        let took = start.elapsed();
        assert!(took < Duration::from_secs(4), "{by}: an offer stayed for {took:?}");
        let again = scheduler.seen.iter().filter(|e| e["update"]["status"]["uuid"] == first["uuid"]).count();
        assert_eq!(again, 1, "{by}");
        scheduler.acknowledge(&first);
        assert_eq!(scheduler.end_of(&format!("told-{number}"))["state"], "TASK_FINISHED", "{by}");
    }
    // So the jumps were seen, in both directions.
    assert!(years[0] > years[4] + 8 && years[1] + 8 < years[4], "{years:?}");
    let unheard = ["TASK_UNREACHABLE", "TASK_LOST"];
    assert!(scheduler.states("survives").iter().all(|state| !unheard.contains(&state.as_str())));
    assert_eq!(cluster.agent_id(), agent);
    assert!(sandbox.exists(), "{} was deleted early", sandbox.display());
    // Who is really gone is noticed, though it is ten years ago.
    clock.jump("-10y");
    cluster.agent_process().signal(Signal::STOP);
    let start = Instant::now();
    scheduler.wait_for("survives", "TASK_UNREACHABLE");
    assert!(start.elapsed() < Duration::from_secs(12), "noticed after {:?}", start.elapsed());
    clock.jump("+1d");
    cluster.agent_process().signal(Signal::CONT);
    scheduler.wait_for("survives", "TASK_RUNNING");
    scheduler.kill("survives");
    assert_eq!(scheduler.end_of("survives")["state"], "TASK_KILLED");
    nobody_panicked(&cluster);
}

#[test]
fn an_update_is_told_again_whatever_the_clock_says() {
    needs!("faketime");
    let (cluster, clock) = on_a_clock(Options::default());
    let mut scheduler = cluster.scheduler();
    scheduler.acknowledging = false;
    scheduler.start(|offer| task("told", offer, shell("exit 0")));
    let first = scheduler.wait_for("told", "TASK_STARTING");
    let start = Instant::now();
    clock.jump("-10y");
    // An offer that was declined for a while stays away for that while and no longer.
    let offer = scheduler.offer();
    scheduler.tell(json!({"type": "DECLINE", "decline": {
        "offer_ids": [offer["id"]], "filters": {"refuse_seconds": 3.0}}}));
    clock.jump("+1d");
    stays(
        Duration::from_secs(1),
        "no offer",
        || !matches!(scheduler.next(Duration::ZERO), Next::Record(event) if event["type"] == "OFFERS"),
    );
    clock.jump("-1d");
    let _ = scheduler.offer();
    assert!(start.elapsed() < Duration::from_secs(8), "offered again after {:?}", start.elapsed());
    let again = scheduler.wait_for("told", "TASK_STARTING");
    let took = start.elapsed();
    assert_eq!(first["uuid"], again["uuid"]);
    assert!(took > Duration::from_secs(8) && took < Duration::from_secs(20), "told again after {took:?}");
    scheduler.acknowledging = true;
    scheduler.acknowledge(&again);
    assert_eq!(scheduler.end_of("told")["state"], "TASK_FINISHED");
    nobody_panicked(&cluster);
}

#[test]
fn sandboxes_from_a_time_to_come_go_in_their_time() {
    needs!("faketime", "nsenter", "unshare");
    let (mut cluster, clock) = on_a_clock(
        // On a disk of its own, which is empty: the age at which sandboxes go depends on that.
        Options { disk_mb: Some(64), ..Options::default() }
            .agent("--gc_delay=4secs")
            .agent("--gc_disk_headroom=0"),
    );
    let mut scheduler = cluster.scheduler();
    // Jumps while it runs change nothing about it.
    works(&mut scheduler, "first");
    let real = |cluster: &Cluster, id: &str, task: &str| {
        let latest = cluster.sandbox(id, task);
        // A link that holds the whole path.
        std::fs::read_link(cluster.disk().outside(&latest)).or_fail(latest.display())
    };
    let exists = |cluster: &Cluster, path: &Path| cluster.disk().outside(path).exists();
    let first = real(&cluster, scheduler.id(), "first");
    let start = Instant::now();
    clock.jump("-10y");
    eventually("the sandbox is deleted", || (!exists(&cluster, &first)).then_some(()));
    assert!(start.elapsed() > Duration::from_secs(2), "after {:?}", start.elapsed());
    // Files that seem to have been written in ten years, found by the next life.
    let end = ends(&mut scheduler, "second", "exit 0");
    assert_eq!(end["state"], "TASK_FINISHED");
    let second = real(&cluster, scheduler.id(), "second");
    let meta = cluster.work_dir().join("meta").join(second.strip_prefix(cluster.work_dir()).unwrap());
    let updates = meta.join("tasks/second/task.updates");
    eventually("its end is on disk", || exists(&cluster, &meta.join("executor.sentinel")).then_some(()));
    cluster.kill_agent();
    let mut touch = cluster.disk().seen_by("touch");
    done(touch.args(["--no-create", "--date=now + 10 years"]).args([&updates, &second]));
    clock.jump("+0");
    cluster.start_agent();
    cluster.agent_id();
    works(&mut scheduler, "third");
    let third = real(&cluster, scheduler.id(), "third");
    for sandbox in [second, third] {
        within(Duration::from_secs(20), "the sandbox is deleted", || {
            (!exists(&cluster, &sandbox)).then_some(())
        });
    }
    nobody_panicked(&cluster);
}
