//! overlayfs and the plain copy show the same files.

use std::path::Path;

use images::CopySnapshotter;

use crate::kit::layout::{Blobs, OCI_MANIFEST, Packing, build};
use crate::kit::tars::{Member, dir, file, hardlink, symlink, tar};
use crate::kit::{again, describe, is_root, must_say, open, pull};

fn layers() -> Vec<Vec<u8>> {
    let base = tar(&[
        dir("./").mode(0o711).owner(3, 4),
        dir("etc/"),
        file("etc/keep", "keep"),
        file("etc/change", "old").mode(0o600),
        file("etc/delete", "x"),
        dir("full/").mode(0o1777),
        file("full/a", "a"),
        dir("full/sub/"),
        file("full/sub/b", "b"),
        dir("again/"),
        file("again/hidden", "h"),
        dir("tree/"),
        file("tree/x", "x"),
        file("becomes-dir", "f"),
        dir("becomes-file/"),
        file("becomes-file/y", "y"),
        symlink("link", "etc/keep"),
        hardlink("hard", "etc/keep"),
        file("suid", "s").mode(0o4755).owner(1000, 1000),
        file("attribute", "t").pax("SCHILY.xattr.user.colour", b"blue\nsky"),
        Member::new(b'6', "pipe").mode(0o640),
    ]);
    let middle = tar(&[
        dir("etc/").mode(0o700),
        file("etc/change", "new"),
        file("etc/.wh.delete", ""),
        dir("full/"),
        file("full/c", "c"),
        file("full/.wh..wh..opq", ""),
        file(".wh.tree", ""),
        file(".wh.again", ""),
        file(".wh.becomes-dir", ""),
        dir("becomes-dir/"),
        file("becomes-dir/z", "z"),
        file("becomes-file", "f"),
        file("deep/made/parents", "p"),
        hardlink("deep/second", "deep/made/parents"),
    ]);
    let top = tar(&[
        dir("again/"),
        file("again/new", "n"),
        file("deep/.wh.made", ""),
        file("full/.wh.c", ""),
        symlink("etc-link", "/etc"),
        file(".wh.nothing-there", ""),
    ]);
    vec![base, middle, top]
}

/// Not a test of its own: mounts the overlay and looks at it.
#[test]
fn child() {
    let Ok(mounted) = std::env::var("OVERLAY") else { return };
    if let Ok(parts) = std::env::var("PARTS") {
        mount_by_parts(Path::new(&mounted), &std::fs::read_to_string(parts).unwrap());
    }
    for line in describe(Path::new(&mounted)) {
        println!("LINE {line}");
    }
}

fn mounted(snapshot: &images::Snapshot, at: &Path) -> Vec<String> {
    std::fs::create_dir_all(at).unwrap();
    let lower: Vec<String> = snapshot.lower.iter().map(|p| p.display().to_string()).collect();
    let script = format!(
        "mount -t overlay overlay -o 'lowerdir={},upperdir={},workdir={}' '{}'",
        lower.join(":"),
        snapshot.upper.display(),
        snapshot.work.display(),
        at.display()
    );
    let path = at.display().to_string();
    let text = must_say(again("snapshots::child", Some(&script), &[("OVERLAY", &path)]), "LINE");
    text.lines().filter_map(|line| line.split_once("LINE ").map(|(_, rest)| rest.to_owned())).collect()
}

/// Mounts an overlay as the keeper does: lines of upper, work, and lower directories one by one.
fn mount_by_parts(at: &Path, parts: &str) {
    use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags};
    let fs = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    for (number, path) in parts.lines().enumerate() {
        let key = ["upperdir", "workdir"].get(number).copied().unwrap_or("lowerdir+");
        rustix::mount::fsconfig_set_string(&fs, key, path).unwrap_or_else(|e| panic!("{key} {number}: {e}"));
    }
    rustix::mount::fsconfig_create(&fs).unwrap();
    let flags = (FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty());
    let mount = rustix::mount::fsmount(&fs, flags.0, flags.1).unwrap();
    let how = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(&mount, "", rustix::fs::CWD, at, how).unwrap();
}

/// As [`mounted`], for more layers than a command line takes.
fn mounted_by_parts(snapshot: &images::Snapshot, at: &Path) -> Vec<String> {
    std::fs::create_dir_all(at).unwrap();
    let all = [&snapshot.upper, &snapshot.work].into_iter().chain(&snapshot.lower);
    let list = at.with_extension("parts");
    std::fs::write(&list, all.map(|path| format!("{}\n", path.display())).collect::<String>()).unwrap();
    let (path, list) = (at.display().to_string(), list.display().to_string());
    let environment = [("OVERLAY", path.as_str()), ("PARTS", list.as_str())];
    let text = must_say(again("snapshots::child", Some("true"), &environment), "LINE");
    text.lines().filter_map(|line| line.split_once("LINE ").map(|(_, rest)| rest.to_owned())).collect()
}

/// What can't be the same: the number of names and times of directories that were merged.
fn comparable(lines: &[String]) -> Vec<String> {
    let of = |line: &String| {
        let mut parts: Vec<&str> = line.split('|').collect();
        if parts.len() == 7 {
            parts[6] = "";
            if parts[1] == "d" {
                parts[4] = "";
            }
        }
        parts.join("|")
    };
    lines.iter().map(of).collect()
}

#[tokio::test]
async fn overlay_and_copy_agree() {
    if !is_root("overlay_and_copy_agree") {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let tars: Vec<(Vec<u8>, Packing)> = layers().into_iter().map(|tar| (tar, Packing::Gzip)).collect();
    let opaque = (tar(&[file(".wh..wh..opq", ""), file("only", "o")]), Packing::Gzip);
    for (name, tars) in [("plain", tars.clone()), ("opaque", [tars, vec![opaque]].concat())] {
        let image = build(&tars);
        let path = |part: &str| place.path().join(format!("{name}-{part}"));
        Blobs::of(&image).write(&path("layout"), "t", OCI_MANIFEST, &image.manifest);
        let store = open(&path("store")).await;
        let image = pull(&store, &format!("oci:{}:t", path("layout").display())).await.unwrap();
        let overlay = store.snapshot(&image, &path("overlay")).unwrap();
        let copy = store.snapshot_with(&CopySnapshotter, &image, &path("copy")).unwrap();
        assert!(copy.lower.is_empty());
        let (through_overlay, copied) = (mounted(&overlay, &path("mnt")), describe(&copy.upper));
        assert_eq!(comparable(&through_overlay), comparable(&copied), "{name}");
        let has = |start: &str| copied.iter().any(|line| line.starts_with(start));
        if name == "opaque" {
            assert_eq!(copied.iter().filter(|line| line.contains("|f|")).count(), 1, "{copied:#?}");
            continue;
        }
        assert!(has("|d|711|3:4|"), "the root's own mode and owner: {copied:#?}");
        assert!(has("etc|d|700|") && has("suid|f|4755|1000:1000|1600000000"));
        assert!(
            has("again/new|f|") && has("full|d|755|") && has("becomes-dir/z|f|") && has("becomes-file|f|")
        );
        for gone in
            ["etc/delete", "full/", "tree", "again/hidden", "deep/made", "becomes-file/", "nothing-there"]
        {
            assert!(!has(gone), "{gone} shows: {copied:#?}");
        }
        assert!(copied.iter().any(|l| l.starts_with("hard|f|") && l.ends_with("|2")), "{copied:#?}");
        assert!(has("./attribute#user.colour="));
        copy.remove().unwrap();
        overlay.remove().unwrap();
        assert!(crate::kit::list(&path("copy")).is_empty() && crate::kit::list(&path("overlay")).is_empty());
    }
}

/// Layers of which each removes a file of the one below.
fn stack(count: usize) -> Vec<(Vec<u8>, Packing)> {
    let layer = |n: usize| {
        let mut members = vec![file(&format!("f{n}"), "x"), file("last", &n.to_string())];
        if n > 0 {
            members.push(file(&format!(".wh.f{}", n - 1), ""));
        }
        (tar(&members), Packing::Plain)
    };
    (0..count).map(layer).collect()
}

#[tokio::test]
async fn more_layers_than_one_page_of_options_or_one_overlay_holds() {
    let name = "more_layers_than_one_page_of_options_or_one_overlay_holds";
    if !is_root(name) {
        return;
    }
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
    if (numbers.next(), numbers.next()) < (Some(6), Some(5)) {
        println!("SKIPPED: {name}: needs Linux 6.5");
        return;
    }
    let place = crate::kit::in_memory();
    for (count, lower) in [(130, 130), (500, 500), (520, 500)] {
        let path = |part: &str| place.path().join(format!("{count}-{part}"));
        let image = build(&stack(count));
        Blobs::of(&image).write(&path("layout"), "t", OCI_MANIFEST, &image.manifest);
        let store = open(&path("store")).await;
        let image = pull(&store, &format!("oci:{}:t", path("layout").display())).await.unwrap();
        let snapshot = store.snapshot(&image, &path("c")).unwrap();
        assert_eq!(snapshot.lower.len(), lower);
        let lines = mounted_by_parts(&snapshot, &path("mnt"));
        let files: Vec<&String> = lines.iter().filter(|line| line.contains("|f|")).collect();
        assert_eq!(files.len(), 2, "{count}: {files:#?}");
        let sum = crate::kit::layout::sha256((count - 1).to_string().as_bytes());
        assert!(lines.iter().any(|line| line.starts_with(sum.hex()) && line.ends_with("/last")), "{count}");
        snapshot.remove().unwrap();
        assert!(crate::kit::list(&path("c")).is_empty());
    }
}

#[tokio::test]
async fn more_layers_than_an_image_may_have_are_refused_by_number() {
    let place = tempfile::tempdir().unwrap();
    let image = build(&stack(20));
    Blobs::of(&image).write(&place.path().join("layout"), "t", OCI_MANIFEST, &image.manifest);
    let limits = images::Limits { layers: 19, ..crate::kit::quick() };
    let config = images::StoreConfig { limits, ..crate::kit::config(&place.path().join("store")) };
    let store = images::ImageStore::open(config).await.unwrap();
    let error =
        crate::kit::refusal(&store, &format!("oci:{}:t", place.path().join("layout").display())).await;
    assert!(error.contains("20 layers, more than the 19 allowed"), "{error}");
}
