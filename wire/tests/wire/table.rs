//! The compiled descriptors against the schema table, row by row and in both directions.

use crate::catalog::POOL;
use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, Syntax};
use std::collections::BTreeSet;
use std::path::Path;

/// package, message, kind, name, number, label, type, default, deprecated
type Row = [String; 9];

#[test]
fn every_row_of_the_schema_table_is_compiled_and_nothing_else() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/facts/mesos/v1-schema.tsv");
    let Ok(table) = std::fs::read_to_string(&path) else {
        println!("SKIPPED: schema table: {} is not there", path.display());
        return;
    };
    let expected: BTreeSet<Row> = table.lines().skip(1).map(row).collect();
    assert_eq!(expected.len(), table.lines().count() - 1, "the table has a row twice");
    let mut compiled = BTreeSet::new();
    for message in POOL.all_messages().filter(|message| ours(message.package_name())) {
        message_rows(&message, &mut compiled);
    }
    for kind in POOL.all_enums().filter(|kind| ours(kind.package_name())) {
        enum_rows(&kind, &mut compiled);
    }
    let missing: Vec<_> = expected.difference(&compiled).collect();
    let extra: Vec<_> = compiled.difference(&expected).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "not compiled: {missing:#?}\nnot in the table: {extra:#?}"
    );
}

#[test]
fn the_schema_is_proto2() {
    for file in POOL.files().filter(|file| ours(file.package_name())) {
        assert_eq!(file.syntax(), Syntax::Proto2, "{}", file.name());
    }
}

fn ours(package: &str) -> bool {
    package == "mesos.v1" || package.starts_with("mesos.v1.")
}

/// A line of the table, types resolved to full names.
fn row(line: &str) -> Row {
    let cells: Vec<&str> = line.split('\t').collect();
    let mut row: Row = std::array::from_fn(|index| cells[index].to_owned());
    row[6] = match cells[6].strip_prefix("map<string,").and_then(|rest| rest.strip_suffix('>')) {
        Some(value) => format!("map<string,{}>", resolve(cells[0], cells[1], value)),
        None => resolve(cells[0], cells[1], cells[6]),
    };
    row[7] = default(cells[7].trim_matches('"'), cells[6]);
    row
}

/// Protobuf's scoping: the innermost scope that knows the name.
fn resolve(package: &str, message: &str, name: &str) -> String {
    let mut scope = format!("{package}.{message}");
    loop {
        let candidate = if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") };
        let known =
            POOL.get_message_by_name(&candidate).is_some() || POOL.get_enum_by_name(&candidate).is_some();
        if known {
            return candidate;
        }
        if scope.is_empty() {
            return name.to_owned();
        }
        scope.truncate(scope.rfind('.').unwrap_or(0));
    }
}

/// `15.0` and `15` are the same double.
fn default(text: &str, kind: &str) -> String {
    match text.parse::<f64>() {
        Ok(value) if kind == "double" => value.to_string(),
        _ => text.to_owned(),
    }
}

fn message_rows(message: &MessageDescriptor, rows: &mut BTreeSet<Row>) {
    if message.is_map_entry() {
        return;
    }
    let (package, name) = split(message.package_name(), message.full_name());
    let cell = |text: &str| text.to_owned();
    if message.fields().len() == 0 {
        let empty = || String::new();
        let none = cell("(no fields)");
        rows.insert([package, name, cell("message"), none, empty(), empty(), empty(), empty(), cell("no")]);
        return;
    }
    for field in message.fields() {
        let proto = field.field_descriptor_proto();
        let deprecated = proto.options.as_ref().is_some_and(|options| options.deprecated());
        let kind = type_name(&field);
        let default = default(proto.default_value(), &kind);
        rows.insert([
            package.clone(),
            name.clone(),
            cell("message"),
            cell(field.name()),
            field.number().to_string(),
            label(&field),
            kind,
            default,
            cell(if deprecated { "yes" } else { "no" }),
        ]);
    }
}

fn enum_rows(kind: &EnumDescriptor, rows: &mut BTreeSet<Row>) {
    let (package, name) = split(kind.package_name(), kind.full_name());
    for value in kind.values() {
        let options = value.enum_value_descriptor_proto().options.as_ref();
        let deprecated = if options.is_some_and(|options| options.deprecated()) { "yes" } else { "no" };
        let mut row: Row = std::array::from_fn(|_| String::new());
        row[0].clone_from(&package);
        row[1].clone_from(&name);
        row[2] = "enum".to_owned();
        row[3] = value.name().to_owned();
        row[4] = value.number().to_string();
        row[8] = deprecated.to_owned();
        rows.insert(row);
    }
}

fn split(package: &str, full_name: &str) -> (String, String) {
    (package.to_owned(), full_name[package.len() + 1..].to_owned())
}

fn label(field: &FieldDescriptor) -> String {
    match field.containing_oneof() {
        Some(oneof) => format!("oneof {}", oneof.name()),
        None if field.is_map() => "singular".to_owned(),
        None if field.is_list() => "repeated".to_owned(),
        None if field.is_required() => "required".to_owned(),
        None => "optional".to_owned(),
    }
}

fn type_name(field: &FieldDescriptor) -> String {
    match field.kind() {
        Kind::Message(entry) if entry.is_map_entry() => {
            let key = type_name(&entry.map_entry_key_field());
            format!("map<{key},{}>", type_name(&entry.map_entry_value_field()))
        }
        Kind::Message(message) => message.full_name().to_owned(),
        Kind::Enum(kind) => kind.full_name().to_owned(),
        scalar => format!("{scalar:?}").to_lowercase(),
    }
}
