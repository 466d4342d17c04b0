//! The agent's disk is full: at each file that a launch makes, at each page it fills, and while an image is pulled.

use integration::images::{Layer, busybox};
use integration::{Cluster, Disk, Options, Registry, needs};
use serde_json::Value;

use super::{ends, nobody_panicked, tells_of_disk, works};

/// More files or pages than a launch needs.
const ENOUGH: u64 = 60;
const NO_SPACE: &str = "No space left on device";

/// Launches with room for more and more, until it is enough; how often it was not.
#[track_caller]
fn until_there_is_room(cluster: &Cluster, what: &str, leave: impl Fn(&Disk, u64)) -> u64 {
    let mut scheduler = cluster.scheduler();
    works(&mut scheduler, &format!("{what}-first"));
    let before = cluster.inventory();
    for room in 0..ENOUGH {
        leave(cluster.disk(), room);
        let end = ends(&mut scheduler, &format!("{what}-{room}"), "true");
        cluster.disk().make_room();
        cluster.assert_nothing_beyond(&before);
        match end["state"].as_str() {
            Some("TASK_FINISHED") => {
                works(&mut scheduler, &format!("{what}-last"));
                return room;
            }
            Some("TASK_FAILED" | "TASK_ERROR" | "TASK_DROPPED") => tells_of_disk(cluster, &end, NO_SPACE),
            _ => panic!("{end}"),
        }
        if room % 4 == 0 {
            works(&mut scheduler, &format!("{what}-after-{room}"));
        }
    }
    panic!("room for {ENOUGH} {what} is not enough for one task");
}

/// The agent dies and comes back: what it wrote on a disk that failed again and again is in order.
#[track_caller]
fn another_life(cluster: &mut Cluster) {
    let agent = cluster.agent_id();
    let completed = |cluster: &Cluster| -> usize {
        let state = cluster.agent_state("/state");
        let frameworks = ["frameworks", "completed_frameworks"].map(|name| state[name].as_array().cloned());
        let frameworks: Vec<Value> = frameworks.into_iter().flatten().flatten().collect();
        frameworks.iter().filter_map(|f| f["completed_executors"].as_array()).map(Vec::len).sum()
    };
    cluster.kill_agent();
    cluster.start_agent();
    assert_eq!(cluster.agent_id(), agent);
    assert!(completed(cluster) > 0);
    let mut scheduler = cluster.scheduler();
    works(&mut scheduler, "another-life");
    nobody_panicked(cluster);
}

#[test]
fn at_each_file_of_a_launch() {
    needs!("nsenter", "unshare");
    let mut cluster = Cluster::with(Options { disk_mb: Some(16), ..Options::default() });
    let failed = until_there_is_room(&cluster, "files", |disk, room| disk.leave_files(room));
    assert!(failed >= 5, "only {failed} launches failed");
    another_life(&mut cluster);
}

#[test]
fn at_each_page_of_a_launch() {
    needs!("nsenter", "unshare");
    let mut cluster = Cluster::with(Options { disk_mb: Some(16), ..Options::default() });
    let failed = until_there_is_room(&cluster, "pages", |disk, room| disk.leave_pages(room));
    assert!(failed >= 3, "only {failed} launches failed");
    another_life(&mut cluster);
}

/// Runs `tepui image pull` into the store of a cluster that has no agent.
fn pull(cluster: &Cluster, image: &str) -> (i32, String) {
    let mut command = cluster.disk().seen_by(integration::cluster::binary());
    command.args(["image", "pull", image]).arg(format!("--store={}", cluster.work_dir().display()));
    let ended = integration::Job::start(&mut command, &cluster.path("")).wait();
    (ended.code, ended.stderr)
}

#[test]
fn at_any_file_or_page_of_a_pull() {
    needs!("docker-registry", "skopeo", "nsenter", "unshare");
    let registry = Registry::start();
    let image = busybox().layer(Layer::new().file("a/b/c", "text".repeat(10_000)).dir("d").file("e", ""));
    let image = registry.push("image", &image).name;
    type Leave = fn(&Disk, u64);
    let kinds: [(&str, Leave); 2] = [("files", Disk::leave_files), ("pages", Disk::leave_pages)];
    for (what, leave) in kinds {
        let cluster = Cluster::empty(Options { disk_mb: Some(16), ..Options::default() });
        let mut failed = 0;
        let mut room = 0;
        loop {
            leave(cluster.disk(), room);
            let (code, said) = pull(&cluster, &image);
            cluster.disk().make_room();
            if code == 0 {
                break;
            }
            failed += 1;
            assert!(said.contains(NO_SPACE) && said.contains(cluster.work_dir().to_str().unwrap()), "{said}");
            assert!(!said.contains("panicked"), "{said}");
            // Each step by step at first, then in leaps: a store has hundreds of files.
            room += 1 + room / 6;
            assert!(room < 10_000, "room for {room} {what} is not enough: {said}");
        }
        assert!(failed > 8, "only {failed} pulls failed for want of {what}");
        // What the failed ones left does not add up.
        let used = cluster.disk().used();
        let fresh = Cluster::empty(Options { disk_mb: Some(16), ..Options::default() });
        assert_eq!(pull(&fresh, &image).0, 0);
        let wanted = fresh.disk().used();
        assert!(used <= wanted + (64 << 10), "{used} bytes instead of {wanted} after {failed} failed pulls");
    }
}

#[test]
fn files_that_can_be_read_only_while_tasks_run_and_end() {
    needs!("nsenter", "unshare");
    let mut cluster = Cluster::with(Options { disk_mb: Some(16), ..Options::default() });
    let mut scheduler = cluster.scheduler();
    works(&mut scheduler, "before");
    let before = cluster.inventory();
    let go = cluster.path("go");
    let line = format!("until test -e {}; do sleep 0.05; done; exit 3", go.display());
    for id in ["ends", "killed", "stays"] {
        let own = if id == "ends" { line.as_str() } else { "exec sleep 1000" };
        scheduler.start(|offer| integration::task::task(id, offer, integration::task::shell(own)));
        scheduler.wait_for(id, "TASK_RUNNING");
    }
    cluster.disk().read_only();
    std::fs::write(&go, "").unwrap();
    let end = scheduler.end_of("ends");
    assert_eq!((end["state"].as_str(), scheduler.ends("ends")), (Some("TASK_FAILED"), 1), "{end}");
    scheduler.kill("killed");
    assert_eq!(scheduler.end_of("killed")["state"], "TASK_KILLED");
    let end = ends(&mut scheduler, "refused", "true");
    assert_eq!(end["state"], "TASK_FAILED", "{end}");
    tells_of_disk(&cluster, &end, "Read-only file system");
    cluster.disk().writable();
    works(&mut scheduler, "after");
    scheduler.kill("stays");
    assert_eq!(scheduler.end_of("stays")["state"], "TASK_KILLED");
    cluster.assert_nothing_beyond(&before);
    // Its next life does not find what it could not write, and says no second end of anything.
    cluster.kill_agent();
    cluster.start_agent();
    cluster.agent_id();
    works(&mut scheduler, "in-another-life");
    for id in ["ends", "killed", "stays", "refused"] {
        assert_eq!(scheduler.ends(id), 1, "{id}: {:?}", scheduler.states(id));
    }
    cluster.assert_nothing_beyond(&before);
    nobody_panicked(&cluster);
}

/// The keeper writes how a task ended into room that it has made at the start (Mesos: the executor tells it of itself).
#[test]
fn an_end_that_comes_while_the_disk_is_full_and_the_agent_away() {
    needs!("nsenter", "unshare");
    let options = Options { disk_mb: Some(16), runtime_on_disk: true, ..Options::default() };
    let mut cluster = Cluster::empty(options);
    let place = cluster.work_dir().join("run");
    cluster.start_master();
    cluster.start_agent();
    cluster.agent_id();
    let mut scheduler = cluster.scheduler();
    works(&mut scheduler, "before");
    let go = cluster.path("go");
    let line = format!("until test -e {}; do sleep 0.05; done; exit 7", go.display());
    scheduler.start(|offer| integration::task::task("ends", offer, integration::task::shell(&line)));
    scheduler.wait_for("ends", "TASK_RUNNING");
    cluster.kill_agent();
    cluster.disk().leave_pages(0);
    std::fs::write(&go, "").unwrap();
    let containers = cluster.disk().outside(&place.join("containers"));
    integration::eventually("the keeper has written the record", || {
        let folders = std::fs::read_dir(&containers).ok()?.flatten();
        let written = folders.filter_map(|folder| folder.path().join("exit.json").metadata().ok());
        written.into_iter().find(|record| record.len() > 0).map(|_| ())
    });
    cluster.disk().make_room();
    cluster.start_agent();
    let end = scheduler.end_of("ends");
    let message = end["message"].as_str().unwrap_or_default();
    assert!(end["state"] == "TASK_FAILED" && message.contains("status 7"), "{end}");
    works(&mut scheduler, "after");
    nobody_panicked(&cluster);
}
