//! A cluster on pure cgroup v2, in a virtual machine under software emulation: limits, devices and a fork bomb.
//!
//! The machine's parts are made by the scripts in `vm/`; what it finds it prints as `RESULT name value`.
#![allow(clippy::unwrap_used, reason = "a test says where it failed by its line")]

#[path = "../vm/machine.rs"]
mod machine;

use machine::{boot, folder, image, must, script, tepui, workspace};

/// Emulated, everything takes some ten times longer.
const SECONDS: &str = "420";

#[test]
fn pure_cgroup_v2() {
    let dir = folder("vm", &[("kernel.sh", "kernel")]);
    let guest = workspace().join("integration/vm/guest.sh");
    let layout = image(&dir);
    must(script("build.sh").arg(&dir).arg(tepui()).arg(guest).arg(layout).output(), "building the machine");
    let found = boot(&dir, SECONDS);
    let value = |name: &str| found.value(name);
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
