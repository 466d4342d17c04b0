//! Reading sandboxes, also those of tasks that would like the agent to read something else.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use agent::Running;

use crate::common::{framework, get, post, task};
use crate::fake::Set;

struct Sandbox {
    set: Set,
    agent: Running,
    folder: PathBuf,
}

async fn sandbox(id: &str) -> Sandbox {
    let mut set = Set::new().await;
    let agent = set.agent().await;
    set.master.register().await;
    set.master.run(&framework("F", true), task(id, "true")).await;
    let (launch, _) = set.fake.launched(0).await;
    let folder = set.paths().sandbox(&launch.run);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("stdout"), "hello").unwrap();
    Sandbox { set, agent, folder }
}

fn encoded(text: &str) -> String {
    text.bytes().map(|b| format!("%{b:02x}")).collect()
}

impl Sandbox {
    async fn read(&self, path: &str, rest: &str) -> (u16, String) {
        let answer = get(self.agent.address(), &format!("/files/read?path={}{rest}", encoded(path))).await;
        (answer.status, answer.text())
    }
}

#[tokio::test]
async fn a_file_has_three_names() {
    let it = sandbox("t").await;
    let real = it.folder.to_str().unwrap().to_owned();
    let latest = it.folder.with_file_name("latest").to_str().unwrap().to_owned();
    let debug = get(it.agent.address(), "/files/debug").await.json();
    for folder in [real.as_str(), &latest, "/frameworks/F/executors/t/runs/latest"] {
        let read = it.read(&format!("{folder}/stdout"), "&offset=0").await;
        assert_eq!(read, (200, r#"{"data":"hello","offset":0}"#.to_owned()), "{folder}");
        assert_eq!(debug[folder], real.as_str());
    }
    it.agent.stop().await.unwrap();
}

/// Mesos: the log that something else writes is attached under `/slave/log`.
#[tokio::test]
async fn the_log_is_shown_where_there_is_one() {
    let set = Set::new().await;
    let log = set.dir.path().join("agent.log");
    fs::write(&log, "one line").unwrap();
    let agent = set.agent_with(&[("external_log_file", log.to_str().unwrap())]).await;
    let at = agent.address();
    let read = get(at, "/files/read?path=/slave/log&offset=4").await;
    assert_eq!((read.status, read.text().as_str()), (200, r#"{"data":"line","offset":4}"#));
    assert_eq!(get(at, "/files/download?path=/slave/log").await.text(), "one line");
    let real = fs::canonicalize(&log).unwrap();
    assert_eq!(get(at, "/files/debug").await.json()["/slave/log"], real.to_str().unwrap());
    for (call, body) in [
        ("LIST_FILES", r#"{"type":"LIST_FILES","list_files":{"path":"/slave/log"}}"#),
        ("READ_FILE", r#"{"type":"READ_FILE","read_file":{"path":"/slave/log","offset":0}}"#),
    ] {
        let answer = post(at, "/api/v1", "application/json", body.as_bytes()).await;
        assert_eq!(answer.status, 200, "{call}: {}", answer.text());
        assert_eq!(answer.json()["type"], call);
    }
    agent.stop().await.unwrap();
    let agent = set.agent().await;
    assert_eq!(get(agent.address(), "/files/read?path=/slave/log&offset=0").await.status, 404);
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn offsets_and_lengths() {
    let it = sandbox("100% odd:id").await;
    let path = "/frameworks/F/executors/100% odd:id/runs/latest/stdout";
    let escaped = "/frameworks/F/executors/100%25 odd:id/runs/latest/stdout";
    for (rest, expected) in [
        ("", r#"{"data":"","offset":5}"#),
        ("&offset=-1", r#"{"data":"","offset":5}"#),
        ("&offset=1&length=2", r#"{"data":"el","offset":1}"#),
        ("&offset=1&length=-1", r#"{"data":"ello","offset":1}"#),
        ("&offset=99", r#"{"data":"","offset":99}"#),
    ] {
        assert_eq!(it.read(path, rest).await, (200, expected.to_owned()), "{rest}");
        assert_eq!(it.read(escaped, rest).await.0, 200, "{rest}");
    }
    for rest in ["&offset=-2", "&length=-2&offset=0", "&offset=x"] {
        assert_eq!(it.read(path, rest).await.0, 400, "{rest}");
    }
    // 16 pages at most, and no character cut in two.
    let long = "é".repeat(40_000);
    fs::write(it.folder.join("long"), format!("x{long}")).unwrap();
    let answer = get(
        it.agent.address(),
        &format!("/files/read?offset=0&path={}", encoded(&path.replace("stdout", "long"))),
    )
    .await;
    let data = answer.json()["data"].as_str().unwrap().to_owned();
    assert_eq!(data.len(), 16 * 4096 - 1);
    assert!(data.starts_with("xé") && !data.contains('\u{fffd}'));
    it.agent.stop().await.unwrap();
}

#[tokio::test]
async fn hostile_files_are_not_followed() {
    let it = sandbox("t").await;
    let canary = it.set.dir.path().join("canary");
    fs::write(&canary, "secret").unwrap();
    let at = |name: &str| it.folder.join(name);
    symlink(&canary, at("absolute")).unwrap();
    symlink("../../../../../../../../../../canary", at("relative")).unwrap();
    symlink("/proc/self/environ", at("environ")).unwrap();
    symlink("/proc/self/root", at("root")).unwrap();
    symlink(it.set.dir.path(), at("folder")).unwrap();
    symlink("loop", at("loop")).unwrap();
    fs::remove_file(at("stdout")).unwrap();
    symlink(&canary, at("stdout")).unwrap();
    fs::write(at("inner"), "mine").unwrap();
    symlink("inner", at("inside")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o644),
        0,
    )
    .unwrap();
    let top = "/frameworks/F/executors/t/runs/latest";
    for name in [
        "absolute",
        "relative",
        "environ",
        "root",
        "root/etc/passwd",
        "folder/canary",
        "loop",
        "stdout",
        "pipe",
        "../../../../../../../meta/boot_id",
        "./../../canary",
        "",
        ".",
        "absent",
        "inner/below",
        "a\0b",
    ] {
        for route in ["read", "download"] {
            let path = encoded(&format!("{top}/{name}"));
            let answer = get(it.agent.address(), &format!("/files/{route}?offset=0&path={path}")).await;
            assert!(
                matches!(answer.status, 400 | 404),
                "{route} {name}: {} {}",
                answer.status,
                answer.text()
            );
            assert!(!answer.text().contains("secret"), "{route} {name}");
        }
    }
    for path in ["/etc/passwd", "/", "", "/frameworks", "/frameworks/F/executors/t", canary.to_str().unwrap()]
    {
        assert!(matches!(it.read(path, "&offset=0").await.0, 400 | 404), "{path}");
    }
    assert_eq!(it.read(&format!("{top}/inside"), "&offset=0").await.1, r#"{"data":"mine","offset":0}"#);
    let browse = get(it.agent.address(), &format!("/files/browse?path={top}/folder")).await;
    assert_eq!(browse.status, 400, "{}", browse.text());
    it.agent.stop().await.unwrap();
}

#[tokio::test]
async fn folders_are_listed() {
    let it = sandbox("t").await;
    fs::create_dir(it.folder.join("dir")).unwrap();
    symlink("/etc/passwd", it.folder.join("link")).unwrap();
    let top = "/frameworks/F/executors/t/runs/latest";
    let answer = get(it.agent.address(), &format!("/files/browse?path={top}/")).await;
    let list = answer.json();
    let brief: Vec<String> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| format!("{} {}", entry["path"].as_str().unwrap(), &entry["mode"].as_str().unwrap()[..1]))
        .collect();
    assert_eq!(brief, [format!("{top}/dir d"), format!("{top}/link l"), format!("{top}/stdout -")]);
    assert_eq!(list[2]["size"], 5);
    assert!(list[2]["mtime"].as_i64().unwrap() > 0 && list[2]["uid"].is_string());
    assert_eq!(get(it.agent.address(), "/files/browse").await.status, 400);
    assert_eq!(get(it.agent.address(), "/files/browse?path=/nothing").await.status, 404);
    let call = format!(r#"{{"type":"LIST_FILES","list_files":{{"path":"{top}"}}}}"#);
    let infos = post(it.agent.address(), "/api/v1", "application/json", call.as_bytes()).await.json();
    assert_eq!(infos["list_files"]["file_infos"][2]["path"], format!("{top}/stdout"));
    let call =
        format!(r#"{{"type":"READ_FILE","read_file":{{"path":"{top}/stdout","offset":1,"length":3}}}}"#);
    let read = post(it.agent.address(), "/api/v1", "application/json", call.as_bytes()).await.json();
    assert_eq!((&read["read_file"]["data"], &read["read_file"]["size"]), (&"ZWxs".into(), &5.into()));
    it.agent.stop().await.unwrap();
}

#[tokio::test]
async fn downloads_are_whole() {
    let it = sandbox("t").await;
    let content: Vec<u8> = (0..300_000u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
    fs::write(it.folder.join("odd \"name\".json"), &content).unwrap();
    let path = encoded("/frameworks/F/executors/t/runs/latest/odd \"name\".json");
    let answer = get(it.agent.address(), &format!("/files/download?path={path}")).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body == content);
    assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
    assert!(answer.head.contains("attachment; filename=\"odd _name_.json\""), "{}", answer.head);
    it.agent.stop().await.unwrap();
}
