//! Entry names: made relative, cut into parent and last component, refused when they climb.

use super::error::UnpackError;

/// The kernel's own bound on one path.
const LONGEST: usize = 4096;
/// Directories in one another; real images stay below 60.
pub(super) const DEEPEST: usize = 256;

/// A path below the layer's root without empty, `.` or `..` components.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    path: Vec<u8>,
    /// Where the last component begins.
    last: usize,
}

impl Name {
    /// Leading slashes and dots are dropped, as every unpacker does.
    pub(crate) fn parse(raw: &[u8]) -> Result<Self, UnpackError> {
        if raw.len() > LONGEST {
            return Err(UnpackError::refuse(raw, "its name is longer than 4096 bytes"));
        }
        if raw.contains(&0) {
            return Err(UnpackError::refuse(raw, "its name has a NUL byte"));
        }
        let mut path = Vec::with_capacity(raw.len());
        let (mut last, mut depth) = (0, 0);
        for component in raw.split(|b| *b == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => return Err(UnpackError::refuse(raw, "its name climbs with \"..\"")),
                _ if component.len() > 255 => {
                    return Err(UnpackError::refuse(raw, "a part of its name is longer than 255 bytes"));
                }
                _ => depth += 1,
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            last = path.len();
            path.extend_from_slice(component);
        }
        if depth > DEEPEST {
            return Err(UnpackError::refuse(raw, "it is nested deeper than 256 directories"));
        }
        Ok(Self { path, last })
    }

    pub(crate) fn is_root(&self) -> bool {
        self.path.is_empty()
    }

    pub(crate) fn path(&self) -> &[u8] {
        &self.path
    }

    /// The directory that holds it; empty for the root.
    pub(crate) fn parent(&self) -> &[u8] {
        &self.path[..self.last.saturating_sub(1)]
    }

    pub(super) fn last(&self) -> &[u8] {
        &self.path[self.last..]
    }

    /// The same parent with another last component.
    pub(super) fn sibling(&self, last: &[u8]) -> Self {
        let mut path = self.path[..self.last].to_vec();
        path.extend_from_slice(last);
        Self { path, last: self.last }
    }

    pub(crate) fn display(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_and_cleaned() {
        let cut = |raw: &str| {
            let name = Name::parse(raw.as_bytes()).unwrap();
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            (text(name.parent()), text(name.last()))
        };
        assert_eq!(cut("./usr//bin/./sh"), ("usr/bin".into(), "sh".into()));
        assert_eq!(cut("/etc/"), (String::new(), "etc".into()));
        assert_eq!(cut("a"), (String::new(), "a".into()));
        for root in ["", ".", "/", "./", "//./"] {
            assert!(Name::parse(root.as_bytes()).unwrap().is_root(), "{root:?}");
        }
    }

    #[test]
    fn climbing_and_excess_are_refused() {
        let long = "a".repeat(256);
        let deep = "d/".repeat(257);
        let huge = "d/".repeat(2049);
        for bad in ["..", "../a", "a/../b", "/..", "a/..", "a\0b", &long, &deep, &huge] {
            assert!(Name::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
