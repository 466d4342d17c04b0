//! Honest tars in all their dialects, in any order.

use std::fs;
use std::io::Cursor;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use images::{UnpackError, UnpackLimits, Unpacked, unpack_tar};

use crate::kit::tars::{Member, checksum, dir, file, hardlink, noise, record, symlink, tar};
use crate::kit::{is_root, run};

const LIMITS: UnpackLimits = UnpackLimits { entries: 10_000, bytes: 64 << 20 };

fn unpack(tar: &[u8]) -> (tempfile::TempDir, Result<Unpacked, UnpackError>) {
    let place = tempfile::tempdir().unwrap();
    let outcome = unpack_tar(Cursor::new(tar), place.path(), LIMITS);
    (place, outcome)
}

fn unpacked(members: &[Member]) -> tempfile::TempDir {
    let (place, outcome) = unpack(&tar(members));
    outcome.unwrap();
    place
}

fn read(place: &tempfile::TempDir, name: &str) -> String {
    fs::read_to_string(place.path().join(name)).unwrap_or_else(|e| format!("<{e}>"))
}

fn is_opaque(dir: &Path) -> bool {
    rustix::fs::lgetxattr(dir, "trusted.overlay.opaque", &mut [0u8; 4][..]) == Ok(1)
}

fn is_whiteout(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_char_device() && m.rdev() == 0)
}

#[test]
fn entries_come_in_any_order() {
    if !is_root("entries_come_in_any_order") {
        return;
    }
    let place = unpacked(&[
        file("a/b/c/file", "deep"),
        hardlink("first", "later/target"),
        hardlink("second", "first"),
        file("lib/before", "through a link to nothing yet"),
        dir("a/").mode(0o700),
        file("later/target", "linked"),
        symlink("lib64", "usr/lib64"),
        file("lib64/x", "made where the link points"),
        symlink("abs", "/usr/abs"),
        file("abs/deep/y", "inside"),
        symlink("up", "../../../up-target"),
        file("up/z", "clamped"),
    ]);
    assert_eq!(read(&place, "a/b/c/file"), "deep");
    assert_eq!((read(&place, "first"), read(&place, "second")), ("linked".into(), "linked".into()));
    assert_eq!(fs::metadata(place.path().join("second")).unwrap().nlink(), 3);
    assert_eq!(fs::metadata(place.path().join("a")).unwrap().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(place.path().join("a/b")).unwrap().mode() & 0o777, 0o755);
    assert_eq!(read(&place, "usr/lib64/x"), "made where the link points");
    assert_eq!(read(&place, "usr/abs/deep/y"), "inside");
    assert_eq!(read(&place, "up-target/z"), "clamped");
}

#[test]
fn attributes_survive() {
    if !is_root("attributes_survive") {
        return;
    }
    // CAP_NET_RAW, with a newline among its bytes so that a reader that cuts lines would lose it.
    let capability = [1, 0, 0, 2, 0x0a, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let place = unpacked(&[
        dir("d/").mode(0o2775).owner(10, 20),
        file("d/suid", "s").mode(0o6711).owner(33, 44).pax("mtime", b"1234567890.123456789"),
        file("caps", "c").owner(5, 5).pax("SCHILY.xattr.security.capability", &capability),
        file("tagged", "t").pax("SCHILY.xattr.user.mime", b"text/plain").pax("SCHILY.xattr.user.empty", b""),
        dir("steered/")
            .pax("SCHILY.xattr.trusted.overlay.opaque", b"y")
            .pax("SCHILY.xattr.user.overlay.redirect", b"/etc"),
        file("big-owner", "b").pax("uid", b"3000000000").pax("gid", b"4000000000"),
        Member::new(b'6', "pipe").mode(0o622).owner(7, 8),
        symlink("owned", "nowhere").owner(9, 9),
    ]);
    let stat = |name: &str| fs::symlink_metadata(place.path().join(name)).unwrap();
    let facts = |name: &str| (stat(name).mode() & 0o7777, stat(name).uid(), stat(name).gid());
    assert_eq!(facts("d"), (0o2775, 10, 20));
    assert_eq!(facts("d/suid"), (0o6711, 33, 44), "a set-group-id directory does not hand down its group");
    assert_eq!((stat("d/suid").mtime(), stat("d/suid").mtime_nsec()), (1_234_567_890, 123_456_789));
    assert_eq!(stat("d").mtime(), 1_600_000_000, "a directory's time is set after its content");
    assert_eq!((stat("big-owner").uid(), stat("big-owner").gid()), (3_000_000_000, 4_000_000_000));
    assert_eq!(facts("pipe"), (0o622, 7, 8));
    assert!(stat("pipe").file_type().is_fifo());
    assert_eq!((stat("owned").uid(), stat("owned").mtime()), (9, 1_600_000_000));
    let attribute = |name: &str, key: &str| {
        let mut value = [0u8; 64];
        rustix::fs::lgetxattr(place.path().join(name), key, &mut value[..]).map(|n| value[..n].to_vec())
    };
    assert_eq!(attribute("caps", "security.capability").unwrap(), capability);
    assert_eq!(attribute("tagged", "user.mime").unwrap(), b"text/plain");
    assert_eq!(attribute("tagged", "user.empty").unwrap(), b"");
    assert!(!is_opaque(&place.path().join("steered")));
    assert!(attribute("steered", "user.overlay.redirect").is_err());
}

#[test]
fn a_later_entry_replaces_an_earlier_one() {
    if !is_root("a_later_entry_replaces_an_earlier_one") {
        return;
    }
    let place = unpacked(&[
        file("f", "old"),
        file("f", "new"),
        dir("d/"),
        file("d/inside", "x"),
        file("d", "was a directory"),
        file("e", "was a file"),
        dir("e/"),
        file("e/inside", "y"),
        symlink("l", "f"),
        file("l", "not through the link"),
        dir("kept/"),
        file("kept/content", "stays"),
        dir("kept/").mode(0o500),
        file("original", "o"),
        hardlink("copy", "original"),
        file("copy", "own content"),
        hardlink("original", "original"),
        symlink("s", "a"),
        symlink("s", "b"),
    ]);
    assert_eq!(
        (read(&place, "f"), read(&place, "d"), read(&place, "e/inside")),
        ("new".into(), "was a directory".into(), "y".into())
    );
    assert_eq!(read(&place, "l"), "not through the link");
    assert_eq!(read(&place, "kept/content"), "stays");
    assert_eq!((read(&place, "original"), read(&place, "copy")), ("o".into(), "own content".into()));
    assert_eq!(fs::read_link(place.path().join("s")).unwrap(), Path::new("b"));
}

#[test]
fn whiteouts_hide_lower_layers_only() {
    if !is_root("whiteouts_hide_lower_layers_only") {
        return;
    }
    let members = [
        file(".wh.gone", ""),
        file("dir/.wh.gone", ""),
        file("own", "mine"),
        file(".wh.own", ""),
        file(".wh.own2", ""),
        file("own2", "mine"),
        dir("both/"),
        file("both/x", "x"),
        file(".wh.both", ""),
        file(".wh.anew/", "").mode(0),
        dir("anew/"),
        file(".wh.implied", ""),
        file("implied/child", "c"),
        file("opaque/.wh..wh..opq", ""),
        file("opaque/.wh..wh..opq", ""),
        file("opaque/stays", "s"),
        file(".wh..wh.aufs", ""),
        dir(".wh..wh.plnk/"),
        file(".wh..wh.plnk/17", ""),
        Member::new(b'3', "node").device(0, 0),
        symlink("to", "dir"),
        file("to/.wh.linked", ""),
    ];
    let (place, outcome) = unpack(&tar(&members));
    let done = outcome.unwrap();
    let path = |name: &str| place.path().join(name);
    for hidden in ["gone", "dir/gone", "node", "dir/linked"] {
        assert!(is_whiteout(&path(hidden)), "{hidden}");
    }
    assert_eq!((read(&place, "own"), read(&place, "own2")), ("mine".into(), "mine".into()));
    assert_eq!(read(&place, "both/x"), "x");
    assert!(is_opaque(&path("both")), "the lower directory must not show through");
    assert!(is_opaque(&path("anew")) && is_opaque(&path("implied")) && is_opaque(&path("opaque")));
    assert_eq!((read(&place, "implied/child"), read(&place, "opaque/stays")), ("c".into(), "s".into()));
    assert_eq!((done.dropped, done.opaque_root), (3, false));
    assert!(
        fs::read_dir(place.path()).unwrap().all(|e| !e
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with(".wh."))
    );

    let (_, outcome) = unpack(&tar(&[file(".wh..wh..opq", "")]));
    assert!(outcome.unwrap().opaque_root);
}

#[test]
fn device_nodes_are_left_out() {
    if !is_root("device_nodes_are_left_out") {
        return;
    }
    let members = [
        Member::new(b'4', "sda").device(8, 0),
        Member::new(b'3', "mem").device(1, 1),
        Member::new(b'4', "zero").device(0, 0),
        Member::new(b'3', "almost").device(0, 1),
    ];
    let (place, outcome) = unpack(&tar(&members));
    assert_eq!(outcome.unwrap().dropped, 4);
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
}

#[test]
fn the_root_has_attributes_too() {
    if !is_root("the_root_has_attributes_too") {
        return;
    }
    let (place, outcome) = unpack(&tar(&[dir("./").mode(0o750).owner(1, 2), file("./x", "x")]));
    assert_eq!(outcome.unwrap().root, Some((0o750, 1, 2)));
    assert_eq!(fs::metadata(place.path()).unwrap().mtime(), 1_600_000_000);
    let (_, outcome) = unpack(&tar(&[file("x", "x")]));
    assert_eq!(outcome.unwrap().root, None);
}

#[test]
fn real_tars_of_every_format_come_out_the_same() {
    if !is_root("real_tars_of_every_format_come_out_the_same") {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let from = place.path().join("from");
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(150));
    fs::create_dir_all(from.join("d".repeat(120))).unwrap();
    fs::write(from.join(&long), "long").unwrap();
    std::os::unix::fs::symlink("t".repeat(180), from.join("long-link")).unwrap();
    fs::write(from.join("plain"), noise(100_000, 5)).unwrap();
    fs::hard_link(from.join("plain"), from.join("second")).unwrap();
    fs::write(from.join("ünï\ncode \\"), "odd").unwrap();
    let sparse = fs::File::create(from.join("sparse")).unwrap();
    for part in 0..40u64 {
        std::os::unix::fs::FileExt::write_all_at(&sparse, b"data", part * 100_000).unwrap();
    }
    sparse.set_len(5_000_000).unwrap();
    run("chmod", &["4711", &from.join("plain").display().to_string()]);
    let want = crate::kit::describe(&from);
    let archive = place.path().join("a.tar").display().to_string();
    let directory = from.display().to_string();
    for format in ["--format=gnu", "--format=posix", "--format=gnu --sparse", "--format=oldgnu"] {
        let options: Vec<&str> = format.split(' ').chain(["-cf", &archive, "-C", &directory, "."]).collect();
        run("tar", &options);
        let (out, outcome) = unpack(&fs::read(&archive).unwrap());
        outcome.unwrap_or_else(|e| panic!("{format}: {e}"));
        let got = crate::kit::describe(out.path());
        // Only PAX knows parts of a second.
        let whole = |lines: &[String]| -> Vec<String> {
            lines
                .iter()
                .map(|l| {
                    l.split('.')
                        .next()
                        .map_or(l.clone(), |head| if l.contains('|') { head.into() } else { l.clone() })
                })
                .collect()
        };
        assert_eq!(whole(&got), whole(&want), "{format}");
    }
    run("tar", &["--format=posix", "--sparse", "-cf", &archive, "-C", &directory, "."]);
    let (_, outcome) = unpack(&fs::read(&archive).unwrap());
    assert!(outcome.unwrap_err().to_string().contains("pack them without --sparse"));
}

#[test]
fn odd_but_honest_streams() {
    if !is_root("odd_but_honest_streams") {
        return;
    }
    let whole = tar(&[file("a", "1"), file("b", "2")]);
    // Without the two blocks at the end, with one, without the last padding, with something after the end.
    for length in [whole.len() - 1024, whole.len() - 512, whole.len() - 1024 - 511] {
        let (place, outcome) = unpack(&whole[..length]);
        outcome.unwrap_or_else(|e| panic!("{length}: {e}"));
        assert_eq!((read(&place, "a"), read(&place, "b")), ("1".into(), "2".into()));
    }
    let (place, outcome) = unpack(&[whole, vec![0; 10240], tar(&[file("after", "x")])].concat());
    outcome.unwrap();
    assert!(!place.path().join("after").exists());
    let (_, outcome) = unpack(&[]);
    assert_eq!(outcome.unwrap(), Unpacked::default());

    // git archive begins with a global comment.
    let comment = Member { data: record(b"comment", b"abc"), ..Member::new(b'g', "pax_global_header") };
    let place = unpacked(&[
        comment,
        file("f", "x"),
        Member::new(b'V', "label"),
        Member { data: b"d".to_vec(), ..Member::new(b'7', "seven") },
    ]);
    assert_eq!((read(&place, "f"), read(&place, "seven")), ("x".into(), "d".into()));
    // A directory in the way of the oldest tars, a size in binary, blank fields.
    let mut binary = Member { data: b"hello".to_vec(), ..Member::new(0, "binary") }.header();
    binary[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5]);
    binary[108..124].fill(b' ');
    checksum(&mut binary);
    let mut data = [b'h', b'e', b'l', b'l', b'o'].to_vec();
    data.resize(512, 0);
    let old_dir = tar(&[Member::new(0, "olddir/")]);
    let (place, outcome) = unpack(&[&old_dir[..512], &binary, &data].concat());
    outcome.unwrap();
    assert_eq!(read(&place, "binary"), "hello");
    assert!(place.path().join("olddir").is_dir());
}
