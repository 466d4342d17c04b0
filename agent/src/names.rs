//! Ids as names of files: ids of users may hold nearly anything, so what a file name can't hold is percent-encoded.

/// Longest file name in bytes.
const MAX_NAME: usize = 255;

/// Whether ids become file names that fit.
pub(crate) fn fits(id: &str) -> bool {
    encode(id).len() <= MAX_NAME
}

/// An id as a file name: as it is, but for what a file name can't hold and for `%`.
pub(crate) fn encode(id: &str) -> String {
    let all = matches!(id, "." | "..");
    let mut name = String::with_capacity(id.len());
    for c in id.chars() {
        if all || c.is_control() || matches!(c, '/' | '\\' | '%') {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                name.push_str(&format!("%{byte:02X}"));
            }
        } else {
            name.push(c);
        }
    }
    name
}

/// The id of a file name; none if no id is encoded so.
pub(crate) fn decode(name: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
        bytes.push(digit(rest.next()?)? << 4 | digit(rest.next()?)?);
    }
    let id = String::from_utf8(bytes).ok()?;
    (encode(&id) == name).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_become_names_and_come_back() {
        for (id, name) in [
            ("web.1", "web.1"),
            ("a b:c,d", "a b:c,d"),
            ("é", "é"),
            ("100%", "100%25"),
            (".", "%2E"),
            ("..", "%2E%2E"),
            ("...", "..."),
            ("a/../b", "a%2F..%2Fb"),
            ("a\0b\n", "a%00b%0A"),
            ("\u{85}", "%C2%85"),
        ] {
            assert_eq!(encode(id), name);
            assert_eq!(decode(name).as_deref(), Some(id));
        }
        for strange in ["%2e", "%41", "%", "%4", "a%zz", "%FF", ".", ".."] {
            assert_eq!(decode(strange), None, "{strange}");
        }
        assert!(fits(&"x".repeat(255)) && !fits(&"%".repeat(86)));
    }
}
