//! What a container does to the agent that runs it (threats K25).

use std::time::{Duration, Instant};

use integration::client::Request;
use integration::images::busybox;
use integration::task::{scalar, shell, task_in};
use integration::{Cluster, OrFail, Registry, eventually, needs};
use serde_json::json;

#[test]
fn k25_an_agent_answers_at_once_while_containers_misbehave() {
    needs!("docker-registry", "skopeo");
    let soak = std::env::var("SOAK").is_ok_and(|soak| soak == "1");
    let lasting = Duration::from_secs(if soak { 600 } else { 6 });
    let registry = Registry::start();
    let image = registry.push("busybox", &busybox()).name;
    let cluster = Cluster::start();
    let mut scheduler = cluster.scheduler();
    let offer = scheduler.offer();
    let tasks = [
        ("calm", "while :; do sleep 0.2; echo on; done"),
        ("bomb", "f() { f | f & }; f; while :; do sleep 1; done"),
        ("eater", "while :; do (tail /dev/zero) 2>/dev/null; done"),
        ("writer", "while :; do dd if=/dev/zero of=big bs=65536 count=400 2>/dev/null; echo written; done"),
        ("shouter", "n=0; while [ $n -lt 300000 ]; do n=$((n+1)); echo $n of what a task has to say; done; sleep 10000"),
    ]
    .map(|(id, script)| {
        let mut task = task_in(id, &offer, shell(script), &image);
        task["resources"] = json!([scalar("cpus", 0.1), scalar("mem", 128.0)]);
        task["limits"] = json!({"cpus": {"value": 0.4}});
        task["kill_policy"] = json!({"grace_period": {"nanoseconds": 0}});
        task
    });
    scheduler.launch(&offer, tasks.into());
    let said = |cluster: &Cluster, id: &str| {
        let stdout = cluster.sandbox(scheduler.id(), id).join("stdout");
        std::fs::read_to_string(stdout).unwrap_or_default().lines().count()
    };
    for id in ["calm", "writer", "shouter"] {
        eventually(format!("{id} works"), || (said(&cluster, id) > 0).then_some(()));
    }
    let (begun, before) = (Instant::now(), said(&cluster, "calm"));
    let mut took = Vec::new();
    while begun.elapsed() < lasting {
        for path in ["/health", "/state"] {
            let asked = Instant::now();
            let reply = Request::new("GET", path).send(cluster.agent()).or_fail(path);
            assert_eq!(reply.status, 200, "{path}");
            took.push(asked.elapsed());
        }
    }
    took.sort();
    let worst = took[(took.len() * 99 / 100).min(took.len() - 1)];
    assert!(took.len() > 20 && worst < Duration::from_secs(1), "{} answers, p99 {worst:?}", took.len());
    assert!(said(&cluster, "calm") > before + 2, "other tasks go on");
    scheduler.kill("eater");
    for id in ["calm", "bomb", "writer", "shouter"] {
        scheduler.kill(id);
        let end = scheduler.end_of(id);
        // Where the kernel ends one process of a container that is out of memory, a bomb may hit its own first one.
        let own_fault = id == "bomb" && end["reason"] == "REASON_CONTAINER_LIMITATION_MEMORY";
        assert!(end["state"] == "TASK_KILLED" || own_fault, "{id}: {end}");
    }
}
