//! What a master tells about itself: its id, where it answers, since when, and its flags.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use coordination::LeaderAddress;
use model::{MasterId, Timestamp};
use wire::v1;

use crate::VERSION;
use crate::config::Config;

/// How long the name service may take to confirm a name.
const LOOKUP: Duration = Duration::from_secs(2);

/// What a master tells about itself.
#[derive(Clone, Debug)]
pub struct About {
    /// Random per start.
    pub id: MasterId,
    /// Where others reach it.
    pub ip: IpAddr,
    /// Where others reach it.
    pub port: u16,
    /// Its name, or its address in place of one.
    pub hostname: String,
    /// What it contends with.
    pub address: LeaderAddress,
    /// Name of the cluster.
    pub cluster: Option<String>,
    /// When the process started.
    pub started: Timestamp,
    /// All flags with a value.
    pub flags: Vec<(String, String)>,
    /// Between two heartbeats of a scheduler's stream.
    pub heartbeat_interval: Duration,
}

impl About {
    /// Puts it together; may ask the name service.
    pub async fn new(config: &Config, id: MasterId, bound: SocketAddr, started: Timestamp) -> About {
        let ip = config.advertise_ip.unwrap_or_else(|| reachable(bound.ip()));
        let port = config.advertise_port.unwrap_or(bound.port());
        let hostname = match &config.hostname {
            Some(name) => name.clone(),
            None if config.hostname_lookup => name_of(ip).await.unwrap_or_else(|| ip.to_string()),
            None => ip.to_string(),
        };
        About {
            id,
            ip,
            port,
            address: LeaderAddress { host: config.hostname.clone().unwrap_or_else(|| ip.to_string()), port },
            hostname,
            cluster: config.cluster.clone(),
            started,
            flags: config.flags.clone(),
            heartbeat_interval: config.heartbeat_interval,
        }
    }

    /// As libprocess writes it: `master@ip:port`.
    pub fn pid(&self) -> String {
        format!("master@{}", SocketAddr::new(self.ip, self.port))
    }

    /// The message form.
    pub fn master_info(&self) -> v1::MasterInfo {
        v1::MasterInfo {
            id: self.id.to_string(),
            ip: match self.ip {
                // Mesos: the bytes in network order, read as a little-endian number.
                IpAddr::V4(ip) => u32::from_le_bytes(ip.octets()),
                IpAddr::V6(_) => 0,
            },
            port: self.port.into(),
            pid: Some(self.pid()),
            hostname: Some(self.hostname.clone()),
            version: Some(VERSION.to_owned()),
            address: Some(v1::Address {
                hostname: Some(self.hostname.clone()),
                ip: Some(self.ip.to_string()),
                port: self.port.into(),
            }),
            domain: None,
            // None of AGENT_UPDATE, AGENT_DRAINING and QUOTA_V2, which Mesos' masters announce, is there yet.
            capabilities: Vec::new(),
        }
    }
}

/// The address that others reach when all are listened on: the one from which this host would reach them.
fn reachable(bound: IpAddr) -> IpAddr {
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
async fn name_of(ip: IpAddr) -> Option<String> {
    let name = if ip.is_loopback() {
        "localhost".to_owned()
    } else {
        tokio::fs::read_to_string("/proc/sys/kernel/hostname").await.ok()?.trim().to_owned()
    };
    let lookup = tokio::net::lookup_host((name.as_str(), 0));
    let known = tokio::time::timeout(LOOKUP, lookup).await.ok()?.ok()?.any(|address| address.ip() == ip);
    known.then_some(name)
}
