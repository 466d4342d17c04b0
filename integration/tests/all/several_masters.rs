//! Several masters with a real ensemble: one leads, and whatever happens to it, tasks go on and nothing is lost.

use std::collections::BTreeSet;
use std::time::Duration;

use integration::client::{Request, get};
use integration::leftovers::processes_with;
use integration::task::{framework, program, shell, task};
use integration::{Cluster, Masters, Options, OrFail, Scheduler, eventually, needs};
use rustix::process::Signal;
use serde_json::{Value, json};

/// An agent that comes back as soon as a new master leads.
fn agent(masters: &Masters) -> Cluster {
    masters.agent(Options::default())
}

/// A task that sleeps for long, running; its processes.
fn sleeper(scheduler: &mut Scheduler, name: &str) -> BTreeSet<(u32, u64)> {
    scheduler.start(|offer| task(name, offer, program(&["sleep", "1000"])));
    scheduler.wait_for(name, "TASK_RUNNING");
    let found = processes(scheduler, name);
    assert!(!found.is_empty(), "{name} has no process");
    found
}

fn processes(scheduler: &Scheduler, task: &str) -> BTreeSet<(u32, u64)> {
    let of_framework = processes_with(&format!("MESOS_FRAMEWORK_ID={}", scheduler.id()));
    processes_with(&format!("MESOS_EXECUTOR_ID={task}")).intersection(&of_framework).copied().collect()
}

/// Follows the leadership to that master: the agent is there, and the scheduler subscribed.
fn follow(masters: &Masters, cluster: &mut Cluster, scheduler: &mut Scheduler, leader: u16) {
    cluster.options().led_from = Some(masters.address(leader));
    scheduler.move_to(masters.address(leader));
    cluster.agent_id();
}

/// What the master says of a task.
fn reconciled(scheduler: &mut Scheduler, agent: &str, task: &str) -> String {
    let asked = json!([{"task_id": {"value": task}, "agent_id": {"value": agent}}]);
    scheduler.tell(json!({"type": "RECONCILE", "reconcile": {"tasks": asked}}));
    scheduler.wait("an answer", |event| {
        let status = &event["update"]["status"];
        (status["reason"] == "REASON_RECONCILIATION" && status["task_id"]["value"] == task)
            .then(|| status["state"].as_str().unwrap_or_default().to_owned())
    })
}

#[test]
fn who_stands_by_sends_everybody_to_the_leader() {
    needs!("java");
    let masters = Masters::start(2, &["--hostname=m.example"]);
    let leader = masters.leader();
    let standby = masters.address(1 - leader);
    let location = format!("//m.example:{}", masters.address(leader).port());
    for (path, expected) in
        [("/state?jsonp=x", "/state?jsonp=x"), ("/master/slaves", "/master/slaves"), ("/redirect", "")]
    {
        let expected = format!("{location}{expected}");
        // Mesos: 307 with a location that keeps the client's protocol.
        let reply = eventually("the leader is known to the other", || {
            Some(get(standby, path)).filter(|reply| reply.status == 307)
        });
        assert_eq!(reply.header("location"), Some(expected.as_str()), "{path}");
    }
    let call = json!({"type": "GET_STATE"});
    assert_eq!(Request::post("/api/v1", &call).send(standby).unwrap().status, 307);
    let subscribe = json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": framework()}});
    assert_eq!(Request::post("/api/v1/scheduler", &subscribe).send(standby).unwrap().status, 307);
    for path in ["/health", "/flags", "/version", "/metrics/snapshot"] {
        assert_eq!(get(standby, path).status, 200, "{path}");
    }
    assert_eq!(get(standby, "/metrics/snapshot").json()["master/elected"], 0.0);
    let state = get(masters.address(leader), "/state").json();
    assert_eq!(state["leader"], format!("master@{}", masters.address(leader)));
}

#[test]
fn tasks_go_on_when_the_leader_is_killed_and_another_leads() {
    needs!("java");
    let mut masters = Masters::start(3, &[]);
    let mut cluster = agent(&masters);
    let mut scheduler = cluster.scheduler();
    let agent_id = cluster.agent_id();
    let first = sleeper(&mut scheduler, "first");
    let mut names = vec!["first".to_owned()];
    for round in 0..3 {
        let leader = masters.leader();
        masters.kill(leader);
        let next = masters.successor(leader);
        follow(&masters, &mut cluster, &mut scheduler, next);
        assert_eq!(cluster.agent_id(), agent_id, "the agent keeps its id");
        for name in &names {
            assert_eq!(reconciled(&mut scheduler, &agent_id, name), "TASK_RUNNING");
        }
        // The new leader gives work, too.
        let name = format!("later{round}");
        sleeper(&mut scheduler, &name);
        names.push(name);
        masters.resume(leader);
    }
    assert_eq!(processes(&scheduler, "first"), first, "the same processes");
    for name in &names {
        scheduler.kill(name);
        assert_eq!(scheduler.end_of(name)["state"], "TASK_KILLED");
    }
    for name in &names {
        let ends = scheduler.states(name).iter().filter(|state| *state == "TASK_KILLED").count();
        assert_eq!(ends, 1, "{:?}", scheduler.states(name));
    }
}

#[test]
fn a_leader_that_was_stopped_beyond_its_session_acts_no_more() {
    needs!("java");
    let masters = Masters::start(2, &[]);
    let mut cluster = agent(&masters);
    let mut scheduler = cluster.scheduler();
    let agent_id = cluster.agent_id();
    sleeper(&mut scheduler, "goes-on");
    let old = masters.leader();
    masters.signal(old, Signal::STOP);
    let new = masters.successor(old);
    follow(&masters, &mut cluster, &mut scheduler, new);
    masters.signal(old, Signal::CONT);
    // It notices by itself, drops what it knew, and sends everybody to the other.
    eventually("the old leader stands by", || {
        (get(masters.address(old), "/state").status == 307).then_some(())
    });
    let log = std::fs::read_to_string(masters.log(old)).unwrap();
    assert!(log.contains("this master stopped leading"), "{log}");
    assert_eq!(reconciled(&mut scheduler, &agent_id, "goes-on"), "TASK_RUNNING");
    sleeper(&mut scheduler, "of-the-new");
    // And it can lead again, with an epoch that counts.
    masters.signal(new, Signal::STOP);
    let again = masters.successor(new);
    assert_eq!(again, old);
    follow(&masters, &mut cluster, &mut scheduler, again);
    masters.signal(new, Signal::CONT);
    for name in ["goes-on", "of-the-new"] {
        assert_eq!(reconciled(&mut scheduler, &agent_id, name), "TASK_RUNNING");
    }
    assert!(epochs(&masters, old).last() > epochs(&masters, new).last());
}

/// The epochs under which a master led, by its log.
fn epochs(masters: &Masters, master: u16) -> Vec<u64> {
    let log = std::fs::read_to_string(masters.log(master)).or_fail("its log");
    let led = log.lines().filter(|line| line.contains(" leading epoch="));
    led.filter_map(|line| line.split("epoch=").nth(1)?.split(' ').next()?.parse().ok()).collect()
}

#[test]
fn what_the_registry_says_of_agents_outlives_its_leader() {
    needs!("java");
    let mut masters = Masters::start(2, &[]);
    let mut gone = agent(&masters);
    let gone_id = gone.agent_id();
    let leader = masters.leader();
    let call = json!({"type": "MARK_AGENT_GONE", "mark_agent_gone": {"agent_id": {"value": gone_id}}});
    assert_eq!(Request::post("/api/v1", &call).send(masters.address(leader)).unwrap().status, 200);
    let stays = agent(&masters);
    let stays_id = stays.agent_id();
    masters.kill(leader);
    let next = masters.successor(leader);
    eventually("the other agent is back", || {
        let slaves = get(masters.address(next), "/slaves").json();
        let all = slaves["slaves"].as_array()?;
        all.iter().any(|agent| agent["id"] == stays_id.as_str() && agent["active"] == true).then_some(())
    });
    let mut scheduler = Scheduler::subscribe(masters.address(next), framework());
    assert_eq!(reconciled(&mut scheduler, &gone_id, "any"), "TASK_GONE_BY_OPERATOR");
    assert_eq!(reconciled(&mut scheduler, &stays_id, "any"), "TASK_GONE");
    gone.agent_process().wait();
}

#[test]
fn the_registry_is_exported_and_imported() {
    needs!("java");
    let mut masters = Masters::start(2, &[]);
    let cluster = agent(&masters);
    let agent_id = cluster.agent_id();
    let (zk, file) = (format!("--zk={}", masters.url()), cluster.path("registry.json"));
    let exported = cluster.tepui(&["registry", "export", &zk]).wait().expect(0).stdout;
    let registry: Value = serde_json::from_str(&exported).unwrap();
    assert_eq!(registry["admitted"][0]["id"]["value"], agent_id.as_str(), "{exported}");
    std::fs::write(&file, &exported).unwrap();
    let file = file.to_string_lossy().into_owned();
    let refused = cluster.tepui(&["registry", "import", &zk, "--force", &file]).wait().expect(1);
    assert!(refused.stderr.contains("masters that contend"), "{}", refused.stderr);
    for master in 0..2 {
        masters.signal(master, Signal::TERM);
        masters.wait(master);
    }
    let refused = cluster.tepui(&["registry", "import", &zk, &file]).wait().expect(1);
    assert!(refused.stderr.contains("--force"), "{}", refused.stderr);
    // From the ensemble into a single master's file, and back.
    let work_dir = format!("--work_dir={}", cluster.path("moved").display());
    let into_file = cluster.tepui(&["registry", "import", &work_dir, &file]).wait().expect(0);
    assert!(into_file.stdout.contains("a registry of 1 agents"), "{}", into_file.stdout);
    let again = cluster.tepui(&["registry", "export", &work_dir]).wait().expect(0).stdout;
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_eq!(again["admitted"], registry["admitted"]);
    cluster.tepui(&["registry", "import", &zk, "--force", &file]).wait().expect(0);
    // A master that leads next knows the agent, which comes back under its id.
    masters.resume(0);
    masters.leader();
    eventually("the agent is back", || {
        let slaves = get(masters.address(0), "/slaves").json();
        slaves["slaves"].as_array()?.iter().any(|agent| agent["id"] == agent_id.as_str()).then_some(())
    });
    let nothing = cluster.tepui(&["registry", "export", "--work_dir=/nowhere/at/all"]).wait().expect(1);
    assert!(nothing.stderr.contains("holds no registry"), "{}", nothing.stderr);
    cluster.tepui(&["registry", "export"]).wait().expect(2);
}

#[test]
fn tasks_go_on_while_the_ensemble_has_no_quorum() {
    needs!("java");
    let masters = Masters::start(2, &[]);
    let mut cluster = agent(&masters);
    let mut scheduler = cluster.scheduler();
    let agent_id = cluster.agent_id();
    let before = sleeper(&mut scheduler, "goes-on");
    let short =
        |master: u16| Request::new("GET", "/state").send(masters.address(master)).map(|reply| reply.status);
    for server in 0..2 {
        masters.ensemble.signal(server, Signal::STOP);
    }
    // Without a majority nobody may lead; it is said, not guessed.
    eventually("nobody leads", || {
        (0..2).all(|master| short(master).is_ok_and(|status| status == 503)).then_some(())
    });
    assert_eq!(processes(&scheduler, "goes-on"), before);
    for server in 0..2 {
        masters.ensemble.signal(server, Signal::CONT);
    }
    let leader = masters.leader();
    follow(&masters, &mut cluster, &mut scheduler, leader);
    assert_eq!(reconciled(&mut scheduler, &agent_id, "goes-on"), "TASK_RUNNING");
    assert_eq!(processes(&scheduler, "goes-on"), before);
    assert_eq!(cluster.agent_id(), agent_id);
}

#[test]
fn commands_find_the_leader_by_the_ensemble_and_outlive_it() {
    needs!("java");
    let mut masters = Masters::start(2, &[]);
    let mut cluster = agent(&masters);
    let leader = masters.leader();
    let run = cluster.ask(&["run", "--name=long", "--", "sh", "-c", "echo up; sleep 6; exit 7"]);
    eventually("the task's output", || run.stdout().contains("up").then_some(()));
    // A clean end hands over at once.
    masters.signal(leader, Signal::TERM);
    masters.wait(leader);
    let next = masters.successor(leader);
    cluster.options().led_from = Some(masters.address(next));
    cluster.agent_id();
    let listed = cluster.ask(&["task", "list"]).wait().expect(0);
    assert!(listed.stdout.contains("long"), "{listed:?}");
    run.wait().expect(7);
    let agents = cluster.ask(&["agents", "list", "--json"]).wait().expect(0);
    let agents: Value = serde_json::from_str(&agents.stdout).unwrap();
    assert_eq!(agents["slaves"].as_array().map(Vec::len), Some(1));
    masters.kill(next);
    // First the ensemble still names the one that was killed.
    eventually("nobody leads", || {
        let nobody = cluster.ask(&["agents", "list"]).wait().expect(1);
        nobody.stderr.contains("names no leading master").then_some(())
    });
}

#[test]
fn many_terms_lose_nothing() {
    needs!("java");
    let masters = Masters::start(2, &[]);
    let mut cluster = agent(&masters);
    let mut scheduler = cluster.scheduler();
    let agent_id = cluster.agent_id();
    let before = sleeper(&mut scheduler, "goes-on");
    // Sessions that the ensemble ends, one after another: each time somebody leads again.
    let terms: usize = std::env::var("TERMS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    for term in 0..terms {
        let old = masters.leader();
        masters.signal(old, Signal::STOP);
        let new = masters.successor(old);
        masters.signal(old, Signal::CONT);
        follow(&masters, &mut cluster, &mut scheduler, new);
        scheduler.start(|offer| task(&format!("short{term}"), offer, shell("exit 0")));
        assert_eq!(scheduler.end_of(&format!("short{term}"))["state"], "TASK_FINISHED");
    }
    assert_eq!(reconciled(&mut scheduler, &agent_id, "goes-on"), "TASK_RUNNING");
    assert_eq!(processes(&scheduler, "goes-on"), before);
    let mut all = [epochs(&masters, 0), epochs(&masters, 1)].concat();
    let led = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), led, "two leaders with one epoch");
    scheduler.hears_no_more(Duration::from_millis(200));
}
