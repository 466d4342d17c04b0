//! `zk://user:password@host1:port1,host2:port2/path`: which ensemble, as whom, and below which node.

use std::fmt;
use std::str::FromStr;

/// The port of an ensemble's member that names none.
const DEFAULT_PORT: u16 = 2181;
/// Members and length that no ensemble has.
const MAX_SERVERS: usize = 100;
const MAX_LENGTH: usize = 16 << 10;

/// Which ensemble, as whom, and below which node.
#[derive(Clone, PartialEq, Eq)]
pub struct EnsembleUrl {
    servers: Vec<(String, u16)>,
    login: Option<String>,
    path: String,
}

/// A text that is no such URL. It holds nothing of the password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}; expected zk://host1:2181,host2:2181,host3:2181/path or zk://user:password@host1:2181/path")]
pub struct BadUrl(&'static str);

impl EnsembleUrl {
    /// Whether a text means an ensemble at all.
    pub fn is_one(text: &str) -> bool {
        text.starts_with("zk://")
    }

    /// `host1:port1,host2:port2`.
    pub fn servers(&self) -> String {
        let each = self.servers.iter().map(|(host, port)| match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        });
        each.collect::<Vec<_>>().join(",")
    }

    /// `user:password`, if a login was given.
    pub fn login(&self) -> Option<&str> {
        self.login.as_deref()
    }

    /// The node that holds the masters' own, beginning with a slash.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether every server is on this host itself.
    pub fn is_local(&self) -> bool {
        let local = |host: &str| {
            host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
        };
        self.servers.iter().all(|(host, _)| local(host))
    }
}

impl FromStr for EnsembleUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<EnsembleUrl, BadUrl> {
        if text.len() > MAX_LENGTH {
            return Err(BadUrl("the URL is too long"));
        }
        let rest = text.strip_prefix("zk://").ok_or(BadUrl("the URL doesn't begin with zk://"))?;
        let (rest, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        // A password may hold an '@', a host can't.
        let (login, hosts) = match rest.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, rest),
        };
        if login.is_some_and(|login| login.split_once(':').is_none_or(|(user, _)| user.is_empty())) {
            return Err(BadUrl("the login has no user, or no password after a colon"));
        }
        let servers: Vec<(String, u16)> = hosts.split(',').map(server).collect::<Result<_, _>>()?;
        if servers.len() > MAX_SERVERS {
            return Err(BadUrl("there are too many servers"));
        }
        Ok(EnsembleUrl { servers, login: login.map(str::to_owned), path: node(path)? })
    }
}

fn server(text: &str) -> Result<(String, u16), BadUrl> {
    let bad = BadUrl("a server is not host:port");
    let number = |port: &str| port.parse::<u16>().ok().filter(|port| *port > 0).ok_or(bad.clone());
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, DEFAULT_PORT),
        Some((host, rest)) => (host, number(rest.strip_prefix(':').ok_or(bad.clone())?)?),
        None => match text.split_once(':') {
            Some((host, port)) => (host, number(port)?),
            None => (text, DEFAULT_PORT),
        },
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    if host.is_empty() || host.len() > 255 || !host.chars().all(fits) {
        return Err(bad);
    }
    Ok((host.to_owned(), port))
}

/// A path as ZooKeeper takes it, without a slash at its end.
fn node(path: &str) -> Result<String, BadUrl> {
    let path = path.trim_end_matches('/');
    // Mesos: the masters' nodes can't lie at the root.
    if path.is_empty() {
        return Err(BadUrl("the URL has no path, such as /mesos"));
    }
    let fits = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part.len() <= 255
            && part
                .chars()
                .all(|c| !c.is_control() && !('\u{e000}'..='\u{f8ff}').contains(&c) && c < '\u{fff0}')
    };
    if !path.split('/').skip(1).all(fits) || path.starts_with("/zookeeper/") || path == "/zookeeper" {
        return Err(BadUrl("the path can't be one of an ensemble's"));
    }
    Ok(path.to_owned())
}

/// Without the password.
impl fmt::Display for EnsembleUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.login.as_deref().and_then(|login| login.split(':').next());
        let user = user.map(|user| format!("{user}:…@")).unwrap_or_default();
        write!(f, "zk://{user}{}{}", self.servers(), self.path)
    }
}

impl fmt::Debug for EnsembleUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        let url: EnsembleUrl = "zk://me:pa@ss:w@h1:2181,h2,[::1]:7/chroot/mesos/".parse().unwrap();
        assert_eq!(url.servers(), "h1:2181,h2:2181,[::1]:7");
        assert_eq!((url.login(), url.path()), (Some("me:pa@ss:w"), "/chroot/mesos"));
        assert_eq!(url.to_string(), "zk://me:…@h1:2181,h2:2181,[::1]:7/chroot/mesos");
        assert!(!format!("{url:?}").contains("pa@ss"));
        let local: EnsembleUrl = "zk://localhost,127.0.0.3:1/mesos".parse().unwrap();
        assert!(local.is_local() && !url.is_local());
    }

    #[test]
    fn what_is_no_url_is_refused_without_telling_the_password() {
        for bad in [
            "",
            "h:1/mesos",
            "zk://",
            "zk:///mesos",
            "zk://h:0/m",
            "zk://h:70000/m",
            "zk://h:x/m",
            "zk://h",
            "zk://h/",
            "zk://h//m",
            "zk://h/m/../x",
            "zk://h/./m",
            "zk://h/zookeeper",
            "zk://h/zookeeper/x",
            "zk://secret@h/m",
            "zk://:secret@h/m",
            "zk://me:secret@/m",
            "zk://h 1/m",
            "zk://h,,i/m",
            "zk://[::1/m",
            "zk://[::1]x/m",
            "zk://h/\u{1}",
        ] {
            let error = bad.parse::<EnsembleUrl>().unwrap_err().to_string();
            assert!(!error.contains("secret"), "{bad}: {error}");
        }
        assert!(format!("zk://{}/m", vec!["h"; 101].join(",")).parse::<EnsembleUrl>().is_err());
    }
}
