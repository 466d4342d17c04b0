//! Thousands of tasks through one agent, with restarts of agent and master in between: each ends exactly once, nothing
//! is left, and no process grows: not the master, not the agent, not the keepers that come and go, nor the one that
//! stays. `TASKS=10000` runs more of them (`make soak`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use integration::client::Next;
use integration::images::busybox;
use integration::leftovers::descriptors;
use integration::task::{is_terminal, program, scalar, task_in};
use integration::{Cluster, Options, OrFail, Registry, Scheduler, eventually, needs};
use serde_json::{Value, json};

/// How many run at once.
const AT_ONCE: usize = 20;
/// What each of them takes.
const CPUS: f64 = 0.1;
/// Megabytes.
const MEM: f64 = 32.0;
/// How long may pass without the end of a task before the test asks for what it misses.
const QUIET: Duration = Duration::from_secs(5);
/// How long may pass without one at all: tasks that were lost are found out sooner.
const STALLED: Duration = Duration::from_secs(90);
/// How long each of them may take on the whole, on a machine that has other things to do. What .config/nextest.toml
/// allows is longer, so that this test tells by itself what it waits for.
const PATIENCE: Duration = Duration::from_millis(300);
/// Resident memory that may come on top once the lists of ended tasks are full, in MB.
const GROWTH_MB: u64 = 8;
/// Descriptors that may be open on top: connections that come and go.
const GROWTH_FDS: usize = 16;
/// The same for a keeper, which has but one task.
const KEEPER_GROWTH_KB: u64 = 1024;
const KEEPER_GROWTH_FDS: usize = 2;
/// Tasks between two looks at the processes.
const LOOK: usize = 100;
/// A task that is there from the beginning to the end, and what it runs.
const SITTER: &str = "sitter";
const SITTING: [&str; 2] = ["sleep", "86400"];
/// A keeper, the builder of its container, PID 1, and a shell with a child.
const PROCESSES_OF_A_TASK: usize = 5;
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
    started: Instant,
    /// The largest keepers of tasks that came and went, since this was last taken.
    keepers: Keepers,
}

/// What was seen of keepers: the most private memory in KB, and the most descriptors.
#[derive(Clone, Copy, Default, Debug)]
struct Keepers {
    seen: usize,
    kb: u64,
    descriptors: usize,
}

impl Books {
    fn new(image: &str, agent: String, wanted: usize) -> Books {
        Books {
            image: image.to_owned(),
            agent,
            wanted,
            launched: 0,
            running: BTreeSet::new(),
            held: Vec::new(),
            ends: BTreeMap::new(),
            started: Instant::now(),
            keepers: Keepers::default(),
        }
    }

    /// Starts the task that stays.
    fn start_sitter(&self, scheduler: &mut Scheduler) {
        let offer = scheduler.offer();
        scheduler.seen.clear();
        scheduler.launch(&offer, vec![task_in(SITTER, &offer, program(&SITTING), &self.image)]);
    }

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
        assert_ne!(name, SITTER, "{status}");
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

    /// Goes on until so many have ended; looks at the keepers on the way.
    fn run_until(&mut self, cluster: &Cluster, scheduler: &mut Scheduler, ended: usize) {
        let patience = PATIENCE * u32::try_from(self.wanted).or_fail("a small number");
        let (mut asked, mut last, mut known) = (Instant::now(), Instant::now(), self.ends.len());
        while self.ends.len() < ended {
            let waited_in_vain = last.elapsed() > STALLED || self.started.elapsed() > patience;
            assert!(
                !waited_in_vain,
                "{} of {ended} ended in {:?}, the last one {:?} ago; open: {:?}",
                self.ends.len(),
                self.started.elapsed(),
                last.elapsed(),
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
                if self.ends.len() / LOOK > known / LOOK {
                    self.look(cluster);
                }
                (asked, last, known) = (Instant::now(), Instant::now(), self.ends.len());
            } else if asked.elapsed() >= QUIET {
                self.ask(scheduler);
                asked = Instant::now();
            }
        }
    }

    /// Looks at all processes of the cluster beside master and agent.
    fn look(&mut self, cluster: &Cluster) {
        let all = cluster.scope().processes();
        let most = PROCESSES_OF_A_TASK * (2 * AT_ONCE + 1);
        assert!(all.len() <= most, "{} processes for {AT_ONCE} tasks at a time: {all:#?}", all.len());
        let is_keeper = |line: &str| line.split(' ').nth(1) == Some("supervise");
        let pids: BTreeSet<u32> =
            all.iter().filter(|(_, line)| is_keeper(line)).map(|(pid, _)| *pid).collect();
        // The builder is forked from its keeper.
        for pid in pids.iter().filter(|pid| parent(**pid).is_none_or(|parent| !pids.contains(&parent))) {
            // One that has just ended has no memory any more.
            let Some(kb) = private_kb(*pid).filter(|kb| *kb > 0) else { continue };
            self.keepers.seen += 1;
            self.keepers.kb = self.keepers.kb.max(kb);
            self.keepers.descriptors = self.keepers.descriptors.max(descriptors(*pid));
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
    (kb / 1024, descriptors(pid))
}

fn assert_flat(who: &str, before: (u64, usize), after: (u64, usize)) {
    println!("{who}: {} MB and {} descriptors, then {} MB and {}", before.0, before.1, after.0, after.1);
    assert!(after.0 <= before.0 + GROWTH_MB, "{who} grew from {} to {} MB", before.0, after.0);
    assert!(after.1 <= before.1 + GROWTH_FDS, "{who} had {} descriptors, now {}", before.1, after.1);
}

/// Memory that a process shares with nobody, in KB.
fn private_kb(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let lines =
        text.lines().filter(|line| line.starts_with("Private_Clean:") || line.starts_with("Private_Dirty:"));
    Some(lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum())
}

fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// The keeper of the task that stays: its command is the child of PID 1, which is the keeper's.
fn sitters_keeper(cluster: &Cluster) -> u32 {
    let line = SITTING.join(" ");
    eventually("the keeper of the task that stays", || {
        let all = cluster.scope().processes();
        let (pid, _) = all.iter().find(|(_, command)| command.trim_end() == line)?;
        let keeper = parent(parent(*pid)?)?;
        all.iter().any(|(pid, line)| *pid == keeper && line.contains("supervise")).then_some(keeper)
    })
}

fn assert_keepers_flat(before: Keepers, after: Keepers) {
    println!("keepers that came and went: {before:?}, then {after:?}");
    assert!(before.seen > 0 && after.seen > 0, "no keeper was seen alive");
    assert!(after.kb <= before.kb + KEEPER_GROWTH_KB, "later keepers are larger: {before:?}, {after:?}");
    assert!(
        after.descriptors <= before.descriptors + KEEPER_GROWTH_FDS,
        "later keepers have more open: {before:?}, {after:?}"
    );
}

/// Waits until nothing but the task that stays runs, and ends it.
fn end_sitter(cluster: &Cluster, scheduler: &mut Scheduler) {
    let keeper = sitters_keeper(cluster);
    let of_sitter = |pid: u32| {
        let ancestors = std::iter::successors(Some(pid), |pid| parent(*pid));
        ancestors.take(4).any(|pid| pid == keeper)
    };
    eventually("the processes of all tasks but one have ended", || {
        let left = cluster.scope().processes();
        left.iter().all(|(pid, _)| of_sitter(*pid)).then_some(())
    });
    scheduler.kill(SITTER);
    scheduler.end_of(SITTER);
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
    let mut books = Books::new(&image, cluster.agent_id(), wanted);
    books.start_sitter(&mut scheduler);
    books.run_until(&cluster, &mut scheduler, 100);
    // The agent dies with twenty tasks under way.
    for at in [200, 300] {
        cluster.kill_agent();
        cluster.start_agent();
        books.run_until(&cluster, &mut scheduler, at);
    }
    // The master.
    cluster.kill_master();
    cluster.start_master();
    books.subscribe_again(&mut scheduler);
    books.run_until(&cluster, &mut scheduler, 400);
    // Both.
    cluster.kill_master();
    cluster.kill_agent();
    cluster.launch_agent();
    cluster.start_master();
    books.subscribe_again(&mut scheduler);
    books.run_until(&cluster, &mut scheduler, 400 + HISTORY);
    let keeper = sitters_keeper(&cluster);
    let sizes = |cluster: &mut Cluster| {
        let pids = [cluster.master_process().pid(), cluster.agent_process().pid(), keeper];
        pids.map(size)
    };
    let keepers = std::mem::take(&mut books.keepers);
    let before_the_rest = sizes(&mut cluster);
    books.run_until(&cluster, &mut scheduler, wanted);
    println!("{wanted} tasks, {AT_ONCE} at a time, in {:?}", books.started.elapsed());
    let after = sizes(&mut cluster);
    for (who, (before, after)) in
        ["master", "agent", "keeper"].into_iter().zip(before_the_rest.into_iter().zip(after))
    {
        assert_flat(who, before, after);
    }
    assert_keepers_flat(keepers, books.keepers);
    assert_eq!(books.ends.len(), wanted);
    let lost =
        books.ends.values().filter(|(state, _)| state == "TASK_LOST" || state == "TASK_DROPPED").count();
    println!("{lost} never began, as their call was in flight to a master or an agent that died");
    assert!(lost <= 4 * AT_ONCE, "{lost} tasks were lost in four restarts");
    end_sitter(&cluster, &mut scheduler);
    cluster.assert_nothing_beyond(&before);
}
