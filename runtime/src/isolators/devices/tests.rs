//! The policy as text, as v1 lines, and as a program run by a small interpreter.

use super::*;

const MKNOD: u32 = 1;
const READ: u32 = 2;
const WRITE: u32 = 4;

/// What the kernel would answer: runs the program on a context, refusing what its verifier would refuse.
fn run(program: &[Instruction], kind: u32, major: u32, minor: u32, access: u32) -> bool {
    let context = [access << 16 | kind, major, minor];
    let mut registers: [Option<u64>; 11] = [None; 11];
    let mut at = 0usize;
    for _ in 0..=program.len() {
        let one = program[at];
        let (to, from) = (usize::from(one.registers & 15), usize::from(one.registers >> 4));
        let constant = i64::from(one.immediate).cast_unsigned();
        at += 1;
        match one.code {
            0x61 => {
                assert_eq!((from, one.offset % 4), (1, 0), "only the context is read, by words");
                registers[to] = Some(u64::from(context[usize::try_from(one.offset / 4).unwrap()]));
            }
            0xbf => registers[to] = Some(registers[from].expect("written before read")),
            0xb7 => registers[to] = Some(constant),
            0x57 => registers[to] = Some(registers[to].expect("written before read") & constant),
            0x77 => registers[to] = Some(registers[to].expect("written before read") >> constant),
            0x55 => {
                if registers[to].expect("written before read") != constant {
                    at += usize::try_from(one.offset).expect("no jump backwards");
                }
            }
            0x95 => return registers[0].expect("an answer") == 1,
            code => panic!("unknown operation {code:#x}"),
        }
    }
    panic!("the program doesn't end");
}

#[test]
fn the_standard_policy_answers_as_the_table_says() {
    let program = Policy::standard().program();
    let (block, char) = (1, 2);
    for (kind, major, minor, access, allowed) in [
        (char, 1, 3, READ | WRITE, true),
        (char, 1, 3, READ | WRITE | MKNOD, true),
        (char, 1, 5, READ, true),
        (char, 1, 7, WRITE, true),
        (char, 1, 8, READ, true),
        (char, 1, 9, READ, true),
        (char, 5, 0, READ | WRITE, true),
        (char, 5, 1, READ | WRITE, true),
        (char, 5, 2, READ | WRITE, true),
        (char, 136, 0, READ | WRITE, true),
        (char, 136, 4711, READ | WRITE, true),
        (char, 10, 200, READ | WRITE, true),
        (char, 1, 1, READ, false),
        (char, 1, 1, MKNOD, true),
        (char, 1, 1, MKNOD | READ, false),
        (char, 1, 11, WRITE, false),
        (char, 10, 229, READ | WRITE, false),
        (char, 5, 3, READ, false),
        (char, 137, 0, READ, false),
        (block, 8, 0, READ, false),
        (block, 8, 0, WRITE, false),
        (block, 8, 0, MKNOD, true),
        (block, 8, 0, MKNOD | WRITE, false),
        (block, 1, 3, READ, false),
        (block, 136, 0, READ, false),
        (3, 1, 3, READ, false),
        (0, 1, 3, READ, false),
    ] {
        let got = run(&program, kind, major, minor, access);
        assert_eq!(got, allowed, "kind {kind} {major}:{minor} access {access}");
    }
}

#[test]
fn a_program_answers_as_a_plain_reading_of_its_rules() {
    let mut policy = Policy { rules: Vec::new() };
    for text in ["b 8:* r", "c *:7 w", "b 259:3 rwm", "c 10:200 rw"] {
        assert!(policy.allow(text.parse().unwrap()));
    }
    let program = policy.program();
    for kind in [1, 2] {
        for major in [1, 8, 10, 259] {
            for minor in [0, 3, 7, 200] {
                for access in 0..8 {
                    let covers = |rule: &Rule| {
                        let bits = u32::from(rule.access.read) * READ
                            + u32::from(rule.access.write) * WRITE
                            + u32::from(rule.access.mknod) * MKNOD;
                        kind == if rule.kind == Kind::Block { 1 } else { 2 }
                            && rule.major.is_none_or(|wanted| wanted == major)
                            && rule.minor.is_none_or(|wanted| wanted == minor)
                            && access & !bits == 0
                    };
                    let expected = policy.rules.iter().any(covers);
                    assert_eq!(
                        run(&program, kind, major, minor, access),
                        expected,
                        "{kind} {major}:{minor} {access}"
                    );
                }
            }
        }
    }
}

#[test]
fn an_empty_policy_denies_everything() {
    let program = Policy { rules: Vec::new() }.program();
    assert!(!run(&program, 2, 1, 3, READ));
}

#[test]
fn rules_are_read_and_written_alike() {
    for text in ["c 10:200 rwm", "b *:* m", "c 136:* rw", "b 259:1048575 r"] {
        assert_eq!(text.parse::<Rule>().unwrap().to_string(), text);
    }
    assert_eq!(Policy::standard().v1_lines()[..3], ["c *:* m", "b *:* m", "c 5:1 rwm"]);
}

#[test]
fn bad_rules_are_refused() {
    for text in [
        "",
        "c",
        "c 1",
        "c 1:3",
        "c 1:3 ",
        "a *:* rwm",
        "c 1:3 rr",
        "c 1:3 x",
        "c +1:3 r",
        "c 1:-3 r",
        "c 4096:0 r",
        "c 1:1048576 r",
        "c 1:3 r extra",
        "c : r",
        "c 1:3:4 r",
        "c 99999999999:1 r",
    ] {
        assert!(text.parse::<Rule>().is_err(), "{text:?}");
    }
}

#[test]
fn a_policy_has_a_bound() {
    let mut policy = Policy::standard();
    let rule = |minor| Rule { kind: Kind::Block, major: Some(1), minor: Some(minor), access: Access::ALL };
    assert!((0..400).all(|minor| policy.allow(rule(minor))));
    assert!(policy.allow(rule(0)), "the same again costs nothing");
    assert!(!(400..1000).all(|minor| policy.allow(rule(minor))));
    assert_eq!(policy.rules.len(), MOST_RULES);
}
