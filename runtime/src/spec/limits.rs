//! What a container may use at most, and of what it gets a share.

use serde::{Deserialize, Serialize};

use super::Controller;

/// Longest list of CPUs or memory nodes.
const MAX_LIST: usize = 4096;

/// Most devices, or sizes of huge pages, with limits.
const MAX_LIMITS: usize = 256;

/// Shares of block devices.
const IO_WEIGHTS: std::ops::RangeInclusive<u16> = 1..=10_000;

/// Limits of a container; `None`, or nothing in a list, leaves a thing unlimited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Share of the CPU in thousandths of one CPU.
    pub cpu_request_milli: Option<u64>,
    /// Hard limit of CPU time in thousandths of one CPU.
    pub cpu_limit_milli: Option<u64>,
    /// Memory that is protected from reclaim, in bytes.
    pub memory_request_bytes: Option<u64>,
    /// Hard limit of memory in bytes; beyond it the kernel kills.
    pub memory_limit_bytes: Option<u64>,
    /// Most processes and threads.
    pub pids_max: Option<u64>,
    /// The CPUs it may run on, as the kernel lists them: `0-3,5`.
    #[serde(default)]
    pub cpuset_cpus: Option<String>,
    /// The memory nodes it may use, likewise.
    #[serde(default)]
    pub cpuset_mems: Option<String>,
    /// Share of block devices, 1 to 10000; 100 is everybody's.
    #[serde(default)]
    pub io_weight: Option<u16>,
    /// Hard limits of block devices, at most one entry a device.
    #[serde(default)]
    pub io_max: Vec<IoMax>,
    /// Hard limits of huge pages, at most one entry a size.
    #[serde(default)]
    pub hugetlb: Vec<HugetlbLimit>,
}

impl Default for Limits {
    /// Nothing limited but the number of processes, at 4096 (a fork bomb must not take the host down).
    fn default() -> Self {
        Self {
            cpu_request_milli: None,
            cpu_limit_milli: None,
            memory_request_bytes: None,
            memory_limit_bytes: None,
            pids_max: Some(4096),
            cpuset_cpus: None,
            cpuset_mems: None,
            io_weight: None,
            io_max: Vec::new(),
            hugetlb: Vec::new(),
        }
    }
}

impl Limits {
    /// The controllers of which something is asked beyond what every container gets.
    #[must_use]
    pub fn asks_for(&self) -> Vec<Controller> {
        let cpuset = self.cpuset_cpus.is_some() || self.cpuset_mems.is_some();
        let io = self.io_weight.is_some() || !self.io_max.is_empty();
        let all = [
            (Controller::Cpuset, cpuset),
            (Controller::Io, io),
            (Controller::Hugetlb, !self.hugetlb.is_empty()),
        ];
        all.into_iter().filter_map(|(controller, asked)| asked.then_some(controller)).collect()
    }

    /// Refuses what no kernel would take.
    ///
    /// # Errors
    /// What is wrong, and how it is written.
    pub fn check(&self) -> Result<(), String> {
        for (name, list) in [("CPUs", &self.cpuset_cpus), ("memory nodes", &self.cpuset_mems)] {
            let plain = |list: &&String| {
                !list.is_empty()
                    && list.len() <= MAX_LIST
                    && list.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-' || byte == b',')
            };
            if let Some(list) = list.as_ref().filter(|list| !plain(list)) {
                let shown: String = list.chars().take(80).collect();
                return Err(format!("{shown:?} is not a list of {name}; write it as 0-3,5"));
            }
        }
        if let Some(weight) = self.io_weight.filter(|weight| !IO_WEIGHTS.contains(weight)) {
            return Err(format!("the share of block devices must be 1 to 10000, not {weight}"));
        }
        if self.io_max.len() > MAX_LIMITS || self.hugetlb.len() > MAX_LIMITS {
            return Err(format!("there are limits for more than {MAX_LIMITS} devices or sizes of pages"));
        }
        Ok(())
    }
}

/// Hard limits of one block device (a whole disk, not a partition).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoMax {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Bytes read a second.
    pub read_bps: Option<u64>,
    /// Bytes written a second.
    pub write_bps: Option<u64>,
    /// Reads a second.
    pub read_iops: Option<u64>,
    /// Writes a second.
    pub write_iops: Option<u64>,
}

/// A hard limit of huge pages of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HugetlbLimit {
    /// The size of a page in bytes: 2 MiB, 1 GiB, …
    pub page_bytes: u64,
    /// Most bytes of such pages.
    pub limit_bytes: u64,
}
