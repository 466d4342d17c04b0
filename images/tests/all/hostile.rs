//! Registries that lie, cut and bloat (threats I6, I7, I9, I10).

use std::path::PathBuf;

use images::{ImageStore, Limits, StoreConfig};

use crate::kit::layout::{
    Built, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, Packing, build, config as image_config, descriptor, gzip,
    sha256, tiny,
};
use crate::kit::server::{Answer, Request, Server, honest};
use crate::kit::tars::{file, noise, tar};
use crate::kit::{config, is_root, leftovers, open, pull, quick, refusal};

pub fn big() -> Built {
    let member = crate::kit::tars::Member { data: noise(3 << 20, 1), ..file("big", "") };
    build(&[(tar(&[file("small", "s")]), Packing::Gzip), (tar(&[member]), Packing::Gzip)])
}

fn is_layer(image: &Built, request: &Request) -> bool {
    request.path.ends_with(&sha256(image.layers.last().unwrap()).to_string())
}

/// Serves the image, except that `change` is applied to the answers for its last layer.
pub fn lying(image: &Built, change: impl Fn(&Request, Answer) -> Answer + Send + Sync + 'static) -> Server {
    let image = image.clone();
    Server::start(move |request| {
        let answer = honest(&image, request);
        if is_layer(&image, request) { change(request, answer) } else { answer }
    })
}

pub async fn refused(server: &Server, expected: &str) {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path()).await;
    let error = refusal(&store, &server.image("app")).await;
    assert!(error.contains(expected), "{expected:?} is not in {error:?}");
    assert!(error.contains(&server.address), "{error}");
    let left: Vec<PathBuf> = leftovers(place.path())
        .into_iter()
        .filter(|path| path.starts_with(place.path().join("staging")))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(store.list().unwrap().is_empty());
    assert!(store.cached(&store.name(&server.image("app")).unwrap()).unwrap().is_none());
}

#[tokio::test]
async fn blobs_that_are_not_what_the_manifest_says() {
    if !is_root("blobs_that_are_not_what_the_manifest_says") {
        return;
    }
    let image = big();
    // a) cut short, with an honest length and with a lying one
    refused(
        &lying(&image, |_, mut a| {
            a.body.truncate(1000);
            a
        }),
        "sends 1000 bytes of sha256:",
    )
    .await;
    refused(
        &lying(&image, |_, mut a| {
            a.body.truncate(1000);
            a.length = Some(None);
            a
        }),
        "sends 1000 bytes of",
    )
    .await;
    refused(
        &lying(&image, |_, mut a| {
            a.close_after = Some(1000);
            a
        }),
        "broke after 1000 of",
    )
    .await;
    // b) something appended
    refused(
        &lying(&image, |_, mut a| {
            a.body.extend([0; 9]);
            a.length = Some(None);
            a
        }),
        "its manifest says",
    )
    .await;
    // c) another layer of the same length, and one flipped bit
    refused(
        &lying(&image, |_, mut a| {
            let n = a.body.len();
            a.body[n / 2] ^= 1;
            a
        }),
        "layer sha256:",
    )
    .await;
    let plain = build(&[(tar(&[file("f", "right")]), Packing::Plain)]);
    let other = tar(&[file("f", "wrong")]);
    refused(&lying(&plain, move |_, _| Answer::new(200, other.clone())), "its content has digest").await;
    // d) the length header lies
    refused(
        &lying(&image, |_, mut a| {
            a.length = Some(Some(5));
            a
        }),
        "sends 5 bytes of",
    )
    .await;
    let huge = |_: &Request, mut a: Answer| {
        a.length = Some(Some(u64::MAX / 2));
        a
    };
    refused(&lying(&image, huge), "its manifest says").await;
    // a blob that is not there
    refused(&lying(&image, |_, _| Answer::new(404, "")), "push the image again").await;
    let denied = r#"{"errors":[{"code":"WEIRD","message":"a\u0000\u001b[31mb"}]}"#;
    refused(&lying(&image, move |_, _| Answer::new(418, denied)), "answers 418 for sha256").await;
}

#[tokio::test]
async fn documents_that_are_not_what_they_are_called() {
    if !is_root("documents_that_are_not_what_they_are_called") {
        return;
    }
    // e) the configuration names another tar than the layer is
    let wrong_diff_id = |tamper: fn(&mut Built)| {
        let mut image = tiny("x");
        let before = descriptor(OCI_CONFIG, &image.config);
        tamper(&mut image);
        let text = String::from_utf8(image.manifest.clone()).unwrap();
        image.manifest = text.replace(&before, &descriptor(OCI_CONFIG, &image.config)).into_bytes();
        image
    };
    let image = wrong_diff_id(|image| image.config = image_config(&[sha256(b"something else")]));
    refused(&lying(&image, |_, a| a), "the image configuration says").await;
    let image = wrong_diff_id(|image| image.config = image_config(&[]));
    refused(&lying(&image, |_, a| a), "1 layers, the configuration names 0").await;
    let image = wrong_diff_id(|image| image.config = b"{}".to_vec());
    refused(&lying(&image, |_, a| a), "image configuration is malformed").await;

    // f) the manifest against the header, and against the digest that was asked for
    let image = tiny("x");
    let served = image.clone();
    let server = Server::start(move |request| {
        let answer = honest(&served, request);
        let lie = format!("sha256:{}", "0".repeat(64));
        match request.path.contains("/manifests/") {
            true => Answer::new(200, answer.body)
                .header("Content-Type", OCI_MANIFEST)
                .header("Docker-Content-Digest", lie),
            false => answer,
        }
    });
    refused(&server, "but calls it sha256:0000").await;
    let (other, place) = (tiny("other"), tempfile::tempdir().unwrap());
    let server =
        Server::start(move |_| Answer::new(200, other.manifest.clone()).header("Content-Type", OCI_MANIFEST));
    let store = open(place.path()).await;
    let error = refusal(&store, &server.image(&format!("app@{}", image.digest()))).await;
    assert!(error.contains("its manifest has digest") && error.contains("damaged or lies"), "{error}");

    // the configuration blob against its digest and size
    let image = tiny("x");
    let wanted = sha256(&image.config).to_string();
    let served = image.clone();
    let server = Server::start(move |request| match request.path.ends_with(&wanted) {
        true => Answer::new(200, vec![b' '; served.config.len()]),
        false => honest(&served, request),
    });
    refused(&server, "its configuration has digest").await;
}

#[tokio::test]
async fn indexes_and_manifests_without_end() {
    if !is_root("indexes_and_manifests_without_end") {
        return;
    }
    // An index that leads to itself can't be made, one that leads to ever new ones can.
    let mut documents = vec![tiny("x").manifest];
    for _ in 0..6 {
        let inner = documents.last().unwrap();
        let media_type = if documents.len() == 1 { OCI_MANIFEST } else { OCI_INDEX };
        documents.push(
            format!(
                r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{}]}}"#,
                descriptor(media_type, inner)
            )
            .into_bytes(),
        );
    }
    let top = documents.last().unwrap().clone();
    let server = Server::start(move |request| {
        let found = documents.iter().find(|d| request.path.ends_with(&sha256(d).to_string())).unwrap_or(&top);
        let media_type = if found.windows(9).any(|w| w == b"manifests") { OCI_INDEX } else { OCI_MANIFEST };
        Answer::new(200, found.clone()).header("Content-Type", media_type)
    });
    refused(&server, "nested deeper than 2").await;
    assert!(server.requests().len() < 10, "{}", server.requests().len());

    let endless =
        Server::start(|_| Answer::new(200, vec![b'['; 5 << 20]).header("Content-Type", OCI_MANIFEST));
    refused(&endless, "more than 4194304 bytes").await;
    let unannounced = Server::start(|_| {
        let mut answer = Answer::new(200, vec![b' '; 5 << 20]).header("Content-Type", OCI_MANIFEST);
        answer.length = Some(None);
        answer
    });
    refused(&unannounced, "more than 4194304 bytes").await;
    let many = vec![descriptor("application/vnd.oci.image.layer.v1.tar+gzip", b"x"); 1001].join(",");
    let body =
        format!(r#"{{"schemaVersion":2,"config":{},"layers":[{many}]}}"#, descriptor(OCI_CONFIG, b"x"));
    let server = Server::start(move |_| Answer::new(200, body.clone()).header("Content-Type", OCI_MANIFEST));
    refused(&server, "1001 layers").await;
    let config = format!(r#"{{"mediaType":"{OCI_CONFIG}","digest":"{}","size":99999999}}"#, sha256(b""));
    let body = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[]}}"#);
    let server = Server::start(move |_| Answer::new(200, body.clone()).header("Content-Type", OCI_MANIFEST));
    refused(&server, "its configuration has 99999999 bytes").await;
}

#[tokio::test]
async fn bombs_end_in_bounded_space() {
    if !is_root("bombs_end_in_bounded_space") {
        return;
    }
    let zeros = |length: usize| crate::kit::tars::Member { data: vec![0; length], ..file("zeros", "") };
    let (bomb, place) = (tar(&[zeros(64 << 20)]), tempfile::tempdir().unwrap());
    let limits = Limits { layer_bytes: 8 << 20, ..quick() };
    let store = ImageStore::open(StoreConfig { limits, ..config(place.path()) }).await.unwrap();
    for packing in [Packing::Gzip, Packing::Zstd] {
        let server = lying(&build(&[(bomb.clone(), packing)]), |_, a| a);
        let error = refusal(&store, &server.image("app")).await;
        assert!(error.contains("more than 8388608 bytes"), "{error}");
    }
    // Members of a gzip one after the other count together.
    let mut many = build(&[(bomb.clone(), Packing::Gzip)]);
    let before = descriptor(Packing::Gzip.media_type(), &many.layers[0]);
    many.layers[0] = bomb.chunks(1 << 20).flat_map(gzip).collect();
    let after = descriptor(Packing::Gzip.media_type(), &many.layers[0]);
    many.manifest = String::from_utf8(many.manifest).unwrap().replace(&before, &after).into_bytes();
    let server = lying(&many, |_, a| a);
    let error = refusal(&store, &server.image("app")).await;
    assert!(error.contains("more than 8388608 bytes"), "{error}");
    // Far more than the blob explains, although less than the largest layer.
    let limits = Limits { ratio: 50, ratio_floor: 4 << 20, ..quick() };
    let wary = ImageStore::open(StoreConfig { limits, ..config(&place.path().join("3")) }).await.unwrap();
    let server = lying(&build(&[(bomb.clone(), Packing::Gzip)]), |_, a| a);
    let error = refusal(&wary, &server.image("app")).await;
    assert!(error.contains("far more than its size explains"), "{error}");
    // Layers that are allowed one by one, but not together.
    let limits = Limits { image_bytes: 3 << 20, ..quick() };
    let together = ImageStore::open(StoreConfig { limits, ..config(&place.path().join("2")) }).await.unwrap();
    let one = |n: usize| (tar(&[zeros((2 << 20) + n)]), Packing::Gzip);
    let server = lying(&build(&[one(1), one(2)]), |_, a| a);
    let error = refusal(&together, &server.image("app")).await;
    assert!(error.contains("together with the image's other layers"), "{error}");
    // A zstd frame that wants two gigabytes of memory.
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(28).unwrap();
    std::io::Write::write_all(&mut encoder, &bomb).unwrap();
    let mut window = build(&[(bomb, Packing::Zstd)]);
    let before = descriptor(Packing::Zstd.media_type(), &window.layers[0]);
    window.layers[0] = encoder.finish().unwrap();
    let after = descriptor(Packing::Zstd.media_type(), &window.layers[0]);
    window.manifest = String::from_utf8(window.manifest).unwrap().replace(&before, &after).into_bytes();
    let server = lying(&window, |_, a| a);
    let error = refusal(&store, &server.image("app")).await;
    assert!(error.contains("could not be decompressed"), "{error}");
    assert!(leftovers(place.path()).is_empty());
}

#[tokio::test]
async fn foreign_urls_are_never_asked() {
    if !is_root("foreign_urls_are_never_asked") {
        return;
    }
    let elsewhere = Server::start(|_| Answer::new(200, "gotcha"));
    let mut image = tiny("x");
    let plain = descriptor(Packing::Gzip.media_type(), &image.layers[0]);
    let foreign = plain
        .replace('}', &format!(r#","urls":["http://{}/layer"]}}"#, elsewhere.address))
        .replace(Packing::Gzip.media_type(), "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip");
    image.manifest = String::from_utf8(image.manifest).unwrap().replace(&plain, &foreign).into_bytes();
    let served = image.clone();
    let server = Server::start(move |request| honest(&served, request));
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path()).await;
    pull(&store, &server.image("app")).await.unwrap();
    assert!(elsewhere.requests().is_empty());
}
