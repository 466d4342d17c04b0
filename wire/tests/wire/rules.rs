//! Mesos' rules for reading and writing JSON, one by one.

use wire::json::{self, Json, JsonError};
use wire::v1::scheduler::{AttributeConstraint, Call, attribute_constraint};
use wire::v1::{
    Filters, FrameworkInfo, HealthCheck, KillPolicy, Label, Labels, Resource, TaskStatus, Value, Volume,
    WeightInfo,
};

fn read<T: Json>(text: &str) -> Result<T, JsonError> {
    json::from_slice(text.as_bytes())
}

fn message<T: Json>(text: &str) -> String {
    read::<T>(text).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn unknown_keys_are_ignored_whatever_they_hold() {
    let text = r#"{"x": [{"y": null}, [], {}, "s\u00e9", -1.5e3, true, false], "key": "k", "": {}}"#;
    assert_eq!(read::<Label>(text).unwrap(), Label { key: "k".into(), value: None });
}

#[test]
fn null_is_unset() {
    let text = r#"{"labels": null}"#;
    assert!(read::<Labels>(text).unwrap().labels.is_empty());
    assert_eq!(read::<Label>(r#"{"key": "k", "value": null}"#).unwrap().value, None);
    let list = read::<Labels>(r#"{"labels": [null, {"key": "k"}, null]}"#).unwrap();
    assert_eq!(list.labels.len(), 1);
    assert_eq!(message::<Label>(r#"{"key": null}"#), "Missing required fields: key");
}

#[test]
fn of_a_key_that_comes_twice_the_last_counts() {
    let text = r#"{"key": "a", "value": "x", "key": "b", "value": null}"#;
    assert_eq!(read::<Label>(text).unwrap(), Label { key: "b".into(), value: None });
    assert_eq!(message::<Label>(r#"{"key": "a", "key": null}"#), "Missing required fields: key");
}

#[test]
fn keys_may_be_escaped() {
    assert_eq!(read::<Label>(r#"{"\u006bey": "k"}"#).unwrap().key, "k");
}

#[test]
fn an_unknown_enum_name_is_dropped_unless_required() {
    assert_eq!(read::<Call>(r#"{"type": "DANCE"}"#).unwrap().r#type, None);
    let text =
        r#"{"user": "u", "name": "n", "capabilities": [{"type": "DANCE"}, {"type": "GPU_RESOURCES"}]}"#;
    let info = read::<FrameworkInfo>(text).unwrap();
    assert_eq!(
        info.capabilities.iter().map(|capability| capability.r#type).collect::<Vec<_>>(),
        [None, Some(3)]
    );
    assert_eq!(
        message::<Resource>(r#"{"name": "cpus", "type": "DANCE"}"#),
        "Failed to parse field 'type': not a name of the enum"
    );
    let states = read::<wire::v1::CapabilityInfo>(r#"{"capabilities": ["CHOWN", "DANCE", "KILL"]}"#).unwrap();
    assert_eq!(states.capabilities.len(), 2);
}

#[test]
fn enums_go_by_name_only() {
    assert_eq!(
        message::<Call>(r#"{"type": 1}"#),
        "Failed to parse field 'type': expected the name of an enum value"
    );
}

#[test]
fn an_enum_value_without_a_name_is_not_written() {
    assert_eq!(json::to_string(&Call { r#type: Some(999), ..Default::default() }), "{}");
    let capabilities = vec![999, wire::v1::capability_info::Capability::Kill as i32];
    assert_eq!(json::to_string(&wire::v1::CapabilityInfo { capabilities }), r#"{"capabilities":["KILL"]}"#);
    let capabilities = vec![999];
    assert_eq!(json::to_string(&wire::v1::CapabilityInfo { capabilities }), "{}");
}

#[test]
fn numbers_may_come_as_strings() {
    let check =
        read::<HealthCheck>(r#"{"consecutive_failures": "7", "delay_seconds": "1.5", "timeout_seconds": 3}"#);
    let check = check.unwrap();
    assert_eq!(
        (check.consecutive_failures, check.delay_seconds, check.timeout_seconds),
        (Some(7), Some(1.5), Some(3.0))
    );
    let policy = read::<KillPolicy>(r#"{"grace_period": {"nanoseconds": "-9223372036854775808"}}"#).unwrap();
    assert_eq!(policy.grace_period.unwrap().nanoseconds, i64::MIN);
    for bad in ["", " 1", "1 ", "0x1", "one", "1,0", "+1", "01", ".5", "Infinity", "NaN"] {
        let error = message::<HealthCheck>(&format!(r#"{{"consecutive_failures": "{bad}"}}"#));
        assert_eq!(error, "Failed to parse field 'consecutive_failures': expected a number", "{bad}");
    }
}

#[test]
fn booleans_may_come_as_strings() {
    let read = |text: &str| read::<FrameworkInfo>(text).map(|info| info.checkpoint);
    assert_eq!(read(r#"{"user": "", "name": "", "checkpoint": "true"}"#).unwrap(), Some(true));
    assert_eq!(read(r#"{"user": "", "name": "", "checkpoint": false}"#).unwrap(), Some(false));
    assert!(read(r#"{"user": "", "name": "", "checkpoint": "yes"}"#).is_err());
    assert!(read(r#"{"user": "", "name": "", "checkpoint": 1}"#).is_err());
}

#[test]
fn whole_numbers_only_and_in_range() {
    let failures = |number: &str| {
        read::<HealthCheck>(&format!(r#"{{"consecutive_failures": {number}}}"#))
            .map(|check| check.consecutive_failures)
    };
    assert_eq!(failures("4294967295").unwrap(), Some(u32::MAX));
    assert_eq!(failures("3.0").unwrap(), Some(3));
    assert_eq!(failures("1e2").unwrap(), Some(100));
    for bad in ["4294967296", "-1", "1.5", "1e10", "1e400", "99999999999999999999999999999999999999999999"] {
        let error = failures(bad).unwrap_err().to_string();
        assert!(error.contains("out of range"), "{bad}: {error}");
    }
    let time = |number: &str| read::<wire::v1::TimeInfo>(&format!(r#"{{"nanoseconds": {number}}}"#));
    assert_eq!(time("9223372036854775807").unwrap().nanoseconds, i64::MAX);
    assert!(time("9223372036854775808").is_err());
    assert!(time("9223372036854775807.0").is_err());
}

#[test]
fn doubles_know_infinity_but_no_nan() {
    let scalar =
        |text: &str| read::<wire::v1::value::Scalar>(&format!(r#"{{"value": {text}}}"#)).map(|it| it.value);
    assert_eq!(scalar(r#""Infinity""#).unwrap(), f64::INFINITY);
    assert_eq!(scalar(r#""-Infinity""#).unwrap(), f64::NEG_INFINITY);
    assert_eq!(scalar("0.1").unwrap(), 0.1);
    for bad in [r#""NaN""#, r#""inf""#, "1e999", r#""1e999""#, "NaN", "Infinity", "true", "[]", "{}"] {
        assert!(scalar(bad).is_err(), "{bad}");
    }
    let infinite = wire::v1::value::Scalar { value: f64::INFINITY };
    assert_eq!(json::to_string(&infinite), r#"{"value":"Infinity"}"#);
}

#[test]
fn a_single_value_counts_as_a_list_of_one() {
    let labels = read::<Labels>(r#"{"labels": {"key": "k"}}"#).unwrap();
    assert_eq!(labels, read::<Labels>(r#"{"labels": [{"key": "k"}]}"#).unwrap());
    let info = read::<FrameworkInfo>(r#"{"user": "u", "name": "n", "roles": "web"}"#).unwrap();
    assert_eq!(info.roles, ["web"]);
    let capabilities = read::<wire::v1::CapabilityInfo>(r#"{"capabilities": "CHOWN"}"#).unwrap();
    assert_eq!(capabilities.capabilities.len(), 1);
    assert_eq!(
        message::<FrameworkInfo>(r#"{"user": "u", "name": "n", "roles": 5}"#),
        "Failed to parse field 'roles': expected a string"
    );
}

#[test]
fn a_value_of_another_type_is_an_error_that_names_the_place() {
    let text = r#"{"accept": {"operations": [{}, {"launch": {"task_infos": [{"name": 5}]}}]}}"#;
    assert_eq!(
        message::<Call>(text),
        "Failed to parse field 'accept.operations[1].launch.task_infos[0].name': expected a string"
    );
    assert_eq!(message::<Call>("[]"), "Failed to parse field '': expected an object");
    assert_eq!(
        message::<Filters>(r#"{"refuse_seconds": [1]}"#),
        "Failed to parse field 'refuse_seconds': expected a number"
    );
}

#[test]
fn bytes_are_standard_base64() {
    let data = |text: &str| {
        read::<TaskStatus>(&format!(
            r#"{{"task_id": {{"value": "t"}}, "state": "TASK_RUNNING", "data": "{text}"}}"#
        ))
        .map(|status| status.data.unwrap().to_vec())
    };
    assert_eq!(data("+/+/").unwrap(), [0xfb, 0xff, 0xbf]);
    assert_eq!(data("aGk=").unwrap(), b"hi");
    assert_eq!(data("").unwrap(), b"");
    for bad in ["-_-_", "a", "aGk=aGk=", "aG k", "é"] {
        let error = data(bad).unwrap_err().to_string();
        assert!(error.starts_with("Failed to parse field 'data': not base64"), "{bad}: {error}");
    }
}

#[test]
fn one_of_a_choice() {
    let text = r#"{"selector": {"attribute_name": "rack"}, "predicate": {"exists": {}}}"#;
    let constraint = read::<AttributeConstraint>(text).unwrap();
    assert_eq!(json::to_string(&constraint), text.replace(' ', ""));
    let selector = read::<attribute_constraint::Selector>(r#"{"pseudoattribute_type": "ZONE"}"#).unwrap();
    assert_eq!(json::to_string(&selector), r#"{"pseudoattribute_type":"ZONE"}"#);
    let selector = read::<attribute_constraint::Selector>(r#"{"pseudoattribute_type": "DANCE"}"#).unwrap();
    assert_eq!(selector.selector, None);
}

#[test]
fn maps_are_objects() {
    let text = r#"{"type":"CSI_VOLUME","csi_volume":{"plugin_name":"p","static_provisioning":{"volume_id":"v","volume_capability":{"mount":{},"access_mode":{"mode":"UNKNOWN"}},"volume_context":{"":"","a\"b":"c"}}}}"#;
    let source = read::<wire::v1::volume::Source>(text).unwrap();
    assert_eq!(json::to_string(&source), text);
    let null = text.replace(r#""c""#, "null").replace(r#"{"":"","#, "{");
    let source = read::<wire::v1::volume::Source>(&null).unwrap();
    assert!(source.csi_volume.unwrap().static_provisioning.unwrap().volume_context.is_empty());
}

#[test]
fn a_duration_is_an_object_without_its_zeros() {
    let drain = wire::v1::master::call::DrainAgent {
        max_grace_period: Some(wire::google::protobuf::Duration { seconds: 5, nanos: 0 }),
        ..Default::default()
    };
    let text = r#"{"agent_id":{"value":""},"max_grace_period":{"seconds":5},"mark_gone":false}"#;
    assert_eq!(json::to_string(&drain), text);
    assert_eq!(
        read::<wire::v1::master::call::DrainAgent>(text).unwrap().max_grace_period,
        drain.max_grace_period
    );
}

#[test]
fn strings_are_escaped_both_ways() {
    let label = Label { key: "\"\\/\u{8}\u{c}\n\r\t\u{1}\u{1f}\u{7f}é𝄞".into(), value: None };
    let text = json::to_string(&label);
    assert_eq!(text, "{\"key\":\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001F\u{7f}é𝄞\"}");
    assert_eq!(read::<Label>(&text).unwrap(), label);
    assert_eq!(read::<Label>(r#"{"key": "\ud834\uDD1e\/\u0000"}"#).unwrap().key, "𝄞/\0");
}

#[test]
fn lists_of_messages_have_a_form_of_their_own() {
    let weights: Vec<WeightInfo> =
        json::list_from_slice(br#" [{"role": "a", "weight": 2}, {"weight": "0.5"}] "#).unwrap();
    let mut out = Vec::new();
    json::write_list(&weights, &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), r#"[{"weight":2.0,"role":"a"},{"weight":0.5}]"#);
    let error = json::list_from_slice::<WeightInfo>(br#"[{"weight": 1}, {}]"#).unwrap_err();
    assert_eq!(error.to_string(), "Missing required fields: [1].weight");
    assert!(json::list_from_slice::<WeightInfo>(b"{}").is_err());
}

#[test]
fn deprecated_defaults_are_printed_when_set_only() {
    let mut resource = Resource { name: "cpus".into(), r#type: value_type(), ..Default::default() };
    assert_eq!(json::to_string(&resource), r#"{"name":"cpus","type":"SCALAR"}"#);
    resource.role = Some("web".into());
    assert_eq!(json::to_string(&resource), r#"{"name":"cpus","type":"SCALAR","role":"web"}"#);
}

fn value_type() -> i32 {
    wire::v1::value::Type::Scalar as i32
}

#[test]
fn empty_messages_and_empty_lists() {
    assert_eq!(json::to_string(&Labels::default()), "{}");
    let value = Value { set: Some(wire::v1::value::Set::default()), ..Default::default() };
    assert_eq!(json::to_string(&value), r#"{"type":"SCALAR","set":{}}"#);
    let volume = Volume { container_path: "p".into(), ..Default::default() };
    assert_eq!(json::to_string(&volume), r#"{"mode":"RW","container_path":"p"}"#);
}
