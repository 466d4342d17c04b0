//! Endpoints that an operator has closed: `--firewall_rules`.

use std::fs;
use std::path::Path;

use serde::Deserialize;

/// Endpoints that are answered with 403.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Firewall {
    paths: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    disabled_endpoints: Option<Endpoints>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Endpoints {
    #[serde(default)]
    paths: Vec<String>,
}

impl Firewall {
    /// Reads `{"disabled_endpoints": {"paths": ["/files/browse"]}}`. A rule of another kind is refused: it would protect
    /// something.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Firewall, String> {
        let expected = r#"expected {"disabled_endpoints": {"paths": ["/files/browse"]}}"#;
        let rules: Rules = serde_json::from_str(text).map_err(|why| format!("{expected}: {why}"))?;
        let paths = rules.disabled_endpoints.map(|endpoints| endpoints.paths).unwrap_or_default();
        if let Some(bad) = paths.iter().find(|path| !path.starts_with('/')) {
            return Err(format!("{expected}: '{bad}' doesn't begin with a slash"));
        }
        Ok(Firewall { paths })
    }

    /// Reads the value of a flag. Mesos: JSON, or the path of a file with it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of_flag(value: &str) -> Result<Firewall, String> {
        if value.starts_with('/') {
            let text = fs::read_to_string(Path::new(value)).map_err(|why| format!("can't be read: {why}"))?;
            return Firewall::parse(&text);
        }
        Firewall::parse(value)
    }

    /// The text of the answer 403, when the path is closed. Mesos compares the path as it stands; here all spellings of an
    /// endpoint are one, as far as `same` says so of a listed path.
    pub fn refuses(&self, path: &str, same: impl Fn(&str) -> bool) -> Option<String> {
        let closed = self.paths.iter().any(|listed| listed == path || same(listed));
        closed.then(|| format!("Endpoint '{path}' is disabled"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read() {
        let rules =
            Firewall::parse(r#"{"disabled_endpoints": {"paths": ["/files/browse", "/state"]}}"#).unwrap();
        assert_eq!(rules.refuses("/state", |_| false).as_deref(), Some("Endpoint '/state' is disabled"));
        let other_spelling = rules.refuses("/state.json", |listed| listed == "/state");
        assert_eq!(other_spelling.as_deref(), Some("Endpoint '/state.json' is disabled"));
        assert_eq!(rules.refuses("/slaves", |_| false), None);
        assert_eq!(Firewall::parse("{}").unwrap(), Firewall::default());
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), r#"{"disabled_endpoints": {"paths": ["/files/browse", "/state"]}}"#).unwrap();
        assert_eq!(Firewall::of_flag(file.path().to_str().unwrap()).unwrap(), rules);
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for bad in [
            "",
            "[]",
            r#"{"enabled_endpoints": {"paths": []}}"#,
            r#"{"disabled_endpoints": ["/state"]}"#,
            r#"{"disabled_endpoints": {"paths": ["state"]}}"#,
            r#"{"disabled_endpoints": {"path": "/state"}}"#,
        ] {
            assert!(Firewall::parse(bad).unwrap_err().contains("disabled_endpoints"), "{bad}");
        }
        assert!(Firewall::of_flag("/nowhere/rules").unwrap_err().contains("can't be read"));
    }
}
