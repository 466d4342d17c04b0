//! Sandboxes and the host's other users: what a task that is root leaves there, and how one that is not gets there.
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use runtime::{ContainerSpec, Exit, Rootfs};

use crate::namespaces::{IDS, mapping_world};
use crate::world::{World, world};

/// Whoever is root nowhere.
const NOBODY: u32 = 65_534;

/// Puts the sandbox where an agent has it: in a folder that is nobody's but root's, on a way that all may pass.
fn closed(world: &World, spec: &mut ContainerSpec) -> PathBuf {
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mode(world.dir.path(), 0o711);
    let runs = world.path(&format!("{}-runs", spec.id));
    let sandbox = runs.join("run");
    fs::create_dir_all(&sandbox).unwrap();
    fs::write(runs.join("other"), "").unwrap();
    mode(&sandbox, 0o750);
    mode(&runs, 0o700);
    spec.stdout = Some(sandbox.join("stdout"));
    spec.stderr = Some(sandbox.join("stderr"));
    spec.sandbox.as_mut().unwrap().source = sandbox.clone();
    sandbox
}

fn told(sandbox: &Path) -> String {
    ["stdout", "stderr"].map(|name| fs::read_to_string(sandbox.join(name)).unwrap_or_default()).concat()
}

fn as_nobody(program: &Path, arguments: &[&str]) -> std::io::Result<std::process::Output> {
    Process::new(program).args(arguments).uid(NOBODY).gid(NOBODY).current_dir("/").output()
}

/// Makes a set-uid program and opens the sandbox, and nobody else can start it.
fn makes_nobody_root(world: &World, mut spec: ContainerSpec) {
    let sandbox = closed(world, &mut spec);
    let status = world.run(&spec).status;
    assert_eq!(status, Exit::Code(0), "{}", told(&sandbox));
    let made = sandbox.join("id");
    let found = fs::metadata(&made).unwrap();
    assert_eq!(
        (found.uid(), found.mode() & 0o7777, fs::metadata(&sandbox).unwrap().mode() & 0o777),
        (0, 0o4755, 0o755)
    );
    let started = as_nobody(&made, &["id"]);
    assert_eq!(started.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    let read =
        as_nobody(Path::new("/bin/busybox"), &["cat", sandbox.join("stdout").to_str().unwrap()]).unwrap();
    assert!(!read.status.success() && read.stdout.is_empty(), "{read:?}");
    // Inside it gives nobody anything either, nor is a device of use there.
    let flags = told(&sandbox);
    assert!(flags.contains("nosuid") && flags.contains("nodev"), "{flags}");
}

const MAKE: &str = "cd /mnt/mesos/sandbox && busybox cp /bin/busybox id && busybox chmod 4755 id && \
    busybox chmod 755 . && grep ' /mnt/mesos/sandbox ' /proc/self/mountinfo";

#[test]
fn k21_what_a_task_made_set_uid_is_out_of_reach() {
    let Some(world) = world("k21_what_a_task_made_set_uid_is_out_of_reach") else { return };
    makes_nobody_root(&world, world.script("root", MAKE));
}

#[test]
fn k21_what_root_of_a_user_namespace_made_set_uid_is_out_of_reach() {
    let Some(world) = mapping_world("k21_what_root_of_a_user_namespace_made_set_uid_is_out_of_reach") else {
        return;
    };
    let mut spec = world.script("mapped", MAKE);
    spec.user_namespace = Some(IDS);
    makes_nobody_root(&world, spec);
}

#[test]
fn k21_a_user_without_an_image_reaches_its_sandbox_and_nothing_beside_it() {
    let Some(world) = world("k21_a_user_without_an_image_reaches_its_sandbox_and_nothing_beside_it") else {
        return;
    };
    for (id, user) in [("host-nobody", Some("65534:65534")), ("host-root", None)] {
        let script = "cd \"$0\" && pwd && echo hello > made && cat \"$0/made\" && cp /bin/busybox set && \
            chmod 4755 set && grep \" $0 \" /proc/self/mountinfo; \
            ls \"$0/..\" 2>&1; touch \"$0/../more\" 2>/dev/null && echo made";
        let mut spec = world.spec(id, &["/bin/sh", "-c", script]);
        spec.rootfs = Rootfs::Host;
        spec.user = user.map(str::to_owned);
        let sandbox = closed(&world, &mut spec);
        spec.argv.push(sandbox.display().to_string());
        spec.cwd = sandbox.clone();
        world.run(&spec);
        let text = told(&sandbox);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], [sandbox.to_str().unwrap(), "hello"], "{text}");
        assert!(lines[2].contains("nosuid") && lines[2].contains("nodev"), "{text}");
        let around = if user.is_some() { "Permission denied" } else { "run" };
        assert!(lines.len() == 4 && lines[3].ends_with(around), "{text}");
        let owner = if user.is_some() { NOBODY } else { 0 };
        assert_eq!(fs::metadata(sandbox.join("made")).unwrap().uid(), owner);
        // Others of the same user don't pass where it passed.
        let read =
            as_nobody(Path::new("/bin/busybox"), &["cat", sandbox.join("made").to_str().unwrap()]).unwrap();
        assert!(!read.status.success() && read.stdout.is_empty(), "{read:?}");
        let around = sandbox.parent().unwrap();
        assert_eq!(fs::metadata(around).unwrap().mode() & 0o7777, 0o700);
        assert_eq!(fs::read_dir(around).unwrap().count(), 2, "nothing is made on the host");
    }
}
