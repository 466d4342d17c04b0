//! Limits of tasks: as they stand on the host, and what happens when they are hit; and how tasks are killed.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use integration::images::busybox;
use integration::leftovers::roots;
use integration::task::{container, scalar, shell, task, task_in};
use integration::{Cluster, OrFail, Registry, eventually, needs};
use serde_json::{Value, json};

fn ready() -> (Cluster, Registry, String) {
    let registry = Registry::start();
    let image = registry.push("busybox", &busybox()).name;
    (Cluster::start(), registry, image)
}

/// A file of a container's cgroup on the host, in whichever hierarchy has it.
fn setting(cluster: &Cluster, container: &str, file: &str) -> Option<String> {
    let folders = roots(cluster.cgroups_root()).into_iter().map(|root| root.join(container));
    let found: Vec<PathBuf> = folders.map(|folder| folder.join(file)).filter(|path| path.is_file()).collect();
    Some(fs::read_to_string(found.first()?).or_fail(file).trim().to_owned())
}

fn container_of(status: &Value) -> String {
    status["container_status"]["container_id"]["value"].as_str().or_fail("a container id").to_owned()
}

#[test]
fn limits_stand_in_the_hosts_cgroups() {
    needs!("docker-registry", "skopeo");
    let (cluster, _registry, image) = ready();
    let mut scheduler = cluster.scheduler();
    scheduler.start(|offer| {
        let mut task = task_in("limited", offer, shell("exec sleep 1000"), &image);
        task["resources"] = json!([scalar("cpus", 0.5), scalar("mem", 64.0)]);
        task["limits"] = json!({"cpus": {"value": 1.5}, "mem": {"value": 96.0}});
        task
    });
    let id = container_of(&scheduler.wait_for("limited", "TASK_RUNNING"));
    let read = |file: &str| setting(&cluster, &id, file);
    let one_of = |v1: (&str, &str), v2: (&str, &str)| {
        let found = read(v1.0).map(|value| (value, v1.1)).or_else(|| read(v2.0).map(|value| (value, v2.1)));
        let (found, wanted) = found.or_fail(format!("{} or {}", v1.0, v2.0));
        assert_eq!(found, wanted, "{} or {}", v1.0, v2.0);
    };
    one_of(("memory.limit_in_bytes", "100663296"), ("memory.max", "100663296"));
    one_of(("memory.soft_limit_in_bytes", "67108864"), ("memory.low", "67108864"));
    one_of(("cpu.shares", "512"), ("cpu.weight", "20"));
    one_of(("cpu.cfs_quota_us", "150000"), ("cpu.max", "150000 100000"));
    one_of(("pids.max", "4096"), ("pids.max", "4096"));
    // And its processes are in them.
    let own = eventually("its processes", || {
        let procs = roots(cluster.cgroups_root()).into_iter().flat_map(|root| {
            let folder = root.join(&id);
            [folder.join("cgroup.procs"), folder.join("leaf/cgroup.procs")]
        });
        let counts: Vec<usize> =
            procs.filter_map(|path| Some(fs::read_to_string(path).ok()?.lines().count())).collect();
        // The init and the command, in every hierarchy.
        counts.contains(&2).then_some(counts)
    });
    assert!(own.iter().filter(|count| **count == 2).count() >= own.len().saturating_sub(1).max(1), "{own:?}");
    scheduler.kill("limited");
    scheduler.end_of("limited");
    eventually("its cgroups are gone", || cluster.scope().cgroups().is_empty().then_some(()));
}

#[test]
fn requests_are_limits_where_there_are_none() {
    needs!("docker-registry", "skopeo");
    let (cluster, _registry, image) = ready();
    let mut scheduler = cluster.scheduler();
    scheduler.start(|offer| {
        let mut task = task_in("requests", offer, shell("exec sleep 1000"), &image);
        task["resources"] = json!([scalar("cpus", 0.1), scalar("mem", 48.0)]);
        task
    });
    let id = container_of(&scheduler.wait_for("requests", "TASK_RUNNING"));
    let memory =
        setting(&cluster, &id, "memory.limit_in_bytes").or_else(|| setting(&cluster, &id, "memory.max"));
    assert_eq!(memory.as_deref(), Some("50331648"));
    // Without --cgroups_enable_cfs a task may use what CPU time nobody else wants.
    let quota = setting(&cluster, &id, "cpu.cfs_quota_us").or_else(|| setting(&cluster, &id, "cpu.max"));
    assert!(quota.as_deref().is_some_and(|quota| quota == "-1" || quota.starts_with("max")), "{quota:?}");
    scheduler.kill("requests");
    scheduler.end_of("requests");
}

#[test]
fn a_task_that_takes_too_much_memory_fails_with_the_reason() {
    needs!("docker-registry", "skopeo");
    let (cluster, _registry, image) = ready();
    cluster.run(&["--image", &image, "--", "true"]).expect(0);
    let before = cluster.inventory();
    let mut scheduler = cluster.scheduler();
    for (name, image) in [("eats", Some(&image)), ("eats-bare", None)] {
        scheduler.start(|offer| {
            let mut task = task(name, offer, shell("echo begins; exec tail /dev/zero"));
            if let Some(image) = image {
                task["container"] = container(image);
            }
            task["resources"] = json!([scalar("cpus", 0.1), scalar("mem", 40.0)]);
            task
        });
        let end = scheduler.end_of(name);
        assert_eq!(end["state"], "TASK_FAILED", "{end}");
        assert_eq!(end["reason"], "REASON_CONTAINER_LIMITATION_MEMORY", "{end}");
        assert_eq!(end["limitation"]["resources"][0]["name"], "mem", "{end}");
        assert_eq!(end["limitation"]["resources"][0]["scalar"]["value"], 40.0, "{end}");
        let message = end["message"].as_str().or_fail("a message");
        assert!(message.contains("out of memory") && message.contains("40 MB"), "{message}");
        assert_eq!(scheduler.states(name), ["TASK_STARTING", "TASK_RUNNING", "TASK_FAILED"]);
    }
    cluster.assert_nothing_beyond(&before);
    scheduler.disconnect();
    let ended = cluster.run(&["--image", &image, "--mem=40", "--", "tail", "/dev/zero"]).expect(137);
    assert!(ended.stderr.contains("REASON_CONTAINER_LIMITATION_MEMORY"), "{}", ended.stderr);
}

#[test]
fn the_number_of_processes_is_limited() {
    needs!("docker-registry", "skopeo");
    let (cluster, _registry, image) = ready();
    cluster.run(&["--image", &image, "--", "true"]).expect(0);
    let before = cluster.inventory();
    let script = "i=0; while [ $i -lt 5000 ]; do sleep 1000 & i=$((i+1)); echo $i > n; done";
    let words = ["--image", &image, "--mem=2048", "--limits=cpus:1", "--", "sh", "-c", script];
    let ended = cluster.run(&words);
    assert_ne!(ended.code, 0);
    assert!(ended.stderr.contains("can't fork: Resource temporarily unavailable"), "{}", ended.stderr);
    cluster.assert_nothing_beyond(&before);
}

#[test]
fn a_fork_bomb_is_ended_by_a_kill() {
    needs!("docker-registry", "skopeo");
    let (cluster, _registry, image) = ready();
    cluster.run(&["--image", &image, "--", "true"]).expect(0);
    let before = cluster.inventory();
    let mut scheduler = cluster.scheduler();
    scheduler.start(|offer| {
        let mut task = task_in(
            "bomb",
            offer,
            shell("bomb() { bomb | bomb & }; bomb; while :; do sleep 1; done"),
            &image,
        );
        task["resources"] = json!([scalar("cpus", 0.1), scalar("mem", 1024.0)]);
        task["limits"] = json!({"cpus": {"value": 1.0}});
        task["kill_policy"] = json!({"grace_period": {"nanoseconds": 200_000_000}});
        task
    });
    let id = container_of(&scheduler.wait_for("bomb", "TASK_RUNNING"));
    eventually("it has exploded", || {
        let count: u32 = setting(&cluster, &id, "pids.current")?.parse().ok()?;
        assert!(count <= 4096, "{count}");
        (count > 500).then_some(())
    });
    scheduler.kill("bomb");
    let end = scheduler.end_of("bomb");
    assert_eq!(end["state"], "TASK_KILLED", "{end}");
    assert_eq!(scheduler.ends("bomb"), 1);
    cluster.assert_nothing_beyond(&before);
}

#[test]
fn sigterm_comes_first_and_sigkill_after_the_grace_period() {
    needs!("docker-registry", "skopeo");
    let (cluster, _registry, image) = ready();
    let mut scheduler = cluster.scheduler();
    let grace = |seconds: f64| json!({"grace_period": {"nanoseconds": seconds * 1e9}});
    // One that ends when it is asked to, one that doesn't, and one whose children don't.
    let polite = "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.05; done";
    let stubborn = "trap 'echo no' TERM; echo up; while :; do sleep 0.05; done";
    let children = "(trap '' TERM; while :; do sleep 0.05; done) & echo up; wait";
    let offer = scheduler.offer();
    let tasks = [("polite", polite, 30.0), ("stubborn", stubborn, 1.0), ("children", children, 1.0)].map(
        |(name, script, seconds)| {
            let mut task = task_in(name, &offer, shell(script), &image);
            task["kill_policy"] = grace(seconds);
            task
        },
    );
    scheduler.launch(&offer, tasks.into());
    let said = |id: &str, name: &str| {
        fs::read_to_string(cluster.sandbox(id, name).join("stdout")).unwrap_or_default()
    };
    for name in ["polite", "stubborn", "children"] {
        let id = scheduler.id().to_owned();
        eventually("its trap is set", || (said(&id, name) == "up\n").then_some(()));
        // The agent may hear of its start later; a kill before that is not told as TASK_KILLING.
        scheduler.start_of(name);
    }
    let asked = Instant::now();
    for name in ["polite", "stubborn", "children"] {
        scheduler.kill(name);
    }
    let end = scheduler.end_of("polite");
    assert_eq!(
        (end["state"].as_str(), end["message"].as_str()),
        (Some("TASK_KILLED"), Some("Command exited with status 5"))
    );
    assert!(asked.elapsed().as_secs() < 20, "it was not waited for");
    assert_eq!(said(scheduler.id(), "polite"), "up\nbye\n");
    let end = scheduler.end_of("stubborn");
    assert_eq!(
        (end["state"].as_str(), end["message"].as_str()),
        (Some("TASK_KILLED"), Some("Command terminated with signal Killed"))
    );
    assert!(asked.elapsed().as_secs_f64() >= 1.0, "the grace period was {:?}", asked.elapsed());
    assert_eq!(said(scheduler.id(), "stubborn"), "up\nno\n");
    assert_eq!(scheduler.end_of("children")["state"], "TASK_KILLED");
    for name in ["polite", "stubborn", "children"] {
        let states = scheduler.states(name);
        let states: Vec<&str> = states.iter().map(String::as_str).collect();
        assert_eq!(states, ["TASK_STARTING", "TASK_RUNNING", "TASK_KILLING", "TASK_KILLED"], "{name}");
    }
    eventually("all processes are gone", || cluster.scope().processes().is_empty().then_some(()));
}

#[test]
fn a_second_kill_can_shorten_the_grace_period() {
    needs!();
    let cluster = Cluster::start();
    let mut scheduler = cluster.scheduler();
    scheduler.start(|offer| {
        let mut task = task("slow", offer, shell("trap '' TERM; while :; do sleep 0.05; done"));
        task["kill_policy"] = json!({"grace_period": {"nanoseconds": 600_000_000_000_u64}});
        task
    });
    scheduler.wait_for("slow", "TASK_RUNNING");
    scheduler.kill("slow");
    scheduler.wait_for("slow", "TASK_KILLING");
    // Mesos: a repeated KILL with a kill_policy overrides the grace period that runs.
    let policy = json!({"grace_period": {"nanoseconds": 100_000_000}});
    scheduler.tell(json!({"type": "KILL", "kill": {"task_id": {"value": "slow"}, "kill_policy": policy}}));
    assert_eq!(scheduler.end_of("slow")["state"], "TASK_KILLED");
}

#[test]
fn a_task_that_runs_too_long_is_ended() {
    needs!();
    let cluster = Cluster::start();
    let mut scheduler = cluster.scheduler();
    scheduler.start(|offer| {
        let mut task = task("long", offer, shell("exec sleep 1000"));
        task["max_completion_time"] = json!({"nanoseconds": 500_000_000});
        task
    });
    let end = scheduler.end_of("long");
    assert_eq!(
        (end["state"].as_str(), end["reason"].as_str()),
        (Some("TASK_FAILED"), Some("REASON_MAX_COMPLETION_TIME_REACHED"))
    );
}

/// Mesos' names of a process' limits, the kernel's, and a value that any host allows (none: only root may have any).
const RLIMITS: [(&str, &str, u64); 16] = [
    ("RLMT_AS", "Max address space", 1 << 30),
    ("RLMT_CORE", "Max core file size", 4096),
    ("RLMT_CPU", "Max cpu time", 600),
    ("RLMT_DATA", "Max data size", 1 << 29),
    ("RLMT_FSIZE", "Max file size", 1 << 21),
    ("RLMT_LOCKS", "Max file locks", 77),
    ("RLMT_MEMLOCK", "Max locked memory", 8192),
    ("RLMT_MSGQUEUE", "Max msgqueue size", 2000),
    ("RLMT_NICE", "Max nice priority", 0),
    ("RLMT_NOFILE", "Max open files", 99),
    ("RLMT_NPROC", "Max processes", 500),
    ("RLMT_RSS", "Max resident set", 1 << 28),
    ("RLMT_RTPRIO", "Max realtime priority", 0),
    ("RLMT_RTTIME", "Max realtime timeout", 5000),
    ("RLMT_SIGPENDING", "Max pending signals", 40),
    ("RLMT_STACK", "Max stack size", 1 << 22),
];

fn with_rlimits(mut task: Value, limits: &[(&str, Option<u64>, Option<u64>)]) -> Value {
    let limits: Vec<Value> = limits
        .iter()
        .map(|(name, soft, hard)| {
            let mut limit = json!({"type": name});
            for (key, value) in [("soft", soft), ("hard", hard)] {
                if let Some(value) = value {
                    limit[key] = json!(value);
                }
            }
            limit
        })
        .collect();
    if task["container"].is_null() {
        task["container"] = json!({"type": "MESOS"});
    }
    task["container"]["rlimit_info"] = json!({"rlimits": limits});
    task
}

#[test]
fn limits_of_a_tasks_processes_are_those_it_asks_for() {
    needs!("docker-registry", "skopeo");
    let (cluster, _registry, image) = ready();
    let mut scheduler = cluster.scheduler();
    // Half is soft; with neither given there is no limit.
    let mut asked: Vec<_> =
        RLIMITS.iter().map(|(name, _, hard)| (*name, Some(hard / 2), Some(*hard))).collect();
    asked[2] = ("RLMT_CPU", None, None);
    for (id, image) in [("inside", Some(&image)), ("bare", None)] {
        scheduler.start(|offer| {
            let mut task = task(id, offer, shell("cat /proc/self/limits"));
            if let Some(image) = image {
                task["container"] = container(image);
            }
            with_rlimits(task, &asked)
        });
        let end = scheduler.end_of(id);
        let text = fs::read_to_string(cluster.sandbox(scheduler.id(), id).join("stdout")).unwrap_or_default();
        assert_eq!(end["state"], "TASK_FINISHED", "{end} {text}");
        for (name, row, hard) in RLIMITS {
            let line = text.lines().find(|line| line.starts_with(row)).or_fail(format!("{row} in {text}"));
            let found: Vec<&str> = line[row.len()..].split_whitespace().take(2).collect();
            let wanted = match name {
                "RLMT_CPU" => ["unlimited".to_owned(), "unlimited".to_owned()],
                _ => [(hard / 2).to_string(), hard.to_string()],
            };
            assert_eq!(found, wanted, "{name}: {line}");
        }
    }
}

#[test]
fn a_limit_of_a_tasks_processes_that_can_not_be_is_named() {
    needs!();
    let cluster = Cluster::start();
    let mut scheduler = cluster.scheduler();
    for (id, limit, state, words) in [
        // Beyond the sysctl fs.nr_open nobody gets them, whatever the agent's powers.
        ("high", ("RLMT_NOFILE", Some(1), Some(1 << 40)), "TASK_FAILED", ["RLIMIT_NOFILE", "1099511627776"]),
        ("turned", ("RLMT_CORE", Some(2), Some(1)), "TASK_ERROR", ["RLIMIT_CORE", "soft limit"]),
        ("half", ("RLMT_STACK", None, Some(1)), "TASK_ERROR", ["RLIMIT_STACK", "neither"]),
    ] {
        scheduler.start(|offer| with_rlimits(task(id, offer, shell("true")), &[limit]));
        let end = scheduler.end_of(id);
        let message = end["message"].as_str().unwrap_or_default();
        assert!(end["state"] == state && words.iter().all(|word| message.contains(word)), "{end}");
    }
}
