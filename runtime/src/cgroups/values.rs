//! Limits as the kernel's files want them: pure tables, one for v2 and one for v1.

use std::collections::BTreeSet;

use crate::spec::{Controller, Limits};

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
    pub(super) file: &'static str,
    pub(super) value: String,
    /// Whether kernels exist that don't have the file (swap accounting off, and the like).
    pub(super) optional: bool,
}

fn setting(controller: &'static str, file: &'static str, value: impl ToString) -> Setting {
    Setting { controller, file, value: value.to_string(), optional: false }
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
    all
}

#[cfg(test)]
mod tests {
    use super::*;

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
            pids_max: Some(4096),
        }
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
        let unlimited = Limits {
            cpu_request_milli: None,
            cpu_limit_milli: None,
            memory_request_bytes: None,
            memory_limit_bytes: None,
            pids_max: None,
        };
        assert_eq!(shown(&v2(&unlimited, &all())), ["memory.oom.group=1"]);
        assert!(v1(&unlimited, &all()).is_empty());
        assert!(v2(&limits(1000, Some(1000), 1), &BTreeSet::new()).is_empty());
        let only_pids = BTreeSet::from([Controller::Pids]);
        assert_eq!(shown(&v1(&limits(1000, Some(1000), 1), &only_pids)), ["pids.max=4096"]);
    }
}
