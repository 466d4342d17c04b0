//! Doors for fuzz targets: texts of a registry that operators bring. Not part of the interface.

use crate::registry::{from_text, to_text};

/// A registry as text. Whether it is one; what is written of it says the same once more (a default that was left out is
/// written).
pub fn registry(text: &str) -> bool {
    let Ok(contents) = from_text(text) else { return false };
    let written = to_text(&contents);
    assert_eq!(from_text(&written).map(|again| to_text(&again)).as_ref(), Ok(&written));
    true
}
