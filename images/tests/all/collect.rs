//! Garbage collection: by age, for space, around pins, and never under a launch (threat I15).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use images::{ImageName, ImageStore, PrunePolicy, PruneReport, StoreError};

use crate::kit::layout::{Blobs, Built, OCI_MANIFEST, Packing, build, tiny};
use crate::kit::tars::{file, tar};
use crate::kit::{is_root, list, open, pull};

struct Place {
    dir: tempfile::TempDir,
    store: ImageStore,
}

impl Place {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir.path().join("store")).await;
        Self { dir, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn layers(&self) -> usize {
        list(&self.path("store/layers/sha256")).len()
    }

    /// Pulls an image from a layout; its name.
    async fn add(&self, name: &str, image: &Built) -> ImageName {
        Blobs::of(image).write(&self.path(name), "t", OCI_MANIFEST, &image.manifest);
        let name = format!("oci:{}:t", self.path(name).display());
        pull(&self.store, &name).await.unwrap().name
    }

    /// Lets the last use of a name be so long ago.
    fn age(&self, name: &ImageName, ago: Duration) {
        for path in list(&self.path("store/names")) {
            let text = std::fs::read_to_string(&path).unwrap();
            if text.contains(&format!("\"{name}\"")) {
                let file = std::fs::File::options().write(true).open(&path).unwrap();
                file.set_modified(SystemTime::now() - ago).unwrap();
            }
        }
    }

    async fn prune(&self, policy: PrunePolicy) -> PruneReport {
        self.store.prune(policy).await.unwrap()
    }

    fn names(&self) -> Vec<String> {
        self.store.list().unwrap().into_iter().map(|image| image.name).collect()
    }
}

const HOUR: Duration = Duration::from_secs(3600);

fn unused_for(time: Duration) -> PrunePolicy {
    PrunePolicy { unused_for: Some(time), ..PrunePolicy::default() }
}

#[tokio::test]
async fn names_go_by_the_time_of_their_last_use() {
    if !is_root("names_go_by_the_time_of_their_last_use") {
        return;
    }
    let place = Place::new().await;
    let shared = (tar(&[file("f", "shared")]), Packing::Gzip);
    let image = |text: &str| build(&[shared.clone(), (tar(&[file("g", text)]), Packing::Gzip)]);
    let (old, new) = (place.add("old", &image("old")).await, place.add("new", &image("new")).await);
    let (pinned, excluded) = (place.add("pinned", &tiny("p")).await, place.add("excluded", &tiny("e")).await);
    for name in [&old, &pinned, &excluded] {
        place.age(name, HOUR * 48);
    }
    place.store.pin(&pinned, true).unwrap();
    assert_eq!(place.prune(PrunePolicy::default()).await, PruneReport::default(), "names stay by default");
    let policy = PrunePolicy { keep: vec![excluded.clone()], ..unused_for(HOUR * 24) };
    let planned = place.prune(PrunePolicy { dry_run: true, ..policy.clone() }).await;
    assert_eq!((planned.names.clone(), planned.layers, place.layers()), (vec![old.to_string()], 1, 5));
    assert_eq!(place.prune(policy).await, planned, "what was told is what is done");
    assert_eq!((place.names().len(), place.layers()), (3, 4));
    // A use makes a name young again; a new pull keeps the pin.
    assert!(place.store.cached(&excluded).unwrap().is_some());
    assert_eq!(place.prune(unused_for(HOUR * 24)).await.names, Vec::<String>::new());
    pull(&place.store, &pinned.to_string()).await.unwrap();
    assert_eq!(place.prune(unused_for(Duration::ZERO)).await.names.len(), 2);
    assert_eq!(place.names(), [pinned.to_string()]);
    place.store.pin(&pinned, false).unwrap();
    assert_eq!(place.prune(unused_for(Duration::ZERO)).await.names.len(), 1);
    assert_eq!(place.layers(), 0);
    assert!(matches!(place.store.pin(&new, true), Err(StoreError::NotFound { .. })));
}

/// The clock was wrong by years when it was used, and is right now.
#[tokio::test]
async fn a_use_in_a_time_to_come_counts_as_one_of_now() {
    if !is_root("a_use_in_a_time_to_come_counts_as_one_of_now") {
        return;
    }
    let place = Place::new().await;
    let name = place.add("early", &tiny("e")).await;
    let years = HOUR * 24 * 3650;
    let used = || std::fs::metadata(&list(&place.path("store/names"))[0]).unwrap().modified().unwrap();
    let file = std::fs::File::options().write(true).open(&list(&place.path("store/names"))[0]).unwrap();
    file.set_modified(SystemTime::now() + years).unwrap();
    let dry = PrunePolicy { dry_run: true, ..unused_for(HOUR) };
    assert_eq!(place.prune(dry).await.names.len(), 0);
    assert!(used() > SystemTime::now() + HOUR, "who only looks changes nothing");
    assert_eq!(place.prune(unused_for(HOUR)).await.names.len(), 0, "it is not known to be old");
    assert!(used() <= SystemTime::now(), "it begins to age");
    place.age(&name, HOUR * 2);
    assert_eq!(place.prune(unused_for(HOUR)).await.names, [name.to_string()]);
}

#[tokio::test]
async fn for_headroom_everything_unused_may_go() {
    if !is_root("for_headroom_everything_unused_may_go") {
        return;
    }
    let place = Place::new().await;
    let (idle, busy) = (place.add("idle", &tiny("i")).await, place.add("busy", &tiny("b")).await);
    let held = pull(&place.store, &busy.to_string()).await.unwrap();
    let headroom = |part| PrunePolicy { headroom: Some(part), ..PrunePolicy::default() };
    assert_eq!(place.prune(headroom(0.0)).await, PruneReport::default());
    // No file system is wholly free.
    let report = place.prune(headroom(1.0)).await;
    assert_eq!((report.names, report.in_use), (vec![idle.to_string()], vec![busy.to_string()]));
    let snapshot = place.store.snapshot(&held, &place.path("c")).unwrap();
    drop(held);
    let report = place.prune(headroom(1.0)).await;
    assert_eq!((report.names.len(), report.in_use), (0, vec![busy.to_string()]));
    snapshot.remove().unwrap();
    assert_eq!(place.prune(headroom(1.0)).await.names, [busy.to_string()]);
    assert_eq!(place.layers(), 0);
}

#[tokio::test]
async fn parts_of_blobs_go_when_they_are_old_or_space_is_wanted() {
    if !is_root("parts_of_blobs_go_when_they_are_old_or_space_is_wanted") {
        return;
    }
    let place = Place::new().await;
    let part = place.path("store/partial/sha256").join("a".repeat(64));
    std::fs::write(&part, "12345").unwrap();
    assert_eq!(place.prune(PrunePolicy::default()).await.partial_bytes, 0, "it may still be gone on with");
    let held = std::fs::File::open(&part).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    assert_eq!(place.prune(unused_for(Duration::ZERO)).await.partial_bytes, 0, "a download has it");
    drop(held);
    assert_eq!(place.prune(unused_for(Duration::ZERO)).await.partial_bytes, 5);
    std::fs::write(&part, "12345").unwrap();
    let file = std::fs::File::options().write(true).open(&part).unwrap();
    file.set_modified(SystemTime::now() - HOUR * 25).unwrap();
    assert_eq!(place.prune(PrunePolicy::default()).await.partial_bytes, 5);
    std::fs::write(&part, "12345").unwrap();
    let file = std::fs::File::options().write(true).open(&part).unwrap();
    file.set_modified(SystemTime::now() - HOUR * 24 * 8).unwrap();
    open(&place.path("store")).await;
    assert!(!part.exists(), "a week is long enough");
}

/// Launches (pull, root file system, a look at its files, removal) while two collectors, of this and of another opening
/// of the store, remove everything that nothing uses as fast as they can.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn collection_takes_nothing_from_a_launch() {
    if !is_root("collection_takes_nothing_from_a_launch") {
        return;
    }
    let place = Arc::new(Place::new().await);
    let layer = |text: &str| (tar(&[file(text, text)]), Packing::Gzip);
    let files = ["a", "b", "c", "d"];
    let mut images = Vec::new();
    for name in files {
        let built = build(&[layer("base"), layer(name)]);
        images.push((place.add(name, &built).await.to_string(), built.diff_ids[1].hex().to_owned()));
    }
    let (ended, collected) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let other = open(&place.path("store")).await;
    let collectors = [place.store.clone(), other].map(|store| {
        let (ended, collected) = (ended.clone(), collected.clone());
        tokio::spawn(async move {
            while !ended.load(Ordering::Relaxed) {
                let report = store.prune(unused_for(Duration::ZERO)).await.unwrap();
                collected.fetch_add(report.layers, Ordering::Relaxed);
            }
        })
    });
    let deadline = Instant::now() + Duration::from_secs(8);
    let launchers: Vec<_> = files
        .into_iter()
        .zip(images)
        .map(|(file, (name, layer))| {
            let place = place.clone();
            let layer = place.path("store/layers/sha256").join(layer);
            tokio::spawn(async move {
                let mut launched = 0;
                while Instant::now() < deadline {
                    let image = pull(&place.store, &name).await.unwrap();
                    let snapshot =
                        place.store.snapshot(&image, &place.path(&format!("c{file}-{launched}"))).unwrap();
                    drop(image);
                    tokio::task::yield_now().await;
                    for (lower, file) in snapshot.lower.iter().zip([file, "base"]) {
                        let found = std::fs::read_to_string(lower.join(file));
                        assert_eq!(found.unwrap_or_else(|e| panic!("{launched} {lower:?}: {e}")), file);
                    }
                    snapshot.remove().unwrap();
                    launched += 1;
                    // Half of the launches find their image gone, the others fight for it.
                    let patience = Instant::now() + Duration::from_secs(1);
                    while launched % 2 == 0 && layer.exists() && Instant::now() < patience {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
                launched
            })
        })
        .collect();
    let mut launched = 0;
    for launcher in launchers {
        launched += launcher.await.unwrap();
    }
    ended.store(true, Ordering::Relaxed);
    for collector in collectors {
        collector.await.unwrap();
    }
    let collected = collected.load(Ordering::Relaxed);
    println!("{launched} launches, {collected} layers collected");
    assert!(launched > 50 && collected > 50, "{launched} launches, {collected} layers collected");
    place.prune(unused_for(Duration::ZERO)).await;
    assert_eq!(place.layers(), 0);
}
