//! The room that tasks take on disk: their output, their quota, their sandboxes when they are over.

use std::fs;
use std::os::unix::fs::MetadataExt;

use wire::v1;

use crate::common::{eventually, framework, get, lines, task};
use crate::stories::with_image;
use crate::world::{Story, World};

/// All stories.
pub const STORIES: &[(&str, Story)] = &[
    ("output_is_rotated_by_size", |world| Box::pin(rotation(world))),
    ("a_disk_quota", |world| Box::pin(quota(world))),
    ("a_disk_quota_after_a_restart", |world| Box::pin(quota_after_restart(world))),
    ("finished_sandboxes_are_deleted", |world| Box::pin(garbage(world))),
    ("what_a_container_uses_is_told", |world| Box::pin(statistics(world))),
];

fn variable(task: &mut v1::TaskInfo, name: &str, value: &str) {
    let variable = v1::environment::Variable {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        ..Default::default()
    };
    let command = task.command.as_mut().unwrap();
    command.environment.get_or_insert_default().variables.push(variable);
}

/// behaviour.md section 18: by size, with overrides by the task's environment; the agent may come and go meanwhile.
async fn rotation(world: &mut World) {
    world.flags = vec![
        ("container_logger", "org_apache_mesos_LogrotateContainerLogger"),
        ("max_stdout_size", "8KB"),
        ("logrotate_stdout_options", "rotate 2"),
    ];
    world.start().await;
    // A line is 32 bytes; the second half is written after the agent has come back.
    let command = "n=0; while [ $n -lt 2000 ]; do n=$((n+1)); echo \"line $n of what a task has to say.....\"; \
                   [ $n -ne 1000 ] || until [ -e go ]; do sleep 0.05; done; done; echo end; \
                   echo reopened > /dev/stdout; echo error >&2";
    let mut info = with_image(task("t", command), &world.image());
    info.command.as_mut().unwrap().user = Some("web".to_owned());
    info.command.as_mut().unwrap().value = Some(format!("cd $MESOS_SANDBOX; {command}"));
    variable(&mut info, "CONTAINER_LOGGER_MAX_STDERR_SIZE", "4KB");
    world.master.run(&framework("F", true), info).await;
    eventually("half of the output is there", async || {
        let stdout = world.path("work/slaves/A-S0/frameworks/F/executors/t/runs/latest/stdout");
        fs::read_to_string(stdout).is_ok_and(|text| text.contains("line 1000 "))
    })
    .await;
    world.stop().await;
    fs::write(world.sandbox("t").join("go"), "").unwrap();
    world.start().await;
    let told = lines(&world.master.until_end().await);
    assert_eq!(
        told.last().unwrap(),
        "TASK_FINISHED: Command exited with status 0",
        "{}",
        world.output("t", "stderr")
    );
    let sandbox = world.sandbox("t");
    let sizes: Vec<u64> = ["stdout", "stdout.1", "stdout.2"]
        .iter()
        .map(|name| fs::metadata(sandbox.join(name)).unwrap().len())
        .collect();
    assert!(sizes.iter().all(|size| *size <= 8192) && sizes[1] > 4096 && sizes[2] > 4096, "{sizes:?}");
    assert!(!sandbox.join("stdout.3").exists());
    // Nothing is missing between the files, and the last is the end.
    let all: String = ["stdout.2", "stdout.1", "stdout"].iter().map(|name| world.output("t", name)).collect();
    let numbers: Vec<u32> =
        all.lines().filter_map(|line| line.strip_prefix("line ")?.split(' ').next()?.parse().ok()).collect();
    assert_eq!(*numbers.last().unwrap(), 2000);
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
    assert!(all.ends_with("end\nreopened\n"), "{all}");
    assert_eq!(world.output("t", "stderr"), "error\n");
    assert_eq!(fs::metadata(sandbox.join("stdout")).unwrap().uid(), 33);
}

/// isolators.md: disk/du ends with CONTAINER_LIMITATION_DISK; what is written beside the sandbox counts as well.
async fn quota(world: &mut World) {
    world.flags = vec![("enforce_container_disk_quota", "true"), ("container_disk_watch_interval", "100ms")];
    world.start().await;
    let image = world.image();
    for (id, command, over) in [
        ("sandbox", "dd if=/dev/zero of=$MESOS_SANDBOX/big bs=1024 count=3000; sleep 600", true),
        ("rootfs", "dd if=/dev/zero of=/tmp/big bs=1024 count=3000; sleep 600", true),
        ("within", "dd if=/dev/zero of=/tmp/small bs=1024 count=500; sleep 1", false),
    ] {
        let mut info = with_image(task(id, command), &image);
        info.resources.extend(model::resources::parse("disk:2", &model::Role::any()).unwrap().to_wire());
        world.master.run(&framework("F", true), info).await;
        let statuses = world.master.until_end().await;
        let told = lines(&statuses);
        let last = told.last().unwrap();
        if !over {
            assert_eq!(last, "TASK_FINISHED: Command exited with status 0");
            continue;
        }
        assert!(last.starts_with("TASK_FAILED REASON_CONTAINER_LIMITATION_DISK: Disk usage ("), "{last}");
        assert!(last.ends_with("exceeds quota (2MB)"), "{last}");
        let limit = &statuses.last().unwrap().limitation.as_ref().unwrap().resources[0];
        assert_eq!((limit.name.as_str(), limit.scalar.unwrap().value), ("disk", 2.0));
    }
}

/// The quota holds for what an agent finds running when it starts.
async fn quota_after_restart(world: &mut World) {
    world.flags = vec![("enforce_container_disk_quota", "true"), ("container_disk_watch_interval", "100ms")];
    let image = world.image();
    for (id, file) in [("sandbox", "$MESOS_SANDBOX/big"), ("rootfs", "/tmp/big")] {
        world.start().await;
        let command = format!(
            "until [ -e $MESOS_SANDBOX/go ]; do sleep 0.05; done; dd if=/dev/zero of={file} bs=1024 count=3000; sleep 600"
        );
        let mut info = with_image(task(id, &command), &image);
        info.resources.extend(model::resources::parse("disk:2", &model::Role::any()).unwrap().to_wire());
        world.master.run(&framework("F", true), info).await;
        while world.master.status().await.state() != v1::TaskState::TaskRunning {}
        world.stop().await;
        fs::write(world.sandbox(id).join("go"), "").unwrap();
        world.start().await;
        let told = lines(&world.master.until_end().await);
        let last = told.last().unwrap();
        assert!(
            last.starts_with("TASK_FAILED REASON_CONTAINER_LIMITATION_DISK: Disk usage ("),
            "{id}: {last}"
        );
        world.stop().await;
    }
}

/// behaviour.md section 13: sandboxes and checkpoints of finished tasks go after a while, those of running ones never.
async fn garbage(world: &mut World) {
    world.flags = vec![("gc_delay", "1secs")];
    world.start().await;
    world.master.run(&framework("F", true), task("runs", "sleep 600")).await;
    while world.master.status().await.state() != v1::TaskState::TaskRunning {}
    // A task may leave what is hard to delete.
    let command = "n=0; while [ $n -lt 300 ]; do n=$((n+1)); mkdir d; cd d; done; echo x > file; chmod 0 .";
    world.master.run(&framework("F", true), task("t", command)).await;
    world.master.until_end().await;
    for root in ["work/slaves", "work/meta/slaves"] {
        let executors = world.path(root).join("A-S0/frameworks/F/executors");
        eventually("the finished run is deleted", async || !executors.join("t").exists()).await;
        assert!(executors.join("runs/runs").exists());
    }
    let at = world.agent.as_ref().unwrap().address();
    eventually("it is counted", async || {
        get(at, "/metrics/snapshot").await.json()["gc/path_removals_succeeded"] == 1.0
    })
    .await;
    world
        .master
        .say(wire::link::KillTask {
            framework_id: "F".to_owned(),
            task_id: "runs".to_owned(),
            grace_period_seconds: Some(0.0),
        })
        .await;
    world.master.until_end().await;
}

/// http.md section 5: `/monitor/statistics` of a container that runs.
async fn statistics(world: &mut World) {
    world.flags = vec![
        ("isolation", "cgroups,namespaces,disk/du"),
        ("container_disk_watch_interval", "100ms"),
        ("cgroups_cpu_enable_pids_and_tids_count", "true"),
    ];
    world.start().await;
    let command = "dd if=/dev/zero of=/tmp/big bs=1024 count=1000; while true; do :; done";
    let mut info = with_image(task("t", command), &world.image());
    info.resources.extend(model::resources::parse("disk:10", &model::Role::any()).unwrap().to_wire());
    world.master.run(&framework("F", true), info).await;
    while world.master.status().await.state() != v1::TaskState::TaskRunning {}
    let at = world.agent.as_ref().unwrap().address();
    let number = |list: &serde_json::Value, name: &str| list[0]["statistics"][name].as_f64().unwrap_or(-1.0);
    eventually("time and disk are used", async || {
        let list = get(at, "/monitor/statistics").await.json();
        number(&list, "cpus_user_time_secs") > 0.1 && number(&list, "disk_used_bytes") > 1e6
    })
    .await;
    let list = get(at, "/monitor/statistics").await.json();
    assert_eq!(list[0]["executor_id"], "t");
    assert_eq!(number(&list, "disk_limit_bytes"), 10.0 * 1024.0 * 1024.0);
    assert_eq!(number(&list, "mem_limit_bytes"), 64.0 * 1024.0 * 1024.0);
    for name in ["mem_total_bytes", "mem_anon_bytes", "cpus_system_time_secs", "processes", "threads"] {
        assert!(number(&list, name) > 0.0, "{name}: {list}");
    }
    let containers = get(at, "/containers").await.json();
    assert!(containers[0]["statistics"]["mem_total_bytes"].as_f64().unwrap() > 0.0);
    // With PSI in the kernel, how long the task waited for its CPU.
    if fs::exists("/proc/pressure/cpu").unwrap() {
        let total = list[0]["tepui_pressure"]["cpu"]["some"]["total_secs"].as_f64();
        assert!(total.is_some(), "{list}");
        let text = get(at, "/metrics").await.text();
        assert!(text.contains("mesos_container_pressure_seconds_total{"), "{text}");
    }
    world
        .master
        .say(wire::link::KillTask {
            framework_id: "F".to_owned(),
            task_id: "t".to_owned(),
            grace_period_seconds: Some(0.0),
        })
        .await;
    world.master.until_end().await;
}
