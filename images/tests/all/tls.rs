//! A registry on the network: TLS, trust, and who may be spoken to without.
//!
//! The loopback is always spoken to in plain HTTP, so these run in a network of their own with another address.

use std::path::Path;

use images::{ImageStore, StoreConfig};

use crate::kit::layout::{Blobs, OCI_MANIFEST, tiny};
use crate::kit::registry::Registry;
use crate::kit::server::{Answer, Server, honest};
use crate::kit::{again, config, is_root, must_say, open, pull, refusal, run};

const HOST: &str = "10.99.88.77";

/// A certificate for the address, and the authority that signed it.
fn certificates(place: &Path) {
    let path = |name: &str| place.join(name).display().to_string();
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let authority = [
        "req",
        "-x509",
        "-days",
        "2",
        "-subj",
        "/CN=test authority",
        "-keyout",
        &path("ca.key"),
        "-out",
        &path("ca.pem"),
    ];
    run("openssl", &[&authority[..], &curve].concat());
    let request =
        ["req", "-new", "-subj", "/CN=registry", "-keyout", &path("key.pem"), "-out", &path("csr.pem")];
    run("openssl", &[&request[..], &curve].concat());
    std::fs::write(place.join("names"), format!("subjectAltName=IP:{HOST}\n")).unwrap();
    let sign = [
        "x509",
        "-req",
        "-days",
        "2",
        "-in",
        &path("csr.pem"),
        "-CA",
        &path("ca.pem"),
        "-CAkey",
        &path("ca.key"),
    ];
    run(
        "openssl",
        &[&sign[..], &["-CAcreateserial", "-extfile", &path("names"), "-out", &path("cert.pem")]].concat(),
    );
}

/// Not a test of its own: runs in a network of its own.
#[tokio::test]
async fn child() {
    let Ok(place) = std::env::var("TLS_PLACE") else { return };
    let place = Path::new(&place);
    match std::env::var("TLS_TRUST") {
        Ok(_) => trusted(place).await,
        Err(_) => untrusted(place).await,
    }
}

fn registry(place: &Path) -> Registry {
    let (certificate, key) = (place.join("cert.pem"), place.join("key.pem"));
    let tls = format!("  tls: {{certificate: {}, key: {}}}\n", certificate.display(), key.display());
    let registry = Registry::start_on(HOST, &tls);
    let (image, layout) = (tiny("tls"), tempfile::tempdir().unwrap());
    Blobs::of(&image).write(layout.path(), "t", OCI_MANIFEST, &image.manifest);
    registry.push_layout(layout.path(), "t", "app:v1", &[]);
    registry
}

async fn trusted(place: &Path) {
    let registry = registry(place);
    let store = open(&place.join("trusted")).await;
    assert_eq!(pull(&store, &registry.image("app:v1")).await.unwrap().manifest_digest, tiny("tls").digest());
    // A registry on the network may send us neither to plain HTTP nor to this machine.
    let inside = Server::start(|_| Answer::new(200, "secret"));
    let to = inside.address.clone();
    let listed =
        Server::start_on(&format!("{HOST}:0"), move |request| match request.path.contains("/manifests/") {
            true => Answer::redirect(format!("http://{to}/x")),
            false => Answer::new(404, ""),
        });
    let lists = |address: &str| StoreConfig {
        insecure_registries: vec![address.to_owned()],
        ..config(&place.join("listed"))
    };
    let store = ImageStore::open(lists(&listed.address)).await.unwrap();
    let error = refusal(&store, &listed.image("app")).await;
    assert!(error.contains("must not lead to this machine"), "{error}");
    assert!(inside.requests().is_empty());
    println!("TRUSTED DONE");
}

async fn untrusted(place: &Path) {
    let registry = registry(place);
    let store = open(&place.join("untrusted")).await;
    let error = refusal(&store, &registry.image("app:v1")).await;
    assert!(error.contains("cannot reach registry") && error.contains("certificate"), "{error}");
    // Without TLS only when the operator says so.
    let image = tiny("plain");
    let served = image.clone();
    let plain = Server::start_on(&format!("{HOST}:0"), move |request| honest(&served, request));
    let error = refusal(&store, &plain.image("app")).await;
    assert!(error.contains("--insecure_registries"), "{error}");
    assert!(plain.requests().is_empty(), "something was said in plain text");
    let insecure_registries = vec![plain.address.clone()];
    let store =
        ImageStore::open(StoreConfig { insecure_registries, ..config(&place.join("listed")) }).await.unwrap();
    assert_eq!(pull(&store, &plain.image("app")).await.unwrap().manifest_digest, image.digest());
    println!("UNTRUSTED DONE");
}

#[test]
fn registries_on_the_network_need_tls() {
    if !is_root("registries_on_the_network_need_tls") {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    certificates(place.path());
    let network = format!("ip link set lo up; ip address add {HOST}/32 dev lo");
    let (path, authority) =
        (place.path().display().to_string(), place.path().join("ca.pem").display().to_string());
    let with_trust = [("TLS_PLACE", path.as_str()), ("TLS_TRUST", "yes"), ("SSL_CERT_FILE", &authority)];
    must_say(again("tls::child", Some(&network), &with_trust), "TRUSTED DONE");
    must_say(again("tls::child", Some(&network), &with_trust[..1]), "UNTRUSTED DONE");
}
