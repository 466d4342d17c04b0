//! Every required field of the schema: without it a message is refused by name, in both forms.

use crate::catalog::{Dice, KITS, minimal};
use prost::Message as _;
use wire::json::{self, JsonError};
use wire::proto::{self, DecodeError};
use wire::v1::scheduler::Call;
use wire::v1::{TaskInfo, agent};

/// Number of required fields in the schema table.
const REQUIRED: usize = 273;

#[test]
fn each_required_field_is_named_when_it_is_missing() {
    let mut count = 0;
    for kit in KITS.iter() {
        let whole = minimal(&kit.descriptor(), &mut Dice::new(1));
        (kit.check)(&whole.encode_to_vec()).unwrap();
        let json = (kit.to_json)(&whole.encode_to_vec()).unwrap();
        (kit.from_json)(&json).unwrap();
        for field in kit.descriptor().fields().filter(|field| field.is_required()) {
            count += 1;
            let missing = vec![field.name().to_owned()];
            let mut part = whole.clone();
            part.clear_field(&field);
            let error = (kit.normal)(&part.encode_to_vec()).unwrap_err();
            assert_eq!(error, DecodeError::Missing(missing.clone()), "{}", kit.name);

            let mut object: serde_json::Map<String, serde_json::Value> =
                serde_json::from_slice(&json).unwrap();
            object.remove(field.name()).unwrap();
            let error = (kit.from_json)(&serde_json::to_vec(&object).unwrap()).unwrap_err();
            assert_eq!(error, JsonError::Missing(missing.clone()), "{}", kit.name);

            object.insert(field.name().to_owned(), serde_json::Value::Null);
            let error = (kit.from_json)(&serde_json::to_vec(&object).unwrap()).unwrap_err();
            assert_eq!(error, JsonError::Missing(missing), "{}: null", kit.name);
        }
    }
    assert_eq!(count, REQUIRED);
}

#[test]
fn paths_lead_through_lists_and_messages() {
    let text = r#"{"framework_id": {}, "type": "ACCEPT", "accept": {"offer_ids": [{"value": "o"}, {}],
        "operations": [{}, {"type": "LAUNCH", "launch": {"task_infos": [{"task_id": {"value": "t"},
        "agent_id": {"value": "a"}, "limits": {"mem": {"value": 1}, "cpus": {}}}]}}]}}"#;
    let error = json::from_slice::<Call>(text.as_bytes()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Missing required fields: framework_id.value, accept.offer_ids[1].value, \
         accept.operations[1].launch.task_infos[0].limits[1].value.value, \
         accept.operations[1].launch.task_infos[0].name"
    );
}

#[test]
fn protobuf_paths_are_the_same() {
    // TaskInfo: name "n", task_id {}, agent_id {value: "a"}, resources [{}], limits {"": {}}.
    let bytes =
        [&[0x0a, 1, b'n', 0x12, 0, 0x1a, 3, 0x0a, 1, b'a', 0x22, 0][..], &[0x7a, 2, 0x12, 0]].concat();
    let error = proto::decode::<TaskInfo>(&bytes).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Missing required fields: task_id.value, resources[0].name, resources[0].type, limits[0].value.value"
    );
}

/// prost leaves a map's value out when it equals the empty message; Mesos would find it incomplete.
#[test]
fn map_values_are_always_written() {
    let scalar = |value| wire::v1::value::Scalar { value };
    let task = TaskInfo {
        limits: [("cpus".to_owned(), scalar(0.0)), ("mem".to_owned(), scalar(1.0))].into(),
        ..Default::default()
    };
    let call = Call {
        accept: Some(wire::v1::scheduler::call::Accept {
            operations: vec![wire::v1::offer::Operation {
                launch: Some(wire::v1::offer::operation::Launch {
                    task_infos: vec![task.clone(), task.clone()],
                }),
                ..Default::default()
            }],
            ..Default::default()
        }),
        ..Default::default()
    };
    let bytes = proto::encode(&call);
    let lost = 2 * (2 + proto::encode(&scalar(0.0)).len());
    assert!(bytes.len() >= call.encode_to_vec().len() + lost);
    let dynamic = |bytes: &[u8]| {
        let descriptor = crate::catalog::POOL.get_message_by_name("mesos.v1.scheduler.Call").unwrap();
        prost_reflect::DynamicMessage::decode(descriptor, bytes).unwrap()
    };
    assert_eq!(Call::decode(&bytes[..]).unwrap(), call);
    assert_ne!(dynamic(&bytes), dynamic(&call.encode_to_vec()));
    let entry = proto::encode(&task);
    assert!(entry.windows(17).any(|part| part == *b"\x0a\x04cpus\x12\x09\x09\0\0\0\0\0\0\0\0"));
    // Read, a value that was left out is the empty one.
    assert_eq!(proto::decode::<Call>(&call.encode_to_vec()).unwrap(), call);
}

#[test]
fn prost_alone_would_not_notice() {
    assert!(TaskInfo::decode(&[][..]).is_ok());
    assert_eq!(
        proto::decode::<TaskInfo>(&[]).unwrap_err().to_string(),
        "Missing required fields: name, task_id, agent_id"
    );
}

#[test]
fn an_unknown_required_enum_value_is_missing() {
    // Resource: name "x", type 99.
    let error = proto::decode::<wire::v1::Resource>(&[0x0a, 1, b'x', 0x10, 99]).unwrap_err();
    assert_eq!(error.to_string(), "Missing required fields: type");
    assert!(proto::decode::<wire::v1::Resource>(&[0x0a, 1, b'x', 0x10, 0]).is_ok());
}

#[test]
fn reading_stops_after_some_missing_fields() {
    let text = format!(r#"{{"accept": {{"offer_ids": [{}{{}}]}}}}"#, "{},".repeat(100_000));
    let Err(JsonError::Missing(names)) = json::from_slice::<Call>(text.as_bytes()) else { panic!() };
    assert_eq!(names.len(), 10);
}

#[test]
fn nested_containers_are_checked_at_every_level() {
    let text = r#"{"type": "WAIT_CONTAINER", "wait_container": {"container_id":
        {"value": "c", "parent": {"value": "b", "parent": {}}}}}"#;
    let error = json::from_slice::<agent::Call>(text.as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "Missing required fields: wait_container.container_id.parent.parent.value");
}
