//! Images that are whole: their configuration, their layers, and the leases that keep them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Inner;
use super::error::StoreError;
use super::layers::LayerLease;
use super::names::{Grant, Pointer};
use crate::digest::Digest;
use crate::manifest::{ConfigFile, Document, ImageConfig};
use crate::reference::ImageName;
use crate::snapshot::{LayerDir, Snapshot, Snapshotter};

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Of the compressed blob.
    pub digest: Digest,
    /// Of the uncompressed tar; the layer's name in the store.
    pub diff_id: Digest,
    /// Compressed bytes.
    pub size: u64,
}

/// An image that is in the store and stays there at least as long as this handle.
#[derive(Debug, Clone)]
pub struct Image {
    /// The name that it was asked for by.
    pub name: ImageName,
    /// Of the manifest for this platform.
    pub manifest_digest: Digest,
    /// How it wants to be run.
    pub config: ImageConfig,
    /// The lowest first.
    pub layers: Vec<Layer>,
    pub(crate) leases: Arc<[Arc<LayerLease>]>,
}

/// One line of `image list`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSummary {
    /// Canonical name.
    pub name: String,
    /// Of the manifest for this platform.
    pub manifest_digest: Digest,
    /// How many layers it has.
    pub layers: usize,
    /// Compressed bytes of its layers.
    pub size: u64,
    /// When the name was last looked up at its source.
    pub pulled_at: SystemTime,
    /// When it was last pulled or asked for.
    pub used_at: SystemTime,
    /// Whether pruning leaves it alone.
    pub pinned: bool,
}

/// What a removal freed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// Names forgotten.
    pub names: usize,
    /// Layers removed.
    pub layers: usize,
    /// Bytes of files in them.
    pub bytes: u64,
}

/// A manifest and a configuration that were read and agree.
pub(super) struct Parts {
    pub(super) config: ImageConfig,
    pub(super) layers: Vec<Layer>,
}

impl Inner {
    /// The image if every part of it is in the store, and a pull with these logins may have it.
    pub(crate) fn load(&self, name: &ImageName, grant: Option<&Grant>) -> Result<Option<Image>, StoreError> {
        let Some(pointer) = self.pointer(name)?.filter(|pointer| pointer.is_open_to(grant)) else {
            return Ok(None);
        };
        let Some(parts) = self.parts(&pointer)? else { return Ok(None) };
        let mut leases = Vec::new();
        for layer in &parts.layers {
            match self.lease(&layer.diff_id)? {
                Some(lease) => leases.push(lease),
                None => return Ok(None),
            }
        }
        if pointer.name != name.to_string() {
            let _locked = self.root.lock()?;
            self.point(&Pointer { name: name.to_string(), pinned: false, ..pointer.clone() })?;
        } else {
            self.touch(&pointer.name);
        }
        Ok(Some(Image {
            name: name.clone(),
            manifest_digest: pointer.manifest,
            config: parts.config,
            layers: parts.layers,
            leases: leases.into(),
        }))
    }

    /// Records a verified image whose layers are leased already.
    pub(crate) fn keep(
        &self,
        mut pointer: Pointer,
        grant: Option<Grant>,
        manifest: &[u8],
        config: &[u8],
    ) -> Result<(), StoreError> {
        let _locked = self.root.lock()?;
        let path = self.root.by_name("names", pointer.name.as_bytes());
        pointer.inherit(super::files::read_record(&path)?, grant);
        self.keep_document("manifests", &pointer.manifest, manifest)?;
        self.keep_document("configs", &pointer.config, config)?;
        self.point(&pointer)?;
        self.settle_later();
        Ok(())
    }

    /// What the stored documents say; `None` when one is missing or damaged.
    pub(super) fn parts(&self, pointer: &Pointer) -> Result<Option<Parts>, StoreError> {
        let manifest = self.document("manifests", &pointer.manifest)?;
        let config = self.document("configs", &pointer.config)?;
        let (Some(manifest), Some(config)) = (manifest, config) else { return Ok(None) };
        let document = Document::parse(&manifest, pointer.media_type.as_deref(), &self.limits);
        let (Ok(Document::Manifest(manifest)), Ok(config)) = (document, ConfigFile::parse(&config)) else {
            return Ok(None);
        };
        if manifest.layers.len() != config.diff_ids().len() {
            return Ok(None);
        }
        let Ok(run) = config.image_config() else { return Ok(None) };
        let layers = manifest.layers.into_iter().zip(config.diff_ids()).map(|((layer, _), diff_id)| Layer {
            digest: layer.digest,
            diff_id: diff_id.clone(),
            size: layer.size,
        });
        Ok(Some(Parts { config: run, layers: layers.collect() }))
    }

    pub(super) fn list(&self) -> Result<Vec<ImageSummary>, StoreError> {
        let mut found = Vec::new();
        for pointer in self.pointers()? {
            let Some(parts) = self.parts(&pointer)? else { continue };
            let used_at = self.used_at(&pointer);
            found.push(ImageSummary {
                manifest_digest: pointer.manifest,
                layers: parts.layers.len(),
                size: parts.layers.iter().map(|layer| layer.size).sum(),
                pulled_at: UNIX_EPOCH + Duration::from_secs(pointer.pulled_at),
                used_at: UNIX_EPOCH + Duration::from_secs(used_at),
                pinned: pointer.pinned,
                name: pointer.name,
            });
        }
        Ok(found)
    }

    pub(super) fn snapshot(
        &self,
        snapshotter: &dyn Snapshotter,
        image: &Image,
        dir: &Path,
    ) -> Result<Snapshot, StoreError> {
        let record = self.reserve_snapshot(image, dir)?;
        let layers: Vec<LayerDir> =
            image.leases.iter().map(|lease| self.layer_dir(lease)).collect::<Result<_, _>>()?;
        match snapshotter.prepare(&layers, dir) {
            Ok(snapshot) => Ok(Snapshot { record: Some(record), ..snapshot }),
            Err(error) => {
                let _ = super::files::remove_file(&record);
                Err(error.into())
            }
        }
    }

    fn layer_dir(&self, lease: &LayerLease) -> Result<LayerDir, StoreError> {
        let unpacked = &lease.record.unpacked;
        let (fs, root, opaque) = (lease.fs(), unpacked.root, unpacked.opaque_root);
        Ok(LayerDir { short: self.short_link(&lease.record.diff_id, &fs)?, fs, root, opaque })
    }
}
