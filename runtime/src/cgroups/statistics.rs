//! What a container uses, from v2 or v1 files.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Cgroups, Error, files};

/// Usage of a container. What the host doesn't tell is `None`, never 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Hard limit of it, bytes.
    pub memory_limit_bytes: Option<u64>,
    /// Protected (v2) or soft-limited (v1) memory, bytes.
    pub memory_low_bytes: Option<u64>,
    /// Anonymous memory, bytes.
    pub memory_anon_bytes: Option<u64>,
    /// Page cache, bytes.
    pub memory_file_bytes: Option<u64>,
    /// Mapped files, bytes.
    pub memory_mapped_bytes: Option<u64>,
    /// Kernel memory, bytes.
    pub memory_kernel_bytes: Option<u64>,
    /// Network buffers, bytes.
    pub memory_sock_bytes: Option<u64>,
    /// Memory that can't be reclaimed, bytes.
    pub memory_unevictable_bytes: Option<u64>,
    /// Swap in use, bytes.
    pub swap_bytes: Option<u64>,
    /// Processes and threads.
    pub pids_current: Option<u64>,
    /// Most of them.
    pub pids_limit: Option<u64>,
    /// Processes killed because memory ran out.
    pub oom_kills: Option<u64>,
}

/// v1 shows "no limit" as the largest multiple of the page size that fits 63 bits.
const V1_UNLIMITED: u64 = 1 << 62;

impl Cgroups {
    /// What the container uses now.
    ///
    /// # Errors
    /// When a file is there but can't be read.
    pub fn statistics(&self) -> Result<Statistics, Error> {
        let mut all = if self.layout.is_hybrid() { self.of_v1()? } else { of_v2(&self.tracking())? };
        if all.memory_current_bytes.is_some() {
            all.oom_kills = Some(self.oom_kills()?);
        }
        Ok(all)
    }

    fn of_v1(&self) -> Result<Statistics, Error> {
        let mut all = Statistics::default();
        if let Some(place) = self.v1("cpuacct") {
            all.cpu_user_us = files::read_number(&place.join("cpuacct.usage_user"))?.map(|ns| ns / 1000);
            all.cpu_system_us = files::read_number(&place.join("cpuacct.usage_sys"))?.map(|ns| ns / 1000);
        }
        if let Some(place) = self.v1("cpu") {
            let table = files::read_table(&place.join("cpu.stat"))?;
            all.cpu_periods = table.get("nr_periods").copied();
            all.cpu_throttled_periods = table.get("nr_throttled").copied();
            all.cpu_throttled_us = table.get("throttled_time").map(|ns| ns / 1000);
        }
        if let Some(place) = self.v1("memory") {
            memory_of_v1(&place, &mut all)?;
        }
        if let Some(place) = self.v1("pids") {
            pids_of(&place, &mut all)?;
        }
        Ok(all)
    }
}

fn of_v2(place: &Path) -> Result<Statistics, Error> {
    let mut all = Statistics::default();
    let cpu = files::read_table(&place.join("cpu.stat"))?;
    all.cpu_user_us = cpu.get("user_usec").copied();
    all.cpu_system_us = cpu.get("system_usec").copied();
    all.cpu_periods = cpu.get("nr_periods").copied();
    all.cpu_throttled_periods = cpu.get("nr_throttled").copied();
    all.cpu_throttled_us = cpu.get("throttled_usec").copied();
    all.memory_current_bytes = files::read_number(&place.join("memory.current"))?;
    all.memory_limit_bytes = files::read_number(&place.join("memory.max"))?;
    all.memory_low_bytes = files::read_number(&place.join("memory.low"))?;
    all.swap_bytes = files::read_number(&place.join("memory.swap.current"))?;
    let memory = files::read_table(&place.join("memory.stat"))?;
    all.memory_anon_bytes = memory.get("anon").copied();
    all.memory_file_bytes = memory.get("file").copied();
    all.memory_mapped_bytes = memory.get("file_mapped").copied();
    all.memory_kernel_bytes = memory.get("kernel").copied();
    all.memory_sock_bytes = memory.get("sock").copied();
    all.memory_unevictable_bytes = memory.get("unevictable").copied();
    pids_of(place, &mut all)?;
    Ok(all)
}

fn memory_of_v1(place: &Path, all: &mut Statistics) -> Result<(), Error> {
    let limited = |value: Option<u64>| value.filter(|bytes| *bytes < V1_UNLIMITED);
    all.memory_current_bytes = files::read_number(&place.join("memory.usage_in_bytes"))?;
    all.memory_limit_bytes = limited(files::read_number(&place.join("memory.limit_in_bytes"))?);
    all.memory_low_bytes = limited(files::read_number(&place.join("memory.soft_limit_in_bytes"))?);
    all.memory_kernel_bytes = files::read_number(&place.join("memory.kmem.usage_in_bytes"))?;
    all.memory_sock_bytes = files::read_number(&place.join("memory.kmem.tcp.usage_in_bytes"))?;
    let memory = files::read_table(&place.join("memory.stat"))?;
    all.memory_anon_bytes = memory.get("total_rss").copied();
    all.memory_file_bytes = memory.get("total_cache").copied();
    all.memory_mapped_bytes = memory.get("total_mapped_file").copied();
    all.memory_unevictable_bytes = memory.get("total_unevictable").copied();
    all.swap_bytes = memory.get("total_swap").copied();
    Ok(())
}

fn pids_of(place: &Path, all: &mut Statistics) -> Result<(), Error> {
    all.pids_current = files::read_number(&place.join("pids.current"))?;
    all.pids_limit = files::read_number(&place.join("pids.max"))?;
    Ok(())
}
