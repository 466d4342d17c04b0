//! Images from a local OCI layout.

use std::fs;

use crate::kit::layout::{Blobs, OCI_MANIFEST, sha256, tiny};
use crate::kit::{is_root, open, pull, refusal, run};

#[tokio::test]
async fn a_layout_made_by_other_tools_is_pulled() {
    if !is_root("a_layout_made_by_other_tools_is_pulled") {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name).display().to_string();
    let layout = path("layout");
    fs::create_dir_all(place.path().join("files/bin")).unwrap();
    fs::copy(fs::canonicalize("/bin/busybox").unwrap(), place.path().join("files/bin/busybox")).unwrap();
    let tagged = format!("{layout}:v1");
    run("umoci", &["init", "--layout", &layout]);
    run("umoci", &["new", "--image", &tagged]);
    run("umoci", &["insert", "--image", &tagged, &path("files"), "/"]);
    run("umoci", &["insert", "--image", &tagged, "--whiteout", "/bin/gone"]);
    run("umoci", &["config", "--image", &tagged, "--config.cmd", "/bin/busybox", "--config.env", "A=b"]);
    let store = open(&place.path().join("store")).await;
    let image = pull(&store, &format!("oci:{tagged}")).await.unwrap();
    assert_eq!(image.config.cmd, ["/bin/busybox"]);
    assert_eq!(image.config.env, [("A".to_owned(), "b".to_owned())]);
    let snapshot = store.snapshot(&image, &place.path().join("c")).unwrap();
    assert!(
        snapshot.lower.iter().any(|dir| dir.join("bin/busybox").metadata().is_ok_and(|m| m.len() > 100_000))
    );
    // Without a tag the only image counts.
    assert_eq!(pull(&store, &format!("oci:{layout}")).await.unwrap().manifest_digest, image.manifest_digest);
}

#[tokio::test]
async fn a_tag_that_moved_is_seen() {
    if !is_root("a_tag_that_moved_is_seen") {
        return;
    }
    let (layout, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(place.path()).await;
    let name = format!("oci:{}:t", layout.path().display());
    for content in ["one", "two"] {
        let image = tiny(content);
        Blobs::of(&image).write(layout.path(), "t", OCI_MANIFEST, &image.manifest);
        assert_eq!(pull(&store, &name).await.unwrap().manifest_digest, image.digest());
    }
}

#[tokio::test]
async fn layouts_that_are_broken_or_lead_away_are_refused() {
    if !is_root("layouts_that_are_broken_or_lead_away_are_refused") {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let store = open(&place.path().join("store")).await;
    let image = tiny("x");
    let blob = |bytes: &[u8]| format!("blobs/sha256/{}", sha256(bytes).hex());
    let (manifest, layer) = (blob(&image.manifest), blob(&image.layers[0]));
    type Damage<'a> = Box<dyn Fn(&std::path::Path) + 'a>;
    let cases: Vec<(&str, Damage<'_>)> = vec![
        ("cannot read", Box::new(|dir| fs::remove_file(dir.join("oci-layout")).unwrap())),
        ("cannot read", Box::new(|dir| fs::remove_file(dir.join("index.json")).unwrap())),
        ("unusable index.json", Box::new(|dir| fs::write(dir.join("index.json"), "{").unwrap())),
        ("cannot read", Box::new(|dir| fs::remove_file(dir.join(&layer)).unwrap())),
        ("bytes, ", Box::new(|dir| fs::write(dir.join(&layer), "short").unwrap())),
        (
            "damaged or lies",
            Box::new(|dir| {
                let length = fs::read(dir.join(&manifest)).unwrap().len();
                fs::write(dir.join(&manifest), vec![b' '; length]).unwrap();
            }),
        ),
        // A pipe would wait for a writer for ever.
        (
            "not a regular file",
            Box::new(|dir| {
                fs::remove_file(dir.join(&layer)).unwrap();
                run("mkfifo", &[&dir.join(&layer).display().to_string()]);
            }),
        ),
        (
            "cannot read",
            Box::new(|dir| {
                fs::remove_file(dir.join(&layer)).unwrap();
                std::os::unix::fs::symlink("/etc/shadow", dir.join(&layer)).unwrap();
            }),
        ),
        ("more than", Box::new(|dir| fs::write(dir.join("index.json"), vec![b' '; 5 << 20]).unwrap())),
    ];
    for (number, (expected, damage)) in cases.iter().enumerate() {
        let dir = place.path().join(number.to_string());
        Blobs::of(&image).write(&dir, "t", OCI_MANIFEST, &image.manifest);
        damage(&dir);
        let error = refusal(&store, &format!("oci:{}:t", dir.display())).await;
        assert!(
            error.contains(expected) || (*expected == "more than" && error.contains("are expected")),
            "{number}: {error}"
        );
    }
    let dir = place.path().join("good");
    Blobs::of(&image).write(&dir, "t", OCI_MANIFEST, &image.manifest);
    let error = refusal(&store, &format!("oci:{}:other", dir.display())).await;
    assert!(error.contains("no image tagged other; it has t"), "{error}");
    let error = refusal(&store, "oci:/nonexistent/layout").await;
    assert!(error.contains("cannot read /nonexistent/layout"), "{error}");
}
