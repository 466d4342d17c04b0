//! What a task may use at most: of the host by its cgroups, and of the kernel by the limits of its process.

use model::{Milli, Resources};
use runtime::{Limits, Rlimit};
use wire::v1;
use wire::v1::r_limit_info::r_limit::Type as RlimitType;

use super::spec::Common;

/// Mesos: no container gets less memory than this.
const LEAST_MEMORY: u64 = 32 << 20;
/// Mesos: no container gets less CPU time than this in 100 ms.
const LEAST_CPU_MILLI: u64 = 10;

/// Limits where the task names them, its requests where not.
pub(super) fn limits(common: &Common, task: &v1::TaskInfo) -> Result<Limits, String> {
    let resources = Resources::from_wire(&task.resources).map_err(|e| e.to_string())?;
    let limit = |name: &str| task.limits.get(name).map(|l| l.value);
    let cpus = resources.cpus();
    let cpu_limit = match limit("cpus") {
        Some(value) if value.is_infinite() => None,
        Some(value) => Some(milli("cpus", value)?.max(LEAST_CPU_MILLI)),
        None => common.cgroups_enable_cfs.then_some(whole(cpus).max(LEAST_CPU_MILLI)),
    };
    let mem = resources.mem();
    let requested = (mem > Milli::ZERO).then(|| bytes_of(whole(mem)).max(LEAST_MEMORY));
    let memory_limit = match limit("mem") {
        Some(value) if value.is_infinite() => None,
        Some(value) => Some(bytes_of(milli("mem", value)?).max(LEAST_MEMORY)),
        None => requested,
    };
    Ok(Limits {
        cpu_request_milli: (cpus > Milli::ZERO).then(|| whole(cpus)),
        cpu_limit_milli: cpu_limit,
        memory_request_bytes: requested,
        memory_limit_bytes: memory_limit,
        ..common.limits.clone()
    })
}

fn milli(name: &str, value: f64) -> Result<u64, String> {
    let milli = Milli::from_f64(value).ok_or(format!("The limit of {name} is out of range: {value}"))?;
    Ok(whole(milli))
}

/// Thousandths, never below zero.
fn whole(amount: Milli) -> u64 {
    u64::try_from(amount.millis()).unwrap_or(0)
}

/// Thousandths of a MB in bytes.
fn bytes_of(milli_megabytes: u64) -> u64 {
    u64::try_from(u128::from(milli_megabytes) * (1 << 20) / 1000).unwrap_or(u64::MAX)
}

/// Mesos: both or none of soft and hard; none is unlimited.
pub(super) fn rlimits(task: &v1::TaskInfo) -> Result<Vec<Rlimit>, String> {
    let info = task.container.as_ref().and_then(|c| c.rlimit_info.as_ref());
    let mut all = Vec::new();
    for limit in info.iter().flat_map(|i| &i.rlimits) {
        let kind = limit.r#type();
        if kind == RlimitType::Unknown {
            return Err("The task has a resource limit of an unknown type".to_owned());
        }
        let name = kind.as_str_name().replace("RLMT_", "RLIMIT_");
        let (soft, hard) = match (limit.soft, limit.hard) {
            (Some(soft), Some(hard)) if soft <= hard => (soft, hard),
            (None, None) => (u64::MAX, u64::MAX),
            _ => {
                return Err(format!(
                    "{name} needs a soft limit that is not above its hard limit, or neither"
                ));
            }
        };
        all.push(Rlimit { name, soft, hard });
    }
    Ok(all)
}
