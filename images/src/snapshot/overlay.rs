//! Layers as overlayfs' lower directories: nothing is copied, the container's keeper mounts them.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::{LayerDir, Snapshot, SnapshotError, Snapshotter, copy, dress_root, make_dir, visible};

/// mount(2) takes one page of options; what is around the paths needs some of it.
const OPTIONS: usize = 4096 - 128;

/// Prepares lower, upper and work directories.
#[derive(Debug, Clone, Copy, Default)]
pub struct OverlaySnapshotter;

impl Snapshotter for OverlaySnapshotter {
    fn prepare(&self, layers: &[LayerDir], dir: &Path) -> Result<Snapshot, SnapshotError> {
        let topmost_first = visible(layers);
        let paths: Vec<PathBuf> = topmost_first.iter().map(|layer| layer.short.clone()).collect();
        let lower = if paths.is_empty() || !fit(&paths, dir) { vec![dir.join("lower")] } else { paths };
        let snapshot = Snapshot::new(dir, lower);
        let outcome = make(&snapshot, &topmost_first);
        match outcome {
            Ok(()) => Ok(snapshot),
            Err(error) => {
                let _ = snapshot.remove();
                Err(error)
            }
        }
    }
}

fn make(snapshot: &Snapshot, topmost_first: &[&LayerDir]) -> Result<(), SnapshotError> {
    make_dir(&snapshot.upper)?;
    dress_root(&snapshot.upper, topmost_first)?;
    make_dir(&snapshot.work)?;
    let merged = snapshot.dir.join("lower");
    if snapshot.lower.contains(&merged) {
        // More layers than one mount can name: they are put together once, below the same upper directory.
        make_dir(&merged)?;
        copy::flatten(topmost_first, &merged)?;
    }
    Ok(())
}

fn fit(lower: &[PathBuf], dir: &Path) -> bool {
    let paths: usize = lower.iter().map(|path| path.as_os_str().as_bytes().len() + 1).sum();
    paths + 2 * dir.as_os_str().as_bytes().len() <= OPTIONS
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
            OverlaySnapshotter.prepare(layers, &dir).unwrap()
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
        assert_eq!(names(&prepare(&many, "4")), ["lower"]);
    }
}
