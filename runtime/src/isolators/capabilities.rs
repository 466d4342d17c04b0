//! Capabilities: bounding, permitted and effective as asked, inheritable and ambient always empty
//! (a non-empty inheritable set gives them to files that carry them: CVE-2022-24769 and others).
use std::collections::HashSet;

use oci_spec::runtime::{Capability as Oci, LinuxCapabilities};

use super::{Draft, Request};
use crate::ending::{Failure, FailureKind, Stage};

pub(crate) fn prepare(request: &Request<'_>, draft: &mut Draft) -> Result<(), Failure> {
    if !request.spec.isolation.capabilities {
        return Ok(());
    }
    let mut kept: HashSet<Oci> = HashSet::new();
    for capability in &request.spec.capabilities {
        let name = capability.to_string();
        let name = name.strip_prefix("CAP_").unwrap_or(&name);
        let known = name.parse().map_err(|_| {
            Failure::new(Stage::Prepare, FailureKind::Refused, format!("the capability {name} is unknown"))
        })?;
        kept.insert(known);
    }
    let mut set = LinuxCapabilities::default();
    set.set_bounding(Some(kept.clone()))
        .set_permitted(Some(kept.clone()))
        .set_effective(Some(kept))
        .set_inheritable(Some(HashSet::new()))
        .set_ambient(Some(HashSet::new()));
    draft.capabilities = Some(set);
    Ok(())
}
