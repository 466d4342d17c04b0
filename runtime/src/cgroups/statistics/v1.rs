//! A container's cgroups of the v1 hierarchies; what isn't in a folder is in another.

use super::super::Error;
use super::{Folder, Statistics, io};

/// Where to look.
pub(super) const CONTROLLERS: [&str; 5] = ["cpuacct", "cpu", "memory", "pids", "blkio"];

/// v1 shows "no limit" as the largest multiple of the page size that fits 63 bits.
const UNLIMITED: u64 = 1 << 62;

pub(super) fn read(folder: &Folder, all: &mut Statistics, buffer: &mut String) -> Result<(), Error> {
    let microseconds = |nanoseconds: u64| nanoseconds / 1000;
    if let Some(user) = folder.number("cpuacct.usage_user", buffer)? {
        all.cpu_user_us = Some(microseconds(user));
        all.cpu_system_us = folder.number("cpuacct.usage_sys", buffer)?.map(microseconds);
    }
    folder.each("cpu.stat", buffer, |key, value| match key {
        "nr_periods" => all.cpu_periods = Some(value),
        "nr_throttled" => all.cpu_throttled_periods = Some(value),
        "throttled_time" => all.cpu_throttled_us = Some(microseconds(value)),
        _ => {}
    })?;
    if let Some(current) = folder.number("memory.usage_in_bytes", buffer)? {
        all.memory_current_bytes = Some(current);
        memory(folder, all, buffer)?;
    }
    if let Some(current) = folder.number("pids.current", buffer)? {
        all.pids_current = Some(current);
        all.pids_limit = folder.number("pids.max", buffer)?;
    }
    if let Some(bytes) = folder.text("blkio.throttle.io_service_bytes", buffer)? {
        let mut devices = io::of_v1(bytes);
        io::add_operations(
            &mut devices,
            folder.text("blkio.throttle.io_serviced", buffer)?.unwrap_or_default(),
        );
        all.io = Some(devices);
    }
    Ok(())
}

fn memory(folder: &Folder, all: &mut Statistics, buffer: &mut String) -> Result<(), Error> {
    all.memory_limit_bytes =
        folder.number("memory.limit_in_bytes", buffer)?.filter(|bytes| *bytes < UNLIMITED);
    let soft = folder.number("memory.soft_limit_in_bytes", buffer)?;
    all.memory_low_bytes = soft.filter(|bytes| *bytes < UNLIMITED);
    all.memory_and_swap_bytes = folder.number("memory.memsw.usage_in_bytes", buffer)?;
    all.memory_kernel_bytes = folder.number("memory.kmem.usage_in_bytes", buffer)?;
    all.memory_sock_bytes = folder.number("memory.kmem.tcp.usage_in_bytes", buffer)?;
    folder.each("memory.stat", buffer, |key, value| match key {
        "total_rss" => all.memory_anon_bytes = Some(value),
        "total_cache" => all.memory_file_bytes = Some(value),
        "total_mapped_file" => all.memory_mapped_bytes = Some(value),
        "total_unevictable" => all.memory_unevictable_bytes = Some(value),
        "total_swap" => all.swap_bytes = Some(value),
        _ => {}
    })?;
    folder.each("memory.oom_control", buffer, |key, value| {
        if key == "oom_kill" {
            all.oom_kills = Some(value);
        }
    })
}
