//! Mirrors: asked in their order before the registry, believed no more than it, and given no login but their own.

use images::{DockerConfig, ImageStore, StoreConfig};

use crate::kit::layout::{Built, Packing, build, tiny};
use crate::kit::proxy::{Fault, Proxy};
use crate::kit::registry::{Registry, free_port};
use crate::kit::server::{Answer, Server, honest};
use crate::kit::tars::{Member, file, noise, tar};
use crate::kit::{config, is_root, pull, refusal};

/// A store that asks `mirrors` before the registry at `origin`; loopback addresses need no scheme.
async fn store(place: &std::path::Path, origin: &str, mirrors: &[&str], logins: &str) -> ImageStore {
    let mirrors = format!("{origin}={}", mirrors.join(",")).parse().unwrap();
    let docker_config = Some(DockerConfig::parse(&format!(r#"{{"auths":{{{logins}}}}}"#)).unwrap());
    ImageStore::open(StoreConfig { mirrors, docker_config, ..config(place) }).await.unwrap()
}

fn large() -> Built {
    build(&[(tar(&[Member { data: noise(300_000, 8), ..file("data", "") }]), Packing::Gzip)])
}

#[tokio::test]
async fn the_first_mirror_that_has_it_serves_it() {
    if !is_root("the_first_mirror_that_has_it_serves_it") {
        return;
    }
    let (origin, real, place) = (Registry::start(), Registry::start(), tempfile::tempdir().unwrap());
    let image = tiny("mirrored");
    real.push(&image, "proxy/hub/team/app:v1");
    let mirror = Proxy::start(&real.address, |_, _| Fault::None);
    let empty = Server::start(|_| Answer::new(404, ""));
    let dead = format!("127.0.0.1:{}", free_port());
    let with_path = format!("http://{}/proxy/hub", mirror.address);
    let store = store(place.path(), &origin.address, &[&dead, &empty.address, &with_path], "").await;
    let pulled = pull(&store, &origin.image("team/app:v1")).await.unwrap();
    assert_eq!(pulled.manifest_digest, image.digest());
    assert_eq!(origin.requests("/v2/"), 0, "the registry itself need not be there");
    assert!(empty.count("/v2/team/app/manifests/v1") == 1 && empty.count("/blobs/") > 0);
    assert!(mirror.requests().iter().all(|request| request.path.starts_with("/v2/proxy/hub/team/app/")));
    assert_eq!(store.list().unwrap()[0].name, origin.image("team/app:v1"), "the name stays the registry's");
}

#[tokio::test]
async fn mirrors_that_fail_or_lie_are_passed_over() {
    if !is_root("mirrors_that_fail_or_lie_are_passed_over") {
        return;
    }
    let (origin, image) = (Registry::start(), large());
    origin.push(&image, "app:v1");
    let half = image.layers[0].len() / 2;
    let (total, layer) = (image.layers[0].len(), crate::kit::layout::sha256(&image.layers[0]).to_string());
    let on_layer =
        |fault: Fault| {
            let layer = layer.clone();
            Proxy::start(&origin.address, move |request, _| {
                if request.path.contains(&layer) { fault.clone() } else { Fault::None }
            })
        };
    for (what, mirror) in [
        ("always 500", Proxy::start(&origin.address, |_, _| Fault::Status(500, ""))),
        ("refuses", Proxy::start(&origin.address, |_, _| Fault::Status(403, ""))),
        (
            "wants a login",
            Proxy::start(&origin.address, |_, _| {
                Fault::Status(401, "WWW-Authenticate: Basic realm=\"r\"\r\n")
            }),
        ),
        ("other bytes of the same length", on_layer(Fault::Body(noise(total, 2), ""))),
        ("breaks off each time", on_layer(Fault::Cut(half))),
        (
            "another manifest",
            Proxy::start(&origin.address, |request, _| match request.path.contains("/manifests/") {
                true => Fault::Body(b"{}".to_vec(), "Docker-Content-Digest: sha256:0\r\n"),
                false => Fault::None,
            }),
        ),
    ] {
        let place = tempfile::tempdir().unwrap();
        let store = store(place.path(), &origin.address, &[&mirror.address], "").await;
        let pulled =
            pull(&store, &origin.image("app:v1")).await.unwrap_or_else(|e| panic!("{what}: {}", e.report()));
        assert_eq!(pulled.manifest_digest, image.digest(), "{what}");
        assert!(!mirror.requests().is_empty(), "{what}");
    }
    let missing = tempfile::tempdir().unwrap();
    let mirror = Server::start(|_| Answer::new(404, ""));
    let store = store(missing.path(), &origin.address, &[&mirror.address], "").await;
    let error = refusal(&store, &origin.image("app:gone")).await;
    assert!(error.contains("no mirror of registry") && error.contains(&mirror.address), "{error}");
    assert!(error.contains(&format!("registry {} has no image app:gone", origin.address)), "{error}");
}

#[tokio::test]
async fn a_download_that_a_mirror_began_is_ended_by_the_registry() {
    if !is_root("a_download_that_a_mirror_began_is_ended_by_the_registry") {
        return;
    }
    let (registry, image, place) = (Registry::start(), large(), tempfile::tempdir().unwrap());
    registry.push(&image, "app:v1");
    let (half, layer) = (image.layers[0].len() / 2, crate::kit::layout::sha256(&image.layers[0]).to_string());
    let of = layer.clone();
    let mirror =
        Proxy::start(&registry.address, move |request, before| match (request.path.contains(&of), before) {
            (true, 0) => Fault::Cut(half),
            (true, _) => Fault::Status(503, ""),
            _ => Fault::None,
        });
    let origin = Proxy::start(&registry.address, |_, _| Fault::None);
    let store = store(place.path(), &origin.address, &[&mirror.address], "").await;
    pull(&store, &origin.image("app:v1")).await.unwrap();
    assert_eq!(origin.ranges(&layer), [Some(format!("bytes={half}-"))]);
    assert_eq!(origin.ranges("/manifests/").len(), 0);
}

#[tokio::test]
async fn each_server_gets_its_own_login_only() {
    if !is_root("each_server_gets_its_own_login_only") {
        return;
    }
    let image = tiny("x");
    let guarded = |login: &'static str, image: Option<Built>| {
        Server::start(move |request| match (&request.authorization, &image) {
            (None, _) => Answer::new(401, "").header("WWW-Authenticate", r#"Basic realm="r""#),
            (Some(header), Some(image)) if header == login => honest(image, request),
            _ => Answer::new(404, ""),
        })
    };
    // base64 of m:m and o:o
    let (mirror, origin) = (guarded("Basic bTpt", None), guarded("Basic bzpv", Some(image)));
    let anonymous = Server::start(|_| Answer::new(401, "").header("WWW-Authenticate", r#"Basic realm="r""#));
    let logins = format!(r#""{}":{{"auth":"bTpt"}},"{}":{{"auth":"bzpv"}}"#, mirror.address, origin.address);
    let place = tempfile::tempdir().unwrap();
    let mirrors = [mirror.address.as_str(), &anonymous.address];
    let store = store(place.path(), &origin.address, &mirrors, &logins).await;
    pull(&store, &origin.image("app")).await.unwrap();
    let seen = |server: &Server| {
        let mut seen: Vec<String> = server.requests().into_iter().filter_map(|r| r.authorization).collect();
        seen.dedup();
        seen
    };
    assert_eq!(seen(&mirror), ["Basic bTpt"]);
    assert_eq!(seen(&origin), ["Basic bzpv"]);
    assert!(seen(&anonymous).is_empty());
}
