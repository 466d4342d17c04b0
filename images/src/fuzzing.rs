//! Doors for fuzz targets: every parser of the crate that reads what others wrote. Not part of the interface.

use std::path::Path;

use crate::limits::Limits;
use crate::manifest::{Compression, ConfigFile, Document, Past};
use crate::reference::{DEFAULT_REGISTRY, ImageName};
use crate::registry::fuzzing as door;
use crate::unpack::{TarStream, UnpackLimits};

/// An image name; what is taken has to survive being printed and read again.
pub fn reference(text: &str) {
    if let Ok(name) = ImageName::parse(text, DEFAULT_REGISTRY) {
        let again = ImageName::parse(&name.to_string(), DEFAULT_REGISTRY);
        assert_eq!(again.as_ref(), Ok(&name), "{text:?} is not a fixed point");
    }
}

/// A digest.
pub fn digest(text: &str) {
    if let Ok(digest) = text.parse::<crate::Digest>() {
        assert_eq!(digest.to_string(), text);
    }
}

/// A manifest or index as it came with that `Content-Type`.
pub fn manifest(bytes: &[u8], content_type: Option<&str>) {
    let _ = Document::parse(bytes, content_type, &Limits::default());
}

/// An image configuration and its history.
pub fn config(bytes: &[u8]) {
    if let Ok(file) = ConfigFile::parse(bytes) {
        let _ = file.image_config();
    }
    Past::parse(bytes);
}

/// Headers of a tar, its content passed over; how many entries it has.
pub fn tar(bytes: &[u8]) -> usize {
    let mut tar = TarStream::new(bytes);
    let mut entries = 0;
    while let Ok(Some(_)) = tar.next() {
        entries += 1;
    }
    entries
}

/// A whole layer, unpacked into an existing, empty directory.
pub fn unpack(bytes: &[u8], into: &Path) {
    let limits = UnpackLimits { entries: 10_000, bytes: 16 << 20 };
    let _ = crate::unpack_tar(bytes, into, limits);
}

/// One line of `WWW-Authenticate`; how many challenges it has.
pub fn challenge(line: &str) -> usize {
    crate::registry::challenges(line)
}

/// Docker's `config.json`.
pub fn docker_config(text: &str) {
    let _ = crate::DockerConfig::parse(text);
}

/// A list of mirrors.
pub fn mirrors(text: &str) {
    let _ = text.parse::<crate::Mirrors>();
}

/// `manifest.json` of an archive.
pub fn archive_listing(bytes: &[u8]) {
    let _ = crate::local::entries(bytes);
}

/// A whole archive of `docker save`, as a file.
pub fn archive(file: &Path) {
    if let Ok(ImageName::Archive(name)) = format!("docker-archive:{}", file.display()).parse() {
        let _ = crate::local::ArchiveSource::open(&name, &Limits::default(), None);
    }
}

/// A layer's blob: plain, gzip or zstd by `kind`, arriving in pieces of a size. What comes out, when it is whole.
pub fn layer(blob: &[u8], kind: usize, piece: usize) -> Option<Vec<u8>> {
    let kinds = [Compression::Gzip, Compression::Zstd, Compression::Plain];
    crate::pull::fuzzing::inflated(blob, kinds[kind % kinds.len()], piece)
}

/// What a registry, a token service or a credential helper says, by `kind`.
pub fn registry(kind: usize, said: &[u8]) {
    let text = String::from_utf8_lossy(said);
    match kind % 5 {
        0 => door::token(said),
        1 => door::complaint(said),
        2 => door::helper(said),
        3 => door::retry_after(&text),
        _ => {
            let size = said.iter().fold(7_u64, |sum, byte| sum.rotate_left(5) ^ u64::from(*byte));
            for (from, size) in [(0, 10), (3, 10), (0, size), (size / 2, size), (u64::MAX, u64::MAX), (0, 0)]
            {
                door::range(&text, from, size);
            }
        }
    }
}
