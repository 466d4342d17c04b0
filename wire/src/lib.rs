//! The wire: Mesos' v1 schema with its protobuf and JSON forms, RecordIO, and the agent link.

#![forbid(unsafe_code)]

/// Generated from `proto/`.
#[allow(missing_docs, clippy::all, rustdoc::all)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/_all.rs"));
}

pub use generated::mesos::v1;
/// Messages and gRPC service of the agent link.
pub use generated::tepui::link::v1 as link;
