//! A pull reader over JSON text: tokens, depth and size limits, and where in the message we are.

use super::{JsonError, number};
use std::borrow::Cow;

/// Nested arrays and objects.
pub const MAX_DEPTH: u32 = 128;
/// Missing fields named in one error; then reading stops.
const MAX_MISSING: usize = 10;

/// Reads one body from its beginning to its end.
pub struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
    path: Vec<Segment>,
    missing: Vec<String>,
    /// Bytes of decoded elements still allowed.
    budget: usize,
}

enum Segment {
    Field(&'static str),
    Index(usize),
}

/// Bytes the decoded form of a body of `length` bytes may take, without strings: an empty message is two or
/// three bytes on the wire and up to kilobytes in memory, so that a small body could fill the memory
/// otherwise.
pub fn budget(length: usize) -> usize {
    (64 << 20) + 64 * length
}

impl<'a> Reader<'a> {
    pub fn new(body: &'a [u8]) -> Result<Self, JsonError> {
        let text = std::str::from_utf8(body)
            .map_err(|error| JsonError::Syntax { at: error.valid_up_to(), what: "invalid UTF-8" })?;
        let budget = budget(text.len());
        Ok(Reader { text, at: 0, depth: 0, path: Vec::new(), missing: Vec::new(), budget })
    }

    /// Nothing but white space may follow the value.
    pub fn finish(mut self) -> Result<(), JsonError> {
        if self.peek().is_some() {
            return self.syntax("text after the end of the value");
        }
        if self.missing.is_empty() { Ok(()) } else { Err(JsonError::Missing(self.missing)) }
    }

    /// The next byte that is not white space.
    pub fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        let spaces = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t')).count();
        self.at += spaces;
        rest.get(spaces).copied()
    }

    pub fn syntax<T>(&self, what: &'static str) -> Result<T, JsonError> {
        Err(JsonError::Syntax { at: self.at, what })
    }

    pub fn field_error<T>(&self, what: impl Into<String>) -> Result<T, JsonError> {
        Err(JsonError::Field { path: self.path_to(None), what: what.into() })
    }

    /// Takes `null` if it is next.
    pub fn null(&mut self) -> Result<bool, JsonError> {
        if self.peek() != Some(b'n') {
            return Ok(false);
        }
        self.literal("null")?;
        Ok(true)
    }

    pub fn literal(&mut self, word: &'static str) -> Result<(), JsonError> {
        if !self.text[self.at..].starts_with(word) {
            return self.syntax("expected a value");
        }
        self.at += word.len();
        Ok(())
    }

    /// The text of a number.
    pub fn number(&mut self) -> Result<&'a str, JsonError> {
        let rest = &self.text[self.at..];
        let Some(length) = number::token(rest.as_bytes()) else {
            return self.syntax("expected a value");
        };
        self.at += length;
        Ok(&rest[..length])
    }

    /// A string; the next byte is its quote.
    pub fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        self.at += 1;
        let mut owned = String::new();
        loop {
            let rest = &self.text[self.at..];
            let Some(end) = rest.bytes().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)) else {
                self.at = self.text.len();
                return self.syntax("the string does not end");
            };
            self.at += end;
            match rest.as_bytes()[end] {
                b'"' => {
                    self.at += 1;
                    let part = &rest[..end];
                    return Ok(if owned.is_empty() { Cow::Borrowed(part) } else { Cow::Owned(owned + part) });
                }
                b'\\' => {
                    owned.push_str(&rest[..end]);
                    owned.push(self.escape()?);
                }
                _ => return self.syntax("control character in a string"),
            }
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let byte = self.text.as_bytes().get(self.at + 1).copied();
        let plain = match byte {
            Some(b'"' | b'\\' | b'/') => byte.map(char::from),
            Some(b'b') => Some('\u{8}'),
            Some(b'f') => Some('\u{c}'),
            Some(b'n') => Some('\n'),
            Some(b'r') => Some('\r'),
            Some(b't') => Some('\t'),
            Some(b'u') => return self.unicode_escape(),
            _ => None,
        };
        let Some(plain) = plain else { return self.syntax("unknown escape in a string") };
        self.at += 2;
        Ok(plain)
    }

    /// `\uXXXX`, or two of them that are a surrogate pair.
    fn unicode_escape(&mut self) -> Result<char, JsonError> {
        let first = self.hex(self.at);
        let second = first.filter(|unit| matches!(unit, 0xd800..=0xdbff)).and_then(|_| self.hex(self.at + 6));
        let units = first.into_iter().chain(second);
        match char::decode_utf16(units).next() {
            Some(Ok(char)) => {
                self.at += 6 * char.len_utf16();
                Ok(char)
            }
            _ => self.syntax("bad \\u escape in a string"),
        }
    }

    fn hex(&self, at: usize) -> Option<u16> {
        let digits = self.text.as_bytes().get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0, |unit, digit| {
            let value = char::from(*digit).to_digit(16)?;
            Some(unit << 4 | u16::try_from(value).ok()?)
        })
    }

    /// An object: `each` reads the value of one key.
    pub fn object(
        &mut self,
        mut each: impl FnMut(&mut Self, Cow<'a, str>) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        self.open()?;
        let mut more = self.peek() != Some(b'}');
        while more {
            if self.peek() != Some(b'"') {
                return self.syntax("expected a key");
            }
            let key = self.string()?;
            if self.peek() != Some(b':') {
                return self.syntax("expected ':'");
            }
            self.at += 1;
            each(self, key)?;
            more = self.comma(b'}')?;
        }
        self.close();
        Ok(())
    }

    /// An array: `each` reads one element.
    pub fn array(
        &mut self,
        mut each: impl FnMut(&mut Self) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        self.open()?;
        let mut more = self.peek() != Some(b']');
        let mut index = 0;
        while more {
            self.path.push(Segment::Index(index));
            each(self)?;
            self.path.pop();
            index += 1;
            more = self.comma(b']')?;
        }
        self.close();
        Ok(())
    }

    fn open(&mut self) -> Result<(), JsonError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.syntax("nested too deeply");
        }
        self.at += 1;
        Ok(())
    }

    /// The closing bracket has been seen.
    fn close(&mut self) {
        self.depth -= 1;
        self.at += 1;
    }

    /// Takes a comma, or sees that `end` is next.
    fn comma(&mut self, end: u8) -> Result<bool, JsonError> {
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(byte) if byte == end => Ok(false),
            _ => self.syntax(if end == b'}' { "expected ',' or '}'" } else { "expected ',' or ']'" }),
        }
    }

    /// Reads a value nobody asked for.
    pub fn skip(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            Some(b'{') => self.object(|reader, _| reader.skip()),
            Some(b'[') => self.array(Self::skip),
            Some(b'"') => self.string().map(drop),
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            _ => self.number().map(drop),
        }
    }

    /// Runs `read` one field further down.
    pub fn within<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Self) -> Result<T, JsonError>,
    ) -> Result<T, JsonError> {
        self.path.push(Segment::Field(name));
        let value = read(self)?;
        self.path.pop();
        Ok(value)
    }

    /// Runs `read` for the map entry with this number.
    pub fn within_entry<T>(
        &mut self,
        index: usize,
        read: impl FnOnce(&mut Self) -> Result<T, JsonError>,
    ) -> Result<T, JsonError> {
        self.path.push(Segment::Index(index));
        let value = self.within("value", read)?;
        self.path.pop();
        Ok(value)
    }

    /// Accounts for one more element that takes `bytes` of memory.
    pub fn charge(&mut self, bytes: usize) -> Result<(), JsonError> {
        self.budget = self.budget.checked_sub(bytes).ok_or(JsonError::TooLarge)?;
        Ok(())
    }

    /// Notes the fields of `required` whose bit is not in `seen`.
    pub fn require(&mut self, required: &'static [&'static str], seen: u64) -> Result<(), JsonError> {
        for (bit, name) in required.iter().enumerate() {
            if seen & 1 << bit == 0 {
                let path = self.path_to(Some(name));
                self.missing.push(path);
            }
        }
        if self.missing.len() >= MAX_MISSING {
            return Err(JsonError::Missing(std::mem::take(&mut self.missing)));
        }
        Ok(())
    }

    fn path_to(&self, name: Option<&'static str>) -> String {
        let mut path = String::new();
        for segment in self.path.iter().chain(name.map(Segment::Field).as_ref()) {
            match segment {
                Segment::Field(name) if path.is_empty() => path.push_str(name),
                Segment::Field(name) => path.extend([".", name]),
                Segment::Index(index) => path.push_str(&format!("[{index}]")),
            }
        }
        path
    }
}
