//! Limits: those that a task names above its requests, and what becomes of one that goes over its disk quota.

use model::resources::Amount;
use model::size::format_bytes;
use model::{ContainerId, Milli, Resources, TaskState};
use wire::v1;
use wire::v1::task_status::Reason;

use super::effect::Effect;
use super::state::{Stage, State};
use super::status::Say;

/// Mesos: only these can have a limit of their own.
const LIMITED: [&str; 2] = ["cpus", "mem"];

/// Checks a task's limits against its requests.
///
/// # Errors
/// Mesos: only cpus and mem, each not below its request; infinity is a limit.
pub(super) fn check(task: &v1::TaskInfo, requests: &Resources) -> Result<(), String> {
    // In the order of their names, so that the same task is refused with the same words.
    let mut limits: Vec<(&String, f64)> =
        task.limits.iter().map(|(name, limit)| (name, limit.value)).collect();
    limits.sort_by(|a, b| a.0.cmp(b.0));
    for (name, limit) in limits {
        if !LIMITED.contains(&name.as_str()) {
            return Err(format!("The task has a limit of '{name}'; only cpus and mem can have one"));
        }
        let request = requests.scalar(name);
        if request == Milli::ZERO {
            return Err(format!("The task has a limit of '{name}' but asks for none of it"));
        }
        let unlimited = limit.is_infinite() && limit > 0.0;
        if !unlimited && Milli::from_f64(limit).is_none_or(|limit| limit < request) {
            return Err(format!("The task's limit of {limit} {name} is below its request of {request}"));
        }
    }
    Ok(())
}

/// The bytes that a task may write to its sandbox; none when it asked for no disk of its own.
///
/// Mesos: disk with a source or a volume on it counts for itself.
pub fn disk_quota(resources: &Resources) -> Option<u64> {
    let plain = resources.iter().filter(|r| &*r.name == "disk" && r.kind.disk.is_none());
    let amounts =
        plain.filter_map(|r| if let Amount::Scalar(amount) = r.amount { Some(amount) } else { None });
    let total = amounts.reduce(|a, b| a + b)?;
    let bytes = u128::try_from(total.millis()).unwrap_or(0) * (1 << 20) / 1000;
    Some(u64::try_from(bytes).unwrap_or(u64::MAX))
}

impl State {
    /// Ends a task that uses more disk than it asked for. Mesos: at once, as `disk/du` does.
    pub(super) fn over_disk_quota(&mut self, container: &ContainerId, why: String, out: &mut Vec<Effect>) {
        let Some(key) = self.containers.get(container).cloned() else { return };
        let Some(task) = self.task_mut(&key) else { return };
        // One that is being killed already has a reason to end.
        if task.stage != Stage::Running || task.kill.is_some() || task.over_quota.is_some() {
            return;
        }
        task.over_quota = Some(why);
        out.push(Effect::Evict { container: container.clone() });
    }
}

/// What is said of a task that was ended for its disk usage. Mesos: the limitation names the quota. How much it used is
/// known only to the life of the agent that ended it.
pub(super) fn of_disk(why: Option<String>, resources: &Resources) -> Say {
    let quota = format_bytes(disk_quota(resources).unwrap_or(0));
    let why = why.unwrap_or_else(|| format!("Disk usage exceeds quota ({quota})"));
    let mut disk = v1::Resource { name: "disk".to_owned(), ..Default::default() };
    disk.set_type(v1::value::Type::Scalar);
    let plain = resources.filter(|r| r.kind.disk.is_none());
    disk.scalar = Some(v1::value::Scalar { value: plain.scalar("disk").as_f64() });
    let mut say = Say::agent(TaskState::Failed, Reason::ContainerLimitationDisk, why);
    say.limitation = vec![disk];
    say
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Role;

    fn requests() -> Resources {
        model::resources::parse("cpus:1;mem:64;disk:10;disk(web):0.5", &Role::any()).unwrap()
    }

    #[test]
    fn limits_are_for_cpus_and_mem_above_their_requests() {
        let check = |limits: &[(&str, f64)]| {
            let limit =
                |(name, value): &(&str, f64)| ((*name).to_owned(), v1::value::Scalar { value: *value });
            let task = v1::TaskInfo { limits: limits.iter().map(limit).collect(), ..Default::default() };
            super::check(&task, &requests())
                .map_err(|why| why.replace("The task", ""))
                .err()
                .unwrap_or_default()
        };
        for fine in [&[][..], &[("cpus", 1.0)], &[("cpus", 2.5), ("mem", 64.0)], &[("mem", f64::INFINITY)]] {
            assert_eq!(check(fine), "");
        }
        assert_eq!(check(&[("cpus", 0.5)]), "'s limit of 0.5 cpus is below its request of 1");
        assert_eq!(check(&[("mem", f64::NEG_INFINITY)]), "'s limit of -inf mem is below its request of 64");
        assert_eq!(check(&[("mem", f64::NAN)]), "'s limit of NaN mem is below its request of 64");
        assert_eq!(check(&[("mem", 1e300)]), format!("'s limit of {} mem is below its request of 64", 1e300));
        assert_eq!(check(&[("disk", 20.0)]), " has a limit of 'disk'; only cpus and mem can have one");
        assert_eq!(check(&[("gpus", 1.0)]), " has a limit of 'gpus'; only cpus and mem can have one");
        let none = v1::TaskInfo {
            limits: [("mem".to_owned(), v1::value::Scalar { value: 9.0 })].into(),
            ..Default::default()
        };
        assert!(super::check(&none, &Resources::none()).unwrap_err().contains("asks for none of it"));
    }

    #[test]
    fn the_quota_is_all_disk_without_a_volume() {
        assert_eq!(disk_quota(&requests()), Some((10 << 20) + (1 << 19)));
        assert_eq!(disk_quota(&Resources::none()), None);
        let mut volume = model::resources::parse("disk(web):100", &Role::any()).unwrap().to_wire();
        volume[0].disk = Some(Box::new(v1::resource::DiskInfo {
            persistence: Some(v1::resource::disk_info::Persistence { id: "v".to_owned(), principal: None }),
            ..Default::default()
        }));
        assert_eq!(disk_quota(&Resources::from_wire(&volume).unwrap()), None);
    }
}
