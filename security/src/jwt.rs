//! Tokens: JSON Web Tokens with HMAC-SHA-256 and nothing else (RFC 7515, 7519).

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Map, Value};

use crate::file::{BadFile, read_secret};

/// A longer one is no token.
const LONGEST: usize = 8 << 10;
/// RFC 7518: a key has at least as many bits as the hash.
const SHORTEST_KEY: usize = 32;
/// How far clocks may differ, in seconds.
const LEEWAY: f64 = 5.0;

/// What tokens are signed with.
#[derive(Clone, Debug)]
pub struct Key(hmac::Key);

/// Why a token is refused, for RFC 6750's `error_description`: nothing of the token is in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("Invalid JWT: {0}")]
pub struct BadToken(&'static str);

impl Key {
    /// Reads the file, to its last byte. Mesos: a line's end is part of the key.
    ///
    /// # Errors
    /// It can't be read, or is too short.
    pub fn read(flag: &'static str, path: &Path) -> Result<Key, BadFile> {
        let bytes = read_secret(flag, path, "a file with a key")?;
        Key::new(&bytes).ok_or_else(|| {
            let why = format!("a key has at least {SHORTEST_KEY} bytes, this one {}", bytes.len());
            BadFile::content(flag, path, why)
        })
    }

    /// A key of these bytes, unless they are too few.
    pub fn new(bytes: &[u8]) -> Option<Key> {
        (bytes.len() >= SHORTEST_KEY).then(|| Key(hmac::Key::new(hmac::HMAC_SHA256, bytes)))
    }

    /// The principal of a token that is valid at that time, seconds since the epoch. Mesos: a token may have claims and no
    /// principal.
    ///
    /// # Errors
    /// It is not valid.
    pub fn verify(&self, token: &str, now: f64) -> Result<Option<String>, BadToken> {
        if token.len() > LONGEST {
            return Err(BadToken("it is too long"));
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(BadToken("expected three parts"))?;
        let (header, claims) = signed.split_once('.').ok_or(BadToken("expected three parts"))?;
        algorithm(&object(header)?)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| BadToken("a part is no base64url"))?;
        hmac::verify(&self.0, signed.as_bytes(), &signature)
            .map_err(|_| BadToken("the signature is wrong"))?;
        // Only now is what it says of interest.
        let claims = object(claims)?;
        times(&claims, now)?;
        match claims.get("sub") {
            None => Ok(None),
            Some(Value::String(principal)) if !principal.is_empty() => Ok(Some(principal.clone())),
            Some(_) => Err(BadToken("'sub' is no principal")),
        }
    }
}

fn object(part: &str) -> Result<Map<String, Value>, BadToken> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| BadToken("a part is no base64url"))?;
    serde_json::from_slice(&bytes).map_err(|_| BadToken("a part is no JSON object"))
}

/// The key is for one algorithm: what a token says of it is not believed but compared.
fn algorithm(header: &Map<String, Value>) -> Result<(), BadToken> {
    if header.get("alg").and_then(Value::as_str) != Some("HS256") {
        return Err(BadToken("the algorithm is not HS256"));
    }
    let kind = header.get("typ").map(|kind| kind.as_str().unwrap_or_default());
    if kind.is_some_and(|kind| !kind.eq_ignore_ascii_case("JWT")) {
        return Err(BadToken("the type is not JWT"));
    }
    // RFC 7515: extensions that are not understood must not be ignored.
    if header.contains_key("crit") {
        return Err(BadToken("it has extensions"));
    }
    Ok(())
}

/// Mesos lets tokens without an end be; here every one must have an end.
fn times(claims: &Map<String, Value>, now: f64) -> Result<(), BadToken> {
    let end = claims.get("exp").and_then(Value::as_f64).ok_or(BadToken("'exp' is missing"))?;
    if now >= end {
        return Err(BadToken("it has expired"));
    }
    match claims.get("nbf").map(Value::as_f64) {
        None => Ok(()),
        Some(Some(begin)) if begin <= now + LEEWAY => Ok(()),
        Some(_) => Err(BadToken("it is not valid yet")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"a key of thirty-two bytes, no less";

    fn token(header: &str, claims: &str) -> String {
        let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
        let signed = format!("{header}.{claims}");
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, KEY), signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
    }

    fn verified(token: &str) -> Result<Option<String>, &'static str> {
        Key::new(KEY).unwrap().verify(token, 1000.0).map_err(|BadToken(why)| why)
    }

    const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

    #[test]
    fn good_tokens_name_their_principal() {
        assert_eq!(verified(&token(HEADER, r#"{"sub":"me","exp":1001}"#)), Ok(Some("me".to_owned())));
        assert_eq!(verified(&token(r#"{"alg":"HS256"}"#, r#"{"exp":1e9,"nbf":1004,"fid":"x"}"#)), Ok(None));
    }

    #[test]
    fn a_token_of_others_is_understood() {
        // The example of RFC 7515, A.1.
        let key = URL_SAFE_NO_PAD
            .decode("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow");
        let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6\
                     Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let key = Key::new(&key.unwrap()).unwrap();
        assert_eq!(key.verify(token, 1_300_819_379.0), Ok(None));
        assert_eq!(key.verify(token, 1_300_819_380.0), Err(BadToken("it has expired")));
    }

    #[test]
    fn what_is_not_signed_by_this_key_as_it_should_is_refused() {
        let claims = r#"{"sub":"me","exp":2000}"#;
        let good = token(HEADER, claims);
        let (signed, _) = good.rsplit_once('.').unwrap();
        let [none, other, rs] = [r#"{"alg":"none"}"#, r#"{"alg":"hs256"}"#, r#"{"alg":"RS256","typ":"JWT"}"#];
        for (bad, why) in [
            (token(none, claims), "the algorithm is not HS256"),
            (token(other, claims), "the algorithm is not HS256"),
            (token(rs, claims), "the algorithm is not HS256"),
            (token(r#"{"typ":"JWT"}"#, claims), "the algorithm is not HS256"),
            (token(r#"{"alg":"HS256","typ":"at+jwt"}"#, claims), "the type is not JWT"),
            (token(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, claims), "it has extensions"),
            (format!("{signed}."), "the signature is wrong"),
            (format!("{signed}.AAAA"), "the signature is wrong"),
            (format!("{signed}.="), "a part is no base64url"),
            (signed.to_owned(), "expected three parts"),
            (format!("{good}.x"), "a part is no base64url"),
            (String::new(), "expected three parts"),
            ("..".to_owned(), "a part is no JSON object"),
            ("x".repeat(9000), "it is too long"),
            (token(HEADER, "[]"), "a part is no JSON object"),
            (token(HEADER, r#"{"sub":"me"}"#), "'exp' is missing"),
            (token(HEADER, r#"{"sub":"me","exp":"2000"}"#), "'exp' is missing"),
            (token(HEADER, r#"{"sub":"me","exp":1000}"#), "it has expired"),
            (token(HEADER, r#"{"sub":"me","exp":2000,"nbf":1500}"#), "it is not valid yet"),
            (token(HEADER, r#"{"sub":"me","exp":2000,"nbf":"x"}"#), "it is not valid yet"),
            (token(HEADER, r#"{"sub":"","exp":2000}"#), "'sub' is no principal"),
            (token(HEADER, r#"{"sub":7,"exp":2000}"#), "'sub' is no principal"),
        ] {
            assert_eq!(verified(&bad), Err(why), "{bad}");
        }
        assert!(Key::new(&KEY[..31]).is_none());
    }
}
