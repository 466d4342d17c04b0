//! What a container uses, from v2 or v1 files.
//!
//! Everything of Mesos' `ResourceStatistics` that cgroups know. Each hierarchy's folder is opened once and each file
//! read once, into one buffer, so asking for all containers of a busy host costs some twelve reads a container. What
//! a kernel doesn't have (CFQ's statistics left Linux with 5.0; PSI may be off) is `None`, never 0.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Cgroups, Error};

mod folder;
mod io;
mod pressure;
mod v1;
mod v2;

use folder::Folder;
pub use io::{DeviceIo, IoCounts};
pub(crate) use pressure::Counters;
pub use pressure::{Pressure, PressureLine};

/// Usage of a container. What the host doesn't tell is `None`, never 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Statistics {
    /// CPU time in user mode, microseconds.
    pub cpu_user_us: Option<u64>,
    /// CPU time in the kernel, microseconds.
    pub cpu_system_us: Option<u64>,
    /// Periods in which a CPU quota was enforced.
    pub cpu_periods: Option<u64>,
    /// Periods of these in which it ran out.
    pub cpu_throttled_periods: Option<u64>,
    /// Time spent throttled, microseconds.
    pub cpu_throttled_us: Option<u64>,
    /// Memory in use, page cache included, bytes.
    pub memory_current_bytes: Option<u64>,
    /// Memory and swap in use together, bytes (Mesos: `mem_total_memsw_bytes`).
    pub memory_and_swap_bytes: Option<u64>,
    /// Hard limit of memory, bytes.
    pub memory_limit_bytes: Option<u64>,
    /// Protected (v2) or soft-limited (v1) memory, bytes.
    pub memory_low_bytes: Option<u64>,
    /// Anonymous memory, bytes (Mesos: `mem_anon_bytes`, `mem_rss_bytes`).
    pub memory_anon_bytes: Option<u64>,
    /// Page cache, bytes (Mesos: `mem_file_bytes`, `mem_cache_bytes`).
    pub memory_file_bytes: Option<u64>,
    /// Mapped files, bytes.
    pub memory_mapped_bytes: Option<u64>,
    /// Kernel memory, bytes.
    pub memory_kernel_bytes: Option<u64>,
    /// Network buffers, bytes (Mesos: `mem_kmem_tcp_usage_bytes`).
    pub memory_sock_bytes: Option<u64>,
    /// Memory that can't be reclaimed, bytes.
    pub memory_unevictable_bytes: Option<u64>,
    /// Swap in use, bytes.
    pub swap_bytes: Option<u64>,
    /// Times that memory had to be reclaimed (v1: pressure of level low and above, counted by the keeper since 100 ms
    /// after the start; v2: events low, high and max).
    pub pressure_low: Option<u64>,
    /// Of these those that were serious (v1: level medium and above; v2: events max).
    pub pressure_medium: Option<u64>,
    /// Of these those in which memory nearly or really ran out (v1: level critical; v2: events oom).
    pub pressure_critical: Option<u64>,
    /// Processes and threads.
    pub pids_current: Option<u64>,
    /// Most of them.
    pub pids_limit: Option<u64>,
    /// Processes.
    pub processes: Option<u64>,
    /// Threads, the only ones of processes included.
    pub threads: Option<u64>,
    /// Processes killed because memory ran out.
    pub oom_kills: Option<u64>,
    /// Block devices that were used, at most 64.
    pub io: Option<Vec<DeviceIo>>,
    /// Time in which tasks waited for a CPU.
    pub psi_cpu: Option<Pressure>,
    /// Time in which tasks waited for memory.
    pub psi_memory: Option<Pressure>,
    /// Time in which tasks waited for block devices.
    pub psi_io: Option<Pressure>,
}

impl Cgroups {
    /// What the container uses now.
    ///
    /// # Errors
    /// When a file is there but can't be read.
    pub fn statistics(&self) -> Result<Statistics, Error> {
        let mut all = Statistics::default();
        let buffer = &mut String::new();
        let Some(tracking) = Folder::open(&self.tracking())? else { return Ok(all) };
        if self.layout.is_hybrid() {
            self.of_v1(&mut all, buffer)?;
            all.processes = tracking.lines("cgroup.procs", buffer)?;
            all.threads =
                all.pids_current.map_or_else(|| tracking.lines("cgroup.threads", buffer), |n| Ok(Some(n)))?;
        } else {
            v2::read(&tracking, &mut all, buffer)?;
        }
        pressure::read(&tracking, &mut all, buffer)?;
        Ok(all)
    }

    fn of_v1(&self, all: &mut Statistics, buffer: &mut String) -> Result<(), Error> {
        let mut done: Vec<&Path> = Vec::new();
        for controller in v1::CONTROLLERS {
            // Controllers that share a mount share its files.
            let Some(mount) = self.layout.v1_mount(controller).filter(|mount| !done.contains(mount)) else {
                continue;
            };
            done.push(mount);
            if let Some(folder) = self.v1(controller).map(|place| Folder::open(&place)).transpose()?.flatten()
            {
                v1::read(&folder, all, buffer)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
