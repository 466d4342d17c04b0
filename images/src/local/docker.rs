//! `manifest.json` of `docker save`: which configuration and layers belong to which tags.

use serde::Deserialize;

/// One image of an archive.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Entry {
    /// Path of the configuration.
    pub(crate) config: String,
    #[serde(default)]
    pub(crate) repo_tags: Option<Vec<String>>,
    /// Paths of the layers, the lowest first.
    #[serde(default)]
    pub(crate) layers: Option<Vec<String>>,
}

/// Images that one archive may hold.
const ENTRIES: usize = 1000;

/// Reads the document.
///
/// # Errors
/// What is wrong, for a message.
pub(crate) fn entries(bytes: &[u8]) -> Result<Vec<Entry>, String> {
    let entries: Vec<Entry> =
        serde_json::from_slice(bytes).map_err(|error| format!("its manifest.json is malformed ({error})"))?;
    match entries.len() {
        0 => Err("its manifest.json lists no image".into()),
        1..=ENTRIES => Ok(entries),
        count => Err(format!("its manifest.json lists {count} images, more than the {ENTRIES} allowed")),
    }
}
