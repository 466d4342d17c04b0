//! The container runtime of an agent: what the host must give for it is looked for, and tried, before the first task.

use runtime::{Host, Runtime, RuntimeConfig};

use crate::AgentError;
use crate::config::{Config, asked};

pub(super) fn runtime(config: &Config) -> Result<Runtime, AgentError> {
    let mut runtime = RuntimeConfig::new(&config.runtime_dir);
    runtime.cgroups_root.clone_from(&config.cgroups_root);
    let (executable, arguments) = &config.keeper_command;
    runtime.executable.clone_from(executable);
    runtime.supervise_args = arguments.iter().map(|a| a.to_string_lossy().into_owned()).collect();
    let host = Runtime::probe(&runtime, &config.isolation)?;
    host.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    refuse_impossible(config, &host)?;
    let missing: Vec<String> = host.missing.iter().map(ToString::to_string).collect();
    if config.isolation_strict && !missing.is_empty() {
        return Err(AgentError::Isolation(missing.join("; ")));
    }
    missing.iter().for_each(|missing| tracing::warn!("{missing}"));
    let runtime = Runtime::new(runtime, host).map_err(AgentError::Runtime)?;
    try_limits(config, &runtime)?;
    Ok(runtime)
}

/// What makes every task fail is said before any is taken, whether `--isolation_strict` is given or not.
fn refuse_impossible(config: &Config, host: &Host) -> Result<(), AgentError> {
    // Mesos: an agent with cgroups/blkio doesn't start on a host with cgroup v2 alone.
    if let Some(name) = config.isolation_of_v1.first().filter(|_| !host.layout.is_hybrid()) {
        let why =
            format!("{name} is a name of cgroup v1, and this host has v2 alone; name cgroups/io instead");
        return Err(AgentError::Isolation(why));
    }
    match host.missing_users().filter(|_| config.user_namespace.is_some()) {
        Some(missing) => Err(AgentError::Isolation(missing.to_string())),
        None => Ok(()),
    }
}

fn try_limits(config: &Config, runtime: &Runtime) -> Result<(), AgentError> {
    for one in asked(&config.limits, &config.flags) {
        let tried = runtime.try_limits(&one.limits, &config.isolation);
        tried.map_err(|error| AgentError::Limit {
            flag: one.flag,
            value: one.value.to_owned(),
            why: crate::chain(&error),
            remedy: one.remedy,
        })?;
    }
    Ok(())
}
