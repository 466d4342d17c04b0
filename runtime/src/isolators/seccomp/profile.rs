//! The policy as libcontainer takes it.

use std::collections::BTreeSet;

use libseccomp::ScmpSyscall;
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompBuilder,
    LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder,
};

use super::{Condition, Verdict, verdicts};
use crate::spec::Capability;

const EPERM: u32 = libc::EPERM.cast_unsigned();
const ENOSYS: u32 = libc::ENOSYS.cast_unsigned();

/// The policy for a container with these bounding capabilities, as libcontainer takes it. It covers the machine's
/// 32-bit calls as well; x32 isn't among the architectures, so one of its calls ends the process.
#[must_use]
pub fn profile(bounding: &BTreeSet<Capability>) -> LinuxSeccomp {
    let (mut allowed, mut denied, mut conditional) = (Vec::new(), Vec::new(), Vec::new());
    // For a name that this libseccomp doesn't know, libcontainer would write a warning.
    for (name, verdict) in
        verdicts(bounding).into_iter().filter(|(name, _)| ScmpSyscall::from_name(name).is_ok())
    {
        match verdict {
            Verdict::Allow => allowed.push(name.to_owned()),
            Verdict::Deny => denied.push(name.to_owned()),
            Verdict::Depends(cases) => {
                let one = |(condition, allow)| rule(vec![name.to_owned()], allow, Some(argument(condition)));
                conditional.extend(cases.into_iter().map(one));
            }
        }
    }
    let mut rules = vec![rule(allowed, true, None), rule(denied, false, None)];
    rules.append(&mut conditional);
    LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActErrno)
        .default_errno_ret(ENOSYS)
        .architectures(architectures())
        .syscalls(rules)
        .build()
        .expect("every required field is set")
}

fn rule(names: Vec<String>, allow: bool, condition: Option<LinuxSeccompArg>) -> LinuxSyscall {
    let rule = LinuxSyscallBuilder::default().names(names).args(condition.into_iter().collect::<Vec<_>>());
    let rule = match allow {
        true => rule.action(LinuxSeccompAction::ScmpActAllow),
        false => rule.action(LinuxSeccompAction::ScmpActErrno).errno_ret(EPERM),
    };
    rule.build().expect("every required field is set")
}

/// The OCI specification has the mask of a masked comparison in `value` and the rest in `valueTwo`; libcontainer
/// 0.7.0 takes them the other way round, so that the usual `(flags & namespaces) == 0` becomes `(flags & 0) == 0`
/// and lets all pass. This is written for libcontainer; the tests probe clone(2) through it and fail when it changes.
fn argument(condition: Condition) -> LinuxSeccompArg {
    let argument = LinuxSeccompArgBuilder::default().index(0usize);
    let argument = match condition {
        Condition::Equal(value) => argument.op(LinuxSeccompOperator::ScmpCmpEq).value(value),
        Condition::Greater(value) => argument.op(LinuxSeccompOperator::ScmpCmpGt).value(value),
        Condition::Masked { mask, rest } => {
            argument.op(LinuxSeccompOperator::ScmpCmpMaskedEq).value(rest).value_two(mask)
        }
    };
    argument.build().expect("every required field is set")
}

fn architectures() -> Vec<Arch> {
    if cfg!(target_arch = "aarch64") {
        vec![Arch::ScmpArchAarch64, Arch::ScmpArchArm]
    } else {
        vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86]
    }
}
