//! Hostile tars: whatever they try, nothing outside the layer changes (threats I1, I2, I3, I5, I6, I16).

use std::fs;
use std::io::Cursor;
use std::path::Path;

use images::{UnpackLimits, unpack_tar};

use crate::kit::tars::{Member, checksum, dir, file, hardlink, record, symlink, tar};
use crate::kit::{in_memory, is_root};

pub const LIMITS: UnpackLimits = UnpackLimits { entries: 5_000, bytes: 16 << 20 };

/// A directory for the layer, deep inside a place where every change shows.
pub struct Yard {
    place: tempfile::TempDir,
    before: Vec<String>,
}

impl Yard {
    pub fn new() -> Self {
        let place = in_memory();
        fs::create_dir_all(place.path().join("a/b")).unwrap();
        fs::create_dir(place.path().join("canary")).unwrap();
        fs::write(place.path().join("canary/file"), "alive").unwrap();
        fs::write(place.path().join("a/b/canary"), "alive").unwrap();
        let before = state(place.path());
        Self { place, before }
    }

    fn canary(&self) -> String {
        self.place.path().join("canary").display().to_string()
    }

    /// Unpacks and reports whether it was taken; nothing outside may have changed.
    pub fn unpack(&self, what: &str, tar: &[u8]) -> bool {
        let layer = self.place.path().join("a/b/layer");
        fs::create_dir(&layer).unwrap();
        let outcome = std::panic::catch_unwind(|| unpack_tar(Cursor::new(tar), &layer, LIMITS));
        assert!(layer.symlink_metadata().unwrap().is_dir(), "{what}: the root was replaced");
        images::remove_tree(&layer).unwrap_or_else(|e| panic!("{what}: can't be removed: {e}"));
        assert_eq!(state(self.place.path()), self.before, "{what}: something outside changed");
        outcome.unwrap_or_else(|_| panic!("{what}: panicked")).is_ok()
    }
}

/// Everything in a place, with what can be changed of it.
fn state(place: &Path) -> Vec<String> {
    use std::os::unix::fs::MetadataExt as _;
    let mut found = Vec::new();
    let mut open = vec![place.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let (path, meta) = entry.map(|e| (e.path(), e.metadata().unwrap())).unwrap();
            // The layer's parent changes its time when the layer is made.
            let time = if path.ends_with("a/b") { 0 } else { meta.mtime_nsec() };
            let text = if meta.is_file() { fs::read_to_string(&path).unwrap() } else { String::new() };
            found.push(format!(
                "{} {:o} {}:{} {} {time} {text}",
                path.display(),
                meta.mode(),
                meta.uid(),
                meta.gid(),
                meta.nlink()
            ));
            if meta.is_dir() {
                open.push(path);
            }
        }
    }
    found.sort();
    found
}

type Case = (String, Vec<u8>);

/// The same member with its name in the plain header, in PAX, and in GNU's way.
fn dialects(member: &Member) -> Vec<(&'static str, Member)> {
    let name = String::from_utf8(member.name.clone()).unwrap();
    vec![
        ("plain", member.clone()),
        ("pax", member.clone().pax_name(&name)),
        ("gnu", member.clone().gnu_name(&name)),
    ]
}

/// Names that try to get out.
fn climbing(canary: &str) -> Vec<String> {
    [
        "../canary",
        "../../canary",
        "../../../canary/file",
        "x/../../canary",
        "./../canary",
        "/../../../canary",
        "x/y/../../../canary",
        "..",
        "../",
        "a/..",
    ]
    .into_iter()
    .map(str::to_owned)
    .chain([canary.to_owned(), format!("/{canary}/file"), format!("..{canary}")])
    .collect()
}

fn traversal(canary: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    for name in climbing(canary) {
        let kinds = [
            file(&name, "dead"),
            dir(&name).mode(0o777),
            symlink(&name, "/etc"),
            hardlink(&name, "own"),
            hardlink("link", &name),
            Member::new(b'6', &name),
        ];
        for member in kinds {
            for (dialect, member) in dialects(&member) {
                let what = format!("{dialect} type {} named {name:?}", char::from(member.flag));
                cases.push((what, tar(&[file("own", "x"), member])));
            }
        }
    }
    cases
}

/// A link that leads out, then something that uses it, in both orders.
fn through_links(canary: &str) -> Vec<Case> {
    let targets = [
        canary.to_owned(),
        "../../../canary".into(),
        "/".into(),
        "..".into(),
        ".".into(),
        format!("{canary}/file"),
        "/proc/self/cwd".into(),
        "self".into(),
    ];
    let users = |link: &str| {
        vec![
            vec![file(&format!("{link}/file"), "dead")],
            vec![file(&format!("{link}/new"), "dead")],
            vec![dir(&format!("{link}/")).mode(0o777).owner(5, 5)],
            vec![dir(&format!("{link}/sub/"))],
            vec![file(&format!("{link}/.wh.file"), "")],
            vec![file(&format!("{link}/.wh..wh..opq"), "")],
            vec![hardlink("stolen", &format!("{link}/file")), file("stolen", "dead")],
            vec![hardlink(&format!("{link}/in"), "own")],
            vec![file(link, "dead")],
            vec![hardlink("h", link), file("h/file", "dead")],
            vec![Member::new(b'6', &format!("{link}/pipe"))],
            vec![symlink("second", link), file("second/file", "dead")],
        ]
    };
    let mut cases = Vec::new();
    for target in &targets {
        for (number, members) in users("link").into_iter().enumerate() {
            let link = symlink("link", target);
            let before = [vec![file("own", "x"), link.clone()], members.clone()].concat();
            let after = [vec![file("own", "x")], members, vec![link]].concat();
            cases.push((format!("link to {target:?}, then use {number}"), tar(&before)));
            cases.push((format!("use {number}, then link to {target:?}"), tar(&after)));
        }
    }
    cases
}

/// Entries that want to be the root, or to hide it.
fn roots(canary: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    for name in [".", "./", "/", "", "//", "./."] {
        for member in [
            symlink(name, canary),
            file(name, "dead"),
            hardlink(name, "own"),
            Member::new(b'6', name),
            Member::new(b'3', name),
        ] {
            cases.push((
                format!("type {} as root {name:?}", char::from(member.flag)),
                tar(&[file("own", "x"), member, file("canary", "dead")]),
            ));
        }
    }
    for name in [".wh.", ".wh..", ".wh...", "d/.wh.", "d/.wh..", ".wh.x/y", ".wh..wh..opq/x"] {
        cases.push((format!("whiteout {name:?}"), tar(&[dir("d/"), file(name, "")])));
    }
    cases
}

/// Headers that two readers would read differently, or that want too much.
fn garbled() -> Vec<Case> {
    let sized = |size: &str| file("f", "12345").pax("size", size.as_bytes());
    let mut cases: Vec<Case> =
        ["0", "4", "6", "512", "99999999999", "18446744073709551615", "-1", "+5", "5 ", "0x5", "5\n"]
            .into_iter()
            .map(|size| (format!("PAX size {size:?} against 5"), tar(&[sized(size), file("g", "x")])))
            .collect();
    let global = |key: &str| Member { data: record(key.as_bytes(), b"7"), ..Member::new(b'g', "g") };
    for key in ["size", "path", "linkpath", "uid", "SCHILY.xattr.user.x", "GNU.sparse.size"] {
        cases.push((format!("global {key}"), tar(&[global(key), file("f", "x")])));
    }
    let raw = |flag: u8, data: &[u8]| Member { data: data.to_vec(), ..Member::new(flag, "raw") };
    let pax = |data: &[u8]| raw(b'x', data);
    let twice = [record(b"path", b"a"), record(b"path", b"b")].concat();
    for (what, first) in [
        ("garbled PAX", pax(b"garbage")),
        ("PAX record too long", pax(b"999 a=b\n")),
        ("PAX record of no length", pax(b"0 a=b\n")),
        ("PAX path twice", pax(&twice)),
        ("PAX path with NUL", pax(&record(b"path", b"a\0b"))),
        ("PAX attribute too large", pax(&record(b"SCHILY.xattr.user.x", &vec![b'x'; 70_000]))),
        ("PAX header too large", raw(b'x', &vec![b'x'; 2 << 20])),
        ("GNU name too large", raw(b'L', &vec![b'x'; 20_000])),
        ("GNU name of 5000", raw(b'L', &vec![b'x'; 5_000])),
        ("PAX sparse", pax(&record(b"GNU.sparse.major", b"1"))),
        ("a directory with content", Member { data: vec![1; 600], ..dir("d/") }),
        ("a link with content", Member { data: vec![1; 600], ..symlink("l", "x") }),
        ("a type of nobody", Member::new(b'Z', "z")),
        ("Solaris' header", raw(b'X', b"x")),
        ("a continued volume", Member::new(b'M', "m")),
        ("a link to nothing", symlink("l", "")),
        ("an owner beyond", file("f", "x").pax("uid", b"4294967295")),
        ("an owner far beyond", file("f", "x").pax("gid", b"99999999999")),
        ("a hard link to nothing", hardlink("h", "nowhere")),
        ("a hard link to itself", hardlink("h", "h")),
        ("a hard link to a directory", hardlink("h", "d")),
        ("a hard link to the root", hardlink("h", "/")),
        ("a file below a file", file("plain/below", "x")),
    ] {
        cases.push((what.to_owned(), tar(&[dir("d/"), file("plain", "p"), first, file("last", "x")])));
    }
    cases.push((
        "two PAX headers".into(),
        tar(&[pax(&record(b"path", b"a")), pax(&record(b"path", b"b")), file("f", "x")]),
    ));
    cases.push(("PAX and GNU name".into(), tar(&[file("f", "x").pax("path", b"a").gnu_name("b")])));
    cases.push(("a header without member".into(), tar(&[pax(&record(b"path", b"a"))])));
    let stated = tar(&[file("f", "x").stated(1 << 40)]);
    cases.push(("a size beyond the end".into(), stated));
    let mut header = file("f", "x").header();
    header[124..136].copy_from_slice(&[0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    checksum(&mut header);
    cases.push(("a size of more than 64 bits".into(), [&header[..], &[0; 1024]].concat()));
    header[124..136].fill(0xff);
    checksum(&mut header);
    cases.push(("a negative size".into(), [&header[..], &[0; 1024]].concat()));
    header[124..136].copy_from_slice(b"+0000000001\0");
    checksum(&mut header);
    cases.push(("a size with a sign".into(), [&header[..], &[0; 1024]].concat()));
    let zero_between = [&tar(&[file("f", "x")])[..1024], &[0; 512], &tar(&[file("g", "x")])].concat();
    cases.push(("one block of zeros between".into(), zero_between));
    let mut wrong = tar(&[file("f", "x")]);
    wrong[0] = b'g';
    cases.push(("a wrong checksum".into(), wrong));
    cases
}

#[test]
fn hostile_tars_change_nothing_outside() {
    if !is_root("hostile_tars_change_nothing_outside") {
        return;
    }
    let yard = Yard::new();
    let canary = yard.canary();
    let groups = [traversal(&canary), through_links(&canary), roots(&canary)];
    let total: usize = groups.iter().map(Vec::len).sum::<usize>() + garbled().len();
    assert!(total >= 200, "the corpus has only {total} tars");
    for (what, tar) in groups.iter().flatten() {
        let taken = yard.unpack(what, tar);
        let must_refuse = (what.contains("named") && what.contains("..")) || what.contains("as root \".\"");
        assert!(!(must_refuse && taken), "{what}: was taken");
    }
    for (what, tar) in garbled() {
        let taken = yard.unpack(&what, &tar);
        let harmless = what == "a hard link to itself" && taken;
        assert!(!taken || harmless, "{what}: was taken");
    }
}

#[test]
fn a_mode_does_not_follow_a_link() {
    if !is_root("a_mode_does_not_follow_a_link") {
        return;
    }
    let yard = Yard::new();
    let canary = yard.canary();
    for target in [canary.clone(), format!("{canary}/file")] {
        let link = symlink("foo", &target);
        for last in [
            dir("foo").mode(0o777).owner(6, 6),
            file("foo", "dead").mode(0o777),
            dir("foo/").pax("mtime", b"1"),
        ] {
            assert!(yard.unpack("link, then its name", &tar(&[link.clone(), last])));
        }
    }
}
