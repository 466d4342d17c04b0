//! What the whole does: real processes of the built binary, a real registry, the real kernel.

#![forbid(unsafe_code)]

mod api;
mod calls;
mod cli;
mod docs;
mod failures;
mod isolation;
mod launch;
mod limits;
mod pull;
mod restart;
mod streams;
mod unreachable;
