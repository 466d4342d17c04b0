//! Clients that others wrote, from PyPI and npm, against our master and agent: integration/clients tells which.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

use integration::eventually::PATIENCE;
use integration::images::target_dir;
use integration::job::bound;
use integration::task::{shell, task};
use integration::{Cluster, OrFail, eventually, needs};
use serde_json::{Value, json};

/// Where `integration/clients/install.sh` has put the clients; `None`, said aloud, where it has not.
fn installed(test: &str) -> Option<PathBuf> {
    let folder = target_dir().join("clients");
    if folder.join("stamp").is_file() {
        return Some(folder);
    }
    let why = format!("{} lacks the clients; scripts/deps.sh test installs them", folder.display());
    assert!(std::env::var_os("CI").is_none(), "{test} can't be skipped on CI: {why}");
    println!("SKIPPED: {test}: {why}");
    None
}

/// Our own part of a client.
fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name)
}

/// A client's process: orders go in, what it hears comes out, both as lines of JSON. Killed when dropped.
struct Foreign {
    child: Child,
    orders: Option<ChildStdin>,
    lines: Receiver<Value>,
    heard: Vec<Value>,
    log: PathBuf,
}

impl Foreign {
    #[track_caller]
    fn start(command: &mut Command, cluster: &Cluster) -> Foreign {
        let log = cluster.path("client.err");
        let errors = File::create(&log).or_fail("the client's log");
        command.current_dir(cluster.path("")).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        let mut child = command.spawn().or_fail(format!("starting {command:?}"));
        let orders = child.stdin.take();
        let out = BufReader::new(child.stdout.take().or_fail("a pipe"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                // What is no JSON is talk of a library.
                let said =
                    serde_json::from_str(&line).unwrap_or_else(|_| json!({"event": "talk", "line": line}));
                if sender.send(said).is_err() {
                    return;
                }
            }
        });
        Foreign { child, orders, lines, heard: Vec::new(), log }
    }

    #[track_caller]
    fn order(&mut self, order: Value) {
        let orders = self.orders.as_mut().or_fail("a client that takes orders");
        writeln!(orders, "{order}").or_fail(format!("sending {order}"));
    }

    /// Waits for a line in which `wanted` finds something.
    #[track_caller]
    fn hear<T>(&mut self, what: &str, wanted: impl Fn(&Value) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            match self.lines.recv_timeout(PATIENCE.saturating_sub(start.elapsed())) {
                Ok(line) => {
                    self.heard.push(line.clone());
                    if let Some(found) = wanted(&line) {
                        return found;
                    }
                }
                Err(end) => panic!("waiting for {what}: {end:?} after\n{}", self.story()),
            }
        }
    }

    #[track_caller]
    fn hear_event(&mut self, event: &str) -> Value {
        self.hear(event, |line| (line["event"] == event).then(|| line.clone()))
    }

    /// Waits for an update of the task whose id has `name` in it; its id.
    #[track_caller]
    fn hear_state(&mut self, name: &str, state: &str, reason: Option<&str>) -> String {
        self.hear(&format!("{name} in {state}"), |line| {
            let id = line["task"].as_str().filter(|id| id.contains(name))?;
            (line["state"] == state && line["reason"].as_str() == reason).then(|| id.to_owned())
        })
    }

    fn story(&self) -> String {
        let heard: String = self.heard.iter().map(|line| format!("{line}\n")).collect();
        format!("{heard}----- {}\n{}", self.log.display(), fs::read_to_string(&self.log).unwrap_or_default())
    }

    fn states(&self, id: &str) -> Vec<&str> {
        let own = self.heard.iter().filter(|line| line["task"] == id && line["acknowledged"] == true);
        own.filter_map(|line| line["state"].as_str()).collect()
    }

    /// Waits until it has ended well.
    #[track_caller]
    fn end(&mut self) {
        self.orders = None;
        let status = eventually("the client ends", || self.child.try_wait().or_fail("waiting for a child"));
        assert!(status.success(), "{status}\n{}", self.story());
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tasks() -> String {
    json!({"ends": "echo $MESOS_TASK_ID", "runs": "exec sleep 1000"}).to_string()
}

/// The master's view of the only framework, active or completed.
#[track_caller]
fn framework(cluster: &Cluster, list: &str) -> Value {
    eventually(format!("one framework in {list}"), || {
        let state = cluster.state("/state");
        state[list].as_array().filter(|all| all.len() == 1).map(|all| all[0].clone())
    })
}

/// Subscribes, launches two tasks and sees one of them end; the id of the other.
fn launches(client: &mut Foreign, cluster: &Cluster, name: &str) -> String {
    let id = client.hear_event("subscribed")["framework"].clone();
    let known = framework(cluster, "frameworks");
    assert_eq!((&known["id"], &known["name"], &known["active"]), (&id, &json!(name), &json!(true)));
    // The order in which two tasks get on is nobody's to promise.
    let ended = client.hear_state("ends", "TASK_FINISHED", None);
    let runs = match client.heard.iter().find(|l| l["state"] == "TASK_RUNNING" && l["task"] != ended.as_str())
    {
        Some(line) => line["task"].as_str().or_fail("an id").to_owned(),
        None => client.hear_state("runs", "TASK_RUNNING", None),
    };
    assert_eq!(client.states(&ended), ["TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED"]);
    let printed = cluster.sandbox(id.as_str().or_fail("an id"), &ended).join("stdout");
    assert_eq!(fs::read_to_string(printed).or_fail("its output").trim(), ended);
    runs
}

/// Reconciles and kills the task that runs, then tears the framework down.
fn reconciles_kills_and_ends(client: &mut Foreign, cluster: &Cluster, runs: &str) {
    for tasks in [json!([runs]), json!([])] {
        client.order(json!({"do": "reconcile", "tasks": tasks}));
        assert_eq!(client.hear_state(runs, "TASK_RUNNING", Some("REASON_RECONCILIATION")), runs);
    }
    client.order(json!({"do": "kill", "task": runs}));
    client.hear_state(runs, "TASK_KILLED", None);
    assert_eq!(client.states(runs).last(), Some(&"TASK_KILLED"));
    client.order(json!({"do": "stop"}));
    client.hear_event("stopped");
    client.end();
    let gone = framework(cluster, "completed_frameworks");
    let tasks = gone["completed_tasks"].as_array().or_fail("tasks");
    let known = tasks.iter().find(|task| task["id"] == runs);
    assert_eq!(known.map(|task| &task["state"]), Some(&json!("TASK_KILLED")), "{gone}");
    assert_eq!(cluster.state("/state")["frameworks"], json!([]));
}

fn python(clients: &Path, name: &str) -> Command {
    let mut command = bound(clients.join("python/bin/python"));
    // Old code under today's Python warns at every turn.
    command.args(["-W", "ignore"]).arg(script(name));
    command
}

#[test]
fn pymesos_launches_reconciles_and_kills_across_a_restart_of_the_master() {
    needs!("python3");
    let Some(clients) = installed("pymesos") else { return };
    let mut cluster = Cluster::start();
    let mut command = python(&clients, "python/scheduler.py");
    command.arg(cluster.master().to_string()).arg(tasks());
    let mut client = Foreign::start(&mut command, &cluster);
    let runs = launches(&mut client, &cluster, "pymesos");
    // It comes back by itself, with its id.
    cluster.kill_master();
    client.hear_event("disconnected");
    cluster.start_master();
    client.hear_event("subscribed again");
    cluster.agent_id();
    eventually("the agent has told its task", || {
        let known = framework(&cluster, "frameworks");
        (known["tasks"].as_array()?.len() == 1).then_some(())
    });
    reconciles_kills_and_ends(&mut client, &cluster, &runs);
}

#[test]
fn mesos_framework_of_npm_launches_reconciles_and_kills() {
    needs!("node");
    let Some(clients) = installed("mesos-framework") else { return };
    let cluster = Cluster::start();
    let mut command = bound("node");
    command.arg(script("js/scheduler.js")).arg(clients.join("js"));
    command.arg(cluster.master().to_string()).arg(tasks());
    let mut client = Foreign::start(&mut command, &cluster);
    let runs = launches(&mut client, &cluster, "mesos-framework");
    reconciles_kills_and_ends(&mut client, &cluster, &runs);
    // It reads one event from each chunk of the stream, so two in one would show as errors.
    let errors: Vec<&Value> = client.heard.iter().filter(|line| line["event"] == "error").collect();
    assert!(errors.is_empty(), "{errors:?}");
}

#[test]
fn pymesos_asks_what_operators_ask() {
    needs!("python3");
    let Some(clients) = installed("pymesos' operator") else { return };
    let cluster = Cluster::start();
    let mut command = python(&clients, "python/operator_calls.py");
    command.arg(cluster.master().to_string()).arg(cluster.agent().to_string());
    let mut client = Foreign::start(&mut command, &cluster);
    let mut ask = |to: &str, call: &str| {
        client.order(json!({"to": to, "call": call}));
        client.hear(call, |line| (line["call"] == call).then(|| line["answer"].clone()))
    };
    assert_eq!(ask("master", "getHealth"), json!({"type": "GET_HEALTH", "get_health": {"healthy": true}}));
    assert_eq!(ask("agent", "getHealth")["get_health"]["healthy"], true);
    let agents = ask("master", "getAgents");
    assert_eq!(agents["get_agents"]["agents"][0]["agent_info"]["id"]["value"], cluster.agent_id());
    for to in ["master", "agent"] {
        assert!(ask(to, "getVersion")["get_version"]["version_info"]["version"].is_string());
        assert!(ask(to, "getFlags")["get_flags"]["flags"].as_array().is_some_and(|flags| flags.len() > 10));
        assert_eq!(ask(to, "getState")["type"], "GET_STATE");
        assert_eq!(ask(to, "getFrameworks")["type"], "GET_FRAMEWORKS");
        assert_eq!(ask(to, "getTasks"), json!({"type": "GET_TASKS", "get_tasks": {}}), "no task yet");
    }
    assert_eq!(ask("master", "getRoles")["type"], "GET_ROLES");
    assert_eq!(
        ask("master", "getMaster")["get_master"]["master_info"]["port"].as_u64(),
        Some(u64::from(cluster.master().port()))
    );
    client.end();
}

#[test]
fn pymesos_watches_the_cluster_as_an_operator() {
    needs!("python3");
    let Some(clients) = installed("pymesos' operator") else { return };
    let cluster = Cluster::start();
    let mut command = python(&clients, "python/operator_calls.py");
    command.arg(cluster.master().to_string()).arg(cluster.agent().to_string());
    let mut client = Foreign::start(&mut command, &cluster);
    client.order(json!({"to": "master", "call": "start"}));
    // Its own log is the only sign of a subscription that it gives.
    eventually("it has subscribed", || {
        fs::read_to_string(&client.log).ok()?.contains("subscribed with cluster state").then_some(())
    });
    let mut scheduler = cluster.scheduler();
    assert_eq!(client.hear_event("framework added")["name"], "integration");
    scheduler.start(|offer| task("watched", offer, shell("exec sleep 1000")));
    assert_eq!(client.hear_event("task added")["task"], "watched");
    scheduler.wait_for("watched", "TASK_RUNNING");
    client.hear_state("watched", "TASK_RUNNING", None);
    scheduler.kill("watched");
    scheduler.end_of("watched");
    client.hear_state("watched", "TASK_KILLED", None);
    scheduler.tell(json!({"type": "TEARDOWN"}));
    assert_eq!(client.hear_event("framework removed")["name"], "integration");
    client.end();
}
