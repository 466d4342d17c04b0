//! A cluster on pure cgroup v2, in a virtual machine under software emulation: limits, devices and a fork bomb; and the
//! tests of the runtime for which the version of cgroups matters.
//!
//! The machine's parts are made by the scripts in `vm/`; what it finds it prints as `RESULT name value`.
#![allow(clippy::unwrap_used, reason = "a test says where it failed by its line")]

#[path = "../vm/machine.rs"]
mod machine;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use machine::{boot, build_folder, folder, image, must, script, tepui, workspace};

/// Emulated, everything takes some ten times longer.
const SECONDS: &str = "600";

/// Tests of the runtime that are run in the machine.
const OF_RUNTIME: [&str; 11] = [
    "isolation::k12_cgroups_can_not_be_changed_from_inside",
    "isolation::k18_devices_are_denied_but_for_the_usual_ones",
    "threats::k18_devices_stay_denied_after_deaths_and_in_nested_cgroups",
    "limits::processors_and_memory_nodes_can_be_chosen",
    "limits::a_disk_can_be_limited_and_its_use_is_told",
    "limits::a_share_of_the_disk_is_set_or_its_absence_named",
    "limits::huge_pages_are_limited_or_the_missing_controller_is_named",
    "limits::all_figures_are_told_by_the_keeper_and_without_it",
    "limits::running_out_of_memory_is_told_apart_from_a_kill",
    "namespaces::root_of_a_user_namespace_is_nobody_outside",
    "neighbours::k20_no_socket_of_the_hosts_network_lets_a_container_in",
];

/// The program of the runtime's tests, as this build made it.
fn runtime_tests() -> PathBuf {
    let programs = fs::read_dir(build_folder().join("deps")).unwrap().flatten().map(|entry| entry.path());
    let named = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("all-") && !name.contains('.')
    };
    let mut programs: Vec<_> =
        programs.filter(named).map(|path| (fs::metadata(&path).unwrap().modified().unwrap(), path)).collect();
    programs.sort();
    let knows = |path: &PathBuf| {
        let list = Command::new(path).arg("--list").output().unwrap().stdout;
        String::from_utf8_lossy(&list).contains(OF_RUNTIME[0])
    };
    let newest = programs.into_iter().rev().map(|(_, path)| path).find(knows);
    newest.expect("the runtime's tests; build them with: cargo nextest run -p runtime --no-run")
}

#[test]
fn pure_cgroup_v2() {
    let dir = folder("vm", &[("kernel.sh", "kernel")]);
    let guest = workspace().join("integration/vm/guest.sh");
    let layout = image(&dir);
    let mut build = script("build.sh");
    build.arg(&dir).arg(tepui()).arg(guest).arg(layout);
    // The tests have the place of their keeper's program in them.
    let probe = build_folder().join("keeper-probe");
    build.arg(runtime_tests()).arg("/runtime-tests").arg(&probe).arg(&probe);
    must(build.env("RUNTIME_TESTS", OF_RUNTIME.join("\n")).output(), "building the machine");
    let found = boot(&dir, SECONDS);
    let value = |name: &str| found.value(name);
    assert!(
        ["cpu", "memory", "pids", "io"].iter().all(|c| value("controllers").contains(c)),
        "{}",
        value("controllers")
    );
    assert!(value("blkio").starts_with("1 ") && value("blkio").contains("cgroups/io"), "{}", value("blkio"));
    assert!(value("cpuset").contains("--container_cpuset_cpus=1,77 can't be had"), "{}", value("cpuset"));
    let limits = value("limits");
    for limit in
        ["cpuset.cpus=1 ", "cpuset.mems=0 ", "wbps=41943040", "riops=100000", "hugetlb.2MB.max=4194304 "]
    {
        assert!(limits.contains(limit), "{limit}: {limits}");
    }
    // 0.1 CPUs and 32 MB, both asked for and the most; nothing is throttled before.
    for limit in ["memory.low=33554432 ", "memory.max=33554432 ", "memory.high=max "] {
        assert!(limits.contains(limit), "{limit}: {limits}");
    }
    for name in
        ["mem_total_bytes", "mem_kmem_usage_bytes", "cpus_user_time_secs", "tepui_pressure", "total_secs"]
    {
        assert!(value("statistics").contains(name), "{name}: {}", value("statistics"));
    }
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
    for test in OF_RUNTIME {
        assert_eq!(value(&format!("runtime::{test}")), "ok");
    }
}
