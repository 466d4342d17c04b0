//! A secret that must come to light nowhere: planted in a task, and looked for in whatever is answered.

use wire::v1;

/// What the secret is.
pub const CANARY: &str = "canary-of-a-secret";
/// The same as JSON writes bytes.
pub const ENCODED: &str = "Y2FuYXJ5LW9mLWEtc2VjcmV0";

/// As a secret with its value.
pub fn secret() -> v1::Secret {
    v1::Secret {
        r#type: Some(v1::secret::Type::Value.into()),
        value: Some(v1::secret::Value { data: CANARY.into() }),
        ..Default::default()
    }
}

/// As the variable of an environment.
pub fn environment() -> v1::Environment {
    let variable = v1::environment::Variable {
        name: "TOKEN".to_owned(),
        r#type: Some(v1::environment::variable::Type::Secret.into()),
        secret: Some(secret()),
        ..Default::default()
    };
    v1::Environment { variables: vec![variable] }
}

/// As the login with which a container's image is pulled.
pub fn container() -> v1::ContainerInfo {
    let docker =
        v1::image::Docker { name: "busybox".to_owned(), config: Some(secret()), ..Default::default() };
    let image =
        v1::Image { r#type: v1::image::Type::Docker.into(), docker: Some(docker), ..Default::default() };
    v1::ContainerInfo {
        r#type: v1::container_info::Type::Mesos.into(),
        mesos: Some(v1::container_info::MesosInfo { image: Some(image) }),
        ..Default::default()
    }
}

/// Whether it is in there.
pub fn sings_in(body: &[u8]) -> bool {
    [CANARY, ENCODED].iter().any(|canary| body.windows(canary.len()).any(|part| part == canary.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_found_in_json_and_in_protobuf() {
        let task = v1::Task { container: Some(Box::new(container())), ..Default::default() };
        assert!(sings_in(wire::json::to_string(&task).as_bytes()));
        assert!(sings_in(&wire::proto::encode(&task)));
        assert!(!sings_in(b"canary"));
    }
}
