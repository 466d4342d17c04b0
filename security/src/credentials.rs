//! Principals and their secrets, in the two forms of Mesos' files.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use ring::hmac;
use serde::Deserialize;

use crate::file::{BadFile, read_secret};

/// A principal and its secret.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct Credential {
    principal: String,
    #[serde(default)]
    secret: String,
}

#[derive(Deserialize)]
struct Credentials {
    credentials: Vec<Credential>,
}

/// Why a file gives no credentials.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file can't be used.
    #[error(transparent)]
    File(#[from] BadFile),
    /// The operating system gave no random bytes.
    #[error("can't get random bytes from the operating system")]
    Random,
}

impl Credential {
    /// Who.
    pub fn principal(&self) -> &str {
        &self.principal
    }

    /// As a header `Authorization` says it.
    pub fn basic(&self) -> String {
        use base64::Engine as _;
        let plain = format!("{}:{}", self.principal, self.secret);
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(plain))
    }
}

/// Without the secret.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({}, …)", self.principal)
    }
}

/// Reads a list: `{"credentials": [{"principal": …, "secret": …}]}`, or lines of a principal and a secret.
///
/// # Errors
/// What is wrong, without anything of what is secret.
pub fn parse_list(text: &str) -> Result<Vec<Credential>, String> {
    let all = if text.trim_start().starts_with('{') {
        // The parser's own words may quote a secret; the place is enough.
        let place = |error: serde_json::Error| {
            let (line, column) = (error.line(), error.column());
            format!(
                "expected {{\"credentials\": [{{\"principal\": …, \"secret\": …}}]}}; line {line}, column {column}"
            )
        };
        serde_json::from_str::<Credentials>(text).map_err(place)?.credentials
    } else {
        lines(text)?
    };
    all.iter().try_for_each(check)?;
    Ok(all)
}

/// Reads one: `{"principal": …, "secret": …}`, or a line of both.
///
/// # Errors
/// As [`parse_list`].
pub fn parse_one(text: &str) -> Result<Credential, String> {
    let one = if text.trim_start().starts_with('{') {
        let place = |error: serde_json::Error| {
            let (line, column) = (error.line(), error.column());
            format!("expected {{\"principal\": …, \"secret\": …}}; line {line}, column {column}")
        };
        serde_json::from_str::<Credential>(text).map_err(place)?
    } else {
        let mut all = lines(text)?;
        match (all.pop(), all.is_empty()) {
            (Some(one), true) => one,
            _ => return Err("expected one principal with its secret".to_owned()),
        }
    };
    check(&one)?;
    Ok(one)
}

/// Mesos: two words a line, with blanks between them.
fn lines(text: &str) -> Result<Vec<Credential>, String> {
    let full = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    full.map(|(number, line)| {
        let mut words = line.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some(principal), Some(secret), None) => {
                Ok(Credential { principal: principal.to_owned(), secret: secret.to_owned() })
            }
            _ => Err(format!("line {number}: expected a principal and a secret, with a blank between them")),
        }
    })
    .collect()
}

fn check(one: &Credential) -> Result<(), String> {
    if one.principal.is_empty() || one.principal.contains(':') || one.principal.chars().any(char::is_control)
    {
        return Err("a principal is empty, or has a colon or a control character in it".to_owned());
    }
    if one.secret.is_empty() {
        return Err(format!("the principal '{}' has no secret", one.principal.escape_debug()));
    }
    Ok(())
}

fn read_text<T>(
    flag: &'static str,
    path: &Path,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, SecretError> {
    let content = |why| BadFile::content(flag, path, why);
    let bytes = read_secret(flag, path, "a file of principals and secrets")?;
    let text = std::str::from_utf8(&bytes).map_err(|_| content("expected a text in UTF-8".to_owned()))?;
    Ok(parse(text).map_err(content)?)
}

/// Reads the file of a list.
///
/// # Errors
/// Names the flag.
pub fn read_list(flag: &'static str, path: &Path) -> Result<Vec<Credential>, SecretError> {
    read_text(flag, path, parse_list)
}

/// Reads the file of one.
///
/// # Errors
/// Names the flag.
pub fn read_one(flag: &'static str, path: &Path) -> Result<Credential, SecretError> {
    read_text(flag, path, parse_one)
}

/// What secrets are compared with. Only what they look like under a key of this process is kept of them.
pub struct Logins {
    key: hmac::Key,
    tags: HashMap<String, hmac::Tag>,
    nobody: hmac::Tag,
}

impl Logins {
    /// Those of a list. Mesos: of two for one principal the last counts.
    ///
    /// # Errors
    /// There are no random bytes.
    pub fn new(all: Vec<Credential>) -> Result<Logins, SecretError> {
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(|_| SecretError::Random)?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &random);
        let tags = all.into_iter().map(|one| (one.principal, hmac::sign(&key, one.secret.as_bytes())));
        let tags = tags.collect();
        let nobody = hmac::sign(&key, &random);
        Ok(Logins { key, tags, nobody })
    }

    /// Whether the secret is the principal's. How long that takes tells nothing of either.
    pub fn are_right(&self, principal: &str, secret: &str) -> bool {
        let known = self.tags.get(principal);
        let same = hmac::verify(&self.key, secret.as_bytes(), known.unwrap_or(&self.nobody).as_ref()).is_ok();
        same && known.is_some()
    }
}

impl fmt::Debug for Logins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Logins({})", self.tags.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_mesos_are_read() {
        let json =
            r#"{"credentials": [{"principal": "a", "secret": "b c"}, {"principal": "d", "secret": "e"}]}"#;
        let all = parse_list(json).unwrap();
        assert_eq!(all.iter().map(Credential::principal).collect::<Vec<_>>(), ["a", "d"]);
        let lines = parse_list("a b\n\n  d\te  \n").unwrap();
        assert_eq!(lines[1], all[1]);
        assert_eq!(parse_one(r#"{"principal": "d", "secret": "e"}"#).unwrap(), all[1]);
        assert_eq!(parse_one("d e\n").unwrap(), all[1]);
        assert_eq!(parse_list("").unwrap(), []);
        assert_eq!(all[0].basic(), "Basic YTpiIGM=");
        assert_eq!(format!("{:?}", all[0]), "Credential(a, …)");
    }

    #[test]
    fn what_is_wrong_is_said_without_a_secret() {
        for bad in [
            "a hush hush",
            "hush",
            r#"{"credentials": [{"principal": "a:b", "secret": "hush"}]}"#,
            r#"{"credentials": [{"principal": "a", "secret": hush}]}"#,
            r#"{"credentials": [{"principal": "a"}]}"#,
            r#"{"credentials": [{"secret": "hush"}]}"#,
            r#"{"credentials": {"principal": "a", "secret": "hush"}}"#,
            r#"{"credentials": "hush"}"#,
            r#"{"principal": "a", "secret": "hush"}"#,
            "{",
        ] {
            let why = parse_list(bad).unwrap_err();
            assert!(!why.contains("hush") && !why.is_empty(), "{bad}: {why}");
        }
        for bad in ["", "a b\nc d", r#"{"credentials": []}"#, r#"{"principal": "", "secret": "hush"}"#] {
            assert!(!parse_one(bad).unwrap_err().contains("hush"), "{bad}");
        }
    }

    #[test]
    fn logins_are_compared() {
        let logins = Logins::new(parse_list("a one\na two\nb three").unwrap()).unwrap();
        assert!(logins.are_right("a", "two") && logins.are_right("b", "three"));
        for (principal, secret) in [("a", "one"), ("a", ""), ("b", "two"), ("c", "three"), ("", "")] {
            assert!(!logins.are_right(principal, secret), "{principal}:{secret}");
        }
        assert_eq!(format!("{logins:?}"), "Logins(2)");
    }
}
