//! Files of `docker save`: as real tools write them, as older ones did, and as nobody should.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use images::{ImageStore, StoreConfig};

use crate::kit::layout::{Blobs, Built, OCI_MANIFEST, Packing, build, config, gzip, sha256, tiny};
use crate::kit::tars::{Member, dir, file, hardlink, symlink, tar};
use crate::kit::{describe, is_root, leftovers, open, pull, refusal, run};

fn two_layers() -> Built {
    let base = tar(&[dir("etc/"), file("etc/motd", "one"), file("etc/old", "x")]);
    let top = tar(&[dir("etc/"), file("etc/motd", "two"), file("etc/.wh.old", "")]);
    build(&[(base, Packing::Gzip), (top, Packing::Gzip)])
}

fn name(file: &Path, image: &str) -> String {
    format!("docker-archive:{}{image}", file.display())
}

/// `manifest.json` for images with tags.
fn listing(images: &[(&str, &[&str], &[&str])]) -> String {
    let quoted = |texts: &[&str]| texts.iter().map(|t| format!("\"{t}\"")).collect::<Vec<_>>().join(",");
    let entry = |(config, tags, layers): &(&str, &[&str], &[&str])| {
        format!(r#"{{"Config":"{config}","RepoTags":[{}],"Layers":[{}]}}"#, quoted(tags), quoted(layers))
    };
    format!("[{}]", images.iter().map(entry).collect::<Vec<_>>().join(","))
}

fn member(name: &str, data: impl Into<Vec<u8>>) -> Member {
    Member { data: data.into(), ..file(name, "") }
}

#[tokio::test]
async fn an_archive_made_by_skopeo_is_the_image() {
    if !is_root("an_archive_made_by_skopeo_is_the_image") {
        return;
    }
    let (place, built) = (tempfile::tempdir().unwrap(), two_layers());
    let (layout, archive) = (place.path().join("layout"), place.path().join("image.tar"));
    Blobs::of(&built).write(&layout, "t", OCI_MANIFEST, &built.manifest);
    let to = name(&archive, ":team/app:v1");
    run("skopeo", &["copy", &format!("oci:{}:t", layout.display()), &to]);
    let store = open(&place.path().join("store")).await;
    let reference = pull(&store, &format!("oci:{}:t", layout.display())).await.unwrap();
    let other = open(&place.path().join("other")).await;
    for wanted in ["", ":team/app:v1", ":docker.io/team/app:v1", ":v1"] {
        let image = pull(&other, &name(&archive, wanted))
            .await
            .unwrap_or_else(|e| panic!("{wanted}: {}", e.report()));
        assert_eq!(image.config, reference.config, "{wanted}");
        let ids = |image: &images::Image| image.layers.iter().map(|l| l.diff_id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&image), ids(&reference), "{wanted}");
    }
    for id in &built.diff_ids {
        let fs = |store: &str| place.path().join(store).join("layers/sha256").join(id.hex()).join("fs");
        // The times of the root and of whiteouts are those of unpacking: the tars have none for them.
        let seen = |store: &str| -> Vec<String> {
            describe(&fs(store))
                .into_iter()
                .filter(|line| !line.starts_with("|d|") && !line.contains("|c|"))
                .collect()
        };
        assert_eq!(seen("other"), seen("store"));
    }
    let missing = refusal(&other, &name(&archive, ":team/app:v2")).await;
    assert!(
        missing.contains("has no image tagged team/app:v2; it has") && missing.contains("team/app:v1"),
        "{missing}"
    );
}

#[tokio::test]
async fn archives_of_other_times_and_tools_are_read() {
    if !is_root("archives_of_other_times_and_tools_are_read") {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let store = open(&place.path().join("store")).await;
    let write = |file: &str, members: &[Member]| -> PathBuf {
        let path = place.path().join(file);
        fs::write(&path, tar(members)).unwrap();
        path
    };
    // Before 25: a directory for each layer, shared layers as links.
    let (base, top) = (tar(&[file("a", "base")]), tar(&[file("b", "top")]));
    let ids = [sha256(&base), sha256(&top)];
    let (both, one) = (config(&ids), config(&ids[..1]));
    let old = write(
        "old.tar",
        &[
            dir("11aa/"),
            member("11aa/VERSION", "1.0"),
            member("11aa/layer.tar", base.clone()),
            dir("22bb"),
            symlink("22bb/layer.tar", "../11aa/layer.tar"),
            member("33cc/layer.tar", top.clone()),
            hardlink("44dd/layer.tar", "11aa/layer.tar"),
            member("both.json", both.clone()),
            member("one.json", one.clone()),
            member(
                "manifest.json",
                listing(&[
                    ("both.json", &["app:both"], &["22bb/layer.tar", "33cc/layer.tar"]),
                    ("one.json", &["127.0.0.1:5000/app:one", "app:uno"], &["44dd/layer.tar"]),
                ]),
            ),
            member("repositories", "{}"),
        ],
    );
    for (wanted, layers) in [(":app:both", 2), (":127.0.0.1:5000/app:one", 1), (":uno", 1)] {
        let image =
            pull(&store, &name(&old, wanted)).await.unwrap_or_else(|e| panic!("{wanted}: {}", e.report()));
        assert_eq!(image.layers.len(), layers, "{wanted}");
    }
    let unclear = refusal(&store, &name(&old, "")).await;
    assert!(
        unclear.contains("without a tag that is the only one") && unclear.contains("app:uno"),
        "{unclear}"
    );

    // Layers that are packed, by path and by digest.
    let packed = gzip(&top);
    let odd = write(
        "packed.tar",
        &[
            member("l1.tar.gz", gzip(&base)),
            member(&format!("blobs/sha256/{}", sha256(&packed).hex()), packed.clone()),
            member("c.json", both),
            member(
                "manifest.json",
                listing(&[(
                    "c.json",
                    &[],
                    &["l1.tar.gz", &format!("blobs/sha256/{}", sha256(&packed).hex())],
                )]),
            ),
        ],
    );
    assert_eq!(pull(&store, &name(&odd, "")).await.unwrap().layers.len(), 2);

    // An OCI layout in a tar, without manifest.json.
    let (built, layout) = (tiny("in an archive"), place.path().join("layout"));
    Blobs::of(&built).write(&layout, "v7", OCI_MANIFEST, &built.manifest);
    let inside = place.path().join("oci.tar");
    run("tar", &["-C", layout.to_str().unwrap(), "-cf", inside.to_str().unwrap(), "."]);
    for wanted in ["", ":v7", ":anything:v7"] {
        let image = pull(&store, &name(&inside, wanted)).await.unwrap();
        assert_eq!(image.manifest_digest, built.digest(), "{wanted}");
    }
    // What it says now counts.
    fs::copy(&odd, &inside).unwrap();
    assert_eq!(pull(&store, &name(&inside, "")).await.unwrap().layers.len(), 2);
}

#[tokio::test]
async fn archives_that_are_broken_or_lead_away_are_refused() {
    if !is_root("archives_that_are_broken_or_lead_away_are_refused") {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let layer = tar(&[file("f", "x")]);
    let good = config(&[sha256(&layer)]);
    let one = |config: &str, layer: &str| member("manifest.json", listing(&[(config, &["a:1"], &[layer])]));
    let parts = || vec![member("c.json", good.clone()), member("l.tar", layer.clone())];
    let with = |more: Vec<Member>| tar(&[parts(), more].concat());
    let secret = place.path().join("secret");
    fs::write(&secret, &layer).unwrap();
    let sparse = Member { data: layer.clone(), ..Member::new(b'S', "l2.tar") };
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("nothing", Vec::new(), "neither manifest.json nor"),
        ("no tar", b"hello".repeat(300), "malformed"),
        ("packed as a whole", gzip(&with(vec![one("c.json", "l.tar")])), "is compressed"),
        ("no listing", with(vec![]), "neither manifest.json nor"),
        ("a listing that is no JSON", with(vec![member("manifest.json", "[")]), "is malformed"),
        ("an empty listing", with(vec![member("manifest.json", "[]")]), "lists no image"),
        ("no configuration", with(vec![one("none.json", "l.tar")]), "configuration is missing"),
        ("no layer", with(vec![one("c.json", "none.tar")]), "layer 0 is missing"),
        ("a configuration outside", with(vec![one("../c.json", "l.tar")]), "configuration is missing"),
        ("a layer outside", with(vec![one("c.json", secret.to_str().unwrap())]), "layer 0 is missing"),
        (
            "a link to outside",
            with(vec![symlink("s.tar", secret.to_str().unwrap()), one("c.json", "s.tar")]),
            "layer 0 is missing",
        ),
        ("a link that climbs", with(vec![symlink("s.tar", "../../x"), one("c.json", "s.tar")]), "leads out"),
        (
            "a link to itself",
            with(vec![symlink("s.tar", "s.tar"), one("c.json", "s.tar")]),
            "layer 0 is missing",
        ),
        ("a climbing name", with(vec![member("../x", ""), one("c.json", "l.tar")]), "climbs"),
        ("one name twice", with(vec![member("l.tar", "x"), one("c.json", "l.tar")]), "occurs twice"),
        ("a sparse file", with(vec![sparse, one("c.json", "l.tar")]), "sparse"),
        (
            "more layers than the configuration has",
            with(vec![member("manifest.json", listing(&[("c.json", &[], &["l.tar", "l.tar"])]))]),
            "has 2 layers, the configuration names 1",
        ),
        (
            "another layer than the configuration names",
            with(vec![member("m.tar", tar(&[file("f", "y")])), one("c.json", "m.tar")]),
            "its content has digest",
        ),
        (
            "a configuration that is none",
            with(vec![member("d.json", "{}"), one("d.json", "l.tar")]),
            "malformed",
        ),
        ("cut in the middle of a layer", with(vec![])[..1800].to_vec(), "ends inside"),
        (
            "an index of nothing",
            tar(&[member("oci-layout", "{}"), member("index.json", r#"{"schemaVersion":2,"manifests":[]}"#)]),
            "no tags",
        ),
    ];
    for (what, bytes, expected) in cases {
        let path = place.path().join("case.tar");
        fs::write(&path, bytes).unwrap();
        let store = place.path().join("store");
        let error = refusal(&open(&store).await, &name(&path, "")).await;
        assert!(error.contains(expected), "{what}: {expected:?} is not in {error:?}");
        assert!(error.contains("case.tar"), "{what}: {error}");
        assert!(leftovers(&store).is_empty(), "{what}: {:?}", leftovers(&store));
    }
    let store = open(&place.path().join("store")).await;
    run("mkfifo", &[place.path().join("pipe").to_str().unwrap()]);
    for (path, expected) in [("pipe", "not a regular file"), ("none.tar", "cannot read the image archive")] {
        let error = refusal(&store, &name(&place.path().join(path), "")).await;
        assert!(error.contains(expected), "{error}");
    }
}

/// Opening alone does something to a device or a pipe: it is not done.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_file_is_not_opened() {
    let place = tempfile::tempdir().unwrap();
    let store = open(&place.path().join("store")).await;
    let (pipe, layout) = (place.path().join("pipe"), place.path().join("layout"));
    fs::create_dir(&layout).unwrap();
    run("mkfifo", &[pipe.to_str().unwrap()]);
    fs::hard_link(&pipe, layout.join("oci-layout")).unwrap();
    let opened = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Comes back as soon as anybody opens the other end, however shortly.
            fs::OpenOptions::new().write(true).open(&pipe).unwrap();
            opened.store(true, Ordering::SeqCst);
        });
        let refused = async {
            for _ in 0..50 {
                for name in [name(&pipe, ""), format!("oci:{}", layout.display())] {
                    let error = refusal(&store, &name).await;
                    assert!(error.contains("not a regular file"), "{error}");
                }
            }
        };
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(refused));
        let touched = opened.load(Ordering::SeqCst);
        // Whether the writer still waits or has been let go: it ends.
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK;
        let reader = rustix::fs::open(&pipe, flags, rustix::fs::Mode::empty()).unwrap();
        while !opened.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        drop(reader);
        assert!(!touched, "the pipe was opened");
    });
}

#[tokio::test]
async fn an_image_outside_of_the_folders_for_local_images_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let (allowed, other) = (place.path().join("allowed"), place.path().join("other"));
    for folder in [&allowed, &other] {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("image.tar"), "").unwrap();
        fs::create_dir(folder.join("layout")).unwrap();
    }
    std::os::unix::fs::symlink(&other, allowed.join("link")).unwrap();
    let config = StoreConfig {
        local_dirs: Some(vec![allowed.clone()]),
        ..crate::kit::config(&place.path().join("store"))
    };
    let store = ImageStore::open(config).await.unwrap();
    for (folder, outside) in [
        (allowed.clone(), false),
        (other, true),
        (allowed.join("link"), true),
        (allowed.join("../other"), true),
    ] {
        for name in [name(&folder.join("image.tar"), ""), format!("oci:{}", folder.join("layout").display())]
        {
            let error = refusal(&store, &name).await;
            assert_eq!(error.contains("--local_image_dirs"), outside, "{error}");
        }
    }
}
