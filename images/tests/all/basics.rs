//! The straight way: push with skopeo, pull, look at what is there.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use images::{ImageConfig, LayerEvent, PullOptions};

use crate::kit::layout::{
    Blobs, Built, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Packing, architecture, build, descriptor,
};
use crate::kit::registry::Registry;
use crate::kit::tars::{dir, file, hardlink, noise, symlink, tar};
use crate::kit::{Events, is_root, leftovers, open, pull, pull_with, refusal};

/// busybox below, a change above it, and a deletion on top.
fn three_layers() -> Built {
    let busybox = fs::read("/bin/busybox")
        .or_else(|_| fs::read("/usr/bin/busybox"))
        .expect("busybox-static is installed");
    let base = tar(&[
        dir("./"),
        dir("bin/"),
        crate::kit::tars::Member { data: busybox, ..file("bin/busybox", "").mode(0o4755) },
        hardlink("bin/sh", "bin/busybox"),
        symlink("sh", "/bin/sh"),
        dir("etc/"),
        file("etc/motd", "one"),
        file("etc/old", "old"),
        dir("cache/"),
        file("cache/a", "a"),
    ]);
    let middle = tar(&[
        dir("etc/"),
        file("etc/motd", "two").owner(1000, 1001),
        dir("cache/"),
        file("cache/.wh..wh..opq", ""),
        file("cache/b", "b"),
    ]);
    let top = tar(&[dir("etc/"), file("etc/.wh.old", "")]);
    build(&[(base, Packing::Gzip), (middle, Packing::Zstd), (top, Packing::Plain)])
}

#[tokio::test]
async fn an_image_of_every_compression_is_pulled_and_unpacked() {
    if !is_root("an_image_of_every_compression_is_pulled_and_unpacked") {
        return;
    }
    let (registry, place) = (Registry::start(), tempfile::tempdir().unwrap());
    let built = three_layers();
    registry.push(&built, "team/app:v1");
    let store = open(place.path()).await;
    let events = Arc::new(Events::default());
    let name = store.name(&registry.image("team/app:v1")).unwrap();
    let image = store.pull(&name, PullOptions::default(), events.clone()).await.unwrap();

    assert_eq!(image.manifest_digest, built.digest());
    assert_eq!(
        image.layers.iter().map(|l| &l.diff_id).collect::<Vec<_>>(),
        built.diff_ids.iter().collect::<Vec<_>>()
    );
    let text = |t: &str| t.to_owned();
    let expected = ImageConfig {
        env: vec![(text("PATH"), text("/bin")), (text("GREETING"), text("hello"))],
        cmd: vec![text("sh")],
        entrypoint: vec![text("/bin/busybox")],
        working_dir: Some(text("/srv")),
        user: Some(text("7:8")),
        stop_signal: Some(text("SIGINT")),
    };
    assert_eq!(image.config, expected);
    assert_eq!(events.count(LayerEvent::Done), 3);
    for layer in &image.layers {
        assert_eq!(
            events.count(LayerEvent::Fetching { done: layer.size, total: layer.size }),
            1,
            "{layer:?}"
        );
    }

    let fs = |n: usize| place.path().join("layers/sha256").join(built.diff_ids[n].hex()).join("fs");
    let busybox = fs(0).join("bin/busybox").metadata().unwrap();
    assert_eq!((busybox.mode() & 0o7777, busybox.nlink(), busybox.mtime()), (0o4755, 2, 1_600_000_000));
    assert_eq!(fs::read_link(fs(0).join("sh")).unwrap().to_str(), Some("/bin/sh"));
    let motd = fs(1).join("etc/motd").metadata().unwrap();
    assert_eq!((motd.uid(), motd.gid()), (1000, 1001));
    let hidden = fs(2).join("etc/old").metadata().unwrap();
    assert_eq!((hidden.mode() & 0o170_000, hidden.rdev()), (0o020_000, 0), "no whiteout device");
    let mut value = [0u8; 8];
    assert_eq!(rustix::fs::lgetxattr(fs(1).join("cache"), "trusted.overlay.opaque", &mut value[..]), Ok(1));
    assert_eq!(
        place.path().metadata().unwrap().mode() & 0o077,
        0o055 & place.path().metadata().unwrap().mode()
    );
    assert_eq!(place.path().join("layers").metadata().unwrap().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn docker_manifests_and_indexes_lead_to_the_same_image() {
    if !is_root("docker_manifests_and_indexes_lead_to_the_same_image") {
        return;
    }
    let (registry, place) = (Registry::start(), tempfile::tempdir().unwrap());
    let own = build(&[(tar(&[file("who", "ours")]), Packing::Gzip)]);
    let layout = tempfile::tempdir().unwrap();
    Blobs::of(&own).write(layout.path(), "t", OCI_MANIFEST, &own.manifest);
    registry.push_layout(layout.path(), "t", "app:docker", &["--format", "v2s2"]);

    let mut foreign = build(&[(tar(&[file("who", "theirs")]), Packing::Gzip)]);
    let renamed = String::from_utf8(foreign.config.clone()).unwrap().replace(architecture(), "s390x");
    let (before, after) = (
        descriptor(crate::kit::layout::OCI_CONFIG, &foreign.config),
        descriptor(crate::kit::layout::OCI_CONFIG, renamed.as_bytes()),
    );
    foreign.manifest = String::from_utf8(foreign.manifest).unwrap().replace(&before, &after).into_bytes();
    foreign.config = renamed.into_bytes();
    let entry = |image: &Built, architecture: &str| {
        let plain = descriptor(OCI_MANIFEST, &image.manifest);
        plain.replace('}', &format!(r#","platform":{{"os":"linux","architecture":"{architecture}"}}}}"#))
    };
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{},{}]}}"#,
        entry(&foreign, "s390x"),
        entry(&own, architecture())
    );
    let mut blobs = Blobs::of(&own);
    blobs.add(&foreign);
    blobs.put(index.as_bytes());
    let layout = tempfile::tempdir().unwrap();
    blobs.write(layout.path(), "t", OCI_INDEX, index.as_bytes());
    registry.push_layout(layout.path(), "t", "app:index", &["--all", "--preserve-digests"]);
    registry.push(&foreign, "app:foreign");

    let store = open(place.path()).await;
    let docker = pull(&store, &registry.image("app:docker")).await.unwrap();
    let manifest = place.path().join("manifests/sha256").join(docker.manifest_digest.hex());
    assert!(fs::read_to_string(manifest).unwrap().contains(DOCKER_MANIFEST));
    let through_index = pull(&store, &registry.image("app:index")).await.unwrap();
    assert_eq!(through_index.manifest_digest, own.digest());
    assert_eq!(through_index.layers[0].diff_id, docker.layers[0].diff_id);
    // An index is also found again by its own digest.
    let by_digest = registry.image(&format!("app@{}", crate::kit::layout::sha256(index.as_bytes())));
    let before = registry.requests("/v2/app/");
    assert_eq!(pull(&store, &by_digest).await.unwrap().manifest_digest, own.digest());
    assert_eq!(registry.requests("/v2/app/"), before);

    let error = refusal(&store, &registry.image("app:foreign")).await;
    assert!(error.contains("made for linux/s390x, this host is linux/"), "{error}");
}

#[tokio::test]
async fn a_second_pull_needs_no_network_and_force_looks_again() {
    if !is_root("a_second_pull_needs_no_network_and_force_looks_again") {
        return;
    }
    let (mut registry, place) = (Registry::start(), tempfile::tempdir().unwrap());
    let (first, second) = (crate::kit::layout::tiny("first"), crate::kit::layout::tiny("second"));
    registry.push(&first, "app:latest");
    let store = open(place.path()).await;
    let tag = registry.image("app");
    assert_eq!(pull(&store, &tag).await.unwrap().manifest_digest, first.digest());
    let requests = registry.requests("/v2/");
    registry.push(&second, "app:latest");
    assert_eq!(pull(&store, &tag).await.unwrap().manifest_digest, first.digest());
    assert_eq!(registry.requests("/v2/"), requests, "a cached image was looked up");
    assert_eq!(pull_with(&store, &tag, true).await.unwrap().manifest_digest, second.digest());

    registry.stop();
    let by_digest = registry.image(&format!("app@{}", second.digest()));
    drop(store);
    let store = open(place.path()).await;
    assert_eq!(pull(&store, &by_digest).await.unwrap().manifest_digest, second.digest());
    assert_eq!(pull(&store, &tag).await.unwrap().manifest_digest, second.digest());
    // The right to have an image is the repository's; another one's copy does not count.
    let elsewhere = refusal(&store, &registry.image(&format!("other@{}", second.digest()))).await;
    assert!(elsewhere.contains("cannot reach registry"), "{elsewhere}");
}

#[tokio::test]
async fn pulls_at_the_same_time_are_one_pull() {
    if !is_root("pulls_at_the_same_time_are_one_pull") {
        return;
    }
    let (registry, place) = (Registry::start(), tempfile::tempdir().unwrap());
    let content = crate::kit::tars::Member { data: noise(4 << 20, 3), ..file("big", "") };
    let shared = tar(&[content]);
    let own = |text: &str| tar(&[file("own", text)]);
    let a = build(&[(shared.clone(), Packing::Gzip), (own("a"), Packing::Gzip)]);
    let b = build(&[(shared, Packing::Gzip), (own("b"), Packing::Gzip)]);
    registry.push(&a, "app:a");
    registry.push(&b, "app:b");
    let store = open(place.path()).await;
    let events = Arc::new(Events::default());
    let one = |tag: &str| {
        let (store, events) = (store.clone(), events.clone());
        let name = store.name(&registry.image(tag)).unwrap();
        async move { store.pull(&name, PullOptions::default(), events).await.unwrap() }
    };
    let pulls = (0..8).map(|n| one(if n % 2 == 0 { "app:a" } else { "app:b" }));
    let images = futures_util::future::join_all(pulls).await;
    assert_eq!(images[0].manifest_digest, a.digest());
    assert_eq!(images[1].manifest_digest, b.digest());
    assert_eq!(registry.requests("/manifests/"), 2, "one look-up for each image");
    assert_eq!(registry.requests("/blobs/"), 2 + 3, "two configurations and three layers, each once");
    assert_eq!(events.count(LayerEvent::Done), 8 * 2, "every waiter hears of every layer");
}

#[tokio::test]
async fn what_is_missing_is_named() {
    if !is_root("what_is_missing_is_named") {
        return;
    }
    let (registry, place) = (Registry::start(), tempfile::tempdir().unwrap());
    registry.push(&crate::kit::layout::tiny("x"), "app:v1");
    let store = open(place.path()).await;
    let no_tag = refusal(&store, &registry.image("app:v2")).await;
    assert!(no_tag.contains(&format!("registry {} has no image app:v2", registry.address)), "{no_tag}");
    let no_name = refusal(&store, &registry.image("nope")).await;
    assert!(no_name.contains("has no image nope:latest") && no_name.contains("check the name"), "{no_name}");
    let absent = "a".repeat(64);
    let no_digest = refusal(&store, &registry.image(&format!("app@sha256:{absent}"))).await;
    assert!(no_digest.contains(&absent), "{no_digest}");
    let port = crate::kit::registry::free_port();
    let unreachable = refusal(&store, &format!("127.0.0.1:{port}/app")).await;
    assert!(unreachable.contains(&format!("cannot reach registry 127.0.0.1:{port}")), "{unreachable}");
    assert!(unreachable.contains("Connection refused"), "{unreachable}");
    assert_eq!(leftovers(place.path()), Vec::<std::path::PathBuf>::new());
    assert!(store.list().unwrap().is_empty());
}

#[tokio::test]
async fn an_image_without_layers_and_one_with_the_same_layer_twice() {
    if !is_root("an_image_without_layers_and_one_with_the_same_layer_twice") {
        return;
    }
    let (registry, place) = (Registry::start(), tempfile::tempdir().unwrap());
    let layer = || (tar(&[file("f", "f")]), Packing::Gzip);
    registry.push(&build(&[layer(), (tar(&[file("g", "g")]), Packing::Gzip), layer()]), "twice");
    let store = open(place.path()).await;
    let image = pull(&store, &registry.image("twice")).await.unwrap();
    assert_eq!(image.layers.len(), 3);
    let snapshot = store.snapshot(&image, &place.path().join("c1")).unwrap();
    assert_eq!(snapshot.lower.len(), 2, "overlayfs refuses a directory that it is given twice");
    assert!(fs::read_to_string(snapshot.lower[0].join("f")).is_ok());

    let empty = build(&[]);
    let layout = tempfile::tempdir().unwrap();
    Blobs::of(&empty).write(layout.path(), "t", OCI_MANIFEST, &empty.manifest);
    let image = pull(&store, &format!("oci:{}:t", layout.path().display())).await.unwrap();
    let snapshot = store.snapshot(&image, &place.path().join("c2")).unwrap();
    assert_eq!(snapshot.lower.len(), 1);
}
