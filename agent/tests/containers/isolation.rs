//! What the operator isolates and limits for all tasks, and what the host can't give of it.

use std::fs;
use std::os::unix::fs::MetadataExt;

use wire::v1;
use wire::v1::container_info::docker_info::Network;

use crate::common::{framework, lines, task};
use crate::stories::with_image;
use crate::world::{Story, World};

/// All stories.
pub const STORIES: &[(&str, Story)] = &[
    ("root_of_a_task_is_nobody_on_the_host", |world| Box::pin(users(world))),
    ("a_docker_task_without_network", |world| Box::pin(no_network(world))),
    ("limits_of_the_operator", |world| Box::pin(limits(world))),
    ("limits_that_the_host_can_not_give", |world| Box::pin(impossible(world))),
    ("the_name_of_cgroups_v1_on_the_host_that_has_it", |world| Box::pin(blkio(world))),
];

async fn running(world: &mut World) -> v1::TaskStatus {
    loop {
        let status = world.master.status().await;
        match status.state() {
            v1::TaskState::TaskRunning => return status,
            v1::TaskState::TaskStarting => {}
            _ => panic!("{status:?}"),
        }
    }
}

async fn users(world: &mut World) {
    world.flags = vec![
        ("isolation", "cgroups,namespaces,namespaces/user"),
        ("user_namespace_ids", "300000:65536"),
        ("disallow_sharing_agent_pid_namespace", "false"),
    ];
    world.start().await;
    let image = world.image();
    let command = "id -u; cat /proc/self/uid_map; echo x > $MESOS_SANDBOX/mine; until [ -e $MESOS_SANDBOX/go ]; do sleep 0.1; done";
    world.master.run(&framework("F", true), with_image(task("t", command), &image)).await;
    let pid = running(world).await.container_status.unwrap().executor_pid.unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("Uid:\t300000\t300000\t300000\t300000\n"), "{status}");
    fs::write(world.sandbox("t").join("go"), "").unwrap();
    let told = lines(&world.master.until_end().await);
    assert_eq!(
        told.last().unwrap(),
        "TASK_FINISHED: Command exited with status 0",
        "{}",
        world.output("t", "stderr")
    );
    let said = world.output("t", "stdout");
    let words: Vec<&str> = said.split_whitespace().collect();
    assert_eq!(words, ["0", "0", "300000", "65536"]);
    // What it writes in its sandbox is who it is inside, and readable like any other's.
    assert_eq!(fs::metadata(world.sandbox("t").join("mine")).unwrap().uid(), 0);

    let mut sharing = with_image(task("sharing", "true"), &image);
    let linux = v1::LinuxInfo { share_pid_namespace: Some(true), ..Default::default() };
    sharing.container.as_mut().unwrap().linux_info = Some(linux);
    for (task, word) in [(task("bare", "true"), "no image"), (sharing, "share_pid_namespace")] {
        world.master.run(&framework("F", true), task).await;
        let told = lines(&world.master.until_end().await);
        let last = told.last().unwrap();
        assert!(last.starts_with("TASK_ERROR REASON_TASK_INVALID: "), "{last}");
        assert!(last.contains(word) && last.contains("namespaces/user"), "{last}");
    }
}

async fn no_network(world: &mut World) {
    world.start().await;
    let image = world.image();
    for (id, network, wanted) in [("none", Network::None, Some("lo\n")), ("host", Network::Host, None)] {
        let mut docker = v1::container_info::DockerInfo { image: image.clone(), ..Default::default() };
        docker.set_network(network);
        let mut container = v1::ContainerInfo { docker: Some(docker), ..Default::default() };
        container.set_type(v1::container_info::Type::Docker);
        let task = v1::TaskInfo { container: Some(container), ..task(id, "ls /sys/class/net") };
        world.master.run(&framework("F", true), task).await;
        let told = lines(&world.master.until_end().await);
        assert_eq!(told.last().unwrap(), "TASK_FINISHED: Command exited with status 0", "{told:?}");
        let mut hosts: Vec<String> = fs::read_dir("/sys/class/net")
            .unwrap()
            .map(|one| one.unwrap().file_name().into_string().unwrap())
            .collect();
        hosts.sort();
        let hosts: String = hosts.into_iter().map(|name| name + "\n").collect();
        assert_eq!(world.output(id, "stdout"), wanted.unwrap_or(&hosts), "{id}");
    }
}

/// The whole disk that a path lies on, as `major:minor`.
fn disk_of(path: &std::path::Path) -> Option<String> {
    let device = fs::metadata(path).unwrap().dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let folder = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    let whole = if folder.join("partition").exists() { folder.parent()?.to_owned() } else { folder };
    Some(fs::read_to_string(whole.join("dev")).ok()?.trim().to_owned())
}

async fn limits(world: &mut World) {
    world.flags = vec![("container_cpuset_cpus", "0"), ("container_cpuset_mems", "0")];
    let disk = disk_of(world.dir.path());
    match &disk {
        Some(disk) => {
            let max: &'static str = format!("{disk} wbps=2MB riops=100000").leak();
            world.flags.push(("container_io_max", max));
        }
        None => println!(
            "SKIPPED: limits_of_the_operator: the disk's limit: {} lies on no disk",
            world.dir.path().display()
        ),
    }
    world.start().await;
    // 3 MB at 2 MB a second, past the page cache.
    let command = "while read name list rest; do case $name in ?*s_allowed_list:) echo $name $list ;; esac; done < /proc/self/status; \
                   dd if=/dev/zero of=$MESOS_SANDBOX/big bs=65536 count=48 oflag=direct 2>/dev/null";
    for image in [true, false] {
        let id = if image { "image" } else { "bare" };
        let info = if image { with_image(task(id, command), &world.image()) } else { task(id, command) };
        let begun = std::time::Instant::now();
        world.master.run(&framework("F", true), info).await;
        let told = lines(&world.master.until_end().await);
        assert_eq!(
            told.last().unwrap(),
            "TASK_FINISHED: Command exited with status 0",
            "{}",
            world.output(id, "stderr")
        );
        assert!(disk.is_none() || begun.elapsed().as_millis() > 800, "{:?}", begun.elapsed());
        assert_eq!(world.output(id, "stdout"), "Cpus_allowed_list: 0\nMems_allowed_list: 0\n", "{id}");
    }
}

/// Each is named with its value, what the kernel said, and what helps; nothing is left of the trial.
async fn impossible(world: &mut World) {
    for (flag, value, word, remedy) in [
        ("container_cpuset_cpus", "4000", "cpuset.cpus", "lscpu"),
        ("container_cpuset_mems", "900", "cpuset.mems", "lscpu"),
        ("container_io_max", "4000:1 riops=1", "4000:1", "whole disks"),
        ("container_hugetlb", "4KB=1MB", "hugetlb", "/sys/kernel/mm/hugepages"),
    ] {
        let why = world.refusal(&[("isolation", "cgroups/all,namespaces"), (flag, value)]).await;
        assert!(why.starts_with(&format!("--{flag}={value} can't be had on this host: ")), "{why}");
        assert!(why.contains(word) && why.contains(remedy), "{why}");
    }
    // A share of the disks depends on their scheduler: it is in force, or the agent says what would help.
    world.flags = vec![("container_io_weight", "300")];
    match world.start_or_refusal().await {
        Ok(()) => {
            world.master.run(&framework("F", true), task("t", "true")).await;
            assert_eq!(
                lines(&world.master.until_end().await).last().unwrap(),
                "TASK_FINISHED: Command exited with status 0"
            );
        }
        Err(why) => assert!(why.contains("--container_io_weight=300") && why.contains("bfq"), "{why}"),
    }
}

/// isolators.md: v1's name is taken where there are v1 controllers, and on v2 stops the agent (see the virtual machine).
async fn blkio(world: &mut World) {
    let v2 = fs::exists("/sys/fs/cgroup/cgroup.controllers").unwrap();
    world.flags = vec![("isolation", "cgroups/blkio,namespaces")];
    match world.start_or_refusal().await {
        Ok(()) => assert!(!v2, "it must not start"),
        Err(why) => assert!(v2 && why.contains("cgroups/blkio") && why.contains("cgroups/io"), "{why}"),
    }
}
