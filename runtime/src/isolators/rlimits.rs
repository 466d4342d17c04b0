//! Resource limits of the process itself.
use oci_spec::runtime::{PosixRlimit, PosixRlimitBuilder, PosixRlimitType};

use super::{Draft, Request};
use crate::ending::{Failure, FailureKind, Stage};

/// Open files, when nothing is asked for: what a login gets, and room to raise it.
const OPEN_FILES: (u64, u64) = (1024, 524_288);

pub(crate) fn prepare(request: &Request<'_>, draft: &mut Draft) -> Result<(), Failure> {
    let refused = |message| Failure::new(Stage::Prepare, FailureKind::Refused, message);
    for limit in &request.spec.rlimits {
        let kind: PosixRlimitType = serde_json::from_value(limit.name.clone().into())
            .map_err(|_| refused(format!("the resource limit {:?} is unknown", limit.name)))?;
        if limit.soft > limit.hard {
            return Err(refused(format!("the soft limit of {} is above the hard one", limit.name)));
        }
        draft.rlimits.push(rlimit(kind, limit.soft, limit.hard));
    }
    if !draft.rlimits.iter().any(|limit| limit.typ() == PosixRlimitType::RlimitNofile) {
        // Raising a hard limit takes a privilege that the keeper may lack.
        let hard = OPEN_FILES.1.min(request.open_files.1);
        draft.rlimits.push(rlimit(PosixRlimitType::RlimitNofile, OPEN_FILES.0.min(hard), hard));
    }
    Ok(())
}

fn rlimit(kind: PosixRlimitType, soft: u64, hard: u64) -> PosixRlimit {
    let limit = PosixRlimitBuilder::default().typ(kind).soft(soft).hard(hard).build();
    limit.expect("all of its fields are given")
}
