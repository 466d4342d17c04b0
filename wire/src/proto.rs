//! The protobuf form of the v1 messages, with the required fields checked.

use crate::{Json, maps, required};

/// Why bytes are not the protobuf form of the message asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are no sequence of protobuf fields.
    #[error("Failed to parse body into protobuf: malformed or truncated field")]
    Malformed,
    /// Messages in messages beyond 100.
    #[error("Failed to parse body into protobuf: nested too deeply")]
    TooDeep,
    /// The message would take far more memory than its bytes.
    #[error("The body holds too many messages for its size")]
    TooLarge,
    /// Required fields are not there.
    #[error("Missing required fields: {}", .0.join(", "))]
    Missing(
        /// Paths of the first ones found, such as `accept.operations[0].launch.task_infos[0].name`.
        Vec<String>,
    ),
    /// A field is of another type than the schema says, or its text is not UTF-8.
    #[error("Failed to parse body into protobuf")]
    Field(#[from] prost::DecodeError),
}

/// Reads one message. Unknown fields are dropped.
///
/// # Errors
/// See [`DecodeError`]; the required fields of the message and of all it holds are checked.
pub fn decode<T: Json>(bytes: &[u8]) -> Result<T, DecodeError> {
    check::<T>(bytes)?;
    Ok(T::decode(bytes)?)
}

/// The checks of [`decode`] alone: nesting, size in memory and required fields.
///
/// # Errors
/// All of [`DecodeError`] but [`DecodeError::Field`].
pub fn check<T: Json>(bytes: &[u8]) -> Result<(), DecodeError> {
    required::check(bytes, T::table())
}

/// The protobuf form of `message`, with the map values that prost leaves out though Mesos requires them.
pub fn encode<T: Json>(message: &T) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    maps::complete(&bytes, T::table()).unwrap_or(bytes)
}
