//! Messages: Mesos' v1 API in JSON and protobuf, and those of the agent link.

use prost::Message;
use wire::json::JsonError;
use wire::proto::DecodeError;
use wire::{Json, json, link, proto, v1};

use super::choice;

/// What is done with a type.
struct Kit {
    json: fn(&[u8]),
    protobuf: fn(&[u8]),
}

macro_rules! kits {
    ($($type:ty),* $(,)?) => {
        &[$(Kit { json: json_of::<$type>, protobuf: protobuf_of::<$type> }),*]
    };
}

/// The bodies that come from outside; the first byte of an input says which.
const KITS: &[Kit] = kits![
    v1::scheduler::Call,
    v1::scheduler::Event,
    v1::master::Call,
    v1::master::Response,
    v1::master::Event,
    v1::agent::Call,
    v1::agent::Response,
    v1::agent::ProcessIo,
    v1::executor::Call,
    v1::executor::Event,
    v1::TaskInfo,
    v1::FrameworkInfo,
    v1::AgentInfo,
    v1::Resource,
    v1::ContainerInfo,
    v1::DomainInfo,
    v1::ContainerId,
    v1::maintenance::Schedule,
    v1::quota::QuotaRequest,
];

pub(crate) fn json(data: &[u8]) {
    if let Some((first, body)) = choice(data) {
        (KITS[first % KITS.len()].json)(body);
    }
}

pub(crate) fn protobuf(data: &[u8]) {
    if let Some((first, body)) = choice(data) {
        (KITS[first % KITS.len()].protobuf)(body);
    }
}

/// What was read is written as JSON that is read again as the same, and survives the way through protobuf.
fn json_of<T: Json>(text: &[u8]) {
    let Ok(message) = json::from_slice::<T>(text) else { return };
    let printed = json::to_vec(&message);
    is_json(&printed);
    let again = json::from_slice::<T>(&printed).expect("what is written can be read");
    assert_eq!(shown(&again), shown(&message), "read again");
    match proto::decode::<T>(&proto::encode(&message)) {
        Ok(back) => assert_eq!(shown(&back), shown(&message), "through protobuf"),
        // JSON may be nested 128 deep, protobuf 100; its own budget counts other things.
        Err(DecodeError::TooDeep | DecodeError::TooLarge) => {}
        Err(error) => panic!("{error} for {}", shown(&message)),
    }
}

/// The same from protobuf.
fn protobuf_of<T: Json>(bytes: &[u8]) {
    let Ok(message) = proto::decode::<T>(bytes) else { return };
    let encoded = proto::encode(&message);
    let again = proto::decode::<T>(&encoded).expect("what is encoded can be decoded");
    assert_eq!(proto::encode(&again), encoded, "encoded again");
    let printed = json::to_vec(&message);
    match json::from_slice::<T>(&printed) {
        Ok(back) => assert_eq!(shown(&back), shown(&message), "through JSON"),
        Err(JsonError::TooLarge) => {}
        // Mesos' JSON has no word for it that can be read.
        Err(_) if String::from_utf8_lossy(&printed).contains("\"NaN\"") => {}
        Err(error) => panic!("{error} for {}", shown(&message)),
    }
}

fn shown<T: Json>(message: &T) -> String {
    json::to_string(message)
}

/// serde_json must agree that it is JSON.
fn is_json(text: &[u8]) {
    if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(text) {
        // Its own limit is 128 levels, of which it counts one more than we do.
        assert!(error.to_string().contains("recursion"), "{error}: {}", String::from_utf8_lossy(text));
    }
}

/// An agent's or a master's message on the link.
pub(crate) fn link(data: &[u8]) {
    match choice(data) {
        Some((first, body)) if first % 2 == 0 => same_again::<link::FromAgent>(body),
        Some((_, body)) => same_again::<link::FromMaster>(body),
        None => {}
    }
}

fn same_again<T: Message + Default>(bytes: &[u8]) {
    let Ok(message) = T::decode(bytes) else { return };
    let encoded = message.encode_to_vec();
    let again = T::decode(encoded.as_slice()).expect("what is encoded can be decoded");
    assert_eq!(again.encode_to_vec(), encoded);
}
