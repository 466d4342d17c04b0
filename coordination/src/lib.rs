//! Who leads: detection of the leading master and contention for leadership, behind two narrow seams.
//!
//! A standalone cluster is its own coordination; an ensemble comes behind the same traits.

#![forbid(unsafe_code)]

mod standalone;

use std::fmt;

use tokio::sync::watch;

pub use standalone::Standalone;

/// Where the leading master answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaderAddress {
    /// Host name or IP address to connect to.
    pub host: String,
    /// Port of its HTTP API and agent link.
    pub port: u16,
}

impl fmt::Display for LeaderAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A text that names no master.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no address of a master; expected host:port, such as 127.0.0.1:5050")]
pub struct BadAddress(String);

impl std::str::FromStr for LeaderAddress {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let bad = || BadAddress(text.to_owned());
        let plain = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        let (host, port) = plain.rsplit_once(':').ok_or_else(bad)?;
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        // Mesos also accepts `master@ip:port`.
        let host = host.strip_prefix("master@").unwrap_or(host);
        let port = port.parse().map_err(|_| bad())?;
        if host.is_empty() || host.contains(['/', '@', ' ']) {
            return Err(bad());
        }
        Ok(LeaderAddress { host: host.to_owned(), port })
    }
}

/// Tells who leads.
pub trait LeaderDetector: Send + Sync {
    /// The leader, none while there is none; the receiver hears of each change.
    fn leader(&self) -> watch::Receiver<Option<LeaderAddress>>;
}

/// What a contender knows of its own leadership.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leadership {
    /// Another leads, or nobody yet.
    Standby,
    /// This process leads.
    Leading,
    /// It led and must stop at once.
    Lost,
}

/// Contends for leadership.
pub trait LeaderContender: Send + Sync {
    /// Joins the contest with the address that agents and schedulers are to use.
    fn contend(&self, own: LeaderAddress) -> watch::Receiver<Leadership>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_masters() {
        for (text, host, port) in [
            ("127.0.0.1:5050", "127.0.0.1", 5050),
            ("m1.example:80", "m1.example", 80),
            ("[::1]:5050", "::1", 5050),
            ("master@10.0.0.1:5050", "10.0.0.1", 5050),
            ("http://10.0.0.1:5050/", "10.0.0.1", 5050),
        ] {
            let address: LeaderAddress = text.parse().unwrap();
            assert_eq!((address.host.as_str(), address.port), (host, port), "{text}");
        }
        assert_eq!("[::1]:5050".parse::<LeaderAddress>().unwrap().to_string(), "[::1]:5050");
        for bad in ["", "host", ":5050", "host:x", "host:70000", "a b:1", "zk/x:1"] {
            assert!(bad.parse::<LeaderAddress>().is_err(), "{bad}");
        }
    }
}
