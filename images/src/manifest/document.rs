//! Manifests and indexes, Docker's and OCI's, and the refusal of documents that could be read as both.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::media::{self, Compression, DocumentKind};
use super::platform::Platform;
use crate::digest::Digest;
use crate::limits::Limits;

/// Why a manifest or index is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, or not the fields that the image specification asks for.
    #[error("the manifest is malformed: {0}")]
    Malformed(String),
    /// The transport, the parent and the document do not agree on what it is.
    #[error("the manifest's type is ambiguous: {0}")]
    Ambiguous(String),
    /// A type that we do not read, such as Docker's schema 1 or an artifact.
    #[error("{what} of type {media_type:?} is not supported; push the image again with a current tool")]
    Unsupported {
        /// Which part has the type.
        what: &'static str,
        /// The type.
        media_type: String,
    },
    /// More of something than an image needs.
    #[error("the manifest has {count} {what}, more than the {limit} allowed")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How much there is.
        count: usize,
        /// How much there may be.
        limit: usize,
    },
    /// No entry of the index is for us.
    #[error("the image has no variant for {host}; it has {available}")]
    NoPlatform {
        /// What we are.
        host: String,
        /// What the index offers.
        available: String,
    },
    /// An index inside an index inside an index.
    #[error("indexes are nested deeper than 2")]
    TooDeep,
    /// The manifest and the configuration disagree.
    #[error("the manifest has {layers} layers, the configuration names {diff_ids}")]
    LayerCount {
        /// Layers of the manifest.
        layers: usize,
        /// `rootfs.diff_ids` of the configuration.
        diff_ids: usize,
    },
}

/// A pointer to a blob. `urls` and `data` are ignored: content comes from the registry that was asked.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default)]
    pub(crate) platform: Option<Platform>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

impl Descriptor {
    /// The tag of an entry of a local layout's index.
    pub(crate) fn ref_name(&self) -> Option<&str> {
        self.annotations.as_ref()?.get("org.opencontainers.image.ref.name").map(String::as_str)
    }

    #[cfg(test)]
    pub(crate) fn for_test(size: u64, platform: Option<Platform>) -> Self {
        let digest = Digest::of(crate::digest::Algorithm::Sha256, b"");
        Self { media_type: String::new(), digest, size, platform, annotations: None }
    }
}

/// One image for one platform.
#[derive(Debug, Clone)]
pub(crate) struct Manifest {
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<(Descriptor, Compression)>,
}

/// Images for several platforms.
#[derive(Debug, Clone)]
pub(crate) struct Index {
    pub(crate) manifests: Vec<Descriptor>,
}

/// What an image name can point to.
#[derive(Debug, Clone)]
pub(crate) enum Document {
    Manifest(Manifest),
    Index(Index),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(flatten)]
    rest: BTreeMap<String, IgnoredAny>,
}

impl Document {
    /// Reads a document that came with `content_type`, as the transport or the parent's descriptor had it.
    /// Every statement about its type has to agree, and its fields with them (CVE-2021-41190).
    pub(crate) fn parse(
        bytes: &[u8],
        content_type: Option<&str>,
        limits: &Limits,
    ) -> Result<Self, ManifestError> {
        let raw: Raw = serde_json::from_slice(bytes).map_err(|e| refuse_raw(bytes, &e))?;
        if raw.schema_version != 2 {
            let media_type = format!("schema version {}", raw.schema_version);
            return Err(ManifestError::Unsupported { what: "a manifest", media_type });
        }
        refuse_lookalikes(&raw.rest)?;
        let stated = agreed_type(content_type, raw.media_type.as_deref())?;
        let kind = media::document(&stated)
            .ok_or_else(|| ManifestError::Unsupported { what: "a manifest", media_type: short(&stated) })?;
        match kind {
            DocumentKind::Manifest => raw.manifest(limits).map(Self::Manifest),
            DocumentKind::Index => raw.index(limits).map(Self::Index),
        }
    }
}

impl Raw {
    fn manifest(self, limits: &Limits) -> Result<Manifest, ManifestError> {
        if self.manifests.is_some() {
            return Err(ambiguous("an image manifest with a list of manifests"));
        }
        let missing = |field| ManifestError::Malformed(format!("an image manifest without {field:?}"));
        let config = self.config.ok_or_else(|| missing("config"))?;
        let layers = self.layers.ok_or_else(|| missing("layers"))?;
        at_most("layers", layers.len(), limits.layers)?;
        if !media::is_config(&config.media_type) {
            let media_type = short(&config.media_type);
            return Err(ManifestError::Unsupported { what: "an image configuration", media_type });
        }
        let with_compression = |layer: Descriptor| match media::layer(&layer.media_type) {
            Some(compression) => Ok((layer, compression)),
            None => Err(ManifestError::Unsupported { what: "a layer", media_type: short(&layer.media_type) }),
        };
        let layers = layers.into_iter().map(with_compression).collect::<Result<_, _>>()?;
        Ok(Manifest { config, layers })
    }

    fn index(self, limits: &Limits) -> Result<Index, ManifestError> {
        if self.config.is_some() || self.layers.is_some() {
            return Err(ambiguous("an index with layers or a configuration"));
        }
        let missing = || ManifestError::Malformed("an index without \"manifests\"".into());
        let manifests = self.manifests.ok_or_else(missing)?;
        at_most("entries", manifests.len(), limits.index_entries)?;
        Ok(Index { manifests })
    }
}

impl Index {
    /// The entry for this host.
    pub(crate) fn choose(&self, host: &Platform) -> Result<&Descriptor, ManifestError> {
        host.choose(&self.manifests).ok_or_else(|| {
            let mut names: Vec<String> =
                self.manifests.iter().filter_map(|m| m.platform.as_ref()).map(Platform::to_string).collect();
            names.sort();
            names.dedup();
            names.truncate(20);
            ManifestError::NoPlatform { host: host.to_string(), available: short(&names.join(", ")) }
        })
    }
}

/// The one type on which the header and the body agree.
fn agreed_type(content_type: Option<&str>, in_body: Option<&str>) -> Result<String, ManifestError> {
    let header = content_type.map(media::essence).filter(|t| !t.is_empty());
    match (header, in_body) {
        (Some(header), Some(body)) if header != body => {
            Err(ambiguous(&format!("sent as {:?}, it calls itself {:?}", short(header), short(body))))
        }
        (Some(stated), _) | (None, Some(stated)) => Ok(stated.to_owned()),
        (None, None) => Err(ambiguous("neither the sender nor the document says what it is")),
    }
}

/// Readers that ignore the case of keys would see another document than we do.
fn refuse_lookalikes(rest: &BTreeMap<String, IgnoredAny>) -> Result<(), ManifestError> {
    const OURS: [&str; 5] = ["schemaVersion", "mediaType", "config", "layers", "manifests"];
    const SCHEMA_1: [&str; 2] = ["fsLayers", "signatures"];
    for key in rest.keys() {
        if OURS.iter().any(|own| own.eq_ignore_ascii_case(key)) {
            return Err(ambiguous(&format!("it has a key {:?}", short(key))));
        }
        if SCHEMA_1.contains(&key.as_str()) {
            return Err(ambiguous("it has parts of Docker's schema 1"));
        }
    }
    Ok(())
}

/// Schema 1 has other fields, so it fails to parse; it still gets its own message.
fn refuse_raw(bytes: &[u8], error: &serde_json::Error) -> ManifestError {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Version {
        schema_version: u32,
    }
    match serde_json::from_slice::<Version>(bytes) {
        Ok(Version { schema_version: 1 }) => {
            ManifestError::Unsupported { what: "a manifest", media_type: "schema version 1".into() }
        }
        _ => ManifestError::Malformed(short(&error.to_string())),
    }
}

fn at_most(what: &'static str, count: usize, limit: usize) -> Result<(), ManifestError> {
    if count > limit { Err(ManifestError::TooMany { what, count, limit }) } else { Ok(()) }
}

fn ambiguous(why: &str) -> ManifestError {
    ManifestError::Ambiguous(why.to_owned())
}

/// Foreign text in our messages stays short and printable.
fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
