//! Layers as overlayfs' lower directories: nothing is copied, the container's keeper mounts them.

use std::path::{Path, PathBuf};

use super::{LayerDir, Snapshot, SnapshotError, Snapshotter, copy, dress_root, make_dir, visible};

/// The kernel's bound on layers of one overlay (`OVL_MAX_STACK`).
const MOST: usize = 500;
/// Older kernels take all layers in one page of options, where one is some 18 bytes as a descriptor's path.
const MOST_IN_A_PAGE: usize = 200;
/// The first Linux whose overlayfs takes layers one by one.
const LAYER_BY_LAYER: (u32, u32) = (6, 5);

/// Prepares lower, upper and work directories. An image with more layers than one overlay can have keeps its topmost ones;
/// the others are copied over one another into a single one.
#[derive(Debug, Clone, Copy)]
pub struct OverlaySnapshotter {
    most: usize,
}

impl OverlaySnapshotter {
    /// For mounting on the kernel that runs here.
    pub fn new() -> Self {
        let release = rustix::system::uname();
        let version = version(&release.release().to_string_lossy());
        Self { most: if version >= LAYER_BY_LAYER { MOST } else { MOST_IN_A_PAGE } }
    }

    /// With at most so many lower directories, for those who mount in another way; one at least.
    pub fn with_most(most: usize) -> Self {
        Self { most: most.max(1) }
    }
}

impl Default for OverlaySnapshotter {
    fn default() -> Self {
        Self::new()
    }
}

impl Snapshotter for OverlaySnapshotter {
    fn prepare(&self, layers: &[LayerDir], dir: &Path) -> Result<Snapshot, SnapshotError> {
        let topmost_first = visible(layers);
        let merged = match topmost_first.len() {
            0 => 0,
            count if count <= self.most => count,
            _ => self.most - 1,
        };
        let (own, merged) = topmost_first.split_at(merged);
        let mut lower: Vec<PathBuf> = own.iter().map(|layer| layer.short.clone()).collect();
        if !merged.is_empty() || lower.is_empty() {
            lower.push(dir.join("lower"));
        }
        let snapshot = Snapshot::new(dir, lower);
        let outcome = make(&snapshot, &topmost_first, merged);
        match outcome {
            Ok(()) => Ok(snapshot),
            Err(error) => {
                let _ = snapshot.remove();
                Err(error)
            }
        }
    }
}

fn make(snapshot: &Snapshot, topmost_first: &[&LayerDir], merged: &[&LayerDir]) -> Result<(), SnapshotError> {
    make_dir(&snapshot.upper)?;
    dress_root(&snapshot.upper, topmost_first)?;
    make_dir(&snapshot.work)?;
    let lower = snapshot.dir.join("lower");
    if snapshot.lower.contains(&lower) {
        make_dir(&lower)?;
        copy::flatten(merged, &lower)?;
    }
    Ok(())
}

/// Major and minor number; zero for what can't be read.
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lower_directories_are_topmost_first_each_once_down_to_an_opaque_root() {
        let place = tempfile::tempdir().unwrap();
        let layer = |name: &str, opaque| {
            let fs = place.path().join(name);
            std::fs::create_dir_all(&fs).unwrap();
            LayerDir { short: fs.clone(), fs, root: (name == "b").then_some((0o700, 5, 6)), opaque }
        };
        let prepare = |layers: &[LayerDir], name: &str| {
            let dir = place.path().join(name);
            std::fs::create_dir(&dir).unwrap();
            OverlaySnapshotter::with_most(100).prepare(layers, &dir).unwrap()
        };
        let names = |snapshot: &Snapshot| -> Vec<String> {
            snapshot.lower.iter().map(|p| p.file_name().unwrap().to_string_lossy().into_owned()).collect()
        };
        let (a, b, c) = (layer("a", false), layer("b", false), layer("c", true));
        let plain = prepare(&[a.clone(), b.clone(), a.clone()], "1");
        assert_eq!(names(&plain), ["a", "b"]);
        use std::os::unix::fs::MetadataExt as _;
        let upper = plain.upper.metadata().unwrap();
        assert_eq!((upper.mode() & 0o7777, upper.uid(), upper.gid()), (0o700, 5, 6));
        assert_eq!(names(&prepare(&[a, c, b], "2")), ["b", "c"]);
        assert_eq!(names(&prepare(&[], "3")), ["lower"]);
        let many: Vec<LayerDir> = (0..200).map(|n| layer(&format!("{n:060}"), false)).collect();
        let topmost: Vec<String> =
            (101..200).rev().map(|n| format!("{n:060}")).chain(["lower".into()]).collect();
        assert_eq!(names(&prepare(&many, "4")), topmost);
        let just: Vec<String> = (0..100).rev().map(|n| format!("{n:060}")).collect();
        assert_eq!(names(&prepare(&many[..100], "5")), just);
        assert_eq!((version("6.18.4-x"), version("5.14"), version("odd")), ((6, 18), (5, 14), (0, 0)));
    }
}
