//! The policy as a seccomp program: a binary search over system call numbers, for each architecture.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use libc::sock_filter as Instruction;
use libseccomp::{ScmpArch, ScmpSyscall};

use super::{Condition, Verdict, verdicts};
use crate::kernel::bpf;
use crate::spec::Capability;

/// Loads a word of what the kernel shows of a call; at these offsets.
const LOAD: u16 = 0x20;
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
/// The first argument: both supported machines have the lower half first.
const LOW_AT: u32 = 16;
const HIGH_AT: u32 = 20;

const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_GREATER: u16 = 0x25;
const JUMP_IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

const ALLOW: u32 = 0x7fff_0000;
const FAIL: u32 = 0x0005_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
const DENY: u32 = FAIL | libc::EPERM.cast_unsigned();
const NOT_THERE: u32 = FAIL | libc::ENOSYS.cast_unsigned();

/// The machine's own calls and its 32-bit ones, each with the kernel's name for the architecture.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURES: [(ScmpArch, u32); 2] = [(ScmpArch::X8664, 0xc000_003e), (ScmpArch::X86, 0x4000_0003)];
/// The machine's own calls and its 32-bit ones, each with the kernel's name for the architecture.
#[cfg(target_arch = "aarch64")]
const ARCHITECTURES: [(ScmpArch, u32); 2] = [(ScmpArch::Aarch64, 0xc000_00b7), (ScmpArch::Arm, 0x4000_0028)];

/// A loadable filter. Make it before the container's process is forked, load it in that process.
#[derive(Clone, Debug)]
pub struct Filter {
    program: Vec<Instruction>,
}

impl Filter {
    /// The filter for a container with these bounding capabilities.
    ///
    /// Calls of another architecture than the machine's own two end the process; x32's numbers are like every number
    /// that isn't listed: ENOSYS.
    #[must_use]
    pub fn new(bounding: &BTreeSet<Capability>) -> Self {
        let verdicts = verdicts(bounding);
        let parts =
            ARCHITECTURES.map(|(architecture, name)| (name, search(&numbered(&verdicts, architecture))));
        let mut program = vec![load(ARCHITECTURE_AT)];
        for (name, part) in parts {
            // Over the part when it isn't this architecture; the distance doesn't fit the comparison itself.
            program.push(jump(JUMP_IF_EQUAL, name, 1, 0));
            program.push(far(1 + part.len()));
            program.push(load(NUMBER_AT));
            program.extend(part);
        }
        program.push(answer(KILL_PROCESS));
        Self { program }
    }

    /// Puts the calling thread under the filter, for good; it holds across execve(2). The thread must have
    /// no_new_privs set (or CAP_SYS_ADMIN).
    ///
    /// # Errors
    /// What seccomp(2) said.
    pub fn load(&self) -> io::Result<()> {
        bpf::load_seccomp_filter(&self.program)
    }

    #[cfg(test)]
    pub(super) fn program(&self) -> &[Instruction] {
        &self.program
    }
}

/// Verdicts by number: each holds up to the next number.
type Ranges<'a> = Vec<(u32, Option<&'a Verdict>)>;

fn numbered(verdicts: &BTreeMap<&'static str, Verdict>, architecture: ScmpArch) -> BTreeMap<u32, Verdict> {
    let number = |name: &str| {
        let number = ScmpSyscall::from_name_by_arch(name, architecture).ok()?;
        // Negative: no call of this architecture.
        u32::try_from(i32::from(number)).ok()
    };
    let mut all: BTreeMap<u32, Verdict> =
        verdicts.iter().filter_map(|(name, verdict)| Some((number(name)?, verdict.clone()))).collect();
    if architecture == ScmpArch::X86 {
        for number in BESIDE_MULTIPLEXERS {
            let name = ScmpSyscall::from_raw_syscall(number.cast_signed()).get_name_by_arch(architecture);
            if let Some(verdict) = name.ok().and_then(|name| verdicts.get(name.as_str())) {
                all.insert(number, verdict.clone());
            }
        }
    }
    all
}

/// Where 32-bit x86 later (up to Linux 5.1) got the calls that it had only through socketcall and ipc before. By
/// name libseccomp gives them negative numbers, so they are looked up by number.
const BESIDE_MULTIPLEXERS: std::ops::RangeInclusive<u32> = 337..=402;

/// The program that decides on the number that is loaded.
fn search(verdicts: &BTreeMap<u32, Verdict>) -> Vec<Instruction> {
    let mut ranges: Ranges<'_> = vec![(0, None)];
    let mut put = |from: u32, verdict| match ranges.last_mut() {
        Some((_, last)) if *last == verdict => {}
        Some((start, last)) if *start == from => *last = verdict,
        _ => ranges.push((from, verdict)),
    };
    let mut next = 0;
    for (number, verdict) in verdicts {
        if *number > next {
            put(next, None);
        }
        put(*number, Some(verdict));
        next = number + 1;
    }
    put(next, None);
    halve(&ranges)
}

fn halve(ranges: &[(u32, Option<&Verdict>)]) -> Vec<Instruction> {
    if let [(_, verdict)] = ranges {
        return decide(*verdict);
    }
    let (lower, upper) = ranges.split_at(ranges.len() / 2);
    let (pivot, _) = upper[0];
    let lower = halve(lower);
    let mut program = match u8::try_from(lower.len()) {
        Ok(distance) => vec![jump(JUMP_IF_AT_LEAST, pivot, distance, 0)],
        Err(_) => vec![jump(JUMP_IF_AT_LEAST, pivot, 0, 1), far(lower.len())],
    };
    program.extend(lower);
    program.extend(halve(upper));
    program
}

fn decide(verdict: Option<&Verdict>) -> Vec<Instruction> {
    match verdict {
        None => vec![answer(NOT_THERE)],
        Some(Verdict::Allow) => vec![answer(ALLOW)],
        Some(Verdict::Deny) => vec![answer(DENY)],
        Some(Verdict::Depends(cases)) => {
            let case =
                |(condition, allow): &(Condition, bool)| when(*condition, if *allow { ALLOW } else { DENY });
            cases.iter().flat_map(case).chain([answer(NOT_THERE)]).collect()
        }
    }
}

/// Answers when the first argument meets the condition, otherwise falls through.
fn when(condition: Condition, result: u32) -> Vec<Instruction> {
    let halves = |value: u64| ((value >> 32) as u32, (value & 0xffff_ffff) as u32);
    match condition {
        Condition::Equal(value) => {
            let (high, low) = halves(value);
            vec![
                load(HIGH_AT),
                jump(JUMP_IF_EQUAL, high, 0, 3),
                load(LOW_AT),
                jump(JUMP_IF_EQUAL, low, 0, 1),
                answer(result),
            ]
        }
        Condition::Greater(value) => {
            let (high, low) = halves(value);
            vec![
                load(HIGH_AT),
                jump(JUMP_IF_GREATER, high, 3, 0),
                jump(JUMP_IF_EQUAL, high, 0, 3),
                load(LOW_AT),
                jump(JUMP_IF_GREATER, low, 0, 1),
                answer(result),
            ]
        }
        Condition::Masked { mask, rest } => {
            let ((mask_high, mask_low), (high, low)) = (halves(mask), halves(rest));
            vec![
                load(HIGH_AT),
                instruction(AND, mask_high, 0, 0),
                jump(JUMP_IF_EQUAL, high, 0, 4),
                load(LOW_AT),
                instruction(AND, mask_low, 0, 0),
                jump(JUMP_IF_EQUAL, low, 0, 1),
                answer(result),
            ]
        }
    }
}

fn instruction(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

fn load(offset: u32) -> Instruction {
    instruction(LOAD, offset, 0, 0)
}

/// Skips so many instructions when the comparison holds, and so many otherwise.
fn jump(code: u16, with: u32, then: u8, otherwise: u8) -> Instruction {
    instruction(code, with, then, otherwise)
}

fn far(distance: usize) -> Instruction {
    let distance = u32::try_from(distance).expect("a filter has at most some thousand instructions");
    instruction(JUMP, distance, 0, 0)
}

fn answer(result: u32) -> Instruction {
    instruction(RETURN, result, 0, 0)
}
