//! From a name to the exact list of blobs: index, manifest and configuration, each verified before it is believed.

use std::sync::Arc;

use bytes::Bytes;

use super::error::PullError;
use crate::digest::{Algorithm, Digest};
use crate::limits::Limits;
use crate::manifest::{
    Compression, ConfigFile, Descriptor, Document, ImageConfig, Manifest, ManifestError, Platform,
};
use crate::source::{BlobSource, RawDocument, read_whole};
use crate::store::Inner;

/// An index may lead to an index, and that to a manifest.
const INDEXES: usize = 2;

/// What has to be there for the image to be whole.
pub(super) struct Plan {
    /// What the name leads to.
    pub(super) top: Digest,
    pub(super) manifest: Digest,
    pub(super) media_type: Option<String>,
    pub(super) config: Digest,
    pub(super) manifest_bytes: Bytes,
    pub(super) config_bytes: Bytes,
    pub(super) image_config: ImageConfig,
    /// The lowest first.
    pub(super) layers: Vec<PlannedLayer>,
}

/// A layer by both of its digests.
#[derive(Clone)]
pub(super) struct PlannedLayer {
    pub(super) blob: Descriptor,
    pub(super) compression: Compression,
    pub(super) diff_id: Digest,
}

/// A manifest with what identifies it.
struct Found {
    top: Digest,
    digest: Digest,
    raw: RawDocument,
    manifest: Manifest,
}

pub(super) async fn resolve<S: BlobSource>(
    source: &S,
    name: &str,
    inner: &Arc<Inner>,
) -> Result<Plan, PullError> {
    let (host, limits) = (Platform::host(), &inner.limits);
    let Found { top, digest, raw, manifest } = find_manifest(source, name, inner, &host).await?;
    let config_bytes = match known(inner, "configs", &manifest.config.digest).await {
        Some(bytes) => bytes,
        None => fetch_config(source, name, limits, &manifest.config).await?,
    };
    let refuse = |source| PullError::Config { name: name.to_owned(), source };
    let config = ConfigFile::parse(&config_bytes).map_err(refuse)?;
    config.check_platform(&host).map_err(refuse)?;
    let image_config = config.image_config().map_err(refuse)?;
    let (layers, diff_ids) = (manifest.layers.len(), config.diff_ids().len());
    if layers != diff_ids {
        return Err(of_manifest(name, ManifestError::LayerCount { layers, diff_ids }));
    }
    if let Some((blob, _)) = manifest.layers.iter().find(|(blob, _)| blob.size > limits.layer_bytes) {
        let (expected, actual) = (limits.layer_bytes, blob.size);
        return Err(PullError::WrongSize { name: name.to_owned(), what: "layer", expected, actual });
    }
    let layers = manifest.layers.into_iter().zip(config.diff_ids());
    let layers = layers.map(|((blob, compression), diff_id)| PlannedLayer {
        blob,
        compression,
        diff_id: diff_id.clone(),
    });
    Ok(Plan {
        top,
        manifest: digest,
        media_type: raw.content_type,
        config: manifest.config.digest,
        manifest_bytes: raw.bytes,
        config_bytes,
        image_config,
        layers: layers.collect(),
    })
}

async fn find_manifest<S: BlobSource>(
    source: &S,
    name: &str,
    inner: &Arc<Inner>,
    host: &Platform,
) -> Result<Found, PullError> {
    let limits = &inner.limits;
    let failed = |source| PullError::Source { name: name.to_owned(), source };
    let mut raw = source.top().await.map_err(failed)?;
    let demanded = source.demanded().cloned();
    let top = verify(name, "manifest", &raw.bytes, demanded)?;
    let mut digest = top.clone();
    for _ in 0..=INDEXES {
        let document = Document::parse(&raw.bytes, raw.content_type.as_deref(), limits);
        let index = match document.map_err(|e| of_manifest(name, e))? {
            Document::Manifest(manifest) => return Ok(Found { top, digest, raw, manifest }),
            Document::Index(index) => index,
        };
        let entry = index.choose(host).map_err(|e| of_manifest(name, e))?;
        check_size(name, "manifest", entry.size, limits)?;
        raw = match known(inner, "manifests", &entry.digest).await {
            Some(bytes) => RawDocument { bytes, content_type: Some(entry.media_type.clone()) },
            None => source.manifest(entry).await.map_err(failed)?,
        };
        same_size(name, "manifest", entry.size, &raw.bytes)?;
        digest = verify(name, "manifest", &raw.bytes, Some(entry.digest.clone()))?;
        agree(name, entry, &mut raw)?;
    }
    Err(of_manifest(name, ManifestError::TooDeep))
}

/// A document that the store has already: what a digest means never changes, so nobody needs to be asked.
async fn known(inner: &Arc<Inner>, kind: &'static str, digest: &Digest) -> Option<Bytes> {
    let (inner, digest) = (inner.clone(), digest.clone());
    let read = super::blocking(move || inner.document(kind, &digest)).await;
    read.ok().flatten().map(Bytes::from)
}

/// The index and the transport have to call the manifest the same.
fn agree(name: &str, entry: &Descriptor, raw: &mut RawDocument) -> Result<(), PullError> {
    let stated = raw.content_type.as_deref().map(|t| t.split(';').next().unwrap_or_default().trim());
    match stated {
        Some(stated) if stated != entry.media_type => {
            let why = format!("the index calls it {:?}, it is sent as {stated:.200?}", entry.media_type);
            Err(of_manifest(name, ManifestError::Ambiguous(why)))
        }
        _ => {
            raw.content_type = Some(entry.media_type.clone());
            Ok(())
        }
    }
}

async fn fetch_config<S: BlobSource>(
    source: &S,
    name: &str,
    limits: &Limits,
    config: &Descriptor,
) -> Result<Bytes, PullError> {
    check_size(name, "configuration", config.size, limits)?;
    let bytes = read_whole(source, config)
        .await
        .map_err(|source| PullError::Source { name: name.to_owned(), source })?;
    same_size(name, "configuration", config.size, &bytes)?;
    verify(name, "configuration", &bytes, Some(config.digest.clone()))?;
    Ok(bytes)
}

/// The digest of the bytes, which has to be the expected one if there is one.
fn verify(
    name: &str,
    what: &'static str,
    bytes: &[u8],
    expected: Option<Digest>,
) -> Result<Digest, PullError> {
    let algorithm = expected.as_ref().map_or(Algorithm::Sha256, Digest::algorithm);
    let actual = Digest::of(algorithm, bytes);
    match expected {
        Some(expected) if expected != actual => {
            Err(PullError::WrongDigest { name: name.to_owned(), what, expected, actual })
        }
        _ => Ok(actual),
    }
}

fn check_size(name: &str, what: &'static str, size: u64, limits: &Limits) -> Result<(), PullError> {
    if size <= limits.manifest_bytes {
        return Ok(());
    }
    Err(PullError::WrongSize { name: name.to_owned(), what, expected: limits.manifest_bytes, actual: size })
}

fn same_size(name: &str, what: &'static str, expected: u64, bytes: &[u8]) -> Result<(), PullError> {
    let actual = bytes.len() as u64;
    if actual == expected {
        Ok(())
    } else {
        Err(PullError::WrongSize { name: name.to_owned(), what, expected, actual })
    }
}

fn of_manifest(name: &str, source: ManifestError) -> PullError {
    PullError::Manifest { name: name.to_owned(), source }
}
