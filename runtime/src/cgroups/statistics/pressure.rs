//! Pressure: the kernel's stall information (PSI), and on v1 the counters of memory's three levels.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};
use serde::{Deserialize, Serialize};

use super::super::{Cgroups, Error, files};
use super::{Folder, Statistics};

/// Time in which tasks stood still for want of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pressure {
    /// At least one stood still.
    pub some: PressureLine,
    /// All stood still at once.
    pub full: Option<PressureLine>,
}

/// Shares of time, and time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PressureLine {
    /// Of the last 10 seconds, in hundredths of a percent.
    pub avg10_centi: u32,
    /// Of the last minute.
    pub avg60_centi: u32,
    /// Of the last five minutes.
    pub avg300_centi: u32,
    /// Since the container's start, in microseconds.
    pub total_us: u64,
}

pub(super) fn read(folder: &Folder, all: &mut Statistics, buffer: &mut String) -> Result<(), Error> {
    all.psi_cpu = folder.text("cpu.pressure", buffer)?.and_then(parse);
    all.psi_memory = folder.text("memory.pressure", buffer)?.and_then(parse);
    all.psi_io = folder.text("io.pressure", buffer)?.and_then(parse);
    Ok(())
}

/// `some avg10=0.00 avg60=0.12 avg300=3.45 total=678`, and the same with `full`.
pub(super) fn parse(text: &str) -> Option<Pressure> {
    let find = |kind: &str| text.lines().find_map(|line| line.strip_prefix(kind)).and_then(parse_line);
    Some(Pressure { some: find("some ")?, full: find("full ") })
}

fn parse_line(line: &str) -> Option<PressureLine> {
    let mut all = PressureLine::default();
    for (key, value) in line.split_whitespace().filter_map(|word| word.split_once('=')) {
        match key {
            "avg10" => all.avg10_centi = hundredths(value)?,
            "avg60" => all.avg60_centi = hundredths(value)?,
            "avg300" => all.avg300_centi = hundredths(value)?,
            "total" => all.total_us = value.parse().ok()?,
            _ => {}
        }
    }
    Some(all)
}

/// The kernel writes two digits behind the point.
fn hundredths(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.')?;
    let part: u32 = part.parse().ok().filter(|part| *part < 100)?;
    whole.parse::<u32>().ok()?.checked_mul(100)?.checked_add(part)
}

/// Counters of v1's memory pressure. The kernel adds to them, whether anybody looks or not, as long as they are held.
#[derive(Debug)]
pub(crate) struct Counters {
    /// Low, medium, critical: where the kernel counts, and what was taken from there.
    levels: [(OwnedFd, u64); 3],
}

impl Counters {
    /// Adds what they have counted so far.
    pub(crate) fn fill(&mut self, all: &mut Statistics) {
        for (fd, count) in &mut self.levels {
            let mut new = [0; 8];
            if let Ok(8) = rustix::io::read(&*fd, &mut new) {
                *count = count.saturating_add(u64::from_ne_bytes(new));
            }
        }
        let [low, medium, critical] = [0, 1, 2].map(|level| Some(self.levels[level].1));
        (all.pressure_low, all.pressure_medium, all.pressure_critical) = (low, medium, critical);
    }
}

impl Cgroups {
    /// Starts counting memory pressure. `None` on v2, which counts itself, and where memory is not isolated.
    pub(crate) fn count_pressure(&self) -> Result<Option<Counters>, Error> {
        let Some(place) = self.v1("memory").filter(|_| self.layout.is_hybrid()) else { return Ok(None) };
        let path = place.join("memory.pressure_level");
        let Ok(level) = File::open(&path) else { return Ok(None) };
        let count = |name: &str| {
            let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
                .map_err(|errno| Error::Watch { path: path.clone(), source: errno.into() })?;
            let order = format!("{} {} {name}", fd.as_raw_fd(), level.as_raw_fd());
            files::write(&place.join("cgroup.event_control"), &order)?;
            Ok((fd, 0))
        };
        Ok(Some(Counters { levels: [count("low")?, count("medium")?, count("critical")?] }))
    }
}
