//! Disks that are full or can only be read, under what tasks print and under the image store.

use std::path::{Path, PathBuf};

use integration::images::{Layer, busybox};
use integration::task::{shell, task, task_in};
use integration::{Cluster, Job, Options, OrFail, Registry, Scheduler, eventually, needs};

use super::{nobody_panicked, tells_of_disk, works};

const ROTATED: &str = "--container_logger=org_apache_mesos_LogrotateContainerLogger";

/// The sandbox of a task on a disk of the agent's own, as it is seen from outside.
#[track_caller]
fn sandbox(cluster: &Cluster, scheduler: &Scheduler, id: &str) -> PathBuf {
    let latest = cluster.disk().outside(&cluster.sandbox(scheduler.id(), id));
    // A link that holds the whole path.
    cluster.disk().outside(&std::fs::read_link(&latest).or_fail(latest.display()))
}

/// Everything that is left of what a task has printed, the oldest first.
fn printed(sandbox: &Path) -> String {
    let read = |name: &str| std::fs::read_to_string(sandbox.join(name)).unwrap_or_default();
    ["stdout.3", "stdout.2", "stdout.1", "stdout"].map(read).concat()
}

/// A task that prints what is put into a file of the test's, file after file, and goes on whether that works or not.
fn parrot(go: &Path) -> String {
    let go = go.display();
    format!(
        "n=0; while test $n -lt 3; do until test -e {go}-$n; do sleep 0.02; done; cat {go}-$n || true; : >{go}-done-$n; n=$((n+1)); done"
    )
}

/// Lets a parrot print three times, the second time on a disk without room; what is left of it.
#[track_caller]
fn prints_three_times(cluster: &mut Cluster, id: &str, leave: impl Fn(&Cluster)) -> String {
    let mut scheduler = cluster.scheduler();
    works(&mut scheduler, &format!("{id}-before"));
    let before = cluster.inventory();
    let go = cluster.path(id);
    scheduler.start(|offer| task(id, offer, shell(&parrot(&go))));
    scheduler.wait_for(id, "TASK_RUNNING");
    let sandbox = sandbox(cluster, &scheduler, id);
    for number in 0..3 {
        let line = format!("{number}{}\n", "x".repeat(99));
        if number == 1 {
            leave(cluster);
        }
        let (new, whole) = (cluster.path("new"), format!("{}-{number}", go.display()));
        std::fs::write(&new, line.repeat(100)).or_fail("a text");
        std::fs::rename(&new, &whole).or_fail("a text");
        // A task never waits for its disk.
        let done = format!("{}-done-{number}", go.display());
        eventually("it has printed", || Path::new(&done).exists().then_some(()));
        if number == 1 {
            works_or_tells(cluster, &mut scheduler, &format!("{id}-full"));
            cluster.disk().make_room();
        }
    }
    assert_eq!(scheduler.end_of(id)["state"], "TASK_FINISHED");
    let text = printed(&sandbox);
    works(&mut scheduler, &format!("{id}-after"));
    cluster.assert_nothing_beyond(&before);
    text
}

/// Another task on the same disk: it ends, in whatever way, and says why.
#[track_caller]
fn works_or_tells(cluster: &Cluster, scheduler: &mut Scheduler, id: &str) {
    let end = super::ends(scheduler, id, "true");
    if end["state"] != "TASK_FINISHED" {
        tells_of_disk(cluster, &end, "No space left on device");
    }
}

#[test]
fn what_a_task_prints_on_a_full_disk_is_lost_and_what_it_prints_afterwards_is_not() {
    needs!("nsenter", "unshare");
    for rotated in [false, true] {
        let mut options = Options { disk_mb: Some(16), ..Options::default() };
        if rotated {
            options = options
                .agent(ROTATED)
                .agent("--max_stdout_size=8KB")
                .agent("--logrotate_stdout_options=rotate 3");
        }
        let mut cluster = Cluster::with(options);
        // Without a page; with one, so that a line is cut; without a file, when it is time for the next one.
        type Leave = fn(&Cluster);
        let cases: [(&str, Leave); 3] = [
            ("pages", |cluster| cluster.disk().leave_pages(0)),
            ("page", |cluster| cluster.disk().leave_pages(1)),
            ("files", |cluster| cluster.disk().leave_files(0)),
        ];
        for (id, leave) in cases {
            let text = prints_three_times(&mut cluster, id, leave);
            let lines = |first: char| {
                text.lines().filter(|line| line.starts_with(first) && line.len() == 100).count()
            };
            println!("{id}, rotated {rotated}: {} {} {}", lines('0'), lines('1'), lines('2'));
            // Of ten thousand bytes the last eight thousand are in the newest files, rotated or not.
            assert!(lines('2') >= 80, "{id}, rotated {rotated}: {text}");
            assert!(rotated || lines('0') == 100, "{id}: {text}");
        }
        nobody_panicked(&cluster);
    }
}

/// Runs `tepui image` with a verb on the store of a cluster that has no agent.
fn image(cluster: &Cluster, words: &[&str]) -> (i32, String) {
    let mut command = cluster.disk().seen_by(integration::cluster::binary());
    command.arg("image").args(words).arg(format!("--store={}", cluster.work_dir().display()));
    let ended = Job::start(&mut command, &cluster.path("")).wait();
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    (ended.code, ended.stderr)
}

#[test]
fn a_pull_onto_a_store_that_can_be_read_only() {
    needs!("docker-registry", "skopeo", "nsenter", "unshare");
    let registry = Registry::start();
    let first = registry.push("first", &busybox()).name;
    let second = registry.push("second", &busybox().layer(Layer::new().file("a/b", "text"))).name;
    let cluster = Cluster::empty(Options { disk_mb: Some(32), ..Options::default() });
    // A store that was never there, and one that has something.
    for _ in 0..2 {
        cluster.disk().read_only();
        let (code, said) = image(&cluster, &["pull", &second]);
        let path = cluster.work_dir();
        assert!(code == 1 && said.contains("Read-only file system"), "{said}");
        assert!(said.contains(path.to_str().unwrap()), "{said}");
        cluster.disk().writable();
        assert_eq!(image(&cluster, &["pull", &first]).0, 0);
    }
    for name in [&first, &second] {
        assert_eq!(image(&cluster, &["pull", name]).0, 0);
    }
    assert_eq!(image(&cluster, &["verify"]).0, 0);
}

#[test]
fn a_launch_from_a_store_that_can_be_read_only() {
    needs!("docker-registry", "skopeo", "nsenter", "unshare");
    let registry = Registry::start();
    let name = registry.push("image", &busybox()).name;
    let mut cluster = Cluster::with(Options { disk_mb: Some(32), ..Options::default() });
    let mut scheduler = cluster.scheduler();
    works(&mut scheduler, "before");
    for id in ["absent", "cached"] {
        cluster.disk().read_only();
        scheduler.start(|offer| task_in(id, offer, shell("true"), &name));
        let end = scheduler.end_of(id);
        assert_eq!((end["state"].as_str(), scheduler.ends(id)), (Some("TASK_FAILED"), 1), "{end}");
        tells_of_disk(&cluster, &end, "Read-only file system");
        cluster.disk().writable();
        let again = format!("{id}-again");
        scheduler.start(|offer| task_in(&again, offer, shell("true"), &name));
        assert_eq!(scheduler.end_of(&again)["state"], "TASK_FINISHED");
    }
    cluster.kill_agent();
    cluster.start_agent();
    cluster.agent_id();
    works(&mut scheduler, "in-another-life");
    nobody_panicked(&cluster);
}
