//! RecordIO: `<decimal length>\n<record>` again and again, without I/O.
//!
//! Streams of the v1 API are made of these; how they are cut into chunks on the way has no meaning.

use bytes::{Buf as _, Bytes, BytesMut};

/// Digits of the largest 64-bit length.
const MAX_DIGITS: usize = 20;

/// `record` with its length before it.
pub fn encode(record: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(record.len() + MAX_DIGITS + 1);
    out.extend_from_slice(record.len().to_string().as_bytes());
    out.extend_from_slice(b"\n");
    out.extend_from_slice(record);
    out.freeze()
}

/// Why a stream is not RecordIO. The stream cannot be read on after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The length is not a decimal number.
    #[error("Failed to decode a record: its length has the byte {0:#04x}")]
    NotDecimal(
        /// The first byte that is no digit.
        u8,
    ),
    /// A line end where a length should be.
    #[error("Failed to decode a record: its length is empty")]
    Empty,
    /// More digits than any length has.
    #[error("Failed to decode a record: its length has more than {MAX_DIGITS} digits")]
    Overlong,
    /// More than the decoder's limit.
    #[error("Failed to decode a record: it is longer than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The stream ended in the midst of a record.
    #[error("Failed to decode a record: the stream ended within it")]
    Truncated,
}

/// Takes a stream apart into records, piece by piece.
///
/// Holds what was pushed and not yet taken out: take the records out after each [`Decoder::push`], then no
/// more than one record and one piece are held.
#[derive(Debug)]
pub struct Decoder {
    limit: usize,
    buffer: BytesMut,
    /// Length of the record being awaited.
    expected: Option<usize>,
    failed: Option<RecordError>,
}

impl Decoder {
    /// A decoder that refuses records longer than `max_record` bytes.
    pub fn new(max_record: usize) -> Self {
        Decoder { limit: max_record, buffer: BytesMut::new(), expected: None, failed: None }
    }

    /// Adds the next piece of the stream.
    pub fn push(&mut self, piece: &[u8]) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(piece);
        }
    }

    /// The next record, when all of it has been pushed.
    ///
    /// # Errors
    /// See [`RecordError`]; the same one again on every later call.
    #[expect(clippy::should_implement_trait, reason = "no iterator: None means that more is needed")]
    pub fn next(&mut self) -> Result<Option<Bytes>, RecordError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.step().inspect_err(|error| {
            self.failed = Some(*error);
            self.buffer = BytesMut::new();
        })
    }

    /// To be called at the end of the stream, after the last record.
    ///
    /// # Errors
    /// [`RecordError::Truncated`] when the stream ended within a record, or the error it failed with before.
    pub fn finish(self) -> Result<(), RecordError> {
        match self.failed {
            Some(error) => Err(error),
            None if self.expected.is_some() || !self.buffer.is_empty() => Err(RecordError::Truncated),
            None => Ok(()),
        }
    }

    fn step(&mut self) -> Result<Option<Bytes>, RecordError> {
        if self.expected.is_none() {
            self.expected = self.length()?;
        }
        match self.expected {
            Some(length) if self.buffer.len() >= length => {
                self.expected = None;
                Ok(Some(self.buffer.split_to(length).freeze()))
            }
            _ => Ok(None),
        }
    }

    /// Takes a whole length line off the buffer.
    fn length(&mut self) -> Result<Option<usize>, RecordError> {
        let digits = self.buffer.iter().take_while(|byte| byte.is_ascii_digit()).take(MAX_DIGITS + 1).count();
        if digits > MAX_DIGITS {
            return Err(RecordError::Overlong);
        }
        match self.buffer.get(digits) {
            None => return Ok(None),
            Some(b'\n') if digits == 0 => return Err(RecordError::Empty),
            Some(b'\n') => {}
            Some(other) => return Err(RecordError::NotDecimal(*other)),
        }
        let text = String::from_utf8_lossy(&self.buffer[..digits]).into_owned();
        self.buffer.advance(digits + 1);
        // What does not fit a usize is beyond the limit in any case.
        let length = text.parse().unwrap_or(usize::MAX);
        if length > self.limit {
            return Err(RecordError::TooLarge { limit: self.limit });
        }
        Ok(Some(length))
    }
}
