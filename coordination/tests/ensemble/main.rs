//! Detection, contest and records against a real ZooKeeper ensemble.
#![allow(clippy::unwrap_used)]

mod contest;
mod kit;
mod records;
