//! Pulling, unpacking and keeping images, against a real registry, a hostile one, and a killed process.

// All of this binary is test code, where a failed unwrap is a failed test; clippy only exempts functions marked as one.
#![allow(clippy::unwrap_used)]

mod kit;

mod basics;
mod crash;
mod disk_full;
mod folder;
mod hostile;
mod keep;
mod login;
mod slow;
mod snapshots;
mod tar_corpus;
mod tar_layers;
mod tar_limits;
mod tls;
mod type_confusion;
