//! Registries that stall, break off, or ask to come back later (threat I12).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use images::{ImageStore, Limits, StoreConfig};

use crate::hostile::{big, lying, refused};
use crate::kit::layout::tiny;
use crate::kit::server::{Answer, Server, honest};
use crate::kit::tars::noise;
use crate::kit::{config, eventually, is_root, open, pull, quick, refusal};

#[tokio::test]
async fn stalls_end_and_do_not_hold_up_others() {
    if !is_root("stalls_end_and_do_not_hold_up_others") {
        return;
    }
    let image = big();
    let place = tempfile::tempdir().unwrap();
    let limits = Limits { retries: 1, ..quick() };
    let store = ImageStore::open(StoreConfig { limits, ..config(place.path()) }).await.unwrap();
    let at_99_percent = image.layers[1].len() * 99 / 100;
    let stalling = lying(&image, move |_, mut a| {
        a.stall_after = Some(at_99_percent);
        a
    });
    let silent = Server::start(|_| {
        let mut a = Answer::new(200, "x");
        a.stall_after = Some(0);
        a.length = Some(Some(9));
        a
    });
    let good = lying(&tiny("fine"), |_, a| a);
    let started = Instant::now();
    let (stalled, quiet) = (stalling.image("app"), silent.image("app"));
    let slow = refusal(&store, &stalled);
    let fast = async {
        pull(&store, &good.image("app")).await.unwrap();
        started.elapsed()
    };
    let (slow, mute, fast) = tokio::join!(slow, refusal(&store, &quiet), fast);
    assert!(fast < Duration::from_millis(900), "another pull waited: {fast:?}");
    assert!(slow.contains("stalls") && slow.contains("bytes of sha256"), "{slow}");
    assert!(mute.contains("stalls"), "{mute}");
    assert!(started.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn a_trickle_counts_as_a_stall() {
    if !is_root("a_trickle_counts_as_a_stall") {
        return;
    }
    use std::io::{Read as _, Write as _};
    let image = big();
    let layer = image.layers[1].clone();
    // Bytes in small pieces need a server of their own.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let trickle = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let layer = layer.clone();
            std::thread::spawn(move || {
                let mut connection = connection;
                let _ = connection.read(&mut [0; 4096]);
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", layer.len());
                let _ = connection.write_all(head.as_bytes());
                for byte in layer.chunks(1) {
                    if connection.write_all(byte).is_err() {
                        return;
                    }
                    crate::kit::pause(Duration::from_millis(50));
                }
            });
        }
    });
    let server =
        lying(&image, move |request, _| Answer::redirect(format!("http://{trickle}{}", request.path)));
    let place = tempfile::tempdir().unwrap();
    let limits = Limits { retries: 0, ..quick() };
    let store = ImageStore::open(StoreConfig { limits, ..config(place.path()) }).await.unwrap();
    let started = Instant::now();
    let error = refusal(&store, &server.image("app")).await;
    assert!(error.contains("fewer than 1024 in 1 s"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(8));
}

#[tokio::test]
async fn broken_connections_are_resumed_and_verified_as_one() {
    if !is_root("broken_connections_are_resumed_and_verified_as_one") {
        return;
    }
    let image = big();
    let half = image.layers[1].len() / 2;
    // A server that knows ranges.
    let ranged = lying(&image, move |request, mut answer| match request.range.as_deref() {
        Some(range) => {
            let from: usize = range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap();
            let total = answer.body.len();
            let part = answer.body.split_off(from);
            Answer::new(206, part).header("Content-Range", format!("bytes {from}-{}/{total}", total - 1))
        }
        None => {
            answer.close_after = Some(half);
            answer
        }
    });
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path()).await;
    assert_eq!(pull(&store, &ranged.image("app")).await.unwrap().manifest_digest, image.digest());
    let ranges: Vec<_> = ranged.requests().into_iter().filter_map(|r| r.range).collect();
    assert_eq!(ranges, [format!("bytes={half}-")]);

    // One that does not, and sends everything again.
    let count = AtomicUsize::new(0);
    let plain = lying(&image, move |_, mut answer| {
        if count.fetch_add(1, Ordering::Relaxed) == 0 {
            answer.close_after = Some(half);
        }
        answer
    });
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path()).await;
    assert_eq!(pull(&store, &plain.image("app")).await.unwrap().manifest_digest, image.digest());

    // One whose second half belongs to something else.
    let mixed = lying(&image, move |request, mut answer| match request.range.as_deref() {
        Some(_) => {
            let total = answer.body.len();
            let part = noise(total - half, 77);
            Answer::new(206, part).header("Content-Range", format!("bytes {half}-{}/{total}", total - 1))
        }
        None => {
            answer.close_after = Some(half);
            answer
        }
    });
    refused(&mixed, "layer sha256:").await;
    // One that answers another range than it was asked for, and breaks off whenever it is asked for all.
    let shifted = lying(&image, move |request, mut answer| match request.range.as_deref() {
        Some(_) => Answer::new(206, answer.body.split_off(1)).header("Content-Range", "bytes 1-2/3"),
        None => {
            answer.close_after = Some(half);
            answer
        }
    });
    refused(&shifted, "broke after").await;
}

#[tokio::test]
async fn busy_registries_are_asked_again() {
    if !is_root("busy_registries_are_asked_again") {
        return;
    }
    let (image, count) = (tiny("x"), Arc::new(AtomicUsize::new(0)));
    let counter = count.clone();
    let server = Server::start(move |request| match counter.fetch_add(1, Ordering::Relaxed) % 3 {
        0 => Answer::new(429, "").header("Retry-After", "0"),
        1 => Answer::new(503, ""),
        _ => honest(&image, request),
    });
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path()).await;
    pull(&store, &server.image("app")).await.unwrap();
    assert_eq!(count.load(Ordering::Relaxed), 9, "manifest, configuration and layer, three times each");

    let down = Server::start(|_| Answer::new(503, ""));
    refused(&down, "answers 503 for the manifest of app:latest").await;
    assert_eq!(down.requests().len(), 4);
    let later = Server::start(|_| Answer::new(429, "").header("Retry-After", "3600"));
    refused(&later, "answers 429").await;
    assert_eq!(later.requests().len(), 1);
}

#[tokio::test]
async fn a_pull_that_nobody_waits_for_stops_and_cleans_up() {
    if !is_root("a_pull_that_nobody_waits_for_stops_and_cleans_up") {
        return;
    }
    let image = big();
    let most = image.layers[1].len() - 10;
    let server = lying(&image, move |_, mut a| {
        a.stall_after = Some(most);
        a
    });
    let place = tempfile::tempdir().unwrap();
    let limits = Limits { idle_timeout: Duration::from_secs(60), ..quick() };
    let store = ImageStore::open(StoreConfig { limits, ..config(place.path()) }).await.unwrap();
    let staged = || {
        let sessions = crate::kit::list(&place.path().join("staging"));
        sessions.iter().map(|session| crate::kit::list(session).len()).sum::<usize>()
    };
    let name = server.image("app");
    let mut first = Box::pin(pull(&store, &name));
    while staged() == 0 || server.count("/blobs/") < 3 {
        let step = tokio::time::timeout(Duration::from_millis(20), &mut first).await;
        assert!(step.is_err(), "{step:?}");
    }
    let mut second = Box::pin(pull(&store, &name));
    assert!(tokio::time::timeout(Duration::from_millis(20), &mut second).await.is_err());
    drop(first);
    assert!(tokio::time::timeout(Duration::from_millis(20), &mut second).await.is_err());
    assert!(staged() > 0, "somebody still waits");
    assert_eq!(server.count("/manifests/"), 1, "the second pull joined the first");
    drop(second);
    eventually("the half-made layers are gone", || staged() == 0);
}
