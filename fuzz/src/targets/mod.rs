//! The targets, by what they read.

pub(crate) mod flags;
pub(crate) mod http;
pub(crate) mod images;
pub(crate) mod leading;
pub(crate) mod messages;
pub(crate) mod security;
pub(crate) mod streams;

/// The first byte, and the rest: for targets that do one of several things.
fn choice(data: &[u8]) -> Option<(usize, &[u8])> {
    let (first, rest) = data.split_first()?;
    Some((usize::from(*first), rest))
}
