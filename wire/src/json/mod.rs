//! The JSON form of the v1 messages, as Mesos writes and reads it.
//!
//! Written are set fields, and unset optional fields that declare a default and are not deprecated; in the
//! order of the schema. Names are those of the schema, enums go by name, bytes as base64, 64-bit integers as
//! numbers, doubles as numbers with a point (infinities as `"Infinity"` and `"-Infinity"`), maps as objects.
//! An enum value without a name counts as unset, as it does in Mesos.
//!
//! Reading ignores unknown keys; `null` means unset; numbers and booleans may come as strings; an unknown
//! enum name is dropped, in a required field it is an error; a single value for a repeated field counts as a list of
//! one. Of a key that comes twice the last one counts.

pub(crate) mod fields;
pub(crate) mod number;
pub(crate) mod reader;
pub(crate) mod writer;

use crate::required::Table;
use reader::Reader;
use writer::Object;

/// A message of the v1 schema: it has a JSON form, and a protobuf form whose required fields can be checked.
///
/// Generated for every message of `mesos.v1` and its subpackages; not meant to be implemented by hand.
pub trait Json: prost::Message + Default {
    /// Full proto name, such as `mesos.v1.scheduler.Call`.
    const NAME: &'static str;

    /// The required fields, in the order of their bits in `seen`.
    #[doc(hidden)]
    const REQUIRED: &'static [&'static str];

    #[doc(hidden)]
    fn table() -> &'static Table;

    #[doc(hidden)]
    fn write_fields(&self, object: &mut Object<'_>);

    #[doc(hidden)]
    fn read_field(&mut self, key: &str, reader: &mut Reader<'_>, seen: &mut u64) -> Result<(), JsonError>;
}

/// prost boxes a message that holds itself.
impl<M: Json> Json for Box<M> {
    const NAME: &'static str = M::NAME;
    const REQUIRED: &'static [&'static str] = M::REQUIRED;

    fn table() -> &'static Table {
        M::table()
    }

    fn write_fields(&self, object: &mut Object<'_>) {
        M::write_fields(self, object);
    }

    fn read_field(&mut self, key: &str, reader: &mut Reader<'_>, seen: &mut u64) -> Result<(), JsonError> {
        M::read_field(self, key, reader, seen)
    }
}

/// Why a text is not the JSON form of the message asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The body is not JSON.
    #[error("Failed to parse body into JSON: {what} at byte {at}")]
    Syntax {
        /// Offset in the body.
        at: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// A value does not fit its field.
    #[error("Failed to parse field '{path}': {what}")]
    Field {
        /// Where, such as `accept.operations[0].type`; empty for the body itself.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// Required fields are not there.
    #[error("Missing required fields: {}", .0.join(", "))]
    Missing(
        /// Paths of the first ones found.
        Vec<String>,
    ),
    /// The message would take far more memory than its text.
    #[error("The body holds too many messages for its size")]
    TooLarge,
}

/// The JSON form of `message`.
pub fn to_vec<T: Json>(message: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    write(message, &mut out);
    out
}

/// The JSON form of `message` as text.
pub fn to_string<T: Json>(message: &T) -> String {
    String::from_utf8(to_vec(message)).expect("strings and names are UTF-8 and the rest is ASCII")
}

/// Appends the JSON form of `message` to `out`.
pub fn write<T: Json>(message: &T, out: &mut Vec<u8>) {
    writer::message(message, out);
}

/// Appends a JSON array of messages to `out`.
pub fn write_list<'a, T: Json + 'a>(messages: impl IntoIterator<Item = &'a T>, out: &mut Vec<u8>) {
    writer::list(messages, out, |message, out| writer::message(message, out));
}

/// Reads one message.
///
/// # Errors
/// See [`JsonError`]; the required fields of the message and of all it holds are checked.
pub fn from_slice<T: Json>(body: &[u8]) -> Result<T, JsonError> {
    let mut reader = Reader::new(body)?;
    let message = reader.message()?;
    reader.finish()?;
    Ok(message)
}

/// Reads an array of messages, as some of the older endpoints take it.
///
/// # Errors
/// As [`from_slice`]; paths begin with the index.
pub fn list_from_slice<T: Json>(body: &[u8]) -> Result<Vec<T>, JsonError> {
    let mut reader = Reader::new(body)?;
    if reader.peek() != Some(b'[') {
        return reader.unexpected("an array");
    }
    let list = reader.list()?;
    reader.finish()?;
    Ok(list)
}
