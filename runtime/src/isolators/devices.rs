//! Which devices a container may open: a list of rules, as the lines that cgroup v1 takes and as a BPF program for
//! cgroup v2. Pure; the cgroups write or attach it before the container's first process exists.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::kernel::bpf::Instruction;

mod program;
#[cfg(test)]
mod tests;

/// Most rules of a policy; a jump over one rule must fit, and nobody lists more by hand.
const MOST_RULES: usize = 512;

/// Kinds of device nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// Block devices.
    Block,
    /// Character devices.
    Char,
}

/// What may be done with a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Access {
    /// Open it for reading.
    pub read: bool,
    /// Open it for writing.
    pub write: bool,
    /// Make a node of it.
    pub mknod: bool,
}

impl Access {
    const ALL: Self = Self { read: true, write: true, mknod: true };
    const MKNOD: Self = Self { read: false, write: false, mknod: true };
}

/// Devices that are allowed; `None` is any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rule {
    /// Block or character.
    pub kind: Kind,
    /// Major number.
    pub major: Option<u32>,
    /// Minor number.
    pub minor: Option<u32>,
    /// What is allowed.
    pub access: Access,
}

/// Why a text is no [`Rule`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a device rule; write it as \"c 10:200 rwm\" (c or b, major:minor or *, some of rwm)"
)]
pub struct InvalidRule {
    text: String,
}

/// All that is allowed; everything else is denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    rules: Vec<Rule>,
}

impl Policy {
    /// What every container gets (Mesos: the same list on v1 and v2): making nodes of any device, which without
    /// opening them is harmless, and the terminals, tun and the memory devices.
    #[must_use]
    pub fn standard() -> Self {
        let any = |kind| Rule { kind, major: None, minor: None, access: Access::MKNOD };
        let char = |major, minor| Rule { kind: Kind::Char, major: Some(major), minor, access: Access::ALL };
        let rules = vec![
            any(Kind::Char),
            any(Kind::Block),
            char(5, Some(1)),    // console
            char(4, Some(0)),    // tty0
            char(4, Some(1)),    // tty1
            char(136, None),     // pts/*
            char(5, Some(2)),    // ptmx
            char(10, Some(200)), // net/tun
            char(1, Some(3)),    // null
            char(1, Some(5)),    // zero
            char(1, Some(7)),    // full
            char(5, Some(0)),    // tty
            char(1, Some(9)),    // urandom
            char(1, Some(8)),    // random
        ];
        Self { rules }
    }

    /// Adds a rule. False when there are too many already.
    pub fn allow(&mut self, rule: Rule) -> bool {
        if self.rules.contains(&rule) {
            return true;
        }
        let room = self.rules.len() < MOST_RULES;
        if room {
            self.rules.push(rule);
        }
        room
    }

    /// The rules as `devices.allow` takes them, each in a write of its own.
    #[must_use]
    pub fn v1_lines(&self) -> Vec<String> {
        self.rules.iter().map(ToString::to_string).collect()
    }

    /// The policy as a BPF program for cgroup v2.
    #[must_use]
    pub fn program(&self) -> Vec<Instruction> {
        program::of(&self.rules)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |value: Option<u32>| value.map_or_else(|| "*".to_owned(), |value| value.to_string());
        let kind = if self.kind == Kind::Block { 'b' } else { 'c' };
        write!(f, "{kind} {}:{} ", number(self.major), number(self.minor))?;
        let letters = [(self.access.read, 'r'), (self.access.write, 'w'), (self.access.mknod, 'm')];
        letters.iter().filter(|(given, _)| *given).try_for_each(|(_, letter)| write!(f, "{letter}"))
    }
}

impl FromStr for Rule {
    type Err = InvalidRule;

    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        parse(text).ok_or_else(|| InvalidRule { text: text.chars().take(80).collect() })
    }
}

fn parse(text: &str) -> Option<Rule> {
    let mut words = text.split_ascii_whitespace();
    let kind = match words.next()? {
        "c" => Kind::Char,
        "b" => Kind::Block,
        _ => return None,
    };
    let (major, minor) = words.next()?.split_once(':')?;
    let rule =
        Rule { kind, major: number(major, 12)?, minor: number(minor, 20)?, access: access(words.next()?)? };
    words.next().is_none().then_some(rule)
}

/// `*` or a decimal number of at most so many bits.
fn number(text: &str, bits: u32) -> Option<Option<u32>> {
    if text == "*" {
        return Some(None);
    }
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|value: &u32| plain && value >> bits == 0).map(Some)
}

fn access(text: &str) -> Option<Access> {
    let mut access = Access::default();
    for letter in text.chars() {
        let slot = match letter {
            'r' => &mut access.read,
            'w' => &mut access.write,
            'm' => &mut access.mknod,
            _ => return None,
        };
        if std::mem::replace(slot, true) {
            return None;
        }
    }
    (!text.is_empty()).then_some(access)
}
