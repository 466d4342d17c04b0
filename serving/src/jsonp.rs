//! `?jsonp=NAME`: the JSON of the older pages as a script, which Mesos' web page depends on.

use wire::query::Query;

/// Content type of a script.
pub const SCRIPT: &str = "text/javascript";

/// Longest name of a function.
const MAX_NAME: usize = 128;

/// The name can't be used; 400.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("'jsonp' is not the name of a function")]
pub struct BadName;

/// The function that the client wants to be called, if it wants one.
///
/// # Errors
/// Other texts than a name: they would be run by whoever loads the script.
pub fn function(query: &Query) -> Result<Option<String>, BadName> {
    let Some(name) = query.get("jsonp") else { return Ok(None) };
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '.');
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(fits) {
        return Err(BadName);
    }
    Ok(Some(name.to_owned()))
}

/// Content type and body of an answer: the JSON as it is, or `NAME(...);`.
pub fn body(function: Option<&str>, json: Vec<u8>) -> (&'static str, Vec<u8>) {
    match function {
        None => (wire::media::JSON, json),
        Some(name) => (SCRIPT, [name.as_bytes(), b"(", &json, b");"].concat()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_are_called() {
        let of = |query: &str| function(&Query::parse(query));
        assert_eq!(of("x=1"), Ok(None));
        assert_eq!(of("jsonp=angular.callbacks._0"), Ok(Some("angular.callbacks._0".to_owned())));
        for bad in ["jsonp=", "jsonp", "jsonp=alert(1)", "jsonp=a%20b", "jsonp=%3Cscript%3E"] {
            assert_eq!(of(bad), Err(BadName), "{bad}");
        }
        assert_eq!(of(&format!("jsonp={}", "a".repeat(129))), Err(BadName));
        assert_eq!(body(Some("f"), b"{}".to_vec()), ("text/javascript", b"f({});".to_vec()));
        assert_eq!(body(None, b"{}".to_vec()), ("application/json", b"{}".to_vec()));
    }
}
