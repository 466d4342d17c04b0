//! Everything fails in turn, for minutes: masters, servers of the ensemble, and every line between them and the agents. Tasks
//! run on, nothing is lost or done twice, two leaders never act at once.

mod checker;
mod drills;
mod faults;
mod logs;
mod passers;
mod registry;
mod town;
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use integration::leftovers::processes_with;
use integration::{OrFail, needs};
use model::random::Random;

use faults::{Broken, Fault, Step};
use town::{MASTERS, RECOVERY, Town};
use worker::{Kind, Worker};

/// Between two rounds of everybody.
const ROUND: Duration = Duration::from_millis(20);
/// How long agents may take to be with a leader before they are cut off.
const GATHERING: Duration = Duration::from_secs(10);
/// How long there is no majority of the ensemble in a long run.
const LONG_LOSS: Duration = Duration::from_secs(60);
/// Half of all elections must be followed by an offer within so many seconds: others may load the machine, and who is
/// elected may be cut off at first.
const SOON: f64 = 3.0;
/// And none may take longer.
const LONGEST_WAIT: f64 = 60.0;

/// Everybody does what there is to do.
#[track_caller]
fn round(town: &Town, workers: &mut [Worker]) {
    town.follow();
    workers.iter_mut().for_each(|worker| worker.drive(town.lookout.leader()));
}

/// Drives everybody until there is something, or fails with what is missing.
#[track_caller]
fn drive_until(
    town: &Town,
    workers: &mut [Worker],
    limit: Duration,
    missing: impl Fn(&[Worker]) -> Vec<String>,
) {
    let start = Instant::now();
    loop {
        round(town, workers);
        let left = missing(workers);
        if left.is_empty() {
            return;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}:\n{}", left.join("\n"));
        std::thread::park_timeout(ROUND);
    }
}

fn all_of(workers: &[Worker], what: fn(&Worker) -> Vec<String>) -> Vec<String> {
    workers.iter().flat_map(what).collect()
}

/// Processes of the tasks that last.
fn lasting(worker: &Worker) -> BTreeMap<String, BTreeSet<(u32, u64)>> {
    let of_framework = processes_with(&format!("MESOS_FRAMEWORK_ID={}", worker.id()));
    let of = |task: &String| {
        processes_with(&format!("MESOS_EXECUTOR_ID={task}")).intersection(&of_framework).copied().collect()
    };
    worker.lasting().into_iter().map(|task| (task.clone(), of(&task))).collect()
}

/// Waits, but not for ever, until all agents are with who leads: cutting them off means nothing before.
#[track_caller]
fn gather(town: &Town, workers: &mut [Worker]) {
    let start = Instant::now();
    while start.elapsed() < GATHERING && !town.is_whole() {
        round(town, workers);
        std::thread::park_timeout(ROUND);
    }
}

/// Carries a plan out while everybody works.
fn storm(town: &mut Town, workers: &mut [Worker], random: &mut Random, plan: &[(Duration, Step)]) {
    let (start, mut late, mut broken) = (Instant::now(), Duration::ZERO, Broken::default());
    for (at, step) in plan {
        if matches!(step, Step::Begin(fault) if fault.cuts_agents_off()) {
            gather(town, workers);
        }
        // A step that took long shortens none of the next.
        late = late.max(start.elapsed().saturating_sub(*at));
        while start.elapsed() < *at + late {
            round(town, workers);
            std::thread::park_timeout(ROUND);
        }
        let leader = town.leader().unwrap_or_else(|| faults::any(random, MASTERS));
        println!("{:7.1} s  {step:?}, master {leader} leads", start.elapsed().as_secs_f64());
        match step {
            Step::Kill => broken.kill(town, leader),
            Step::Start => broken.start(town),
            Step::Hold => workers.iter_mut().for_each(|worker| worker.holding = true),
            Step::Begin(Fault::Drill(drill)) => {
                drill.run(town, workers);
                workers.iter_mut().for_each(|worker| worker.holding = false);
            }
            Step::Begin(fault) => {
                broken.begin(town, random, *fault, leader);
                for worker in workers.iter_mut() {
                    worker.launch_into_silence();
                    worker.kill_one();
                    worker.holding = false;
                }
            }
            Step::End => broken.end(town),
        }
    }
}

/// How often each task was begun.
type Begun = BTreeMap<(String, String), usize>;

/// Tasks that have begun and whose end was not delivered yet, but at most told in an answer: what was lost comes again.
fn undelivered(workers: &[Worker], begun: &Begun) -> Vec<String> {
    let of = |worker: &Worker| {
        let id = worker.id();
        let open = worker.fates.iter().filter(|(_, fate)| fate.final_updates.is_empty());
        let open = open.filter(|(task, _)| begun.get(&(id.clone(), (*task).clone())).is_some_and(|n| *n > 0));
        open.map(|(task, fate)| format!("{task} {fate:?}")).collect::<Vec<_>>()
    };
    workers.iter().flat_map(of).collect()
}

/// Every task has ended once, as it should when it has begun; none has begun twice.
#[track_caller]
fn every_task_has_one_fate(begun: &Begun, workers: &[Worker]) {
    let times = |framework: &String, task: &String| {
        begun.get(&(framework.clone(), task.clone())).copied().unwrap_or_default()
    };
    for worker in workers {
        let id = worker.id();
        for (task, fate) in &worker.fates {
            let times = times(&id, task);
            assert!(times <= 1, "{task} has begun {times} times: {fate:?}");
            assert_eq!(fate.ends.len(), 1, "{task} has other than one end: {fate:?}");
            if times == 1 {
                assert!(
                    fate.ends.contains(fate.kind.end()),
                    "{task} has begun and ended otherwise: {fate:?}"
                );
                assert_eq!(fate.final_updates.len(), 1, "{task}'s end was not delivered once: {fate:?}");
            }
            let ended_unbegun = ["TASK_GONE", "TASK_LOST", "TASK_DROPPED", "TASK_KILLED"];
            let ended = fate.ends.iter().all(|end| ended_unbegun.contains(&end.as_str()));
            assert!(times == 1 || ended, "{task} has not begun: {fate:?}");
        }
        for task in &worker.refused {
            assert_eq!(times(&id, task), 0, "{task} was refused and has begun");
        }
    }
    let known = |(framework, _): &&(String, String)| workers.iter().any(|worker| worker.id() == *framework);
    assert!(begun.keys().all(|key| known(&key)), "tasks of nobody");
}

/// Prints the figures and holds them against what is bearable on a machine that others load.
#[track_caller]
fn offers_come_soon(town: &Town, workers: &[Worker], terms: &[checker::Term]) {
    let offered: Vec<_> = workers.iter().flat_map(|worker| worker.offered.clone()).collect();
    let mut waits = checker::first_offers(town, terms, &offered);
    waits.sort_by(f64::total_cmp);
    let (middle, worst) = (waits[waits.len() / 2], waits[waits.len() - 1]);
    let soon = waits.iter().filter(|wait| **wait <= SOON).count();
    println!(
        "from an election to the first offer: {middle:.2} s in the middle, {worst:.2} s at worst, {soon} of {} within {SOON} s \
         ({} elections)",
        waits.len(),
        terms.len()
    );
    assert!(middle <= SOON && worst < LONGEST_WAIT, "{waits:?}");
}

/// A number that the environment tells.
fn told(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().or_fail(format!("{variable} is a number")))
}

#[test]
fn nothing_is_lost_or_done_twice_while_everything_fails() {
    needs!("java", "ip", "nft", "nsenter", "unshare");
    let soak = std::env::var_os("SOAK").is_some();
    let seed = told("SEED").unwrap_or_else(|| worker::wall() % 1_000_000);
    println!("SEED={seed}");
    let mut random = Random::new(seed);
    let mut town = Town::build();
    let leader = town.lookout.leader().or_fail("a leader");
    let (ids, before) = (town.ids.clone(), town.inventories());
    let mut workers = vec![Worker::hired(leader), Worker::hired(leader)];
    let enough = |workers: &[Worker]| all_of(workers, Worker::missing);
    drive_until(&town, &mut workers, RECOVERY, enough);
    let run: Vec<_> = workers.iter().map(lasting).collect();
    assert!(run.iter().all(|tasks| tasks.values().all(|processes| !processes.is_empty())), "{run:?}");

    let kills = if soak { 160 } else { faults::KILLS };
    let quorum_lost = told("QUORUM_LOST").map(Duration::from_secs);
    let quorum_lost = quorum_lost.unwrap_or(if soak { LONG_LOSS } else { faults::FAULT });
    let plan = faults::plan(&mut random, kills, quorum_lost);
    workers.iter_mut().for_each(Worker::braces);
    storm(&mut town, &mut workers, &mut random, &plan);

    // Nothing fails any more: everybody is there, under the ids of before, and the first tasks are the same processes.
    assert_eq!(town.whole(), ids);
    workers.iter_mut().for_each(Worker::retires);
    drive_until(&town, &mut workers, RECOVERY, |workers| all_of(workers, Worker::unsettled));
    assert_eq!(workers.iter().map(lasting).collect::<Vec<_>>(), run, "tasks that did not run on");
    assert_eq!(town.frameworks(), workers.iter().map(Worker::id).collect());
    workers.iter_mut().for_each(Worker::kill_all);
    drive_until(&town, &mut workers, RECOVERY, |workers| all_of(workers, Worker::unended));

    let begun = town.begun();
    drive_until(&town, &mut workers, RECOVERY, |workers| undelivered(workers, &begun));
    every_task_has_one_fate(&begun, &workers);
    let terms = checker::check(&town);
    offers_come_soon(&town, &workers, &terms);
    drills::were_seen(&town);
    let count = |kind| workers.iter().flat_map(|w| w.fates.values()).filter(|fate| fate.kind == kind).count();
    let kinds = [Kind::Finishes, Kind::Fails, Kind::Lasts].map(count);
    println!(
        "{} tasks (finish, fail, last: {kinds:?}), {} leaderships",
        kinds.iter().sum::<usize>(),
        terms.len()
    );
    for (agent, before) in town.agents.iter().zip(&before) {
        agent.assert_nothing_beyond(before);
    }
}
