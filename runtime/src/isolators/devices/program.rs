//! A device policy as instructions of the kernel's virtual machine.
//!
//! The kernel runs the program for each mknod(2) and each opening of a device node, with three words of context:
//! `access << 16 | kind`, major and minor. 1 allows, 0 is EPERM.

use super::{Access, Kind, Rule};
use crate::kernel::bpf::Instruction;

/// Registers: r0 answers, r1 points to the context, the others are ours.
const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

/// Operations: class, what, and whether the operand is a constant or a register.
const LOAD_WORD: u8 = 0x61;
const MOVE_REGISTER: u8 = 0xbf;
const MOVE_CONSTANT: u8 = 0xb7;
const AND_CONSTANT: u8 = 0x57;
const SHIFT_RIGHT_CONSTANT: u8 = 0x77;
const JUMP_IF_NOT_EQUAL: u8 = 0x55;
const EXIT: u8 = 0x95;

/// BPF_DEVCG_DEV_*, BPF_DEVCG_ACC_*.
const BLOCK: i32 = 1;
const CHAR: i32 = 2;
const ACCESS_MKNOD: i32 = 1;
const ACCESS_READ: i32 = 2;
const ACCESS_WRITE: i32 = 4;

fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: destination | source << 4, offset, immediate }
}

pub(super) fn of(rules: &[Rule]) -> Vec<Instruction> {
    let mut program = vec![
        instruction(LOAD_WORD, KIND, CONTEXT, 0, 0),
        instruction(MOVE_REGISTER, ACCESS, KIND, 0, 0),
        instruction(SHIFT_RIGHT_CONSTANT, ACCESS, 0, 0, 16),
        instruction(AND_CONSTANT, KIND, 0, 0, 0xffff),
        instruction(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        instruction(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    for rule in rules {
        program.extend(allow(rule));
    }
    program.push(instruction(MOVE_CONSTANT, ANSWER, 0, 0, 0));
    program.push(instruction(EXIT, 0, 0, 0, 0));
    program
}

/// Answers 1 when the rule covers all that is asked for; otherwise falls through to the next one.
fn allow(rule: &Rule) -> Vec<Instruction> {
    let mut body = Vec::new();
    // Distances are filled in below.
    let unless = |register, value| instruction(JUMP_IF_NOT_EQUAL, register, 0, 0, value);
    body.push(unless(KIND, if rule.kind == Kind::Block { BLOCK } else { CHAR }));
    if rule.access != Access::ALL {
        body.push(instruction(MOVE_REGISTER, SCRATCH, ACCESS, 0, 0));
        body.push(instruction(AND_CONSTANT, SCRATCH, 0, 0, !bits(rule.access)));
        body.push(unless(SCRATCH, 0));
    }
    // Device numbers have 12 and 20 bits, so as i32 they stay what they are.
    for (register, number) in [(MAJOR, rule.major), (MINOR, rule.minor)] {
        if let Some(number) = number {
            body.push(unless(register, number.cast_signed()));
        }
    }
    body.push(instruction(MOVE_CONSTANT, ANSWER, 0, 0, 1));
    body.push(instruction(EXIT, 0, 0, 0, 0));
    let length = body.len();
    for (at, one) in body.iter_mut().enumerate().filter(|(_, one)| one.code == JUMP_IF_NOT_EQUAL) {
        one.offset = i16::try_from(length - at - 1).expect("a rule is at most eight instructions long");
    }
    body
}

fn bits(access: Access) -> i32 {
    let bit = |given, bit| if given { bit } else { 0 };
    bit(access.read, ACCESS_READ) | bit(access.write, ACCESS_WRITE) | bit(access.mknod, ACCESS_MKNOD)
}
