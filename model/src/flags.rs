//! What a flag is: one row with its name, form, default and text. Where values come from is the CLI's business.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::time::parse_duration;

/// How a flag's text is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// Any text.
    Text,
    /// `true` or `false`; `--name` alone is true, `--no-name` false.
    Bool,
    /// A whole number.
    Number,
    /// A duration such as `10secs`.
    Duration,
    /// A path.
    Path,
    /// JSON, or the absolute path of a file with it.
    Json,
}

/// One flag of a command.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Name with underscores, as Mesos writes it.
    pub name: &'static str,
    /// How its text is read.
    pub form: Form,
    /// Value when nobody gives one.
    pub default: Option<&'static str>,
    /// Help, one sentence or two.
    pub help: &'static str,
    /// Older names that mean the same.
    pub aliases: &'static [&'static str],
}

impl Flag {
    /// A row without aliases.
    pub const fn new(
        name: &'static str,
        form: Form,
        default: Option<&'static str>,
        help: &'static str,
    ) -> Flag {
        Flag { name, form, default, help, aliases: &[] }
    }

    /// The same row with older names.
    #[must_use]
    pub const fn aliases(mut self, aliases: &'static [&'static str]) -> Flag {
        self.aliases = aliases;
        self
    }
}

/// A flag whose value can't be used: names the flag.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--{flag}={value}: {why}")]
pub struct BadFlag {
    /// Name of the flag.
    pub flag: String,
    /// The value given.
    pub value: String,
    /// What is wrong with it and what would be right.
    pub why: String,
}

/// The texts of all flags that have a value, defaults included.
#[derive(Clone, Debug, Default)]
pub struct Values {
    texts: BTreeMap<String, String>,
    /// The older names under which flags were given.
    older: BTreeMap<String, String>,
}

impl Values {
    /// The defaults of a table.
    pub fn defaults(table: &[Flag]) -> Values {
        let texts = table.iter().filter_map(|f| Some((f.name.to_owned(), f.default?.to_owned()))).collect();
        Values { texts, older: BTreeMap::new() }
    }

    /// Sets one value.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.texts.insert(name.to_owned(), value.into());
        self.older.remove(name);
    }

    /// Sets one value that was given under an older name of the flag.
    pub fn set_under(&mut self, name: &str, older: &str, value: impl Into<String>) {
        self.set(name, value);
        self.older.insert(name.to_owned(), older.to_owned());
    }

    /// The text of a flag.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(String::as_str)
    }

    /// All flags with a value (what `/state` and `/flags` show). Mesos: each under the name by which it was given.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts.iter().map(|(name, value)| (self.older.get(name).unwrap_or(name).as_str(), value.as_str()))
    }

    /// A text that must be there.
    ///
    /// # Errors
    /// Names the missing flag.
    pub fn required(&self, name: &str) -> Result<&str, BadFlag> {
        self.text(name).ok_or_else(|| bad(name, "", "this flag must be given"))
    }

    /// A boolean; false when absent.
    ///
    /// # Errors
    /// The value is neither true nor false.
    pub fn bool(&self, name: &str) -> Result<bool, BadFlag> {
        match self.text(name) {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1" | "") => Ok(true),
            Some(other) => Err(bad(name, other, "expected true or false")),
        }
    }

    /// A number.
    ///
    /// # Errors
    /// The value is no number of that type.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, BadFlag> {
        self.text(name)
            .map(|text| text.parse().map_err(|_| bad(name, text, "expected a number in range")))
            .transpose()
    }

    /// A duration.
    ///
    /// # Errors
    /// The value is no duration.
    pub fn duration(&self, name: &str) -> Result<Option<Duration>, BadFlag> {
        self.text(name).map(|text| parse_duration(text).map_err(|why| bad(name, text, &why))).transpose()
    }

    /// A path.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(PathBuf::from)
    }
}

/// A refusal of a flag's value.
pub fn bad(flag: &str, value: &str, why: &str) -> BadFlag {
    BadFlag { flag: flag.to_owned(), value: value.to_owned(), why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Flag] = &[
        Flag::new("port", Form::Number, Some("5050"), "Port."),
        Flag::new("work_dir", Form::Path, None, "Where state lives."),
        Flag::new("strict", Form::Bool, Some("true"), "Strict."),
    ];

    #[test]
    fn values_are_read_by_form() {
        let mut values = Values::defaults(TABLE);
        assert_eq!(values.number::<u16>("port").unwrap(), Some(5050));
        assert!(values.bool("strict").unwrap());
        assert_eq!(values.required("work_dir").unwrap_err().flag, "work_dir");
        values.set("port", "70000");
        let message = values.number::<u16>("port").unwrap_err().to_string();
        assert_eq!(message, "--port=70000: expected a number in range");
    }

    #[test]
    fn values_are_shown_under_the_names_they_were_given_by() {
        let mut values = Values::defaults(TABLE);
        values.set_under("port", "door", "1");
        assert_eq!(values.text("port"), Some("1"));
        assert_eq!(values.iter().collect::<Vec<_>>(), [("door", "1"), ("strict", "true")]);
        values.set("port", "2");
        assert_eq!(values.iter().collect::<Vec<_>>(), [("port", "2"), ("strict", "true")]);
    }
}
