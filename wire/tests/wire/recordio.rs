//! RecordIO: any records in any chunks, and what is no RecordIO.

use proptest::prelude::*;
use wire::recordio::{Decoder, RecordError, encode};

/// All records of a stream in one piece.
fn decode(stream: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, RecordError> {
    let mut decoder = Decoder::new(limit);
    decoder.push(stream);
    let mut records = Vec::new();
    while let Some(record) = decoder.next()? {
        records.push(record.to_vec());
    }
    decoder.finish()?;
    Ok(records)
}

proptest! {
    #[test]
    fn chunk_borders_have_no_meaning(
        records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..8),
        cuts in prop::collection::vec(1_usize..40, 1..60),
    ) {
        let stream: Vec<u8> = records.iter().flat_map(|record| encode(record)).collect();
        let mut decoder = Decoder::new(200);
        let mut found = Vec::new();
        let mut rest = &stream[..];
        for cut in cuts.iter().cycle() {
            let (piece, tail) = rest.split_at((*cut).min(rest.len()));
            decoder.push(piece);
            rest = tail;
            while let Some(record) = decoder.next().unwrap() {
                found.push(record.to_vec());
            }
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(decoder.finish(), Ok(()));
        prop_assert_eq!(found, records);
    }

    #[test]
    fn any_bytes_in_any_chunks_end_the_same(stream in prop::collection::vec(
        prop_oneof![Just(b'\n'), Just(b'0'), b'0'..=b'9', any::<u8>()], 0..60), limit in 0_usize..50) {
        let whole = decode(&stream, limit);
        let mut decoder = Decoder::new(limit);
        let mut records = Vec::new();
        let mut step = || {
            for byte in &stream {
                decoder.push(&[*byte]);
                while let Some(record) = decoder.next()? {
                    records.push(record.to_vec());
                }
            }
            Ok(())
        };
        let result = step().and_then(|()| decoder.finish()).map(|()| records);
        prop_assert_eq!(result, whole);
    }
}

#[test]
fn what_is_refused() {
    let table: [(&[u8], RecordError); 14] = [
        (b"\n", RecordError::Empty),
        (b"1\na\n", RecordError::Empty),
        (b"x\n", RecordError::NotDecimal(b'x')),
        (b"-1\n", RecordError::NotDecimal(b'-')),
        (b"+1\na", RecordError::NotDecimal(b'+')),
        (b" 1\na", RecordError::NotDecimal(b' ')),
        (b"1 \na", RecordError::NotDecimal(b' ')),
        (b"1\r\na", RecordError::NotDecimal(b'\r')),
        (b"0x1\na", RecordError::NotDecimal(b'x')),
        (b"101\n", RecordError::TooLarge { limit: 100 }),
        (b"99999999999999999999\n", RecordError::TooLarge { limit: 100 }),
        (b"000000000000000000001\na", RecordError::Overlong),
        (b"5\nabcd", RecordError::Truncated),
        (b"5", RecordError::Truncated),
    ];
    for (stream, error) in table {
        assert_eq!(decode(stream, 100), Err(error), "{}", stream.escape_ascii());
    }
}

#[test]
fn limits_are_inclusive_and_empty_records_are_records() {
    assert_eq!(decode(b"0\n3\nabc0\n", 3).unwrap(), [&b""[..], b"abc", b""]);
    assert_eq!(decode(b"007\nabcdefg", 7).unwrap(), [b"abcdefg"]);
    assert_eq!(decode(b"", 0).unwrap(), Vec::<Vec<u8>>::new());
    assert_eq!(&encode(b"")[..], b"0\n");
}

#[test]
fn an_error_stays_and_holds_nothing() {
    let mut decoder = Decoder::new(10);
    decoder.push(b"2\nabx");
    assert_eq!(decoder.next().unwrap().unwrap(), "ab");
    for _ in 0..3 {
        assert_eq!(decoder.next(), Err(RecordError::NotDecimal(b'x')));
        decoder.push(b"1\na");
    }
    assert_eq!(decoder.finish(), Err(RecordError::NotDecimal(b'x')));
}

#[test]
fn digits_without_an_end_are_refused_early() {
    let mut decoder = Decoder::new(10);
    decoder.push(&[b'0'; 21]);
    assert_eq!(decoder.next(), Err(RecordError::Overlong));
}
