//! What a master tells about itself: its id, where it answers, since when, and its flags.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use coordination::{Contender, LeaderAddress};
use model::{MasterId, Timestamp};
use serving::address::{name_of, reachable};
use serving::files::Attached;
use serving::version::VERSION;
use wire::v1;

use crate::config::Config;

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
    /// Region and zone.
    pub domain: Option<v1::DomainInfo>,
    /// When the process started.
    pub started: Timestamp,
    /// All flags with a value.
    pub flags: Vec<(String, String)>,
    /// The log that something else writes of this process, if any.
    pub external_log_file: Option<PathBuf>,
    /// Between two heartbeats of a stream.
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
            domain: config.domain.clone(),
            started,
            flags: config.flags.clone(),
            external_log_file: config.external_log_file.clone(),
            heartbeat_interval: config.heartbeat_interval,
        }
    }

    /// Whether an address of a leader's is this master's own.
    pub fn is(&self, leader: &LeaderAddress) -> bool {
        *leader == self.address || leader.port == self.port && leader.host == self.ip.to_string()
    }

    /// What it contends with. Mesos: the MasterInfo in JSON.
    pub fn contender(&self) -> Contender {
        let info = wire::json::to_string(&self.master_info());
        Contender { leader: self.address.clone().into(), info }
    }

    /// As libprocess writes it: `master@ip:port`.
    pub fn pid(&self) -> String {
        format!("master@{}", SocketAddr::new(self.ip, self.port))
    }

    /// The files that are shown. Mesos: the log under `/master/log`.
    pub fn files(&self) -> Attached {
        let log = self.external_log_file.iter();
        log.map(|file| ("/master/log".to_owned(), file.canonicalize().unwrap_or_else(|_| file.clone())))
            .collect()
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
            domain: self.domain.clone(),
            // None of AGENT_UPDATE, AGENT_DRAINING and QUOTA_V2, which Mesos' masters announce, is there yet.
            capabilities: Vec::new(),
        }
    }
}
