//! Puts the values into map entries that prost leaves without one.
//!
//! prost does not write the value of a map entry that equals the empty message, also when that message has
//! required fields (`limits: {"mem": {"value": 0.0}}`). Mesos finds those fields missing and refuses the
//! whole message.

use crate::raw::{Wire, field};
use crate::required::{Kind, MAP_VALUE, Table};
use prost::encoding::{WireType, encode_key, encode_varint};

/// Messages in messages; prost's own limit when reading.
const MAX_DEPTH: u32 = 100;

/// The bytes with every value in its place; `None` when there is nothing to add.
pub fn complete(bytes: &[u8], table: &Table) -> Option<Vec<u8>> {
    if !table.maps {
        return None;
    }
    rewrite(bytes, |number, inner| {
        let entry = table.fields.iter().find(|entry| entry.number == number)?;
        match &entry.kind {
            Kind::Message(table) => complete(inner, table),
            Kind::Map(table, empty) => complete_entry(inner, table, *empty),
            Kind::Scalar | Kind::Enum(_) => None,
        }
    })
}

fn complete_entry(bytes: &[u8], table: &Table, empty: fn() -> Vec<u8>) -> Option<Vec<u8>> {
    let mut has_value = false;
    let rewritten = rewrite(bytes, |number, inner| {
        has_value |= number == MAP_VALUE;
        if number == MAP_VALUE { complete(inner, table) } else { None }
    });
    if has_value {
        return rewritten;
    }
    let mut out = bytes.to_vec();
    put(MAP_VALUE, &empty(), &mut out);
    Some(out)
}

/// Replaces the length-delimited fields for which `replace` has something.
fn rewrite(bytes: &[u8], mut replace: impl FnMut(u32, &[u8]) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    let mut out = None;
    let mut rest = bytes;
    while !rest.is_empty() {
        let start = bytes.len() - rest.len();
        let (number, value) = field(&mut rest, MAX_DEPTH).ok()?;
        let replacement = match value {
            Wire::Bytes(inner) => replace(number, inner),
            Wire::Varint(_) | Wire::Other => None,
        };
        match (replacement, &mut out) {
            (Some(inner), out) => put(number, &inner, out.get_or_insert_with(|| bytes[..start].to_vec())),
            (None, Some(out)) => out.extend_from_slice(&bytes[start..bytes.len() - rest.len()]),
            (None, None) => {}
        }
    }
    out
}

fn put(number: u32, inner: &[u8], out: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(u64::try_from(inner.len()).expect("a length fits 64 bits"), out);
    out.extend_from_slice(inner);
}
