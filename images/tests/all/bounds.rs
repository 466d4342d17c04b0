//! What a pull may cost and what it need not: memory under bombs (threat I6), and time, since layers come side by side.

use std::fs;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use images::{ImageStore, Limits, StoreConfig};

use crate::hostile::big;
use crate::kit::layout::{Blobs, Built, OCI_MANIFEST, Packing, build, descriptor, gzip, sha256};
use crate::kit::server::{Server, honest};
use crate::kit::tars::{Member, file, noise, tar};
use crate::kit::{again, config, is_root, must_say, pull, quick, refusal};

/// What a hostile layer may cost on top of what an honest one does, in kilobytes.
const MOST_KB: u64 = 64 << 10;
/// Where the images of a measurement are.
const PLACE: &str = "TEPUI_TEST_BOMBS";

/// A line of this process' status, in kilobytes.
fn status(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_matches([':', ' ', '\t']).trim_end_matches(" kB").trim().parse().unwrap()
}

type Make = fn() -> Built;

/// Hostile images by what is wrong with them.
const BOMBS: [(&str, Make); 6] = [
    ("gzip", images_of::gzip_bomb),
    ("zstd", images_of::zstd_bomb),
    ("members", images_of::gzip_members),
    ("window", images_of::zstd_window),
    ("files", images_of::many_files),
    ("records", images_of::long_records),
];

/// Hostile images, kept small while they wait: packed blobs only.
mod images_of {
    use super::*;

    fn zeros(length: usize) -> Vec<u8> {
        tar(&[Member { data: vec![0; length], ..file("zeros", "") }])
    }

    pub fn gzip_bomb() -> Built {
        build(&[(zeros(300 << 20), Packing::Gzip)])
    }

    pub fn zstd_bomb() -> Built {
        build(&[(zeros(300 << 20), Packing::Zstd)])
    }

    /// Many small members of gzip, one after the other.
    pub fn gzip_members() -> Built {
        let plain = zeros(100 << 20);
        repacked(&plain, Packing::Gzip, plain.chunks(1 << 20).flat_map(gzip).collect())
    }

    /// A frame that wants a window of 256 MB.
    pub fn zstd_window() -> Built {
        let plain = zeros(100 << 20);
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(28).unwrap();
        std::io::Write::write_all(&mut encoder, &plain).unwrap();
        repacked(&plain, Packing::Zstd, encoder.finish().unwrap())
    }

    pub fn many_files() -> Built {
        let files: Vec<Member> = (0..200_000).map(|n| file(&format!("d/f{n}"), "")).collect();
        build(&[(tar(&files), Packing::Gzip)])
    }

    /// Extended headers of megabytes.
    pub fn long_records() -> Built {
        let member = |n: u64| file("x", "").pax("SCHILY.xattr.user.a", &noise(40 << 20, n));
        build(&[(tar(&[member(1)]), Packing::Gzip)])
    }

    fn repacked(plain: &[u8], packing: Packing, blob: Vec<u8>) -> Built {
        let mut built = build(&[(plain.to_vec(), packing)]);
        let before = descriptor(packing.media_type(), &built.layers[0]);
        built.layers[0] = blob;
        let after = descriptor(packing.media_type(), &built.layers[0]);
        built.manifest = String::from_utf8(built.manifest).unwrap().replace(&before, &after).into_bytes();
        built
    }
}

#[test]
fn bombs_take_little_memory() {
    if !is_root("bombs_take_little_memory") {
        return;
    }
    // Made here: what making them costs is none of the reader's cost.
    let place = tempfile::tempdir().unwrap();
    for (what, make) in BOMBS.into_iter().chain([("honest", big as Make)]) {
        let image = make();
        Blobs::of(&image).write(&place.path().join(what), "t", OCI_MANIFEST, &image.manifest);
    }
    let measured = again("bounds::measured", None, &[(PLACE, place.path().to_str().unwrap())]);
    println!("{}", must_say(measured, "every bomb was small"));
}

/// Runs as a process of its own, whose memory is nobody else's.
#[tokio::test]
async fn measured() {
    let Some(place) = std::env::var_os(PLACE).map(std::path::PathBuf::from) else { return };
    let limits = Limits { layer_bytes: 64 << 20, entries: 20_000, ..quick() };
    let store = ImageStore::open(StoreConfig { limits, ..config(&place.join("store")) }).await.unwrap();
    let name = |what: &str| format!("oci:{}:t", place.join(what).display());
    pull(&store, &name("honest")).await.unwrap();
    for (what, _) in BOMBS {
        // From now on the peak is counted anew.
        fs::write("/proc/self/clear_refs", "5").unwrap();
        let before = status("VmRSS");
        let error = refusal(&store, &name(what)).await;
        let cost = status("VmHWM").saturating_sub(before);
        println!("{what}: {cost} kB, {error}");
        assert!(cost <= MOST_KB, "{what} cost {cost} kB: {error}");
    }
    println!("every bomb was small");
}

/// Layers wait for each other in the registry: whoever asked for one after the other would wait for ever.
#[tokio::test]
async fn layers_come_side_by_side() {
    if !is_root("layers_come_side_by_side") {
        return;
    }
    let layer = |n: u64| (tar(&[Member { data: noise(1000, n), ..file("f", "") }]), Packing::Gzip);
    let image = build(&[layer(1), layer(2), layer(3), layer(4), layer(5)]);
    let wanted = Limits::default().parallel_layers;
    assert!(wanted > 1);
    let (asked, met) = (Arc::new((Mutex::new(0), Condvar::new())), Arc::new(Mutex::new(false)));
    let (counted, told) = (asked.clone(), met.clone());
    let layers: Vec<String> = image.layers.iter().map(|blob| sha256(blob).to_string()).collect();
    let server = Server::start(move |request| {
        if layers.iter().any(|digest| request.path.ends_with(digest.as_str())) {
            let (count, more) = &*counted;
            let mut count = count.lock().unwrap();
            *count += 1;
            more.notify_all();
            let (_count, late) =
                more.wait_timeout_while(count, Duration::from_secs(10), |count| *count < wanted).unwrap();
            *told.lock().unwrap() |= !late.timed_out();
        }
        honest(&image, request)
    });
    let place = tempfile::tempdir().unwrap();
    let limits = Limits { idle_timeout: Duration::from_secs(15), ..quick() };
    let store = ImageStore::open(StoreConfig { limits, ..config(place.path()) }).await.unwrap();
    pull(&store, &server.image("app")).await.unwrap();
    assert!(*met.lock().unwrap(), "no {wanted} layers were ever asked for at once");
    assert_eq!(*asked.0.lock().unwrap(), 5);
    // Nor are there more at once than was asked for: one at a time is one at a time.
    let single = Limits { parallel_layers: 1, ..quick() };
    let place = tempfile::tempdir().unwrap();
    let store = ImageStore::open(StoreConfig { limits: single, ..config(place.path()) }).await.unwrap();
    let busy = Arc::new(Mutex::new((0_usize, 0_usize)));
    let seen = busy.clone();
    let image = build(&[layer(6), layer(7), layer(8)]);
    let server = Server::start(move |request| {
        if request.path.contains("/blobs/") {
            seen.lock().unwrap().0 += 1;
            crate::kit::pause(Duration::from_millis(100));
            let mut seen = seen.lock().unwrap();
            seen.1 = seen.1.max(seen.0);
            seen.0 -= 1;
        }
        honest(&image, request)
    });
    pull(&store, &server.image("app")).await.unwrap();
    assert_eq!(busy.lock().unwrap().1, 1);
}
