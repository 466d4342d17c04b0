//! The master's disk fails: it never acts on what it could not write, ends with a message that says so, and knows
//! afterwards exactly what it said that it knew.

use std::collections::BTreeSet;
use std::time::Duration;

use integration::client::Request;
use integration::{Cluster, Fault, Options, eventually, needs, within};

use super::{nobody_panicked, works};

/// Enough for an agent to register, or the master to end.
const LONG: Duration = Duration::from_secs(20);

fn on_own_disk() -> Options {
    Options { master_disk_mb: Some(16), ..Options::default() }
}

/// Agents that the master knows, whether they are there or not; none when it does not answer.
fn known(cluster: &Cluster) -> Option<BTreeSet<String>> {
    let reply =
        Request::new("GET", "/slaves").send(cluster.master()).ok().filter(|r| r.status == 200)?.json();
    let ids = |name: &str| reply[name].as_array().cloned().unwrap_or_default();
    let all = ids("slaves").into_iter().chain(ids("recovered_slaves"));
    Some(all.filter_map(|agent| Some(agent["id"].as_str()?.to_owned())).collect())
}

/// What a master whose disk fails does with an agent that is new to it.
#[derive(Debug, PartialEq)]
enum Outcome {
    Registered(String),
    Ended,
}

#[track_caller]
fn registers_or_ends(cluster: &mut Cluster) -> Outcome {
    within(LONG, "the agent is registered, or the master has ended", || {
        if !cluster.master_process().runs() {
            return Some(Outcome::Ended);
        }
        known(cluster)?.pop_first().map(Outcome::Registered)
    })
}

/// A master that ended said why, and did not succeed.
#[track_caller]
fn says_why(cluster: &mut Cluster, reason: &str) {
    let status = cluster.master_process().wait();
    let log = cluster.master_process().log();
    assert!(!status.success(), "{log}");
    let path = cluster.path("master").to_string_lossy().into_owned();
    assert!(log.contains(reason) && log.contains(&path), "{log}");
}

/// The disk is good again: whoever was registered is known, and everything goes on.
#[track_caller]
fn goes_on(cluster: &mut Cluster, before: &Outcome) {
    cluster.kill_master();
    cluster.start_master();
    if let Outcome::Registered(agent) = before {
        let after = eventually("the master leads", || known(cluster));
        assert!(after.contains(agent), "{agent} is forgotten: {after:?}");
    }
    let agent = cluster.agent_id();
    if let Outcome::Registered(before) = before {
        assert_eq!(*before, agent);
    }
    works(&mut cluster.scheduler(), "afterwards");
    nobody_panicked(cluster);
}

#[test]
fn a_full_disk_when_the_master_starts() {
    needs!("nsenter", "unshare");
    let mut cluster = Cluster::empty(on_own_disk());
    let mut failed = 0;
    for pages in (0..).map(|step: u64| step * step) {
        assert!(pages < 4000, "room for {pages} pages is not enough");
        cluster.master_disk().leave_pages(pages);
        cluster.launch_master();
        let leads = within(LONG, "the master leads or ends", || {
            let up = known(&cluster).is_some();
            (up || !cluster.master_process().runs()).then_some(up)
        });
        if leads {
            break;
        }
        says_why(&mut cluster, "No space left on device");
        failed += 1;
    }
    assert!(failed > 0);
    cluster.master_disk().make_room();
    cluster.start_agent();
    let agent = cluster.agent_id();
    goes_on(&mut cluster, &Outcome::Registered(agent));
}

#[test]
fn a_full_disk_when_an_agent_registers() {
    needs!("nsenter", "unshare");
    let mut ended = 0;
    for pages in [0, 1, 2, 4] {
        let mut cluster = Cluster::empty(on_own_disk());
        cluster.start_master();
        cluster.master_disk().leave_pages(pages);
        cluster.launch_agent();
        let outcome = registers_or_ends(&mut cluster);
        if outcome == Outcome::Ended {
            says_why(&mut cluster, "No space left on device");
            ended += 1;
        }
        cluster.master_disk().make_room();
        goes_on(&mut cluster, &outcome);
    }
    println!("{ended} of 4 masters ended");
}

#[test]
fn writes_that_fail_when_an_agent_registers() {
    needs!("strace");
    let mut ended = 0;
    let faults = [
        ("pwrite64", "EIO", "1"),
        ("pwrite64", "ENOSPC", "2"),
        ("pwrite64", "EIO", "3+"),
        ("fdatasync,fsync", "EIO", "1"),
        ("fdatasync,fsync", "EIO", "2+"),
    ];
    for (calls, error, when) in faults {
        let mut cluster = Cluster::empty(Options::default());
        cluster.start_master();
        let registry = cluster.path("master").join("registry.redb");
        let log = cluster.path("strace.log");
        let fault = Fault { calls, error, when, path: Some(&registry) };
        let broken = fault.of(cluster.master_process().pid(), &log);
        cluster.launch_agent();
        let outcome = registers_or_ends(&mut cluster);
        if outcome == Outcome::Ended {
            says_why(
                &mut cluster,
                if error == "EIO" { "Input/output error" } else { "No space left on device" },
            );
            ended += 1;
        }
        drop(broken);
        goes_on(&mut cluster, &outcome);
    }
    assert!(ended > 0, "no fault was noticed");
}
