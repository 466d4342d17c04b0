//! A disk that fills up in the middle of a pull.

use std::path::Path;

use images::PrunePolicy;

use crate::kit::layout::{Blobs, OCI_MANIFEST, Packing, build, tiny};
use crate::kit::tars::{Member, file, noise, tar};
use crate::kit::{again, is_root, leftovers, must_say, open, pull, refusal};

/// Not a test of its own: runs where the store is on a small tmpfs.
#[tokio::test]
async fn child() {
    let Ok(place) = std::env::var("FULL_PLACE") else { return };
    let (place, root) = (Path::new(&place), Path::new(&place).join("disk/store"));
    let store = open(&root).await;
    let used = |root: &Path| {
        rustix::fs::statvfs(root).map(|s| (s.f_blocks - s.f_bfree, s.f_files - s.f_ffree)).unwrap()
    };
    let before = used(&root);
    for name in ["big", "many"] {
        let error = refusal(&store, &format!("oci:{}:t", place.join(name).display())).await;
        assert!(error.contains("no space left") && error.contains("image prune"), "{error}");
        let staged: Vec<_> =
            leftovers(&root).into_iter().filter(|p| p.starts_with(root.join("staging"))).collect();
        assert!(staged.is_empty(), "{staged:?}");
    }
    store.prune(PrunePolicy::default()).await.unwrap();
    assert_eq!(used(&root), before, "something was left on the disk");
    let image = pull(&store, &format!("oci:{}:t", place.join("small").display())).await.unwrap();
    store.snapshot(&image, &place.join("disk/c")).unwrap();
    println!("FULL AND FREE AGAIN");
}

#[test]
fn a_full_disk_is_named_and_left_clean() {
    if !is_root("a_full_disk_is_named_and_left_clean") {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let data = |seed| Member { data: noise(6 << 20, seed), ..file("big", "") };
    let big = build(&[
        (tar(&[file("first", "x")]), Packing::Gzip),
        (tar(&[data(1)]), Packing::Gzip),
        (tar(&[data(2)]), Packing::Plain),
    ]);
    let files: Vec<Member> = (0..3000).map(|n| file(&format!("f{n}"), "")).collect();
    let many = build(&[(tar(&files), Packing::Gzip)]);
    for (name, image) in [("big", big), ("many", many), ("small", tiny("fits"))] {
        Blobs::of(&image).write(&place.path().join(name), "t", OCI_MANIFEST, &image.manifest);
    }
    std::fs::create_dir(place.path().join("disk")).unwrap();
    let script = format!("mount -t tmpfs -o size=8m,nr_inodes=2000 none '{}/disk'", place.path().display());
    let path = place.path().display().to_string();
    must_say(again("disk_full::child", Some(&script), &[("FULL_PLACE", &path)]), "FULL AND FREE AGAIN");
}
