//! What every container of the agent gets, whatever its task asks for: ids of its users, CPUs, shares of disks.

use std::os::unix::fs::{FileTypeExt, MetadataExt};

use model::flags::{BadFlag, Values, bad};
use model::size::parse_bytes;
use runtime::{Controller, HugetlbLimit, IdRange, IoMax, Limits};

use crate::isolation::Isolators;

/// The flags of limits, what of a container's limits each sets, and what to do where the host can't give it.
type Part = (&'static str, fn(&Limits) -> Limits, &'static str);

const PARTS: [Part; 5] = [
    (
        "container_cpuset_cpus",
        |all| Limits { cpuset_cpus: all.cpuset_cpus.clone(), ..nothing() },
        "name CPUs of this host (lscpu shows them)",
    ),
    (
        "container_cpuset_mems",
        |all| Limits { cpuset_mems: all.cpuset_mems.clone(), ..nothing() },
        "name memory nodes of this host (lscpu shows them)",
    ),
    (
        "container_io_weight",
        |all| Limits { io_weight: all.io_weight, ..nothing() },
        "give the disks the scheduler bfq (echo bfq >/sys/block/DISK/queue/scheduler), or use a kernel with \
         CONFIG_BLK_CGROUP_IOCOST and pure cgroup v2",
    ),
    (
        "container_io_max",
        |all| Limits { io_max: all.io_max.clone(), ..nothing() },
        "name whole disks, no partitions (lsblk shows them), and limits that are not 0",
    ),
    (
        "container_hugetlb",
        |all| Limits { hugetlb: all.hugetlb.clone(), ..nothing() },
        "name sizes of /sys/kernel/mm/hugepages, on a host with pure cgroup v2 or the v1 controller hugetlb",
    ),
];

fn nothing() -> Limits {
    Limits { pids_max: None, ..Limits::default() }
}

/// One flag's part of the limits.
pub(crate) struct Asked<'a> {
    pub(crate) flag: &'static str,
    pub(crate) value: &'a str,
    pub(crate) limits: Limits,
    /// What helps where it can't be had.
    pub(crate) remedy: &'static str,
}

/// The limits that are asked for, flag by flag. `flags` are those with a value.
pub(crate) fn asked<'a>(limits: &Limits, flags: &'a [(String, String)]) -> Vec<Asked<'a>> {
    let value = |flag: &str| flags.iter().find(|(name, _)| name == flag).map(|(_, value)| value.as_str());
    let given = PARTS.into_iter().filter_map(|(flag, part, remedy)| {
        Some(Asked { flag, value: value(flag)?, limits: part(limits), remedy })
    });
    given.filter(|one| !one.limits.asks_for().is_empty()).collect()
}

/// Reads the limits.
pub(super) fn limits(values: &Values, isolators: &Isolators) -> Result<Limits, BadFlag> {
    let limits = Limits {
        cpuset_cpus: values.text("container_cpuset_cpus").map(str::to_owned),
        cpuset_mems: values.text("container_cpuset_mems").map(str::to_owned),
        io_weight: values.number("container_io_weight")?,
        io_max: read(values, "container_io_max", ';', io_max)?,
        hugetlb: read(values, "container_hugetlb", ',', hugetlb)?,
        ..Limits::default()
    };
    for (flag, part, _) in PARTS {
        let (text, part) = (values.text(flag).unwrap_or_default(), part(&limits));
        part.check().map_err(|why| bad(flag, text, &why))?;
        let unheld = |one: &&Controller| !isolators.runtime.controllers.contains(one);
        if let Some(controller) = part.asks_for().iter().find(unheld) {
            let why = format!("it needs cgroups/{} in --isolation", controller.as_str());
            return Err(bad(flag, text, &why));
        }
    }
    Ok(limits)
}

fn read<T>(
    values: &Values,
    flag: &str,
    between: char,
    one: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, BadFlag> {
    let Some(text) = values.text(flag) else { return Ok(Vec::new()) };
    text.split(between)
        .map(|part| one(part.trim()))
        .collect::<Result<_, _>>()
        .map_err(|why| bad(flag, text, &why))
}

fn io_max(text: &str) -> Result<IoMax, String> {
    let mut words = text.split_whitespace();
    let (major, minor) = device(words.next().unwrap_or_default())?;
    let mut max = IoMax { major, minor, ..IoMax::default() };
    for word in words {
        let (slot, value) = match word.split_once('=') {
            Some(("rbps", value)) => (&mut max.read_bps, parse_bytes(value).or(value.parse().ok())),
            Some(("wbps", value)) => (&mut max.write_bps, parse_bytes(value).or(value.parse().ok())),
            Some(("riops", value)) => (&mut max.read_iops, value.parse().ok()),
            Some(("wiops", value)) => (&mut max.write_iops, value.parse().ok()),
            _ => return Err(format!("expected rbps=, wbps=, riops= or wiops=, not '{word}'")),
        };
        let value = value.filter(|value| *value > 0);
        *slot =
            Some(value.ok_or_else(|| format!("'{word}' needs a number above 0, or a size such as 10MB"))?);
    }
    if max == (IoMax { major, minor, ..IoMax::default() }) {
        return Err("expected limits after the device: rbps=10MB wbps=10MB riops=100 wiops=100".to_owned());
    }
    Ok(max)
}

/// The numbers of a block device, given as such or by its path.
fn device(text: &str) -> Result<(u32, u32), String> {
    let numbers =
        text.split_once(':').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    match numbers {
        Some(numbers) => Ok(numbers),
        None if text.starts_with('/') => {
            let metadata =
                std::fs::metadata(text).map_err(|error| format!("can't look at {text}: {error}"))?;
            let number = metadata.rdev();
            let block = metadata.file_type().is_block_device();
            let numbers = (rustix::fs::major(number), rustix::fs::minor(number));
            block.then_some(numbers).ok_or_else(|| format!("{text} is no block device"))
        }
        None => Err(format!("expected a disk such as /dev/sda or 8:0 first, not '{text}'")),
    }
}

fn hugetlb(text: &str) -> Result<HugetlbLimit, String> {
    let sizes = text.split_once('=').and_then(|(page, most)| Some((parse_bytes(page)?, parse_bytes(most)?)));
    let usable = sizes.filter(|(page, _)| page.is_power_of_two() && *page >= 1 << 10);
    let (page_bytes, limit_bytes) =
        usable.ok_or_else(|| format!("expected sizes such as 2MB=64MB, not '{text}'"))?;
    Ok(HugetlbLimit { page_bytes, limit_bytes })
}

/// Reads `--user_namespace_ids`, if there are to be user namespaces.
pub(super) fn user_namespace(values: &Values, isolators: &Isolators) -> Result<Option<IdRange>, BadFlag> {
    let text = values.text("user_namespace_ids").unwrap_or_default();
    let numbers =
        text.split_once(':').and_then(|(base, length)| Some((base.parse().ok()?, length.parse().ok()?)));
    let ids = numbers.map(|(base, length)| IdRange { base, length }).filter(|ids| ids.is_usable());
    let why = "expected FIRST:COUNT such as 1879048192:65536, with ids of 1000 and above that nobody on this host has";
    let ids = ids.ok_or_else(|| bad("user_namespace_ids", text, why))?;
    Ok(isolators.users.then_some(ids))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_limits() {
        let want = IoMax {
            major: 254,
            minor: 16,
            read_bps: Some(10 << 20),
            write_iops: Some(7),
            ..IoMax::default()
        };
        assert_eq!(io_max("254:16 rbps=10MB wiops=7"), Ok(want));
        assert_eq!(
            io_max("254:16 wbps=5 riops=1").map(|max| (max.write_bps, max.read_iops)),
            Ok((Some(5), Some(1)))
        );
        for (text, word) in [
            ("", "a disk"),
            ("sda rbps=1", "a disk"),
            ("/dev/null rbps=1", "no block device"),
            ("/does/not/exist rbps=1", "can't look at"),
            ("8:0", "limits after"),
            ("8:0 rbps=0", "above 0"),
            ("8:0 riops=1MB", "'riops=1MB'"),
            ("8:0 speed=1", "'speed=1'"),
        ] {
            let why = io_max(text).unwrap_err();
            assert!(why.contains(word), "{text}: {why}");
        }
    }

    #[test]
    fn huge_pages_have_sizes() {
        assert_eq!(hugetlb("2MB=64MB"), Ok(HugetlbLimit { page_bytes: 2 << 20, limit_bytes: 64 << 20 }));
        for text in ["", "2MB", "2MB=", "3MB=3MB", "0B=1MB", "1GB:0B"] {
            assert!(hugetlb(text).is_err(), "{text}");
        }
    }
}
