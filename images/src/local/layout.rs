//! Choosing an image by the `index.json` of an OCI layout, wherever the layout is.

use crate::limits::Limits;
use crate::manifest::{Descriptor, Document, ManifestError};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Why no entry of an index was chosen.
pub(super) enum NotChosen {
    Unusable(ManifestError),
    /// The chosen entry's manifest has that many bytes.
    TooLarge(u64),
    /// What was looked for, and what there is.
    Missing(String, String),
}

/// The entry with the tag; without a tag the only one, or else `latest`.
pub(super) fn choose(index: &[u8], tag: Option<&str>, limits: &Limits) -> Result<Descriptor, NotChosen> {
    let index = match Document::parse(index, Some(INDEX), limits).map_err(NotChosen::Unusable)? {
        Document::Index(index) => index.manifests,
        Document::Manifest(_) => {
            return Err(NotChosen::Unusable(ManifestError::Malformed("it is an image manifest".into())));
        }
    };
    let named = |name: &str| index.iter().find(|entry| entry.ref_name() == Some(name));
    let found = match (tag, index.as_slice()) {
        (Some(tag), _) => named(tag),
        (None, [only]) => Some(only),
        (None, _) => named("latest"),
    };
    match found {
        Some(entry) if entry.size > limits.manifest_bytes => Err(NotChosen::TooLarge(entry.size)),
        Some(entry) => Ok(entry.clone()),
        None => {
            let tags: Vec<&str> = index.iter().filter_map(Descriptor::ref_name).take(20).collect();
            Err(missing(tag, &tags))
        }
    }
}

/// What to say when nothing fits.
pub(super) fn missing(wanted: Option<&str>, available: &[&str]) -> NotChosen {
    let wanted =
        wanted.map_or("without a tag that is the only one".to_owned(), |tag| format!("tagged {tag}"));
    let available = if available.is_empty() { "no tags".to_owned() } else { available.join(", ") };
    NotChosen::Missing(wanted, available)
}
