//! The tables against the installed libseccomp, and both forms of the policy against the kernel: a prober that makes
//! real system calls by each door.

use std::collections::BTreeSet;

use libseccomp::{ScmpArch, ScmpSyscall};

use super::calls::{ALLOWED, BY_CAPABILITY, CONDITIONAL, DENIED, NEWER, UNLISTED};
use super::*;
use crate::kernel::probe::{Door, Outcome, probe};

const PERM: Outcome = Outcome::Returned(-(libc::EPERM as i64));
const NOSYS: Outcome = Outcome::Returned(-(libc::ENOSYS as i64));
const BADF: Outcome = Outcome::Returned(-(libc::EBADF as i64));

fn capabilities(names: &[&str]) -> BTreeSet<Capability> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn by_capability() -> BTreeSet<&'static str> {
    BY_CAPABILITY.iter().flat_map(|(_, names)| names.iter().copied()).collect()
}

#[test]
fn every_name_is_one_that_libseccomp_knows() {
    for name in
        ALLOWED.iter().chain(DENIED).chain(CONDITIONAL).chain(UNLISTED).copied().chain(by_capability())
    {
        assert!(ScmpSyscall::from_name(name).is_ok(), "{name}");
    }
}

#[test]
fn no_name_is_in_two_tables() {
    let mut seen = BTreeSet::new();
    let plain = [ALLOWED, NEWER, DENIED, CONDITIONAL, UNLISTED].into_iter().flatten().copied();
    for name in plain.chain(by_capability()) {
        assert!(seen.insert(name), "{name}");
    }
}

#[test]
fn every_capability_is_one() {
    for (capability, _) in BY_CAPABILITY {
        assert_eq!(capability.parse::<Capability>().unwrap().to_string(), *capability);
    }
}

#[test]
fn every_native_call_is_decided_on() {
    let restricted = by_capability();
    let mut forgotten = Vec::new();
    for number in 0..600 {
        let Ok(name) = ScmpSyscall::from_raw_syscall(number).get_name_by_arch(ScmpArch::Native) else {
            continue;
        };
        let name = name.as_str();
        let listed =
            [ALLOWED, NEWER, DENIED, CONDITIONAL, UNLISTED].iter().any(|table| table.contains(&name));
        if !listed && !restricted.contains(name) {
            forgotten.push(name.to_owned());
        }
    }
    assert!(forgotten.is_empty(), "{forgotten:?}");
}

#[test]
fn a_capability_brings_its_calls() {
    let verdict = |held: &[&str], name: &str| verdicts(&capabilities(held)).remove(name).unwrap();
    assert_eq!(verdict(&[], "chroot"), Verdict::Deny);
    assert_eq!(verdict(&["CAP_SYS_CHROOT"], "chroot"), Verdict::Allow);
    assert_eq!(verdict(&["CAP_BPF"], "bpf"), Verdict::Allow);
    assert_eq!(verdict(&["CAP_SYS_ADMIN"], "clone"), Verdict::Allow);
    for never in ["io_uring_setup", "keyctl", "userfaultfd", "kexec_load", "socketcall"] {
        assert_eq!(verdict(&["CAP_SYS_ADMIN", "CAP_SYS_BOOT"], never), Verdict::Deny, "{never}");
    }
    let Verdict::Depends(families) = verdict(&["CAP_NET_RAW"], "socket") else { panic!() };
    assert!(families.contains(&(Condition::Equal(PACKET_FAMILY), true)));
}

/// How a filter gets into the kernel.
struct Way {
    name: &'static str,
    load: Box<dyn Fn() -> bool>,
    /// What a call of x32 comes to.
    x32: Outcome,
}

/// By our own program, and by libcontainer with libseccomp.
fn ways() -> [Way; 2] {
    let held = Capability::defaults();
    let filter = Filter::new(&held);
    let profile = profile(&held);
    let through = move || libcontainer::seccomp::initialize_seccomp(&profile).is_ok();
    [
        Way { name: "filter", load: Box::new(move || filter.load().is_ok()), x32: NOSYS },
        Way { name: "profile", load: Box::new(through), x32: Outcome::Killed(libc::SIGSYS) },
    ]
}

/// The number of a call; 32-bit x86 has socket calls of its own beside the multiplexer, which libseccomp hides.
fn number(name: &str, arch: ScmpArch) -> i64 {
    match (i32::from(ScmpSyscall::from_name_by_arch(name, arch).unwrap()), name) {
        (0.., _) => i32::from(ScmpSyscall::from_name_by_arch(name, arch).unwrap()).into(),
        (_, "socket") => 359,
        (_, "socketpair") => 360,
        (_, "connect") => 362,
        _ => panic!("{name} is no call of {arch:?}"),
    }
}

/// Arguments at which an allowed call does nothing, and a denied one doesn't get to look.
const NOTHING: [u64; 5] = [0; 5];

fn first(argument: u64) -> [u64; 5] {
    [argument, 0, 0, 0, 0]
}

fn check(door: Door, arch: ScmpArch, cases: &[(&str, [u64; 5], Outcome)]) {
    for way in ways() {
        for (name, args, expected) in cases {
            let got = probe(&way.load, door, number(name, arch), *args);
            assert_eq!(got, *expected, "{name} {args:x?} by {door:?}, {}", way.name);
        }
    }
}

#[test]
fn k14_denied_calls_are_denied_natively() {
    let [way, _] = ways();
    for name in DENIED.iter().copied().chain(by_capability()).filter(|name| *name != "chroot") {
        let number = i32::from(ScmpSyscall::from_name_by_arch(name, ScmpArch::Native).unwrap());
        if number >= 0 {
            assert_eq!(probe(&way.load, Door::Native, number.into(), NOTHING), PERM, "{name}");
        }
    }
}

#[test]
fn k14_namespaces_cannot_be_made() {
    let mut cases =
        vec![("unshare", first(0x1000_0000), PERM), ("setns", NOTHING, PERM), ("clone3", NOTHING, NOSYS)];
    for bit in NEW_NAMESPACES {
        cases.push(("clone", first(bit | 17), PERM));
    }
    cases.push(("clone", first(NEW_NAMESPACES[4] | 1 << 40 | 17), PERM));
    check(Door::Native, ScmpArch::Native, &cases);
}

#[test]
fn k14_only_usual_socket_families_can_be_opened() {
    let [way, _] = ways();
    let number = number("socket", ScmpArch::Native);
    for family in 0..64u64 {
        let got = probe(&way.load, Door::Native, number, [family, 0x8_0002, 0, 0, 0]);
        assert_eq!(got == PERM, !FAMILIES.contains(&family), "family {family}: {got:?}");
        assert_ne!(got, NOSYS, "family {family}");
        // The kernel looks at 32 bits of the 64 that the filter compares.
        let got = probe(&way.load, Door::Native, number, [family | 1 << 32, 0x8_0002, 0, 0, 0]);
        assert_eq!(got, PERM, "family {family} in the lower half");
    }
    let pair = |family: u64| [family, 1, 0, 0, 0];
    let fault = Outcome::Returned(-(libc::EFAULT as i64));
    let cases = [
        ("socketpair", pair(1), fault),
        ("socketpair", pair(38), PERM),
        ("socketpair", pair(40), PERM),
        ("socketpair", pair(0), PERM),
        ("socketpair", pair(1 << 32 | 38), PERM),
        ("socket", [17, 3, 0, 0, 0], PERM),
        ("socket", [38, 5, 0, 0, 0], PERM),
        ("socket", [40, 1, 0, 0, 0], PERM),
        ("socket", [1 << 32 | 38, 5, 0, 0, 0], PERM),
    ];
    check(Door::Native, ScmpArch::Native, &cases);
}

#[test]
fn allowed_calls_reach_the_kernel() {
    let cases = [
        ("close", first(9999), BADF),
        ("fstat", first(9999), BADF),
        ("fsync", first(9999), BADF),
        ("personality", first(0xffff_ffff), Outcome::Returned(0)),
        ("personality", first(0x8), Outcome::Returned(0)),
        ("personality", first(0x4_0000), NOSYS),
        ("personality", first(1 << 32 | 0x8), NOSYS),
        ("kill", [0x7fff_ffff, 0, 0, 0, 0], Outcome::Returned(-(libc::ESRCH as i64))),
        ("sched_yield", NOTHING, Outcome::Returned(0)),
    ];
    check(Door::Native, ScmpArch::Native, &cases);
}

#[test]
fn unknown_numbers_are_not_implemented() {
    for way in ways() {
        for number in [600, 1000, 9999, 0x3fff_ffff] {
            assert_eq!(probe(&way.load, Door::Native, number, NOTHING), NOSYS, "{number}, {}", way.name);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! The other doors of a 64-bit x86 kernel.

    use super::*;

    #[test]
    fn k14_the_32_bit_door_has_the_same_lock() {
        const GETPID: i64 = 20;
        if probe(&|| true, Door::Int80, GETPID, NOTHING) == NOSYS {
            println!("SKIPPED: k14_the_32_bit_door_has_the_same_lock: this kernel runs no 32-bit calls");
            return;
        }
        let mut cases = vec![
            ("socketcall", [1, 0, 0, 0, 0], PERM),
            ("socket", [38, 2, 0, 0, 0], PERM),
            ("socket", [40, 2, 0, 0, 0], PERM),
            ("socketpair", [38, 2, 0, 0, 0], PERM),
            ("connect", first(9999), BADF),
            ("unshare", first(0x1000_0000), PERM),
            ("mount", NOTHING, PERM),
            ("umount", NOTHING, PERM),
            ("bpf", NOTHING, PERM),
            ("keyctl", NOTHING, PERM),
            ("io_uring_setup", NOTHING, PERM),
            ("userfaultfd", NOTHING, PERM),
            ("vm86", NOTHING, PERM),
            ("clone3", NOTHING, NOSYS),
            ("close", first(9999), BADF),
            ("personality", first(0xffff_ffff), Outcome::Returned(0)),
            ("personality", first(0x4_0000), NOSYS),
        ];
        cases.extend(NEW_NAMESPACES.map(|bit| ("clone", first(bit | 17), PERM)));
        check(Door::Int80, ScmpArch::X86, &cases);
        for way in ways() {
            assert_eq!(probe(&way.load, Door::Int80, 9999, NOTHING), NOSYS, "{}", way.name);
        }
    }

    #[test]
    fn k14_the_x32_door_is_shut() {
        const X32: i64 = 0x4000_0000;
        for way in ways() {
            for number in [0, 39, 41, 56, 101, 272, 321, 512, 547, 9999] {
                let got = probe(&way.load, Door::Native, X32 | number, [38, 3, 0, 0, 0]);
                assert_eq!(got, way.x32, "{number}, {}", way.name);
            }
        }
    }
}

mod program {
    //! The program read as the kernel would, for every number and many arguments.

    use libc::sock_filter;

    use super::*;

    const ALLOW: u32 = 0x7fff_0000;
    const EPERM: u32 = 0x0005_0001;
    const ENOSYS: u32 = 0x0005_0026;

    /// A small interpreter of classic BPF.
    fn run(program: &[sock_filter], architecture: u32, number: u32, argument: u64) -> u32 {
        let mut word = 0u32;
        let mut at = 0;
        loop {
            let one = program[at];
            at += 1;
            let mut go = |holds: bool| at += usize::from(if holds { one.jt } else { one.jf });
            match one.code {
                0x20 => {
                    word = match one.k {
                        0 => number,
                        4 => architecture,
                        16 => argument as u32,
                        20 => (argument >> 32) as u32,
                        offset => panic!("reads {offset}"),
                    }
                }
                0x54 => word &= one.k,
                0x05 => at += one.k as usize,
                0x15 => go(word == one.k),
                0x25 => go(word > one.k),
                0x35 => go(word >= one.k),
                0x06 => return one.k,
                code => panic!("unknown operation {code:#x}"),
            }
        }
    }

    fn expected(verdict: Option<&Verdict>, argument: u64) -> u32 {
        let meets = |condition: Condition| match condition {
            Condition::Equal(value) => argument == value,
            Condition::Greater(value) => argument > value,
            Condition::Masked { mask, rest } => argument & mask == rest,
        };
        match verdict {
            None => ENOSYS,
            Some(Verdict::Allow) => ALLOW,
            Some(Verdict::Deny) => EPERM,
            Some(Verdict::Depends(cases)) => {
                let answers: BTreeSet<bool> = cases
                    .iter()
                    .filter(|(condition, _)| meets(*condition))
                    .map(|(_, allow)| *allow)
                    .collect();
                assert!(answers.len() < 2, "cases disagree on {argument:#x}: {cases:?}");
                answers.first().map_or(ENOSYS, |allow| if *allow { ALLOW } else { EPERM })
            }
        }
    }

    fn arguments() -> Vec<u64> {
        let mut all: Vec<u64> = (0..64).collect();
        all.extend((0..64).map(|bit| 1 << bit));
        all.extend((0..64).map(|bit| 1 << bit | 17));
        all.extend(NEW_NAMESPACES.iter().flat_map(|bit| [bit | 0x1200_0011, bit | 1 << 33]));
        all.extend(PERSONALITIES.iter().flat_map(|value| [*value, value | 1 << 32]));
        all.extend([0x0120_0011, 0x003d_0f00, 0xffff_ffff, u64::MAX, 1 << 32 | 38]);
        all
    }

    #[test]
    fn it_answers_as_the_tables_for_every_number() {
        #[cfg(target_arch = "x86_64")]
        let architectures = [(ScmpArch::X8664, 0xc000_003e), (ScmpArch::X86, 0x4000_0003)];
        #[cfg(target_arch = "aarch64")]
        let architectures = [(ScmpArch::Aarch64, 0xc000_00b7), (ScmpArch::Arm, 0x4000_0028)];
        for held in [Capability::defaults(), BTreeSet::new(), capabilities(&["CAP_SYS_ADMIN", "CAP_NET_RAW"])]
        {
            let filter = Filter::new(&held);
            let verdicts = verdicts(&held);
            for (arch, audit) in architectures {
                for number in (0..700).chain([0x3fff_ffff, 0x4000_0000, 0x4000_0029, u32::MAX]) {
                    let syscall = ScmpSyscall::from_raw_syscall(i32::try_from(number).unwrap_or(-1));
                    let name = syscall.get_name_by_arch(arch).ok();
                    let verdict = name.as_deref().and_then(|name| verdicts.get(name));
                    for argument in arguments() {
                        let got = run(filter.program(), audit, number, argument);
                        assert_eq!(
                            got,
                            expected(verdict, argument),
                            "{name:?} {number} {argument:#x} {arch:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn another_architecture_ends_the_process() {
        let filter = Filter::new(&Capability::defaults());
        for architecture in [0, 0xc000_003d, 0x8000_0016, u32::MAX] {
            assert_eq!(run(filter.program(), architecture, 39, 0), 0x8000_0000);
        }
    }

    #[test]
    fn it_is_short_enough_for_the_kernel_and_every_jump_lands() {
        let filter = Filter::new(&Capability::defaults());
        let program = filter.program();
        assert!(program.len() < 1500, "{} instructions", program.len());
        for (at, one) in program.iter().enumerate() {
            let furthest = match one.code {
                0x05 => one.k as usize,
                _ => usize::from(one.jt.max(one.jf)),
            };
            assert!(at + 1 + furthest < program.len() || one.code == 0x06, "{at}");
        }
    }
}
