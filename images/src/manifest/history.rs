//! How an image was made, as far as its configuration tells. Only for showing: nothing is steered by it.

use serde::Deserialize;

/// What a configuration says of its past; whatever it has wrong counts as not said.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Past {
    pub(crate) created: Option<String>,
    pub(crate) author: Option<String>,
    pub(crate) os: String,
    pub(crate) architecture: String,
    pub(crate) history: Vec<Step>,
}

/// One step of an image's making.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Step {
    /// When, in the configuration's own words (RFC 3339).
    pub created: Option<String>,
    /// By which command.
    pub created_by: Option<String>,
    /// Whatever else was said.
    pub comment: Option<String>,
    /// Whether it made no layer.
    pub empty_layer: bool,
}

impl Past {
    pub(crate) fn parse(config: &[u8]) -> Self {
        serde_json::from_slice(config).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_past_that_makes_no_sense_is_no_past() {
        let past = Past::parse(br#"{"created":"2026-01-01T00:00:00Z","history":[{"created_by":"COPY a /","x":1},{"empty_layer":true}]}"#);
        assert_eq!((past.created.as_deref(), past.history.len()), (Some("2026-01-01T00:00:00Z"), 2));
        assert!(past.history[1].empty_layer);
        for odd in ["", "[]", r#"{"history":7}"#, r#"{"history":[{"created":{}}]}"#] {
            assert!(Past::parse(odd.as_bytes()).history.is_empty());
        }
    }
}
