//! Registries and token services that fail for a moment: everything that is asked for is asked for again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use images::{Digest, ImageStore, LayerEvent, Limits, Progress, PullOptions, StoreConfig};

use crate::hostile::{big, lying};
use crate::kit::layout::{sha256, tiny};
use crate::kit::registry::free_port;
use crate::kit::server::{Answer, Request, Server, honest};
use crate::kit::{config, is_root, open, pull, quick, refusal};

/// What goes wrong with the first answer.
type Hiccup = fn(Answer) -> Answer;
/// Which request is meant.
type Picked = fn(&Request) -> bool;

const HICCUPS: [(&str, Hiccup); 3] = [
    ("cut", |answer| Answer { close_after: Some(answer.body.len() / 6), ..answer }),
    ("stalled in the midst", |answer| Answer { stall_after: Some(answer.body.len() / 6), ..answer }),
    ("an error", |_| Answer::new(503, "")),
];

/// A registry whose first answer to what `picked` says goes wrong. It wants tokens, which it gives itself.
fn hiccuping(picked: Picked, hiccup: Hiccup) -> Server {
    let (image, own) = (tiny("x"), Arc::new(OnceLock::<String>::new()));
    let (address, count) = (own.clone(), AtomicUsize::new(0));
    let server = Server::start(move |request| {
        let answer = if request.path.starts_with("/token") {
            Answer::new(200, r#"{"token":"t0ken"}"#)
        } else if request.authorization.as_deref() == Some("Bearer t0ken") {
            honest(&image, request)
        } else {
            let realm = format!(r#"Bearer realm="http://{}/token""#, address.get().unwrap());
            return Answer::new(401, "").header("WWW-Authenticate", realm);
        };
        if picked(request) && count.fetch_add(1, Ordering::Relaxed) == 0 { hiccup(answer) } else { answer }
    });
    own.set(server.address.clone()).unwrap();
    server
}

#[tokio::test]
async fn one_hiccup_fails_nothing() {
    if !is_root("one_hiccup_fails_nothing") {
        return;
    }
    let parts: [(&str, Picked); 3] = [
        ("/token", |request| request.path.starts_with("/token")),
        ("/manifests/", |request| request.path.contains("/manifests/")),
        ("/blobs/", |request| request.path.contains("/blobs/")),
    ];
    for (part, picked) in parts {
        for (what, hiccup) in HICCUPS {
            let server = hiccuping(picked, hiccup);
            let place = tempfile::tempdir().unwrap();
            let store = open(place.path()).await;
            pull(&store, &server.image("app"))
                .await
                .unwrap_or_else(|e| panic!("{part} {what}: {}", e.report()));
            let again = |request: &Request| request.path.contains(part) && request.authorization.is_some();
            let asked = server.requests().iter().filter(|r| again(r)).count();
            let usual = if part == "/blobs/" { 2 } else { 1 };
            let asked = if part == "/token" { server.count(part) } else { asked };
            assert_eq!(asked, usual + 1, "{part} {what}");
        }
    }
}

#[tokio::test]
async fn what_fails_again_and_again_ends_after_all_tries_together() {
    if !is_root("what_fails_again_and_again_ends_after_all_tries_together") {
        return;
    }
    // Each of them half the time: tries for the request and for its body are the same ones.
    let count = AtomicUsize::new(0);
    let image = tiny("x");
    let server = Server::start(move |request| match count.fetch_add(1, Ordering::Relaxed) % 2 {
        0 => Answer { close_after: Some(50), ..honest(&image, request) },
        _ => Answer::new(503, ""),
    });
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path()).await;
    let error = refusal(&store, &server.image("app")).await;
    assert!(error.contains("answers 503 for the manifest of app:latest"), "{error}");
    assert_eq!(server.requests().len() as u32, quick().retries + 1);
}

/// Starts a registry on a port when it was asked for in vain a few times.
struct Starts {
    port: u16,
    told: Mutex<Vec<(String, Duration)>>,
    started: Mutex<Option<Server>>,
}

impl Progress for Starts {
    fn layer(&self, _: &Digest, _: LayerEvent) {}

    fn waiting(&self, why: &str, pause: Duration) {
        let mut told = self.told.lock().unwrap();
        told.push((why.to_owned(), pause));
        let waited: Duration = told.iter().map(|(_, pause)| *pause).sum();
        let mut started = self.started.lock().unwrap();
        if waited > Duration::from_secs(3) && started.is_none() {
            let image = tiny("x");
            let address = format!("127.0.0.1:{}", self.port);
            *started = Some(Server::start_on(&address, move |request| honest(&image, request)));
        }
    }
}

#[tokio::test]
async fn a_registry_that_is_away_for_seconds_is_waited_for() {
    if !is_root("a_registry_that_is_away_for_seconds_is_waited_for") {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let store = ImageStore::open(StoreConfig { limits: Limits::default(), ..config(place.path()) }).await;
    let store = store.unwrap();
    let starts = Starts { port: free_port(), told: Mutex::default(), started: Mutex::default() };
    let starts = Arc::new(starts);
    let name = store.name(&format!("127.0.0.1:{}/app", starts.port)).unwrap();
    store.pull(&name, PullOptions::default(), starts.clone()).await.unwrap();
    let told = starts.told.lock().unwrap();
    assert!((4..8).contains(&told.len()), "{told:?}");
    assert!(told.iter().all(|(why, _)| why.contains("Connection refused")), "{told:?}");
}

#[tokio::test]
async fn a_body_without_a_length_that_ends_early_is_gone_on_with() {
    if !is_root("a_body_without_a_length_that_ends_early_is_gone_on_with") {
        return;
    }
    let image = big();
    let total = image.layers[1].len();
    let ranged = move |request: &Request, mut answer: Answer, most: usize| {
        answer.length = Some(None);
        let Some(range) = request.range.as_deref() else {
            return Answer { close_after: Some(most), ..answer };
        };
        let from: usize = range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap();
        let part = answer.body.split_off(from);
        let mut answer =
            Answer::new(206, part).header("Content-Range", format!("bytes {from}-{}/{total}", total - 1));
        answer.length = Some(None);
        Answer { close_after: Some(most), ..answer }
    };
    let server = lying(&image, move |request, answer| ranged(request, answer, (1 << 20) + 50_000));
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path()).await;
    assert_eq!(pull(&store, &server.image("app")).await.unwrap().manifest_digest, image.digest());
    let ranges: Vec<_> = server.requests().into_iter().filter_map(|r| r.range).collect();
    let ends = (1..).map(|times| times * ((1 << 20) + 50_000)).take_while(|end| *end < total);
    assert_eq!(ranges, ends.map(|end| format!("bytes={end}-")).collect::<Vec<_>>());

    // One that never sends more: what came of it is kept, and another pull goes on from there.
    let healed = Arc::new(AtomicUsize::new(0));
    let well = healed.clone();
    let server = lying(&image, move |request, answer| {
        let most = if well.load(Ordering::Relaxed) == 0 { 50_000 } else { usize::MAX };
        match request.range.is_some() && most == 50_000 {
            true => ranged(request, answer, 0),
            false => ranged(request, answer, most),
        }
    });
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path()).await;
    let error = refusal(&store, &server.image("app")).await;
    assert!(error.contains(&format!("sends 50000 bytes of {}", sha256(&image.layers[1]))), "{error}");
    assert_eq!(server.requests().iter().filter(|r| r.range.is_some()).count(), 3, "as often as it may be");
    healed.store(1, Ordering::Relaxed);
    pull(&store, &server.image("app")).await.unwrap();
    let last = server.requests().into_iter().rev().find_map(|r| r.range);
    assert_eq!(last.as_deref(), Some("bytes=50000-"));
}
