//! PAX extended headers: `length key=value\n` records, read by their lengths and nothing else.

use super::error::UnpackError;
use super::stream::Moment;

/// Values that override or extend the header that follows.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) linkpath: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<Moment>,
    /// Names without the `SCHILY.xattr.` before them.
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

const XATTR: &[u8] = b"SCHILY.xattr.";
/// The kernel's bound on one value.
const XATTR_LARGEST: usize = 64 << 10;

impl Pax {
    /// Reads the records before one entry.
    pub(super) fn parse(data: &[u8]) -> Result<Self, UnpackError> {
        let mut pax = Self::default();
        for record in Records(data) {
            let (key, value) = record?;
            pax.set(key, value)?;
        }
        Ok(pax)
    }

    /// A global header may hold a comment and times, which we don't need. Anything else would change what later
    /// entries are, and readers disagree about that.
    pub(super) fn check_global(data: &[u8]) -> Result<(), UnpackError> {
        const HARMLESS: [&[u8]; 7] =
            [b"comment", b"mtime", b"atime", b"ctime", b"charset", b"hdrcharset", b"LIBARCHIVE.creationtime"];
        for record in Records(data) {
            let (key, _) = record?;
            if !HARMLESS.contains(&key) {
                let key = String::from_utf8_lossy(key).chars().take(60).collect::<String>();
                return Err(UnpackError::malformed(format!("a global header sets {key:?}")));
            }
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), UnpackError> {
        // An empty value takes back what was said before.
        let text = (!value.is_empty()).then(|| value.to_vec());
        match key {
            b"path" => once(&mut self.path, text, "path"),
            b"linkpath" => once(&mut self.linkpath, text, "linkpath"),
            b"size" => once(&mut self.size, number(value, "size")?, "size"),
            b"uid" => once(&mut self.uid, number(value, "uid")?, "uid"),
            b"gid" => once(&mut self.gid, number(value, "gid")?, "gid"),
            b"mtime" => once(&mut self.mtime, time(value)?, "mtime"),
            _ if key.starts_with(b"GNU.sparse.") => Err(UnpackError::malformed(
                "sparse files in PAX form are not supported; pack them without --sparse",
            )),
            _ => match key.strip_prefix(XATTR) {
                Some(name) => self.xattr(name, value),
                None => Ok(()),
            },
        }
    }

    fn xattr(&mut self, name: &[u8], value: &[u8]) -> Result<(), UnpackError> {
        if value.len() > XATTR_LARGEST || name.len() > 255 {
            return Err(UnpackError::TooMuch {
                what: "bytes in one extended attribute",
                limit: XATTR_LARGEST as u64,
            });
        }
        self.xattrs.push((name.to_vec(), value.to_vec()));
        Ok(())
    }
}

/// Readers disagree about which of two values counts.
fn once<T>(slot: &mut Option<T>, value: Option<T>, key: &str) -> Result<(), UnpackError> {
    if slot.is_some() {
        return Err(UnpackError::malformed(format!("an extended header sets {key:?} twice")));
    }
    *slot = value;
    Ok(())
}

fn number(value: &[u8], key: &str) -> Result<Option<u64>, UnpackError> {
    if value.is_empty() {
        return Ok(None);
    }
    digits(value)
        .map(Some)
        .ok_or_else(|| UnpackError::malformed(format!("an extended header has a bad {key:?}")))
}

fn digits(text: &[u8]) -> Option<u64> {
    let all = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| all)?.parse().ok()
}

/// `[-]seconds[.fraction]`
fn time(value: &[u8]) -> Result<Option<Moment>, UnpackError> {
    if value.is_empty() {
        return Ok(None);
    }
    let bad = || UnpackError::malformed("an extended header has a bad \"mtime\"");
    let (negative, rest) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let dot = rest.iter().position(|b| *b == b'.').unwrap_or(rest.len());
    let seconds = i64::try_from(digits(&rest[..dot]).ok_or_else(bad)?).map_err(|_| bad())?;
    let fraction = rest.get(dot + 1..).unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(bad());
    }
    let nanos =
        fraction.iter().chain(std::iter::repeat(&b'0')).take(9).fold(0, |n, d| n * 10 + i64::from(d - b'0'));
    Ok(Some(match (negative, nanos) {
        (false, _) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanos),
    }))
}

/// Cuts records by their stated lengths, so that a value may hold any byte.
struct Records<'a>(&'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), UnpackError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let found = cut(self.0);
        self.0 = found.as_ref().map_or(&[], |(_, rest)| rest);
        Some(
            found
                .map(|(record, _)| record)
                .ok_or_else(|| UnpackError::malformed("an extended header is garbled")),
        )
    }
}

type Record<'a> = (&'a [u8], &'a [u8]);

fn cut(data: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let space = data.iter().take(20).position(|b| *b == b' ')?;
    let length = usize::try_from(digits(&data[..space])?).ok()?;
    let record = data.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|b| *b == b'=').filter(|at| *at > 0)?;
    Some(((&record[..equals], &record[equals + 1..]), &data[length..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, value: &[u8]) -> Vec<u8> {
        let rest = key.len() + value.len() + 3;
        let length = (1..).map(|digits| rest + digits).find(|l| l.to_string().len() + rest == *l).unwrap();
        [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
    }

    #[test]
    fn records_are_cut_by_length() {
        let inner = record("size", b"99999");
        let data =
            [record("SCHILY.xattr.user.a", &inner), record("path", b"x\ny"), record("mtime", b"-1.25")]
                .concat();
        let pax = Pax::parse(&data).unwrap();
        assert_eq!(pax.size, None, "a size smuggled inside a value was read");
        assert_eq!(pax.xattrs, [(b"user.a".to_vec(), inner)]);
        assert_eq!(pax.path.as_deref(), Some(b"x\ny".as_slice()));
        assert_eq!(pax.mtime, Some((-2, 750_000_000)));
    }

    #[test]
    fn empty_values_are_absent() {
        let data = [record("path", b""), record("SCHILY.xattr.user.e", b""), record("size", b"")].concat();
        let pax = Pax::parse(&data).unwrap();
        assert_eq!((pax.path, pax.size), (None, None));
        assert_eq!(pax.xattrs.len(), 1);
    }

    #[test]
    fn ambiguity_and_garbage_are_refused() {
        let twice = [record("size", b"1"), record("size", b"2")].concat();
        let sparse = record("GNU.sparse.map", b"0,1");
        for bad in [
            twice.as_slice(),
            &sparse,
            b"5 a=b",
            b"6 a=b\nx",
            b"0 a=b\n",
            b"99 a=b\n",
            b"a=b\n",
            b"6 =ab\n",
            b"5 ab\n",
            b"+6 a=b\n",
            b"11 size=-1\n",
            b"11 size=+1\n",
            b"99999999999999999999999 a=b\n",
            b"\0\0\0",
        ] {
            assert!(Pax::parse(bad).is_err(), "{:?} was taken", String::from_utf8_lossy(bad));
        }
        assert!(Pax::check_global(&record("comment", b"x")).is_ok());
        assert!(Pax::check_global(&record("path", b"x")).is_err());
        assert!(Pax::check_global(&record("size", b"1")).is_err());
    }
}
