//! Reads all logs afterwards: no epoch is used twice, and nothing is done in the name of a lower epoch once the leader of a
//! higher one has begun to act.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use integration::OrFail;

use super::town::{MASTERS, Town};

/// A line of a log with a moment, in microseconds of wall time.
struct Line {
    at: u64,
    text: String,
}

/// A leadership.
#[derive(Clone, Copy, Debug)]
pub struct Term {
    epoch: u64,
    master: u16,
    /// When it raised the epoch in the registry.
    taken: u64,
    /// When it had read the registry, if it came so far.
    led: Option<u64>,
}

/// A write of the registry's head.
#[derive(Debug)]
struct Write {
    zxid: u64,
    epoch: u64,
    serial: u64,
}

/// Checks everything; the leaderships in their order.
#[track_caller]
pub fn check(town: &Town) -> Vec<Term> {
    let masters: Vec<Vec<Line>> = (0..MASTERS).map(|master| read(&town.masters.log(master))).collect();
    let agents: Vec<Vec<Line>> = town.agents.iter().map(|agent| read(&agent.path("agent.log"))).collect();
    for line in masters.iter().chain(&agents).flatten() {
        assert!(!line.text.contains("panicked"), "{}", line.text);
    }
    let terms = terms(&masters);
    registry_is_fenced(&masters);
    let launched = launches_are_of_the_leader(&masters, &terms);
    agents_obey_upwards(&agents, &launched);
    terms
}

fn read(log: &Path) -> Vec<Line> {
    let text = fs::read_to_string(log).or_fail(log.display());
    text.lines().filter_map(|line| Some(Line { at: moment(line)?, text: line.to_owned() })).collect()
}

/// `2026-01-31T12:00:00.000001Z …` in microseconds since 1970.
fn moment(line: &str) -> Option<u64> {
    let number = |from: usize, to: usize| line.get(from..to)?.parse::<u64>().ok();
    if line.get(19..20) != Some(".") || line.get(26..27) != Some("Z") {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    // Years begin in March here, so that the leap day is the last one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    let seconds = (days * 24 + number(11, 13)?) * 3600 + number(14, 16)? * 60 + number(17, 19)?;
    Some(seconds * 1_000_000 + number(20, 26)?)
}

/// The value of `name=` in a line.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let rest = line.split_once(&format!(" {name}="))?.1;
    Some(rest.split(' ').next().unwrap_or(rest).trim_matches('"'))
}

#[track_caller]
fn numeric(line: &Line, name: &str) -> u64 {
    field(&line.text, name).and_then(|text| text.parse().ok()).or_fail(format!("{name} in: {}", line.text))
}

#[track_caller]
fn terms(masters: &[Vec<Line>]) -> Vec<Term> {
    let mut terms: BTreeMap<u64, Term> = BTreeMap::new();
    for (master, log) in (0..).zip(masters) {
        for line in log {
            if line.text.contains(" registry taken over ") {
                let term = Term { epoch: numeric(line, "epoch"), master, taken: line.at, led: None };
                let former = terms.insert(term.epoch, term);
                assert!(former.is_none(), "an epoch was used twice: {former:?} {term:?}");
            }
            if line.text.contains(" leading epoch=") {
                let own = terms.get_mut(&numeric(line, "epoch")).filter(|term| term.master == master);
                own.or_fail(format!("its own takeover: {}", line.text)).led = Some(line.at);
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

/// The ensemble's own order of all writes.
#[track_caller]
fn registry_is_fenced(masters: &[Vec<Line>]) {
    let of_registry = |line: &&Line| {
        [" registry taken over ", " registry written "].iter().any(|what| line.text.contains(what))
    };
    let mut writes: Vec<Write> = masters
        .iter()
        .flatten()
        .filter(of_registry)
        .map(|line| Write {
            zxid: numeric(line, "zxid"),
            epoch: numeric(line, "epoch"),
            serial: field(&line.text, "serial").and_then(|text| text.parse().ok()).unwrap_or(0),
        })
        .collect();
    writes.sort_by_key(|write| write.zxid);
    for two in writes.windows(2) {
        let (before, after) = (&two[0], &two[1]);
        let fenced = before.zxid < after.zxid
            && (before.epoch, before.serial) < (after.epoch, after.serial)
            && (before.epoch < after.epoch) == (after.serial == 0);
        assert!(fenced, "a write of a lower epoch after the takeover of a higher one: {before:?} {after:?}");
    }
}

/// Every launch lies within its leader's time; tasks with their epochs.
#[track_caller]
fn launches_are_of_the_leader(masters: &[Vec<Line>], terms: &[Term]) -> BTreeSet<(String, u64)> {
    let mut launched = BTreeSet::new();
    for (master, log) in (0..).zip(masters) {
        for line in log.iter().filter(|line| line.text.contains(" task launched ")) {
            let epoch = numeric(line, "epoch");
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
            if line.text.contains(" obeying another leading master ") {
                let epoch = numeric(line, "epoch");
                assert!(epoch > obeyed, "an agent obeys a lower epoch than {obeyed}: {}", line.text);
                obeyed = epoch;
            }
            if line.text.contains(" launching ") {
                let (epoch, task) = (numeric(line, "epoch"), task(line, "framework", "task"));
                assert!(latest <= epoch && epoch <= obeyed, "{latest} {obeyed} {}", line.text);
                latest = epoch;
                assert!(ordered.contains(&(task.clone(), epoch)), "nobody has ordered it: {}", line.text);
                assert!(begun.insert(task), "launched twice: {}", line.text);
            }
        }
    }
}

/// For each leadership in which there were offers, how long the first one took, in seconds.
pub fn first_offers(town: &Town, terms: &[Term], offered: &[(u64, SocketAddr)]) -> Vec<f64> {
    let ends = terms.iter().skip(1).map(|term| term.taken).chain([u64::MAX]);
    let of_term = |(term, end): (&Term, u64)| {
        let led = term.led?;
        let own = offered.iter().filter(|(_, from)| *from == town.masters.address(term.master));
        let first = own.map(|(at, _)| *at).filter(|at| (led..end).contains(at)).min()?;
        Some((first - led) as f64 / 1e6)
    };
    terms.iter().zip(ends).filter_map(of_term).collect()
}

#[test]
fn moments_are_read_and_fields_found() {
    let line = "2026-11-27T13:36:23.123456Z  INFO master::service: task launched task_id=t1 epoch=7 resources=cpus:1 mem:2";
    assert_eq!(moment(line), Some(1_795_786_583_123_456));
    assert_eq!(moment("1970-01-01T00:00:00.000000Z x"), Some(0));
    assert_eq!(moment("2024-02-29T00:00:00.000000Z x"), Some(1_709_164_800_000_000));
    assert_eq!(moment("thread 'main' panicked at src/main.rs:1:2"), None);
    assert_eq!(
        (field(line, "task_id"), field(line, "epoch"), field(line, "x")),
        (Some("t1"), Some("7"), None)
    );
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
            registry_is_fenced(&masters);
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
    assert!(check(&write("registry written epoch=5 serial=1 zxid=3"), &[], &[]));
    assert!(!check(&[launch(5)], &[], &[]), "a launch after the takeover");
    assert!(!check(&[], &[launch(3)], &[]), "a launch in another's name");
    assert!(
        !check(&write("registry written epoch=5 serial=1 zxid=5"), &[], &[]),
        "a write after the takeover"
    );
    assert!(!check(&write("registry taken over epoch=6 zxid=2"), &[], &[]), "an epoch of two masters");
    assert!(!check(&[], &[], &[obeys, runs]), "a launch that nobody ordered");
    assert!(!check(&[launch(3)], &[], &[obeys, runs, runs]), "a task that runs twice");
    assert!(
        !check(&[launch(3)], &[], &[(2, "obeying another leading master epoch=6"), obeys]),
        "a lower epoch"
    );
}
