//! Limits as the kernel's files want them: pure tables, one for v2 and one for v1.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::spec::{Controller, IoMax, Limits};

/// Mesos: no container gets less memory than this, in bytes.
pub(super) const LEAST_MEMORY: u64 = 32 << 20;

/// Mesos: the CFS period in microseconds, for v1 and v2.
const PERIOD_US: u64 = 100_000;

/// The kernel's own lower bound of a quota, in microseconds.
const LEAST_QUOTA_US: u64 = 1_000;

/// One file of a cgroup and what is written to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// The v1 controller in whose hierarchy it lies; on v2 there is but one tree.
    pub(super) controller: &'static str,
    pub(super) file: Cow<'static, str>,
    pub(super) value: String,
    /// Whether kernels exist that don't have the file (swap accounting off, and the like).
    pub(super) optional: bool,
    /// Where it is written when there is no such file (another scheduler of block devices).
    pub(super) instead: Option<(&'static str, String)>,
}

fn setting(controller: &'static str, file: impl Into<Cow<'static, str>>, value: impl ToString) -> Setting {
    Setting { controller, file: file.into(), value: value.to_string(), optional: false, instead: None }
}

fn optional(controller: &'static str, file: &'static str, value: impl ToString) -> Setting {
    Setting { optional: true, ..setting(controller, file, value) }
}

/// Bytes of a memory setting.
pub(super) fn memory(bytes: u64) -> u64 {
    bytes.max(LEAST_MEMORY)
}

fn quota_us(milli: u64) -> u64 {
    milli.saturating_mul(PERIOD_US / 1000).max(LEAST_QUOTA_US)
}

/// What is written on cgroup v2, in order.
pub(super) fn v2(limits: &Limits, controllers: &BTreeSet<Controller>) -> Vec<Setting> {
    let mut all = Vec::new();
    if controllers.contains(&Controller::Cpu) {
        if let Some(milli) = limits.cpu_request_milli {
            // Mesos: 100 per cpu; the kernel takes 1 to 10,000.
            all.push(setting("cpu", "cpu.weight", (milli / 10).clamp(1, 10_000)));
        }
        if let Some(milli) = limits.cpu_limit_milli {
            all.push(setting("cpu", "cpu.max", format!("{} {PERIOD_US}", quota_us(milli))));
        }
    }
    if controllers.contains(&Controller::Memory) {
        if let Some(bytes) = limits.memory_request_bytes {
            all.push(setting("memory", "memory.low", memory(bytes)));
        }
        if let Some(bytes) = limits.memory_limit_bytes {
            all.push(setting("memory", "memory.max", memory(bytes)));
            // A limit of memory that only makes the host swap would be none.
            all.push(optional("memory", "memory.swap.max", 0));
        }
        // Out of memory ends the container, not one process of it.
        all.push(setting("memory", "memory.oom.group", 1));
    }
    if let Some(most) = limits.pids_max.filter(|_| controllers.contains(&Controller::Pids)) {
        all.push(setting("pids", "pids.max", most));
    }
    all.extend(cpuset(limits, controllers));
    if controllers.contains(&Controller::Io) {
        all.extend(limits.io_max.iter().map(|max| setting("io", "io.max", io_max_line(max))));
        all.extend(limits.io_weight.map(|weight| {
            // BFQ takes 1 to 1000, and 100 means the same.
            let bfq = ("io.bfq.weight", weight.clamp(1, 1000).to_string());
            Setting { instead: Some(bfq), ..setting("io", "io.weight", format!("default {weight}")) }
        }));
    }
    all.extend(hugetlb(limits, controllers, "max"));
    all
}

/// What is written on cgroup v1, in order.
pub(super) fn v1(limits: &Limits, controllers: &BTreeSet<Controller>) -> Vec<Setting> {
    let mut all = Vec::new();
    if controllers.contains(&Controller::Cpu) {
        if let Some(milli) = limits.cpu_request_milli {
            // Mesos: 1024 per cpu; the kernel takes 2 to 262,144.
            all.push(setting("cpu", "cpu.shares", (milli.saturating_mul(1024) / 1000).clamp(2, 262_144)));
        }
        if let Some(milli) = limits.cpu_limit_milli {
            all.push(setting("cpu", "cpu.cfs_period_us", PERIOD_US));
            all.push(setting("cpu", "cpu.cfs_quota_us", quota_us(milli)));
        }
    }
    if controllers.contains(&Controller::Memory) {
        if let Some(bytes) = limits.memory_request_bytes {
            // Not there on real-time kernels.
            all.push(optional("memory", "memory.soft_limit_in_bytes", memory(bytes)));
        }
        if let Some(bytes) = limits.memory_limit_bytes {
            // The sum of memory and swap can't be below the limit of memory, so this order.
            all.push(setting("memory", "memory.limit_in_bytes", memory(bytes)));
            all.push(optional("memory", "memory.memsw.limit_in_bytes", memory(bytes)));
        }
    }
    if let Some(most) = limits.pids_max.filter(|_| controllers.contains(&Controller::Pids)) {
        all.push(setting("pids", "pids.max", most));
    }
    all.extend(cpuset(limits, controllers));
    if controllers.contains(&Controller::Io) {
        all.extend(limits.io_max.iter().flat_map(throttle));
        all.extend(limits.io_weight.map(|weight| {
            let value = weight.clamp(1, 1000).to_string();
            Setting {
                instead: Some(("blkio.weight", value.clone())),
                ..setting("blkio", "blkio.bfq.weight", value)
            }
        }));
    }
    all.extend(hugetlb(limits, controllers, "limit_in_bytes"));
    all
}

fn cpuset(limits: &Limits, controllers: &BTreeSet<Controller>) -> Vec<Setting> {
    if !controllers.contains(&Controller::Cpuset) {
        return Vec::new();
    }
    let lists = [("cpuset.cpus", &limits.cpuset_cpus), ("cpuset.mems", &limits.cpuset_mems)];
    lists.into_iter().filter_map(|(file, list)| Some(setting("cpuset", file, list.as_ref()?))).collect()
}

fn io_max_line(max: &IoMax) -> String {
    let number = |value: Option<u64>| value.map_or_else(|| "max".to_owned(), |value| value.to_string());
    format!(
        "{}:{} rbps={} wbps={} riops={} wiops={}",
        max.major,
        max.minor,
        number(max.read_bps),
        number(max.write_bps),
        number(max.read_iops),
        number(max.write_iops)
    )
}

fn throttle(max: &IoMax) -> Vec<Setting> {
    let files = [
        ("blkio.throttle.read_bps_device", max.read_bps),
        ("blkio.throttle.write_bps_device", max.write_bps),
        ("blkio.throttle.read_iops_device", max.read_iops),
        ("blkio.throttle.write_iops_device", max.write_iops),
    ];
    let line = |value: u64| format!("{}:{} {value}", max.major, max.minor);
    files.into_iter().filter_map(|(file, value)| Some(setting("blkio", file, line(value?)))).collect()
}

fn hugetlb(limits: &Limits, controllers: &BTreeSet<Controller>, suffix: &str) -> Vec<Setting> {
    let wanted = limits.hugetlb.iter().filter(|_| controllers.contains(&Controller::Hugetlb));
    wanted
        .map(|one| {
            let file = format!("hugetlb.{}.{suffix}", page_name(one.page_bytes));
            setting("hugetlb", file, one.limit_bytes)
        })
        .collect()
}

/// A page's size as the kernel writes it in names of files.
fn page_name(bytes: u64) -> String {
    match bytes {
        0..0x10_0000 => format!("{}KB", bytes >> 10),
        0x10_0000..0x4000_0000 => format!("{}MB", bytes >> 20),
        _ => format!("{}GB", bytes >> 30),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::HugetlbLimit;

    fn all() -> BTreeSet<Controller> {
        Controller::ALL.into_iter().collect()
    }

    fn shown(settings: &[Setting]) -> Vec<String> {
        settings.iter().map(|one| format!("{}={}", one.file, one.value)).collect()
    }

    fn limits(request: u64, limit: Option<u64>, memory: u64) -> Limits {
        Limits {
            cpu_request_milli: Some(request),
            cpu_limit_milli: limit,
            memory_request_bytes: Some(memory),
            memory_limit_bytes: Some(memory),
            ..Limits::default()
        }
    }

    #[test]
    fn cpus_devices_and_huge_pages() {
        let limits = Limits {
            pids_max: None,
            cpuset_cpus: Some("0-3,5".into()),
            cpuset_mems: Some("0".into()),
            io_weight: Some(5000),
            io_max: vec![IoMax { major: 254, minor: 0, write_bps: Some(1 << 20), ..IoMax::default() }],
            hugetlb: vec![
                HugetlbLimit { page_bytes: 2 << 20, limit_bytes: 64 << 20 },
                HugetlbLimit { page_bytes: 1 << 30, limit_bytes: 0 },
                HugetlbLimit { page_bytes: 64 << 10, limit_bytes: 1 },
            ],
            ..Limits::default()
        };
        let want = [
            "memory.oom.group=1",
            "cpuset.cpus=0-3,5",
            "cpuset.mems=0",
            "io.max=254:0 rbps=max wbps=1048576 riops=max wiops=max",
            "io.weight=default 5000",
            "hugetlb.2MB.max=67108864",
            "hugetlb.1GB.max=0",
            "hugetlb.64KB.max=1",
        ];
        assert_eq!(shown(&v2(&limits, &all())), want);
        let want = [
            "cpuset.cpus=0-3,5",
            "cpuset.mems=0",
            "blkio.throttle.write_bps_device=254:0 1048576",
            "blkio.bfq.weight=1000",
            "hugetlb.2MB.limit_in_bytes=67108864",
            "hugetlb.1GB.limit_in_bytes=0",
            "hugetlb.64KB.limit_in_bytes=1",
        ];
        assert_eq!(shown(&v1(&limits, &all())), want);
        assert_eq!(limits.asks_for(), [Controller::Cpuset, Controller::Io, Controller::Hugetlb]);
        assert!(Limits::default().asks_for().is_empty());
        assert!(v1(&limits, &BTreeSet::new()).is_empty());
    }

    #[test]
    fn v2_values_are_those_of_mesos() {
        let got = shown(&v2(&limits(1500, Some(2000), 128 << 20), &all()));
        let want = [
            "cpu.weight=150",
            "cpu.max=200000 100000",
            "memory.low=134217728",
            "memory.max=134217728",
            "memory.swap.max=0",
            "memory.oom.group=1",
            "pids.max=4096",
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn v1_values_are_those_of_mesos() {
        let got = shown(&v1(&limits(1500, Some(2000), 128 << 20), &all()));
        let want = [
            "cpu.shares=1536",
            "cpu.cfs_period_us=100000",
            "cpu.cfs_quota_us=200000",
            "memory.soft_limit_in_bytes=134217728",
            "memory.limit_in_bytes=134217728",
            "memory.memsw.limit_in_bytes=134217728",
            "pids.max=4096",
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn values_below_and_above_the_kernels_bounds_are_clamped() {
        let least = limits(0, Some(1), 1);
        assert_eq!(
            shown(&v2(&least, &all()))[..4],
            ["cpu.weight=1", "cpu.max=1000 100000", "memory.low=33554432", "memory.max=33554432"]
        );
        assert_eq!(
            shown(&v1(&least, &all()))[..3],
            ["cpu.shares=2", "cpu.cfs_period_us=100000", "cpu.cfs_quota_us=1000"]
        );
        let most = limits(u64::MAX, None, u64::MAX);
        assert_eq!(shown(&v2(&most, &all()))[0], "cpu.weight=10000");
        assert_eq!(shown(&v1(&most, &all()))[0], "cpu.shares=262144");
    }

    #[test]
    fn what_is_not_limited_or_not_isolated_is_not_written() {
        let unlimited = Limits { pids_max: None, ..Limits::default() };
        assert_eq!(shown(&v2(&unlimited, &all())), ["memory.oom.group=1"]);
        assert!(v1(&unlimited, &all()).is_empty());
        assert!(v2(&limits(1000, Some(1000), 1), &BTreeSet::new()).is_empty());
        let only_pids = BTreeSet::from([Controller::Pids]);
        assert_eq!(shown(&v1(&limits(1000, Some(1000), 1), &only_pids)), ["pids.max=4096"]);
    }
}
