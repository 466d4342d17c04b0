//! Flags about the output of tasks and the room they may take.

use std::time::Duration;

use model::flags::{BadFlag, Values, bad};

use super::duration;
use crate::rotation::{Rotation, Unusable};

/// Mesos' name of the logger that rotates, and the short one.
const ROTATING: [&str; 2] = ["org_apache_mesos_LogrotateContainerLogger", "logrotate"];

/// Where the output of tasks goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Logger {
    /// Rotate it; without, the files grow as long as their task lives.
    pub rotation: Option<Rotation>,
    /// What the variables begin with by which a task overrides the rotation.
    pub prefix: String,
}

pub(super) fn logger(values: &Values) -> Result<Logger, BadFlag> {
    let rotates = match values.text("container_logger").unwrap_or("sandbox") {
        "sandbox" => false,
        name if ROTATING.contains(&name) => true,
        other => {
            return Err(bad(
                "container_logger",
                other,
                "expected sandbox or logrotate; modules can't be loaded",
            ));
        }
    };
    let setting = |name: &str| values.text(name);
    // They are checked even when nothing rotates.
    let (rotation, left_out) = Rotation::read(Rotation::default(), &setting)
        .map_err(|Unusable { name, value, why }| bad(name, &value, &why))?;
    for option in left_out {
        tracing::warn!(option, "logrotate's option is not supported and left out");
    }
    let prefix = values.text("environment_variable_prefix").unwrap_or("CONTAINER_LOGGER_");
    if prefix.is_empty() || prefix.contains(['=', '\0']) {
        return Err(bad(
            "environment_variable_prefix",
            prefix,
            "expected the beginning of a variable's name",
        ));
    }
    Ok(Logger { rotation: rotates.then_some(rotation), prefix: prefix.to_owned() })
}

/// How the disk usage of tasks is watched. Mesos: the isolator `disk/du`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskQuota {
    /// It is measured at all.
    pub measured: bool,
    /// A task that uses more than it asked for is ended.
    pub enforced: bool,
    /// Between two looks at all tasks. Mesos: 15 s.
    pub interval: Duration,
}

pub(super) fn disk_quota(values: &Values, isolated: bool) -> Result<DiskQuota, BadFlag> {
    let enforced = values.bool("enforce_container_disk_quota")?;
    let interval = duration(values, "container_disk_watch_interval", 15)?;
    if interval.is_zero() {
        return Err(bad("container_disk_watch_interval", "0", "expected a time such as 15secs"));
    }
    // Mesos enforces nothing when the isolator isn't named; whoever asks for a limit gets it here.
    Ok(DiskQuota { measured: isolated || enforced, enforced, interval })
}
