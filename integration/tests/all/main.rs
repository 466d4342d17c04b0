//! What the whole does: real processes of the built binary, a real registry, the real kernel.

#![forbid(unsafe_code)]

mod api;
mod calls;
mod cli;
mod docs;
mod failures;
mod faults;
mod foreign_client;
mod hostile_http;
mod isolation;
mod launch;
mod limits;
mod many_tasks;
mod masterless;
mod metrics;
mod pull;
mod reconfigured;
mod restart;
mod several_masters;
mod streams;
mod threats;
mod unreachable;
