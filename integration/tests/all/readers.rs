//! Clients that ask for much and read nothing of it: they cost a bounded amount of memory, are cut in time, and hold up
//! nobody.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use integration::client::{JSON, get, post};
use integration::eventually::PATIENCE;
use integration::leftovers::descriptors;
use integration::scheduler::Scheduler;
use integration::task::{shell, task};
use integration::vitals::{SOON, deaf, has_let_go, memory};
use integration::{Cluster, Options, OrFail, needs, within};
use serde_json::json;

/// Clients of one kind at once.
const MANY: usize = 130;
/// What a server may grow by for them, in MB: a budget of 256, buffers that are larger than what is in them, and what a
/// few answers cost while they are made. Without a budget it would be three times as much.
const MOST_MB: u64 = 640;
/// Downloads at once: more than there are threads that may wait for the disk.
const FILES: usize = 600;
/// Size of a file that is downloaded: more than any buffer on the way holds.
const FILE_MB: u64 = 8;

/// A task that runs, whose description makes every answer that has it larger by some MB.
#[track_caller]
fn large(scheduler: &mut Scheduler, id: &str, line: &str) {
    scheduler.start(|offer| {
        let mut task = task(id, offer, shell(line));
        task["labels"] = json!({"labels": [{"key": "k", "value": "v".repeat(3 << 20)}]});
        task
    });
    scheduler.wait_for(id, "TASK_RUNNING");
}

/// Others get their answers, large and small, while clients read nothing.
#[track_caller]
fn serves(to: SocketAddr) {
    for path in ["/health", "/version", "/metrics/snapshot", "/state", "/files/debug"] {
        let start = Instant::now();
        get(to, path).expect(200);
        // A large answer may wait until those who read nothing are cut to make room for it.
        assert!(start.elapsed() < 5 * SOON, "{path} of {to} took {:?}", start.elapsed());
    }
}

#[test]
fn clients_that_never_read_large_answers() {
    needs!();
    let mut cluster = Cluster::start();
    let mut scheduler = cluster.scheduler();
    for number in 0..2 {
        large(&mut scheduler, &format!("large-{number}"), "exec sleep 1000");
    }
    let (to, pid, many) = (cluster.master(), cluster.master_process().pid(), MANY);
    let size = get(to, "/state").expect(200).body.len();
    assert!(size > 6 << 20, "/state of {to} has {size} bytes");
    let (before, open) = (memory(pid), descriptors(pid));
    let get_state = json!({"type": "GET_STATE"}).to_string();
    let mut stalled = Vec::new();
    for number in 0..many {
        stalled.push(match number % 2 {
            0 => deaf(to, "GET", "/state", JSON, ""),
            _ => deaf(to, "POST", "/api/v1", JSON, &get_state),
        });
        // Half of them have come: others are served, and again at the end.
        if number == many / 2 || number == many - 1 {
            serves(to);
            let grown = memory(pid).saturating_sub(before);
            assert!(grown < MOST_MB, "{number} clients of {to} cost {grown} MB");
        }
    }
    // Each is cut, and none of them long after it stopped reading.
    within(Duration::from_secs(60), format!("{to} has cut them all"), || {
        let grown = memory(pid).saturating_sub(before);
        assert!(grown < MOST_MB, "{to} has grown by {grown} MB");
        (descriptors(pid) <= open + 8).then_some(())
    });
    // The answer is larger than all buffers on the way: an end of its connection is none of the answer.
    drop(stalled);
    serves(to);
    for number in 0..2 {
        scheduler.kill(&format!("large-{number}"));
        assert_eq!(scheduler.end_of(&format!("large-{number}"))["state"], "TASK_KILLED");
    }
}

#[test]
fn clients_that_never_read_their_downloads() {
    needs!();
    let mut cluster = Cluster::empty(Options::default());
    let log = cluster.path("large.log");
    File::create(&log).and_then(|file| file.set_len(FILE_MB << 20)).or_fail(log.display());
    cluster.options().master.push(format!("--external_log_file={}", log.display()));
    cluster.start_master();
    cluster.start_agent();
    cluster.agent_id();
    let mut scheduler = cluster.scheduler();
    let line = format!("truncate -s {FILE_MB}M large.bin; exec sleep 1000");
    scheduler.start(|offer| task("large", offer, shell(&line)));
    scheduler.wait_for("large", "TASK_RUNNING");
    let sandbox = format!("/frameworks/{}/executors/large/runs/latest/large.bin", scheduler.id());
    let (master, agent) = (cluster.master(), cluster.agent());
    let sides = [
        (master, cluster.master_process().pid(), "/master/log".to_owned()),
        (agent, cluster.agent_process().pid(), sandbox),
    ];
    let mut all = Vec::new();
    for (to, pid, path) in &sides {
        let path = format!("/files/download?path={path}");
        within(PATIENCE, "the whole file", || {
            (get(*to, &path).body.len() == (FILE_MB as usize) << 20).then_some(())
        });
        let (before, open) = (memory(*pid), descriptors(*pid));
        let stalled: Vec<TcpStream> = (0..FILES).map(|_| deaf(*to, "GET", &path, JSON, "")).collect();
        within(PATIENCE, "all files are open", || (descriptors(*pid) >= open + 2 * FILES).then_some(()));
        serves(*to);
        let grown = memory(*pid).saturating_sub(before);
        assert!(grown < MOST_MB, "downloads from {to} cost {grown} MB");
        println!("{to}: all stall");
        all.push((stalled, *pid, open));
    }
    scheduler.start(|offer| task("meanwhile", offer, shell("true")));
    assert_eq!(scheduler.end_of("meanwhile")["state"], "TASK_FINISHED");
    for (stalled, pid, open) in all {
        within(Duration::from_secs(60), "they are cut", || (descriptors(pid) <= open + 8).then_some(()));
        drop(stalled);
        has_let_go(pid, open);
    }
    scheduler.kill("large");
    scheduler.end_of("large");
    post(agent, "/api/v1", &json!({"type": "GET_HEALTH"})).expect(200);
}
