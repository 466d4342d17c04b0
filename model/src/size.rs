//! Sizes in bytes as Mesos writes them: `10MB`, with units of 1024.

/// Units, largest first.
const UNITS: [(&str, u32); 5] = [("TB", 40), ("GB", 30), ("MB", 20), ("KB", 10), ("B", 0)];

/// Reads a whole number with B, KB, MB, GB or TB; none for anything else or beyond 2^64.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(split);
    let (_, shift) = UNITS.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// Writes bytes in the largest unit that loses nothing, as Mesos' messages do.
pub fn format_bytes(bytes: u64) -> String {
    let fits = |shift: u32| bytes != 0 && bytes.trailing_zeros() >= shift;
    let (unit, shift) = UNITS.into_iter().find(|(_, shift)| fits(*shift)).unwrap_or(("B", 0));
    format!("{}{unit}", bytes >> shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes) in
            [("0B", 0), ("1B", 1), ("1023B", 1023), ("1KB", 1 << 10), ("10MB", 10 << 20), ("3TB", 3 << 40)]
        {
            assert_eq!(parse_bytes(text), Some(bytes), "{text}");
            assert_eq!(format_bytes(bytes), text);
        }
        assert_eq!(parse_bytes("1024KB"), Some(1 << 20));
        assert_eq!(format_bytes(u64::MAX), format!("{}B", u64::MAX));
        for bad in ["", "1", "MB", "1.5MB", "-1B", "1mb", "1 MB", "99999999TB", "18446744073709551616B"] {
            assert_eq!(parse_bytes(bad), None, "{bad}");
        }
    }
}
