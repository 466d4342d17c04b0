//! The framework that a run is to the master.

use wire::v1::FrameworkInfo;
use wire::v1::framework_info::{Capability, capability};

use super::super::job::Job;

/// Checkpointing, so that the task outlives its agent, and PARTITION_AWARE, so that an unreachable agent is no end.
pub(super) fn framework(job: &Job) -> FrameworkInfo {
    use capability::Type::{MultiRole, PartitionAware, ReservationRefinement, TaskKillingState};
    let capabilities = [MultiRole, PartitionAware, ReservationRefinement, TaskKillingState];
    FrameworkInfo {
        user: job.task.user.clone().unwrap_or_else(own_name),
        name: format!("tepui run: {}", job.task.name),
        failover_timeout: Some(job.failover_timeout.as_secs_f64()),
        checkpoint: Some(true),
        roles: vec![job.role.to_string()],
        principal: job.principal.clone(),
        capabilities: capabilities.map(|kind| Capability { r#type: Some(kind.into()) }).into(),
        ..FrameworkInfo::default()
    }
}

/// Name of the calling user; root when nobody knows it, as the agent then refuses what it must.
fn own_name() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1));
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1) == uid).then(|| name.to_owned())
    });
    named.or_else(|| std::env::var("USER").ok()).unwrap_or_else(|| "root".to_owned())
}
