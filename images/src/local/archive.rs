//! A file of `docker save` (`docker-archive:/file.tar[:name:tag]`) as a source of manifests and blobs.
//!
//! Nothing is unpacked beforehand: headers are read once, then configuration and layers are read where they are. Such an
//! archive has no image manifest, so one is made: a layer's digest is that of its uncompressed tar, as the configuration
//! names it. Archives that also are OCI layouts without `manifest.json` are read as such.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::body::{FileBody, Kind};
use super::docker::{self, Entry};
use super::error::ArchiveError;
use super::layout::{self, NotChosen};
use super::members::{Members, Span};
use super::opened;
use crate::digest::{Algorithm, Digest, Hasher};
use crate::limits::Limits;
use crate::manifest::{ConfigFile, Descriptor, ManifestError};
use crate::reference::ArchiveRef;
use crate::source::{BlobSource, RawDocument, SourceError, Start};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// One image of an archive.
pub(crate) struct ArchiveSource {
    path: PathBuf,
    file: Arc<File>,
    blobs: BTreeMap<Digest, Span>,
    top: RawDocument,
    demanded: Option<Digest>,
}

impl ArchiveSource {
    /// Opens the archive, which must lie below one of the folders if there are any, and finds the image. Blocks on the
    /// disk.
    pub(crate) fn open(
        reference: &ArchiveRef,
        limits: &Limits,
        folders: Option<&[PathBuf]>,
    ) -> Result<Self, ArchiveError> {
        let archive = Archive::open(&reference.file, limits, folders)?;
        match archive.members.find("manifest.json") {
            Some(listing) => archive.docker(listing, reference),
            None => archive.layout(reference),
        }
    }

    fn span(&self, of: &Descriptor) -> Result<Span, ArchiveError> {
        let refuse = |why| ArchiveError::Unusable { path: self.path.clone(), why };
        let span = self.blobs.get(&of.digest).ok_or_else(|| refuse(format!("it lacks {}", of.digest)))?;
        if span.size != of.size {
            return Err(refuse(format!("{} has {} bytes, {} are expected", of.digest, span.size, of.size)));
        }
        Ok(*span)
    }

    async fn document(&self, of: &Descriptor) -> Result<RawDocument, ArchiveError> {
        let (span, file, path) = (self.span(of)?, self.file.clone(), self.path.clone());
        let bytes = crate::pull::blocking(move || read(&file, &path, span)).await?;
        Ok(RawDocument { bytes: bytes.into(), content_type: Some(of.media_type.clone()) })
    }
}

/// An archive whose headers were read.
struct Archive<'a> {
    path: &'a Path,
    file: File,
    members: Members,
    limits: &'a Limits,
}

impl<'a> Archive<'a> {
    fn open(path: &'a Path, limits: &'a Limits, folders: Option<&[PathBuf]>) -> Result<Self, ArchiveError> {
        let failed = |source| ArchiveError::Read { path: path.into(), source };
        let found = opened::look(path).map_err(failed)?;
        if !opened::lies_below(&found, folders).map_err(failed)? {
            return Err(ArchiveError::Outside { path: path.into() });
        }
        let file = opened::regular(&found).map_err(failed)?;
        let (file, length) = file.ok_or_else(|| ArchiveError::NotAFile { path: path.into() })?;
        if packing(&file, path, 0)? != Packing::Plain {
            return Err(ArchiveError::Compressed { path: path.into() });
        }
        let members =
            Members::read(&file, length).map_err(|source| ArchiveError::Tar { path: path.into(), source })?;
        Ok(Self { path, file, members, limits })
    }

    fn unusable(&self, why: impl Into<String>) -> ArchiveError {
        ArchiveError::Unusable { path: self.path.into(), why: why.into() }
    }

    fn manifest_error(&self, source: ManifestError) -> ArchiveError {
        ArchiveError::Manifest { path: self.path.into(), source }
    }

    fn small(&self, what: &str, span: Span) -> Result<Vec<u8>, ArchiveError> {
        if span.size > self.limits.manifest_bytes {
            return Err(self.unusable(format!("its {what} has {} bytes", span.size)));
        }
        read(&self.file, self.path, span)
    }

    /// Blobs that lie under their digest.
    fn named_blobs(&self) -> BTreeMap<Digest, Span> {
        let of = |algorithm: &str| {
            let dir = format!("blobs/{algorithm}/");
            let blobs = self.members.below(&dir);
            blobs
                .filter_map(|(hex, span)| Some((format!("{algorithm}:{hex}").parse().ok()?, span)))
                .collect::<Vec<(Digest, Span)>>()
        };
        of("sha256").into_iter().chain(of("sha512")).collect()
    }

    fn layout(self, reference: &ArchiveRef) -> Result<ArchiveSource, ArchiveError> {
        let missing = || self.unusable("it has neither manifest.json nor an OCI layout's index.json");
        let index = self.members.find("index.json").ok_or_else(missing)?;
        let index = self.small("index.json", index)?;
        // Layouts list tags; a name's own tag is what counts.
        let tag = reference.image.as_deref().map(|image| image.rsplit(':').next().unwrap_or(image));
        let entry = layout::choose(&index, tag, self.limits).map_err(|error| match error {
            NotChosen::Unusable(source) => self.manifest_error(source),
            NotChosen::TooLarge(size) => self.unusable(format!("its manifest has {size} bytes")),
            NotChosen::Missing(wanted, available) => {
                ArchiveError::NoImage { path: self.path.into(), wanted, available }
            }
        })?;
        let blobs = self.named_blobs();
        let span = blobs.get(&entry.digest).filter(|span| span.size == entry.size);
        let span = *span.ok_or_else(|| self.unusable(format!("it lacks its manifest {}", entry.digest)))?;
        let bytes = self.small("manifest", span)?;
        let top = RawDocument { bytes: bytes.into(), content_type: Some(entry.media_type) };
        Ok(self.source(blobs, top, Some(entry.digest)))
    }

    fn docker(self, listing: Span, reference: &ArchiveRef) -> Result<ArchiveSource, ArchiveError> {
        let listing = self.small("manifest.json", listing)?;
        let entries = docker::entries(&listing).map_err(|why| self.unusable(why))?;
        let entry = self.choose(&entries, reference)?;
        let config = self.members.find(&entry.config);
        let config = config.ok_or_else(|| self.unusable("its configuration is missing"))?;
        let config_bytes = self.small("configuration", config)?;
        let file = ConfigFile::parse(&config_bytes).map_err(|error| self.unusable(error.to_string()))?;
        let (paths, diff_ids) = (entry.layers.as_deref().unwrap_or_default(), file.diff_ids());
        if paths.len() != diff_ids.len() {
            let (layers, diff_ids) = (paths.len(), diff_ids.len());
            return Err(self.manifest_error(ManifestError::LayerCount { layers, diff_ids }));
        }
        if paths.len() > self.limits.layers {
            let (count, limit) = (paths.len(), self.limits.layers);
            return Err(self.manifest_error(ManifestError::TooMany { what: "layers", count, limit }));
        }
        let config_digest = Digest::of(Algorithm::Sha256, &config_bytes);
        let mut manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{},"layers":["#,
            descriptor(CONFIG, "", &config_digest, config.size)
        );
        let mut blobs = BTreeMap::from([(config_digest, config)]);
        for (number, (path, diff_id)) in paths.iter().zip(diff_ids).enumerate() {
            let span = self.members.find(path);
            let span = span.ok_or_else(|| self.unusable(format!("its layer {number} is missing")))?;
            let (digest, suffix) = self.layer(path, span, diff_id)?;
            let comma = if number == 0 { "" } else { "," };
            let _ = write!(manifest, "{comma}{}", descriptor(LAYER, suffix, &digest, span.size));
            blobs.insert(digest, span);
        }
        manifest.push_str("]}");
        let top = RawDocument { bytes: manifest.into(), content_type: Some(MANIFEST.into()) };
        Ok(self.source(blobs, top, None))
    }

    /// The blob's digest and what its media type ends with. Some tools put compressed layers into such archives.
    fn layer(
        &self,
        path: &str,
        span: Span,
        diff_id: &Digest,
    ) -> Result<(Digest, &'static str), ArchiveError> {
        let suffix = match packing(&self.file, self.path, span.at)? {
            Packing::Plain => return Ok((diff_id.clone(), "")),
            Packing::Gzip => "+gzip",
            Packing::Zstd => "+zstd",
        };
        let name = path.strip_prefix("blobs/sha256/").map(|hex| format!("sha256:{hex}").parse());
        match name {
            Some(Ok(digest)) => Ok((digest, suffix)),
            _ => Ok((hash(&self.file, self.path, span)?, suffix)),
        }
    }

    /// The image with the name; without a name the only one.
    fn choose<'e>(&self, entries: &'e [Entry], reference: &ArchiveRef) -> Result<&'e Entry, ArchiveError> {
        let tags = |entry: &'e Entry| entry.repo_tags.as_deref().unwrap_or_default();
        let by =
            |by_tag: bool| entries.iter().find(|e| tags(e).iter().any(|tag| reference.fits(tag, by_tag)));
        let found = match (&reference.image, entries) {
            (None, [only]) => Some(only),
            (None, _) => None,
            (Some(_), _) => by(false).or_else(|| by(true)),
        };
        found.ok_or_else(|| {
            let all: Vec<&str> = entries.iter().flat_map(tags).map(String::as_str).take(20).collect();
            let NotChosen::Missing(wanted, available) = layout::missing(reference.image.as_deref(), &all)
            else {
                return self.unusable("it has no such image");
            };
            ArchiveError::NoImage { path: self.path.into(), wanted, available: printable(&available) }
        })
    }

    fn source(
        self,
        blobs: BTreeMap<Digest, Span>,
        top: RawDocument,
        demanded: Option<Digest>,
    ) -> ArchiveSource {
        ArchiveSource { path: self.path.into(), file: Arc::new(self.file), blobs, top, demanded }
    }
}

fn descriptor(media_type: &str, suffix: &str, digest: &Digest, size: u64) -> String {
    format!(r#"{{"mediaType":"{media_type}{suffix}","digest":"{digest}","size":{size}}}"#)
}

/// Foreign text in our messages stays short and printable.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(500).collect()
}

#[derive(PartialEq, Eq)]
enum Packing {
    Plain,
    Gzip,
    Zstd,
}

fn packing(file: &File, path: &Path, at: u64) -> Result<Packing, ArchiveError> {
    let mut magic = [0; 4];
    let read = file.read_at(&mut magic, at);
    let read = read.map_err(|source| ArchiveError::Read { path: path.into(), source })?;
    Ok(match &magic[..read] {
        [0x1f, 0x8b, ..] => Packing::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd] => Packing::Zstd,
        _ => Packing::Plain,
    })
}

fn read(file: &File, path: &Path, span: Span) -> Result<Vec<u8>, ArchiveError> {
    let mut bytes = vec![0; usize::try_from(span.size).unwrap_or(0)];
    file.read_exact_at(&mut bytes, span.at)
        .map_err(|source| ArchiveError::Read { path: path.into(), source })?;
    Ok(bytes)
}

fn hash(file: &File, path: &Path, span: Span) -> Result<Digest, ArchiveError> {
    let (mut hasher, mut buffer) = (Hasher::new(Algorithm::Sha256), vec![0; 256 << 10]);
    while hasher.bytes() < span.size {
        let left = usize::try_from(span.size - hasher.bytes()).unwrap_or(usize::MAX).min(buffer.len());
        let piece = &mut buffer[..left];
        file.read_exact_at(piece, span.at + hasher.bytes())
            .map_err(|source| ArchiveError::Read { path: path.into(), source })?;
        hasher.update(piece);
    }
    Ok(hasher.finish())
}

impl BlobSource for ArchiveSource {
    type Body = FileBody;

    async fn top(&self) -> Result<RawDocument, SourceError> {
        Ok(self.top.clone())
    }

    async fn manifest(&self, of: &Descriptor) -> Result<RawDocument, SourceError> {
        Ok(self.document(of).await?)
    }

    async fn blob(&self, of: &Descriptor, start: Start) -> Result<FileBody, SourceError> {
        let span = self.span(of)?;
        let from = start.from.min(span.size);
        let (path, file) = (self.path.clone(), self.file.clone());
        Ok(FileBody { kind: Kind::Archive, path, file, at: span.at + from, left: span.size - from })
    }

    fn demanded(&self) -> Option<&Digest> {
        self.demanded.as_ref()
    }
}
