//! What masters find where they contend and keep their registry: nodes of an ensemble, and a registry as text.

use std::time::Duration;

use coordination::contest::{Contest, Verdict};
use coordination::fuzzing;
use coordination::lease::Moment;

use super::choice;

/// Names and content of nodes, as the first byte says; names are lines, and the content follows an empty one.
pub(crate) fn nodes(data: &[u8]) {
    let Some((which, rest)) = choice(data) else { return };
    match which % 3 {
        0 => candidates(rest),
        1 => drop(fuzzing::head(rest)),
        _ => drop(fuzzing::record(&String::from_utf8_lossy(rest))),
    }
}

/// Who leads is one of those that are there, and has an address that can stand in a URL.
fn candidates(data: &[u8]) {
    let split = data.windows(2).position(|pair| pair == b"\n\n").unwrap_or(data.len());
    let names = String::from_utf8_lossy(&data[..split]);
    let content = data.get(split + 2..).unwrap_or_default();
    let mut contest = Contest::new(Duration::from_secs(10));
    let asked = Moment::now();
    assert_eq!(contest.seen(asked, names.lines()), Verdict::Absent, "nobody has joined");
    let Some(first) = contest.unread().map(str::to_owned) else { return };
    assert!(names.lines().any(|name| name == first), "{first}");
    let read = contest.read(&first, content);
    assert_eq!(read.is_ok(), contest.leader().is_some(), "{first}");
    assert_eq!(contest.unread(), None, "it is read once");
    if let Some(leader) = contest.leader() {
        let fits = |host: &str| !host.is_empty() && host.chars().all(|c| c.is_ascii_graphic() && c != '/');
        assert!(
            leader.address.port > 0 && fits(&leader.address.host) && fits(&leader.hostname),
            "{leader:?}"
        );
    }
    contest.joined(&first);
    let leads = matches!(contest.seen(asked, names.lines()), Verdict::Leads { until } if until > asked);
    assert!(leads, "the first leads");
}

pub(crate) fn registry(data: &[u8]) {
    master::fuzzing::registry(&String::from_utf8_lossy(data));
}
