//! Walks the fields of protobuf bytes without decoding them.

use crate::proto::DecodeError;

/// The value of one field; what is not asked for is passed over.
pub enum Wire<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Other,
}

/// Takes one field off the front.
pub fn field<'a>(bytes: &mut &'a [u8], depth: u32) -> Result<(u32, Wire<'a>), DecodeError> {
    let key = u32::try_from(varint(bytes)?).map_err(|_| MALFORMED)?;
    let number = key >> 3;
    if number == 0 {
        return Err(MALFORMED);
    }
    let value = match key & 7 {
        0 => Wire::Varint(varint(bytes)?),
        1 => take(bytes, 8).map(|_| Wire::Other)?,
        2 => {
            let length = usize::try_from(varint(bytes)?).map_err(|_| MALFORMED)?;
            Wire::Bytes(take(bytes, length)?)
        }
        3 => group(bytes, number, depth).map(|()| Wire::Other)?,
        5 => take(bytes, 4).map(|_| Wire::Other)?,
        _ => return Err(MALFORMED),
    };
    Ok((number, value))
}

/// Passes over a group: the schema has none, so it is an unknown field.
fn group(bytes: &mut &[u8], number: u32, depth: u32) -> Result<(), DecodeError> {
    let depth = depth.checked_sub(1).ok_or(DecodeError::TooDeep)?;
    loop {
        let mut ahead = *bytes;
        if varint(&mut ahead)? == u64::from(number << 3 | 4) {
            *bytes = ahead;
            return Ok(());
        }
        field(bytes, depth)?;
    }
}

const MALFORMED: DecodeError = DecodeError::Malformed;

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], DecodeError> {
    let (head, tail) = bytes.split_at_checked(length).ok_or(MALFORMED)?;
    *bytes = tail;
    Ok(head)
}

fn varint(bytes: &mut &[u8]) -> Result<u64, DecodeError> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if *byte < 0x80 {
            // The tenth byte has room for one bit.
            let fits = index < 9 || *byte < 2;
            *bytes = &bytes[index + 1..];
            return if fits { Ok(value) } else { Err(MALFORMED) };
        }
    }
    Err(MALFORMED)
}

/// The low half, as protobuf reads enums.
pub fn truncate(value: u64) -> i32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}
