//! Generates the tables by which `src/required.rs` finds missing required fields in protobuf bytes.

use crate::schema::{Element, Field, Schema, Shape};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// One static `Table` per message; tables name each other, also in circles.
pub fn generate(schema: &Schema) -> String {
    let with_maps = with_maps(schema);
    let mut code = String::new();
    for message in &schema.messages {
        let fields: Vec<String> = message.fields.iter().filter_map(|field| entry(schema, field)).collect();
        assert!(fields.len() <= 64, "{}: the set of seen fields is a u64", message.name);
        writeln!(
            code,
            "static {}: Table = Table {{ size: size_of::<{}>(), maps: {}, fields: &[{}] }};",
            ident(&message.name),
            message.path,
            with_maps.contains(&message.name),
            fields.join(", "),
        )
        .expect("a String takes everything");
    }
    code
}

/// Names of the messages that hold a map of messages, at any depth.
fn with_maps(schema: &Schema) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    loop {
        let before = found.len();
        for message in &schema.messages {
            let holds = message.fields.iter().any(|field| match &field.element {
                Element::Message(name) => matches!(field.shape, Shape::Map) || found.contains(name),
                _ => false,
            });
            if holds {
                found.insert(message.name.clone());
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

/// Name of a message's table.
pub fn ident(name: &str) -> String {
    format!("TABLE_{}", name.replace('.', "_")).to_uppercase()
}

/// Required fields and messages only: nothing else can lack anything.
fn entry(schema: &Schema, field: &Field) -> Option<String> {
    let kind = match (&field.shape, &field.element) {
        (Shape::Map, Element::Message(name)) => {
            let path = &schema.message(name).path;
            format!("Kind::Map(&{}, empty::<{path}>)", ident(name))
        }
        (Shape::Map, _) => return None,
        (_, Element::Message(name)) => format!("Kind::Message(&{})", ident(name)),
        (Shape::Required, Element::Enum(path)) => format!("Kind::Enum(<{path} as EnumName>::name)"),
        (Shape::Required, Element::Scalar) => "Kind::Scalar".to_owned(),
        _ => return None,
    };
    let label = match field.shape {
        Shape::Required => "Required",
        Shape::Repeated | Shape::Map => "Repeated",
        _ => "Optional",
    };
    Some(format!(
        "Entry {{ number: {}, name: {:?}, label: Label::{label}, kind: {kind} }}",
        field.number, field.name
    ))
}
