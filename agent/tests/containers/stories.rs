//! What happens to tasks in real containers.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use wire::link;
use wire::v1;

use crate::common::{eventually, framework, lines, task};
use crate::world::{Story, World};

/// All stories.
pub const STORIES: &[(&str, Story)] = &[
    ("a_command_without_an_image", |world| Box::pin(without_image(world))),
    ("a_command_in_an_image", |world| Box::pin(in_image(world))),
    ("an_image_that_knows_what_to_run", |world| Box::pin(entrypoint(world))),
    ("launches_that_fail_leave_nothing", |world| Box::pin(failures(world))),
    ("kills", |world| Box::pin(kills(world))),
    ("a_memory_limit", |world| Box::pin(memory_limit(world))),
    ("a_time_limit", |world| Box::pin(time_limit(world))),
    ("an_agent_that_dies_and_comes_back", |world| Box::pin(restart(world))),
    ("a_stopped_agent_keeps_only_what_it_finds_again", |world| Box::pin(stop(world))),
];

pub fn with_image(mut task: v1::TaskInfo, image: &str) -> v1::TaskInfo {
    let mut container = v1::ContainerInfo::default();
    container.set_type(v1::container_info::Type::Mesos);
    let mut wanted = v1::Image::default();
    wanted.set_type(v1::image::Type::Docker);
    wanted.docker = Some(v1::image::Docker { name: image.to_owned(), ..Default::default() });
    container.mesos = Some(v1::container_info::MesosInfo { image: Some(wanted) });
    task.container = Some(container);
    task
}

fn direct(mut task: v1::TaskInfo, value: Option<&str>, arguments: &[&str]) -> v1::TaskInfo {
    task.command = Some(v1::CommandInfo {
        shell: Some(false),
        value: value.map(str::to_owned),
        arguments: arguments.iter().map(|a| (*a).to_owned()).collect(),
        ..Default::default()
    });
    task
}

async fn without_image(world: &mut World) {
    world.start().await;
    let command = "echo out; echo err >&2; pwd; echo $MESOS_SANDBOX $MESOS_TASK_ID; exit 7";
    world.master.run(&framework("F", true), task("t", command)).await;
    let statuses = world.master.until_end().await;
    assert_eq!(
        lines(&statuses),
        ["TASK_STARTING", "TASK_RUNNING", "TASK_FAILED: Command exited with status 7"]
    );
    let sandbox = world.sandbox("t");
    let place = sandbox.display();
    assert_eq!(world.output("t", "stdout"), format!("out\n{place}\n{place} t\n"));
    assert_eq!(world.output("t", "stderr"), "err\n");
    let metadata = fs::metadata(&sandbox).unwrap();
    assert_eq!((metadata.permissions().mode() & 0o7777, metadata.uid()), (0o750, 0));
    let pid = statuses[1].container_status.as_ref().unwrap().executor_pid.unwrap();
    assert!(pid > 1);
}

async fn in_image(world: &mut World) {
    world.start().await;
    let command = "cat /etc/marker; pwd; id -u; echo $FROM_IMAGE $MESOS_SANDBOX; touch $MESOS_SANDBOX/mine; echo $$ >&2";
    let mut task = with_image(task("t", command), &world.image());
    task.command.as_mut().unwrap().user = Some("web".to_owned());
    world.master.run(&framework("F", true), task).await;
    let statuses = world.master.until_end().await;
    assert_eq!(
        lines(&statuses),
        ["TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED: Command exited with status 0"],
        "{}",
        world.output("t", "stderr")
    );
    assert_eq!(world.output("t", "stdout"), "from the image\n/app\n33\nyes /mnt/mesos/sandbox\n");
    let sandbox = world.sandbox("t");
    assert_eq!(fs::metadata(&sandbox).unwrap().uid(), 33);
    assert_eq!(fs::metadata(sandbox.join("mine")).unwrap().uid(), 33);
    // Its own process ids.
    assert!(world.output("t", "stderr").trim().parse::<u32>().unwrap() < 10);
}

async fn entrypoint(world: &mut World) {
    world.start().await;
    let image = world.image();
    for (id, value, arguments, expected) in [
        ("bare", None, &[][..], "entry cmd\n"),
        ("args", None, &["one", "two"], "entry one two\n"),
        ("own", Some("/bin/echo"), &["echo", "mine"], "mine\n"),
    ] {
        let task = with_image(direct(task(id, ""), value, arguments), &image);
        world.master.run(&framework("F", true), task).await;
        let told = lines(&world.master.until_end().await);
        assert_eq!(told.last().unwrap(), "TASK_FINISHED: Command exited with status 0");
        assert_eq!(world.output(id, "stdout"), expected, "{id}");
    }
}

async fn failures(world: &mut World) {
    world.start().await;
    let image = world.image();
    let torn = world.path("torn");
    copy(&world.path("image"), &torn);
    let blobs = torn.join("blobs/sha256");
    for entry in fs::read_dir(&blobs).unwrap().flatten() {
        if entry.metadata().unwrap().len() > 100_000 {
            let mut bytes = fs::read(entry.path()).unwrap();
            bytes[70_000] ^= 1;
            fs::write(entry.path(), bytes).unwrap();
        }
    }
    let health = v1::TaskInfo { health_check: Some(v1::HealthCheck::default()), ..task("health", "true") };
    for (task, parts) in [
        (
            with_image(task("absent", "true"), "oci:/does/not/exist"),
            &["TASK_FAILED", "LAUNCH_FAILED", "/does/not/exist"][..],
        ),
        (
            with_image(task("refused", "true"), "127.0.0.1:1/x/y:z"),
            &["TASK_FAILED", "LAUNCH_FAILED", "127.0.0.1:1"],
        ),
        (with_image(task("torn", "true"), &format!("oci:{}", torn.display())), &["TASK_FAILED", "digest"]),
        (with_image(task("name", "true"), "UPPER CASE"), &["TASK_ERROR", "TASK_INVALID", "UPPER CASE"]),
        (
            with_image(direct(task("program", ""), Some("/no/such/program"), &["x"]), &image),
            &["TASK_FAILED", "LAUNCH_FAILED", "/no/such/program"],
        ),
        (direct(task("nothing", ""), None, &[]), &["TASK_ERROR", "TASK_INVALID", "command is empty"]),
        (health, &["TASK_ERROR", "health_check"]),
    ] {
        let id = task.task_id.value.clone();
        world.master.run(&framework("F", true), task).await;
        let told = lines(&world.master.until_end().await);
        let last = told.last().unwrap();
        assert!(parts.iter().all(|part| last.contains(part)), "{id}: {told:?}");
        // Nothing of a task that never ran stays, once its end is known.
        let executor = world.path("work/slaves/A-S0/frameworks/F/executors").join(&id);
        eventually("the sandbox goes", async || !executor.exists()).await;
        let meta = world.path("work/meta/slaves/A-S0/frameworks/F/executors").join(&id);
        eventually("the checkpoints go", async || !meta.exists()).await;
    }
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    let done = std::process::Command::new("cp").arg("-r").args([from, to]).status().unwrap();
    assert!(done.success());
}

async fn kills(world: &mut World) {
    world.start().await;
    let image = world.image();
    let kill = |grace| link::KillTask {
        framework_id: "F".to_owned(),
        task_id: "t".to_owned(),
        grace_period_seconds: grace,
    };
    for (command, grace, expected) in [
        ("exec sleep 1000", None, "TASK_KILLED: Command terminated with signal Terminated"),
        (
            "trap '' TERM; echo ready; while :; do sleep 1; done",
            Some(0.2),
            "TASK_KILLED: Command terminated with signal Killed",
        ),
    ] {
        world.master.run(&framework("F", true), with_image(task("t", command), &image)).await;
        while world.master.status().await.state() != v1::TaskState::TaskRunning {}
        if command.contains("ready") {
            eventually("the trap is set", async || world.output("t", "stdout") == "ready\n").await;
        }
        world.master.say(kill(grace)).await;
        assert_eq!(lines(&world.master.until_end().await), [expected]);
    }
}

async fn memory_limit(world: &mut World) {
    world.start().await;
    let mut task = with_image(task("t", "exec tail /dev/zero"), &world.image());
    task.resources = model::resources::parse("cpus:1;mem:32", &model::Role::any()).unwrap().to_wire();
    world.master.run(&framework("F", true), task).await;
    let statuses = world.master.until_end().await;
    let told = lines(&statuses);
    let last = told.last().unwrap();
    assert!(last.starts_with("TASK_FAILED REASON_CONTAINER_LIMITATION_MEMORY: "), "{told:?}");
    assert!(last.contains("its limit is 32 MB"), "{last}");
    let limitation = statuses.last().unwrap().limitation.as_ref().unwrap();
    assert_eq!(limitation.resources[0].scalar.as_ref().unwrap().value, 32.0);
}

async fn time_limit(world: &mut World) {
    world.start().await;
    let mut task = task("t", "sleep 1000");
    task.max_completion_time = Some(v1::DurationInfo { nanoseconds: 300_000_000 });
    world.master.run(&framework("F", true), task).await;
    let told = lines(&world.master.until_end().await);
    assert!(told.last().unwrap().starts_with("TASK_FAILED REASON_MAX_COMPLETION_TIME_REACHED: "), "{told:?}");
}

async fn restart(world: &mut World) {
    world.start().await;
    let image = world.image();
    for id in ["on", "off"] {
        let command = "echo ready; while ! [ -e $MESOS_SANDBOX/go ]; do sleep 0.1; done; exit 3";
        world.master.run(&framework("F", true), with_image(task(id, command), &image)).await;
    }
    let mut pids = std::collections::BTreeMap::new();
    while pids.len() < 2 {
        let status = world.master.status().await;
        if status.state() == v1::TaskState::TaskRunning {
            pids.insert(status.task_id.value.clone(), status.container_status.unwrap().executor_pid.unwrap());
        }
    }
    // As good as SIGKILL: nothing is told, nothing is cleaned up.
    drop(world.agent.take());
    fs::write(world.sandbox("off").join("go"), "").unwrap();
    let ended = format!("/proc/{}", pids["off"]);
    eventually("one task ends meanwhile", async || !std::path::Path::new(&ended).exists()).await;
    let lives = format!("/proc/{}", pids["on"]);
    assert!(std::path::Path::new(&lives).exists());
    eventually("the work folder is free again", async || {
        let lock = fs::File::open(world.path("work/meta/lock")).unwrap();
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok()
    })
    .await;
    world.start().await;
    let told = world.master.until_end().await;
    assert_eq!(lines(&told[told.len() - 1..]), ["TASK_FAILED: Command exited with status 3"]);
    assert!(std::path::Path::new(&lives).exists());
    fs::write(world.sandbox("on").join("go"), "").unwrap();
    let told = world.master.until_end().await;
    // An acknowledgement that was on its way when the agent died may be asked for once more before.
    let last = told.last().unwrap();
    assert_eq!(lines(&told[told.len() - 1..]), ["TASK_FAILED: Command exited with status 3"]);
    assert_eq!(last.task_id.value, "on");
    assert_eq!(last.container_status.as_ref().unwrap().executor_pid, Some(pids["on"]));
}

async fn stop(world: &mut World) {
    world.start().await;
    world.master.run(&framework("F", true), task("kept", "sleep 1000")).await;
    world.master.run(&framework("G", false), task("lost", "sleep 1000")).await;
    let mut running = 0;
    while running < 2 {
        running += u32::from(world.master.status().await.state() == v1::TaskState::TaskRunning);
    }
    world.stop().await;
    let left = fs::read_dir(world.path("run/containers")).unwrap().count();
    assert_eq!(left, 1, "the one with checkpointing");
    world.start().await;
    let kill = link::KillTask {
        framework_id: "F".to_owned(),
        task_id: "kept".to_owned(),
        grace_period_seconds: None,
    };
    world.master.say(kill).await;
    let told = lines(&world.master.until_end().await);
    assert_eq!(told.last().unwrap(), "TASK_KILLED: Command terminated with signal Terminated");
}
