//! Writes JSON straight into a byte buffer, without a tree in between.

use super::Json;
use super::fields::{EnumName, Value};

/// A JSON object being written. Fields come in the order of the calls; unset ones leave nothing.
pub struct Object<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

pub fn message<M: Json>(message: &M, out: &mut Vec<u8>) {
    out.push(b'{');
    message.write_fields(&mut Object { out, first: true });
    out.push(b'}');
}

pub fn list<T>(items: impl IntoIterator<Item = T>, out: &mut Vec<u8>, write: impl Fn(T, &mut Vec<u8>)) {
    out.push(b'[');
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(item, out);
    }
    out.push(b']');
}

impl Object<'_> {
    /// Writes the key and leaves the place of the value.
    fn key(&mut self, name: &str) -> &mut Vec<u8> {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        string(name, self.out);
        self.out.push(b':');
        self.out
    }

    pub fn required<T: Value>(&mut self, name: &str, value: &T) {
        value.write(self.key(name));
    }

    pub fn text(&mut self, name: &str, value: &str) {
        string(value, self.key(name));
    }

    pub fn optional<T: Value>(&mut self, name: &str, value: &Option<T>) {
        if let Some(value) = value {
            self.required(name, value);
        }
    }

    /// A field without presence is set when it is not the default.
    pub fn implicit<T: Value + Default + PartialEq>(&mut self, name: &str, value: &T) {
        if *value != T::default() {
            self.required(name, value);
        }
    }

    pub fn repeated<T: Value>(&mut self, name: &str, values: &[T]) {
        if !values.is_empty() {
            list(values, self.key(name), |value, out| value.write(out));
        }
    }

    pub fn map<T: Value>(&mut self, name: &str, map: &std::collections::BTreeMap<String, T>) {
        if map.is_empty() {
            return;
        }
        let out = self.key(name);
        out.push(b'{');
        let mut object = Object { out, first: true };
        for (key, value) in map {
            object.required(key, value);
        }
        self.out.push(b'}');
    }

    /// A number without a name is an unset field.
    pub fn required_enum<E: EnumName>(&mut self, name: &str, value: i32) {
        if let Some(text) = E::name(value) {
            string(text, self.key(name));
        }
    }

    pub fn optional_enum<E: EnumName>(&mut self, name: &str, value: Option<i32>) {
        if let Some(value) = value {
            self.required_enum::<E>(name, value);
        }
    }

    pub fn repeated_enum<E: EnumName>(&mut self, name: &str, values: &[i32]) {
        let mut names = values.iter().filter_map(|value| E::name(*value)).peekable();
        if names.peek().is_some() {
            list(names, self.key(name), string);
        }
    }
}

/// Appends a JSON string.
pub fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)) {
        out.extend_from_slice(&rest[..at]);
        escape(rest[at], out);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn escape(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x0c => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            let hex = b"0123456789ABCDEF";
            out.extend_from_slice(b"\\u00");
            out.extend([hex[usize::from(byte >> 4)], hex[usize::from(byte & 15)]]);
            return;
        }
    };
    out.extend([b'\\', short]);
}
