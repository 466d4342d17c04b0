//! Agents and masters that are killed and come back: the same processes go on, and every task ends exactly once.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use integration::client::Request;
use integration::eventually::stays;
use integration::images::{Layer, busybox};
use integration::leftovers::processes_with;
use integration::task::{framework, program, shell, task, task_in};
use integration::{Cluster, OrFail, Registry, Scheduler, eventually, needs};
use rustix::process::Signal;
use serde_json::{Value, json};

fn ready() -> (Cluster, Registry, String) {
    let registry = Registry::start();
    let image = registry.push("busybox", &busybox()).name;
    (Cluster::start(), registry, image)
}

/// The processes of a task on the host.
fn processes(task: &str, scheduler: &Scheduler) -> BTreeSet<(u32, u64)> {
    let of_framework = processes_with(&format!("MESOS_FRAMEWORK_ID={}", scheduler.id()));
    processes_with(&format!("MESOS_EXECUTOR_ID={task}")).intersection(&of_framework).copied().collect()
}

/// Starts tasks that sleep for long, in an image and on the host; their processes.
fn sleepers(scheduler: &mut Scheduler, image: &str, names: &[&str]) -> Vec<BTreeSet<(u32, u64)>> {
    let offer = scheduler.offer();
    let argv = program(&["sleep", "1000"]);
    let make = |(i, name): (usize, &&str)| {
        if i % 2 == 0 { task_in(name, &offer, argv.clone(), image) } else { task(name, &offer, argv.clone()) }
    };
    let tasks = names.iter().enumerate().map(make).collect();
    scheduler.launch(&offer, tasks);
    let mut waiting: BTreeSet<&str> = names.iter().copied().collect();
    scheduler.wait("all of them running", |event| {
        let status = &event["update"]["status"];
        if status["state"] == "TASK_RUNNING" {
            waiting.remove(status["task_id"]["value"].as_str().or_fail("a task id"));
        }
        waiting.is_empty().then_some(())
    });
    let found = names.iter().map(|name| {
        let found = processes(name, scheduler);
        assert!(!found.is_empty(), "{name} has no process");
        found
    });
    found.collect()
}

/// Kills tasks; each must end as KILLED, once.
#[track_caller]
fn kill_all(scheduler: &mut Scheduler, names: &[&str]) {
    for name in names {
        scheduler.kill(name);
    }
    for name in names {
        assert_eq!(scheduler.end_of(name)["state"], "TASK_KILLED");
    }
    for name in names {
        assert_eq!(scheduler.ends(name), 1, "{:?}", scheduler.states(name));
        assert!(processes(name, scheduler).is_empty());
    }
}

#[track_caller]
fn wait_until_registered_again(cluster: &Cluster, id: &str) {
    let again = eventually("the agent registers again", || {
        let reply =
            Request::new("GET", "/slaves").send(cluster.master()).ok().filter(|reply| reply.status == 200)?;
        let agent = reply.json()["slaves"].as_array()?.iter().find(|agent| agent["active"] == true)?.clone();
        Some(agent["id"].as_str()?.to_owned())
    });
    assert_eq!(again, id, "it must keep its id");
}

/// A name, and whether a launch has come so far, by what can be seen of it from outside.
type Moment<'a> = (&'a str, &'a dyn Fn(&str) -> bool);

/// The master's view of a task, in /tasks.
fn seen_by_master(cluster: &Cluster, name: &str) -> Value {
    let tasks = cluster.state("/tasks?limit=-1");
    let found: Vec<Value> = tasks["tasks"]
        .as_array()
        .or_fail("tasks")
        .iter()
        .filter(|task| task["id"] == name)
        .cloned()
        .collect();
    assert_eq!(found.len(), 1, "{name}: {found:?}");
    found[0].clone()
}

#[test]
fn tasks_go_on_when_their_agent_is_killed_and_comes_back() {
    needs!("docker-registry", "skopeo");
    let (mut cluster, _registry, image) = ready();
    cluster.run(&["--image", &image, "--", "true"]).expect(0);
    let before = cluster.inventory();
    let mut scheduler = cluster.scheduler();
    let agent = cluster.agent_id();
    let names = ["one", "two", "three"];
    let running = sleepers(&mut scheduler, &image, &names);
    for _ in 0..2 {
        cluster.kill_agent();
        for (name, processes_before) in names.iter().zip(&running) {
            assert_eq!(processes(name, &scheduler), *processes_before);
        }
        cluster.start_agent();
        wait_until_registered_again(&cluster, &agent);
        for (name, processes_before) in names.iter().zip(&running) {
            assert_eq!(processes(name, &scheduler), *processes_before);
            assert_eq!(seen_by_master(&cluster, name)["state"], "TASK_RUNNING");
        }
    }
    let state = cluster.agent_state("/state");
    assert_eq!(state["frameworks"][0]["executors"].as_array().map(Vec::len), Some(3), "{state}");
    kill_all(&mut scheduler, &names);
    cluster.assert_nothing_beyond(&before);
    // The agent is as good as before.
    scheduler.start(|offer| task_in("after", offer, shell("exit 0"), &image));
    assert_eq!(scheduler.end_of("after")["state"], "TASK_FINISHED");
}

#[test]
fn a_task_that_ends_while_its_agent_is_dead_has_its_right_status() {
    needs!("docker-registry", "skopeo");
    let (mut cluster, _registry, image) = ready();
    cluster.run(&["--image", &image, "--", "true"]).expect(0);
    let before = cluster.inventory();
    let mut scheduler = cluster.scheduler();
    let agent = cluster.agent_id();
    let wait = "while [ ! -e go ]; do sleep 0.05; done; ";
    let ends = [
        ("zero", "exit 0", "TASK_FINISHED", "Command exited with status 0"),
        ("three", "exit 3", "TASK_FAILED", "Command exited with status 3"),
        ("signal", "kill -KILL $$", "TASK_FAILED", "Command terminated with signal Killed"),
    ];
    let offer = scheduler.offer();
    let tasks = ends.map(|(name, end, ..)| task_in(name, &offer, shell(&format!("{wait}{end}")), &image));
    scheduler.launch(&offer, tasks.into());
    let mut sandboxes = Vec::new();
    let mut left = ends.len();
    scheduler.wait("all of them running", |event| {
        left -= usize::from(event["update"]["status"]["state"] == "TASK_RUNNING");
        (left == 0).then_some(())
    });
    for (name, ..) in ends {
        sandboxes.push(cluster.sandbox(scheduler.id(), name));
    }
    cluster.kill_agent();
    for sandbox in sandboxes {
        fs::write(sandbox.join("go"), "").unwrap();
    }
    eventually("all of them have ended", || {
        ends.iter().all(|(name, ..)| processes(name, &scheduler).is_empty()).then_some(())
    });
    cluster.start_agent();
    wait_until_registered_again(&cluster, &agent);
    for (name, _, state, message) in ends {
        let end = scheduler.end_of(name);
        assert_eq!((end["state"].as_str(), end["message"].as_str()), (Some(state), Some(message)), "{name}");
        assert_eq!(scheduler.ends(name), 1);
    }
    cluster.assert_nothing_beyond(&before);
}

#[test]
fn an_agent_killed_in_the_midst_of_launches_ends_each_task_once() {
    needs!("docker-registry", "skopeo");
    let (mut cluster, registry, image) = ready();
    let agent = cluster.agent_id();
    let noise: Vec<u8> = (0..4_u32 << 20).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    cluster.run(&["--image", &image, "--", "true"]).expect(0);
    let mut scheduler = cluster.scheduler();
    let containers = cluster.runtime_dir().join("containers");
    let staging = cluster.work_dir().join("images/staging");
    let provisioner = cluster.work_dir().join("provisioner/containers");
    let meta = cluster.work_dir().join("meta/slaves");
    // Moments at which the agent is killed, by what can be seen of the launch from outside.
    let moments: [Moment<'_>; 6] = [
        ("accepted", &|_| true),
        ("checkpointed", &|name| finds(&meta, &format!("*/executors/{name}*"))),
        ("pulling", &|_| finds(&staging, "*/*/*")),
        ("provisioned", &|_| finds(&provisioner, "*")),
        ("kept", &|_| finds(&containers, "*")),
        ("started", &|name| !processes_with(&format!("MESOS_EXECUTOR_ID={name}")).is_empty()),
    ];
    for (name, moment) in moments {
        let fresh = busybox().layer(Layer::new().file("noise", &noise).file("name", name));
        let image = registry.push(name, &fresh).name;
        let known: BTreeSet<PathBuf> = all_below(&containers).chain(all_below(&provisioner)).collect();
        assert!(known.is_empty(), "{name}: {known:?}");
        scheduler.start(|offer| task_in(name, offer, shell("exec sleep 1000"), &image));
        let start = Instant::now();
        while !moment(name) {
            assert!(start.elapsed() < Duration::from_secs(20), "{name} was never seen");
            std::thread::yield_now();
        }
        cluster.kill_agent();
        cluster.start_agent();
        wait_until_registered_again(&cluster, &agent);
        // It runs, or it has ended; one of both is said.
        let ended = scheduler.wait(&format!("news of {name}"), |event| {
            let status = &event["update"]["status"];
            let state = status["state"].as_str().filter(|_| status["task_id"]["value"] == name)?;
            let ended = integration::task::is_terminal(state);
            (ended || state == "TASK_RUNNING").then_some(ended)
        });
        if !ended {
            assert!(!processes(name, &scheduler).is_empty(), "{name} runs without a process");
            scheduler.kill(name);
        }
        scheduler.end_of(name);
        // Nothing comes after the end.
        stays(Duration::from_millis(300), "one end", || {
            scheduler.next(Duration::from_millis(50));
            assert!(scheduler.ends(name) <= 1, "{name}: {:?}", scheduler.states(name));
            scheduler.ends(name) == 1
        });
        eventually(format!("{name} has no process"), || processes(name, &scheduler).is_empty().then_some(()));
        eventually(format!("{name} has no container"), || {
            all_below(&containers).next().is_none().then_some(())
        });
    }
    let after = cluster.scope();
    eventually("no container is left", || {
        (after.cgroups().is_empty() && after.processes().is_empty()).then_some(())
    });
    assert_eq!(all_below(&provisioner).collect::<Vec<_>>(), Vec::<PathBuf>::new());
}

fn all_below(folder: &std::path::Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// Whether something below a folder matches a pattern of a shell, of which each part is one name.
fn finds(folder: &std::path::Path, pattern: &str) -> bool {
    let mut found = vec![folder.to_owned()];
    for part in pattern.split('/') {
        let fits = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match part.strip_suffix('*') {
                Some(start) => name.starts_with(start),
                None => name == part,
            }
        };
        let below = found.iter().flat_map(|path| all_below(path));
        found = if part == "executors" { deep(&found, part) } else { below.filter(fits).collect() };
    }
    !found.is_empty()
}

/// Folders of that name at any depth.
fn deep(from: &[PathBuf], name: &str) -> Vec<PathBuf> {
    let mut todo = from.to_vec();
    let mut found = Vec::new();
    while let Some(folder) = todo.pop() {
        for path in all_below(&folder).filter(|path| path.is_dir() && !path.is_symlink()) {
            if path.file_name().is_some_and(|n| n == name) { found.push(path) } else { todo.push(path) }
        }
    }
    found
}

/// Mesos: `--recover=cleanup` ends everything of before and forgets the agent, which then exits.
#[test]
fn an_agent_that_cleans_up_ends_its_tasks_and_comes_back_as_another() {
    needs!();
    let (mut cluster, _registry, image) = ready();
    let id = cluster.agent_id();
    let mut scheduler = cluster.scheduler();
    sleepers(&mut scheduler, &image, &["in-image", "on-host"]);
    cluster.kill_agent();
    cluster.options().agent.push("--recover=cleanup".to_owned());
    cluster.launch_agent();
    let status = cluster.agent_process().wait();
    assert!(status.success(), "{status}: {}", cluster.agent_process().log());
    cluster.kill_agent();
    for name in ["in-image", "on-host"] {
        assert!(processes(name, &scheduler).is_empty(), "{name} runs on");
    }
    let left = cluster.scope();
    eventually("no container is left", || {
        (left.cgroups().is_empty() && left.processes().is_empty()).then_some(())
    });
    cluster.options().agent.pop();
    cluster.start_agent();
    let again = eventually("another agent", || Some(cluster.agent_id()).filter(|again| *again != id));
    scheduler.start(|offer| {
        assert_eq!(offer["agent_id"]["value"], again.as_str());
        task("after", offer, shell("true"))
    });
    assert_eq!(scheduler.end_of("after")["state"], "TASK_FINISHED");
}

#[test]
fn an_update_is_sent_again_after_a_restart_until_it_is_acknowledged() {
    needs!();
    let mut cluster = Cluster::start();
    let mut scheduler = cluster.scheduler();
    scheduler.acknowledging = false;
    let agent = cluster.agent_id();
    scheduler.start(|offer| task("quick", offer, shell("exit 4")));
    // Only the first is in flight until it is acknowledged.
    let first = scheduler.wait("an update", |event| event["update"].get("status").cloned());
    assert_eq!(first["state"], "TASK_STARTING");
    eventually("the task has ended", || processes("quick", &scheduler).is_empty().then_some(()));
    eventually("the master knows the end", || {
        (seen_by_master(&cluster, "quick")["state"] == "TASK_FAILED").then_some(())
    });
    for _ in 0..2 {
        cluster.kill_agent();
        cluster.start_agent();
        wait_until_registered_again(&cluster, &agent);
        let again = scheduler.wait("the same update", |event| event["update"].get("status").cloned());
        assert_eq!(again["uuid"], first["uuid"]);
        assert_eq!(again["state"], "TASK_STARTING");
    }
    scheduler.acknowledging = true;
    scheduler.acknowledge(&first);
    let end = scheduler.end_of("quick");
    assert_eq!(
        (end["state"].as_str(), end["message"].as_str()),
        (Some("TASK_FAILED"), Some("Command exited with status 4"))
    );
    assert_eq!(scheduler.states("quick"), ["TASK_STARTING", "TASK_RUNNING", "TASK_FAILED"]);
    eventually("the master moves it to the completed", || {
        let state = cluster.state("/state");
        let framework = &state["frameworks"][0];
        (framework["tasks"].as_array()?.is_empty() && framework["completed_tasks"].as_array()?.len() == 1)
            .then_some(())
    });
}

#[test]
fn tasks_go_on_when_the_master_is_killed_and_comes_back() {
    needs!("docker-registry", "skopeo");
    let (mut cluster, _registry, image) = ready();
    cluster.run(&["--image", &image, "--", "true"]).expect(0);
    let before = cluster.inventory();
    let mut scheduler = cluster.scheduler();
    let agent = cluster.agent_id();
    let names = ["one", "two"];
    let running = sleepers(&mut scheduler, &image, &names);
    scheduler.start(|offer| task("ends", offer, shell("while [ ! -e go ]; do sleep 0.05; done; exit 6")));
    scheduler.wait_for("ends", "TASK_RUNNING");
    let sandbox = cluster.sandbox(scheduler.id(), "ends");
    cluster.kill_master();
    // One ends while there is no master.
    fs::write(sandbox.join("go"), "").unwrap();
    eventually("it has ended", || processes("ends", &scheduler).is_empty().then_some(()));
    cluster.start_master();
    wait_until_registered_again(&cluster, &agent);
    let state = cluster.state("/state");
    let framework = &state["frameworks"][0];
    assert_eq!(
        (framework["recovered"].as_bool(), framework["connected"].as_bool()),
        (Some(true), Some(false)),
        "{framework}"
    );
    scheduler.resubscribe();
    for (name, processes_before) in names.iter().zip(&running) {
        assert_eq!(processes(name, &scheduler), *processes_before);
        assert_eq!(seen_by_master(&cluster, name)["state"], "TASK_RUNNING");
    }
    let end = scheduler.end_of("ends");
    assert_eq!(
        (end["state"].as_str(), end["message"].as_str()),
        (Some("TASK_FAILED"), Some("Command exited with status 6"))
    );
    // Who asks is told.
    let asked = names.map(|name| json!({"task_id": {"value": name}}));
    scheduler.tell(json!({"type": "RECONCILE", "reconcile": {"tasks": asked}}));
    for _ in names {
        let status = scheduler.wait("a reconciliation", |event| {
            let status = event["update"].get("status")?;
            (status["reason"] == "REASON_RECONCILIATION").then(|| status.clone())
        });
        assert_eq!((status["state"].as_str(), status.get("uuid")), (Some("TASK_RUNNING"), None));
    }
    kill_all(&mut scheduler, &names);
    assert_eq!(scheduler.ends("ends"), 1);
    cluster.assert_nothing_beyond(&before);
}

#[test]
fn tasks_go_on_when_both_are_killed() {
    needs!("docker-registry", "skopeo");
    let (mut cluster, _registry, image) = ready();
    cluster.run(&["--image", &image, "--", "true"]).expect(0);
    let before = cluster.inventory();
    let mut scheduler = cluster.scheduler();
    let agent = cluster.agent_id();
    let names = ["one", "two"];
    let running = sleepers(&mut scheduler, &image, &names);
    cluster.kill_master();
    cluster.kill_agent();
    // The agent is back before there is a master.
    cluster.launch_agent();
    cluster.start_master();
    wait_until_registered_again(&cluster, &agent);
    scheduler.resubscribe();
    for (name, processes_before) in names.iter().zip(&running) {
        assert_eq!(processes(name, &scheduler), *processes_before);
    }
    kill_all(&mut scheduler, &names);
    cluster.assert_nothing_beyond(&before);
}

#[test]
fn sigterm_leaves_the_tasks_of_checkpointing_frameworks_and_only_those() {
    needs!("docker-registry", "skopeo");
    let (mut cluster, _registry, image) = ready();
    let agent = cluster.agent_id();
    let mut keeps = cluster.scheduler();
    let mut info = framework();
    info["checkpoint"] = json!(false);
    let mut loses = Scheduler::subscribe(cluster.master(), info);
    let running = sleepers(&mut keeps, &image, &["kept", "kept-too"]);
    sleepers(&mut loses, &image, &["lost"]);
    let status = cluster.end_agent(Signal::TERM);
    assert!(status.success(), "{status}");
    for (name, processes_before) in ["kept", "kept-too"].iter().zip(&running) {
        assert_eq!(processes(name, &keeps), *processes_before);
    }
    cluster.start_agent();
    wait_until_registered_again(&cluster, &agent);
    // Mesos: tasks of frameworks that don't checkpoint are lost with their agent.
    let end = loses.end_of("lost");
    assert!(
        ["TASK_LOST", "TASK_DROPPED", "TASK_GONE", "TASK_FAILED"].contains(&end["state"].as_str().unwrap()),
        "{end}"
    );
    assert_eq!(
        loses
            .seen
            .iter()
            .filter(|e| e["update"]["status"]["task_id"]["value"] == "lost"
                && integration::task::is_terminal(e["update"]["status"]["state"].as_str().unwrap()))
            .count(),
        1
    );
    eventually("its processes are gone", || processes("lost", &loses).is_empty().then_some(()));
    for (name, processes_before) in ["kept", "kept-too"].iter().zip(&running) {
        assert_eq!(processes(name, &keeps), *processes_before);
    }
    kill_all(&mut keeps, &["kept", "kept-too"]);
}

#[test]
fn sigusr1_makes_an_agent_leave_and_ends_its_tasks() {
    needs!("docker-registry", "skopeo");
    let (mut cluster, _registry, image) = ready();
    let agent = cluster.agent_id();
    let mut scheduler = cluster.scheduler();
    sleepers(&mut scheduler, &image, &["one", "two"]);
    let status = cluster.end_agent(Signal::USR1);
    assert!(status.success(), "{status}");
    for name in ["one", "two"] {
        let end = scheduler.end_of(name);
        assert!(["TASK_KILLED", "TASK_GONE"].contains(&end["state"].as_str().unwrap()), "{end}");
        assert!(processes(name, &scheduler).is_empty());
    }
    eventually("the agent is removed", || {
        cluster.state("/slaves")["slaves"].as_array()?.is_empty().then_some(())
    });
    // Whoever comes next is another agent.
    cluster.start_agent();
    assert_ne!(cluster.agent_id(), agent);
    assert!(cluster.scope().cgroups().is_empty());
}

#[test]
fn a_scheduler_that_stays_away_too_long_loses_its_tasks() {
    needs!("docker-registry", "skopeo");
    let (cluster, _registry, image) = ready();
    let mut info = framework();
    info["failover_timeout"] = json!(1.0);
    cluster.run(&["--image", &image, "--", "true"]).expect(0);
    let before = cluster.inventory();
    let mut scheduler = Scheduler::subscribe(cluster.master(), info);
    let running = sleepers(&mut scheduler, &image, &["one"]);
    // In time: nothing happens.
    scheduler.disconnect();
    eventually("it is disconnected", || {
        (cluster.state("/state")["frameworks"][0]["connected"] == false).then_some(())
    });
    scheduler.resubscribe();
    assert_eq!(processes("one", &scheduler), running[0]);
    // Not in time.
    scheduler.disconnect();
    eventually("the framework is removed", || {
        cluster.state("/state")["completed_frameworks"]
            .as_array()?
            .iter()
            .any(|f| f["id"] == scheduler.id())
            .then_some(())
    });
    assert_eq!(seen_by_master(&cluster, "one")["state"], "TASK_KILLED");
    cluster.assert_nothing_beyond(&before);
}
