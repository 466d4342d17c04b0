//! Names of images that are files on this host.

use std::fmt;
use std::path::{Path, PathBuf};

use super::{DEFAULT_REGISTRY, RegistryRef, is_tag, split_tag};

/// An image in a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayoutRef {
    /// Absolute path of the directory that holds `oci-layout`.
    pub dir: PathBuf,
    /// Value of the annotation `org.opencontainers.image.ref.name` to look for.
    pub tag: Option<String>,
}

/// An image in an archive file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArchiveRef {
    /// Absolute path of the tar; it has no colon.
    pub file: PathBuf,
    /// Which of its images: a tag, or a name with or without a tag. Not needed when there is only one.
    pub image: Option<String>,
}

const TAG_RULE: &str = "a tag has at most 128 letters, digits, underscores, dots and dashes";

impl LayoutRef {
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let (dir, tag) = split_tag(text);
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(TAG_RULE);
        }
        if !Path::new(dir).is_absolute() || dir.contains('\0') {
            return Err("oci: wants an absolute path, as in oci:/srv/images/busybox:1.36");
        }
        Ok(Self { dir: dir.into(), tag: tag.map(str::to_owned) })
    }
}

impl fmt::Display for LayoutRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oci:{}", self.dir.display())?;
        match &self.tag {
            Some(tag) => write!(f, ":{tag}"),
            None => Ok(()),
        }
    }
}

impl ArchiveRef {
    /// The first colon ends the path, as in skopeo.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let (file, image) = match text.split_once(':') {
            Some((file, image)) => (file, Some(image)),
            None => (text, None),
        };
        if !Path::new(file).is_absolute() || file.contains('\0') {
            return Err("docker-archive: wants an absolute path, as in docker-archive:/srv/busybox.tar");
        }
        if image.is_some_and(|image| !is_tag(image) && canonical(image).is_none()) {
            return Err("after the archive's path comes a tag, or an image's name with its tag");
        }
        Ok(Self { file: file.into(), image: image.map(str::to_owned) })
    }

    /// Whether one of the tags that an archive lists (`busybox:1.36`) is the wanted image. A name counts more than a tag
    /// alone, so callers ask with `by_tag` only when no name fits.
    pub(crate) fn fits(&self, listed: &str, by_tag: bool) -> bool {
        let Some(wanted) = &self.image else { return false };
        if by_tag {
            return is_tag(wanted) && canonical(listed).is_some_and(|name| name.tag.as_ref() == Some(wanted));
        }
        let names = canonical(wanted).zip(canonical(listed));
        wanted == listed || names.is_some_and(|(wanted, listed)| wanted == listed)
    }
}

fn canonical(text: &str) -> Option<RegistryRef> {
    RegistryRef::parse(text, DEFAULT_REGISTRY).ok().filter(|name| name.digest.is_none())
}

impl fmt::Display for ArchiveRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "docker-archive:{}", self.file.display())?;
        match &self.image {
            Some(image) => write!(f, ":{image}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_asked_by_name_or_tag() {
        let fits = |wanted: &str, listed: &str, by_tag| {
            let name = ArchiveRef::parse(&format!("/f.tar:{wanted}")).unwrap();
            name.fits(listed, by_tag)
        };
        for (wanted, listed) in [
            ("busybox:1.36", "busybox:1.36"),
            ("busybox", "busybox:latest"),
            ("docker.io/library/busybox:1.36", "busybox:1.36"),
            ("127.0.0.1:5000/a:v1", "127.0.0.1:5000/a:v1"),
        ] {
            assert!(fits(wanted, listed, false), "{wanted} {listed}");
        }
        assert!(fits("1.36", "busybox:1.36", true) && !fits("1.36", "busybox:1.36", false));
        assert!(!fits("busybox:1.37", "busybox:1.36", true) && !fits("other:1.36", "busybox:1.36", false));
    }
}
