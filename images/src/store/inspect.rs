//! All that is known of one image, for people.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Inner;
use super::error::StoreError;
use super::files;
use super::image::Layer;
use super::layers::LayerRecord;
use crate::digest::Digest;
use crate::manifest::{ImageConfig, Past, Step};
use crate::reference::ImageName;

/// One image in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Canonical name.
    pub name: String,
    /// What the name led to: an index, or the manifest itself.
    pub top_digest: Digest,
    /// Of the manifest for this platform.
    pub manifest_digest: Digest,
    /// Of the manifest, when its source said so.
    pub media_type: Option<String>,
    /// Of the image configuration.
    pub config_digest: Digest,
    /// `os/architecture`, as the configuration has it.
    pub platform: String,
    /// When it was made, in the configuration's own words.
    pub created: Option<String>,
    /// By whom.
    pub author: Option<String>,
    /// How it wants to be run.
    pub config: ImageConfig,
    /// The lowest first.
    pub layers: Vec<LayerInspection>,
    /// How it was made, the oldest step first.
    pub history: Vec<Step>,
    /// When the name was last looked up at its source.
    pub pulled_at: SystemTime,
    /// When it was last pulled or asked for.
    pub used_at: SystemTime,
    /// Whether pruning leaves it alone.
    pub pinned: bool,
    /// Whether only pulls with certain logins get it from the store.
    pub is_private: bool,
    /// Directories of root file systems that use all of its layers.
    pub used_by: Vec<PathBuf>,
}

/// One layer and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerInspection {
    /// Its digests.
    pub layer: Layer,
    /// Bytes of its files; `None` when it is not in the store.
    pub unpacked: Option<u64>,
}

impl Inner {
    pub(super) fn inspect(&self, name: &ImageName) -> Result<Inspection, StoreError> {
        let not_found = || StoreError::NotFound { name: name.to_string() };
        let pointer = self.pointer(name)?.ok_or_else(not_found)?;
        let parts = self.parts(&pointer)?.ok_or_else(not_found)?;
        let past = Past::parse(&self.document("configs", &pointer.config)?.unwrap_or_default());
        let time = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let uses = |record: &super::remove::SnapshotRecord| {
            !parts.layers.is_empty()
                && parts.layers.iter().all(|layer| record.layers.contains(&layer.diff_id))
        };
        let used_by = {
            let _locked = self.root.lock()?;
            self.snapshots()?.into_iter().filter(uses).map(|record| record.dir).collect()
        };
        let layers = parts.layers.iter().map(|layer| self.inspect_layer(layer)).collect::<Result<_, _>>()?;
        Ok(Inspection {
            platform: format!("{}/{}", past.os, past.architecture),
            used_at: time(self.used_at(&pointer)),
            pulled_at: time(pointer.pulled_at),
            is_private: pointer.grants.is_some(),
            name: pointer.name,
            top_digest: pointer.top,
            manifest_digest: pointer.manifest,
            media_type: pointer.media_type,
            config_digest: pointer.config,
            created: past.created,
            author: past.author.filter(|author| !author.is_empty()),
            config: parts.config,
            layers,
            history: past.history,
            pinned: pointer.pinned,
            used_by,
        })
    }

    fn inspect_layer(&self, layer: &Layer) -> Result<LayerInspection, StoreError> {
        let dir = self.root.by_digest("layers", &layer.diff_id);
        let record = files::read_record::<LayerRecord>(&dir.join("layer.json"))?;
        Ok(LayerInspection { layer: layer.clone(), unpacked: record.map(|record| record.unpacked.bytes) })
    }
}
