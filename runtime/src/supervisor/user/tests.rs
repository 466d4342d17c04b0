//! Every way an image can lie about users.
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;

use super::*;

const PASSWD: &str =
    "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:w:/var/www:/bin/sh\nbroken:x:-1:0::/:\nrel:x:5:5::home:\n";
const GROUP: &str = "root:x:0:\nwww:x:34:\nextra:x:77:a,web\nbad:x:x1:web\n";

fn rootfs() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("etc")).unwrap();
    fs::write(dir.path().join("etc/passwd"), PASSWD).unwrap();
    fs::write(dir.path().join("etc/group"), GROUP).unwrap();
    dir
}

fn ask(dir: &tempfile::TempDir, wanted: &str) -> Result<Identity, Failure> {
    resolve(File::open(dir.path()).unwrap().as_fd(), Some(wanted))
}

#[test]
fn names_and_numbers() {
    let dir = rootfs();
    let web = Identity { uid: 33, gid: 34, groups: vec![34, 77], home: "/var/www".into() };
    assert_eq!(ask(&dir, "web"), Ok(web.clone()));
    assert_eq!(ask(&dir, "33"), Ok(web.clone()));
    assert_eq!(ask(&dir, "web:extra"), Ok(Identity { gid: 77, groups: vec![77], ..web.clone() }));
    assert_eq!(ask(&dir, "33:5"), Ok(Identity { gid: 5, groups: vec![5], ..web }));
    assert_eq!(ask(&dir, "4000").unwrap(), Identity { uid: 4000, gid: 0, groups: vec![0], home: "/".into() });
    assert_eq!(ask(&dir, "rel").unwrap().home, "/");
}

#[test]
fn k16_malformed_users_are_refused() {
    let dir = rootfs();
    let long = "9".repeat(4096);
    for bad in [
        "4294967296",
        "4294967295",
        "-1",
        "0x0",
        "00",
        "root:",
        ":0",
        "a:b:c",
        "",
        "nobody",
        "web:none",
        "broken",
        "web:bad",
        &long,
    ] {
        let failure = ask(&dir, bad).expect_err(bad);
        assert_eq!(failure.kind, FailureKind::User, "{bad}");
        assert!(failure.message.len() < 300);
    }
}

#[test]
fn k16_hostile_databases_end_at_once() {
    let make = |act: &dyn Fn(&std::path::Path)| {
        let dir = rootfs();
        let passwd = dir.path().join("etc/passwd");
        fs::remove_file(&passwd).unwrap();
        act(&passwd);
        ask(&dir, "web").expect_err("it must be refused").message
    };
    let too_long = make(&|passwd| File::create(passwd).unwrap().set_len(2 << 30).unwrap());
    assert!(too_long.contains("longer than"), "{too_long}");
    let fifo = make(&|passwd| {
        rustix::fs::mknodat(rustix::fs::CWD, passwd, FileType::Fifo, Mode::RWXU, 0).unwrap();
    });
    assert!(fifo.contains("not a regular file"), "{fifo}");
    let missing = make(&|_| {});
    assert!(missing.contains("not in the container's /etc/passwd"), "{missing}");
}

#[test]
fn a_link_stays_inside_the_container() {
    let (dir, outside) = (rootfs(), tempfile::tempdir().unwrap());
    let canary = outside.path().join("passwd");
    fs::write(&canary, "web:x:0:0::/:\n").unwrap();
    fs::remove_file(dir.path().join("etc/passwd")).unwrap();
    symlink(&canary, dir.path().join("etc/passwd")).unwrap();
    assert!(ask(&dir, "web").is_err());
}
