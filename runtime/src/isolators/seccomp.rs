//! The default seccomp policy: which system calls a container may make.
//!
//! Three answers. What the tables of [`calls`] allow runs. What they deny (ways out of the container and corners of
//! the kernel that nobody in a container needs) is EPERM, so that a program says "not permitted". Everything else,
//! calls newer than this table above all, is ENOSYS, so that a C library falls back to what it used before
//! (clone3(2) is left to that on purpose: its flags lie in memory, where a filter can't see them).
//!
//! A condition never relies on "not equal": several of one argument would be or-ed together and let everything pass.
//! Nor on "greater than" to allow: the filter compares 64 bits, the kernel then looks at 32 of them, so
//! `socket(0x1_0000_0026)` would pass as family 38. Families are allowed one by one.
//!
//! The policy comes in two forms. [`Filter`] is the program itself, made and loaded by us within a millisecond;
//! [`profile`] is the same for libcontainer, whose libseccomp takes some 15 ms for it at every start, so it serves
//! only where the filter must be loaded before capabilities are dropped (without no_new_privs).

use std::collections::{BTreeMap, BTreeSet};

use crate::spec::Capability;

mod calls;
mod filter;
mod profile;
#[cfg(test)]
mod tests;

pub use filter::Filter;
pub use profile::profile;

/// The bits of clone(2) that make a namespace: cgroup, mnt, uts, ipc, user, pid, net. (A new time namespace can
/// only be asked for by clone3 and unshare.)
const NEW_NAMESPACES: [u64; 7] =
    [0x0200_0000, 0x0002_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000];

/// Socket families: unix, IPv4, IPv6, netlink. Not alg (38, CVE-2026-31431), vsock (40: the hypervisor), nor the
/// many of which a kernel loads a module on demand.
const FAMILIES: [u64; 4] = [1, 2, 10, 16];
/// Raw packets; the kernel asks for the capability as well.
const PACKET_FAMILY: u64 = 17;
const HIGHEST_FAMILY: u64 = 17;
const UNIX_FAMILY: u64 = 1;

/// Execution domains: Linux, 32-bit Linux, both with the old version number, and "tell only".
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Allow,
    /// EPERM.
    Deny,
    /// As the first of these says whose condition the first argument meets; ENOSYS when it meets none. No two of
    /// them that disagree can be met by one value.
    Depends(Vec<(Condition, bool)>),
}

/// A condition on a call's first argument, all 64 bits of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Equal(u64),
    Greater(u64),
    /// Under the mask exactly the rest remains.
    Masked {
        mask: u64,
        rest: u64,
    },
}

/// The policy for a container with these bounding capabilities: a verdict by name; what isn't there is ENOSYS.
fn verdicts(bounding: &BTreeSet<Capability>) -> BTreeMap<&'static str, Verdict> {
    let held: BTreeSet<String> = bounding.iter().map(ToString::to_string).collect();
    let mut all = BTreeMap::new();
    let mut set = |names: &[&'static str], verdict: Verdict| {
        all.extend(names.iter().map(|name| (*name, verdict.clone())));
    };
    set(calls::ALLOWED, Verdict::Allow);
    set(calls::NEWER, Verdict::Allow);
    set(calls::DENIED, Verdict::Deny);
    // One call may come with several capabilities: first all are denied, then those held allow.
    for (_, names) in calls::BY_CAPABILITY {
        set(names, Verdict::Deny);
    }
    for (_, names) in calls::BY_CAPABILITY.iter().filter(|(capability, _)| held.contains(*capability)) {
        set(names, Verdict::Allow);
    }
    set(&["clone"], clone(held.contains("CAP_SYS_ADMIN")));
    set(&["socket"], socket(held.contains("CAP_NET_RAW")));
    set(&["socketpair"], socketpair());
    set(
        &["personality"],
        Verdict::Depends(PERSONALITIES.map(|value| (Condition::Equal(value), true)).to_vec()),
    );
    all
}

/// Without a namespace flag clone(2) makes threads and processes; with one it needs CAP_SYS_ADMIN here, though the
/// kernel would let anybody make a user namespace, and in it reach the rest of its attack surface.
fn clone(privileged: bool) -> Verdict {
    if privileged {
        return Verdict::Allow;
    }
    let all = NEW_NAMESPACES.iter().fold(0, |all, bit| all | bit);
    let denied = NEW_NAMESPACES.map(|bit| (Condition::Masked { mask: bit, rest: bit }, false));
    let allowed = (Condition::Masked { mask: all, rest: 0 }, true);
    Verdict::Depends(std::iter::once(allowed).chain(denied).collect())
}

fn socket(raw: bool) -> Verdict {
    let allowed = |family: u64| FAMILIES.contains(&family) || raw && family == PACKET_FAMILY;
    let mut cases: Vec<_> =
        (0..=HIGHEST_FAMILY).map(|family| (Condition::Equal(family), allowed(family))).collect();
    cases.push((Condition::Greater(HIGHEST_FAMILY), false));
    // The usual families first: the filter looks at them in this order.
    cases.sort_by_key(|(_, allowed)| !allowed);
    Verdict::Depends(cases)
}

/// A pair makes the sockets of its family before the kernel says that it can't have pairs.
fn socketpair() -> Verdict {
    Verdict::Depends(vec![
        (Condition::Equal(UNIX_FAMILY), true),
        (Condition::Equal(0), false),
        (Condition::Greater(UNIX_FAMILY), false),
    ])
}
