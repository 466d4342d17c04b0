//! Pulls that are interrupted go on where they stopped, in front of a real registry, whatever comes in between
//! (threat I12).

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use images::{ImageStore, LayerEvent, Limits, PullOptions, StoreConfig};

use crate::kit::layout::{Built, Packing, build};
use crate::kit::proxy::{Fault, Proxy};
use crate::kit::registry::Registry;
use crate::kit::server::Request;
use crate::kit::tars::{Member, file, noise, tar};
use crate::kit::{
    Events, again, config, describe, eventually, is_root, leftovers, list, open, pull, quick, refusal,
};

/// One layer of some 200 kB.
fn image() -> Built {
    build(&[(tar(&[Member { data: noise(200_000, 5), ..file("data", "") }]), Packing::Gzip)])
}

fn half(image: &Built) -> usize {
    image.layers[0].len() / 2
}

fn is_layer(image: &Built, request: &Request) -> bool {
    request.path.contains(crate::kit::layout::sha256(&image.layers[0]).hex())
}

async fn with_retries(root: &Path, retries: u32) -> ImageStore {
    let limits = Limits { retries, ..quick() };
    ImageStore::open(StoreConfig { limits, ..config(root) }).await.unwrap()
}

fn partials(root: &Path) -> Vec<PathBuf> {
    list(&root.join("partial/sha256"))
}

/// The layer's file is what it should be.
fn is_whole(root: &Path, image: &Built) -> bool {
    let file = root.join("layers/sha256").join(image.diff_ids[0].hex()).join("fs/data");
    std::fs::read(file).is_ok_and(|data| data == noise(200_000, 5))
}

#[tokio::test]
async fn a_failed_pull_is_gone_on_with_after_a_restart() {
    if !is_root("a_failed_pull_is_gone_on_with_after_a_restart") {
        return;
    }
    let (registry, place, image) = (Registry::start(), tempfile::tempdir().unwrap(), image());
    registry.push(&image, "app:v1");
    let (layer, half) = (image.clone(), half(&image));
    let proxy = Proxy::start(&registry.address, move |request, before| {
        if is_layer(&layer, request) && before == 0 { Fault::Cut(half) } else { Fault::None }
    });
    let store = with_retries(place.path(), 0).await;
    let error = refusal(&store, &proxy.image("app:v1")).await;
    assert!(error.contains("broke after") || error.contains("cannot reach"), "{error}");
    assert_eq!(leftovers(place.path()), Vec::<PathBuf>::new());
    let kept = partials(place.path());
    assert_eq!((kept.len(), kept[0].metadata().unwrap().len()), (1, half as u64));
    drop(store);

    let store = with_retries(place.path(), 0).await;
    let events = Arc::new(Events::default());
    let name = store.name(&proxy.image("app:v1")).unwrap();
    store.pull(&name, PullOptions::default(), events.clone()).await.unwrap();
    let blob = crate::kit::layout::sha256(&image.layers[0]).to_string();
    assert_eq!(proxy.ranges(&blob), [None, Some(format!("bytes={half}-"))]);
    let total = image.layers[0].len() as u64;
    assert_eq!(events.count(LayerEvent::Fetching { done: half as u64, total }), 1, "progress begins anew");
    assert!(is_whole(place.path(), &image) && partials(place.path()).is_empty());
}

/// Not a test of its own: pulls until it is killed.
#[tokio::test]
async fn child() {
    let Ok(root) = std::env::var("RESUME_STORE") else { return };
    let store = open(Path::new(&root)).await;
    pull(&store, &std::env::var("RESUME_IMAGE").unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_killed_pull_is_gone_on_with() {
    if !is_root("a_killed_pull_is_gone_on_with") {
        return;
    }
    let (registry, place, image) = (Registry::start(), tempfile::tempdir().unwrap(), image());
    registry.push(&image, "app:v1");
    let (layer, half) = (image.clone(), half(&image));
    let proxy = Proxy::start(&registry.address, move |request, before| {
        if is_layer(&layer, request) && before == 0 { Fault::Stall(half) } else { Fault::None }
    });
    let root = place.path().display().to_string();
    let (name, environment) = (proxy.image("app:v1"), [("RESUME_STORE", root.as_str())]);
    let mut command = again("resume::child", None, &environment);
    command.env("RESUME_IMAGE", &name).stdout(Stdio::null()).stderr(Stdio::null());
    let mut process = command.spawn().unwrap();
    eventually("half of the blob is kept", || {
        partials(place.path()).first().is_some_and(|p| p.metadata().is_ok_and(|m| m.len() == half as u64))
    });
    process.kill().unwrap();
    process.wait().unwrap();
    let store = with_retries(place.path(), 0).await;
    pull(&store, &name).await.unwrap();
    let blob = crate::kit::layout::sha256(&image.layers[0]).to_string();
    assert_eq!(proxy.ranges(&blob).last().unwrap().as_deref(), Some(format!("bytes={half}-").as_str()));
    assert!(is_whole(place.path(), &image) && partials(place.path()).is_empty());
}

#[tokio::test]
async fn what_is_kept_is_never_believed() {
    if !is_root("what_is_kept_is_never_believed") {
        return;
    }
    let (registry, image) = (Registry::start(), image());
    registry.push(&image, "app:v1");
    let proxy = Proxy::start(&registry.address, |_, _| Fault::None);
    let (blob, half) = (crate::kit::layout::sha256(&image.layers[0]), half(&image));
    let whole = image.layers[0].len();
    for (what, kept) in [
        ("garbage", noise(half, 9)),
        ("garbage that is as long as the blob", noise(whole, 9)),
        ("more than the blob", noise(whole + 1, 9)),
        ("zeros, as a power failure leaves them", vec![0; half]),
        ("the true beginning with one wrong byte", {
            let mut bytes = image.layers[0][..half].to_vec();
            bytes[half / 2] ^= 1;
            bytes
        }),
        ("all of it", image.layers[0].clone()),
    ] {
        let place = tempfile::tempdir().unwrap();
        let store = with_retries(place.path(), 0).await;
        std::fs::write(place.path().join("partial/sha256").join(blob.hex()), kept).unwrap();
        pull(&store, &proxy.image("app:v1")).await.unwrap_or_else(|e| panic!("{what}: {}", e.report()));
        assert!(is_whole(place.path(), &image), "{what}");
        assert!(partials(place.path()).is_empty(), "{what}");
    }
    let asked = proxy.ranges(&blob.to_string());
    assert_eq!(asked.iter().filter(|range| range.is_some()).count(), 3, "{asked:?}");
    assert_eq!(
        asked.iter().filter(|range| range.is_none()).count(),
        5,
        "each once more as a whole: {asked:?}"
    );
}

#[tokio::test]
async fn servers_that_lie_about_ranges_do_no_harm() {
    if !is_root("servers_that_lie_about_ranges_do_no_harm") {
        return;
    }
    let (registry, image) = (Registry::start(), image());
    registry.push(&image, "app:v1");
    let (half, total) = (half(&image), image.layers[0].len());
    let other = noise(total - half, 77);
    for (what, fault) in [
        ("no ranges at all", Fault::NoRange),
        ("416", Fault::Status(416, "")),
        ("another range than asked for", Fault::ContentRange("bytes 1-2/3")),
        ("a range of something longer", Fault::ContentRange("bytes 0-9/99999999")),
        ("other bytes and another ETag", Fault::Body(other.clone(), "ETag: \"changed\"\r\n")),
        ("too many bytes", Fault::Body(noise(total, 1), "")),
        ("too few bytes", Fault::Body(noise(3, 1), "")),
    ] {
        let (layer, wrong) = (image.clone(), fault.clone());
        let proxy = Proxy::start(&registry.address, move |request, before| {
            match (is_layer(&layer, request), &request.range) {
                (true, None) if before == 0 => Fault::Cut(half),
                (true, Some(_)) => wrong.clone(),
                _ => Fault::None,
            }
        });
        let place = tempfile::tempdir().unwrap();
        let store = with_retries(place.path(), 2).await;
        pull(&store, &proxy.image("app:v1")).await.unwrap_or_else(|e| panic!("{what}: {}", e.report()));
        assert!(is_whole(place.path(), &image) && partials(place.path()).is_empty(), "{what}");
        let blob = crate::kit::layout::sha256(&image.layers[0]).to_string();
        let asked = proxy.ranges(&blob);
        assert!(asked[0].is_none() && asked[1].is_some() && asked.len() <= 4, "{what}: {asked:?}");
    }
}

#[tokio::test]
async fn a_long_blob_survives_more_interruptions_than_retries() {
    if !is_root("a_long_blob_survives_more_interruptions_than_retries") {
        return;
    }
    let data = noise(6 << 20, 3);
    let image = build(&[(tar(&[Member { data, ..file("data", "") }]), Packing::Plain)]);
    let (registry, place) = (Registry::start(), tempfile::tempdir().unwrap());
    registry.push(&image, "app:v1");
    let layer = image.clone();
    let proxy = Proxy::start(&registry.address, move |request, before| {
        if is_layer(&layer, request) && before < 5 { Fault::Cut((1 << 20) + 5000) } else { Fault::None }
    });
    let store = with_retries(place.path(), 1).await;
    let events = Arc::new(Events::default());
    let name = store.name(&proxy.image("app:v1")).unwrap();
    store.pull(&name, PullOptions::default(), events.clone()).await.unwrap();
    let waited =
        events.0.lock().unwrap().iter().filter(|(_, e)| matches!(e, LayerEvent::Waiting { .. })).count();
    assert_eq!(waited, 5, "each pause is told");
    let blob = crate::kit::layout::sha256(&image.layers[0]).to_string();
    assert_eq!(proxy.ranges(&blob).len(), 6);
}

#[tokio::test]
async fn only_what_may_pass_is_tried_again() {
    if !is_root("only_what_may_pass_is_tried_again") {
        return;
    }
    let (registry, image) = (Registry::start(), image());
    registry.push(&image, "app:v1");
    let tried = async |fault: Fault, times: usize| {
        let broken = fault.clone();
        let proxy =
            Proxy::start(
                &registry.address,
                move |_, before| {
                    if before < times { broken.clone() } else { Fault::None }
                },
            );
        let place = tempfile::tempdir().unwrap();
        let store = with_retries(place.path(), 3).await;
        let started = Instant::now();
        let outcome = pull(&store, &proxy.image("app:v1")).await.map_err(|error| error.report());
        (outcome.map(drop), proxy.ranges("/manifests/").len(), started.elapsed())
    };
    for status in [500, 502, 503, 504, 507, 429, 408] {
        let (outcome, asked, _) = tried(Fault::Status(status, ""), 2).await;
        assert_eq!((outcome, asked), (Ok(()), 3), "{status}");
    }
    let (outcome, asked, _) = tried(Fault::Hang, 2).await;
    assert_eq!((outcome, asked), (Ok(()), 3), "connections that end");
    for status in [400, 403, 404, 405, 410, 451, 501] {
        let (outcome, asked, _) = tried(Fault::Status(status, ""), 1).await;
        assert_eq!((outcome.is_err(), asked), (true, 1), "{status}");
    }
    let (outcome, asked, time) = tried(Fault::Status(429, "Retry-After: 1\r\n"), 1).await;
    assert_eq!((outcome, asked), (Ok(()), 2));
    assert!(time >= Duration::from_secs(3), "manifest, configuration and layer wait a second each: {time:?}");
    let (outcome, asked, _) = tried(Fault::Status(429, "Retry-After: 3600\r\n"), 9).await;
    assert!(outcome.as_ref().unwrap_err().contains("come back in 3600 s"), "{outcome:?}");
    assert_eq!(asked, 1, "an hour is too long to wait");
}

#[tokio::test]
async fn a_pull_ends_in_time_and_is_gone_on_with() {
    if !is_root("a_pull_ends_in_time_and_is_gone_on_with") {
        return;
    }
    let (registry, place, image) = (Registry::start(), tempfile::tempdir().unwrap(), image());
    registry.push(&image, "app:v1");
    let (layer, half) = (image.clone(), half(&image));
    let proxy = Proxy::start(&registry.address, move |request, before| {
        if is_layer(&layer, request) && before == 0 { Fault::Stall(half) } else { Fault::None }
    });
    let idle_timeout = Duration::from_secs(60);
    let limits = Limits { idle_timeout, pull_timeout: Duration::from_secs(1), ..quick() };
    let store = ImageStore::open(StoreConfig { limits, ..config(place.path()) }).await.unwrap();
    let started = Instant::now();
    let error = refusal(&store, &proxy.image("app:v1")).await;
    assert!(error.contains("within 1 s") && started.elapsed() < Duration::from_secs(10), "{error}");
    eventually("nothing half-made is left", || leftovers(place.path()).is_empty());
    drop(store);
    let store = open(place.path()).await;
    pull(&store, &proxy.image("app:v1")).await.unwrap();
    let blob = crate::kit::layout::sha256(&image.layers[0]).to_string();
    assert_eq!(proxy.ranges(&blob).last().unwrap().as_deref(), Some(format!("bytes={half}-").as_str()));
}

#[tokio::test]
async fn two_downloads_of_one_blob_do_not_share_what_is_kept() {
    if !is_root("two_downloads_of_one_blob_do_not_share_what_is_kept") {
        return;
    }
    let (registry, place, image) = (Registry::start(), tempfile::tempdir().unwrap(), image());
    registry.push(&image, "app:v1");
    // Another opening of the store is to the kernel what another process is.
    let stores = [open(place.path()).await, open(place.path()).await];
    let name = registry.image("app:v1");
    let (first, second) = tokio::join!(pull(&stores[0], &name), pull(&stores[1], &name));
    assert_eq!(first.unwrap().manifest_digest, second.unwrap().manifest_digest);
    assert!(is_whole(place.path(), &image) && partials(place.path()).is_empty());
    assert_eq!(describe(&place.path().join("partial/sha256")).len(), 1, "only the directory itself");
}
