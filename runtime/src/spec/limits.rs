//! What a container may use at most, and of what it gets a share.

use serde::{Deserialize, Serialize};

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
