//! Writes the JSON of the older pages: fields in the order of the calls, numbers as Mesos prints them.

use serde_json::Value;

/// A JSON object being written.
pub struct Object<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

/// Appends an object.
pub fn object(out: &mut Vec<u8>, fields: impl FnOnce(&mut Object<'_>)) {
    out.push(b'{');
    fields(&mut Object { out, first: true });
    out.push(b'}');
}

/// Appends an array.
pub fn array<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(b'[');
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

/// Appends a string.
pub fn string(out: &mut Vec<u8>, text: &str) {
    value(out, &Value::from(text));
}

fn value(out: &mut Vec<u8>, value: &Value) {
    serde_json::to_writer(out, value).expect("writing to memory doesn't fail");
}

impl Object<'_> {
    fn key(&mut self, name: &str) -> &mut Vec<u8> {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        string(self.out, name);
        self.out.push(b':');
        self.out
    }

    /// A string.
    pub fn text(&mut self, name: &str, text: &str) {
        string(self.key(name), text);
    }

    /// A string, left out when there is none.
    pub fn text_if(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    /// A double: whole ones end in `.0`. Infinity is a string, as in the v1 JSON.
    pub fn number(&mut self, name: &str, number: f64) {
        if number.is_infinite() {
            return self.text(name, if number > 0.0 { "Infinity" } else { "-Infinity" });
        }
        value(self.key(name), &Value::from(number));
    }

    /// A whole number.
    pub fn count(&mut self, name: &str, number: usize) {
        value(self.key(name), &Value::from(number));
    }

    /// A whole number that may be negative.
    pub fn integer(&mut self, name: &str, number: i64) {
        value(self.key(name), &Value::from(number));
    }

    /// A boolean.
    pub fn flag(&mut self, name: &str, flag: bool) {
        value(self.key(name), &Value::from(flag));
    }

    /// An object.
    pub fn object(&mut self, name: &str, fields: impl FnOnce(&mut Object<'_>)) {
        object(self.key(name), fields);
    }

    /// An array.
    pub fn array<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        write: impl FnMut(&mut Vec<u8>, T),
    ) {
        array(self.key(name), items, write);
    }

    /// An array of strings.
    pub fn texts<T: AsRef<str>>(&mut self, name: &str, items: impl IntoIterator<Item = T>) {
        self.array(name, items, |out, text| string(out, text.as_ref()));
    }

    /// A message of the v1 schema.
    pub fn message<M: wire::Json>(&mut self, name: &str, message: &M) {
        wire::json::write(message, self.key(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_strings_look_as_mesos_prints_them() {
        let mut out = Vec::new();
        object(&mut out, |o| {
            o.number("whole", 4.0);
            o.number("part", 0.1);
            o.number("endless", f64::INFINITY);
            o.count("count", 3);
            o.integer("port", -1);
            o.flag("yes", true);
            o.text("quoted", "a\"\\\n\u{1}é");
            o.text_if("absent", None);
            o.texts("names", ["x", "y"]);
            o.object("empty", |_| ());
        });
        let expected = r#"{"whole":4.0,"part":0.1,"endless":"Infinity","count":3,"port":-1,"yes":true,"quoted":"a\"\\\n\u0001é","names":["x","y"],"empty":{}}"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
