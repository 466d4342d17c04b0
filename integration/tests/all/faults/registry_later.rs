//! The master's disk fails later than at its start: while an agent is given up, marked gone, forgotten, or while all of it
//! can only be read. What was told to anybody is true after a restart.

use std::time::Duration;

use integration::client::Request;
use integration::task::{shell, task};
use integration::{Cluster, Fault, Options, Scheduler, eventually, needs, within};
use serde_json::{Value, json};

use super::{active, nobody_panicked, works};

/// Enough for an agent to be given up, and the master to end of it.
const LONG: Duration = Duration::from_secs(25);

fn impatient() -> Options {
    Options::default().master("--agent_ping_timeout=1secs").master("--max_agent_ping_timeouts=2")
}

fn slaves(cluster: &Cluster) -> Option<Value> {
    let reply = Request::new("GET", "/slaves").send(cluster.master()).ok()?;
    (reply.status == 200).then(|| reply.json())
}

/// Whether the agent is among those that are expected back.
fn is_expected(cluster: &Cluster, agent: &str) -> bool {
    let slaves = eventually("the master leads", || slaves(cluster));
    let lists = ["slaves", "recovered_slaves"].map(|name| slaves[name].as_array().cloned());
    lists.into_iter().flatten().flatten().any(|known| known["id"] == agent)
}

/// The master ended, and said why.
#[track_caller]
fn says_why(cluster: &mut Cluster, reasons: &[&str]) {
    let status = cluster.master_process().wait();
    let (log, path) = (cluster.master_process().log(), cluster.path("master").to_string_lossy().into_owned());
    let last: Vec<&str> = log.lines().rev().take(3).collect();
    assert!(!status.success(), "{last:?}");
    assert!(
        reasons.iter().any(|why| last.join(" ").contains(why)) && last.join(" ").contains(&path),
        "{last:?}"
    );
}

/// What became of an agent whose end the registry had to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It was told, and so was everybody else.
    Told,
    /// The master ended instead.
    Ended,
}

/// How an agent's end comes.
#[derive(Clone, Copy, Debug)]
enum End {
    Unreachable,
    Gone,
}

impl End {
    /// Brings it about, and waits for what comes of it.
    #[track_caller]
    fn come(self, cluster: &mut Cluster, agent: &str) -> Outcome {
        match self {
            End::Unreachable => cluster.kill_agent(),
            End::Gone => {
                let call =
                    json!({"type": "MARK_AGENT_GONE", "mark_agent_gone": {"agent_id": {"value": agent}}});
                // Who ends doesn't answer.
                if Request::post("/api/v1", &call)
                    .send(cluster.master())
                    .is_ok_and(|reply| reply.status == 200)
                {
                    return Outcome::Told;
                }
            }
        }
        within(LONG, "it is told, or the master ends", || {
            if !cluster.master_process().runs() {
                return Some(Outcome::Ended);
            }
            let slaves = slaves(cluster)?;
            let there = slaves["slaves"].as_array()?.iter().any(|known| known["id"] == agent);
            (!there).then_some(Outcome::Told)
        })
    }
}

/// The disk is good again. What was told is so; and all goes on, with whatever id the agent has now.
#[track_caller]
fn goes_on(
    cluster: &mut Cluster,
    end: End,
    agent: &str,
    outcome: Outcome,
    scheduler: &mut Scheduler,
    id: &str,
) {
    cluster.kill_agent();
    cluster.kill_master();
    cluster.start_master();
    if outcome == Outcome::Told {
        assert!(!is_expected(cluster, agent), "{agent} was told to be gone, and is expected back");
    }
    cluster.launch_agent();
    let comes_back = within(LONG, "the agent is registered, or refused", || {
        let there = active(cluster)? > 0;
        (there || !cluster.agent_process().runs()).then_some(there)
    });
    if !comes_back {
        // It was marked gone, has been told so, and can only come as another one.
        assert!(matches!(end, End::Gone), "{}", cluster.agent_process().log());
        cluster.kill_agent();
        cluster.start_agent();
    }
    let now = cluster.agent_id();
    match (end, outcome) {
        (End::Unreachable, _) => assert_eq!(now, agent),
        (End::Gone, Outcome::Told) => assert_ne!(now, agent),
        // Nobody was told: either is right.
        (End::Gone, Outcome::Ended) => {}
    }
    scheduler.resubscribe();
    works(scheduler, id);
}

/// Lets the n-th call on the registry fail while an agent's end is written, for each n until there are no more.
#[track_caller]
fn at_each_call(end: End, calls: &str, error: &str, reason: &str) {
    let mut cluster = Cluster::with(impatient());
    let mut scheduler = cluster.scheduler();
    let registry = cluster.path("master").join("registry.redb");
    let mut ended = 0;
    for number in 1..=12 {
        let agent = cluster.agent_id();
        let when = number.to_string();
        let fault = Fault { calls, error, when: &when, path: Some(&registry) };
        let broken = fault.of(cluster.master_process().pid(), &cluster.path("strace.log"));
        let outcome = end.come(&mut cluster, &agent);
        if outcome == Outcome::Ended {
            says_why(&mut cluster, &[reason]);
            ended += 1;
        }
        drop(broken);
        goes_on(&mut cluster, end, &agent, outcome, &mut scheduler, &format!("after-{number}"));
        if outcome == Outcome::Told && number > 1 {
            break;
        }
    }
    assert!(ended > 0, "no {calls} was noticed");
    println!("{end:?} {calls}: {ended} masters ended");
    nobody_panicked(&cluster);
}

#[test]
fn each_write_that_fails_when_an_agent_is_given_up() {
    needs!("strace");
    at_each_call(End::Unreachable, "pwrite64", "ENOSPC", "No space left on device");
}

#[test]
fn each_write_that_fails_when_an_agent_is_marked_gone() {
    needs!("strace");
    at_each_call(End::Gone, "pwrite64", "EIO", "Input/output error");
}

#[test]
fn each_sync_that_fails_when_an_agent_is_marked_gone() {
    needs!("strace");
    at_each_call(End::Gone, "fdatasync,fsync", "EIO", "Input/output error");
}

#[test]
fn a_full_disk_when_agents_are_given_up_and_marked_gone() {
    needs!("nsenter", "unshare");
    for end in [End::Unreachable, End::Gone] {
        for pages in [0, 2] {
            let mut cluster = Cluster::with(Options { master_disk_mb: Some(16), ..impatient() });
            let mut scheduler = cluster.scheduler();
            let agent = cluster.agent_id();
            cluster.master_disk().leave_pages(pages);
            let outcome = end.come(&mut cluster, &agent);
            if outcome == Outcome::Ended {
                says_why(&mut cluster, &["No space left on device"]);
            }
            println!("{end:?} with {pages} pages: {outcome:?}");
            cluster.master_disk().make_room();
            goes_on(&mut cluster, end, &agent, outcome, &mut scheduler, "after");
            nobody_panicked(&cluster);
        }
    }
}

/// Agents that are gone are forgotten after a while, which is written, too.
#[test]
fn a_full_disk_and_failing_writes_when_old_agents_are_forgotten() {
    needs!("nsenter", "unshare", "strace");
    for fault in [None, Some(("pwrite64", "1+")), Some(("fdatasync,fsync", "1+"))] {
        let options = Options { master_disk_mb: Some(16), ..impatient() };
        let mut cluster = Cluster::with(
            options.master("--registry_gc_interval=3secs").master("--registry_max_agent_age=1secs"),
        );
        let agent = cluster.agent_id();
        assert_eq!(End::Unreachable.come(&mut cluster, &agent), Outcome::Told);
        let registry = cluster.path("master").join("registry.redb");
        let broken = fault.map(|(calls, when)| {
            let fault = Fault { calls, error: "ENOSPC", when, path: Some(&registry) };
            fault.of(cluster.master_process().pid(), &cluster.path("strace.log"))
        });
        if broken.is_none() {
            cluster.master_disk().leave_pages(0);
        }
        // Either it goes on without them, or it ends and says why: nothing else.
        let ended = within(LONG, "they are forgotten, or the master ends", || {
            if !cluster.master_process().runs() {
                return Some(true);
            }
            let reply = Request::new("GET", "/state").send(cluster.master()).ok()?;
            // 503 from one that is about to end.
            (reply.status == 200 && reply.json()["unreachable_slaves"] == 0).then_some(false)
        });
        if ended {
            says_why(&mut cluster, &["No space left on device"]);
        }
        assert!(ended || fault.is_none(), "{fault:?} was not noticed");
        drop(broken);
        cluster.master_disk().make_room();
        cluster.kill_master();
        cluster.start_master();
        cluster.start_agent();
        cluster.agent_id();
        works(&mut cluster.scheduler(), "after");
        nobody_panicked(&cluster);
    }
}

#[test]
fn a_master_on_a_disk_that_can_be_read_only() {
    needs!("nsenter", "unshare");
    let mut cluster = Cluster::with(Options { master_disk_mb: Some(16), ..impatient() });
    let agent = cluster.agent_id();
    let mut scheduler = cluster.scheduler();
    scheduler.start(|offer| task("stays", offer, shell("exec sleep 1000")));
    scheduler.wait_for("stays", "TASK_RUNNING");
    // Nothing that it needs is opened by its path any more.
    cluster.master_disk().read_only();
    works(&mut scheduler, "read-only");
    cluster.kill_agent();
    scheduler.wait_for("stays", "TASK_UNREACHABLE");
    cluster.start_agent();
    scheduler.wait_for("stays", "TASK_RUNNING");
    cluster.kill_master();
    cluster.launch_master();
    says_why(&mut cluster, &["Read-only file system"]);
    cluster.master_disk().writable();
    cluster.start_master();
    assert!(is_expected(&cluster, &agent), "{agent} is forgotten");
    scheduler.resubscribe();
    assert_eq!(cluster.agent_id(), agent);
    works(&mut scheduler, "after");
    scheduler.kill("stays");
    assert_eq!(scheduler.end_of("stays")["state"], "TASK_KILLED");
    nobody_panicked(&cluster);
}

#[test]
fn a_new_master_on_a_disk_that_can_be_read_only() {
    needs!("nsenter", "unshare");
    let mut cluster = Cluster::empty(Options { master_disk_mb: Some(16), ..Options::default() });
    cluster.master_disk().read_only();
    cluster.launch_master();
    says_why(&mut cluster, &["Read-only file system"]);
    cluster.master_disk().writable();
    cluster.start_master();
    cluster.start_agent();
    cluster.agent_id();
    works(&mut cluster.scheduler(), "after");
    nobody_panicked(&cluster);
}
