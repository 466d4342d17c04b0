//! Images that are files on this host: OCI layouts in folders, and archives as `docker save` writes them.

mod archive;
mod body;
mod docker;
mod error;
mod folder;
mod layout;
mod members;
mod opened;

pub use error::{ArchiveError, FolderError};

pub(crate) use archive::ArchiveSource;
pub(crate) use docker::entries;
pub(crate) use folder::FolderSource;
