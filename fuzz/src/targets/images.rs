//! What registries and images say: names, manifests, configurations, logins, layers.

use std::fs;
use std::io::Write;

use images::{DEFAULT_REGISTRY, ImageName, UnpackLimits, fuzzing, remove_tree, unpack_tar};

use super::choice;

/// A name is written as itself, and in full: another default registry doesn't change it.
pub(crate) fn reference(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for registry in [DEFAULT_REGISTRY, "127.0.0.1:5000"] {
        let Ok(name) = ImageName::parse(text, registry) else { continue };
        let written = name.to_string();
        let again = ImageName::parse(&written, "elsewhere.example:1").expect("a name in full is a name");
        assert_eq!(again, name, "{written}");
        assert_eq!(again.to_string(), written);
    }
    fuzzing::digest(text);
}

/// A manifest or an index, with one of the types that a registry may send it as.
pub(crate) fn manifest(data: &[u8]) {
    const TYPES: [Option<&str>; 6] = [
        None,
        Some("application/vnd.oci.image.manifest.v1+json"),
        Some("application/vnd.oci.image.index.v1+json"),
        Some("application/vnd.docker.distribution.manifest.v2+json"),
        Some("application/vnd.docker.distribution.manifest.list.v2+json; charset=utf-8"),
        Some("text/plain"),
    ];
    if let Some((first, body)) = choice(data) {
        fuzzing::manifest(body, TYPES[first % TYPES.len()]);
    }
}

pub(crate) fn config(data: &[u8]) {
    fuzzing::config(data);
}

/// A user's `config.json`, and a list of mirrors.
pub(crate) fn docker_config(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        fuzzing::docker_config(text);
        fuzzing::mirrors(text);
    }
}

/// What a registry's answer 401 asks for.
pub(crate) fn challenge(data: &[u8]) {
    let line = String::from_utf8_lossy(data);
    assert!(fuzzing::challenge(&line) <= line.len());
}

/// The reader alone.
pub(crate) fn tar(data: &[u8]) {
    assert!(fuzzing::tar(data) <= data.len() / 512, "a member takes at least one block");
}

/// An archive of `docker save`, and its `manifest.json` alone.
pub(crate) fn archive(data: &[u8]) {
    fuzzing::archive_listing(data);
    let mut file = tempfile::NamedTempFile::new().expect("a file can be made");
    file.write_all(data).expect("a file can be written");
    fuzzing::archive(file.path());
}

/// The unpacker into a folder: nothing appears beside it, and it can be removed.
pub(crate) fn unpack(data: &[u8]) {
    // scripts/fuzz.sh puts TMPDIR into memory and clears it.
    let outside = tempfile::Builder::new().prefix("tepui-fuzz-").tempdir().expect("a folder can be made");
    let root = outside.path().join("root");
    fs::create_dir(&root).expect("a folder can be made");
    let limits = UnpackLimits { entries: 64, bytes: 64 << 10 };
    if let Ok(done) = unpack_tar(data, &root, limits) {
        assert!(done.entries <= limits.entries && done.bytes <= limits.bytes, "{done:?}");
    }
    let beside: Vec<_> = fs::read_dir(&outside).expect("the folder is there").flatten().collect();
    assert_eq!(beside.len(), 1, "{beside:?}");
    remove_tree(&root).expect("what was unpacked can be removed");
}

/// A layer's blob as it comes from the network: the same comes out however it is cut, or nothing does.
pub(crate) fn layer(data: &[u8]) {
    let Some((first, blob)) = choice(data) else { return };
    let (kind, piece) = (first % 3, first / 3 + 1);
    assert_eq!(fuzzing::layer(blob, kind, piece), fuzzing::layer(blob, kind, blob.len().max(1)));
}

/// What a registry, its token service or a credential helper says beside manifests.
pub(crate) fn registry(data: &[u8]) {
    if let Some((kind, said)) = choice(data) {
        fuzzing::registry(kind, said);
    }
}

/// The `passwd` and `group` of an image, and who is to be looked up in them: three texts between zero bytes.
pub(crate) fn accounts(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut parts = text.splitn(3, '\0');
    if let (Some(wanted), Some(passwd), Some(group)) = (parts.next(), parts.next(), parts.next()) {
        runtime::fuzzing::identity(wanted, passwd, group);
    }
}
