//! A container's cgroup of the v2 tree.

use super::super::{Error, LEAF};
use super::{Folder, Statistics, io};

pub(super) fn read(folder: &Folder, all: &mut Statistics, buffer: &mut String) -> Result<(), Error> {
    folder.each("cpu.stat", buffer, |key, value| match key {
        "user_usec" => all.cpu_user_us = Some(value),
        "system_usec" => all.cpu_system_us = Some(value),
        "nr_periods" => all.cpu_periods = Some(value),
        "nr_throttled" => all.cpu_throttled_periods = Some(value),
        "throttled_usec" => all.cpu_throttled_us = Some(value),
        _ => {}
    })?;
    memory(folder, all, buffer)?;
    all.pids_current = folder.number("pids.current", buffer)?;
    all.pids_limit = folder.number("pids.max", buffer)?;
    all.io = folder.text("io.stat", buffer)?.map(io::of_v2);
    // The processes are one below the limits.
    all.processes = folder.lines(&format!("{LEAF}/cgroup.procs"), buffer)?;
    all.threads = match all.pids_current {
        Some(threads) => Some(threads),
        None => folder.lines(&format!("{LEAF}/cgroup.threads"), buffer)?,
    };
    Ok(())
}

fn memory(folder: &Folder, all: &mut Statistics, buffer: &mut String) -> Result<(), Error> {
    all.memory_current_bytes = folder.number("memory.current", buffer)?;
    if all.memory_current_bytes.is_none() {
        return Ok(());
    }
    all.memory_limit_bytes = folder.number("memory.max", buffer)?;
    all.memory_low_bytes = folder.number("memory.low", buffer)?;
    all.swap_bytes = folder.number("memory.swap.current", buffer)?;
    all.memory_and_swap_bytes =
        all.memory_current_bytes.zip(all.swap_bytes).map(|(memory, swap)| memory + swap);
    folder.each("memory.stat", buffer, |key, value| match key {
        "anon" => all.memory_anon_bytes = Some(value),
        "file" => all.memory_file_bytes = Some(value),
        "file_mapped" => all.memory_mapped_bytes = Some(value),
        "kernel" => all.memory_kernel_bytes = Some(value),
        "sock" => all.memory_sock_bytes = Some(value),
        "unevictable" => all.memory_unevictable_bytes = Some(value),
        _ => {}
    })?;
    folder.each("memory.events", buffer, |key, value| match key {
        "low" | "high" => *all.pressure_low.get_or_insert(0) += value,
        "max" => {
            *all.pressure_low.get_or_insert(0) += value;
            all.pressure_medium = Some(value);
        }
        "oom" => all.pressure_critical = Some(value),
        "oom_kill" => all.oom_kills = Some(value),
        _ => {}
    })
}
