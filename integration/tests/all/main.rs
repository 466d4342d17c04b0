//! What the whole does: real processes of the built binary, a real registry, the real kernel.

#![forbid(unsafe_code)]

mod agent_images;
mod api;
mod authentication;
mod calls;
mod chaos;
mod cli;
mod docs;
mod failures;
mod faults;
mod foreign_client;
mod hostile_http;
mod hostile_link;
mod hostile_routes;
mod impostors;
mod isolation;
mod launch;
mod limits;
mod many_tasks;
mod masterless;
mod metrics;
mod network;
mod progress;
mod pull;
mod readers;
mod reconfigured;
mod restart;
mod sandboxes;
mod several_masters;
mod streams;
mod threats;
mod tls;
mod unreachable;
