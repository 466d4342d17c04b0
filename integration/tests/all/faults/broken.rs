//! System calls that fail in the agent, in keepers and in what starts containers: each kind, at one time or another.

use std::path::PathBuf;
use std::time::Duration;

use integration::task::{framework, shell, task};
use integration::{Cluster, Fault, Options, Scheduler, eventually, needs, within};
use serde_json::json;

use super::{active, ends, nobody_panicked, works};

/// What the kernel says for an error.
fn words(error: &str) -> &'static str {
    match error {
        "EIO" => "Input/output error",
        "ENOSPC" => "No space left on device",
        "EROFS" => "Read-only file system",
        other => panic!("{other}"),
    }
}

/// The one keeper of a cluster.
#[track_caller]
fn keeper(cluster: &Cluster) -> u32 {
    eventually("one keeper", || {
        let processes = cluster.scope().processes();
        let mut keepers = processes.iter().filter(|(_, line)| line.contains("supervise"));
        keepers.next().filter(|_| keepers.next().is_none()).map(|(pid, _)| *pid)
    })
}

/// What fails while a task is launched.
const LAUNCH: [(&str, &str, &str); 16] = [
    ("fsync,fdatasync", "EIO", "1"),
    ("fsync,fdatasync", "EIO", "2+"),
    ("rename,renameat,renameat2", "EIO", "1"),
    ("rename,renameat,renameat2", "ENOSPC", "2+"),
    ("mkdir,mkdirat", "ENOSPC", "1"),
    ("mkdir,mkdirat", "EROFS", "2+"),
    ("symlink,symlinkat", "ENOSPC", "1"),
    ("fallocate", "ENOSPC", "1+"),
    ("ftruncate", "EIO", "1+"),
    ("chmod,fchmod,fchmodat", "EROFS", "1+"),
    ("chown,fchown,fchownat", "EROFS", "1+"),
    ("openat,open", "EIO", "1"),
    ("openat,open", "ENOSPC", "4"),
    ("openat,open", "EROFS", "9"),
    ("openat,open", "EIO", "20"),
    ("unlink,unlinkat,rmdir", "EIO", "1"),
];

#[test]
fn calls_that_fail_while_a_task_is_launched() {
    needs!("strace");
    let mut cluster = Cluster::start();
    let mut scheduler = cluster.scheduler();
    // The same without checkpoints, which are what fails first otherwise.
    let mut info = framework();
    info["checkpoint"] = false.into();
    let mut unsaved = Scheduler::subscribe(cluster.master(), info);
    unsaved.tell(json!({"type": "SUPPRESS"}));
    works(&mut scheduler, "before");
    let before = cluster.inventory();
    let failed = launches_that_fail(&mut cluster, &mut scheduler);
    assert!(failed >= 8, "only {failed} launches failed");
    scheduler.tell(json!({"type": "SUPPRESS"}));
    unsaved.tell(json!({"type": "REVIVE"}));
    let failed = launches_that_fail(&mut cluster, &mut unsaved);
    assert!(failed >= 5, "only {failed} launches failed");
    // What could not be removed goes with the next start at the latest.
    cluster.kill_agent();
    cluster.start_agent();
    cluster.agent_id();
    works(&mut unsaved, "in-another-life");
    cluster.assert_nothing_beyond(&before);
    nobody_panicked(&cluster);
}

/// Lets calls fail while tasks are launched; how many tasks failed.
#[track_caller]
fn launches_that_fail(cluster: &mut Cluster, scheduler: &mut Scheduler) -> usize {
    let mut failed = 0;
    for (number, (calls, error, when)) in LAUNCH.into_iter().enumerate() {
        let fault = Fault { calls, error, when, path: None };
        let broken = fault.of(cluster.agent_process().pid(), &cluster.path("strace.log"));
        let end = ends(scheduler, &format!("faulty-{number}"), "exit 0");
        drop(broken);
        let (state, message) =
            (end["state"].as_str().unwrap_or_default(), end["message"].as_str().unwrap_or_default());
        println!("{calls} {error} {when}: {state} {message}");
        if state != "TASK_FINISHED" {
            failed += 1;
            assert!(state == "TASK_FAILED" || state == "TASK_DROPPED", "{calls} {when}: {end}");
            // A program that lost its own files says so by how it ends.
            let ran = message.contains("exited with") || message.contains("terminated");
            assert!(ran || message.contains(words(error)), "{calls} {when}: {end}");
        }
        works(scheduler, &format!("after-{number}"));
    }
    failed
}

#[test]
fn calls_that_fail_in_a_keeper_while_its_task_ends() {
    needs!("strace");
    let mut cluster = Cluster::start();
    let mut scheduler = cluster.scheduler();
    works(&mut scheduler, "before");
    let before = cluster.inventory();
    let faults = [
        ("openat,open", "ENOSPC", "1+"),
        ("write,pwrite64", "ENOSPC", "1+"),
        ("fsync,fdatasync", "EIO", "1+"),
        ("rename,renameat,renameat2", "EIO", "1+"),
        ("unlink,unlinkat,rmdir", "EIO", "1+"),
    ];
    for (number, (calls, error, when)) in faults.into_iter().enumerate() {
        let (id, go) = (format!("faulty-{number}"), cluster.path(&format!("go-{number}")));
        let line = format!("until test -e {}; do sleep 0.05; done; exit 7", go.display());
        scheduler.start(|offer| task(&id, offer, shell(&line)));
        scheduler.wait_for(&id, "TASK_RUNNING");
        let fault = Fault { calls, error, when, path: None };
        let broken = fault.of(keeper(&cluster), &cluster.path("strace.log"));
        std::fs::write(&go, "").unwrap();
        let end = scheduler.end_of(&id);
        // Whether it is on disk or not: how a task ended is told while anybody knows it.
        assert_eq!(end["state"], "TASK_FAILED", "{calls}: {end}");
        assert!(
            end["message"].as_str().is_some_and(|m| m.contains("exited with status 7")),
            "{calls}: {end}"
        );
        drop(broken);
        works(&mut scheduler, &format!("after-{number}"));
    }
    cluster.kill_agent();
    cluster.start_agent();
    cluster.agent_id();
    cluster.assert_nothing_beyond(&before);
    nobody_panicked(&cluster);
}

#[test]
fn a_checkpoint_that_can_not_be_written_when_a_task_ends() {
    needs!("strace");
    let mut cluster = Cluster::start();
    let mut scheduler = cluster.scheduler();
    works(&mut scheduler, "before");
    let before = cluster.inventory();
    let faults = [("write", "ENOSPC"), ("fdatasync", "EIO"), ("openat", "EIO"), ("ftruncate,write", "EIO")];
    for (number, (calls, error)) in faults.into_iter().enumerate() {
        let id = format!("task-{number}");
        scheduler.start(|offer| task(&id, offer, shell("exec sleep 1000")));
        scheduler.wait_for(&id, "TASK_RUNNING");
        let sandbox = std::fs::canonicalize(cluster.sandbox(scheduler.id(), &id)).unwrap();
        let below = sandbox.strip_prefix(cluster.work_dir()).unwrap();
        let updates: PathBuf =
            cluster.work_dir().join("meta").join(below).join("tasks").join(&id).join("task.updates");
        assert!(updates.is_file(), "{}", updates.display());
        let fault = Fault { calls, error, when: "1+", path: Some(&updates) };
        let broken = fault.of(cluster.agent_process().pid(), &cluster.path("strace.log"));
        scheduler.kill(&id);
        assert_eq!(scheduler.end_of(&id)["state"], "TASK_KILLED");
        drop(broken);
        // Once the disk takes it, it is written.
        eventually("the end is on disk", || {
            let run = updates.ancestors().nth(3)?;
            run.join("executor.sentinel").exists().then_some(())
        });
    }
    cluster.kill_agent();
    cluster.start_agent();
    cluster.agent_id();
    works(&mut scheduler, "in-another-life");
    for number in 0..faults.len() {
        let id = format!("task-{number}");
        assert_eq!(scheduler.ends(&id), 1, "{:?}", scheduler.states(&id));
    }
    cluster.assert_nothing_beyond(&before);
    nobody_panicked(&cluster);
}

#[test]
fn calls_that_fail_while_an_agent_starts() {
    needs!("strace");
    // The whole life of an agent under it: on every path, from the first call on.
    let faults = [
        ("mkdir,mkdirat", "ENOSPC", "1"),
        ("mkdir,mkdirat", "EROFS", "3"),
        ("fsync,fdatasync", "EIO", "1"),
        ("fsync,fdatasync", "EIO", "2+"),
        ("rename,renameat,renameat2", "EIO", "1"),
        ("rename,renameat,renameat2", "ENOSPC", "2+"),
    ];
    let mut cluster = Cluster::empty(Options::default());
    cluster.start_master();
    let mut ended = 0;
    for (calls, error, when) in faults {
        cluster.options().agent_through = Fault { calls, error, when, path: None }.starting();
        cluster.launch_agent();
        let stays = within(Duration::from_secs(20), "it registers or ends", || {
            let active = active(&cluster)? > 0;
            (active || !cluster.agent_process().runs()).then_some(active)
        });
        let log = cluster.agent_process().log();
        if !stays {
            ended += 1;
            assert!(!cluster.agent_process().wait().success());
            let last = log.lines().last().unwrap_or_default();
            assert!(
                last.contains(words(error)) && last.contains(cluster.path("").to_str().unwrap()),
                "{log}"
            );
        }
        println!("{calls} {error} {when}: {}", if stays { "registered" } else { "ended" });
        cluster.kill_agent();
        eventually("the master knows that it is gone", || (active(&cluster)? == 0).then_some(()));
    }
    assert!(ended >= 3, "only {ended} agents ended");
    cluster.options().agent_through.clear();
    cluster.start_agent();
    cluster.agent_id();
    works(&mut cluster.scheduler(), "afterwards");
    nobody_panicked(&cluster);
}
