//! Doors for fuzz targets: what an ensemble's nodes say that others may have written. Not part of the interface.

use crate::zookeeper::records::{key_of, name_of, read_head};

/// The content of the records' head. Whether it is one.
pub fn head(content: &[u8]) -> bool {
    read_head(content, "/records".to_owned()).is_ok()
}

/// A node's name below the records' head: the key that it stands for, which has a name that stands for it.
pub fn record(name: &str) -> Option<String> {
    let key = key_of(name)?;
    assert_eq!(key_of(&name_of(&key)).as_ref(), Some(&key), "{name}");
    Some(key)
}
