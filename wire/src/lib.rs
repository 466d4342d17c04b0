//! The wire: Mesos' v1 schema with its protobuf and JSON forms, RecordIO, and the agent link.
//!
//! The messages are generated from `proto/` by prost; the JSON forms and the required-field checks are
//! generated from the same descriptors by `build/`. Read bodies with [`media::decode_body`], or with
//! [`json::from_slice`] and [`proto::decode`] directly: prost's own `decode` does not notice missing required
//! fields.

#![forbid(unsafe_code)]

pub mod json;
pub mod link;
mod maps;
pub mod media;
pub mod proto;
pub mod query;
mod raw;
pub mod recordio;
mod required;

pub use json::Json;

/// Generated from `proto/`.
#[allow(missing_docs, clippy::all, rustdoc::all)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/_all.rs"));
}

/// The JSON forms and required-field tables of everything in [`generated`].
#[allow(clippy::all, non_upper_case_globals)]
mod forms {
    use crate::generated::{google, mesos};
    use crate::json::fields::EnumName;
    use crate::json::reader::Reader;
    use crate::json::writer::Object;
    use crate::json::{Json, JsonError};
    use crate::required::{Entry, Kind, Label, Table, empty};

    macro_rules! enum_name {
        ($path:path) => {
            impl EnumName for $path {
                fn name(number: i32) -> Option<&'static str> {
                    Self::try_from(number).ok().map(|value| value.as_str_name())
                }
                fn number(name: &str) -> Option<i32> {
                    Self::from_str_name(name).map(|value| value as i32)
                }
            }
        };
    }

    include!(concat!(env!("OUT_DIR"), "/_mesos.rs"));
}

/// `google.protobuf`, of which the schema uses `Duration`.
pub use generated::google;
/// Mesos' v1 API. `mesos.v1.scheduler` and so on are its submodules.
pub use generated::mesos::v1;
