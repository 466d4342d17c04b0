//! Lines of logs with their moments and fields.

use std::fs;
use std::path::Path;

use integration::OrFail;

/// A line of a log with a moment, in microseconds of wall time.
pub struct Line {
    pub at: u64,
    pub text: String,
}

impl Line {
    pub fn says(&self, what: &str) -> bool {
        self.text.contains(what)
    }

    /// A field that must be there and be a number.
    #[track_caller]
    pub fn number(&self, name: &str) -> u64 {
        field(&self.text, name)
            .and_then(|text| text.parse().ok())
            .or_fail(format!("{name} in: {}", self.text))
    }
}

#[track_caller]
pub fn read(log: &Path) -> Vec<Line> {
    let text = fs::read_to_string(log).or_fail(log.display());
    text.lines().filter_map(|line| Some(Line { at: moment(line)?, text: line.to_owned() })).collect()
}

/// How many lines of a log say something.
pub fn count(log: &Path, what: &str) -> usize {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().filter(|line| line.contains(what)).count()
}

/// The epoch in the last line of a log that says something.
pub fn epoch(log: &Path, what: &str) -> Option<u64> {
    let text = fs::read_to_string(log).ok()?;
    let line = text.lines().rev().find(|line| line.contains(what))?;
    field(line, "epoch")?.parse().ok()
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
pub fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let rest = line.split_once(&format!(" {name}="))?.1;
    Some(rest.split(' ').next().unwrap_or(rest).trim_matches('"'))
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
