//! Pairs `name=value&name=value`, in URLs and in the bodies of forms, and percent-decoding.

/// Most pairs that are looked at.
const MAX_PAIRS: usize = 1000;

/// Decoded pairs in their order.
#[derive(Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads pairs; those that are not well encoded are left out.
    pub fn parse(text: &str) -> Query {
        let pairs = text.split('&').take(MAX_PAIRS).filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name, true)?, decode(value, true)?))
        });
        Query(pairs.collect())
    }

    /// The last value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }
}

/// Percent-decoding; `plus` makes a space of each `+`. None when it is malformed or no UTF-8.
pub fn decode(text: &str, plus: bool) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let digit =
                    |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
                high << 4 | low
            }
            b'+' if plus => b' ',
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded() {
        let query = Query::parse("a=1&b=x%20y+z&a=2&flag&%zz=1&bad=%&n=%ff");
        assert_eq!(query.get("a"), Some("2"));
        assert_eq!(query.get("b"), Some("x y z"));
        assert_eq!(query.get("flag"), Some(""));
        for absent in ["%zz", "bad", "n", "c"] {
            assert_eq!(query.get(absent), None);
        }
        assert_eq!(decode("/slave%281%29/a+b", false).as_deref(), Some("/slave(1)/a+b"));
    }
}
