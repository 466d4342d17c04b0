//! The wire against its schema table, prost-reflect, serde_json and hostile input.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod catalog;
mod golden;
mod hostile;
mod media;
mod recordio;
mod reflect;
mod required;
mod rules;
mod sizes;
mod table;
