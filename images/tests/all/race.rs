//! A process of the same user that exchanges folders for links in whatever is being unpacked, while two images with
//! layers in common are pulled (threat I4): nothing outside the store changes, nothing panics, and what was tampered with
//! is found. `SOAK=1` makes a thousand rounds of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use images::ImageStore;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::kit::layout::{Blobs, Built, OCI_MANIFEST, Packing, build};
use crate::kit::tars::{Member, dir, file, noise, symlink, tar};
use crate::kit::{again, config, describe, in_memory, is_root, list, pull};

/// Where the attacker is told to work, and what it wants to have changed.
const PREY: &str = "TEPUI_TEST_PREY";
const CANARY: &str = "TEPUI_TEST_CANARY";

/// Folders in folders with files in them, some of which belong to others or are links: much to be led astray with.
fn layer(number: u64) -> Vec<u8> {
    let mut members: Vec<Member> = Vec::new();
    for n in 0..60 {
        let folder = format!("t{}/a{n}/b", n % 4);
        members.push(dir(&format!("{folder}/")).mode(0o777).owner(5, 5));
        members.push(
            Member { data: noise(2000, number + n), ..file(&format!("{folder}/file"), "") }.mode(0o4755),
        );
        members.push(file(&format!("{folder}/new{number}"), "new").owner(7, 7));
        members.push(file(&format!("{folder}/.wh.gone"), ""));
        members.push(file(&format!("t{}/a{n}/.wh..wh..opq", n % 4), ""));
        members.push(symlink(&format!("{folder}/link"), "file"));
    }
    tar(&members)
}

fn image(numbers: &[u64]) -> Built {
    let layers: Vec<_> = numbers.iter().map(|number| (layer(*number), Packing::Gzip)).collect();
    build(&layers)
}

/// Runs as a process of its own, until it is killed.
#[test]
fn attacker() {
    let (Some(prey), Some(canary)) = (std::env::var_os(PREY), std::env::var_os(CANARY)) else { return };
    let (prey, canary) = (PathBuf::from(prey), PathBuf::from(canary));
    println!("attacking");
    loop {
        for store in list(&prey) {
            strike(&store.join("staging"), &canary, 0);
        }
    }
}

/// Exchanges every folder for a link to the canary, for a moment, and the other way round for links.
fn strike(folder: &Path, canary: &Path, depth: usize) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.to_string_lossy().ends_with("~") {
            continue;
        }
        let aside = path.with_extension("~");
        let target = if path.is_dir() { canary.to_owned() } else { canary.join("file") };
        // Whatever fails was somebody else's turn.
        if depth > 0 && std::os::unix::fs::symlink(&target, &aside).is_ok() {
            let _ = renameat_with(CWD, &path, CWD, &aside, RenameFlags::EXCHANGE);
            std::thread::yield_now();
            let _ = renameat_with(CWD, &path, CWD, &aside, RenameFlags::EXCHANGE);
            let _ = fs::remove_file(&aside);
        }
        if depth < 6 {
            strike(&path, canary, depth + 1);
        }
    }
}

struct Attack(Child);

impl Drop for Attack {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folders_that_turn_into_links_while_layers_are_unpacked() {
    if !is_root("folders_that_turn_into_links_while_layers_are_unpacked") {
        return;
    }
    let place = in_memory();
    let (prey, canary) = (place.path().join("prey"), place.path().join("canary"));
    fs::create_dir(&prey).unwrap();
    fs::create_dir_all(canary.join("b")).unwrap();
    fs::create_dir_all(canary.join("gone")).unwrap();
    fs::write(canary.join("file"), "alive").unwrap();
    fs::write(canary.join("b/file"), "alive").unwrap();
    let before = describe(&canary);
    // Two images with two layers in common.
    let (one, two) = (image(&[1, 2, 3]), image(&[1, 2, 4]));
    for (name, image) in [("one", &one), ("two", &two)] {
        Blobs::of(image).write(&place.path().join(name), "t", OCI_MANIFEST, &image.manifest);
    }
    let name = |name: &str| format!("oci:{}:t", place.path().join(name).display());
    let environment = [(PREY, prey.to_str().unwrap()), (CANARY, canary.to_str().unwrap())];
    let attack = Attack(
        again("race::attacker", None, &environment).stdout(std::process::Stdio::null()).spawn().unwrap(),
    );
    let soak = std::env::var_os("SOAK").is_some();
    let (rounds, limit) =
        if soak { (1000, Duration::from_secs(3600)) } else { (60, Duration::from_secs(12)) };
    let (start, mut whole, mut failed, mut damaged) = (Instant::now(), 0, 0, 0);
    for round in 0..rounds {
        if start.elapsed() > limit {
            break;
        }
        let root = prey.join(round.to_string());
        let store = ImageStore::open(config(&root)).await.unwrap();
        let (first, second) = (name("one"), name("two"));
        let (first, second) = tokio::join!(pull(&store, &first), pull(&store, &second));
        for outcome in [first, second] {
            match outcome {
                Ok(_) => whole += 1,
                Err(error) => {
                    let told = error.report();
                    assert!(told.contains("sha256:") || told.contains(root.to_str().unwrap()), "{told}");
                    failed += 1;
                }
            }
        }
        assert_eq!(describe(&canary), before, "round {round}: something outside changed");
        for layer in list(&root.join("layers/sha256")) {
            assert!(layer.symlink_metadata().unwrap().is_dir(), "{} is no folder", layer.display());
        }
        damaged += verified(&store).await;
        drop(store);
        let _ = images::remove_tree(&root);
        assert_eq!(describe(&canary), before, "round {round}: something outside was removed");
    }
    assert!(attack.0.id() > 0);
    drop(attack);
    println!("{whole} pulled, {failed} failed, {damaged} layers found damaged, in {:?}", start.elapsed());
    assert!(whole + failed >= 10, "only {} pulls", whole + failed);
    // Without the attacker all is as ever.
    let store = ImageStore::open(config(&prey.join("after"))).await.unwrap();
    pull(&store, &name("one")).await.unwrap();
    assert_eq!(verified(&store).await, 0);
}

/// Layers that are not what they were when they were unpacked.
async fn verified(store: &ImageStore) -> usize {
    store.verify(false).await.map_or(0, |report| report.problems.len())
}
