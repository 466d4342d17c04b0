//! The agent as a unit of systemd, in a virtual machine under software emulation: restarts, an upgrade, a crash and a
//! stop leave the running task alone, and the agent that comes back goes on with it.
//!
//! The machine's parts are made by the scripts in `vm/`; what it finds it prints as `RESULT name value`.
#![allow(clippy::unwrap_used, reason = "a test says where it failed by its line")]

#[path = "../vm/machine.rs"]
mod machine;

use machine::{boot, folder, image, must, script, tepui, workspace};

/// Emulated, everything takes some ten times longer; alone on two cores it is done in some three minutes.
const SECONDS: &str = "540";

#[test]
fn a_unit_of_systemd() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: a_unit_of_systemd: only root can put a Debian into a folder");
        return;
    }
    let dir = folder("vm-systemd", &[("kernel.sh", "kernel"), ("debian.sh", "debian")]);
    let guest = workspace().join("integration/vm/systemd-guest.sh");
    let units = workspace().join("packaging/systemd");
    let layout = image(&dir);
    let mut build = script("systemd-build.sh");
    must(build.arg(&dir).arg(tepui()).arg(guest).arg(layout).arg(units).output(), "building the machine");
    let found = boot(&dir, SECONDS);
    let value = |name: &str| found.value(name);

    assert!(value("systemd").starts_with("systemd 2"), "{}", value("systemd"));
    assert!(value("cgroup").contains("memory"), "pure cgroup v2: {}", value("cgroup"));
    assert_eq!(value("started"), "0");
    let running = value("running");
    assert!(
        ["tepui-keeper=", "tepui-ini", "sh="].iter().all(|name| running.contains(name)),
        "the container and its keeper: {running}"
    );
    assert_eq!(value("unit"), "1", "in the agent's unit is the agent alone");
    for what in ["restart", "upgrade", "crash", "reload", "failed_start", "stop"] {
        assert_eq!(value(what), "same", "the task's processes after {what}");
    }
    for what in ["plain_restart", "plain_failed_start"] {
        assert_eq!(value(what), "same", "a task that is not root and has no image after {what}");
    }
    assert_eq!(value("plain_exit_code"), "5");
    assert_eq!(value("upgraded"), "/usr/bin/tepui", "the new agent runs the new binary");
    assert_eq!(value("stopped"), "inactive");
    assert_eq!(value("limit"), "67108864", "the limits hold without an agent");
    assert_eq!(value("exit_code"), "7", "the end came while no agent was there, and was told nevertheless");
    assert_eq!(value("groups_left"), "0");
    assert_eq!(value("failed"), "none", "units that failed");
}
