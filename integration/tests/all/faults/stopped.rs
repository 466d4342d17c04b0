//! Processes that stand still for longer than anybody waits for them, and go on afterwards.

use std::time::{Duration, Instant};

use integration::client::get;
use integration::leftovers::descriptors;
use integration::task::{shell, task};
use integration::{Cluster, Options, OrFail, eventually, needs};
use rustix::process::{Pid, Signal, kill_process};

use super::{nobody_panicked, runs, works};

/// Agents and masters that give each other up after about two seconds.
fn impatient() -> Options {
    Options::default().master("--agent_ping_timeout=1secs").master("--max_agent_ping_timeouts=2")
}

/// The keeper of the container of a task that has this word in its command line.
#[track_caller]
fn keeper_of(cluster: &Cluster, word: &str) -> Pid {
    let parent = |pid: u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    let found = eventually(format!("the keeper of {word}"), || {
        let processes = cluster.scope().processes();
        let mut pid = processes.iter().find(|(_, line)| line.contains(word))?.0;
        // The command, perhaps a shell around it, PID 1 of the container, and then its keeper.
        loop {
            pid = parent(pid)?;
            let (_, line) = processes.iter().find(|(known, _)| *known == pid)?;
            if line.contains("supervise") {
                return Some(pid);
            }
        }
    });
    Pid::from_raw(found.cast_signed()).or_fail("the id of a process")
}

#[test]
fn a_master_that_stands_still() {
    needs!();
    let mut cluster = Cluster::with(impatient());
    let agent = cluster.agent_id();
    let mut scheduler = cluster.scheduler();
    scheduler.start(|offer| task("survives", offer, shell("exec sleep 1000")));
    scheduler.wait_for("survives", "TASK_RUNNING");
    scheduler.start(|offer| task("ends-meanwhile", offer, shell("sleep 1; exit 5")));
    scheduler.wait_for("ends-meanwhile", "TASK_RUNNING");
    cluster.master_process().signal(Signal::STOP);
    let log = cluster.path("agent.log");
    eventually("the agent notices", || {
        std::fs::read_to_string(&log).ok()?.contains("No ping from the master").then_some(())
    });
    // It is asked while it has no master, and answers.
    assert!(cluster.agent_state("/state")["frameworks"].is_array());
    cluster.master_process().signal(Signal::CONT);
    let end = scheduler.end_of("ends-meanwhile");
    assert_eq!((end["state"].as_str(), scheduler.ends("ends-meanwhile")), (Some("TASK_FAILED"), 1), "{end}");
    assert_eq!(cluster.agent_id(), agent);
    works(&mut scheduler, "after");
    scheduler.kill("survives");
    assert_eq!(scheduler.end_of("survives")["state"], "TASK_KILLED");
    assert_eq!(scheduler.ends("survives"), 1);
    nobody_panicked(&cluster);
}

#[test]
fn a_scheduler_that_stands_still() {
    needs!();
    let cluster = Cluster::start();
    let go = cluster.path("go");
    let line = format!("until test -e {}; do sleep 0.05; done; echo all of it", go.display());
    let run = cluster.ask(&["run", "--command", &line]);
    runs(&cluster);
    run.signal(Signal::STOP);
    std::fs::write(&go, "").unwrap();
    // Others are served as if it were not there.
    let mut scheduler = cluster.scheduler();
    works(&mut scheduler, "other");
    eventually("its task has ended", || {
        let frameworks = cluster.state("/state")["frameworks"].as_array()?.clone();
        let task = frameworks.iter().find_map(|f| f["tasks"].as_array()?.first().cloned())?;
        (task["state"] == "TASK_FINISHED").then_some(())
    });
    run.signal(Signal::CONT);
    let ended = run.wait().expect(0);
    assert!(ended.stdout.contains("all of it"), "{ended:?}");
    nobody_panicked(&cluster);
}

#[test]
fn a_keeper_that_stands_still() {
    needs!();
    let mut cluster = Cluster::start();
    let mut scheduler = cluster.scheduler();
    works(&mut scheduler, "before");
    let before = cluster.inventory();
    let seconds = ["11111", "22222", "33333"];
    for id in seconds {
        scheduler.start(|offer| task(id, offer, shell(&format!("exec sleep {id}"))));
        scheduler.wait_for(id, "TASK_RUNNING");
    }
    let keepers = seconds.map(|id| keeper_of(&cluster, id));
    for keeper in keepers {
        kill_process(keeper, Signal::STOP).unwrap();
    }
    // Whoever asks what its container uses is answered, however often, and nothing piles up. All are waited for together:
    // each alone takes a second to say nothing.
    let agent = cluster.agent_process().pid();
    let open = descriptors(agent);
    for path in ["/monitor/statistics", "/containers", "/monitor/statistics"] {
        get(cluster.agent(), path).expect(200);
    }
    for path in ["/containers", "/metrics"] {
        let asked = Instant::now();
        get(cluster.agent(), path).expect(200);
        let longest = Duration::from_millis(2500);
        assert!(asked.elapsed() < longest, "{path}: {:?} for {} of them", asked.elapsed(), seconds.len());
    }
    eventually("descriptors are closed", || (descriptors(agent) <= open + 3).then_some(()));
    // A kill waits for its keeper, others don't.
    scheduler.kill(seconds[0]);
    works(&mut scheduler, "meanwhile");
    assert_eq!(scheduler.ends(seconds[0]), 0);
    kill_process(keepers[0], Signal::CONT).unwrap();
    assert_eq!(scheduler.end_of(seconds[0])["state"], "TASK_KILLED");
    // A new life of the agent goes on with the others, and waits for nobody before it serves.
    cluster.kill_agent();
    cluster.start_agent();
    cluster.agent_id();
    works(&mut scheduler, "in-another-life");
    for (id, keeper) in seconds.iter().zip(keepers).skip(1) {
        scheduler.kill(id);
        kill_process(keeper, Signal::CONT).unwrap();
        assert_eq!(scheduler.end_of(id)["state"], "TASK_KILLED");
        assert_eq!(scheduler.ends(id), 1);
    }
    works(&mut scheduler, "after");
    cluster.assert_nothing_beyond(&before);
    nobody_panicked(&cluster);
}
