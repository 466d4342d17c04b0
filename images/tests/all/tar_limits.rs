//! Tars that want too much, are damaged, or mean different things to different readers (threats I3, I5, I6).

use std::fs;
use std::io::{BufReader, Cursor, Read};
use std::path::Path;
use std::time::Duration;

use images::{UnpackLimits, unpack_tar};
use proptest::prelude::*;

use crate::kit::tars::{Member, checksum, dir, file, hardlink, noise, symlink, tar};
use crate::kit::{in_memory, is_root};
use crate::tar_corpus::{LIMITS, Yard};

#[test]
fn depth_and_counts_are_bounded() {
    if !is_root("depth_and_counts_are_bounded") {
        return;
    }
    let yard = Yard::new();
    let deep = "d/".repeat(2000);
    assert!(!yard.unpack("4000 bytes of directories", &tar(&[file("x", "x").pax_name(&format!("{deep}f"))])));
    assert!(
        yard.unpack("200 directories", &tar(&[file("x", "x").pax_name(&format!("{}f", "d/".repeat(200)))]))
    );
    // Each link goes on where the one before ended.
    let far = "e/".repeat(200);
    let mut members = vec![dir("x").pax_name(&far)];
    members.push(symlink("l1", "").pax("linkpath", far.as_bytes()));
    members.push(dir("x").pax_name(&format!("l1/{far}")));
    assert!(!yard.unpack("400 directories through a link", &tar(&members)));
    let hop = |n: usize| symlink(&format!("s{n}"), &format!("s{}", n + 1));
    let chain: Vec<Member> = (0..60).map(hop).chain([file("s0/x", "x")]).collect();
    assert!(!yard.unpack("sixty links", &tar(&chain)));
    assert!(!yard.unpack("a loop", &tar(&[symlink("a", "b"), symlink("b", "a"), file("a/x", "x")])));
    let many: Vec<Member> = (0..5_001).map(|n| file(&format!("f{n}"), "")).collect();
    assert!(!yard.unpack("5001 files", &tar(&many)));
    let parents: Vec<Member> =
        (0..40).map(|n| file("x", "").pax_name(&format!("p{n}/{}f", "d/".repeat(150)))).collect();
    assert!(!yard.unpack("6000 parents", &tar(&parents)));
    let huge: Vec<Member> =
        (0..17).map(|n| Member { data: vec![0; 1 << 20], ..file(&format!("f{n}"), "") }).collect();
    assert!(!yard.unpack("17 MiB", &tar(&huge)));
}

/// An old GNU sparse file with these parts and real size.
fn sparse(parts: &[(u64, u64)], real: u64, data: &[u8]) -> Vec<u8> {
    let mut header = Member { data: data.to_vec(), ..Member::new(b'S', "sparse") }.header();
    header[257..265].copy_from_slice(b"ustar  \0");
    for (n, (offset, length)) in parts.iter().take(4).enumerate() {
        header[386 + 24 * n..][..12].copy_from_slice(format!("{offset:011o}\0").as_bytes());
        header[398 + 24 * n..][..12].copy_from_slice(format!("{length:011o}\0").as_bytes());
    }
    header[483..495].copy_from_slice(format!("{real:011o}\0").as_bytes());
    checksum(&mut header);
    let mut tar = [&header[..], data].concat();
    tar.resize(tar.len().next_multiple_of(512) + 1024, 0);
    tar
}

#[test]
fn sparse_maps_are_checked() {
    if !is_root("sparse_maps_are_checked") {
        return;
    }
    let yard = Yard::new();
    assert!(yard.unpack("two parts", &sparse(&[(0, 3), (1000, 2)], 2000, b"abcde")));
    for (what, parts, real) in [
        ("overlap", vec![(0, 3), (2, 2)], 2000),
        ("backwards", vec![(1000, 3), (0, 2)], 2000),
        ("beyond the file", vec![(0, 3), (1999, 2)], 2000),
        ("more than stored", vec![(0, 3), (1000, 20)], 2000),
        ("less than stored", vec![(0, 3)], 2000),
        ("a file of 64 GiB", vec![(0, 5)], 8_589_934_591),
    ] {
        assert!(!yard.unpack(what, &sparse(&parts, real, b"abcde")), "{what}: was taken");
    }
}

/// Time that this thread has computed, whatever else the machine does.
fn computed() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// One block after another, so many times, and an end: tars of any length in little memory.
struct Repeated {
    block: Vec<u8>,
    /// Bytes that are still to come.
    left: usize,
}

impl Repeated {
    fn new(members: &[Member], times: usize) -> Self {
        let mut block = tar(members);
        block.truncate(block.len() - 1024);
        Self { left: block.len() * times, block }
    }
}

impl Read for Repeated {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let at = (self.block.len() - self.left % self.block.len()) % self.block.len();
        let length = into.len().min(self.left).min(self.block.len() - at);
        into[..length].copy_from_slice(&self.block[at..at + length]);
        self.left -= length;
        Ok(length)
    }
}

/// What unpacking costs, the best of three.
fn cost(members: &[Member], times: usize) -> Duration {
    let limits = UnpackLimits { entries: 8 << 20, bytes: 1 << 20 };
    let once = || {
        let place = in_memory();
        let tar = Repeated::new(members, times).chain(Cursor::new([0; 1024]));
        let before = computed();
        unpack_tar(BufReader::new(tar), place.path(), limits).unwrap();
        computed() - before
    };
    (0..3).map(|_| once()).min().unwrap()
}

/// `SOAK=1`: a million and two million entries, of which twice as many may take 2.3 times as long.
#[test]
fn whiteouts_take_linear_time() {
    if !is_root("whiteouts_take_linear_time") {
        return;
    }
    let soak = std::env::var_os("SOAK").is_some();
    let entries = if soak { 1_000_000 } else { 12_000 };
    let opaque = vec![file("d/.wh..wh..opq", "")];
    let some = |n: usize| {
        let name = format!("t/f{}", n % 10);
        [dir("t/"), file(&name, ""), file(".wh.t", ""), file(&format!("t/.wh.g{n}"), "")]
    };
    let mixed: Vec<Member> = (0..100).flat_map(some).collect();
    let again = |n: usize| {
        let other = if n.is_multiple_of(100) { file("r", "") } else { dir("r/") };
        [file(&format!("r/x{n}"), ""), other, dir("r/")]
    };
    let replaced: Vec<Member> = (0..100).flat_map(again).collect();
    for (what, members) in [("opaque", opaque), ("mixed", mixed), ("replaced", replaced)] {
        let times = entries / members.len();
        let (one, two) = (cost(&members, times), cost(&members, 2 * times));
        println!("{what}: {one:?} for {entries}, {two:?} for twice as many");
        let most = if soak { one.mul_f64(2.3) } else { one * 3 + Duration::from_millis(100) };
        assert!(two <= most, "{what}: {one:?} for {entries}, {two:?} for twice as many");
    }
}

fn sample() -> Vec<u8> {
    tar(&[
        dir("d/"),
        file("d/f", "content").pax("mtime", b"1.5").pax("SCHILY.xattr.user.a", b"v"),
        Member { data: noise(700, 9), ..file("noise", "") },
        symlink("l", "d"),
        hardlink("h", "d/f"),
        file("x", "y").gnu_name(&"n".repeat(120)),
        file("l/.wh.f", ""),
        Member::new(b'6', "pipe"),
    ])
}

/// What GNU tar sees in it: names and sizes; `None` when it refuses.
fn seen_by_gnu(place: &Path, tar: &[u8]) -> Option<Vec<String>> {
    let archive = place.join("a.tar");
    fs::write(&archive, tar).unwrap();
    let output = std::process::Command::new("tar")
        .args(["--list", "--verbose", "--numeric-owner", "--quoting-style=literal", "-P", "-f"])
        .arg(&archive)
        .output()
        .unwrap();
    (output.status.success() && output.stderr.is_empty())
        .then(|| String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_tars_never_panic_and_never_leak(
        damage in proptest::collection::vec((0usize..6000, any::<u8>()), 1..12),
        cut in proptest::option::of(0usize..6000),
        fix in any::<bool>(),
    ) {
        if rustix::process::geteuid().is_root() {
            let yard = Yard::new();
            let mut tar = sample();
            for (at, byte) in damage {
                let at = at % tar.len();
                tar[at] = byte;
                if fix {
                    // With right checksums the damage gets past the first look.
                    let mut block: [u8; 512] = tar[at / 512 * 512..][..512].try_into().unwrap();
                    checksum(&mut block);
                    tar[at / 512 * 512..][..512].copy_from_slice(&block);
                }
            }
            if let Some(cut) = cut {
                tar.truncate(cut);
            }
            yard.unpack("damaged", &tar);
        }
    }

    #[test]
    fn sizes_mean_to_us_what_they_mean_to_gnu_tar(
        sizes in proptest::collection::vec((0u64..1600, proptest::option::of(0u64..1600), 0usize..1600), 1..4),
    ) {
        // Members whose stated, extended and real sizes need not agree, their content being more members.
        let inner = tar(&[file("inner1", "x"), file("inner2", "y")]);
        let members: Vec<Member> = sizes.iter().enumerate().map(|(n, (stated, pax, real))| {
            let content = inner.iter().copied().cycle().take(*real).collect();
            let member = Member { data: content, ..file(&format!("outer{n}"), "") }.stated(*stated);
            match pax {
                Some(size) => member.pax("size", size.to_string().as_bytes()),
                None => member,
            }
        }).collect();
        let bytes = tar(&members);
        let place = tempfile::tempdir().unwrap();
        let layer = place.path().join("layer");
        fs::create_dir(&layer).unwrap();
        let root = rustix::process::geteuid().is_root();
        if root && unpack_tar(Cursor::new(&bytes), &layer, LIMITS).is_ok()
            && let Some(lines) = seen_by_gnu(place.path(), &bytes)
        {
            let mut theirs: Vec<String> = lines.iter().map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                format!("{} {}", words[5], words[2])
            }).collect();
            // What comes twice is there once, and equal.
            theirs.sort();
            theirs.dedup();
            let mut ours: Vec<String> = crate::kit::list(&layer).iter().map(|path| {
                format!("{} {}", path.file_name().unwrap().to_string_lossy(), path.metadata().unwrap().len())
            }).collect();
            ours.sort();
            prop_assert_eq!(ours, theirs);
        }
    }
}
