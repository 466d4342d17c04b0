//! The bytes of checkpoints: protobuf messages behind their length, as in Mesos.
//!
//! A file that is replaced as a whole holds one record. `task.updates` is appended to: after a crash its last record
//! may be cut short, and is cut off then.

use bytes::Bytes;
use prost::Message;
use wire::v1;

/// Longest record that is read, in bytes.
pub(super) const MAX_RECORD: usize = 64 << 20;

/// One entry of `task.updates`. Append-only: fields are added, never changed.
#[derive(Clone, PartialEq, Message)]
pub(super) struct UpdateRecord {
    /// An update that is to be delivered.
    #[prost(message, optional, tag = "1")]
    pub(super) update: Option<v1::TaskStatus>,
    /// The uuid of an update that was delivered.
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub(super) acknowledged: Option<Bytes>,
}

/// The record of one message: its length in four bytes, little-endian, and the message.
pub(super) fn frame(message: &impl Message) -> Vec<u8> {
    let body = message.encode_to_vec();
    // A message that does not fit is refused long before: the link takes none of that size.
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let mut frame = length.to_le_bytes().to_vec();
    frame.extend_from_slice(&body);
    frame
}

/// What a file of records holds.
#[derive(Debug, PartialEq)]
pub(super) struct Read<M> {
    /// The messages, in order.
    pub(super) messages: Vec<M>,
    /// How many bytes at the front are whole records. What comes after was cut short by a crash.
    pub(super) whole: usize,
}

/// Reads records up to the first that is not whole.
///
/// # Errors
/// A record is damaged although others come after it, which no crash explains.
pub(super) fn read<M: Message + Default>(bytes: &[u8]) -> Result<Read<M>, String> {
    let mut messages = Vec::new();
    let mut whole = 0;
    while let Some(head) = bytes[whole..].first_chunk::<4>() {
        let length = usize::try_from(u32::from_le_bytes(*head)).unwrap_or(usize::MAX);
        // Room that was never written to reads as zeros, and no record of ours is empty.
        if length == 0 || length > MAX_RECORD {
            break;
        }
        let Some(body) = bytes[whole + 4..].get(..length) else { break };
        match M::decode(body) {
            Ok(message) => messages.push(message),
            Err(_) if whole + 4 + length == bytes.len() => break,
            Err(why) => return Err(format!("the record at byte {whole} can't be read: {why}")),
        }
        whole += 4 + length;
    }
    Ok(Read { messages, whole })
}

/// Reads a file of exactly one record.
///
/// # Errors
/// It holds something else.
pub(super) fn read_one<M: Message + Default>(bytes: &[u8]) -> Result<M, String> {
    let mut read = read::<M>(bytes)?;
    match (read.messages.pop(), read.messages.is_empty() && read.whole == bytes.len()) {
        (Some(message), true) => Ok(message),
        _ => Err("it holds no whole record".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(n: u8) -> UpdateRecord {
        UpdateRecord { update: None, acknowledged: Some(Bytes::from(vec![n; 16])) }
    }

    #[test]
    fn cut_anywhere_the_whole_records_are_read() {
        let all: Vec<UpdateRecord> = (1..=3).map(record).collect();
        let bytes: Vec<u8> = all.iter().flat_map(frame).collect();
        let size = frame(&all[0]).len();
        for cut in 0..=bytes.len() {
            let read = read::<UpdateRecord>(&bytes[..cut]).unwrap();
            assert_eq!(read.messages.len(), cut / size, "{cut}");
            assert_eq!(read.whole, cut / size * size);
            assert_eq!(read.messages[..], all[..cut / size]);
        }
    }

    #[test]
    fn what_a_crash_leaves_is_cut_off() {
        let mut bytes = frame(&record(1));
        let whole = bytes.len();
        for rubbish in [&[0; 64][..], &[255; 9], &[3, 0, 0, 0, 255, 255, 255]] {
            bytes.truncate(whole);
            bytes.extend_from_slice(rubbish);
            let read = read::<UpdateRecord>(&bytes).unwrap();
            assert_eq!((read.messages.len(), read.whole), (1, whole), "{rubbish:?}");
        }
    }

    #[test]
    fn damage_before_the_end_is_an_error() {
        let mut bytes = vec![3, 0, 0, 0, 255, 255, 255];
        bytes.extend(frame(&record(1)));
        assert!(read::<UpdateRecord>(&bytes).unwrap_err().contains("byte 0"));
        assert!(read_one::<UpdateRecord>(&bytes).is_err());
        assert!(read_one::<UpdateRecord>(&[]).is_err());
        assert_eq!(read_one::<UpdateRecord>(&frame(&record(2))), Ok(record(2)));
    }
}
