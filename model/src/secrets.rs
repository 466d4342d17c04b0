//! What of a task nobody may read who only looks: the values of its secrets. That there is one is still shown.

use wire::v1;

/// Takes the values of secrets out of what is shown of a task.
pub fn hide_in_task(task: &mut v1::Task) {
    if let Some(container) = &mut task.container {
        hide_in_container(container);
    }
    if let Some(command) = task.health_check.as_mut().and_then(|check| check.command.as_mut()) {
        hide_in_command(command);
    }
}

/// Takes the values of secrets out of a command's environment.
pub fn hide_in_command(command: &mut v1::CommandInfo) {
    let environment = command.environment.iter_mut().flat_map(|environment| &mut environment.variables);
    environment.filter_map(|variable| variable.secret.as_mut()).for_each(hide);
}

/// Takes the values of secrets out of a container's image and volumes.
pub fn hide_in_container(container: &mut v1::ContainerInfo) {
    if let Some(image) = container.mesos.as_mut().and_then(|mesos| mesos.image.as_mut()) {
        hide_in_image(image);
    }
    for volume in &mut container.volumes {
        if let Some(image) = &mut volume.image {
            hide_in_image(image);
        }
        let Some(source) = &mut volume.source else { continue };
        if let Some(secret) = &mut source.secret {
            hide(secret);
        }
        if let Some(provisioned) = source.csi_volume.as_mut().and_then(|csi| csi.static_provisioning.as_mut())
        {
            provisioned.node_stage_secrets.values_mut().for_each(hide);
            provisioned.node_publish_secrets.values_mut().for_each(hide);
        }
    }
}

fn hide_in_image(image: &mut v1::Image) {
    let Some(docker) = &mut image.docker else { return };
    if let Some(credential) = &mut docker.credential {
        credential.secret = None;
    }
    if let Some(config) = &mut docker.config {
        hide(config);
    }
}

/// A reference is only the name of a secret.
fn hide(secret: &mut v1::Secret) {
    secret.value = None;
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANARY: &str = "Q0FOQVJZ";

    fn read<M: wire::Json>(text: &str) -> M {
        wire::json::from_slice(text.replace("CANARY", CANARY).as_bytes()).unwrap()
    }

    #[test]
    fn no_value_of_a_secret_is_left() {
        let container = r#"{"type":"MESOS",
            "mesos":{"image":{"type":"DOCKER","docker":{"name":"i",
                "credential":{"principal":"p","secret":"CANARY"},
                "config":{"type":"VALUE","value":{"data":"CANARY"}}}}},
            "volumes":[
                {"mode":"RO","container_path":"a","source":{"type":"SECRET",
                    "secret":{"type":"VALUE","value":{"data":"CANARY"}}}},
                {"mode":"RO","container_path":"b","image":{"type":"DOCKER","docker":{"name":"i",
                    "config":{"type":"VALUE","value":{"data":"CANARY"}}}}},
                {"mode":"RO","container_path":"c","source":{"type":"CSI_VOLUME","csi_volume":{"plugin_name":"p",
                    "static_provisioning":{"volume_id":"v","volume_capability":{"access_mode":{"mode":"SINGLE_NODE_WRITER"}},
                        "node_stage_secrets":{"k":{"type":"VALUE","value":{"data":"CANARY"}}},
                        "node_publish_secrets":{"k":{"type":"VALUE","value":{"data":"CANARY"}}}}}}}]}"#;
        let command = r#"{"value":"true","environment":{"variables":[
            {"name":"OPEN","value":"told"},
            {"name":"S","type":"SECRET","secret":{"type":"VALUE","value":{"data":"CANARY"}}},
            {"name":"R","type":"SECRET","secret":{"type":"REFERENCE","reference":{"name":"vault","key":"k"}}}]}}"#;
        let mut task = v1::Task {
            container: Some(Box::new(read(container))),
            health_check: Some(Box::new(read(&format!(r#"{{"type":"COMMAND","command":{command}}}"#)))),
            ..v1::Task::default()
        };
        let told = |task: &v1::Task| String::from_utf8(wire::json::to_vec(task)).unwrap();
        assert_eq!(told(&task).matches(CANARY).count(), 7);
        hide_in_task(&mut task);
        let left = told(&task);
        assert!(!left.contains(CANARY), "{left}");
        // What is no secret's value stays.
        for kept in [r#""principal":"p""#, r#""type":"VALUE""#, r#""value":"told""#, r#""name":"vault""#] {
            assert!(left.contains(kept), "{kept} in {left}");
        }
    }
}
