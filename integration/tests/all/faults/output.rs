//! `tepui run` reads the output of its task from an agent that stalls, is far away, dies: all of it and once, or it says
//! what is missing, and ends with the task's own code in any case.

use std::path::Path;
use std::time::Duration;

use integration::client::get;
use integration::{Cluster, Job, Options, Proxy, eventually, needs, within};
use rustix::process::Signal;

use super::{nobody_panicked, works};

/// Lines of numbers that a task prints, some 300 KB.
const LINES: usize = 50_000;

/// An agent that others than its master reach only through a line.
fn behind_a_line() -> (Cluster, Proxy) {
    let mut cluster = Cluster::empty(Options::default());
    let line = Proxy::to(cluster.agent());
    let port = line.address().port();
    cluster
        .options()
        .agent
        .extend(["--advertise_ip=127.0.0.1".to_owned(), format!("--advertise_port={port}")]);
    cluster.start_master();
    cluster.start_agent();
    cluster.agent_id();
    (cluster, line)
}

/// A task that prints a number, waits for a file, prints the other numbers and ends with 3.
fn prints(cluster: &Cluster, go: &Path) -> Job {
    let wait = format!("until test -e {}; do sleep 0.02; done", go.display());
    let run = cluster.ask(&["run", "--command", &format!("echo 1; {wait}; seq 2 {LINES}; exit 3")]);
    eventually("its first line", || (run.stdout() == "1\n").then_some(()));
    run
}

fn whole() -> String {
    (1..=LINES).map(|number| format!("{number}\n")).collect()
}

/// The task has ended, and its scheduler was told.
fn has_ended(cluster: &Cluster) {
    eventually("its task has ended", || {
        let frameworks = cluster.state("/state")["frameworks"].as_array()?.clone();
        let mut tasks = frameworks
            .iter()
            .filter_map(|f| Some(f["tasks"].as_array()?.iter().chain(f["completed_tasks"].as_array()?)));
        tasks.any(|mut tasks| tasks.any(|task| task["state"] == "TASK_FAILED")).then_some(())
    });
}

#[test]
fn output_over_a_line_that_is_silent_cut_and_slow() {
    needs!();
    let (cluster, line) = behind_a_line();
    for bad in ["silent", "cut", "slow"] {
        let go = cluster.path(&format!("go-{bad}"));
        let run = prints(&cluster, &go);
        match bad {
            "silent" => line.silence(),
            "cut" => line.cut_after(70_000),
            _ => line.slow_down(200_000),
        }
        std::fs::write(&go, "").unwrap();
        if bad == "silent" {
            has_ended(&cluster);
            line.speak();
        }
        let ended = run.wait().expect(3);
        assert!(ended.stdout == whole(), "{bad}: {} bytes, {}", ended.stdout.len(), ended.stderr);
    }
    nobody_panicked(&cluster);
}

/// What is said of output that can't be read.
#[track_caller]
fn tells_what_is_missing(run: Job) {
    let ended = run.wait().expect(3);
    assert_eq!(ended.stdout, "1\n");
    let told = "stdout after byte 2 could not be read";
    assert!(ended.stderr.contains(told), "{}", ended.stderr);
}

#[test]
fn output_of_an_agent_that_is_silent_for_ever() {
    needs!();
    let (cluster, line) = behind_a_line();
    let go = cluster.path("go");
    let run = prints(&cluster, &go);
    line.silence();
    std::fs::write(&go, "").unwrap();
    has_ended(&cluster);
    // Others are served meanwhile.
    works(&mut cluster.scheduler(), "meanwhile");
    tells_what_is_missing(run);
    nobody_panicked(&cluster);
}

#[test]
fn output_of_an_agent_that_is_gone_when_the_task_has_ended() {
    needs!();
    let (mut cluster, line) = behind_a_line();
    let go = cluster.path("go");
    let run = prints(&cluster, &go);
    line.silence();
    std::fs::write(&go, "").unwrap();
    has_ended(&cluster);
    cluster.kill_agent();
    drop(line);
    tells_what_is_missing(run);
    nobody_panicked(&cluster);
}

#[test]
fn output_of_an_agent_that_stands_still_or_starts_again() {
    needs!();
    let (mut cluster, _line) = behind_a_line();
    let go = cluster.path("go");
    let run = prints(&cluster, &go);
    cluster.agent_process().signal(Signal::STOP);
    std::fs::write(&go, "").unwrap();
    // It asks again and again, and nobody answers.
    within(Duration::from_secs(20), "the task has printed all", || {
        let frameworks = cluster.state("/state")["frameworks"].as_array()?.clone();
        let framework = frameworks.iter().find(|f| f["tasks"].as_array().is_some_and(|t| !t.is_empty()))?;
        let (id, task) = (framework["id"].as_str()?, framework["tasks"][0]["id"].as_str()?);
        let written = std::fs::read_to_string(cluster.sandbox(id, task).join("stdout")).ok()?;
        (written.lines().count() == LINES).then_some(())
    });
    cluster.agent_process().signal(Signal::CONT);
    let ended = run.wait().expect(3);
    assert!(ended.stdout == whole(), "{} bytes", ended.stdout.len());
    let go = cluster.path("go-again");
    let run = prints(&cluster, &go);
    cluster.kill_agent();
    std::fs::write(&go, "").unwrap();
    cluster.start_agent();
    let ended = run.wait().expect(3);
    assert!(ended.stdout == whole(), "{} bytes", ended.stdout.len());
    get(cluster.agent(), "/health").expect(200);
    nobody_panicked(&cluster);
}
