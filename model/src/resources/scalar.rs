//! Scalars with three decimals, as Mesos keeps them.

use std::fmt;
use std::ops::{Add, Sub};

/// Thousandths. Adding saturates, so no input overflows it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Milli(i64);

impl Milli {
    /// Nothing.
    pub const ZERO: Milli = Milli(0);

    /// From thousandths.
    pub const fn from_millis(millis: i64) -> Milli {
        Milli(millis)
    }

    /// Thousandths.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// From a double, rounded to three decimals; none when it is no number, infinite or beyond 10^15.
    #[allow(clippy::cast_possible_truncation)]
    pub fn from_f64(value: f64) -> Option<Milli> {
        // 10^15 whole units is a thousand times Mesos' own cap (an exabyte in MB is 10^12) and still exact in an i64.
        (value.is_finite() && value.abs() <= 1e15).then(|| Milli((value * 1000.0).round() as i64))
    }

    /// As a double.
    #[allow(clippy::cast_precision_loss)]
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }
}

impl Add for Milli {
    type Output = Milli;
    fn add(self, other: Milli) -> Milli {
        Milli(self.0.saturating_add(other.0))
    }
}

impl Sub for Milli {
    type Output = Milli;
    fn sub(self, other: Milli) -> Milli {
        Milli(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Milli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, rest) = (self.0.unsigned_abs() / 1000, self.0.unsigned_abs() % 1000);
        if rest == 0 {
            return write!(f, "{sign}{whole}");
        }
        let decimals = format!("{rest:03}");
        write!(f, "{sign}{whole}.{}", decimals.trim_end_matches('0'))
    }
}

impl fmt::Debug for Milli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_decimals() {
        for (value, text) in [(0.1, "0.1"), (1.0005, "1.001"), (2.0, "2"), (0.0004, "0"), (-0.25, "-0.25")] {
            assert_eq!(Milli::from_f64(value).unwrap().to_string(), text);
        }
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e308, -1e16] {
            assert_eq!(Milli::from_f64(value), None);
        }
    }
}
