//! JSON and protobuf of random messages of every type, with prost-reflect as the other opinion.

use crate::catalog::{Dice, KITS, Kit, fill, holds_duration};
use proptest::prelude::*;
use prost::Message as _;
use prost_reflect::{DeserializeOptions, DynamicMessage, SerializeOptions};
use serde_json::Value as Json;

/// A random message with every printed default set, so that JSON adds nothing to it; as it comes off the
/// wire.
fn random(kit: &Kit, seed: u64) -> DynamicMessage {
    let message = fill(&kit.descriptor(), &mut Dice::new(seed), 4);
    DynamicMessage::decode(kit.descriptor(), &message.encode_to_vec()[..]).unwrap()
}

fn reflected(message: &DynamicMessage) -> Json {
    let options = SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(false);
    message.serialize_with_options(serde_json::value::Serializer, &options).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_message_survives_protobuf_and_json(seed: u64) {
        for kit in KITS.iter() {
            let bytes = random(kit, seed).encode_to_vec();
            let normal = (kit.normal)(&bytes).unwrap();
            let json = (kit.to_json)(&bytes).unwrap();
            let back = (kit.from_json)(&json).unwrap();
            prop_assert_eq!(&normal, &back, "{}: {}", kit.name, String::from_utf8_lossy(&json));
            prop_assert_eq!(json, (kit.to_json)(&back).unwrap());
        }
    }

    #[test]
    fn our_protobuf_is_prost_reflects(seed: u64) {
        for kit in KITS.iter() {
            let message = random(kit, seed);
            let normal = (kit.normal)(&message.encode_to_vec()).unwrap();
            prop_assert_eq!(DynamicMessage::decode(kit.descriptor(), &normal[..]).unwrap(), message);
        }
    }

    /// prost-reflect writes a Duration as text, as proto3's JSON has it; Mesos as an object.
    #[test]
    fn our_json_is_prost_reflects(seed: u64) {
        for kit in KITS.iter().filter(|kit| !holds_duration(&kit.descriptor(), 5)) {
            let message = random(kit, seed);
            let ours = (kit.to_json)(&message.encode_to_vec()).unwrap();
            let theirs = reflected(&message);
            let parsed: Json = serde_json::from_slice(&ours).unwrap();
            prop_assert_eq!(&parsed, &theirs, "{}", kit.name);

            let options = DeserializeOptions::new().deny_unknown_fields(true);
            let mut text = serde_json::Deserializer::from_slice(&ours);
            let read = DynamicMessage::deserialize_with_options(kit.descriptor(), &mut text, &options).unwrap();
            prop_assert_eq!(&read, &message, "{}", kit.name);

            let back = (kit.from_json)(&serde_json::to_vec_pretty(&theirs).unwrap()).unwrap();
            prop_assert_eq!(back, (kit.normal)(&message.encode_to_vec()).unwrap(), "{}", kit.name);
        }
    }

    /// With defaults left unset: what JSON fills in, it fills in once.
    #[test]
    fn printed_defaults_are_stable(seed: u64) {
        for kit in KITS.iter() {
            let mut message = random(kit, seed);
            let optional = |field: &prost_reflect::FieldDescriptor| !field.is_required();
            kit.descriptor().fields().filter(optional).for_each(|field| message.clear_field(&field));
            let json = (kit.to_json)(&message.encode_to_vec()).unwrap();
            let back = (kit.from_json)(&json).unwrap();
            prop_assert_eq!(json, (kit.to_json)(&back).unwrap(), "{}", kit.name);
        }
    }
}
