//! Compressed answers. Mesos: bodies of 1024 bytes and more when the client accepts gzip, streams never.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use http::HeaderMap;
use http::header::ACCEPT_ENCODING;

/// Smaller bodies go as they are.
pub const LEAST: usize = 1024;

/// Whether the client takes gzip: named without `q=0`, or everything (`*`).
pub fn is_accepted(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).into_iter().filter_map(|value| value.to_str().ok());
    let mut all = false;
    for coding in values.flat_map(|value| value.split(',')) {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        let refused = parameters
            .trim()
            .strip_prefix("q=")
            .is_some_and(|q| q.trim().parse::<f32>().is_ok_and(|q| q <= 0.0));
        match name.trim() {
            name if name.eq_ignore_ascii_case("gzip") => return !refused,
            "*" => all = !refused,
            _ => {}
        }
    }
    all
}

/// The body, compressed.
pub fn compress(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body).and_then(|()| encoder.finish()).expect("writing to memory doesn't fail")
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn who_takes_gzip() {
        let accepted = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, value.parse().unwrap());
            is_accepted(&headers)
        };
        assert!(!is_accepted(&HeaderMap::new()));
        for yes in ["gzip", "deflate, gzip;q=0.5", "GZIP", "*", "br, *;q=0.1"] {
            assert!(accepted(yes), "{yes}");
        }
        for no in ["", "deflate", "gzip;q=0", "*, gzip;q=0.0", "identity"] {
            assert!(!accepted(no), "{no}");
        }
    }

    #[test]
    fn what_is_compressed_comes_out_again() {
        let body = "tepui ".repeat(1000);
        let small = compress(body.as_bytes());
        assert!(small.len() < body.len() / 10);
        let mut back = String::new();
        flate2::read::GzDecoder::new(&small[..]).read_to_string(&mut back).unwrap();
        assert_eq!(back, body);
    }
}
