//! What this host has to offer, where the operator does not say.
//!
//! Mesos: all CPUs; memory less 1 GB, or half of it when there is little; disk less 5 GB, or half; the ports 31000 to
//! 32000.

use std::path::Path;
use std::sync::Arc;

use model::resources::{Amount, Ranges};
use model::{Milli, Resource, Resources};

use crate::config::Given;

const GB: u64 = 1 << 30;

/// The given resources with what is missing of cpus, mem, disk and ports put to them. Mesos: `cpus:0` is not missing.
pub(crate) fn complete(given: &Given, work_dir: &Path) -> Resources {
    let mut all = given.resources.clone();
    let missing = |name: &str| !given.names.contains(name);
    if missing("cpus") {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        all.add_one(&scalar("cpus", u64::try_from(cpus).unwrap_or(1)));
    }
    if missing("mem") {
        all.add_one(&scalar("mem", megabytes(memory(), GB, GB)));
    }
    if missing("disk") {
        all.add_one(&scalar("disk", megabytes(disk(work_dir), 5 * GB, 10 * GB)));
    }
    if missing("ports") {
        all.add_one(&Resource {
            name: "ports".into(),
            amount: Amount::Ranges(Ranges::one(31_000, 32_000)),
            kind: Arc::default(),
        });
    }
    all
}

fn scalar(name: &str, whole: u64) -> Resource {
    let amount = i64::try_from(whole.saturating_mul(1000)).unwrap_or(i64::MAX);
    Resource::scalar(name, Milli::from_millis(amount))
}

/// What is left of `total` bytes for tasks, in MB; of the fallback when nobody knows the total.
fn megabytes(total: Option<u64>, reserve: u64, fallback: u64) -> u64 {
    let left = total.map_or(fallback, |total| if total > 2 * reserve { total - reserve } else { total / 2 });
    left >> 20
}

fn memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kilobytes * 1024)
}

fn disk(work_dir: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(work_dir).ok()?;
    Some(stat.f_blocks.saturating_mul(stat.f_frsize))
}

/// Share of the disk below `path` that is used, from 0 to 1. Mesos: what is kept back for root counts as free.
pub(crate) fn disk_usage(path: &Path) -> Option<f64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    if stat.f_blocks == 0 {
        return None;
    }
    #[allow(clippy::cast_precision_loss)]
    Some(1.0 - stat.f_bfree as f64 / stat.f_blocks as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Role;

    #[test]
    fn what_is_given_stays_and_what_is_missing_comes() {
        let text = "cpus(web):1;mem:100;ports:[1-2];gpus:0";
        let resources = model::resources::parse(text, &Role::any()).unwrap();
        let given = Given { resources, names: model::resources::names(text) };
        let all = complete(&given, Path::new("/"));
        assert_eq!(all.filter(|r| &*r.name != "disk"), given.resources);
        assert!(all.scalar("disk") > Milli::ZERO);
        let detected = complete(&Given::default(), Path::new("/"));
        assert_eq!(detected.ports().to_string(), "[31000-32000]");
        assert!(detected.cpus() >= Milli::from_millis(1000) && detected.mem() > Milli::ZERO);
        let nothing =
            Given { names: ["cpus", "mem", "disk", "ports"].map(str::to_owned).into(), ..Given::default() };
        assert!(complete(&nothing, Path::new("/")).is_empty());
    }

    #[test]
    fn a_reserve_is_kept() {
        assert_eq!(megabytes(Some(8 * GB), GB, GB), 7 * 1024);
        assert_eq!(megabytes(Some(GB), GB, GB), 512);
        assert_eq!(megabytes(None, 5 * GB, 10 * GB), 10 * 1024);
    }
}
