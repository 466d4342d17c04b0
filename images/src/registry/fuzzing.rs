//! Doors for fuzz targets: what registries, token services and credential helpers say.

use super::{blob, endpoint, helper, http, token};
use crate::limits::Limits;

/// An answer of a token service: what is taken can stand in a header, for a day at most.
pub(crate) fn token(answer: &[u8]) {
    if let Ok((token, seconds)) = token::token_in(answer) {
        assert!(reqwest::header::HeaderValue::from_str(&format!("Bearer {token}")).is_ok());
        assert!((1..=86_400).contains(&seconds));
    }
}

/// What a registry complains about: one short line, whatever it sends.
pub(crate) fn complaint(body: &[u8]) {
    let told = endpoint::complaint(body);
    assert!(told.chars().count() <= 300 && !told.chars().any(char::is_control), "{told:?}");
}

/// What a credential helper prints; what is taken can stand in a header.
pub(crate) fn helper(output: &[u8]) {
    if let Ok(login) = helper::login_in(output)
        && let Some(header) = login.header()
    {
        assert!(header.starts_with("Basic ") && !header.contains(char::is_control));
    }
}

/// `Content-Range`, as an answer to a request for all of something from a byte on.
pub(crate) fn range(value: &str, from: u64, size: u64) {
    let exact = format!("bytes {from}-{}/{size}", size.wrapping_sub(1));
    assert!(size == 0 || blob::is_rest(&exact, from, size));
    if blob::is_rest(value, from, size) {
        assert!(size > 0 && value.starts_with("bytes "), "{value:?}");
        assert!(!blob::is_rest(value, from.wrapping_add(1), size), "{value:?}");
    }
}

/// `Retry-After`: a pause that is not longer than any pause may be, or none.
pub(crate) fn retry_after(value: &str) {
    let (limits, asked) = (Limits::default(), http::pause_in(value));
    if let Some(pause) = super::backoff::Backoff::new(&limits).pause(1, asked) {
        assert!(pause <= limits.longest_asked + limits.first_pause, "{value:?}: {pause:?}");
    }
}
