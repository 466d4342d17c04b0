//! What a task must look like to be launched: the rules of Mesos for command tasks, with its words.

mod checks;
mod container;
mod limits;

use std::collections::BTreeSet;

use model::resources::Resource;
use model::{AgentId, Resources, Role, TaskId};
use wire::v1;

use super::state::{AgentFacts, Framework, State};

pub(super) use checks::implied_type;

/// Where a task is to be launched.
pub(super) struct Place<'a> {
    pub(super) framework: &'a Framework,
    pub(super) agent: &'a AgentFacts,
    /// The role the offers are allocated to.
    pub(super) role: &'a Role,
    /// What remains of the offers, allocated to the role.
    pub(super) left: &'a Resources,
}

/// Checks a task of a LAUNCH; answers what it uses, allocated to the role.
///
/// # Errors
/// The message of the TASK_ERROR.
pub(super) fn task(state: &State, place: &Place<'_>, info: &v1::TaskInfo) -> Result<Resources, String> {
    id(state, place.framework, &TaskId::from(&info.task_id))?;
    agent(&place.agent.id, &AgentId::from(&info.agent_id))?;
    not_negative(
        "kill_policy.grace_period",
        info.kill_policy.as_ref().and_then(|p| p.grace_period.as_ref()),
    )?;
    not_negative("max_completion_time", info.max_completion_time.as_ref())?;
    what_runs(info)?;
    if let Some(check) = &info.check {
        checks::check(check).map_err(|why| format!("Task uses invalid check: {why}"))?;
    }
    if let Some(check) = &info.health_check {
        checks::health_check(check).map_err(|why| format!("Task uses invalid health check: {why}"))?;
    }
    if let Some(container) = &info.container {
        container::check(container).map_err(|why| format!("Task's `ContainerInfo` is invalid: {why}"))?;
    }
    let resources = resources(&info.resources, place.role)?;
    limits::check(&info.limits, &resources, &place.agent.capabilities)?;
    if !place.left.contains(&resources) {
        let (want, have) = (resources.allocated_to(None), place.left.allocated_to(None));
        return Err(format!("Task uses more resources {want} than available {have}"));
    }
    Ok(resources)
}

fn id(state: &State, framework: &Framework, id: &TaskId) -> Result<(), String> {
    id.check().map_err(|bad| format!("Task has an invalid ID: {bad}"))?;
    let key = (framework.id.clone(), id.clone());
    // Mesos: ids of completed tasks may be used again.
    if state.tasks.contains(&key) {
        return Err(format!("Task has duplicate ID: {id}"));
    }
    if state.unreachable_tasks.contains(&key) {
        return Err(format!("Task reuses the ID of an unreachable task: {id}"));
    }
    Ok(())
}

fn agent(offered: &AgentId, named: &AgentId) -> Result<(), String> {
    if offered != named {
        let named = named.as_str().escape_default();
        return Err(format!("Task uses invalid agent {named} while agent {offered} is expected"));
    }
    Ok(())
}

fn not_negative(name: &str, duration: Option<&v1::DurationInfo>) -> Result<(), String> {
    match duration {
        Some(duration) if duration.nanoseconds < 0 => Err(format!("Task's '{name}' must be non-negative")),
        _ => Ok(()),
    }
}

fn what_runs(info: &v1::TaskInfo) -> Result<(), String> {
    match (&info.command, &info.executor) {
        (Some(command), None) => environment(command.environment.as_ref()),
        (None, Some(_)) => {
            Err("Task has an 'executor': executors are not supported by this version, give a 'command'"
                .to_owned())
        }
        _ => {
            Err("Task should have at least one (but not both) of CommandInfo or ExecutorInfo present"
                .to_owned())
        }
    }
}

/// Checks the variables of a command.
fn environment(environment: Option<&v1::Environment>) -> Result<(), String> {
    use v1::environment::variable::Type;
    for variable in environment.iter().flat_map(|e| &e.variables) {
        let name = variable.name.escape_default();
        match variable.r#type() {
            Type::Unknown => return Err("Environment variable of type 'UNKNOWN' is not allowed".to_owned()),
            Type::Value if variable.secret.is_some() => {
                return Err(format!(
                    "Environment variable '{name}' of type 'VALUE' must not have a secret set"
                ));
            }
            Type::Value if variable.value.is_none() => {
                return Err(format!("Environment variable '{name}' of type 'VALUE' must have a value set"));
            }
            Type::Value => {}
            Type::Secret if variable.value.is_some() => {
                return Err(format!(
                    "Environment variable '{name}' of type 'SECRET' must not have a value set"
                ));
            }
            Type::Secret => {
                let secret = variable.secret.as_ref().ok_or_else(|| {
                    format!("Environment variable '{name}' of type 'SECRET' must have a secret set")
                })?;
                container::secret(secret).map_err(|why| {
                    format!("Environment variable '{name}' specifies an invalid secret: {why}")
                })?;
                if secret.value.as_ref().is_some_and(|value| value.data.contains(&0)) {
                    return Err(format!(
                        "Environment variable '{name}' specifies a secret containing null bytes, which is not allowed"
                    ));
                }
            }
        }
    }
    Ok(())
}

/// Reads and checks what a task uses; what isn't allocated to a role is to the one of the offers.
fn resources(messages: &[v1::Resource], role: &Role) -> Result<Resources, String> {
    let invalid = |bad: model::resources::BadResource| format!("Task uses invalid resources: {bad}");
    let all = messages.iter().map(Resource::from_wire).collect::<Result<Vec<_>, _>>().map_err(invalid)?;
    if let Some(other) = all.iter().filter_map(|r| r.kind.allocated_to.as_ref()).find(|other| *other != role)
    {
        return Err(format!("Task uses resources allocated to role '{other}', the offers are for '{role}'"));
    }
    distinct_volumes(&all)?;
    let used: Resources = all.into_iter().map(|resource| resource.allocated_to(Some(role))).collect();
    if used.is_empty() {
        return Err("Task uses no resources".to_owned());
    }
    if used.scalar("gpus").millis() % 1000 != 0 {
        return Err("The 'gpus' resource must be an unsigned integer".to_owned());
    }
    let revocable: BTreeSet<_> = used.iter().filter(|r| r.kind.revocable).map(|r| &r.name).collect();
    if let Some(both) = used.iter().find(|r| !r.kind.revocable && revocable.contains(&r.name)) {
        return Err(format!("Task uses both revocable and non-revocable '{}'", both.name));
    }
    let providers: BTreeSet<_> = used.iter().map(|r| &r.kind.provider).collect();
    if providers.len() > 1 {
        return Err("Task uses resources of more than one resource provider".to_owned());
    }
    Ok(used)
}

fn distinct_volumes(all: &[Resource]) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for resource in all {
        let volume = resource.kind.disk.as_ref().and_then(|disk| disk.persistence.as_ref());
        if let Some(volume) = volume
            && !seen.insert((resource.reserved_for(), volume.id.clone()))
        {
            return Err(format!("Task uses duplicate persistence ID '{}'", volume.id.escape_default()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
