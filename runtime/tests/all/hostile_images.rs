//! Images that are made to harm the host (threats K1, K5, K6, K16).
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use runtime::{Exit, FailureKind, Rootfs, Stage};

use crate::canary::Canary;
use crate::world::{World, world};

/// Busybox with `name` replaced by a link, once as overlay and once as plain folder.
fn attack(world: &World, id: &str, name: &str, target: &Path) {
    let layer = world.path(&format!("{id}-layer"));
    fs::create_dir_all(&layer).unwrap();
    symlink(target, layer.join(name)).unwrap();
    // The target must exist inside as well, else its absence hides the fault.
    if let Ok(inside) = target.strip_prefix("/")
        && inside.components().count() > 1
    {
        fs::create_dir_all(layer.join(inside)).unwrap();
    }
    let mut spec = world.spec(id, &["true"]);
    let Rootfs::Overlay { lower, .. } = &mut spec.rootfs else { unreachable!() };
    lower.insert(0, layer.clone());
    let mut plain = world.spec(&format!("{id}-plain"), &["true"]);
    plain.rootfs = Rootfs::Directory(layer);
    for spec in [spec, plain] {
        let failure = world.refused(&spec);
        assert_eq!((failure.stage, failure.kind), (Stage::Rootfs, FailureKind::Refused), "{failure}");
        assert!(failure.message.contains(&format!("/{name}")), "{failure}");
    }
}

#[test]
fn k01_mount_points_that_are_links_never_reach_the_host() {
    let Some(world) = world("k01_mount_points_that_are_links_never_reach_the_host") else { return };
    let canary = Canary::new();
    let etc: Vec<_> = fs::read_dir("/etc").unwrap().flatten().map(|entry| entry.file_name()).collect();
    let targets = [
        canary.path(),
        Path::new("/etc"),
        Path::new("../.."),
        Path::new("/tmp"),
        Path::new("/proc"),
        Path::new("etc"),
    ];
    for (number, target) in targets.into_iter().enumerate() {
        for name in ["dev", "proc", "sys"] {
            attack(&world, &format!("k1-{name}-{number}"), name, target);
        }
    }
    canary.assert_untouched();
    let after: Vec<_> = fs::read_dir("/etc").unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(etc, after);
}

#[test]
fn a_mount_point_that_is_a_file_is_refused() {
    let Some(world) = world("a_mount_point_that_is_a_file_is_refused") else { return };
    let mut spec = world.spec("file", &["true"]);
    let Rootfs::Overlay { lower, .. } = &mut spec.rootfs else { unreachable!() };
    let layer = world.path("file-layer");
    fs::create_dir(&layer).unwrap();
    fs::write(layer.join("proc"), "").unwrap();
    lower.insert(0, layer);
    assert_eq!(world.refused(&spec).kind, FailureKind::Refused);
}

#[test]
fn k05_the_sandbox_is_mounted_inside_whatever_the_image_links() {
    let Some(world) = world("k05_the_sandbox_is_mounted_inside_whatever_the_image_links") else { return };
    let canary = Canary::new();
    let mut spec = world.script("sandboxed", "echo in > /mnt/mesos/sandbox/file");
    let Rootfs::Overlay { lower, .. } = &mut spec.rootfs else { unreachable!() };
    let layer = world.path("mnt-layer");
    fs::create_dir_all(layer.join("mnt")).unwrap();
    symlink(canary.path(), layer.join("mnt/mesos")).unwrap();
    lower.insert(0, layer);
    // It may start, mounted inside, or be refused: the host is what counts.
    if let Ok(mut keeper) = world.runtime.launch(&spec) {
        let _ = keeper.wait_exit();
        world.bury(keeper, &spec.id);
    }
    canary.assert_untouched();
}

#[test]
fn k06_a_false_dev_null_masks_nothing_away() {
    let Some(world) = world("k06_a_false_dev_null_masks_nothing_away") else { return };
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let mut spec =
        world.script("null", "cat /proc/keys; echo x > /proc/sys/kernel/core_pattern; stat -c %F /dev/null");
    let Rootfs::Overlay { lower, .. } = &mut spec.rootfs else { unreachable!() };
    let layer = world.path("null-layer");
    fs::create_dir_all(layer.join("dev")).unwrap();
    symlink("/proc/sys/kernel/core_pattern", layer.join("dev/null")).unwrap();
    lower.insert(0, layer);
    assert_eq!(world.run(&spec).status, Exit::Code(0));
    assert_eq!(world.stdout("null"), "character special file\n");
    assert!(world.stderr("null").contains("Read-only"), "{}", world.stderr("null"));
    assert_eq!(fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap(), pattern);
}

#[test]
fn k10_name_resolution_files_that_are_links_stay_inside() {
    let Some(world) = world("k10_name_resolution_files_that_are_links_stay_inside") else { return };
    let canary = Canary::new();
    let mut spec = world.script("dns", "cat /etc/resolv.conf; echo x > /etc/hosts");
    let Rootfs::Overlay { lower, .. } = &mut spec.rootfs else { unreachable!() };
    let layer = world.path("dns-layer");
    fs::create_dir_all(layer.join("etc")).unwrap();
    symlink("../run/systemd/resolve/stub-resolv.conf", layer.join("etc/resolv.conf")).unwrap();
    symlink(canary.path().join("hosts"), layer.join("etc/hosts")).unwrap();
    lower.insert(0, layer);
    let hosts = fs::read_to_string("/etc/hosts").unwrap();
    assert_ne!(world.run(&spec).status, Exit::Code(0));
    assert_eq!(world.stdout("dns"), fs::read_to_string("/etc/resolv.conf").unwrap());
    assert!(world.stderr("dns").contains("Read-only"), "{}", world.stderr("dns"));
    assert_eq!(fs::read_to_string("/etc/hosts").unwrap(), hosts);
    canary.assert_untouched();
}

#[test]
fn k23_output_files_that_the_sandbox_holds_as_links_are_not_followed() {
    let Some(world) = world("k23_output_files_that_the_sandbox_holds_as_links_are_not_followed") else {
        return;
    };
    let canary = Canary::new();
    let spec = world.spec("swapped", &["echo", "x"]);
    symlink(canary.path().join("ptmx"), world.sandbox("swapped").join("stdout")).unwrap();
    let failure = world.refused(&spec);
    assert_eq!(failure.stage, Stage::Output, "{failure}");
    canary.assert_untouched();
}

#[test]
fn layers_are_stacked_topmost_first() {
    let Some(world) = world("layers_are_stacked_topmost_first") else { return };
    let mut spec = world.script("stack", "cat /which; echo new > /made; cat /made");
    let Rootfs::Overlay { lower, upper, .. } = &mut spec.rootfs else { unreachable!() };
    let upper = upper.clone();
    for (number, name) in ["bottom", "top"].into_iter().enumerate() {
        let layer = world.path(&format!("layer,with:odd\\name-{number}-{}", "x".repeat(150)));
        fs::create_dir(&layer).unwrap();
        fs::write(layer.join("which"), name).unwrap();
        lower.insert(0, layer);
    }
    assert_eq!(world.run(&spec).status, Exit::Code(0));
    assert_eq!(world.stdout("stack"), "topnew\n");
    assert!(upper.join("made").exists());
}
