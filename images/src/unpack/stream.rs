//! The tar stream: blocks to entries, with every ambiguity between tar dialects refused.

use std::io::{BufRead, ErrorKind};

use tar::{GnuExtSparseHeader, Header};

use super::error::UnpackError;
use super::pax::Pax;

const BLOCK: u64 = 512;
/// One extended header; the kernel's largest attribute fits several times.
const EXTENDED_LARGEST: u64 = 1 << 20;
const LONG_NAME_LARGEST: u64 = 8 << 10;
/// Far from where sums of sizes overflow.
const LARGEST: u64 = 1 << 60;
const SPARSE_PARTS: usize = 65_536;

/// Seconds since 1970, and nanoseconds.
pub(crate) type Moment = (i64, i64);

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Regular,
    Directory,
    Symlink,
    Hardlink,
    Fifo,
    Character {
        major: u64,
        minor: u64,
    },
    Block,
    /// A volume's label: no file.
    Label,
}

/// One member, its content still in the stream.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) path: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Moment,
    /// Bytes of the file that comes out.
    pub(crate) size: u64,
    /// Offset and length of each part of a sparse file that has data.
    pub(crate) parts: Option<Vec<(u64, u64)>>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Names and PAX records that come before the member they describe.
#[derive(Default)]
struct Before {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Option<Pax>,
}

/// Reads members one after the other.
pub(crate) struct TarStream<R> {
    reader: R,
    /// Content of the current member that was not read yet, without padding.
    left: u64,
    padding: u64,
}

impl<R: BufRead> TarStream<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, left: 0, padding: 0 }
    }

    /// The next member; `None` at the end of the archive.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, UnpackError> {
        let mut before = Before::default();
        let mut described = false;
        loop {
            self.skip()?;
            let Some(header) = self.header()? else {
                return if described {
                    Err(UnpackError::malformed("it ends after an extended header"))
                } else {
                    Ok(None)
                };
            };
            let size = number(&header.as_old().size)?;
            match header.as_old().linkflag[0] {
                b'x' => {
                    let data = self.small(size, EXTENDED_LARGEST, "an extended header")?;
                    set_once(&mut before.pax, Pax::parse(&data)?)?;
                }
                b'L' => set_once(&mut before.name, self.long_name(size)?)?,
                b'K' => set_once(&mut before.link, self.long_name(size)?)?,
                b'g' if described => {
                    return Err(UnpackError::malformed(
                        "a global header stands between a header and its member",
                    ));
                }
                b'g' => {
                    Pax::check_global(&self.small(size, EXTENDED_LARGEST, "a global header")?)?;
                    continue;
                }
                other => return self.member(&header, other, size, before).map(Some),
            }
            described = true;
        }
    }

    fn member(
        &mut self,
        header: &Header,
        flag: u8,
        stated: u64,
        before: Before,
    ) -> Result<Entry, UnpackError> {
        let Before { name, link, pax } = before;
        let pax = pax.unwrap_or_default();
        if (name.is_some() && pax.path.is_some()) || (link.is_some() && pax.linkpath.is_some()) {
            return Err(UnpackError::malformed("a member has a GNU and a PAX name"));
        }
        let path = pax.path.or(name).unwrap_or_else(|| header.path_bytes().into_owned());
        let link = pax.linkpath.or(link);
        let link = link.unwrap_or_else(|| header.link_name_bytes().unwrap_or_default().into_owned());
        let stored = agree_on_size(stated, pax.size)?;
        let kind = kind_of(header, flag, &path)?;
        if stored > 0 && kind != Kind::Regular {
            return Err(UnpackError::refuse(&path, "it has content but is no regular file"));
        }
        let parts = if flag == b'S' { Some(self.sparse_map(header, stored)?) } else { None };
        let size = match &parts {
            Some(_) => header.as_gnu().map_or(Ok(0), |gnu| number(&gnu.realsize))?,
            None => stored,
        };
        (self.left, self.padding) = (stored, stored.wrapping_neg() % BLOCK);
        let old = header.as_old();
        Ok(Entry {
            kind,
            link,
            mode: u32::try_from(number(&old.mode)? & 0o7777).unwrap_or(0),
            uid: owner(&path, pax.uid.map_or_else(|| number(&old.uid), Ok)?)?,
            gid: owner(&path, pax.gid.map_or_else(|| number(&old.gid), Ok)?)?,
            mtime: match pax.mtime {
                Some(mtime) => mtime,
                None => (time(&old.mtime)?, 0),
            },
            size,
            parts,
            xattrs: pax.xattrs,
            path,
        })
    }

    /// Where the stream stands: after [`Self::next`] at the member's first byte.
    pub(crate) fn reader(&mut self) -> &mut R {
        &mut self.reader
    }

    /// Leaves out the current member's content by another way than reading it. Padding is read as usual.
    pub(crate) fn pass_over(&mut self, skip: impl FnOnce(&mut R, u64)) {
        skip(&mut self.reader, std::mem::take(&mut self.left));
    }

    /// The next bytes of the current member's content; empty at its end. [`Self::consume`] takes them.
    pub(super) fn content(&mut self) -> Result<&[u8], UnpackError> {
        let limit = usize::try_from(self.left).unwrap_or(usize::MAX);
        let bytes = fill(&mut self.reader)?;
        if bytes.is_empty() && limit > 0 {
            return Err(UnpackError::malformed("it ends inside a file"));
        }
        Ok(&bytes[..bytes.len().min(limit)])
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.reader.consume(count);
        self.left -= count as u64;
    }

    fn skip(&mut self) -> Result<(), UnpackError> {
        while self.left > 0 {
            let count = self.content()?.len();
            self.consume(count);
        }
        while self.padding > 0 {
            let rest = fill(&mut self.reader)?.len();
            // umoci ends its tars with the last file's last byte.
            let count = u64::try_from(rest).unwrap_or(u64::MAX).min(self.padding);
            if count == 0 {
                break;
            }
            self.reader.consume(usize::try_from(count).unwrap_or(rest));
            self.padding -= count;
        }
        self.padding = 0;
        Ok(())
    }

    /// `None` after two blocks of zeros, or where the stream simply ends.
    fn header(&mut self) -> Result<Option<Header>, UnpackError> {
        let mut header = Header::new_old();
        if !self.block(header.as_mut_bytes())? {
            return Ok(None);
        }
        if header.as_bytes().iter().all(|b| *b == 0) {
            let again = self.block(header.as_mut_bytes())?;
            if again && header.as_bytes().iter().any(|b| *b != 0) {
                return Err(UnpackError::malformed("a single block of zeros stands between members"));
            }
            return Ok(None);
        }
        let (before, after) = (&header.as_bytes()[..148], &header.as_bytes()[156..]);
        let sum = before.iter().chain(after).fold(8 * 32, |sum, b| sum + u32::from(*b));
        match number(&header.as_old().cksum) {
            Ok(stated) if stated == u64::from(sum) => Ok(Some(header)),
            _ => Err(UnpackError::malformed("a header's checksum is wrong")),
        }
    }

    /// Fills one block; `false` when the stream ends before its first byte.
    fn block(&mut self, block: &mut [u8; 512]) -> Result<bool, UnpackError> {
        if fill(&mut self.reader)?.is_empty() {
            return Ok(false);
        }
        self.reader.read_exact(block).map_err(cut_short)?;
        Ok(true)
    }

    fn small(&mut self, size: u64, limit: u64, what: &'static str) -> Result<Vec<u8>, UnpackError> {
        if size > limit {
            return Err(UnpackError::malformed(format!("{what} has more than {limit} bytes")));
        }
        let mut data = vec![0; usize::try_from(size).unwrap_or(0)];
        self.reader.read_exact(&mut data).map_err(cut_short)?;
        (self.left, self.padding) = (0, size.wrapping_neg() % BLOCK);
        Ok(data)
    }

    fn long_name(&mut self, size: u64) -> Result<Vec<u8>, UnpackError> {
        let mut name = self.small(size, LONG_NAME_LARGEST, "a GNU long name")?;
        let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
        name.truncate(end);
        Ok(name)
    }

    /// The parts of an old GNU sparse file, in order and adding up to what is stored.
    fn sparse_map(&mut self, header: &Header, stored: u64) -> Result<Vec<(u64, u64)>, UnpackError> {
        let bad = |why| UnpackError::malformed(format!("a sparse file's map {why}"));
        let gnu = header.as_gnu().ok_or_else(|| bad("is not GNU's"))?;
        let mut parts = Vec::new();
        let mut add = |blocks: &[tar::GnuSparseHeader]| -> Result<(), UnpackError> {
            for block in blocks.iter().filter(|block| !block.is_empty()) {
                parts.push((number(&block.offset)?, number(&block.numbytes)?));
            }
            if parts.len() > SPARSE_PARTS { Err(bad("has more than 65536 parts")) } else { Ok(()) }
        };
        add(&gnu.sparse)?;
        let mut more = gnu.is_extended();
        while more {
            let mut next = GnuExtSparseHeader::new();
            self.reader.read_exact(next.as_mut_bytes()).map_err(cut_short)?;
            add(next.sparse())?;
            more = next.is_extended();
        }
        let real = number(&gnu.realsize)?;
        let (mut end, mut total) = (0u64, 0u64);
        for (offset, length) in &parts {
            let after = offset.checked_add(*length).ok_or_else(|| bad("overflows"))?;
            if *offset < end || after > real {
                return Err(bad("overlaps or exceeds the file"));
            }
            (end, total) = (after, total + length);
        }
        if total == stored { Ok(parts) } else { Err(bad("does not add up to what is stored")) }
    }
}

fn fill<R: BufRead>(reader: &mut R) -> Result<&[u8], UnpackError> {
    // Asked twice because a borrow that is returned in one arm only outlives the loop (no polonius yet).
    loop {
        match reader.fill_buf() {
            Ok(_) => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(UnpackError::Read(error)),
        }
    }
    reader.fill_buf().map_err(UnpackError::Read)
}

fn cut_short(error: std::io::Error) -> UnpackError {
    match error.kind() {
        ErrorKind::UnexpectedEof => UnpackError::malformed("it ends inside a header"),
        _ => UnpackError::Read(error),
    }
}

fn set_once<T>(slot: &mut Option<T>, value: T) -> Result<(), UnpackError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(UnpackError::malformed("two headers of one sort describe the same member")),
    }
}

/// Two sizes let two readers see two archives (CVE-2025-62518); a zero says "look in the extended header".
fn agree_on_size(header: u64, pax: Option<u64>) -> Result<u64, UnpackError> {
    match pax {
        _ if header.max(pax.unwrap_or(0)) > LARGEST => {
            Err(UnpackError::malformed("a member is larger than any disk"))
        }
        None => Ok(header),
        Some(pax) if header == 0 || header == pax => Ok(pax),
        Some(_) => Err(UnpackError::malformed("a header and its extended header disagree about the size")),
    }
}

/// A number field: octal digits between blanks, or a positive binary number. Blank counts as zero, as everywhere.
fn number(raw: &[u8]) -> Result<u64, UnpackError> {
    let bad = || UnpackError::malformed("a header has a garbled number");
    if raw[0] & 0x80 != 0 {
        let (high, low) = raw.split_at(raw.len().saturating_sub(8));
        let positive = high.iter().enumerate().all(|(i, b)| *b == if i == 0 { 0x80 } else { 0 });
        let value = low.iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
        return match high.is_empty() {
            true if raw[0] == 0x80 => Ok(value & !(0x80 << 56)),
            false if positive => Ok(value),
            _ => Err(bad()),
        };
    }
    let blank = |b: &u8| matches!(b, 0 | b' ');
    let start = raw.iter().position(|b| !blank(b)).unwrap_or(raw.len());
    let end = raw.iter().rposition(|b| !blank(b)).map_or(start, |last| last + 1);
    // Twelve octal digits can't overflow.
    raw[start..end].iter().try_fold(0u64, |n, b| match b {
        b'0'..=b'7' => Ok(n << 3 | u64::from(b - b'0')),
        _ => Err(bad()),
    })
}

/// When: a binary number with all leading bits set is a time before 1970, which nothing here needs exactly.
fn time(raw: &[u8; 12]) -> Result<i64, UnpackError> {
    if raw[0] == 0xff {
        return Ok(0);
    }
    Ok(i64::try_from(number(raw)?).unwrap_or(0))
}

fn owner(path: &[u8], id: u64) -> Result<u32, UnpackError> {
    match u32::try_from(id) {
        Ok(id) if id != u32::MAX => Ok(id),
        _ => Err(UnpackError::refuse(path, "its owner is out of range")),
    }
}

fn kind_of(header: &Header, flag: u8, path: &[u8]) -> Result<Kind, UnpackError> {
    Ok(match flag {
        // The oldest tars have no type for directories.
        0 | b'0' if path.ends_with(b"/") => Kind::Directory,
        0 | b'0' | b'7' | b'S' => Kind::Regular,
        b'1' => Kind::Hardlink,
        b'2' => Kind::Symlink,
        b'3' => {
            let (major, minor) = device(header)?;
            Kind::Character { major, minor }
        }
        b'4' => Kind::Block,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        b'V' => Kind::Label,
        _ => return Err(UnpackError::refuse(path, "its type is unknown")),
    })
}

/// Both dialects have the numbers in the same place.
fn device(header: &Header) -> Result<(u64, u64), UnpackError> {
    let (major, minor) = (&header.as_bytes()[329..337], &header.as_bytes()[337..345]);
    Ok((number(major)?, number(minor)?))
}
