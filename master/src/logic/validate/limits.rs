//! Rules for `TaskInfo.limits`: how much a task may use beyond its request.

use std::collections::BTreeMap;

use model::{Milli, Resources};
use wire::v1::value::Scalar;

/// Checks the limits of a task against its requests.
///
/// # Errors
/// What is wrong, in Mesos' words.
pub(super) fn check(
    limits: &BTreeMap<String, Scalar>,
    requests: &Resources,
    capabilities: &[String],
) -> Result<(), String> {
    if limits.is_empty() {
        return Ok(());
    }
    if !capabilities.iter().any(|name| name == "TASK_RESOURCE_LIMITS") {
        return Err("Task has 'limits' but its agent has no TASK_RESOURCE_LIMITS capability".to_owned());
    }
    for (name, limit) in limits {
        if !matches!(name.as_str(), "cpus" | "mem") {
            let name = name.escape_default();
            return Err(format!("Task has a limit of '{name}': only cpus and mem can be limited"));
        }
        let request = requests.scalar(name);
        if request == Milli::ZERO {
            return Err(format!("Task has a limit of {name} but requests none"));
        }
        // Infinity is allowed and means no limit; NaN compares as too small.
        let enough = limit.value == f64::INFINITY
            || Milli::from_f64(limit.value).is_some_and(|limit| limit >= request);
        if !enough {
            return Err(format!("Task's limit of {name} ({}) is below its request ({request})", limit.value));
        }
    }
    Ok(())
}
