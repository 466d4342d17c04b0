//! Rules for checks and health checks.

use wire::v1;
use wire::v1::{check_info, health_check};

/// Checks a `CheckInfo`.
///
/// # Errors
/// What is wrong, in Mesos' words.
pub(super) fn check(info: &v1::CheckInfo) -> Result<(), String> {
    match info.r#type() {
        check_info::Type::Unknown if info.r#type.is_none() => {
            return Err("CheckInfo must specify 'type'".to_owned());
        }
        check_info::Type::Unknown => return Err("'UNKNOWN' is not a valid check type".to_owned()),
        check_info::Type::Command => {
            let command = info.command.as_ref().ok_or("Expecting 'command' to be set for COMMAND check")?;
            command_of(&command.command)?;
        }
        check_info::Type::Http => {
            let http = info.http.as_ref().ok_or("Expecting 'http' to be set for HTTP check")?;
            path_of(http.path.as_deref())?;
        }
        check_info::Type::Tcp => {
            info.tcp.as_ref().ok_or("Expecting 'tcp' to be set for TCP check")?;
        }
    }
    not_negative(&[
        ("delay_seconds", info.delay_seconds),
        ("interval_seconds", info.interval_seconds),
        ("timeout_seconds", info.timeout_seconds),
    ])
}

/// Checks a `HealthCheck`. One without a type has the one of the field that is present.
///
/// # Errors
/// What is wrong, in Mesos' words.
pub(super) fn health_check(check: &v1::HealthCheck) -> Result<(), String> {
    match implied_type(check) {
        None => return Err("HealthCheck must specify 'type'".to_owned()),
        Some(health_check::Type::Unknown) => {
            return Err("'UNKNOWN' is not a valid health check type".to_owned());
        }
        Some(health_check::Type::Command) => {
            let command =
                check.command.as_ref().ok_or("Expecting 'command' to be set for COMMAND health check")?;
            command_of(command)?;
        }
        Some(health_check::Type::Http) => {
            let http = check.http.as_ref().ok_or("Expecting 'http' to be set for HTTP health check")?;
            if let Some(scheme) = http.scheme.as_deref().filter(|scheme| !matches!(*scheme, "http" | "https"))
            {
                return Err(format!("Unsupported HTTP health check scheme: '{}'", scheme.escape_default()));
            }
            path_of(http.path.as_deref())?;
        }
        Some(health_check::Type::Tcp) => {
            check.tcp.as_ref().ok_or("Expecting 'tcp' to be set for TCP health check")?;
        }
    }
    not_negative(&[
        ("delay_seconds", check.delay_seconds),
        ("interval_seconds", check.interval_seconds),
        ("timeout_seconds", check.timeout_seconds),
        ("grace_period_seconds", check.grace_period_seconds),
    ])
}

/// The type of a health check. Mesos: COMMAND or HTTP by the field that is present, when no type is given.
pub(in crate::logic) fn implied_type(check: &v1::HealthCheck) -> Option<health_check::Type> {
    match check.r#type {
        Some(number) => Some(health_check::Type::try_from(number).unwrap_or(health_check::Type::Unknown)),
        None if check.command.is_some() => Some(health_check::Type::Command),
        None if check.http.is_some() => Some(health_check::Type::Http),
        None => None,
    }
}

fn command_of(command: &v1::CommandInfo) -> Result<(), String> {
    if command.value.is_none() {
        let what = if command.shell() { "'shell command'" } else { "'executable path'" };
        return Err(format!("Command check must contain {what}"));
    }
    super::environment(command.environment.as_ref())
        .map_err(|why| format!("Check's `CommandInfo` is invalid: {why}"))
}

fn path_of(path: Option<&str>) -> Result<(), String> {
    match path {
        Some(path) if !path.starts_with('/') => {
            Err(format!("The path '{}' of HTTP check must start with '/'", path.escape_default()))
        }
        _ => Ok(()),
    }
}

fn not_negative(durations: &[(&str, Option<f64>)]) -> Result<(), String> {
    // Written so that NaN is refused too.
    let bad = durations.iter().find(|(_, seconds)| seconds.is_some_and(|s| s.is_nan() || s < 0.0));
    bad.map_or(Ok(()), |(name, _)| Err(format!("Expecting '{name}' to be non-negative")))
}
