//! The compiled descriptors as the generators want them: a flat list of messages and enums with Rust paths.

use heck::{ToSnakeCase as _, ToUpperCamelCase as _};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use std::collections::BTreeMap;

/// Everything outside of tepui's own packages.
pub struct Schema {
    pub messages: Vec<Message>,
    /// Rust paths of the enums.
    pub enums: Vec<String>,
}

pub struct Message {
    /// Full proto name, such as `mesos.v1.Offer.Operation`.
    pub name: String,
    /// Path of the Rust type, from the module that holds the root packages.
    pub path: String,
    pub fields: Vec<Field>,
}

pub struct Field {
    /// Name in the .proto file, which is the JSON key.
    pub name: String,
    /// Name of the Rust field.
    pub ident: String,
    pub number: u32,
    pub shape: Shape,
    pub element: Element,
    /// Declared a default and is not deprecated: Mesos prints it even when unset.
    pub prints_default: bool,
    /// prost's getter gives a `&str`, not a number.
    pub default_is_text: bool,
}

/// How a field holds its element.
pub enum Shape {
    Required,
    Optional,
    /// proto3 without presence.
    Implicit,
    Repeated,
    /// String to element.
    Map,
    OneOf {
        /// Rust field that holds the choice.
        ident: String,
        /// Path of the Rust enum's variant.
        variant: String,
    },
}

pub enum Element {
    Scalar,
    /// Rust path of the enum.
    Enum(String),
    /// Full proto name of the message.
    Message(String),
}

impl Schema {
    pub fn of(set: &FileDescriptorSet) -> Self {
        let mut walk = Walk::default();
        let files = set.file.iter().filter(|file| !file.package().starts_with("tepui."));
        for file in files.clone() {
            let module = file.package().split('.').map(snake).collect::<Vec<_>>().join("::");
            walk.scope(file.package(), &module, &file.message_type, &file.enum_type);
        }
        let messages = walk.found.iter().map(|found| walk.message(found)).collect();
        Schema { messages, enums: walk.enums.values().cloned().collect() }
    }

    /// The message with this full proto name.
    pub fn message(&self, name: &str) -> &Message {
        self.messages.iter().find(|message| message.name == name).expect("protox has resolved the name")
    }
}

#[derive(Default)]
struct Walk<'a> {
    found: Vec<Found<'a>>,
    /// Full proto name to Rust path.
    enums: BTreeMap<String, String>,
    /// Full proto names of map entries to the field of their value.
    entries: BTreeMap<String, &'a FieldDescriptorProto>,
}

struct Found<'a> {
    name: String,
    module: String,
    path: String,
    descriptor: &'a DescriptorProto,
}

impl<'a> Walk<'a> {
    fn scope(
        &mut self,
        prefix: &str,
        module: &str,
        messages: &'a [DescriptorProto],
        enums: &'a [EnumDescriptorProto],
    ) {
        for kind in enums {
            let path = format!("{module}::{}", kind.name().to_upper_camel_case());
            self.enums.insert(format!("{prefix}.{}", kind.name()), path);
        }
        for descriptor in messages {
            let name = format!("{prefix}.{}", descriptor.name());
            if descriptor.options.as_ref().is_some_and(|options| options.map_entry()) {
                let value = descriptor.field.iter().find(|field| field.number() == 2);
                self.entries.insert(name, value.expect("a map entry has a value"));
                continue;
            }
            let inner = format!("{module}::{}", snake(descriptor.name()));
            let path = format!("{module}::{}", descriptor.name().to_upper_camel_case());
            self.scope(&name, &inner, &descriptor.nested_type, &descriptor.enum_type);
            self.found.push(Found { name, module: inner, path, descriptor });
        }
    }

    fn message(&self, found: &Found<'a>) -> Message {
        let fields = found.descriptor.field.iter().map(|field| self.field(found, field)).collect();
        Message { name: found.name.clone(), path: found.path.clone(), fields }
    }

    fn field(&self, found: &Found<'a>, field: &FieldDescriptorProto) -> Field {
        let entry = self.entries.get(field.type_name().trim_start_matches('.'));
        let value = entry.copied().unwrap_or(field);
        let deprecated = field.options.as_ref().is_some_and(|options| options.deprecated());
        Field {
            name: field.name().to_owned(),
            ident: snake(field.name()),
            number: u32::try_from(field.number()).expect("field numbers are positive"),
            shape: if entry.is_some() { Shape::Map } else { shape(found, field) },
            element: self.element(value),
            prints_default: field.default_value.is_some() && !deprecated,
            default_is_text: field.r#type() == Type::String,
        }
    }

    fn element(&self, field: &FieldDescriptorProto) -> Element {
        let name = field.type_name().trim_start_matches('.');
        match field.r#type() {
            Type::Enum => Element::Enum(self.enums[name].clone()),
            Type::Message => Element::Message(name.to_owned()),
            Type::Group => panic!("{}: groups are not known here", field.name()),
            _ => Element::Scalar,
        }
    }
}

fn shape(found: &Found<'_>, field: &FieldDescriptorProto) -> Shape {
    if let (Some(index), false) = (field.oneof_index, field.proto3_optional()) {
        let choice = found.descriptor.oneof_decl[usize::try_from(index).expect("an index")].name();
        let (choice_type, variant) = (choice.to_upper_camel_case(), field.name().to_upper_camel_case());
        let variant = format!("{}::{choice_type}::{variant}", found.module);
        return Shape::OneOf { ident: snake(choice), variant };
    }
    match field.label() {
        Label::Required => Shape::Required,
        Label::Repeated => Shape::Repeated,
        // The one proto3 package in here; its fields have no presence.
        Label::Optional if found.name.starts_with("google.protobuf.") => Shape::Implicit,
        Label::Optional => Shape::Optional,
    }
}

/// A name the way prost spells fields and modules.
fn snake(name: &str) -> String {
    match name.to_snake_case().as_str() {
        "type" => "r#type".to_owned(),
        other => other.to_owned(),
    }
}
