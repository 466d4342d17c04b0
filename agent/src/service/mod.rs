//! The agent at work: the loop around the logic, the link, the disk, the containers, the clock.

pub(crate) mod checkpoint;
mod clock;
mod collector;
mod contain;
mod disk;
mod driver;
mod host;
mod isolate;
mod master_link;
pub(crate) mod paths;
mod sandbox;
mod server;
mod start;

pub use checkpoint::{CheckpointError, CheckpointStore, FileStore, MemoryStore};
pub(crate) use disk::DiskUsage;
pub(crate) use driver::Reader;
pub use paths::Paths;
pub(crate) use start::start;
pub use start::{Parts, start_with};
