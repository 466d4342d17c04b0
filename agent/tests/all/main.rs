//! A whole agent without containers: its link, its loop, its HTTP API, over real sockets.

#![allow(clippy::unwrap_used)]
#![forbid(unsafe_code)]

mod calls;
#[path = "../common/mod.rs"]
mod common;
mod fake;
mod files;
mod link;
mod pages;
mod secrets;
mod usage;
