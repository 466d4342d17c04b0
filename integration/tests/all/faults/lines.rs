//! Lines between processes that are slow, silent, or cut in the middle of a message.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use integration::images::{Layer, busybox};
use integration::leftovers::descriptors;
use integration::task::{shell, task};
use integration::{Cluster, Options, Proxy, Registry, eventually, needs, within};
use serde_json::json;

use super::{active, nobody_panicked, runs, works};

/// An agent behind a line to a master; they give each other up after about two seconds.
fn on_a_line() -> (Cluster, Proxy) {
    let options =
        Options::default().master("--agent_ping_timeout=1secs").master("--max_agent_ping_timeouts=2");
    let mut cluster = Cluster::empty(options);
    cluster.start_master();
    let line = Proxy::to(cluster.master());
    cluster.options().link = Some(line.address());
    cluster.start_agent();
    cluster.agent_id();
    (cluster, line)
}

/// How often the agent came back to the master.
fn returns(cluster: &Cluster) -> usize {
    let log = std::fs::read_to_string(cluster.path("master.log")).unwrap_or_default();
    log.matches("agent re-registered").count() + log.matches("agent came back").count()
}

#[test]
fn a_silent_line_between_agent_and_master() {
    needs!();
    let (mut cluster, line) = on_a_line();
    let agent = cluster.agent_id();
    let mut scheduler = cluster.scheduler();
    scheduler.start(|offer| task("survives", offer, shell("exec sleep 1000")));
    scheduler.wait_for("survives", "TASK_RUNNING");
    scheduler.start(|offer| task("ends-meanwhile", offer, shell("sleep 1; exit 5")));
    scheduler.wait_for("ends-meanwhile", "TASK_RUNNING");
    let open = descriptors(cluster.agent_process().pid());
    let start = Instant::now();
    line.silence();
    scheduler.wait_for("survives", "TASK_UNREACHABLE");
    assert!(start.elapsed() < Duration::from_secs(10), "noticed after {:?}", start.elapsed());
    // Both are there for others.
    assert_eq!(cluster.state("/slaves")["slaves"], json!([]));
    assert!(cluster.agent_state("/state")["frameworks"].is_array());
    line.speak();
    scheduler.wait_for("survives", "TASK_RUNNING");
    let end = scheduler.end_of("ends-meanwhile");
    assert_eq!((end["state"].as_str(), scheduler.ends("ends-meanwhile")), (Some("TASK_FAILED"), 1), "{end}");
    assert_eq!(cluster.agent_id(), agent);
    works(&mut scheduler, "after");
    // The line that fell silent stays so, a new one is good: the agent makes a new one.
    let before = returns(&cluster);
    line.strand();
    eventually("the agent comes back", || (returns(&cluster) > before).then_some(()));
    works(&mut scheduler, "on-another-line");
    scheduler.kill("survives");
    assert_eq!(scheduler.end_of("survives")["state"], "TASK_KILLED");
    eventually("descriptors are closed", || {
        (descriptors(cluster.agent_process().pid()) <= open + 3).then_some(())
    });
    nobody_panicked(&cluster);
}

#[test]
fn a_line_that_is_cut_after_any_number_of_bytes() {
    needs!();
    let mut cluster = Cluster::empty(Options::default());
    cluster.start_master();
    let line = Proxy::to(cluster.master());
    cluster.options().link = Some(line.address());
    cluster.start_agent();
    let agent = cluster.agent_id();
    let mut scheduler = cluster.scheduler();
    for (number, bytes) in [1, 40, 200, 350, 700, 1200].into_iter().enumerate() {
        let id = format!("task-{number}");
        let before = returns(&cluster);
        line.cut_after(bytes);
        scheduler.start(|offer| task(&id, offer, shell("exit 3")));
        // A task whose launch was cut off was never there; one that was ends as it does.
        let end = scheduler.end_of(&id);
        let state = end["state"].as_str().unwrap();
        assert!(["TASK_FAILED", "TASK_DROPPED"].contains(&state), "{end}");
        assert!(scheduler.ends(&id) <= 1, "{:?}", scheduler.states(&id));
        // More than was said so far may pass before the cut.
        line.cut();
        eventually("the agent comes back", || (returns(&cluster) > before).then_some(()));
    }
    line.cut_after(u64::MAX);
    assert_eq!(cluster.agent_id(), agent);
    works(&mut scheduler, "after");
    nobody_panicked(&cluster);
}

#[test]
fn a_slow_line_between_agent_and_master() {
    needs!();
    let (cluster, line) = on_a_line();
    let mut scheduler = cluster.scheduler();
    line.slow_down(3000);
    let before = line.passed();
    let offer = scheduler.offer();
    let ids: Vec<String> = (0..8).map(|number| format!("task-{number}")).collect();
    scheduler.launch(&offer, ids.iter().map(|id| task(id, &offer, shell("exit 0"))).collect());
    for id in &ids {
        assert_eq!(scheduler.end_of(id)["state"], "TASK_FINISHED");
    }
    assert!(line.passed() > before + 1000);
    assert_eq!(active(&cluster), Some(1));
    nobody_panicked(&cluster);
}

#[test]
fn a_scheduler_on_a_bad_line() {
    needs!();
    let cluster = Cluster::start();
    let line = Proxy::to(cluster.master());
    let master = format!("--master={}", line.address());
    for bytes in [300, 1100, 2500] {
        let go = cluster.path(&format!("go-{bytes}"));
        let command = format!("until test -e {}; do sleep 0.02; done; echo done; exit 3", go.display());
        line.cut_after(bytes);
        let run = cluster.tepui(&["run", &master, "--command", &command]);
        runs(&cluster);
        // It is cut once more, while it waits.
        line.cut();
        std::fs::write(&go, "").unwrap();
        let ended = run.wait().expect(3);
        assert!(ended.stdout.contains("done"), "{ended:?}");
    }
    // What is told while nothing comes through is told afterwards, all of it and once.
    let mut scheduler = integration::Scheduler::subscribe(line.address(), integration::task::framework());
    scheduler.start_last(|offer| task("silent", offer, shell("sleep 1; exit 4")));
    scheduler.wait_for("silent", "TASK_RUNNING");
    line.silence();
    let mut other = cluster.scheduler();
    works(&mut other, "other");
    line.speak();
    assert_eq!(scheduler.end_of("silent")["state"], "TASK_FAILED");
    assert_eq!(scheduler.ends("silent"), 1);
    nobody_panicked(&cluster);
}

#[test]
fn bodies_that_never_end_hold_nobody_up() {
    needs!();
    let mut cluster = Cluster::start();
    let mut scheduler = cluster.scheduler();
    let master = cluster.master_process().pid();
    let before = descriptors(master);
    let begun: Vec<TcpStream> = (0..100)
        .map(|number| {
            let mut socket = TcpStream::connect(cluster.master()).unwrap();
            // Half of them don't say how long it will be.
            let length =
                if number % 2 == 0 { "Content-Length: 4000000" } else { "Transfer-Encoding: chunked" };
            let head = "POST /api/v1/scheduler HTTP/1.1\r\nHost: x\r\nContent-Type: application/json";
            let first = if number % 2 == 0 { "{" } else { "1\r\n{\r\n" };
            socket.write_all(format!("{head}\r\n{length}\r\n\r\n{first}").as_bytes()).unwrap();
            socket
        })
        .collect();
    eventually("the master has them all", || (descriptors(master) >= before + 100).then_some(()));
    let start = Instant::now();
    // A large call of somebody who sends it all: ids of tasks to be told about.
    let tasks: Vec<_> =
        (0..4000).map(|n| json!({"task_id": {"value": format!("unknown-{n:060}")}})).collect();
    scheduler.tell(json!({"type": "RECONCILE", "reconcile": {"tasks": tasks}}));
    works(&mut scheduler, "meanwhile");
    assert!(start.elapsed() < Duration::from_secs(15), "held up for {:?}", start.elapsed());
    // Those who go are forgotten, however they go.
    for (number, mut socket) in begun.into_iter().enumerate() {
        if number % 3 == 0 {
            socket.shutdown(std::net::Shutdown::Write).unwrap();
            // Either an answer or the end.
            let _ = socket.read(&mut [0; 100]);
        }
    }
    eventually("their connections are closed", || (descriptors(master) <= before + 10).then_some(()));
    nobody_panicked(&cluster);
}

#[test]
fn a_bad_line_to_a_registry() {
    needs!("docker-registry", "skopeo");
    let registry = Registry::start();
    let noise: Vec<u8> =
        (0..3_000_000_u64).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
    let image = registry.push("image", &busybox().layer(Layer::new().file("noise", &noise))).name;
    let line = Proxy::to(registry.address());
    let name = image.replace(&registry.address().to_string(), &line.address().to_string());
    let cluster = Cluster::start();
    let before = cluster.inventory();
    // Cut again and again at all stages: what is missing is fetched by later tries, or the failure is told.
    let mut failed = 0;
    for bytes in [1, 500, 1500, 3000, 100_000, 1_500_000, 2_500_000] {
        line.cut_after(bytes);
        let store = cluster.path(&format!("store-{bytes}"));
        let ended = cluster.tepui(&["image", "pull", &name, &format!("--store={}", store.display())]).wait();
        assert!(!ended.stderr.contains("panicked"), "{ended:?}");
        if ended.code != 0 {
            failed += 1;
            assert!(ended.stderr.contains(&line.address().to_string()), "{ended:?}");
        }
        line.cut_after(u64::MAX);
        cluster.tepui(&["image", "pull", &name, &format!("--store={}", store.display())]).wait().expect(0);
        cluster.tepui(&["image", "verify", &format!("--store={}", store.display())]).wait().expect(0);
    }
    println!("{failed} pulls failed");
    // One that is waited for on a silent line can be killed, and holds nobody up.
    let mut scheduler = cluster.scheduler();
    line.silence();
    scheduler.start(|offer| integration::task::task_in("silent", offer, shell("true"), &name));
    works(&mut scheduler, "meanwhile");
    scheduler.kill("silent");
    assert_eq!(scheduler.end_of("silent")["state"], "TASK_KILLED");
    // Nobody else has what the last one needs.
    scheduler.tell(json!({"type": "TEARDOWN"}));
    cluster.assert_nothing_beyond(&before);
    // A slow one is only slow.
    line.speak();
    line.slow_down(2_000_000);
    cluster.run(&["--image", &name, "--", "true"]).expect(0);
    nobody_panicked(&cluster);
}

#[test]
fn a_line_that_falls_silent_before_anything_was_said() {
    needs!();
    let mut cluster = Cluster::empty(Options::default());
    cluster.start_master();
    let line = Proxy::to(cluster.master());
    line.strand_next();
    cluster.options().link = Some(line.address());
    cluster.start_agent();
    // Neither side has been told yet how long to wait: their own limits end it.
    within(Duration::from_secs(70), "the agent makes another connection", || {
        (line.accepted() > 1).then_some(())
    });
    cluster.agent_id();
    works(&mut cluster.scheduler(), "after");
    nobody_panicked(&cluster);
}
