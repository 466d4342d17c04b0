//! Which addresses a registry may lead us to (server-side request forgery, threats I10).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Addresses that carry credentials of clouds or belong to no host on a network.
pub(super) fn is_forbidden(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let alibaba_metadata = v4 == Ipv4Addr::new(100, 100, 100, 200);
            v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_broadcast()
                || v4.is_multicast()
                || alibaba_metadata
        }
        IpAddr::V6(v6) => {
            let aws_metadata = v6 == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
            v6.is_unicast_link_local() || v6.is_unspecified() || v6.is_multicast() || aws_metadata
        }
    }
}

pub(super) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// The address that a URL's host is, when it is one rather than a name.
pub(super) fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Whether the host (without port) is this machine by its very name.
pub(super) fn is_loopback_host(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || literal(host).is_some_and(is_loopback)
}

/// Why a name leads nowhere.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAddress {
    /// Nobody knows it, or nobody could be asked.
    #[error(transparent)]
    Unknown(std::io::Error),
    /// Its addresses are off limits.
    #[error("{0} has no address that may be spoken to")]
    Forbidden(String),
}

/// Resolves names and hides the addresses that must not be spoken to, so that a name can't lead there either.
#[derive(Debug, Clone, Copy)]
pub(super) struct GuardedResolver {
    pub(super) loopback_allowed: bool,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = *self;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await.map_err(NoAddress::Unknown)?;
            let allowed: Vec<SocketAddr> = found.filter(|address| guard.allows(address.ip())).collect();
            if allowed.is_empty() {
                return Err(NoAddress::Forbidden(name.as_str().to_owned()).into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

impl GuardedResolver {
    fn allows(self, address: IpAddr) -> bool {
        !is_forbidden(address) && (self.loopback_allowed || !is_loopback(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_and_link_local_are_off_limits() {
        for bad in [
            "169.254.169.254",
            "169.254.1.1",
            "0.0.0.0",
            "255.255.255.255",
            "100.100.100.200",
            "224.0.0.1",
            "fe80::1",
            "::",
            "fd00:ec2::254",
            "::ffff:169.254.169.254",
            "ff02::1",
        ] {
            assert!(is_forbidden(bad.parse().unwrap()), "{bad}");
        }
        for good in ["127.0.0.1", "10.0.0.1", "192.168.1.1", "8.8.8.8", "::1", "fd00::1", "2001:db8::1"] {
            assert!(!is_forbidden(good.parse().unwrap()), "{good}");
        }
        assert!(is_loopback_host("[::1]") && is_loopback_host("LOCALHOST") && is_loopback_host("127.9.9.9"));
        assert!(!is_loopback_host("localhost.example"));
        assert!(is_loopback("::ffff:127.0.0.1".parse().unwrap()));
    }
}
