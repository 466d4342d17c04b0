//! Doors for fuzz targets: what containers' files say. Not part of the interface.

use crate::supervisor::user;

/// Who `wanted` is by an image's `passwd` and `group`, if it is anybody; never the number that the kernel takes for "leave
/// unchanged", and never without a group.
pub fn identity(wanted: &str, passwd: &str, group: &str) -> bool {
    let Ok(found) = user::look_up(wanted, passwd, group) else { return false };
    assert!(found.uid != u32::MAX && found.gid != u32::MAX, "{found:?}");
    assert!(found.groups.first() == Some(&found.gid) && !found.groups.contains(&u32::MAX), "{found:?}");
    assert!(found.home.starts_with('/'), "{found:?}");
    true
}
