//! Where the files of an archive are: one walk over its headers, content skipped.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, Read};
use std::os::unix::fs::FileExt as _;

use crate::unpack::{Kind, Name, TarStream, UnpackError};

/// Layers of hundreds of images; each has up to four entries.
const MEMBERS: u64 = 100_000;
/// Links to links that are followed; layers that several images share are links in older archives.
const LINKS: usize = 8;
const WINDOW: usize = 16 << 10;

/// A stretch of the archive, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) at: u64,
    pub(super) size: u64,
}

enum Member {
    File(Span),
    /// A path from the archive's root.
    Link(Vec<u8>),
}

/// Files and links of an archive by their names.
pub(super) struct Members(BTreeMap<Vec<u8>, Member>);

impl Members {
    /// Reads every header. The same rules as for layers hold: no climbing names, no ambiguous sizes.
    pub(super) fn read(file: &File, length: u64) -> Result<Self, UnpackError> {
        let mut tar = TarStream::new(Window::new(file, length));
        let (mut members, mut count) = (BTreeMap::new(), 0);
        while let Some(entry) = tar.next()? {
            count += 1;
            if count > MEMBERS {
                return Err(UnpackError::TooMuch { what: "entries", limit: MEMBERS });
            }
            let name = Name::parse(&entry.path)?;
            let member = match entry.kind {
                Kind::Regular if entry.parts.is_some() => {
                    return Err(UnpackError::refuse(
                        &entry.path,
                        "sparse files have no place in an image archive",
                    ));
                }
                Kind::Regular => {
                    let at = tar.reader().position();
                    if at.checked_add(entry.size).is_none_or(|end| end > length) {
                        return Err(UnpackError::malformed("it ends inside a file"));
                    }
                    tar.pass_over(Window::skip);
                    Member::File(Span { at, size: entry.size })
                }
                Kind::Symlink => Member::Link(lexical(name.parent(), &entry.link)?),
                Kind::Hardlink => Member::Link(Name::parse(&entry.link)?.path().to_vec()),
                _ => continue,
            };
            // Readers disagree about which of two members of one name counts.
            if members.insert(name.path().to_vec(), member).is_some() {
                return Err(UnpackError::refuse(&entry.path, "it occurs twice"));
            }
        }
        Ok(Self(members))
    }

    /// The file of that name, through links.
    pub(super) fn find(&self, name: &str) -> Option<Span> {
        let mut name = Name::parse(name.as_bytes()).ok()?.path().to_vec();
        for _ in 0..=LINKS {
            match self.0.get(&name)? {
                Member::File(span) => return Some(*span),
                Member::Link(target) => name.clone_from(target),
            }
        }
        None
    }

    /// Names and places of the files below a directory (`blobs/sha256/`).
    pub(super) fn below<'a>(&'a self, dir: &'a str) -> impl Iterator<Item = (&'a str, Span)> {
        let from = dir.as_bytes().to_vec();
        let inside = self.0.range(from..).take_while(move |(name, _)| name.starts_with(dir.as_bytes()));
        inside.filter_map(move |(name, member)| match member {
            Member::File(span) => Some((std::str::from_utf8(&name[dir.len()..]).ok()?, *span)),
            Member::Link(_) => None,
        })
    }
}

/// What a link in `parent` leads to, without asking any file system.
fn lexical(parent: &[u8], target: &[u8]) -> Result<Vec<u8>, UnpackError> {
    let refuse = || UnpackError::refuse(target, "the link leads out of the archive");
    let start: &[u8] = if target.starts_with(b"/") { b"" } else { parent };
    let mut parts: Vec<&[u8]> = start.split(|b| *b == b'/').filter(|part| !part.is_empty()).collect();
    for part in target.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop().ok_or_else(refuse)?;
            }
            _ => parts.push(part),
        }
    }
    Ok(parts.join(&b'/'))
}

/// The archive as a stream that can pass over content without reading it.
struct Window<'a> {
    file: &'a File,
    length: u64,
    /// Of the first byte that was not consumed.
    at: u64,
    buffer: Vec<u8>,
    used: usize,
}

impl<'a> Window<'a> {
    fn new(file: &'a File, length: u64) -> Self {
        Self { file, length, at: 0, buffer: Vec::new(), used: 0 }
    }

    fn position(&self) -> u64 {
        self.at
    }

    fn skip(&mut self, bytes: u64) {
        self.at += bytes;
        let left = self.buffer.len() - self.used;
        match usize::try_from(bytes) {
            Ok(bytes) if bytes <= left => self.used += bytes,
            _ => self.used = self.buffer.len(),
        }
    }
}

impl BufRead for Window<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.used == self.buffer.len() {
            let left = usize::try_from(self.length.saturating_sub(self.at)).unwrap_or(WINDOW);
            self.buffer.resize(left.min(WINDOW), 0);
            self.used = 0;
            let read = self.file.read_at(&mut self.buffer, self.at)?;
            self.buffer.truncate(read);
        }
        Ok(&self.buffer[self.used..])
    }

    fn consume(&mut self, count: usize) {
        self.used += count;
        self.at += count as u64;
    }
}

impl Read for Window<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let count = bytes.len().min(into.len());
        into[..count].copy_from_slice(&bytes[..count]);
        self.consume(count);
        Ok(count)
    }
}
