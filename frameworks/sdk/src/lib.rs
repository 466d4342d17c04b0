//! What every scheduler on tepui or Apache Mesos needs: a session with the leading master that survives lost
//! connections and restarts of either side, a client of the v1 scheduler API, and task descriptions.
//!
//! [`session`] decides and does no I/O, [`client`] does one request at a time, [`scheduler`] runs the first over the
//! second. [`http`] is the plain HTTP beneath, also for those who only want to read `/state` or a file of a sandbox.

#![forbid(unsafe_code)]

pub mod client;
mod connect;
pub mod fit;
pub mod http;
pub mod launch;
pub mod scheduler;
pub mod session;

pub use client::Client;
pub use scheduler::Scheduler;
pub use session::{Notice, Options};
