//! Rules for the container of a command task: image kind, volumes, secrets.

use wire::v1;
use wire::v1::volume::source;
use wire::v1::{container_info, secret as secrets};

/// Checks a `ContainerInfo` of a command task.
///
/// # Errors
/// What is wrong, in Mesos' words.
pub(super) fn check(container: &v1::ContainerInfo) -> Result<(), String> {
    for (index, one) in container.volumes.iter().enumerate() {
        volume(one).map_err(|why| format!("Invalid volume #{}: {why}", index + 1))?;
    }
    if container.r#type() == container_info::Type::Docker {
        let docker = container.docker.as_ref();
        let docker = docker.ok_or("DockerInfo 'docker' is not set for DOCKER typed ContainerInfo")?;
        if docker.parameters.iter().any(|parameter| parameter.key == "name") {
            return Err("Parameter in DockerInfo must not be 'name'".to_owned());
        }
    }
    if container.linux_info.as_ref().is_some_and(|linux| linux.share_cgroups == Some(false)) {
        let text =
            "Only task groups may set 'share_cgroups' to 'false'; a command task has cgroups of its own";
        return Err(text.to_owned());
    }
    Ok(())
}

fn volume(volume: &v1::Volume) -> Result<(), String> {
    let given = [volume.host_path.is_some(), volume.image.is_some(), volume.source.is_some()];
    if given.into_iter().filter(|given| *given).count() != 1 {
        return Err("Exactly one of 'host_path', 'image' and 'source' should be set for volume".to_owned());
    }
    let Some(from) = &volume.source else { return Ok(()) };
    let (name, there) = match from.r#type() {
        source::Type::Unknown => return Err("'source.type' is unknown".to_owned()),
        source::Type::DockerVolume => ("docker_volume", from.docker_volume.is_some()),
        source::Type::HostPath => ("host_path", from.host_path.is_some()),
        source::Type::SandboxPath => ("sandbox_path", from.sandbox_path.is_some()),
        source::Type::Secret => ("secret", from.secret.is_some()),
        source::Type::CsiVolume => ("csi_volume", from.csi_volume.is_some()),
    };
    if !there {
        let kind = from.r#type().as_str_name();
        return Err(format!("'source.{name}' is not set for {kind} volume"));
    }
    from.secret.as_ref().map_or(Ok(()), secret)
}

/// Checks a `Secret`.
///
/// # Errors
/// What is wrong, in Mesos' words.
pub(super) fn secret(secret: &v1::Secret) -> Result<(), String> {
    let wrong = |text: &str| Err(text.to_owned());
    match (secret.r#type(), &secret.reference, &secret.value) {
        (secrets::Type::Unknown, ..) => wrong("Secret of type UNKNOWN is not allowed"),
        (secrets::Type::Reference, None, _) => {
            wrong("Secret of type REFERENCE must have the 'reference' field set")
        }
        (secrets::Type::Reference, _, Some(_)) => {
            wrong("Secret of type REFERENCE must not have the 'value' field set")
        }
        (secrets::Type::Value, _, None) => wrong("Secret of type VALUE must have the 'value' field set"),
        (secrets::Type::Value, Some(_), _) => {
            wrong("Secret of type VALUE must not have the 'reference' field set")
        }
        _ => Ok(()),
    }
}
