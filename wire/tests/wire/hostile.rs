//! Hostile bodies: they are refused, and never take the process down.

use crate::catalog::{Dice, KITS, fill};
use proptest::prelude::*;
use prost::Message as _;
use wire::json::{self, JsonError};
use wire::proto::{self, DecodeError};
use wire::v1::scheduler::Call;
use wire::v1::{ContainerId, Labels};

const MANY: usize = 1_000_000;

fn syntax(error: &JsonError) -> &'static str {
    match error {
        JsonError::Syntax { what, .. } => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn deep_json_is_refused() {
    for open in [r#"{"a":"#, "[", r#"{"parent":"#, r#"{"value":"v","parent":"#, r#"{"x":["#] {
        let error = json::from_slice::<ContainerId>(open.repeat(MANY).as_bytes()).unwrap_err();
        if open != "[" {
            assert_eq!(syntax(&error), "nested too deeply", "{open}");
        }
        let inner = format!(r#"{{"value":"v","x":{}"#, open.repeat(MANY));
        let error = json::from_slice::<ContainerId>(inner.as_bytes()).unwrap_err();
        assert_eq!(syntax(&error), "nested too deeply", "{open}");
    }
}

#[test]
fn json_may_be_128_deep() {
    let nested = |depth: usize| {
        format!("{}{}", r#"{"value":"v","parent":"#.repeat(depth - 1), r#"{"value":"v"}"#)
            + &"}".repeat(depth - 1)
    };
    assert!(json::from_slice::<ContainerId>(nested(128).as_bytes()).is_ok());
    assert!(json::from_slice::<ContainerId>(nested(129).as_bytes()).is_err());
}

/// `depth` containers in one another, written from the inside out.
fn nested_containers(depth: usize) -> Vec<u8> {
    let mut reversed = Vec::new();
    for level in 0..depth {
        if level > 0 {
            let mut head = vec![0x12];
            prost::encoding::encode_varint(u64::try_from(reversed.len()).unwrap(), &mut head);
            reversed.extend(head.iter().rev());
        }
        reversed.extend([b'v', 1, 0x0a]);
    }
    reversed.reverse();
    reversed
}

#[test]
fn deep_protobuf_is_refused() {
    assert!(proto::decode::<ContainerId>(&nested_containers(101)).is_ok());
    for depth in [102, 103, MANY] {
        assert_eq!(
            proto::decode::<ContainerId>(&nested_containers(depth)),
            Err(DecodeError::TooDeep),
            "{depth}"
        );
    }
    // Unknown groups, opened and never closed.
    let groups = [0x1b].repeat(MANY);
    assert_eq!(proto::decode::<ContainerId>(&groups), Err(DecodeError::TooDeep));
}

#[test]
fn unknown_groups_are_passed_over() {
    // value "v", then group 3 { varint 1, group 4 {} }
    let bytes = [0x0a, 1, b'v', 0x1b, 0x08, 5, 0x23, 0x24, 0x1c];
    assert_eq!(proto::decode::<ContainerId>(&bytes).unwrap().value, "v");
    assert!(proto::decode::<ContainerId>(&bytes[..8]).is_err());
    assert!(proto::decode::<ContainerId>(&[0x0a, 1, b'v', 0x1c]).is_err());
}

#[test]
fn small_bodies_do_not_become_large_messages() {
    let text = format!(r#"{{"accept":{{"operations":[{}{{}}]}}}}"#, "{},".repeat(MANY));
    assert_eq!(json::from_slice::<Call>(text.as_bytes()).unwrap_err(), JsonError::TooLarge);
    let mut bytes = vec![0x22];
    prost::encoding::encode_varint(u64::try_from(2 * MANY).unwrap(), &mut bytes);
    bytes.extend([0x12, 0].repeat(MANY));
    assert_eq!(proto::decode::<Call>(&bytes).unwrap_err(), DecodeError::TooLarge);
}

#[test]
fn lengths_beyond_the_end_are_refused() {
    for tail in [&[0xff; 9][..], &[0xff, 0xff, 0xff, 0xff, 0x0f], &[0x7f]] {
        let bytes = [&[0x0a], tail].concat();
        assert!(matches!(proto::decode::<ContainerId>(&bytes), Err(DecodeError::Malformed)), "{bytes:?}");
    }
}

#[test]
fn a_field_of_another_wire_type_is_refused() {
    assert!(matches!(proto::decode::<ContainerId>(&[0x08, 1]), Err(DecodeError::Field(_))));
    assert!(matches!(proto::decode::<ContainerId>(&[0x0a, 1, 0xff]), Err(DecodeError::Field(_))));
}

#[test]
fn truncated_messages_are_refused_at_every_byte() {
    for (seed, kit) in (1..).zip(KITS.iter()) {
        let bytes = fill(&kit.descriptor(), &mut Dice::new(seed), 2).encode_to_vec();
        let json = (kit.to_json)(&bytes).unwrap();
        for end in 0..json.len() {
            assert!((kit.from_json)(&json[..end]).is_err(), "{} at {end}", kit.name);
        }
        for end in 0..bytes.len() {
            // Some cuts fall between fields: then only the required ones can be missing.
            drop((kit.normal)(&bytes[..end]));
        }
    }
}

#[test]
fn broken_json_is_refused() {
    let table = [
        ("", "expected a value"),
        (" ", "expected a value"),
        ("{", "expected a key"),
        ("{]", "expected a key"),
        (r#"{"key"}"#, "expected ':'"),
        (r#"{"key":}"#, "expected a value"),
        (r#"{"key":"k",}"#, "expected a key"),
        (r#"{"key":"k";}"#, "expected ',' or '}'"),
        (r#"{"x":[1;]}"#, "expected ',' or ']'"),
        (r#"{"labels":[{}"#, "expected ',' or ']'"),
        (r#"{"x":[1,]}"#, "expected a value"),
        (r#"{"x":tru}"#, "expected a value"),
        (r#"{"x":nul}"#, "expected a value"),
        (r#"{"x":1.}"#, "expected a value"),
        (r#"{"x":-}"#, "expected a value"),
        (r#"{"x":1e}"#, "expected a value"),
        (r#"{"x":01}"#, "expected ',' or '}'"),
        (r#"{"x":"\x"}"#, "unknown escape in a string"),
        (r#"{"x":"\"#, "unknown escape in a string"),
        (r#"{"x":"\u12"}"#, "bad \\u escape in a string"),
        (r#"{"x":"\u12é4"}"#, "bad \\u escape in a string"),
        (r#"{"x":"\ud800"}"#, "bad \\u escape in a string"),
        (r#"{"x":"\ud800\u0041"}"#, "bad \\u escape in a string"),
        (r#"{"x":"\udc00"}"#, "bad \\u escape in a string"),
        ("{\"x\":\"\n\"}", "control character in a string"),
        (r#"{"x":"abc"#, "the string does not end"),
        ("{} {}", "text after the end of the value"),
        ("{}\0", "text after the end of the value"),
        ("\u{feff}{}", "expected a value"),
    ];
    for (text, what) in table {
        let error = json::from_slice::<Labels>(text.as_bytes()).unwrap_err();
        let found = match &error {
            JsonError::Syntax { what, .. } => what,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(*found, what, "{text}");
    }
    assert_eq!(syntax(&json::from_slice::<Labels>(b"{\"\xff\":1}").unwrap_err()), "invalid UTF-8");
}

/// Text that is JSON, or nearly.
fn almost_json() -> impl Strategy<Value = String> {
    let token = prop::sample::select(vec![
        "{", "}", "[", "]", ",", ":", "\"", "\\", "\"a\"", "\"b\"", "null", "true", "false", "0", "1", "-",
        ".", "e", "+", " ", "\n", "\\u", "d834", "\\udd1e", "\u{1}", "é", "0041", "\"\\n\"", "1.5e-3", "/",
        "[]", "{}", "{\"a\":",
    ]);
    prop::collection::vec(token, 0..14).prop_map(|tokens| tokens.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// An unknown key may hold exactly what serde_json calls a value.
    #[test]
    fn what_is_json_is_what_serde_json_says(value in almost_json()) {
        let text = format!("{{\"unknown\":{value}}}");
        let theirs = serde_json::from_str::<serde_json::Value>(&text);
        let ours = json::from_slice::<Labels>(text.as_bytes());
        let out_of_range = theirs.as_ref().is_err_and(|error| error.to_string().contains("out of range"));
        prop_assert!(out_of_range || ours.is_ok() == theirs.is_ok(), "{text}: {ours:?} {theirs:?}");
    }

    #[test]
    fn strings_are_what_serde_json_says(value in almost_json()) {
        let text = format!("{{\"key\":\"{value}\"}}");
        let theirs = serde_json::from_str::<serde_json::Value>(&text).ok();
        let ours = json::from_slice::<wire::v1::Label>(text.as_bytes()).ok();
        if let (Some(ours), Some(theirs)) = (&ours, &theirs) {
            prop_assert_eq!(Some(ours.key.as_str()), theirs["key"].as_str());
        }
        prop_assert!(ours.is_none() || theirs.is_some(), "{}", text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for kit in KITS.iter() {
            drop((kit.normal)(&bytes));
            drop((kit.from_json)(&bytes));
        }
    }

    #[test]
    fn changed_messages_never_panic(seed: u64) {
        let mut dice = Dice::new(seed);
        for kit in KITS.iter() {
            let mut bytes = fill(&kit.descriptor(), &mut dice, 3).encode_to_vec();
            let mut json = (kit.to_json)(&bytes).unwrap();
            for _ in 0..3 {
                for body in [&mut bytes, &mut json] {
                    let at = dice.below(body.len() + 1);
                    if let Some(byte) = body.get_mut(at) {
                        *byte = dice.roll().to_le_bytes()[7];
                    }
                }
                let accepted = (kit.normal)(&bytes);
                drop((kit.from_json)(&json));
                // What the check lets through without prost's objection is complete.
                if let Ok(normal) = accepted {
                    prop_assert!((kit.check)(&normal).is_ok(), "{}", kit.name);
                }
            }
        }
    }
}
