//! What a keeper and its caller say to each other, without any I/O.
//!
//! A message is a frame: four bytes of length (big endian, at most [`MAX_FRAME`]) and a JSON object
//! with one key, its name. The protocol is append-only: a new message or field may come, none
//! changes its meaning or goes. So a reader skips fields it does not know, and a message it does not
//! know arrives as `Unknown`.
//!
//! A keeper greets every new connection with [`Report::Hello`], followed by the last of
//! [`Report::Started`], [`Report::Failed`] and [`Report::Exited`] that already happened. So a caller
//! that reconnects misses nothing. Every [`Command`] is answered by what it causes;
//! [`Command::Statistics`] by exactly one [`Report::Statistics`].
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use crate::cgroups::Statistics;
use crate::ending::{ExitRecord, Failure, KillReason};

/// Version of the protocol. It grows when a message or field is added.
pub const VERSION: u32 = 1;

/// Longest frame in bytes without its length; a longer one ends the connection.
pub const MAX_FRAME: usize = 64 << 10;

/// From the caller to the keeper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// SIGTERM now, SIGKILL to all of the container after the grace period. A later kill can only
    /// shorten the time that is left.
    Kill {
        /// Milliseconds between the two; `None`: as the spec says; 0: SIGKILL at once.
        grace_ms: Option<u64>,
        /// Why, for the record; `None`: because somebody asked for it.
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "known_reason")]
        why: Option<KillReason>,
    },
    /// Ask for one [`Report::Statistics`].
    Statistics {},
    /// A message of a newer version.
    #[serde(untagged)]
    Unknown(Newer),
}

/// From the keeper to the caller.
#[expect(clippy::large_enum_variant, reason = "a report lives until it is handled, one at a time")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// The first message of every connection.
    Hello {
        /// The keeper's [`VERSION`].
        version: u32,
        /// The keeper's process id.
        keeper_pid: u32,
    },
    /// The command runs: its `execve` succeeded.
    Started {
        /// Its process id on the host (that of PID 1 of the container).
        pid: u32,
        /// Milliseconds since 1970.
        at_ms: u64,
    },
    /// The command never ran; the keeper cleaned up and ends.
    Failed(Failure),
    /// A kill has begun.
    Killing {
        /// Who wanted it.
        reason: KillReason,
        /// Milliseconds until SIGKILL.
        grace_ms: u64,
    },
    /// The command ended; everything of the container is gone but its folder, and the keeper ends.
    Exited(ExitRecord),
    /// Use of resources.
    Statistics {
        /// When, in milliseconds since 1970.
        at_ms: u64,
        /// What the host measures; the rest is absent.
        usage: Statistics,
    },
    /// A message of a newer version.
    #[serde(untagged)]
    Unknown(Newer),
}

/// Stands for a message that this version does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newer;

impl Serialize for Newer {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde::Serialize::serialize(&serde_json::Map::new(), serializer)
    }
}

impl<'de> Deserialize<'de> for Newer {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

/// A frame that can't be read; the connection is no longer usable.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// The length is above [`MAX_FRAME`].
    #[error("a frame of {0} bytes is longer than {MAX_FRAME}")]
    TooLong(usize),
    /// The content is not a message.
    #[error("a frame does not hold a message")]
    Malformed(#[source] serde_json::Error),
}

/// A reason of a newer version is as good as none: the kill itself must not be missed for it.
fn known_reason<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<KillReason>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Reason {
        Known(KillReason),
        Newer(IgnoredAny),
    }
    Ok(match Reason::deserialize(deserializer)? {
        Reason::Known(reason) => Some(reason),
        Reason::Newer(_) => None,
    })
}

/// The bytes of one message, ready to be written.
///
/// # Errors
/// [`ProtocolError::TooLong`] when the message does not fit a frame.
pub fn encode<M: Serialize>(message: &M) -> Result<Vec<u8>, ProtocolError> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message).map_err(ProtocolError::Malformed)?;
    let length = frame.len() - 4;
    let head = u32::try_from(length).ok().filter(|_| length <= MAX_FRAME);
    let head = head.ok_or(ProtocolError::TooLong(length))?;
    frame[..4].copy_from_slice(&head.to_be_bytes());
    Ok(frame)
}

/// Takes bytes as they come and gives messages.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
}

impl Decoder {
    /// Takes bytes that were read.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, if there is one.
    ///
    /// # Errors
    /// [`ProtocolError`]; the connection should be closed then.
    #[expect(clippy::should_implement_trait, reason = "the type of the message is the caller's choice")]
    pub fn next<M: DeserializeOwned>(&mut self) -> Result<Option<M>, ProtocolError> {
        let Some(head) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*head)).unwrap_or(usize::MAX);
        if length > MAX_FRAME {
            return Err(ProtocolError::TooLong(length));
        }
        let Some(body) = self.buffer.get(4..4 + length) else { return Ok(None) };
        let message = serde_json::from_slice(body).map_err(ProtocolError::Malformed)?;
        self.buffer.drain(..4 + length);
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests;
