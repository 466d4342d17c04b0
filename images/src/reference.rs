//! Image names: parsed by Docker's rules, printed in one canonical form.

mod local;

pub use local::{ArchiveRef, LayoutRef};

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;

/// Where a name without a registry points, as in Mesos' `--docker_registry`.
pub const DEFAULT_REGISTRY: &str = "registry-1.docker.io";

/// Docker's bound on registry and repository together.
const NAME_MAX: usize = 255;
const TAG_MAX: usize = 128;

/// Which image is meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ImageName {
    /// `alpine`, `ghcr.io/a/b:tag`, `127.0.0.1:5000/busybox@sha256:…`
    Registry(RegistryRef),
    /// `oci:/dir[:tag]`: a local OCI image layout.
    Layout(LayoutRef),
    /// `docker-archive:/file.tar[:name:tag]`: a local file as `docker save` writes it.
    Archive(ArchiveRef),
}

/// An image in a registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegistryRef {
    /// Host with an optional port, in lower case.
    pub registry: String,
    /// Path below `/v2/`.
    pub repository: String,
    /// `latest` when neither tag nor digest was given.
    pub tag: Option<String>,
    /// Wins over the tag when both are there.
    pub digest: Option<Digest>,
}

/// Why a text names no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid image name {name:?}: {reason}")]
pub struct NameError {
    name: String,
    reason: &'static str,
}

impl ImageName {
    /// Parses `text`; names without a registry are looked for in `default_registry` (host with optional port).
    pub fn parse(text: &str, default_registry: &str) -> Result<Self, NameError> {
        let refuse = |reason| NameError { name: text.chars().take(300).collect(), reason };
        if text.len() > 4096 {
            return Err(refuse("longer than 4096 bytes"));
        }
        if let Some(rest) = text.strip_prefix("oci:") {
            return LayoutRef::parse(rest).map(Self::Layout).map_err(refuse);
        }
        if let Some(rest) = text.strip_prefix("docker-archive:") {
            return ArchiveRef::parse(rest).map(Self::Archive).map_err(refuse);
        }
        if text.starts_with("docker://") || text.contains("://") {
            return Err(refuse("write it without a scheme, as in registry.example.com/repository:tag"));
        }
        RegistryRef::parse(text, default_registry).map(Self::Registry).map_err(refuse)
    }
}

impl FromStr for ImageName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text, DEFAULT_REGISTRY)
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(reference) => fmt::Display::fmt(reference, f),
            Self::Layout(layout) => fmt::Display::fmt(layout, f),
            Self::Archive(archive) => fmt::Display::fmt(archive, f),
        }
    }
}

impl RegistryRef {
    fn parse(text: &str, default_registry: &str) -> Result<Self, &'static str> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse().map_err(|_| "the digest is malformed")?)),
            None => (text, None),
        };
        let (name, tag) = split_tag(rest);
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err("a tag has at most 128 letters, digits, underscores, dots and dashes");
        }
        let (registry, repository) = split_registry(name, default_registry);
        if registry.len() + repository.len() > NAME_MAX {
            return Err("registry and repository are longer than 255 bytes");
        }
        if !is_host(&registry) {
            return Err("the registry is not a host with an optional port");
        }
        if !is_repository(&repository) {
            return Err(
                "a repository has lower-case letters, digits, and single separators . _ __ - between them",
            );
        }
        let tag = match (&digest, tag) {
            (None, None) => Some("latest".to_owned()),
            (_, tag) => tag.map(str::to_owned),
        };
        Ok(Self { registry, repository, tag, digest })
    }

    /// The digest or else the tag: what stands after `/manifests/`.
    pub fn target(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.clone().unwrap_or_else(|| "latest".into()),
        }
    }

    /// Whether both name the same repository of the same registry.
    pub fn same_repository(&self, other: &Self) -> bool {
        self.registry == other.registry && self.repository == other.repository
    }
}

impl fmt::Display for RegistryRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// A colon after the last slash begins the tag; one before it belongs to the port.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rfind(':') {
        Some(colon) if !text[colon..].contains('/') => (&text[..colon], Some(&text[colon + 1..])),
        _ => (text, None),
    }
}

/// Docker's rule: the first component is a registry when it has a dot or a colon or is `localhost`.
fn split_registry(name: &str, default_registry: &str) -> (String, String) {
    let (registry, repository) = match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':', '[']) || first == "localhost" => (first, rest),
        _ => (default_registry, name),
    };
    let registry = canonical_registry(registry);
    // Mesos: `library/` only on Docker's own registry.
    if registry == DEFAULT_REGISTRY && !repository.contains('/') {
        return (registry, format!("library/{repository}"));
    }
    (registry, repository.to_owned())
}

/// Lower case; Docker's own registry has three names.
pub(crate) fn canonical_registry(registry: &str) -> String {
    match registry.to_ascii_lowercase().as_str() {
        "docker.io" | "index.docker.io" => DEFAULT_REGISTRY.to_owned(),
        other => other.to_owned(),
    }
}

/// A path of a repository, such as the prefix that a mirror puts before its own.
pub(crate) fn is_repository(path: &str) -> bool {
    path.split('/').all(is_component)
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let mut bytes = tag.bytes();
    tag.len() <= TAG_MAX && bytes.next().is_some_and(word) && bytes.all(|b| word(b) || b == b'.' || b == b'-')
}

/// `[a-z0-9]+` joined by `.`, `_`, `__` or any number of `-`.
fn is_component(component: &str) -> bool {
    let mut rest = component;
    loop {
        let word = rest.bytes().take_while(|b| b.is_ascii_lowercase() || b.is_ascii_digit()).count();
        rest = &rest[word..];
        if word == 0 || rest.is_empty() {
            return word > 0;
        }
        let separator = match rest.as_bytes() {
            [b'.', ..] => 1,
            [b'_', b'_', ..] => 2,
            [b'_', ..] => 1,
            _ => rest.bytes().take_while(|b| *b == b'-').count(),
        };
        if separator == 0 {
            return false;
        }
        rest = &rest[separator..];
    }
}

/// Host with an optional port.
pub(crate) fn is_host(text: &str) -> bool {
    let (host, port) = match text.rfind(':') {
        Some(colon) if !text[colon..].contains(']') => (&text[..colon], Some(&text[colon + 1..])),
        _ => (text, None),
    };
    let port_ok = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|n| n > 0));
    if let Some(v6) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        return port_ok && v6.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    port_ok && host.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        text.parse::<ImageName>().map_or_else(|e| format!("refused: {}", e.reason), |n| n.to_string())
    }

    #[test]
    fn names_follow_dockers_rules() {
        let hex = "a".repeat(64);
        for (text, want) in [
            ("alpine", "registry-1.docker.io/library/alpine:latest"),
            ("alpine:3.20", "registry-1.docker.io/library/alpine:3.20"),
            ("docker.io/alpine", "registry-1.docker.io/library/alpine:latest"),
            ("index.docker.io/a/b", "registry-1.docker.io/a/b:latest"),
            ("a/b", "registry-1.docker.io/a/b:latest"),
            ("localhost/a", "localhost/a:latest"),
            ("GHCR.io/a/b:Tag", "ghcr.io/a/b:Tag"),
            ("127.0.0.1:5000/busybox", "127.0.0.1:5000/busybox:latest"),
            ("[::1]:5000/busybox:1", "[::1]:5000/busybox:1"),
            ("h.example:80/a__b/c---d.e_f", "h.example:80/a__b/c---d.e_f:latest"),
            ("oci:/srv/img", "oci:/srv/img"),
            ("oci:/srv/a:b/img:v1", "oci:/srv/a:b/img:v1"),
            ("docker-archive:/srv/a.tar", "docker-archive:/srv/a.tar"),
            ("docker-archive:/srv/a.tar:v1", "docker-archive:/srv/a.tar:v1"),
            ("docker-archive:/srv/a.tar:team/a:v1", "docker-archive:/srv/a.tar:team/a:v1"),
        ] {
            assert_eq!(canonical(text), want, "{text}");
            assert_eq!(canonical(want), want, "{want} is not a fixed point");
        }
        let digest = format!("127.0.0.1:5000/a@sha256:{hex}");
        assert_eq!(canonical(&digest), digest);
        let both = format!("127.0.0.1:5000/a:t@sha256:{hex}");
        assert_eq!(canonical(&both), both);
    }

    #[test]
    fn a_default_registry_of_ones_own_gets_no_library() {
        let name = ImageName::parse("busybox", "127.0.0.1:5000").unwrap();
        assert_eq!(name.to_string(), "127.0.0.1:5000/busybox:latest");
        let other = ImageName::parse("docker.io/busybox", "127.0.0.1:5000").unwrap();
        assert_eq!(other.to_string(), "registry-1.docker.io/library/busybox:latest");
    }

    #[test]
    fn refuses_what_is_no_name() {
        let long = "a".repeat(300);
        let tag = format!("a:{}", "b".repeat(129));
        for bad in [
            "",
            "/",
            "a/",
            "/a",
            "A",
            "a//b",
            "a:",
            "a:-b",
            "a..b",
            "a.-b",
            "a___b",
            "-a",
            "a b",
            "a@sha256:1",
            "a@md5:0",
            "../a",
            "a/../b",
            "h.x:0/a",
            "h.x:99999/a",
            "h..x/a",
            "-h.x/a",
            "http://h/a",
            "oci:rel",
            "oci:",
            "docker-archive:f.tar",
            "docker-archive:",
            "docker-archive:/f.tar:",
            "docker-archive:/f.tar:a:b:c",
            "docker-archive:/f.tar:../x",
            "h.x/a?b",
            "h.x/a#b",
            "u@h.x/a",
            "[::g]:1/a",
            "a\n",
            "é",
            &long,
            &tag,
        ] {
            assert!(bad.parse::<ImageName>().is_err(), "{bad:?} was taken as {}", canonical(bad));
        }
    }
}
