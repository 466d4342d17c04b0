//! Where masters answer, in the ways that people and ensembles write it.

use std::fmt;

/// Where a master answers.
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

/// The master that leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leader {
    /// Where to connect to.
    pub address: LeaderAddress,
    /// The host as it calls itself, for people and browsers. Mesos: clients are sent there by 307.
    pub hostname: String,
}

impl Leader {
    /// Where clients are sent to.
    pub fn shown(&self) -> LeaderAddress {
        LeaderAddress { host: self.hostname.clone(), port: self.address.port }
    }
}

impl From<LeaderAddress> for Leader {
    fn from(address: LeaderAddress) -> Leader {
        Leader { hostname: address.host.clone(), address }
    }
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
