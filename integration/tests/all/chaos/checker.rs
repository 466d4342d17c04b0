//! Reads all logs afterwards: no epoch is used twice, and nothing is done in the name of a lower epoch once the leader of a
//! higher one has begun to act.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use integration::OrFail;

use super::logs::{Line, count, field, read};
use super::registry::History;
use super::town::{MASTERS, Town};

/// Writes of the registry that a run must have, beside takeovers, to say anything about them.
const FEWEST_WRITES: usize = 60;
/// And so often a real agent must have been given up and come back.
const FEWEST_RETURNS: usize = 3;
/// A leadership that was shorter than so many seconds, and without an offer, tells nothing.
const TOO_SHORT: f64 = 3.0;

/// A leadership.
#[derive(Clone, Copy, Debug)]
pub struct Term {
    epoch: u64,
    master: u16,
    /// When the ensemble elected its master.
    elected: u64,
    /// When it raised the epoch in the registry.
    taken: u64,
    /// When it had read the registry, if it came so far.
    led: Option<u64>,
    /// When the first agent came back to it.
    reached: Option<u64>,
}

/// Checks everything; the leaderships in their order.
#[track_caller]
pub fn check(town: &Town) -> Vec<Term> {
    let masters: Vec<Vec<Line>> = (0..MASTERS).map(|master| read(&town.masters.log(master))).collect();
    let agents: Vec<Vec<Line>> = town.agents.iter().map(|agent| read(&agent.path("agent.log"))).collect();
    let of_agents = town.agents.iter().map(|agent| agent.path("agent.log"));
    for log in (0..MASTERS).map(|master| town.masters.log(master)).chain(of_agents) {
        assert_eq!(count(&log, "panicked at"), 0, "{}", log.display());
    }
    let terms = terms(&masters);
    let history = History::of(&town.masters.ensemble.history());
    history.is_fenced();
    history.has_all_that_is_said(&masters);
    let launched = launches_are_of_the_leader(&masters, &terms);
    agents_obey_upwards(&agents, &launched);
    something_was_written(town, &masters, &history);
    terms
}

/// What was checked was there to be checked.
#[track_caller]
fn something_was_written(town: &Town, masters: &[Vec<Line>], history: &History) {
    let returns = returns(town, masters);
    let changes = history.changes();
    println!("{changes} writes of the registry, {returns} returns of agents that were given up");
    assert!(changes >= FEWEST_WRITES, "too few writes of the registry: {changes}");
    assert!(returns >= FEWEST_RETURNS, "too few returns of agents that were given up: {returns}");
}

/// How often one of the town's agents was given up and came back, whoever led then.
fn returns(town: &Town, masters: &[Vec<Line>]) -> usize {
    let mut lines: Vec<&Line> = masters.iter().flatten().collect();
    lines.sort_by_key(|line| line.at);
    let mut away = BTreeSet::new();
    let mut returns = 0;
    for line in lines {
        let Some(agent) = field(&line.text, "agent_id").filter(|id| town.ids.contains(*id)) else { continue };
        if line.says(" marking it unreachable ") {
            away.insert(agent);
        } else if line.says(" agent came back ") && away.remove(agent) {
            returns += 1;
        }
    }
    returns
}

#[track_caller]
fn terms(masters: &[Vec<Line>]) -> Vec<Term> {
    let mut terms: BTreeMap<u64, Term> = BTreeMap::new();
    for (master, log) in (0..).zip(masters) {
        let (mut elected, mut now) = (0, None);
        for line in log {
            if line.says(" elected as the leading master ") {
                (elected, now) = (line.at, None);
            }
            if line.says(" registry taken over ") {
                let (epoch, taken) = (line.number("epoch"), line.at);
                let term = Term { epoch, master, elected, taken, led: None, reached: None };
                let former = terms.insert(term.epoch, term);
                assert!(former.is_none(), "an epoch was used twice: {former:?} {term:?}");
            }
            if line.says(" leading epoch=") {
                let own = terms.get_mut(&line.number("epoch")).filter(|term| term.master == master);
                own.or_fail(format!("its own takeover: {}", line.text)).led = Some(line.at);
                now = Some(line.number("epoch"));
            }
            let comes = [" agent re-registered ", " agent came back "].iter().any(|what| line.says(what));
            if let Some(term) = now.filter(|_| comes).and_then(|epoch| terms.get_mut(&epoch)) {
                term.reached.get_or_insert(line.at);
            }
        }
    }
    let terms: Vec<Term> = terms.into_values().collect();
    assert!(
        terms.windows(2).all(|two| two[0].taken < two[1].taken),
        "epochs that don't rise with time: {terms:?}"
    );
    terms
}

/// Every launch lies within its leader's time; tasks with their epochs.
#[track_caller]
fn launches_are_of_the_leader(masters: &[Vec<Line>], terms: &[Term]) -> BTreeSet<(String, u64)> {
    let mut launched = BTreeSet::new();
    for (master, log) in (0..).zip(masters) {
        for line in log.iter().filter(|line| line.says(" task launched ")) {
            let epoch = line.number("epoch");
            let term = terms.iter().position(|term| term.epoch == epoch).or_fail("its leadership");
            let next = terms.get(term + 1).map_or(u64::MAX, |next| next.taken);
            assert_eq!(terms[term].master, master, "in another's name: {}", line.text);
            let within = terms[term].led.is_some_and(|led| led <= line.at) && line.at < next;
            assert!(within, "master {master} launched while another leads: {}\n{terms:?}", line.text);
            assert!(launched.insert((task(line, "framework_id", "task_id"), epoch)), "twice: {}", line.text);
        }
    }
    launched
}

#[track_caller]
fn task(line: &Line, framework: &str, task: &str) -> String {
    let part = |name| field(&line.text, name).or_fail(format!("{name} in: {}", line.text));
    format!("{}/{}", part(framework), part(task))
}

/// No agent goes back to a lower epoch, nor launches what no leader has ordered, nor twice.
#[track_caller]
fn agents_obey_upwards(agents: &[Vec<Line>], ordered: &BTreeSet<(String, u64)>) {
    let mut begun = BTreeSet::new();
    for log in agents {
        let (mut obeyed, mut latest) = (0, 0);
        for line in log {
            if line.says(" obeying another leading master ") {
                let epoch = line.number("epoch");
                assert!(epoch > obeyed, "an agent obeys a lower epoch than {obeyed}: {}", line.text);
                obeyed = epoch;
            }
            if line.says(" launching ") {
                let (epoch, task) = (line.number("epoch"), task(line, "framework", "task"));
                assert!(latest <= epoch && epoch <= obeyed, "{latest} {obeyed} {}", line.text);
                latest = epoch;
                assert!(ordered.contains(&(task.clone(), epoch)), "nobody has ordered it: {}", line.text);
                assert!(begun.insert(task), "launched twice: {}", line.text);
            }
        }
    }
}

/// How long it took from each election to the first offer, in seconds, where an agent could reach who was elected.
pub fn first_offers(town: &Town, terms: &[Term], offered: &[(u64, SocketAddr)]) -> Vec<f64> {
    let ends = terms.iter().skip(1).map(|term| Some(term.taken)).chain([None]);
    let of_term = |(term, end): (&Term, Option<u64>)| {
        let (led, _) = (term.led?, term.reached?);
        let own = offered.iter().filter(|(_, from)| *from == town.masters.address(term.master));
        let first = own.map(|(at, _)| *at).filter(|at| (led..end.unwrap_or(u64::MAX)).contains(at)).min();
        let seconds = |at: u64| at.saturating_sub(term.elected) as f64 / 1e6;
        first.map(seconds).or_else(|| end.map(seconds).filter(|lasted| *lasted > TOO_SHORT))
    };
    terms.iter().zip(ends).filter_map(of_term).collect()
}

/// A log of lines with seconds and words.
fn log(lines: &[(u64, &str)]) -> Vec<Line> {
    lines.iter().map(|(at, text)| Line { at: *at, text: format!("INFO crate: {text}") }).collect()
}

#[test]
fn what_must_not_be_is_found() {
    let first = [(1, "registry taken over epoch=5 zxid=1"), (2, "leading epoch=5 agents=1")];
    let second = [(5, "registry taken over epoch=6 zxid=4"), (6, "leading epoch=6 agents=1")];
    let check = |one: &[(u64, &str)], two: &[(u64, &str)], agent: &[(u64, &str)]| {
        let masters = [log(&[&first, one].concat()), log(&[&second, two].concat())];
        std::panic::catch_unwind(|| {
            let terms = terms(&masters);
            let launched = launches_are_of_the_leader(&masters, &terms);
            agents_obey_upwards(&[log(agent)], &launched);
        })
        .is_ok()
    };
    let (obeys, runs) =
        ((2, "obeying another leading master epoch=5"), (4, "launching task=t framework=F epoch=5"));
    let launch = |at| (at, "task launched framework_id=F task_id=t epoch=5");
    let write = |text| [(3, text)];
    assert!(check(&[launch(3)], &[], &[obeys, runs]));
    assert!(!check(&[launch(5)], &[], &[]), "a launch after the takeover");
    assert!(!check(&[], &[launch(3)], &[]), "a launch in another's name");
    assert!(!check(&write("registry taken over epoch=6 zxid=2"), &[], &[]), "an epoch of two masters");
    assert!(!check(&[], &[], &[obeys, runs]), "a launch that nobody ordered");
    assert!(!check(&[launch(3)], &[], &[obeys, runs, runs]), "a task that runs twice");
    assert!(
        !check(&[launch(3)], &[], &[(2, "obeying another leading master epoch=6"), obeys]),
        "a lower epoch"
    );
}
