//! Finds missing required fields in protobuf bytes: prost gives required fields their default without a word.
//!
//! One pass over the bytes, by tables generated from the schema. The same pass bounds what decoding will
//! allocate: an empty message is two bytes on the wire and up to kilobytes in memory.

use crate::proto::DecodeError;
use crate::raw::{Wire, field, truncate};

/// Number of the value in a map entry.
pub const MAP_VALUE: u32 = 2;
/// Missing fields named in one error; then the pass stops.
const MAX_MISSING: usize = 10;
/// Messages in messages, as in prost.
const MAX_DEPTH: u32 = 100;

/// What a message can lack: its required fields and its messages. At most 64 of them.
pub struct Table {
    /// Bytes of the Rust type.
    pub size: usize,
    /// It, or a message it can hold, has a map of messages.
    pub maps: bool,
    pub fields: &'static [Entry],
}

pub struct Entry {
    pub number: u32,
    pub name: &'static str,
    pub label: Label,
    pub kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Label {
    Required,
    Optional,
    Repeated,
}

pub enum Kind {
    Scalar,
    /// Mesos: an unknown number counts as unset.
    Enum(fn(i32) -> Option<&'static str>),
    Message(&'static Table),
    /// A map from strings to messages, and the bytes of an empty one of those.
    Map(&'static Table, fn() -> Vec<u8>),
}

/// Bytes of a message with nothing set.
pub fn empty<T: prost::Message + Default>() -> Vec<u8> {
    T::default().encode_to_vec()
}

/// Where in the message a walk is; linked from the inside out.
struct Path<'a> {
    up: Option<&'a Path<'a>>,
    name: &'static str,
    index: Option<u32>,
}

struct Walk {
    missing: Vec<String>,
    budget: usize,
}

/// Checks that every required field of the message and of all it holds is there.
///
/// A message field that comes in several parts (which protobuf would merge) has to be complete in each of
/// them.
pub fn check(bytes: &[u8], table: &'static Table) -> Result<(), DecodeError> {
    let mut walk = Walk { missing: Vec::new(), budget: crate::json::reader::budget(bytes.len()) };
    walk.message(bytes, table, None, MAX_DEPTH)?;
    if walk.missing.is_empty() { Ok(()) } else { Err(DecodeError::Missing(walk.missing)) }
}

impl Walk {
    fn message(
        &mut self,
        mut bytes: &[u8],
        table: &'static Table,
        path: Option<&Path<'_>>,
        depth: u32,
    ) -> Result<(), DecodeError> {
        let mut counts = [0_u32; 64];
        while !bytes.is_empty() {
            let (number, value) = field(&mut bytes, depth)?;
            let found = table.fields.iter().zip(&mut counts).find(|(entry, _)| entry.number == number);
            let Some((entry, count)) = found else { continue };
            match (&entry.kind, value) {
                (Kind::Enum(name), Wire::Varint(value)) => {
                    *count = u32::from(name(truncate(value)).is_some());
                }
                (Kind::Message(table), Wire::Bytes(inner)) => {
                    let index = (entry.label == Label::Repeated).then_some(*count);
                    self.charge(index.map_or(0, |_| table.size))?;
                    self.message(
                        inner,
                        table,
                        Some(&Path { up: path, name: entry.name, index }),
                        less(depth)?,
                    )?;
                    *count = count.saturating_add(1);
                }
                (Kind::Map(table, _), Wire::Bytes(inner)) => {
                    self.charge(table.size)?;
                    let path = Path { up: path, name: entry.name, index: Some(*count) };
                    self.map_entry(inner, table, &path, less(depth)?)?;
                    *count = count.saturating_add(1);
                }
                // Of a wrong wire type: prost refuses it.
                _ => *count = 1,
            }
        }
        let absent = table.fields.iter().zip(counts).filter(|(entry, count)| *count == 0 && entry.required());
        self.missing.extend(absent.map(|(entry, _)| text(&Path { up: path, name: entry.name, index: None })));
        if self.missing.len() >= MAX_MISSING {
            return Err(DecodeError::Missing(std::mem::take(&mut self.missing)));
        }
        Ok(())
    }

    /// An entry without a value has an empty one: prost and others write that for any value that equals it.
    fn map_entry(
        &mut self,
        mut bytes: &[u8],
        table: &'static Table,
        path: &Path<'_>,
        depth: u32,
    ) -> Result<(), DecodeError> {
        while !bytes.is_empty() {
            if let (MAP_VALUE, Wire::Bytes(inner)) = field(&mut bytes, depth)? {
                let path = Path { up: Some(path), name: "value", index: None };
                self.message(inner, table, Some(&path), less(depth)?)?;
            }
        }
        Ok(())
    }

    fn charge(&mut self, bytes: usize) -> Result<(), DecodeError> {
        self.budget = self.budget.checked_sub(bytes).ok_or(DecodeError::TooLarge)?;
        Ok(())
    }
}

fn less(depth: u32) -> Result<u32, DecodeError> {
    depth.checked_sub(1).ok_or(DecodeError::TooDeep)
}

impl Entry {
    fn required(&self) -> bool {
        self.label == Label::Required
    }
}

fn text(path: &Path<'_>) -> String {
    let mut text = path.up.map(|up| text(up) + ".").unwrap_or_default();
    text.push_str(path.name);
    if let Some(index) = path.index {
        text.push_str(&format!("[{index}]"));
    }
    text
}
