//! What says who someone is, and what operators close: logins, tokens, rules.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use ring::hmac;
use security::authenticator::{Authenticator, split_login};
use security::credentials::{Credential, Logins, parse_list, parse_one};
use security::firewall::Firewall;
use security::jwt::Key;

use super::choice;

const KEY: &[u8] = b"thirty-two bytes that nobody has";
/// The time at which tokens are looked at.
const NOW: f64 = 1_800_000_000.0;

/// One of them, as the first byte says.
pub(crate) fn any(data: &[u8]) {
    let Some((which, rest)) = choice(data) else { return };
    let text = String::from_utf8_lossy(rest);
    match which % 5 {
        0 => credentials(&text),
        1 => raw_token(&text),
        2 => signed_token(&text),
        3 => header(rest),
        _ => rules(&text),
    }
}

/// What is read logs in, and nothing else does.
fn credentials(text: &str) {
    if let Ok(one) = parse_one(text) {
        logs_in(vec![one.clone()], &one);
    }
    if let Ok(all) = parse_list(text)
        && let Some(last) = all.last().cloned()
    {
        logs_in(all, &last);
    }
}

fn logs_in(all: Vec<Credential>, one: &Credential) {
    let basic = one.basic();
    let login = basic.strip_prefix("Basic ").expect("a login is Basic");
    let (principal, secret) = split_login(login).expect("what is written is read");
    assert_eq!(principal, one.principal());
    let logins = Logins::new(all).expect("there are random bytes");
    assert!(logins.are_right(&principal, &secret) && !logins.are_right(&principal, &format!("{secret}x")));
}

/// Nobody can sign without the key.
fn raw_token(text: &str) {
    let key = Key::new(KEY).expect("it is long enough");
    assert!(key.verify(text, NOW).is_err(), "{text}");
}

/// Header and claims with a line between them, signed: believed only as what it must be.
fn signed_token(text: &str) {
    let (head, claims) = text.split_once('\n').unwrap_or((r#"{"alg":"HS256"}"#, text));
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, KEY), signed.as_bytes());
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag));
    let key = Key::new(KEY).expect("it is long enough");
    if let Ok(principal) = key.verify(&token, NOW) {
        assert!(head.contains("HS256") && claims.contains("exp"), "{head} {claims}");
        assert!(principal.is_none_or(|principal| !principal.is_empty()));
        assert!(key.verify(&token, f64::MAX).is_err(), "every token ends: {claims}");
    }
}

/// A header `Authorization`: the answer is a header again.
fn header(bytes: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    let logins = parse_list("me secret").and_then(|all| Logins::new(all).map_err(|why| why.to_string()));
    let authenticator = Authenticator::new(logins.ok(), Key::new(KEY));
    let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
    match authenticator.authenticate("realm", &headers) {
        Ok(principal) => assert_eq!(principal.value.as_deref(), Some("me")),
        Err(refused) => {
            assert!(HeaderValue::try_from(&refused.challenges).is_ok(), "{}", refused.challenges);
            assert!(refused.challenges.starts_with("Basic realm=\"realm\",Bearer realm=\"realm\""));
        }
    }
}

fn rules(text: &str) {
    let Ok(rules) = Firewall::parse(text) else { return };
    assert_eq!(rules.refuses("x", |_| false), None, "what is closed begins with a slash");
    assert_eq!(rules.refuses("/x", |_| true).is_some(), rules != Firewall::default());
}
