//! Generates the `Json` implementations: short calls into `src/json/`, one per field, in the order of
//! declaration.

use crate::schema::{Element, Field, Message, Schema, Shape};
use std::fmt::Write as _;

/// One `impl Json` for each message and one `impl EnumName` for each enum.
pub fn generate(schema: &Schema) -> String {
    let mut code = String::new();
    for path in &schema.enums {
        writeln!(code, "enum_name!({path});").expect("a String takes everything");
    }
    for message in &schema.messages {
        code.push_str(&implementation(message));
    }
    code
}

/// A macro for the tests that calls another with every message: `(proto name, Rust path below wire)`.
pub fn message_list(schema: &Schema) -> String {
    let mut code = String::from("macro_rules! each_message { ($call:ident) => { $call! {\n");
    for message in &schema.messages {
        let path = message.path.strip_prefix("mesos::").unwrap_or(&message.path);
        writeln!(code, "    ({:?}, wire::{path});", message.name).expect("a String takes everything");
    }
    code.push_str("} } }\n");
    code
}

fn implementation(message: &Message) -> String {
    let required: Vec<&Field> =
        message.fields.iter().filter(|field| matches!(field.shape, Shape::Required)).collect();
    assert!(required.len() <= 64, "{}: the set of seen fields is a u64", message.name);
    let names: Vec<&str> = required.iter().map(|field| field.name.as_str()).collect();
    let mut writes = String::new();
    let mut reads = String::new();
    for field in &message.fields {
        let bit = required.iter().position(|other| other.number == field.number).unwrap_or(0);
        writeln!(writes, "        {};", write_call(field)).expect("a String takes everything");
        writeln!(reads, "            {:?} => {},", field.name, read_call(field, bit))
            .expect("a String takes everything");
    }
    format!(
        "impl Json for {path} {{
    const NAME: &'static str = {name:?};
    const REQUIRED: &'static [&'static str] = &{names:?};
    fn table() -> &'static Table {{ &{table} }}
    fn write_fields(&self, o: &mut Object<'_>) {{
        let _ = &o;
{writes}    }}
    fn read_field(&mut self, key: &str, r: &mut Reader<'_>, seen: &mut u64) -> Result<(), JsonError> {{
        let _ = &seen;
        match key {{
{reads}            _ => r.skip(),
        }}
    }}
}}
",
        path = message.path,
        name = message.name,
        table = crate::tables::ident(&message.name),
    )
}

fn write_call(field: &Field) -> String {
    let (name, ident) = (&field.name, &field.ident);
    match (&field.shape, &field.element) {
        // prost's getter gives the declared default.
        (Shape::Optional, Element::Scalar) if field.prints_default => {
            let method = if field.default_is_text { "text" } else { "required" };
            let by_reference = if field.default_is_text { "" } else { "&" };
            format!("o.{method}({name:?}, {by_reference}self.{ident}())")
        }
        (Shape::Optional, Element::Enum(path)) if field.prints_default => {
            format!("o.required_enum::<{path}>({name:?}, self.{ident}() as i32)")
        }
        (Shape::OneOf { ident, variant }, Element::Enum(path)) => {
            format!("if let Some({variant}(v)) = &self.{ident} {{ o.required_enum::<{path}>({name:?}, *v) }}")
        }
        (Shape::OneOf { ident, variant }, _) => {
            format!("if let Some({variant}(v)) = &self.{ident} {{ o.required({name:?}, v) }}")
        }
        (shape, Element::Enum(path)) => {
            let by_reference = if matches!(shape, Shape::Repeated) { "&" } else { "" };
            format!("o.{}_enum::<{path}>({name:?}, {by_reference}self.{ident})", method(shape))
        }
        (shape, _) => format!("o.{}({name:?}, &self.{ident})", method(shape)),
    }
}

fn read_call(field: &Field, bit: usize) -> String {
    let (name, ident) = (&field.name, &field.ident);
    let seen = if matches!(field.shape, Shape::Required) { format!(", seen, {bit}") } else { String::new() };
    match (&field.shape, &field.element) {
        (Shape::OneOf { ident, variant }, Element::Enum(path)) => {
            format!("r.one_of_enum::<{path}, _>({name:?}, &mut self.{ident}, {variant})")
        }
        (Shape::OneOf { ident, variant }, _) => {
            format!("r.one_of({name:?}, &mut self.{ident}, {variant})")
        }
        (shape, Element::Enum(path)) => {
            format!("r.{}_enum::<{path}>({name:?}, &mut self.{ident}{seen})", method(shape))
        }
        (shape, _) => format!("r.{}({name:?}, &mut self.{ident}{seen})", method(shape)),
    }
}

fn method(shape: &Shape) -> &'static str {
    match shape {
        Shape::Required => "required",
        Shape::Optional => "optional",
        Shape::Implicit => "implicit",
        Shape::Repeated => "repeated",
        Shape::Map => "map",
        Shape::OneOf { .. } => unreachable!("handled by the callers"),
    }
}
