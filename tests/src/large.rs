//! One large cluster in one process: 50,000 agents and 500,000 tasks that run at the same time, with the real logic of
//! the master and a real one for each agent, through a failover, restarts, losses and the ends of all tasks.
//!
//! `SIM_AGENTS` is how many agents there are, ten tasks each; with `SOAK=1` it is all of them.

mod cluster;
mod fleet;
mod framework;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use master::logic::SchedulerAction;
use model::{AgentId, Resources, TaskState};

use crate::messages::resources;
use crate::quiet::same;
use cluster::Cluster;

/// What `make soak` runs.
const ALL: usize = 50_000;
/// What every run of the tests has time for.
const USUAL: usize = 10_000;
const TASKS_PER_AGENT: usize = 10;
const FRAMEWORKS: usize = 20;
/// Ten tasks fill a host.
const TOTAL: &str = "cpus:10;mem:10240;disk:100000;ports:[31000-32000]";

/// Virtual time that anything may take.
const PATIENCE: Duration = Duration::from_secs(600);

fn agents() -> usize {
    let asked = std::env::var("SIM_AGENTS").ok().and_then(|text| text.parse().ok());
    let soak = std::env::var("SOAK").is_ok_and(|soak| soak == "1");
    asked.unwrap_or(if soak { ALL } else { USUAL })
}

/// Resident memory of this process in MB.
fn resident_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0) / 1024
}

/// A cluster, its size, and when it was begun.
struct Story {
    cluster: Cluster,
    agents: usize,
    tasks: usize,
    began: Instant,
}

impl Story {
    fn say(&mut self, what: &str) {
        let longest = self.cluster.longest();
        println!(
            "{:6.1} s, {:5} MB: {what}; {} steps of the master, the longest {longest:.1?}",
            self.began.elapsed().as_secs_f64(),
            resident_mb(),
            self.cluster.steps,
        );
    }

    fn until(&mut self, what: &str, holds: impl Fn(&Cluster) -> bool) {
        self.cluster.until(what, PATIENCE, holds);
        self.say(what);
    }

    /// The master's own audit, and the same from outside: what is used on each host is what runs there.
    fn audit(&self) {
        let master = self.cluster.master.as_ref().expect("a master");
        if let Err(why) = master.audit() {
            panic!("{why}");
        }
        let total = resources(TOTAL);
        let mut seen = 0;
        for (id, row) in master.agents.iter() {
            let index: usize = row.facts.info.hostname["host".len()..].parse().expect("a number");
            let host = &self.cluster.fleet.members[index].host;
            seen += host.live().count();
            let mut all = Resources::none();
            row.used.values().chain(row.offers.values()).for_each(|part| all.add(&part.allocated_to(None)));
            assert!(row.total == total && total.contains(&all), "agent {id} gives {all} of {}", row.total);
            if let Err(why) = same(&row.used, &host.uses()) {
                panic!("agent {id}: {why}");
            }
        }
        assert_eq!(seen, master.tasks.values().filter(|task| !task.latest.is_terminal()).count());
    }

    /// Agents of these hosts, by the master's names for them.
    fn ids(&self, hosts: &[usize]) -> BTreeMap<usize, AgentId> {
        let of = |index: &usize| {
            let state = self.cluster.fleet.members[*index].state.as_ref()?;
            Some((*index, state.agent_id()?.clone()))
        };
        hosts.iter().filter_map(of).collect()
    }
}

#[test]
fn tens_of_thousands_of_agents_with_ten_tasks_each() {
    let agents = agents();
    let tasks = agents * TASKS_PER_AGENT;
    let cluster = Cluster::new(agents, &resources(TOTAL), FRAMEWORKS, tasks);
    let mut story = Story { cluster, agents, tasks, began: Instant::now() };
    everything_starts(&mut story);
    the_master_fails_over(&mut story);
    some_agents_restart(&mut story);
    some_agents_are_lost(&mut story);
    everything_ends(&mut story);
}

fn everything_starts(story: &mut Story) {
    let (agents, tasks) = (story.agents, story.tasks);
    story.say("nothing runs");
    story.cluster.elect();
    (0..agents).for_each(|index| story.cluster.start(index));
    story.until("all agents are registered", |cluster| {
        cluster.master.as_ref().is_some_and(|master| master.agents.len() == agents)
    });
    story.until("all tasks run", |cluster| cluster.count(TaskState::Running) == tasks);
    // Nothing happens but pings, and nothing is offered: ten tasks fill a host.
    story.cluster.pass(Duration::from_secs(20));
    story.audit();
    story.say("audited");
}

fn the_master_fails_over(story: &mut Story) {
    let (agents, tasks) = (story.agents, story.tasks);
    story.cluster.lose_master();
    story.cluster.pass(Duration::from_secs(1));
    story.cluster.elect();
    story.until("another master leads and all agents are back", |cluster| {
        let master = cluster.master.as_ref().expect("a master");
        master.agents.len() == agents && master.tasks.len() == tasks
    });
    // Each framework asks for everything it has, one after the other.
    for at in 0..FRAMEWORKS {
        let before = story.cluster.frameworks[at].heard;
        story.cluster.call(at, SchedulerAction::Reconcile { tasks: Vec::new() });
        let framework = &story.cluster.frameworks[at];
        assert_eq!(framework.heard - before, framework.tasks.len() as u64);
    }
    assert_eq!(story.cluster.count(TaskState::Running), tasks);
    story.audit();
    story.say("reconciled and audited");
}

/// One agent in a hundred is killed and comes back; its tasks don't notice.
fn some_agents_restart(story: &mut Story) {
    let (agents, tasks) = (story.agents, story.tasks);
    let hosts: Vec<usize> = (0..agents).step_by(100).collect();
    let before = story.ids(&hosts);
    hosts.iter().for_each(|index| story.cluster.kill(*index));
    story.cluster.pass(Duration::from_secs(2));
    hosts.iter().for_each(|index| story.cluster.start(*index));
    let back = hosts.clone();
    story.until("agents that were restarted are back", move |cluster| {
        let registered = |index: &usize| {
            let state = cluster.fleet.members[*index].state.as_ref();
            state.is_some_and(agent::logic::State::is_registered)
        };
        back.iter().all(registered)
    });
    assert_eq!(story.ids(&hosts), before, "an agent keeps its id");
    assert_eq!(story.cluster.count(TaskState::Running), tasks);
    story.audit();
    story.say("audited");
}

/// One host in twenty is cut off, half of them without a word; every second of them never comes back.
fn some_agents_are_lost(story: &mut Story) {
    let (agents, tasks) = (story.agents, story.tasks);
    let lost: Vec<usize> = (7..agents).step_by(20).collect();
    let ids = story.ids(&lost);
    for (number, index) in lost.iter().enumerate() {
        story.cluster.cut_off(*index, number % 4 < 2);
    }
    let (count, lost_tasks) = (lost.len(), lost.len() * TASKS_PER_AGENT);
    story.until("lost agents are unreachable", |cluster| {
        cluster.master.as_ref().is_some_and(|master| master.unreachable.len() == count)
    });
    assert_eq!(story.cluster.count(TaskState::Running), tasks - lost_tasks, "{}", story.cluster.shown());
    story.audit();
    let (back, gone): (Vec<usize>, Vec<usize>) = lost.iter().copied().partition(|index| index % 40 == 7);
    back.iter().for_each(|index| story.cluster.connect(*index));
    story.until("half of them are back", |cluster| {
        let master = cluster.master.as_ref().expect("a master");
        master.unreachable.len() == gone.len() && cluster.count(TaskState::Running) == master.tasks.len()
    });
    gone.iter().for_each(|index| story.cluster.mark_gone(ids[index].clone()));
    ask_for_the_lost(story);
    let ended = story.cluster.count(TaskState::GoneByOperator) + story.cluster.count(TaskState::Lost);
    assert_eq!(ended, gone.len() * TASKS_PER_AGENT, "{}", story.cluster.shown());
    story.audit();
    story.say("the others are given up; audited");
    // One that was given up and speaks again is told to end.
    let index = gone[0];
    story.cluster.connect(index);
    story.until("an agent that was given up ends", |cluster| cluster.exited == 1);
    assert_eq!(story.cluster.fleet.members[index].host.live().count(), 0);
}

/// Frameworks ask for tasks of which the master has forgotten that they were unreachable.
fn ask_for_the_lost(story: &mut Story) {
    for at in 0..FRAMEWORKS {
        let framework = &story.cluster.frameworks[at];
        let asked: Vec<_> = framework
            .in_state(TaskState::Unreachable)
            .map(|(number, known)| (framework.task_id(number), Some(known.agent.clone())))
            .collect();
        if !asked.is_empty() {
            story.cluster.call(at, SchedulerAction::Reconcile { tasks: asked });
        }
    }
}

fn everything_ends(story: &mut Story) {
    let (agents, tasks) = (story.agents, story.tasks);
    let alive: Vec<usize> = (0..agents).filter(|index| !story.cluster.silent.contains(index)).collect();
    let running = story.cluster.count(TaskState::Running);
    let now = story.cluster.now;
    story.cluster.fleet.end_all(now, Duration::from_secs(60), alive.iter().copied());
    story.until("all tasks have ended", move |cluster| {
        cluster.count(TaskState::Finished) + cluster.count(TaskState::Failed) == running
    });
    story.cluster.pass(Duration::from_secs(5));
    let failed = story.cluster.count(TaskState::Failed);
    assert!(failed > running / 20 && failed < running / 5, "{failed} of {running} failed");
    let heard = story.cluster.frameworks.iter().flat_map(|framework| &framework.tasks);
    assert_eq!(heard.filter(|known| known.end.heard()).count(), tasks);
    for index in alive {
        let member = &story.cluster.fleet.members[index];
        assert!(member.host.containers.is_empty(), "host {index} has {:?}", member.host.containers);
        let left = member.state.as_ref().is_some_and(|state| !state.view().frameworks.is_empty());
        assert!(!left, "agent {index} has tasks");
    }
    let launched: u64 = story.cluster.fleet.members.iter().map(|member| member.launched).sum();
    assert_eq!(launched, tasks as u64, "each task is started once");
    let master = story.cluster.master.as_ref().expect("a master");
    assert!(master.tasks.is_empty() && master.unreachable_tasks.is_empty());
    story.audit();
    story.say("audited");
}
