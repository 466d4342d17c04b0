//! Stand-ins for registries: asked first, in their order, before the registry itself.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::reference::{RegistryRef, canonical_registry, is_host, is_repository};

/// Mirrors by registry, as `registry=mirror1,mirror2;registry=…`.
///
/// A mirror is `[http://|https://]host[:port][/path]`; the path is put before the repository. A mirror with `http://` is
/// spoken to without TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mirrors {
    by_registry: BTreeMap<String, Vec<Mirror>>,
}

/// One stand-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mirror {
    pub(super) host: String,
    prefix: String,
    pub(super) plain: bool,
}

/// Why a list of mirrors can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{part:?} is no registry=mirror,mirror: {reason}")]
pub struct MirrorsError {
    part: String,
    reason: &'static str,
}

impl FromStr for Mirrors {
    type Err = MirrorsError;

    fn from_str(text: &str) -> Result<Self, MirrorsError> {
        let mut by_registry: BTreeMap<String, Vec<Mirror>> = BTreeMap::new();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let refuse = |reason| MirrorsError { part: part.chars().take(200).collect(), reason };
            let (registry, mirrors) = part.split_once('=').ok_or_else(|| refuse("it has no \"=\""))?;
            let registry = canonical_registry(registry.trim());
            if !is_host(&registry) {
                return Err(refuse("the registry is not a host with an optional port"));
            }
            let mirrors = mirrors.split(',').map(|text| Mirror::parse(text.trim()));
            let mirrors = mirrors.collect::<Option<Vec<_>>>();
            let mirrors = mirrors.ok_or_else(|| {
                refuse("a mirror is [http://|https://]host[:port][/path], the path in lower case")
            })?;
            by_registry.entry(registry).or_default().extend(mirrors);
        }
        Ok(Self { by_registry })
    }
}

impl Mirrors {
    pub(super) fn of(&self, registry: &str) -> &[Mirror] {
        self.by_registry.get(registry).map_or(&[], Vec::as_slice)
    }
}

impl Mirror {
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("https", text));
        let (host, prefix) =
            rest.trim_end_matches('/').split_once('/').unwrap_or((rest.trim_end_matches('/'), ""));
        let host = host.to_ascii_lowercase();
        let plain = match scheme {
            "http" => true,
            "https" => false,
            _ => return None,
        };
        let usable = is_host(&host) && (prefix.is_empty() || is_repository(prefix));
        usable.then(|| Self { host, prefix: prefix.to_owned(), plain })
    }

    /// The image as the mirror names it.
    pub(super) fn reference(&self, of: &RegistryRef) -> RegistryRef {
        let repository = match self.prefix.as_str() {
            "" => of.repository.clone(),
            prefix => format!("{prefix}/{}", of.repository),
        };
        RegistryRef { registry: self.host.clone(), repository, ..of.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::ImageName;

    #[test]
    fn mirrors_are_read_and_name_images_their_way() {
        let mirrors: Mirrors =
            "docker.io=http://m1:5000, harbor.example/proxy/hub/; ghcr.io=[::1]:5000".parse().unwrap();
        let ImageName::Registry(name) = "busybox:1".parse().unwrap() else { panic!() };
        let names: Vec<String> =
            mirrors.of("registry-1.docker.io").iter().map(|m| m.reference(&name).to_string()).collect();
        assert_eq!(names, ["m1:5000/library/busybox:1", "harbor.example/proxy/hub/library/busybox:1"]);
        assert_eq!(mirrors.of("ghcr.io").len(), 1);
        assert!(mirrors.of("quay.io").is_empty() && !mirrors.of("ghcr.io")[0].plain);
        assert_eq!("".parse::<Mirrors>(), Ok(Mirrors::default()));
        for bad in [
            "docker.io",
            "=m1",
            "docker.io=",
            "docker.io=a b",
            "docker.io=ftp://m",
            "docker.io=m/UPPER",
            "x/y=m",
        ] {
            assert!(bad.parse::<Mirrors>().is_err(), "{bad}");
        }
    }
}
