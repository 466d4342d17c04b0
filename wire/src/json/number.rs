//! Numbers: doubles the way Mesos prints them, and JSON's number grammar.

/// Appends a finite double: the shortest digits that read back equal, plain between 1e-6 and 1e21, always
/// with a point or an exponent (`1.0`, `0.001`, `1e21`). The others as the strings that reading knows; NaN,
/// which reading refuses, as `"NaN"`.
pub fn write_double(value: f64, out: &mut Vec<u8>) {
    if !value.is_finite() {
        let text = if value.is_nan() { "\"NaN\"" } else { "\"Infinity\"" };
        let text = if value == f64::NEG_INFINITY { "\"-Infinity\"" } else { text };
        out.extend_from_slice(text.as_bytes());
        return;
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').expect("the format has an exponent");
    let exponent: i32 = exponent.parse().expect("the exponent is a number");
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    out.extend_from_slice(sign.as_bytes());
    if (-6..21).contains(&exponent) {
        plain(&mantissa.replace('.', ""), exponent + 1, out);
    } else {
        out.extend_from_slice(&scientific.as_bytes()[sign.len()..]);
    }
}

/// `digits` with the point after the first `point` of them.
fn plain(digits: &str, point: i32, out: &mut Vec<u8>) {
    let digits = digits.as_bytes();
    let whole = usize::try_from(point).unwrap_or(0);
    let zeros = usize::try_from(-point).unwrap_or(0);
    if whole == 0 {
        out.push(b'0');
    } else {
        out.extend_from_slice(&digits[..whole.min(digits.len())]);
        out.resize(out.len() + whole.saturating_sub(digits.len()), b'0');
    }
    out.push(b'.');
    out.resize(out.len() + zeros, b'0');
    match digits.get(whole..) {
        Some(rest) if !rest.is_empty() => out.extend_from_slice(rest),
        _ => out.push(b'0'),
    }
}

/// Appends an integer.
pub fn write_unsigned(mut value: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(value % 10).expect("a digit");
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends an integer.
pub fn write_signed(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    write_unsigned(value.unsigned_abs(), out);
}

/// Length of the JSON number `text` begins with.
pub fn token(text: &[u8]) -> Option<usize> {
    let mut at = usize::from(text.first() == Some(&b'-'));
    at = match text.get(at)? {
        b'0' => at + 1,
        b'1'..=b'9' => digits(text, at),
        _ => return None,
    };
    if text.get(at) == Some(&b'.') {
        let end = digits(text, at + 1);
        if end == at + 1 {
            return None;
        }
        at = end;
    }
    if matches!(text.get(at), Some(b'e' | b'E')) {
        let start = at + 1 + usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        let end = digits(text, start);
        if end == start {
            return None;
        }
        at = end;
    }
    Some(at)
}

fn digits(text: &[u8], from: usize) -> usize {
    from + text.iter().skip(from).take_while(|byte| byte.is_ascii_digit()).count()
}

/// A number token as an integer: exact when written as one, else when it is whole (`5.0`, `1e3`).
pub fn integer(token: &str) -> Option<i128> {
    if !token.contains(['.', 'e', 'E']) {
        return token.parse().ok();
    }
    let value: f64 = token.parse().ok()?;
    // 2^63 and 2^64 are whole doubles: what is at or beyond them is refused by the field's type.
    let exact = value.fract() == 0.0 && value.abs() < 1e38;
    #[allow(clippy::cast_possible_truncation, reason = "whole and well inside an i128")]
    exact.then_some(value as i128)
}

/// A number token as a finite double.
pub fn double(token: &str) -> Option<f64> {
    token.parse().ok().filter(|value: &f64| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn double_text(value: f64) -> String {
        let mut out = Vec::new();
        write_double(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn doubles_print_as_in_mesos() {
        let table = [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (15.0, "15.0"),
            (0.1, "0.1"),
            (-2.5, "-2.5"),
            (0.001, "0.001"),
            (0.000001, "0.000001"),
            (0.0000001, "1e-7"),
            (1234.5678, "1234.5678"),
            (1e20, "100000000000000000000.0"),
            (1e21, "1e21"),
            (1.5e300, "1.5e300"),
            (1.25e-9, "1.25e-9"),
            (f64::MAX, "1.7976931348623157e308"),
            (f64::INFINITY, "\"Infinity\""),
            (f64::NEG_INFINITY, "\"-Infinity\""),
        ];
        for (value, text) in table {
            assert_eq!(double_text(value), text);
        }
        assert_eq!(double_text(f64::NAN), "\"NaN\"");
    }

    #[test]
    fn integers_print_as_numbers() {
        let mut out = Vec::new();
        for value in [0, 7, -1, i64::MAX, i64::MIN] {
            write_signed(value, &mut out);
            out.push(b' ');
        }
        write_unsigned(u64::MAX, &mut out);
        assert_eq!(out, b"0 7 -1 9223372036854775807 -9223372036854775808 18446744073709551615");
    }

    #[test]
    fn integers_read_from_whole_numbers() {
        assert_eq!(integer("31000.0"), Some(31000));
        assert_eq!(integer("1e3"), Some(1000));
        assert_eq!(integer("18446744073709551615"), Some(u64::MAX.into()));
        assert_eq!(integer("1.5"), None);
        assert_eq!(integer("1e400"), None);
        assert_eq!(integer(&"9".repeat(1000)), None);
    }

    proptest::proptest! {
        #[test]
        fn doubles_read_back_equal(value in proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL) {
            let text = double_text(value);
            proptest::prop_assert_eq!(token(text.as_bytes()), Some(text.len()));
            proptest::prop_assert_eq!(double(&text), Some(value));
        }
    }
}
