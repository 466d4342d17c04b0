//! What a field can hold, and how each kind of field is read; called by the generated code.

use super::reader::Reader;
use super::{Json, JsonError, number, writer};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Standard alphabet; written with padding, read with or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// An enum of the schema; prost keeps its values as numbers.
pub trait EnumName {
    /// Name of a number that has one.
    fn name(number: i32) -> Option<&'static str>;
    /// Number of a name that is known.
    fn number(name: &str) -> Option<i32>;
}

/// Something a field can hold.
pub trait Value {
    fn write(&self, out: &mut Vec<u8>);

    fn read(reader: &mut Reader<'_>) -> Result<Self, JsonError>
    where
        Self: Sized;
}

impl<M: Json> Value for M {
    fn write(&self, out: &mut Vec<u8>) {
        writer::message(self, out);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, JsonError> {
        reader.message()
    }
}

impl Value for String {
    fn write(&self, out: &mut Vec<u8>) {
        writer::string(self, out);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, JsonError> {
        match reader.peek() {
            Some(b'"') => Ok(reader.string()?.into_owned()),
            _ => reader.unexpected("a string"),
        }
    }
}

impl Value for Bytes {
    fn write(&self, out: &mut Vec<u8>) {
        let start = out.len() + 1;
        out.push(b'"');
        out.resize(start + self.len().div_ceil(3) * 4, 0);
        BASE64.encode_slice(self, &mut out[start..]).expect("four characters for each three bytes");
        out.push(b'"');
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, JsonError> {
        if reader.peek() != Some(b'"') {
            return reader.unexpected("a string with base64");
        }
        let text = reader.string()?;
        match BASE64.decode(text.as_bytes()) {
            Ok(bytes) => Ok(bytes.into()),
            Err(error) => reader.field_error(format!("not base64: {error}")),
        }
    }
}

impl Value for bool {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if *self { b"true" } else { b"false" });
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, JsonError> {
        match reader.peek() {
            Some(b't') => reader.literal("true").map(|()| true),
            Some(b'f') => reader.literal("false").map(|()| false),
            Some(b'"') => match reader.string()?.as_ref() {
                "true" => Ok(true),
                "false" => Ok(false),
                _ => reader.field_error("expected a boolean"),
            },
            _ => reader.unexpected("a boolean"),
        }
    }
}

impl Value for f64 {
    fn write(&self, out: &mut Vec<u8>) {
        number::write_double(*self, out);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, JsonError> {
        let token = reader.number_or_string()?;
        match token.as_ref() {
            "Infinity" => Ok(f64::INFINITY),
            "-Infinity" => Ok(f64::NEG_INFINITY),
            token if number::token(token.as_bytes()) != Some(token.len()) => {
                reader.field_error("expected a number")
            }
            token => number::double(token).map_or_else(|| reader.field_error("out of range"), Ok),
        }
    }
}

macro_rules! integer {
    ($type:ty, $write:path, $wide:ty) => {
        impl Value for $type {
            fn write(&self, out: &mut Vec<u8>) {
                $write(<$wide>::from(*self), out);
            }

            fn read(reader: &mut Reader<'_>) -> Result<Self, JsonError> {
                <$type>::try_from(reader.integer()?).or_else(|_| reader.field_error("out of range"))
            }
        }
    };
}

integer!(i32, number::write_signed, i64);
integer!(i64, number::write_signed, i64);
integer!(u32, number::write_unsigned, u64);
integer!(u64, number::write_unsigned, u64);

impl<'a> Reader<'a> {
    /// An error for a value of another type than `expected`, unless it is no JSON at all.
    pub fn unexpected<T>(&mut self, expected: &str) -> Result<T, JsonError> {
        let error = self.field_error(format!("expected {expected}"));
        self.skip()?;
        error
    }

    /// Numbers may come as strings.
    fn number_or_string(&mut self) -> Result<std::borrow::Cow<'a, str>, JsonError> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number().map(Into::into),
            _ => self.unexpected("a number"),
        }
    }

    fn integer(&mut self) -> Result<i128, JsonError> {
        let token = self.number_or_string()?;
        if number::token(token.as_bytes()) != Some(token.len()) {
            return self.field_error("expected a number");
        }
        match number::integer(&token) {
            Some(integer) => Ok(integer),
            None => self.field_error("out of range or not whole"),
        }
    }

    pub fn message<M: Json>(&mut self) -> Result<M, JsonError> {
        if self.peek() != Some(b'{') {
            return self.unexpected("an object");
        }
        let mut message = M::default();
        let mut seen = 0;
        self.object(|reader, key| message.read_field(&key, reader, &mut seen))?;
        self.require(M::REQUIRED, seen)?;
        Ok(message)
    }

    /// An array of anything but enums. `null` elements are dropped.
    pub fn list<T: Value>(&mut self) -> Result<Vec<T>, JsonError> {
        let mut list = Vec::new();
        self.elements(|reader| {
            if !reader.null()? {
                reader.charge(size_of::<T>())?;
                list.push(T::read(reader)?);
            }
            Ok(())
        })?;
        Ok(list)
    }

    /// Reads each element of an array. Mesos: a single value counts as an array of one.
    fn elements(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        if self.peek() == Some(b'[') { self.array(read) } else { read(self) }
    }

    pub fn required<T: Value + Default>(
        &mut self,
        name: &'static str,
        field: &mut T,
        seen: &mut u64,
        bit: u32,
    ) -> Result<(), JsonError> {
        let value = self.nullable(name, T::read)?;
        mark(seen, bit, value.is_some());
        *field = value.unwrap_or_default();
        Ok(())
    }

    pub fn optional<T: Value>(&mut self, name: &'static str, field: &mut Option<T>) -> Result<(), JsonError> {
        *field = self.nullable(name, T::read)?;
        Ok(())
    }

    pub fn implicit<T: Value + Default>(
        &mut self,
        name: &'static str,
        field: &mut T,
    ) -> Result<(), JsonError> {
        *field = self.nullable(name, T::read)?.unwrap_or_default();
        Ok(())
    }

    pub fn repeated<T: Value>(&mut self, name: &'static str, field: &mut Vec<T>) -> Result<(), JsonError> {
        *field = self.nullable(name, Self::list)?.unwrap_or_default();
        Ok(())
    }

    pub fn map<T: Value>(
        &mut self,
        name: &'static str,
        field: &mut BTreeMap<String, T>,
    ) -> Result<(), JsonError> {
        *field = self.nullable(name, Self::entries)?.unwrap_or_default();
        Ok(())
    }

    fn entries<T: Value>(&mut self) -> Result<BTreeMap<String, T>, JsonError> {
        let mut map = BTreeMap::new();
        if self.peek() != Some(b'{') {
            return self.unexpected("an object");
        }
        self.object(|reader, key| {
            if !reader.null()? {
                reader.charge(size_of::<(String, T)>())?;
                let value = reader.within_entry(map.len(), T::read)?;
                map.insert(key.into_owned(), value);
            }
            Ok(())
        })?;
        Ok(map)
    }

    pub fn one_of<T: Value, C>(
        &mut self,
        name: &'static str,
        field: &mut Option<C>,
        choice: fn(T) -> C,
    ) -> Result<(), JsonError> {
        if let Some(value) = self.nullable(name, T::read)? {
            *field = Some(choice(value));
        }
        Ok(())
    }

    pub fn required_enum<E: EnumName>(
        &mut self,
        name: &'static str,
        field: &mut i32,
        seen: &mut u64,
        bit: u32,
    ) -> Result<(), JsonError> {
        let number = self.nullable(name, |reader| match reader.enum_name::<E>()? {
            Some(number) => Ok(number),
            None => reader.field_error("not a name of the enum"),
        })?;
        mark(seen, bit, number.is_some());
        *field = number.unwrap_or_default();
        Ok(())
    }

    pub fn optional_enum<E: EnumName>(
        &mut self,
        name: &'static str,
        field: &mut Option<i32>,
    ) -> Result<(), JsonError> {
        *field = self.nullable(name, Self::enum_name::<E>)?.flatten();
        Ok(())
    }

    pub fn repeated_enum<E: EnumName>(
        &mut self,
        name: &'static str,
        field: &mut Vec<i32>,
    ) -> Result<(), JsonError> {
        let mut list = Vec::new();
        self.nullable(name, |reader| {
            reader.elements(|reader| {
                if !reader.null()? {
                    list.extend(reader.enum_name::<E>()?);
                }
                Ok(())
            })
        })?;
        *field = list;
        Ok(())
    }

    pub fn one_of_enum<E: EnumName, C>(
        &mut self,
        name: &'static str,
        field: &mut Option<C>,
        choice: fn(i32) -> C,
    ) -> Result<(), JsonError> {
        if let Some(number) = self.nullable(name, Self::enum_name::<E>)?.flatten() {
            *field = Some(choice(number));
        }
        Ok(())
    }

    /// Mesos: only names, no numbers.
    fn enum_name<E: EnumName>(&mut self) -> Result<Option<i32>, JsonError> {
        match self.peek() {
            Some(b'"') => Ok(E::number(&self.string()?)),
            _ => self.unexpected("the name of an enum value"),
        }
    }

    /// Mesos: `null` is an unset field.
    fn nullable<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Self) -> Result<T, JsonError>,
    ) -> Result<Option<T>, JsonError> {
        if self.null()? { Ok(None) } else { self.within(name, read).map(Some) }
    }
}

fn mark(seen: &mut u64, bit: u32, present: bool) {
    *seen = *seen & !(1 << bit) | u64::from(present) << bit;
}
