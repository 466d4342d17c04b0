//! Every message of the schema: its Rust type behind function pointers, its descriptor, random values of it.

use prost_reflect::{
    Cardinality, DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value,
};
use std::collections::HashMap;
use std::sync::LazyLock;
use wire::json::JsonError;
use wire::proto::DecodeError;

include!(concat!(env!("OUT_DIR"), "/_messages.rs"));

/// What the tests do with a type; bytes are its protobuf form.
pub struct Kit {
    pub name: &'static str,
    pub to_json: fn(&[u8]) -> Result<Vec<u8>, DecodeError>,
    pub from_json: fn(&[u8]) -> Result<Vec<u8>, JsonError>,
    /// Bytes through the Rust type.
    pub normal: fn(&[u8]) -> Result<Vec<u8>, DecodeError>,
    pub check: fn(&[u8]) -> Result<(), DecodeError>,
}

macro_rules! kits {
    ($(($name:literal, $type:ty);)*) => {
        vec![$(Kit {
            name: $name,
            to_json: |bytes| wire::proto::decode::<$type>(bytes).map(|message| wire::json::to_vec(&message)),
            from_json: |text| wire::json::from_slice::<$type>(text).map(|message| wire::proto::encode(&message)),
            normal: |bytes| wire::proto::decode::<$type>(bytes).map(|message| wire::proto::encode(&message)),
            check: wire::proto::check::<$type>,
        }),*]
    };
}

pub static KITS: LazyLock<Vec<Kit>> = LazyLock::new(|| each_message!(kits));

pub static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let bytes: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
    DescriptorPool::decode(bytes).unwrap()
});

impl Kit {
    pub fn descriptor(&self) -> MessageDescriptor {
        POOL.get_message_by_name(self.name).unwrap()
    }
}

/// A small generator of numbers; the same seed gives the same values.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % u64::try_from(end).unwrap()).unwrap()
    }

    fn one_of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }
}

/// Only the required fields, all the way down.
pub fn minimal(descriptor: &MessageDescriptor, dice: &mut Dice) -> DynamicMessage {
    fill(descriptor, dice, 0)
}

/// Required fields, those with a declared default, and some of the others down to `depth`.
pub fn fill(descriptor: &MessageDescriptor, dice: &mut Dice, depth: u32) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        if field.is_required() || prints_default(&field) || (depth > 0 && dice.below(2) == 0) {
            // Setting one field of a oneof unsets the others.
            let value = value(&field, dice, depth.saturating_sub(1));
            message.set_field(&field, value);
        }
    }
    message
}

pub fn prints_default(field: &FieldDescriptor) -> bool {
    let proto = field.field_descriptor_proto();
    proto.default_value.is_some() && !proto.options.as_ref().is_some_and(|options| options.deprecated())
}

pub fn holds_duration(descriptor: &MessageDescriptor, depth: u32) -> bool {
    descriptor.full_name() == "google.protobuf.Duration"
        || depth > 0
            && descriptor
                .fields()
                .filter_map(|field| field.kind().as_message().cloned())
                .any(|inner| holds_duration(&inner, depth - 1))
}

fn value(field: &FieldDescriptor, dice: &mut Dice, depth: u32) -> Value {
    if field.is_map() {
        let value = field.kind().as_message().unwrap().map_entry_value_field();
        let entries =
            (0..dice.below(3)).map(|_| (MapKey::String(text(dice)), single(&value.kind(), dice, depth)));
        return Value::Map(entries.collect::<HashMap<_, _>>());
    }
    match field.cardinality() {
        Cardinality::Repeated => {
            Value::List((0..dice.below(3)).map(|_| single(&field.kind(), dice, depth)).collect())
        }
        _ => single(&field.kind(), dice, depth),
    }
}

fn single(kind: &Kind, dice: &mut Dice, depth: u32) -> Value {
    match kind {
        Kind::Message(inner) => Value::Message(fill(inner, dice, depth)),
        Kind::Enum(values) => Value::EnumNumber(dice.one_of(&values.values().collect::<Vec<_>>()).number()),
        Kind::Bool => Value::Bool(dice.below(2) == 0),
        Kind::Int32 => Value::I32(dice.one_of(&[0, 1, -1, i32::MAX, i32::MIN, 31000])),
        Kind::Int64 => Value::I64(dice.one_of(&[0, 1, -1, i64::MAX, i64::MIN, 1 << 53, (1 << 53) + 1])),
        Kind::Uint32 => Value::U32(dice.one_of(&[0, 1, u32::MAX, 5050])),
        Kind::Uint64 => Value::U64(dice.one_of(&[0, 1, u64::MAX, (1 << 53) + 1])),
        Kind::Double => Value::F64(double(dice)),
        Kind::String => Value::String(text(dice)),
        Kind::Bytes => {
            let bytes: Vec<u8> = (0..dice.below(9)).map(|_| dice.roll().to_le_bytes()[7]).collect();
            Value::Bytes(bytes.into())
        }
        other => panic!("the schema has no {other:?}"),
    }
}

fn double(dice: &mut Dice) -> f64 {
    // Few digits: serde_json, which is asked for its opinion, is a bit off with many.
    let [a, b, ..] = dice.roll().to_le_bytes();
    let random = f64::from(i16::from_le_bytes([a, b])) / 100.0;
    dice.one_of(&[0.0, 1.0, -0.5, 15.0, 1e21, 1e-7, f64::MAX, f64::INFINITY, f64::NEG_INFINITY, random])
}

fn text(dice: &mut Dice) -> String {
    let parts = [
        "",
        "a",
        "Ω",
        "\"",
        "\\",
        "/",
        "\n",
        "\u{1}",
        "\u{1f}",
        "\u{7f}",
        "𝄞",
        "\u{2028}",
        "</script>",
        "\0",
    ];
    (0..dice.below(4)).map(|_| dice.one_of(&parts)).collect()
}
