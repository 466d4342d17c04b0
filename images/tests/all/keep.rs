//! What stays and what goes: names, leases, snapshots, and what an earlier boot left behind.

use std::fs;
use std::path::PathBuf;

use images::{ImageStore, PrunePolicy, PruneReport, Removed, StoreError};

use crate::kit::layout::{Blobs, Built, OCI_MANIFEST, Packing, build, tiny};
use crate::kit::tars::{file, tar};
use crate::kit::{eventually, is_root, list, open, pull};

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn store(&self) -> ImageStore {
        open(&self.path("store")).await
    }

    /// Writes a layout and gives its name.
    fn layout(&self, name: &str, image: &Built) -> String {
        Blobs::of(image).write(&self.path(name), "t", OCI_MANIFEST, &image.manifest);
        format!("oci:{}:t", self.path(name).display())
    }

    fn layers(&self) -> usize {
        list(&self.path("store/layers/sha256")).len()
    }
}

fn two_sharing() -> (Built, Built) {
    let layer = |text: &str| (tar(&[file("f", text)]), Packing::Gzip);
    (build(&[layer("shared"), layer("a")]), build(&[layer("shared"), layer("b")]))
}

#[tokio::test]
async fn removal_keeps_what_others_need() {
    if !is_root("removal_keeps_what_others_need") {
        return;
    }
    let place = Place::new();
    let store = place.store().await;
    let (a, b) = two_sharing();
    let (a, b) = (place.layout("a", &a), place.layout("b", &b));
    drop(pull(&store, &a).await.unwrap());
    drop(pull(&store, &b).await.unwrap());
    assert_eq!(place.layers(), 3);
    let listed = store.list().unwrap();
    assert_eq!(listed.iter().map(|i| i.name.clone()).collect::<Vec<_>>(), [a.clone(), b.clone()]);
    assert_eq!((listed[0].layers, listed[0].size > 0), (2, true));

    let removed = store.remove(&store.name(&a).unwrap()).await.unwrap();
    assert_eq!(removed, Removed { names: 1, layers: 1, bytes: 1 });
    assert_eq!(place.layers(), 2);
    assert!(store.cached(&store.name(&b).unwrap()).unwrap().is_some());
    let again = store.remove(&store.name(&a).unwrap()).await;
    assert!(matches!(again, Err(StoreError::NotFound { .. })), "{again:?}");
    store.remove(&store.name(&b).unwrap()).await.unwrap();
    let rest = ["layers/sha256", "manifests/sha256", "configs/sha256", "names", "l"]
        .map(|d| list(&place.path("store").join(d)).len());
    assert_eq!(rest, [0; 5]);
}

#[tokio::test]
async fn layers_in_use_stay_whoever_asks() {
    if !is_root("layers_in_use_stay_whoever_asks") {
        return;
    }
    let place = Place::new();
    let store = place.store().await;
    let name = place.layout("a", &tiny("a"));
    let image = pull(&store, &name).await.unwrap();
    let parsed = store.name(&name).unwrap();
    // Another opening of the store is to the kernel what another process is.
    let other = place.store().await;
    for (who, asked) in [("own", &store), ("other", &other)] {
        let refused = asked.remove(&parsed).await;
        assert!(matches!(refused, Err(StoreError::InUse { .. })), "{who}: {refused:?}");
    }
    assert_eq!(other.list().unwrap().len(), 1, "a refused removal changed something");

    let snapshot = store.snapshot(&image, &place.path("c1")).unwrap();
    drop(image);
    let refused = other.remove(&parsed).await.unwrap_err().to_string();
    assert!(refused.contains("c1") && refused.contains("in use"), "{refused}");
    drop((snapshot, store, other));
    // After a restart the snapshot still counts, and can be found and removed.
    let store = place.store().await;
    assert!(matches!(store.remove(&parsed).await, Err(StoreError::InUse { .. })));
    assert_eq!(store.prune(PrunePolicy::default()).await.unwrap(), PruneReport::default());
    store.find_snapshot(&place.path("c1")).unwrap().unwrap().remove().unwrap();
    assert!(store.find_snapshot(&place.path("c1")).unwrap().is_none());
    assert_eq!(list(&place.path("c1")), Vec::<PathBuf>::new());
    store.remove(&parsed).await.unwrap();
    assert_eq!(place.layers(), 0);
}

#[tokio::test]
async fn a_snapshot_whose_directory_vanished_holds_nothing() {
    if !is_root("a_snapshot_whose_directory_vanished_holds_nothing") {
        return;
    }
    let place = Place::new();
    let store = place.store().await;
    let name = place.layout("a", &tiny("a"));
    let image = pull(&store, &name).await.unwrap();
    let _snapshot = store.snapshot(&image, &place.path("c1")).unwrap();
    let taken = store.snapshot(&image, &place.path("c1"));
    assert!(matches!(taken, Err(StoreError::SnapshotExists { .. })), "{taken:?}");
    drop(image);
    fs::remove_dir_all(place.path("c1")).unwrap();
    store.remove(&store.name(&name).unwrap()).await.unwrap();
    assert_eq!(list(&place.path("store/snapshots")).len(), 0);
}

#[tokio::test]
async fn layers_without_a_name_are_pruned() {
    if !is_root("layers_without_a_name_are_pruned") {
        return;
    }
    let place = Place::new();
    let store = place.store().await;
    let mut broken =
        build(&[(tar(&[file("good", "12345")]), Packing::Gzip), (tar(&[file("bad", "x")]), Packing::Gzip)]);
    let bad = broken.layers[1].len() / 2;
    let name = place.layout("a", &broken);
    broken.layers[1][bad] ^= 1;
    let path = place.path("a/blobs/sha256").join(
        crate::kit::layout::sha256(&build(&[(tar(&[file("bad", "x")]), Packing::Gzip)]).layers[0]).hex(),
    );
    fs::write(path, &broken.layers[1]).unwrap();
    let limits = images::Limits { parallel_layers: 1, ..crate::kit::quick() };
    let config = images::StoreConfig { limits, ..crate::kit::config(&place.path("store")) };
    let serial = ImageStore::open(config).await.unwrap();
    pull(&serial, &name).await.unwrap_err();
    assert_eq!(place.layers(), 1, "the good layer came first and stays for the next try");
    assert_eq!(
        store.prune(PrunePolicy::default()).await.unwrap(),
        PruneReport { layers: 1, bytes: 5, ..PruneReport::default() }
    );
    assert_eq!(place.layers(), 0);
}

#[tokio::test]
async fn layers_of_an_earlier_boot_count_only_when_settled() {
    if !is_root("layers_of_an_earlier_boot_count_only_when_settled") {
        return;
    }
    let place = Place::new();
    let store = place.store().await;
    let name = place.layout("a", &tiny("a"));
    drop(pull(&store, &name).await.unwrap());
    let layer = list(&place.path("store/layers/sha256")).remove(0);
    eventually("the layer is settled", || layer.join("settled").exists());
    drop(store);
    let record = fs::read_to_string(layer.join("layer.json")).unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert!(record.contains(boot.trim()));
    fs::write(layer.join("layer.json"), record.replace(boot.trim(), "an-earlier-boot")).unwrap();
    let store = place.store().await;
    assert!(store.cached(&store.name(&name).unwrap()).unwrap().is_some(), "a settled layer was thrown away");

    drop(store);
    fs::remove_file(layer.join("settled")).unwrap();
    let store = place.store().await;
    assert!(!layer.exists(), "what a power failure may have cut counts as whole");
    assert!(store.cached(&store.name(&name).unwrap()).unwrap().is_none());
    drop(pull(&store, &name).await.unwrap());
    drop(store);
    fs::write(layer.join("layer.json"), "").unwrap();
    let store = place.store().await;
    assert!(!layer.exists(), "a layer without a record counts as whole");
    // Damaged documents are noticed by their digests, and the image is simply pulled again.
    pull(&store, &name).await.unwrap();
    let config = list(&place.path("store/configs/sha256")).remove(0);
    fs::write(&config, "{}").unwrap();
    assert!(store.cached(&store.name(&name).unwrap()).unwrap().is_none());
    pull(&store, &name).await.unwrap();
    assert!(store.cached(&store.name(&name).unwrap()).unwrap().is_some());
}

#[tokio::test]
async fn two_processes_may_pull_and_remove_at_once() {
    if !is_root("two_processes_may_pull_and_remove_at_once") {
        return;
    }
    let place = Place::new();
    let stores = [place.store().await, place.store().await];
    let (a, b) = two_sharing();
    let names = [place.layout("a", &a), place.layout("b", &b)];
    let churn = |which: usize| {
        let (store, name) = (stores[which].clone(), names[which].clone());
        async move {
            for round in 0..25 {
                let image = pull(&store, &name).await.unwrap();
                for layer in &image.layers {
                    let fs = format!("store/layers/sha256/{}/fs/f", layer.diff_id.hex());
                    assert!(store.cached(&image.name).unwrap().is_some(), "{round}: {fs}");
                }
                drop(image);
                match store.remove(&store.name(&name).unwrap()).await {
                    Ok(_) | Err(StoreError::InUse { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
                store.prune(PrunePolicy::default()).await.unwrap();
            }
        }
    };
    tokio::join!(churn(0), churn(1));
}
