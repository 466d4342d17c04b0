//! `tepui run` whose master goes away while its task runs: it says so, keeps its promises, and doesn't wait for ever.

use integration::{Cluster, Job, eventually, needs};
use rustix::process::Signal;

/// A task that runs, in a cluster whose master is killed then.
fn left_alone(flags: &[&str]) -> (Cluster, Job) {
    let mut cluster = Cluster::start();
    let words = [&["run", "--name=alone", "--command", "echo up; exec sleep 1000"], flags].concat();
    let job = cluster.ask(&words);
    eventually("it runs", || (job.stdout() == "up\n").then_some(()));
    cluster.kill_master();
    let lost = format!("lost the master at {}", cluster.master());
    eventually("it says so", || job.stderr().contains(&lost).then_some(()));
    (cluster, job)
}

/// What the last line says to do about a task that was left running is what ends it.
#[track_caller]
fn ended_as_told(cluster: &mut Cluster, stderr: &str) {
    let told: Vec<&str> = stderr.lines().last().unwrap_or_default().split('`').collect();
    let [message, list, _, kill, _] = told[..] else { panic!("no advice in: {stderr}") };
    assert!(message.contains(&format!("no master at {} for", cluster.master())), "{message}");
    assert!(message.contains("may still run"), "{message}");
    cluster.start_master();
    cluster.agent_id();
    let follow = |line: &str| {
        let words: Vec<&str> = line.split(' ').skip(1).collect();
        cluster.tepui(&words).wait().expect(0).stdout
    };
    assert!(follow(list).contains("TASK_RUNNING"), "{list}");
    follow(kill);
    eventually("the task has ended", || {
        let processes = cluster.scope().processes();
        processes.iter().all(|(_, line)| !line.contains("sleep 1000")).then_some(())
    });
}

#[test]
fn a_master_that_stays_away_is_given_up() {
    needs!();
    let (mut cluster, job) = left_alone(&["--reconnect_timeout=6secs"]);
    let ended = job.wait().expect(1);
    assert!(ended.stderr.contains("trying again for 6 s"), "{}", ended.stderr);
    // Meanwhile it tells for how long it has been so, and why.
    let told = ended.stderr.lines().find(|line| line.ends_with("still trying"));
    let told = told.unwrap_or_else(|| panic!("no word in between: {}", ended.stderr));
    assert!(told.contains(&format!("no master at {} for 5 s (", cluster.master())), "{told}");
    ended_as_told(&mut cluster, &ended.stderr);
}

/// After the failover timeout the master, if there is one, has ended the task: nothing is left to wait for.
#[test]
fn a_master_is_waited_for_as_long_as_the_task_can_live_without_us() {
    needs!();
    let (_cluster, job) = left_alone(&["--failover_timeout=1secs"]);
    let ended = job.wait().expect(1);
    assert!(ended.stderr.contains("trying again for 1 s"), "{}", ended.stderr);
}

#[test]
fn a_run_without_its_master_can_be_interrupted() {
    needs!();
    // Once: the master has a moment to come back and kill the task.
    let (mut cluster, job) = left_alone(&[]);
    job.signal(Signal::INT);
    let ended = job.wait().expect(130);
    assert!(ended.stderr.contains("interrupt again to leave the task running"), "{}", ended.stderr);
    ended_as_told(&mut cluster, &ended.stderr);
    // Twice: at once.
    let (mut cluster, job) = left_alone(&["--quiet=false"]);
    job.signal(Signal::TERM);
    eventually("it heard", || job.stderr().contains("interrupt again").then_some(()));
    job.signal(Signal::INT);
    let ended = job.wait().expect(130);
    ended_as_told(&mut cluster, &ended.stderr);
}

#[test]
fn a_master_that_comes_back_in_time_kills_what_was_interrupted() {
    needs!();
    let (mut cluster, job) = left_alone(&[]);
    job.signal(Signal::INT);
    cluster.start_master();
    let ended = job.wait().expect(130);
    assert!(ended.stderr.contains("connected to the master again after"), "{}", ended.stderr);
    eventually("the task has ended", || {
        let processes = cluster.scope().processes();
        processes.iter().all(|(_, line)| !line.contains("sleep 1000")).then_some(())
    });
}

#[test]
fn kill_after_counts_on_without_a_master() {
    needs!();
    let (mut cluster, job) = left_alone(&["--kill_after=3secs"]);
    let passed = "--kill_after has passed; the task is killed as soon as the master answers";
    eventually("it has passed", || job.stderr().contains(passed).then_some(()));
    cluster.start_master();
    job.wait().expect(1);
    eventually("its framework is gone", || {
        (cluster.state("/state")["frameworks"] == serde_json::json!([])).then_some(())
    });
}
