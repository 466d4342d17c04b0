//! The address that others reach, and a name for it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::Duration;

/// How long the name service may take to confirm a name.
const LOOKUP: Duration = Duration::from_secs(2);

/// The address that others reach when all are listened on: the one from which this host would reach them.
pub fn reachable(bound: IpAddr) -> IpAddr {
    if !bound.is_unspecified() {
        return bound;
    }
    // Connecting a UDP socket sends nothing. The addresses are those for documentation.
    let (from, to): (IpAddr, IpAddr) = match bound {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into()),
        IpAddr::V6(_) => {
            (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into())
        }
    };
    let found = UdpSocket::bind((from, 0)).and_then(|socket| {
        socket.connect((to, 9))?;
        socket.local_addr()
    });
    match (found, bound) {
        (Ok(address), _) if !address.ip().is_unspecified() => address.ip(),
        (_, IpAddr::V4(_)) => Ipv4Addr::LOCALHOST.into(),
        (_, IpAddr::V6(_)) => Ipv6Addr::LOCALHOST.into(),
    }
}

/// A name that is known to mean this address: this machine's own, or `localhost`.
pub async fn name_of(ip: IpAddr) -> Option<String> {
    let name = if ip.is_loopback() {
        "localhost".to_owned()
    } else {
        tokio::fs::read_to_string("/proc/sys/kernel/hostname").await.ok()?.trim().to_owned()
    };
    let lookup = tokio::net::lookup_host((name.as_str(), 0));
    let known = tokio::time::timeout(LOOKUP, lookup).await.ok()?.ok()?.any(|address| address.ip() == ip);
    known.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_loopback_is_localhost() {
        assert_eq!(name_of(Ipv4Addr::LOCALHOST.into()).await.as_deref(), Some("localhost"));
        assert_eq!(reachable(Ipv4Addr::LOCALHOST.into()), Ipv4Addr::LOCALHOST);
        assert!(!reachable(Ipv4Addr::UNSPECIFIED.into()).is_unspecified());
    }
}
