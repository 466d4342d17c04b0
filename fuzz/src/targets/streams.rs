//! Streams that come in pieces: RecordIO and the keeper's protocol; and what the runtime keeps on disk.

use runtime::protocol::{Command, Report};
use runtime::{ContainerSpec, Ending, protocol};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wire::recordio::{self, RecordError};

use super::choice;

const MAX_RECORD: usize = 1 << 10;

/// However a stream is cut, the same records come out; and they make the same stream again.
pub(crate) fn recordio(data: &[u8]) {
    let Some((size, stream)) = choice(data) else { return };
    let (whole, end) = records(stream, stream.len().max(1));
    assert_eq!(records(stream, size.max(1)), (whole.clone(), end), "in pieces of {size}");
    assert!(whole.iter().all(|record| record.len() <= MAX_RECORD));
    let written: Vec<u8> = whole.iter().flat_map(|record| recordio::encode(record)).collect();
    assert_eq!(records(&written, 7), (whole, Ok(())));
}

/// All records, and how the stream ended.
fn records(stream: &[u8], piece: usize) -> (Vec<Vec<u8>>, Result<(), RecordError>) {
    let mut decoder = recordio::Decoder::new(MAX_RECORD);
    let mut found = Vec::new();
    for piece in stream.chunks(piece) {
        decoder.push(piece);
        loop {
            match decoder.next() {
                Ok(Some(record)) => found.push(record.to_vec()),
                Ok(None) => break,
                Err(error) => return (found, Err(error)),
            }
        }
    }
    (found, decoder.finish())
}

/// Frames between agent and keeper, in both directions.
pub(crate) fn keeper(data: &[u8]) {
    let Some((first, stream)) = choice(data) else { return };
    let piece = first / 2 + 1;
    if first % 2 == 0 {
        same_frames::<Command>(stream, piece);
    } else {
        same_frames::<Report>(stream, piece);
    }
}

fn same_frames<M: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(stream: &[u8], piece: usize) {
    let whole = frames::<M>(stream, stream.len().max(1));
    assert_eq!(frames::<M>(stream, piece), whole, "in pieces of {piece}");
    for message in &whole {
        // A message may grow when its defaults are written.
        let Ok(frame) = protocol::encode(message) else { continue };
        assert_eq!(frames::<M>(&frame, 5).first(), Some(message));
    }
}

fn frames<M: DeserializeOwned>(stream: &[u8], piece: usize) -> Vec<M> {
    let mut decoder = protocol::Decoder::default();
    let mut found = Vec::new();
    for piece in stream.chunks(piece) {
        decoder.feed(piece);
        loop {
            match decoder.next() {
                Ok(Some(message)) => found.push(message),
                Ok(None) => break,
                Err(_) => return found,
            }
        }
    }
    found
}

/// The description of a container, as the keeper gets it.
pub(crate) fn spec(data: &[u8]) {
    same_json::<ContainerSpec>(data);
}

/// The record of a container's end, as a restarted agent reads it.
pub(crate) fn ending(data: &[u8]) {
    same_json::<Ending>(data);
}

fn same_json<T: DeserializeOwned + Serialize>(text: &[u8]) {
    let Ok(value) = serde_json::from_slice::<T>(text) else { return };
    let printed = serde_json::to_vec(&value).expect("it can be written");
    let again: T = serde_json::from_slice(&printed).expect("what is written can be read");
    assert_eq!(serde_json::to_vec(&again).expect("it can be written"), printed);
}
