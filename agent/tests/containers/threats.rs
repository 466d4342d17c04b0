//! Images and ids that are made to harm the agent's host (threats K1, K16, K17, K21).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use wire::link;
use wire::v1;

use crate::canary::Canary;
use crate::common::{framework, lines, task};
use crate::image;
use crate::stories::with_image;
use crate::world::{Story, World};

/// All stories.
pub const STORIES: &[(&str, Story)] = &[
    ("k01_links_of_an_image_never_reach_the_host", |world| Box::pin(links(world))),
    ("k16_hostile_users_cost_an_agent_nothing", |world| Box::pin(users(world))),
    ("k17_hostile_ids_stay_in_the_work_folder", |world| Box::pin(ids(world))),
    ("k21_what_is_unpacked_is_closed_to_others", |world| Box::pin(modes(world))),
];

/// An image of the world's own with other files; its name.
fn hostile(world: &World, name: &str, fill: impl Fn(&Path)) -> String {
    let layout = world.path(name);
    image::altered(&layout, fill, &BTreeMap::new());
    format!("oci:{}", layout.display())
}

/// Runs a task of a framework to its end; the last status. Those of others, told once more, are passed over.
async fn run(world: &mut World, of: &str, task: v1::TaskInfo) -> v1::TaskStatus {
    let id = task.task_id.clone();
    Box::pin(world.master.run(&framework(of, true), task)).await;
    loop {
        let last = world.master.until_end().await.pop().unwrap();
        if last.task_id == id {
            return last;
        }
    }
}

/// The last status as a line.
async fn end(world: &mut World, task: v1::TaskInfo) -> String {
    lines(&[Box::pin(run(world, "F", task)).await]).remove(0)
}

async fn links(world: &mut World) {
    let canary = Canary::new();
    let targets =
        [canary.path(), Path::new("/etc"), Path::new("../.."), Path::new("/tmp"), Path::new("/proc")];
    let mut images = Vec::new();
    for (number, target) in targets.iter().enumerate() {
        for name in ["dev", "proc", "sys"] {
            let image = hostile(world, &format!("{name}{number}"), |root| {
                fs::remove_dir(root.join(name)).unwrap();
                symlink(target, root.join(name)).unwrap();
                // Its target exists inside as well, else its absence would hide the fault.
                if target.components().count() > 2 {
                    fs::create_dir_all(root.join(target.strip_prefix("/").unwrap())).unwrap();
                }
            });
            images.push((name, image));
        }
    }
    for isolation in ["cgroups,namespaces", "cgroups,namespaces,namespaces/user"] {
        world.flags = vec![("isolation", isolation)];
        world.start().await;
        for (number, (name, image)) in images.iter().enumerate() {
            let id = format!("{}-{number}", isolation.len());
            let last = end(world, with_image(task(&id, "true"), image)).await;
            assert!(last.starts_with("TASK_FAILED REASON_CONTAINER_LAUNCH_FAILED: "), "{isolation}: {last}");
            assert!(last.contains(&format!("/{name} must be a directory")), "{isolation}: {last}");
            canary.assert_untouched();
        }
        world.stop().await;
    }
}

/// Most memory of this process, which the agent is part of, since [`forget_peak`], in KiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn forget_peak() {
    fs::write("/proc/self/clear_refs", "5").unwrap();
}

async fn users(world: &mut World) {
    world.start().await;
    let plain = world.image();
    let etc = |name: &'static str| move |root: &Path| fs::remove_file(root.join("etc").join(name)).unwrap();
    let zero = hostile(world, "zero", |root| {
        etc("passwd")(root);
        symlink("/dev/zero", root.join("etc/passwd")).unwrap();
    });
    let fifo = hostile(world, "fifo", |root| {
        etc("passwd")(root);
        let made = Command::new("mkfifo").arg(root.join("etc/passwd")).status().unwrap();
        assert!(made.success());
    });
    let huge = hostile(world, "huge", |root| {
        fs::File::create(root.join("etc/group")).unwrap().set_len(24 << 20).unwrap();
    });
    let as_user = |id: &str, image: &str, user: &str| {
        let mut info = with_image(task(id, "true"), image);
        info.command.as_mut().unwrap().user = Some(user.to_owned());
        info
    };
    // All images are unpacked, and what a start takes here and now is known, before anything is measured.
    let mut usual = Duration::ZERO;
    for (number, image) in [&zero, &fifo, &huge, &plain, &plain].into_iter().enumerate() {
        let begun = Instant::now();
        let last = end(world, as_user(&format!("usual{number}"), image, "root")).await;
        assert_eq!(last, "TASK_FINISHED: Command exited with status 0");
        usual = begun.elapsed();
    }
    forget_peak();
    let before = peak();
    let malformed = ["4294967296", "4294967295", "-1", "0x0", "00", "root:", "a:b:c", ":", "no-such-user"];
    let malformed = malformed.iter().map(|user| (&plain, *user));
    for (number, (image, user)) in
        [(&zero, "web"), (&fifo, "web"), (&huge, "web")].into_iter().chain(malformed).enumerate()
    {
        let begun = Instant::now();
        let last = end(world, as_user(&format!("t{number}"), image, user)).await;
        let took = begun.elapsed();
        assert!(last.starts_with("TASK_FAILED ") && last.contains("can't run as user"), "{user}: {last}");
        assert!(
            took < usual + Duration::from_secs(1),
            "{user} in {image}: {took:?}, a usual start takes {usual:?}"
        );
    }
    assert!(peak() < before + 4096, "{before} KiB before, {} KiB at most", peak());
}

/// All paths below a folder.
fn tree(top: &Path) -> BTreeSet<PathBuf> {
    let mut waiting = vec![top.to_owned()];
    let mut found = BTreeSet::new();
    while let Some(path) = waiting.pop() {
        if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir()) {
            waiting.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        }
        found.insert(path);
    }
    found
}

async fn ids(world: &mut World) {
    const MARK: &str = "k17mark";
    let canary = Canary::new();
    world.start().await;
    let up = "../".repeat(24);
    let place = canary.path().display();
    let hostile = [
        format!("../../{MARK}"),
        format!("a/{MARK}"),
        format!("/tmp/{MARK}"),
        format!("{up}{}/{MARK}", place.to_string().trim_start_matches('/')),
        format!("{place}/{MARK}"),
        format!("\0{MARK}\n"),
        format!("..\\{MARK}"),
        format!("%2e%2e%2f{MARK}"),
        format!("\u{202e}ü{MARK}\u{0}"),
        format!("{MARK}{}", "x".repeat(4096)),
        "..".to_owned(),
        ".".to_owned(),
        String::new(),
        "latest".to_owned(),
    ];
    let outside = |world: &World| {
        let mut all = tree(world.dir.path());
        all.retain(|path| !["work", "run"].iter().any(|own| path.starts_with(world.path(own))));
        all
    };
    let before = outside(world);
    for (number, id) in hostile.iter().enumerate() {
        for (of, task_id) in [("F", id.clone()), (id.as_str(), format!("t{number}"))] {
            let info = with_image(task(&task_id, "echo ran"), &world.image());
            let last = Box::pin(run(world, of, info)).await;
            let state = last.state().as_str_name();
            assert!(
                ["TASK_FINISHED", "TASK_ERROR", "TASK_FAILED"].contains(&state),
                "{of:?} {task_id:?}: {last:?}"
            );
            let kill = link::KillTask {
                framework_id: of.to_owned(),
                task_id: task_id.clone(),
                grace_period_seconds: None,
            };
            world.master.say(kill).await;
        }
        canary.assert_untouched();
    }
    assert_eq!(outside(world), before);
    // They are found again, and nothing strange is made then.
    world.stop().await;
    world.start().await;
    assert_eq!(outside(world), before);
    canary.assert_untouched();
    for folder in ["/", "/tmp", "/var", "/var/tmp", "/run", "/sys/fs/cgroup"] {
        let names = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.file_name());
        let strange: Vec<_> = names.filter(|name| name.to_string_lossy().contains(MARK)).collect();
        assert!(strange.is_empty(), "{folder}: {strange:?}");
    }
}

async fn modes(world: &mut World) {
    world.start().await;
    let image = hostile(world, "setuid", |root| {
        let program = root.join("bin/busybox");
        fs::set_permissions(program, fs::Permissions::from_mode(0o4755)).unwrap();
    });
    world.master.run(&framework("F", true), with_image(task("t", "echo up; sleep 600"), &image)).await;
    while world.master.status().await.state() != v1::TaskState::TaskRunning {}
    for folder in ["work/images", "work/provisioner", "run"] {
        let mode = fs::metadata(world.path(folder)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{folder} has {mode:o}");
    }
    // The story's own folder, which hides all, opened: what remains is the agent's doing.
    fs::set_permissions(world.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let find = |uid: u32| {
        let mut find = Command::new("/bin/busybox");
        find.arg("find").args(["work", "run"]).args(["-name", "busybox"]).current_dir(world.dir.path());
        String::from_utf8(find.uid(uid).gid(uid).output().unwrap().stdout).unwrap()
    };
    assert!(find(0).lines().count() >= 1, "the image's program with its set-uid bit is there");
    assert_eq!(find(65534), "");
    let kill = link::KillTask {
        framework_id: "F".to_owned(),
        task_id: "t".to_owned(),
        grace_period_seconds: Some(0.0),
    };
    world.master.say(kill).await;
    world.master.until_end().await;
}
