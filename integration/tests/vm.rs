//! A cluster on pure cgroup v2, in a virtual machine under software emulation: limits, devices and a fork bomb.
//!
//! The machine's parts are made by the scripts in `vm/`; what it finds it prints as `RESULT name value`.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Emulated, everything takes some ten times longer.
const SECONDS: &str = "420";

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("integration lies in the workspace").to_owned()
}

/// Folder of the build that this test belongs to.
fn build_folder() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.ancestors().nth(2).expect("a test lies in target/PROFILE/deps").to_owned()
}

fn tepui() -> PathBuf {
    std::env::var_os("TEPUI_BIN").map_or_else(|| build_folder().join("tepui"), PathBuf::from)
}

fn script(name: &str) -> Command {
    Command::new(workspace().join("integration/vm").join(name))
}

fn must(output: std::io::Result<Output>, what: &str) -> String {
    let output = output.unwrap_or_else(|e| panic!("{what}: {e}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{what}: {}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// An OCI layout with busybox's commands.
fn image(dir: &Path) -> PathBuf {
    let (tree, layout) = (dir.join("tree"), dir.join("layout"));
    for old in [&tree, &layout] {
        if old.exists() {
            fs::remove_dir_all(old).unwrap();
        }
    }
    fs::create_dir_all(tree.join("bin")).unwrap();
    fs::copy("/bin/busybox", tree.join("bin/busybox")).expect("/bin/busybox of the package busybox-static");
    for name in ["sh", "cat", "grep", "tail", "dd", "usleep", "sleep"] {
        std::os::unix::fs::symlink("busybox", tree.join("bin").join(name)).unwrap();
    }
    let tagged = format!("{}:latest", layout.display());
    must(Command::new("umoci").args(["init", "--layout"]).arg(&layout).output(), "umoci init");
    must(Command::new("umoci").args(["new", "--image", &tagged]).output(), "umoci new");
    let bin = tree.join("bin");
    must(
        Command::new("umoci").args(["insert", "--image", &tagged]).arg(bin).arg("/bin").output(),
        "umoci insert",
    );
    layout
}

fn results(console: &str) -> BTreeMap<String, String> {
    let lines = console.lines().filter_map(|l| l.trim_end().split_once("RESULT ")?.1.split_once(' '));
    lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn pure_cgroup_v2() {
    let dir = build_folder().join("vm");
    fs::create_dir_all(&dir).unwrap();
    let kernel = workspace().join("target/vm");
    must(script("kernel.sh").arg(&kernel).output(), "fetching a kernel");
    if !dir.join("kernel").exists() {
        std::os::unix::fs::symlink(kernel.join("kernel"), dir.join("kernel")).unwrap();
    }
    let guest = workspace().join("integration/vm/guest.sh");
    let layout = image(&dir);
    must(script("build.sh").arg(&dir).arg(tepui()).arg(guest).arg(layout).output(), "building the machine");
    let output = script("run.sh").arg(&dir).arg(SECONDS).stdin(std::process::Stdio::null()).output().unwrap();
    let console = String::from_utf8_lossy(&output.stdout).into_owned();
    let found = results(&console);
    println!("{console}");
    let value = |name: &str| {
        found
            .get(name)
            .unwrap_or_else(|| panic!("the machine did not say '{name}' within {SECONDS} s; see above"))
            .as_str()
    };
    assert!(
        ["cpu", "memory", "pids", "io"].iter().all(|c| value("controllers").contains(c)),
        "{}",
        value("controllers")
    );
    assert_eq!(value("exit_code"), "7");
    assert!(value("inside").starts_with("0::/ "), "a cgroup namespace of its own: {}", value("inside"));
    assert!(
        value("inside").contains("Seccomp: 2") && value("inside").contains("NoNewPrivs: 1"),
        "{}",
        value("inside")
    );
    assert_ne!(value("memory_code"), "0");
    assert!(value("memory_message").to_lowercase().contains("memory"), "{}", value("memory_message"));
    assert!(value("device").contains("null-ok"), "{}", value("device"));
    assert!(value("device").contains("Operation not permitted"), "{}", value("device"));
    assert!(value("pids").starts_with("4096 max "), "{}", value("pids"));
    assert!(!value("pids").starts_with("4096 max 0"), "{}", value("pids"));
    assert_ne!(value("bomb_code"), "0");
    assert_eq!(value("groups_left"), "0");
    assert_eq!(value("processes"), "calm");
    assert_eq!(value("mounts"), "0");
}
