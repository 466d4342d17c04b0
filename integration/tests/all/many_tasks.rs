//! Thousands of tasks through one agent, with restarts of agent and master in between: each ends exactly once, nothing
//! is left, and neither process grows. `TASKS=10000` runs more of them (`make soak`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use integration::client::Next;
use integration::images::busybox;
use integration::task::{is_terminal, program, scalar, task_in};
use integration::{Cluster, Options, OrFail, Registry, Scheduler, needs};
use serde_json::{Value, json};

/// How many run at once.
const AT_ONCE: usize = 20;
/// What each of them takes.
const CPUS: f64 = 0.1;
/// Megabytes.
const MEM: f64 = 32.0;
/// How long may pass without the end of a task before the test asks for what it misses.
const QUIET: Duration = Duration::from_secs(5);
/// How long all of them may take.
const PATIENCE: Duration = Duration::from_secs(900);
/// Resident memory that may come on top once the lists of ended tasks are full, in MB.
const GROWTH_MB: u64 = 8;
/// Descriptors that may be open on top: connections that come and go.
const GROWTH_FDS: usize = 16;
/// Ended tasks that master and agent remember for a framework, twice; before that memory must grow.
const HISTORY: usize = 1200;

fn wanted() -> usize {
    std::env::var("TASKS").ok().and_then(|text| text.parse().ok()).unwrap_or(2000)
}

/// What a task with this number does, and how it must end.
fn plan(number: usize) -> (&'static [&'static str], &'static str) {
    match number % 10 {
        3 => (&["sh", "-c", "exit 3"], "TASK_FAILED"),
        7 => (&["sh", "-c", "kill -9 $$"], "TASK_FAILED"),
        _ => (&["true"], "TASK_FINISHED"),
    }
}

/// The framework's own books.
struct Books {
    image: String,
    /// The one that there is.
    agent: String,
    wanted: usize,
    launched: usize,
    running: BTreeSet<usize>,
    /// Offers that wait for room.
    held: Vec<Value>,
    /// How each task ended, and by which update.
    ends: BTreeMap<usize, (String, Value)>,
}

impl Books {
    /// Takes in offers and what became of them, and uses them as far as there is room.
    fn offered(&mut self, scheduler: &mut Scheduler, event: &Value) {
        self.held.extend(event["offers"]["offers"].as_array().into_iter().flatten().cloned());
        if let Some(rescind) = event.get("rescind") {
            self.held.retain(|offer| offer["id"] != rescind["offer_id"]);
        }
        while self.room() > 0 {
            let Some(offer) = self.held.pop() else { return };
            self.use_offer(scheduler, &offer);
        }
    }

    fn room(&self) -> usize {
        AT_ONCE.saturating_sub(self.running.len()).min(self.wanted - self.launched)
    }

    fn use_offer(&mut self, scheduler: &mut Scheduler, offer: &Value) {
        let amount = |name: &str| {
            let resources = offer["resources"].as_array().into_iter().flatten();
            resources
                .filter(|one| one["name"] == name)
                .filter_map(|one| one["scalar"]["value"].as_f64())
                .sum()
        };
        let (cpus, mem): (f64, f64) = (amount("cpus"), amount("mem"));
        // A little is left over, for what doubles can't say exactly.
        let fits =
            |tasks: usize| tasks as f64 * CPUS < cpus + CPUS / 2.0 && tasks as f64 * MEM < mem + MEM / 2.0;
        let count = (0..=self.room()).rev().find(|count| fits(*count)).unwrap_or_default();
        let tasks: Vec<Value> = (self.launched..self.launched + count)
            .map(|number| {
                let command = program(plan(number).0);
                let mut task = task_in(&format!("t{number}"), offer, command, &self.image);
                task["resources"] = json!([scalar("cpus", CPUS), scalar("mem", MEM)]);
                task
            })
            .collect();
        self.running.extend(self.launched..self.launched + count);
        self.launched += count;
        scheduler.launch(offer, tasks);
    }

    fn updated(&mut self, status: &Value) {
        let (Some(name), Some(state)) = (status["task_id"]["value"].as_str(), status["state"].as_str())
        else {
            return;
        };
        if !is_terminal(state) {
            return;
        }
        let number: usize = name[1..].parse().or_fail("a number");
        let uuid = status["uuid"].clone();
        match self.ends.get(&number) {
            // The same update again, or an answer to a question: nothing new.
            Some((_, known)) if *known == uuid || uuid.is_null() => {}
            Some((known, _)) => panic!("{name} ended as {known} and then again: {status}"),
            None => {
                // A call that its master never handled is answered by LOST; what began must end as planned.
                let never_began = uuid.is_null() || state == "TASK_LOST" || state == "TASK_DROPPED";
                assert!(never_began || state == plan(number).1, "{status}");
                self.running.remove(&number);
                self.ends.insert(number, (state.to_owned(), uuid));
            }
        }
    }

    /// Asks for every task that is under way. Mesos: only of one that should be on a registered agent, and is unknown
    /// there, the answer is final; where the agent isn't named it could still be anywhere.
    fn ask(&self, scheduler: &Scheduler) {
        let agent = &self.agent;
        let ids = self
            .running
            .iter()
            .map(|number| json!({"task_id": {"value": format!("t{number}")}, "agent_id": {"value": agent}}));
        scheduler.tell(json!({"type": "RECONCILE", "reconcile": {"tasks": ids.collect::<Vec<_>>()}}));
    }

    /// Goes on until so many have ended.
    fn run_until(&mut self, scheduler: &mut Scheduler, ended: usize) {
        let start = Instant::now();
        let (mut asked, mut known) = (Instant::now(), self.ends.len());
        while self.ends.len() < ended {
            assert!(
                start.elapsed() < PATIENCE,
                "{} of {ended} ended; open: {:?}",
                self.ends.len(),
                self.running
            );
            match scheduler.next(QUIET) {
                Next::Record(event) => {
                    self.updated(&event["update"]["status"]);
                    self.offered(scheduler, &event);
                }
                Next::Silence => {}
                Next::End => panic!("the stream ended after {} of {ended}", self.ends.len()),
            }
            scheduler.seen.clear();
            if self.ends.len() > known {
                (asked, known) = (Instant::now(), self.ends.len());
            } else if asked.elapsed() >= QUIET {
                self.ask(scheduler);
                asked = Instant::now();
            }
        }
    }

    /// A new master: its offers are all new.
    fn subscribe_again(&mut self, scheduler: &mut Scheduler) {
        self.held.clear();
        scheduler.resubscribe();
    }
}

/// Resident memory in MB and open descriptors of a process.
fn size(pid: u32) -> (u64, usize) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).or_fail("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).or_fail("VmRSS");
    let kb: u64 = line.trim().trim_end_matches(" kB").trim().parse().or_fail("a number");
    (kb / 1024, fs::read_dir(format!("/proc/{pid}/fd")).or_fail("its descriptors").count())
}

fn assert_flat(who: &str, before: (u64, usize), after: (u64, usize)) {
    println!("{who}: {} MB and {} descriptors, then {} MB and {}", before.0, before.1, after.0, after.1);
    assert!(after.0 <= before.0 + GROWTH_MB, "{who} grew from {} to {} MB", before.0, after.0);
    assert!(after.1 <= before.1 + GROWTH_FDS, "{who} had {} descriptors, now {}", before.1, after.1);
}

#[test]
fn each_of_thousands_of_tasks_ends_once_through_restarts_and_nothing_grows() {
    needs!("docker-registry", "skopeo");
    let registry = Registry::start();
    let image = registry.push("busybox", &busybox()).name;
    let mut cluster = Cluster::with(Options::default());
    cluster.run(&["--image", &image, "--", "true"]).expect(0);
    let before = cluster.inventory();
    let mut scheduler = cluster.scheduler();
    let wanted = wanted();
    let mut books = Books {
        image,
        agent: cluster.agent_id(),
        wanted,
        launched: 0,
        running: BTreeSet::new(),
        held: Vec::new(),
        ends: BTreeMap::new(),
    };
    let started = Instant::now();
    books.run_until(&mut scheduler, 100);
    // The agent dies with twenty tasks under way.
    for at in [200, 300] {
        cluster.kill_agent();
        cluster.start_agent();
        books.run_until(&mut scheduler, at);
    }
    // The master.
    cluster.kill_master();
    cluster.start_master();
    books.subscribe_again(&mut scheduler);
    books.run_until(&mut scheduler, 400);
    // Both.
    cluster.kill_master();
    cluster.kill_agent();
    cluster.launch_agent();
    cluster.start_master();
    books.subscribe_again(&mut scheduler);
    books.run_until(&mut scheduler, 400 + HISTORY);
    let sizes =
        |cluster: &mut Cluster| (size(cluster.master_process().pid()), size(cluster.agent_process().pid()));
    let (master, agent) = sizes(&mut cluster);
    books.run_until(&mut scheduler, wanted);
    println!("{wanted} tasks, {AT_ONCE} at a time, in {:?}", started.elapsed());
    let (master_after, agent_after) = sizes(&mut cluster);
    assert_flat("master", master, master_after);
    assert_flat("agent", agent, agent_after);
    assert_eq!(books.ends.len(), wanted);
    let lost =
        books.ends.values().filter(|(state, _)| state == "TASK_LOST" || state == "TASK_DROPPED").count();
    println!("{lost} never began, as their call was in flight to a master or an agent that died");
    assert!(lost <= 4 * AT_ONCE, "{lost} tasks were lost in four restarts");
    cluster.assert_nothing_beyond(&before);
}
