//! What every server of ours has in common, whatever it serves: how a path finds its route, JSONP, files told over HTTP,
//! metrics, the log's verbosity, the version told, the address that others reach, short answers, and large ones to slow
//! readers.
//!
//! In Mesos this is libprocess' part. Nothing here knows of tasks, agents or offers.

#![forbid(unsafe_code)]

pub mod address;
pub mod answers;
pub mod files;
pub mod gzip;
pub mod jsonp;
pub mod logging;
pub mod metrics;
pub mod routes;
pub mod sending;
pub mod system;
pub mod version;
