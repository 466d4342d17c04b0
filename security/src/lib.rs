//! Who may talk to whom: TLS on the ports and links, logins and tokens of HTTP requests, endpoints that are closed.
//!
//! In Mesos this is libprocess' SSL, its HTTP authenticators and its firewall. Nothing here knows of tasks, agents or
//! offers, and no secret is ever part of an error, a log line or a debug text.

#![forbid(unsafe_code)]

pub mod authenticator;
pub mod credentials;
mod file;
pub mod firewall;
pub mod gate;
pub mod jwt;
pub mod tls;

pub use file::BadFile;
pub use gate::{Gate, GateError, GateSettings, Stop};
pub use tls::{ClientTls, Guest, ServerTls, Stream, TlsError, TlsSettings};
