//! The contest for leadership as Mesos lays it out in an ensemble, as pure logic: what was seen decides who leads, and
//! for how long this process may act on that.
//!
//! Each candidate makes an ephemeral sequential node; the one with the lowest number leads. The lease of a leader runs
//! from the moment at which it *asked* for the nodes among which it found its own as the first, for two thirds of the
//! session's time-out: a process that hears nothing, or is stopped, stops acting well before the ensemble may have
//! given its place to another.

use std::time::Duration;

use crate::address::{Leader, LeaderAddress};
use crate::lease::Moment;

/// What the name of a candidate's node begins with; ten digits follow. Mesos: the content is a MasterInfo in JSON.
pub const LABEL: &str = "json.info_";
/// The older kind. Mesos: the content is a MasterInfo in protobuf.
const OLD_LABEL: &str = "info_";
/// The largest content that is read of a candidate.
const MAX_CONTENT: usize = 64 << 10;

/// A candidate's node, by the order of their numbers.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Candidate {
    number: i64,
    name: String,
}

impl Candidate {
    /// Reads a node's name; none for nodes that are no candidates'. Mesos: what has no number at its end is skipped.
    pub fn read(name: &str) -> Option<Candidate> {
        let number = name.strip_prefix(LABEL).or_else(|| name.strip_prefix(OLD_LABEL))?;
        let number: i64 = number.parse().ok().filter(|_| number.len() >= 10)?;
        Some(Candidate { number, name: name.to_owned() })
    }

    /// The node's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// What a look at the nodes means for a process that contends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It leads until then, if it doesn't look again.
    Leads {
        /// The end of its lease.
        until: Moment,
    },
    /// Another leads.
    Stands,
    /// Its node isn't there: it has to make one.
    Absent,
}

/// What one process knows of the contest within one session.
#[derive(Clone, Debug)]
pub struct Contest {
    lease: Duration,
    own: Option<String>,
    first: Option<Candidate>,
    leader: Option<(Candidate, Option<Leader>)>,
}

impl Contest {
    /// At the beginning of a session with that time-out.
    pub fn new(session_timeout: Duration) -> Contest {
        Contest { lease: session_timeout * 2 / 3, own: None, first: None, leader: None }
    }

    /// This process' own node was made, or found.
    pub fn joined(&mut self, node: &str) {
        self.own = Some(node.to_owned());
    }

    /// Its node, once it has one.
    pub fn own(&self) -> Option<&str> {
        self.own.as_deref()
    }

    /// The nodes, asked for at `asked`.
    pub fn seen<'a>(&mut self, asked: Moment, nodes: impl IntoIterator<Item = &'a str>) -> Verdict {
        let mut candidates: Vec<Candidate> = nodes.into_iter().filter_map(Candidate::read).collect();
        candidates.sort_unstable();
        let is_there = self.own.as_ref().is_some_and(|own| candidates.iter().any(|c| c.name == *own));
        self.first = candidates.into_iter().next();
        if self.leader.as_ref().map(|(node, _)| node) != self.first.as_ref() {
            self.leader = None;
        }
        if !is_there {
            self.own = None;
            return Verdict::Absent;
        }
        match &self.first {
            Some(first) if self.own.as_ref() == Some(&first.name) => {
                Verdict::Leads { until: asked + self.lease }
            }
            _ => Verdict::Stands,
        }
    }

    /// The node whose content tells who leads, unless that is known.
    pub fn unread(&self) -> Option<&str> {
        match (&self.first, &self.leader) {
            (Some(first), None) => Some(&first.name),
            _ => None,
        }
    }

    /// The content of that node.
    ///
    /// # Errors
    /// What is wrong with it. Mesos: such a leader is none, until it goes.
    pub fn read(&mut self, node: &str, content: &[u8]) -> Result<(), BadContent> {
        let Some(first) = self.first.clone().filter(|first| first.name == node) else { return Ok(()) };
        let found = match node.starts_with(LABEL) {
            true => leader_in_json(content),
            false => leader_in_protobuf(content),
        };
        let (leader, result) = match found {
            Some(leader) => (Some(leader), Ok(())),
            None => (None, Err(BadContent { node: node.to_owned() })),
        };
        self.leader = Some((first, leader));
        result
    }

    /// Who leads, as far as it is known.
    pub fn leader(&self) -> Option<&Leader> {
        self.leader.as_ref().and_then(|(_, leader)| leader.as_ref())
    }
}

/// A candidate's node that doesn't say where it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the node {node} of the leading master holds no MasterInfo with an address; is it another program's?"
)]
pub struct BadContent {
    node: String,
}

fn leader_in_json(content: &[u8]) -> Option<Leader> {
    if content.len() > MAX_CONTENT {
        return None;
    }
    let info: serde_json::Value = serde_json::from_slice(content).ok()?;
    let text = |value: &serde_json::Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let port = |value: &serde_json::Value| value.as_u64().and_then(|port| u16::try_from(port).ok());
    let address = &info["address"];
    let pid = text(&info["pid"]).and_then(|pid| pid.parse::<LeaderAddress>().ok());
    let host = text(&address["ip"]).or_else(|| pid.as_ref().map(|pid| pid.host.clone()));
    let host = host.or_else(|| text(&address["hostname"])).or_else(|| text(&info["hostname"]));
    let port = port(&address["port"]).or(pid.map(|pid| pid.port)).or_else(|| port(&info["port"]));
    let hostname = text(&info["hostname"]).or_else(|| text(&address["hostname"]));
    leader(host?, port?, hostname)
}

/// The fields of a MasterInfo that tell where it is.
#[derive(Clone, PartialEq, prost::Message)]
struct OldInfo {
    /// The bytes of an IPv4 address in network order, read as a little-endian number.
    #[prost(uint32, optional, tag = "2")]
    ip: Option<u32>,
    #[prost(uint32, optional, tag = "3")]
    port: Option<u32>,
    #[prost(string, optional, tag = "4")]
    pid: Option<String>,
    #[prost(string, optional, tag = "5")]
    hostname: Option<String>,
}

fn leader_in_protobuf(content: &[u8]) -> Option<Leader> {
    let info: OldInfo = prost::Message::decode(content).ok().filter(|_| content.len() <= MAX_CONTENT)?;
    let pid = info.pid.as_deref().and_then(|pid| pid.parse::<LeaderAddress>().ok());
    let ip = info.ip.map(|ip| std::net::Ipv4Addr::from(ip.to_le_bytes()).to_string());
    let port = info.port.and_then(|port| u16::try_from(port).ok());
    let (host, port) = match pid {
        Some(pid) => (pid.host, pid.port),
        None => (ip?, port?),
    };
    leader(host, port, info.hostname)
}

/// Only what can stand in a URL is a host.
fn leader(host: String, port: u16, hostname: Option<String>) -> Option<Leader> {
    let fits = |host: &String| {
        host.len() <= 255 && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._:".contains(c))
    };
    let address = Some(LeaderAddress { host, port }).filter(|address| port > 0 && fits(&address.host))?;
    let hostname = hostname.filter(|name| !name.is_empty() && fits(name));
    Some(Leader { hostname: hostname.unwrap_or_else(|| address.host.clone()), address })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Moment {
        Moment::after_boot(Duration::from_secs(seconds))
    }

    #[test]
    fn names_of_candidates() {
        let number = |name: &str| Candidate::read(name).map(|candidate| candidate.number);
        assert_eq!(number("json.info_0000000012"), Some(12));
        assert_eq!(number("info_0000000003"), Some(3));
        // A counter of ZooKeeper's that ran over.
        assert_eq!(number("json.info_-2147483648"), Some(-2_147_483_648));
        for other in [
            "log_replicas",
            "tepui_registry",
            "json.info_",
            "json.info_12",
            "x_0000000001",
            "json.info_00000000x1",
        ] {
            assert_eq!(number(other), None, "{other}");
        }
    }

    #[test]
    fn the_lowest_number_leads_for_two_thirds_of_a_session() {
        let mut contest = Contest::new(TEN * 3);
        assert_eq!(contest.seen(at(1), ["json.info_0000000002"]), Verdict::Absent);
        contest.joined("json.info_0000000007");
        let nodes = ["tepui_registry", "json.info_0000000007", "info_0000000002", "log_replicas"];
        assert_eq!(contest.seen(at(2), nodes), Verdict::Stands);
        assert_eq!(contest.unread(), Some("info_0000000002"));
        let until = at(50);
        assert_eq!(
            contest.seen(at(30), ["json.info_0000000007", "json.info_0000000009"]),
            Verdict::Leads { until }
        );
        // Removed by an operator, or by the ensemble at the session's end.
        assert_eq!(contest.seen(at(40), ["json.info_0000000009"]), Verdict::Absent);
        assert_eq!(contest.own(), None);
    }

    #[test]
    fn the_leaders_content_is_read_once_and_forgotten_with_it() {
        let mut contest = Contest::new(TEN);
        contest.seen(at(1), ["json.info_0000000002", "json.info_0000000003"]);
        let content = br#"{"address":{"hostname":"m2.example","ip":"10.0.0.2","port":5050},"hostname":"m2.example","id":"x","ip":33554442,"pid":"master@10.0.0.2:5050","port":5050,"version":"1.11.0"}"#;
        contest.read("json.info_0000000002", content).unwrap();
        assert_eq!(contest.leader().unwrap().address.to_string(), "10.0.0.2:5050");
        assert_eq!(contest.leader().unwrap().shown().to_string(), "m2.example:5050");
        assert_eq!(contest.unread(), None);
        contest.seen(at(2), ["json.info_0000000002"]);
        assert!(contest.leader().is_some());
        contest.seen(at(3), ["json.info_0000000003"]);
        assert_eq!((contest.leader(), contest.unread()), (None, Some("json.info_0000000003")));
        // An answer that comes late is about a node that is gone.
        contest.read("json.info_0000000002", content).unwrap();
        assert_eq!(contest.leader(), None);
        contest.seen(at(4), []);
        assert_eq!((contest.leader(), contest.unread()), (None, None));
    }

    #[test]
    fn contents_of_every_age_are_read() {
        let json = |text: &str| leader_in_json(text.as_bytes()).map(|leader| leader.address.to_string());
        assert_eq!(
            json(r#"{"pid":"master@10.0.0.1:5050","hostname":"h"}"#).as_deref(),
            Some("10.0.0.1:5050")
        );
        assert_eq!(json(r#"{"hostname":"h","port":5050}"#).as_deref(), Some("h:5050"));
        assert_eq!(json(r#"{"address":{"ip":"::1","port":1}}"#).as_deref(), Some("[::1]:1"));
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"address":{"ip":"a/b","port":1}}"#,
            r#"{"address":{"ip":"a","port":0}}"#,
            r#"{"address":{"ip":"a","port":70000}}"#,
            r#"{"address":{"ip":"a\r\nX: y","port":1}}"#,
        ] {
            assert_eq!(json(bad), None, "{bad}");
        }
        let old = OldInfo {
            ip: Some(u32::from_le_bytes([10, 0, 0, 1])),
            port: Some(5050),
            pid: None,
            hostname: None,
        };
        let bytes = prost::Message::encode_to_vec(&old);
        assert_eq!(leader_in_protobuf(&bytes).unwrap().address.to_string(), "10.0.0.1:5050");
        assert_eq!(leader_in_protobuf(&[0xff; 9]), None);
        let mut contest = Contest::new(TEN);
        contest.seen(at(1), ["info_0000000001"]);
        contest.read("info_0000000001", &bytes).unwrap();
        assert!(contest.leader().is_some());
        contest.seen(at(1), ["json.info_0000000000"]);
        let error = contest.read("json.info_0000000000", b"hello").unwrap_err().to_string();
        assert!(error.contains("json.info_0000000000"), "{error}");
        // Not read again and again.
        assert_eq!((contest.leader(), contest.unread()), (None, None));
    }
}
