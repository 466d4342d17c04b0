//! What a manifest, an index or an image configuration says, and which of them are refused.

mod config;
mod document;
mod history;
mod media;
mod platform;

pub use config::{ConfigError, ImageConfig};
pub use document::ManifestError;
pub use history::Step;

pub(crate) use config::ConfigFile;
pub(crate) use document::{Descriptor, Document, Manifest};
pub(crate) use history::Past;
pub(crate) use media::{ACCEPT, Compression};
pub(crate) use platform::Platform;
