//! Damage in the store: found, named, removed, and fetched again.

use std::fs;
use std::path::{Path, PathBuf};

use images::{ImageStore, Problem, Verification};

use crate::kit::layout::{Packing, build};
use crate::kit::registry::Registry;
use crate::kit::tars::{Member, file, noise, symlink, tar};
use crate::kit::{is_root, list, open, pull};

struct Place {
    dir: tempfile::TempDir,
    registry: Registry,
    built: crate::kit::layout::Built,
}

impl Place {
    fn new() -> Self {
        let big = Member { data: noise(100_000, 4), ..file("dir/big", "") };
        let base = tar(&[big, file("run", "x").mode(0o755), symlink("link", "run")]);
        let built = build(&[(base, Packing::Gzip), (tar(&[file("top", "t")]), Packing::Gzip)]);
        let registry = Registry::start();
        registry.push(&built, "app:v1");
        Self { dir: tempfile::tempdir().unwrap(), registry, built }
    }

    fn name(&self) -> String {
        self.registry.image("app:v1")
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    async fn pulled(&self) -> ImageStore {
        let store = open(&self.root()).await;
        drop(pull(&store, &self.name()).await.unwrap());
        store.seal().await.unwrap();
        store
    }

    fn layer(&self, number: usize) -> PathBuf {
        self.root().join("layers/sha256").join(self.built.diff_ids[number].hex())
    }
}

fn only(found: &Verification) -> &Problem {
    assert_eq!(found.problems.len(), 1, "{found:#?}");
    &found.problems[0]
}

/// Changes content and nothing else that could be seen.
fn flip(path: &Path) {
    let (mut bytes, time) = (fs::read(path).unwrap(), path.metadata().unwrap().modified().unwrap());
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

#[tokio::test]
async fn a_sound_store_is_called_sound() {
    if !is_root("a_sound_store_is_called_sound") {
        return;
    }
    let place = Place::new();
    let store = place.pulled().await;
    let found = store.verify(false).await.unwrap();
    assert_eq!((found.names, found.documents, found.layers, found.bytes), (1, 2, 2, 100_000 + 1 + 1));
    assert!(found.problems.is_empty(), "{found:#?}");
    // Using an image changes nothing in it.
    let image = pull(&store, &place.name()).await.unwrap();
    let snapshot = store.snapshot(&image, &place.dir.path().join("c")).unwrap();
    assert!(store.verify(true).await.unwrap().problems.is_empty());
    snapshot.remove().unwrap();
}

#[tokio::test]
async fn damage_is_named_removed_and_fetched_again() {
    if !is_root("damage_is_named_removed_and_fetched_again") {
        return;
    }
    let place = Place::new();
    let mut store = place.pulled().await;
    type Damage = Box<dyn Fn(&Place)>;
    let damages: Vec<(&str, &str, Damage)> = vec![
        ("one bit of a file", "not what was unpacked", Box::new(|p| flip(&p.layer(0).join("fs/dir/big")))),
        (
            "a mode",
            "not what was unpacked",
            Box::new(|p| {
                use std::os::unix::fs::PermissionsExt;
                fs::set_permissions(p.layer(0).join("fs/run"), PermissionsExt::from_mode(0o4755)).unwrap();
            }),
        ),
        (
            "a missing file",
            "not what was unpacked",
            Box::new(|p| {
                fs::remove_file(p.layer(0).join("fs/link")).unwrap();
            }),
        ),
        (
            "an additional file",
            "not what was unpacked",
            Box::new(|p| {
                fs::write(p.layer(0).join("fs/dir/new"), "").unwrap();
            }),
        ),
        ("all files", "missing", Box::new(|p| fs::remove_dir_all(p.layer(0).join("fs")).unwrap())),
        ("the record", "missing", Box::new(|p| fs::write(p.layer(0).join("layer.json"), "{").unwrap())),
        (
            "the seal",
            "not what was unpacked",
            Box::new(|p| {
                fs::write(p.layer(0).join("seal"), format!("sha256:{}", "0".repeat(64))).unwrap();
            }),
        ),
    ];
    for (what, why, damage) in damages {
        damage(&place);
        let found = store.verify(false).await.unwrap();
        let layer = found.problems.first().unwrap_or_else(|| panic!("{what} is not found"));
        assert!(layer.why.contains(why), "{what}: {layer:?}");
        assert_eq!(layer.what, place.built.diff_ids[0].to_string(), "{what}");
        assert_eq!((layer.images.as_slice(), layer.repaired), ([place.name()].as_slice(), None), "{what}");
        assert!(place.layer(0).exists(), "{what}: looking changes nothing");
        let repaired = store.verify(true).await.unwrap();
        assert!(repaired.problems.iter().all(|p| p.repaired == Some(true)), "{what}: {repaired:#?}");
        assert!(!place.layer(0).exists() && place.layer(1).exists(), "{what}");
        let blobs = |n: usize| {
            place.registry.requests(&format!("/blobs/{}", crate::kit::layout::sha256(&place.built.layers[n])))
        };
        let before = (blobs(0), blobs(1));
        store = place.pulled().await;
        assert_eq!(
            (blobs(0), blobs(1)),
            (before.0 + 1, before.1),
            "{what}: only what was damaged is fetched"
        );
        assert!(store.verify(false).await.unwrap().problems.is_empty(), "{what}");
    }
}

#[tokio::test]
async fn damaged_documents_and_names_are_found_too() {
    if !is_root("damaged_documents_and_names_are_found_too") {
        return;
    }
    let place = Place::new();
    let store = place.pulled().await;
    let config = list(&place.root().join("configs/sha256")).remove(0);
    flip(&config);
    let found = store.verify(true).await.unwrap();
    assert!(
        found.problems[0].why.contains("another digest") && found.problems[0].path.as_ref() == Some(&config)
    );
    assert_eq!(found.problems[1].what, place.name(), "{found:#?}");
    assert!(found.problems.iter().all(|p| p.repaired == Some(true)) && !config.exists());
    assert!(store.list().unwrap().is_empty());
    let store = place.pulled().await;
    let name = list(&place.root().join("names")).remove(0);
    fs::write(&name, "{").unwrap();
    let found = store.verify(true).await.unwrap();
    assert_eq!((only(&found).path.as_ref(), only(&found).repaired), (Some(&name), Some(true)));
    let store = place.pulled().await;
    fs::remove_dir_all(place.layer(1)).unwrap();
    let found = store.verify(false).await.unwrap();
    assert!(only(&found).why.contains("1 of its 2 layers are missing"), "{found:#?}");
}

#[tokio::test]
async fn what_is_in_use_stays_though_it_is_damaged() {
    if !is_root("what_is_in_use_stays_though_it_is_damaged") {
        return;
    }
    let place = Place::new();
    let store = place.pulled().await;
    let image = pull(&store, &place.name()).await.unwrap();
    flip(&place.layer(0).join("fs/dir/big"));
    let leased = store.verify(true).await.unwrap();
    assert_eq!(only(&leased).repaired, Some(false));
    let snapshot = store.snapshot(&image, &place.dir.path().join("c")).unwrap();
    drop(image);
    let used = store.verify(true).await.unwrap();
    assert!(only(&used).why.contains("in use by") && only(&used).repaired == Some(false), "{used:#?}");
    snapshot.remove().unwrap();
    assert_eq!(only(&store.verify(true).await.unwrap()).repaired, Some(true));
}
