//! Containers for real: the probe's keeper, busybox, the kernel. Needs root; says so and passes when
//! there is none.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test says where it failed by its line")]

mod endings;
mod hostile_images;
mod isolation;
mod kills;
mod limits;
mod recovery;
mod world;
