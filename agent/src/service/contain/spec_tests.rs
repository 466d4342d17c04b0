//! Specs of tasks as tables.

use std::sync::Arc;

use expect_test::expect;
use wire::v1::r_limit_info::r_limit::Type as RlimitType;

use super::*;
use crate::logic::Run;

pub(super) fn common() -> Common {
    Common {
        isolation: Isolation::default(),
        user_namespace: None,
        limits: Limits::default(),
        sandbox_directory: "/mnt/mesos/sandbox".into(),
        switch_user: true,
        cgroups_enable_cfs: false,
        ignore_runtime: false,
        use_image_user: false,
        environment: BTreeMap::from([
            ("OPERATOR".to_owned(), "o".to_owned()),
            ("BOTH".to_owned(), "o".to_owned()),
        ]),
        shm_bytes: None,
        shares_pid: false,
        shares_ipc: false,
        logger: Logger { rotation: None, prefix: "CONTAINER_LOGGER_".to_owned() },
        local_image_dirs: None,
        excluded_images: Vec::new(),
        shutdown_grace: Duration::from_secs(5),
        endpoint: "10.0.0.1:5051".parse().unwrap(),
    }
}

pub(super) fn launch(task: v1::TaskInfo) -> Launch {
    Launch {
        run: Arc::new(Run {
            agent: "A-S0".into(),
            framework: "F".into(),
            executor: "t".into(),
            task: "t".into(),
            container: "c1".into(),
        }),
        framework: Arc::new(v1::FrameworkInfo {
            user: "www".to_owned(),
            checkpoint: Some(true),
            ..Default::default()
        }),
        task: Arc::new(task),
        grace: Duration::from_secs(3),
        epoch: 0,
    }
}

fn variable(name: &str, value: &str) -> v1::environment::Variable {
    v1::environment::Variable { name: name.to_owned(), value: Some(value.to_owned()), ..Default::default() }
}

pub(super) fn task(resources: &str) -> v1::TaskInfo {
    let variables = vec![variable("TASK", "t"), variable("BOTH", "t"), variable("PATH", "/task")];
    let mut resources = model::resources::parse(resources, &model::Role::any()).unwrap().to_wire();
    resources.iter_mut().for_each(|r| {
        r.allocation_info = Some(v1::resource::AllocationInfo { role: Some("web".to_owned()) });
    });
    v1::TaskInfo {
        resources,
        command: Some(v1::CommandInfo {
            value: Some("echo $HOME".to_owned()),
            environment: Some(v1::Environment { variables }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn image() -> ImageConfig {
    ImageConfig {
        env: vec![("PATH".to_owned(), "/image".to_owned()), ("IMAGE".to_owned(), "i".to_owned())],
        working_dir: Some("/app".to_owned()),
        user: Some("nobody".to_owned()),
        ..Default::default()
    }
}

pub(super) fn overlay() -> Rootfs {
    Rootfs::Overlay { lower: vec!["/l".into()], upper: "/u".into(), work: "/w".into() }
}

#[test]
fn a_task_with_an_image() {
    let image = image();
    let spec =
        spec(&common(), &launch(task("cpus:0.5;mem:64")), Path::new("/srv/s"), Some((&image, overlay())))
            .unwrap();
    let env: Vec<String> = spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    expect![[r#"
        PATH=/task
        IMAGE=i
        MESOS_FRAMEWORK_ID=F
        MESOS_EXECUTOR_ID=t
        MESOS_TASK_ID=t
        MESOS_DIRECTORY=/srv/s
        MESOS_SANDBOX=/mnt/mesos/sandbox
        MESOS_CONTAINER_ID=c1
        MESOS_SLAVE_ID=A-S0
        MESOS_AGENT_ID=A-S0
        MESOS_SLAVE_PID=slave(1)@10.0.0.1:5051
        MESOS_AGENT_ENDPOINT=10.0.0.1:5051
        MESOS_CHECKPOINT=1
        MESOS_HTTP_COMMAND_EXECUTOR=0
        MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD=5secs
        LIBPROCESS_PORT=0
        MESOS_RECOVERY_TIMEOUT=15mins
        MESOS_SUBSCRIPTION_BACKOFF_MAX=2secs
        MESOS_ALLOCATION_ROLE=web
        BOTH=t
        OPERATOR=o
        TASK=t"#]]
    .assert_eq(&env.join("\n"));
    assert_eq!(spec.argv, ["/bin/sh", "-c", "echo $HOME"]);
    assert_eq!((spec.cwd.to_str(), spec.user.as_deref()), (Some("/app"), Some("www")));
    assert_eq!(spec.rootfs, overlay());
    assert_eq!(spec.stdout.as_deref(), Some(Path::new("/srv/s/stdout")));
    let sandbox = spec.sandbox.unwrap();
    assert_eq!(
        (sandbox.source.to_str(), sandbox.target.to_str()),
        (Some("/srv/s"), Some("/mnt/mesos/sandbox"))
    );
}

#[test]
fn a_task_without_an_image_works_in_its_sandbox() {
    let spec = spec(&common(), &launch(task("cpus:1;mem:64")), Path::new("/srv/s"), None).unwrap();
    assert_eq!((spec.rootfs, spec.cwd.to_str()), (Rootfs::Host, Some("/srv/s")));
    assert!(spec.env.contains(&("MESOS_SANDBOX".to_owned(), "/srv/s".to_owned())));
}

#[test]
fn users() {
    let image = image();
    let of = |common: &Common, own: Option<&str>, framework: &str| {
        let mut task = task("cpus:1");
        task.command.as_mut().unwrap().user = own.map(str::to_owned);
        let mut launch = launch(task);
        Arc::make_mut(&mut launch.framework).user = framework.to_owned();
        spec(common, &launch, Path::new("/s"), Some((&image, overlay()))).map(|spec| spec.user)
    };
    let user = |common: &Common, own: Option<&str>| of(common, own, "www").unwrap();
    assert_eq!(user(&common(), Some("me")).as_deref(), Some("me"));
    assert_eq!(user(&common(), Some("root")), None);
    assert_eq!(user(&Common { use_image_user: true, ..common() }, None).as_deref(), Some("nobody"));
    assert_eq!(user(&Common { switch_user: false, ..common() }, Some("me")), None);
    // An empty name is nobody's: it must not mean root.
    assert_eq!(user(&common(), Some("")).as_deref(), Some("www"));
    assert_eq!(user(&Common { use_image_user: true, ..common() }, Some("")).as_deref(), Some("nobody"));
    for own in [None, Some("")] {
        assert!(of(&common(), own, "").unwrap_err().contains("names the user"), "{own:?}");
        assert_eq!(of(&Common { switch_user: false, ..common() }, own, ""), Ok(None));
    }
}

#[test]
fn limits_as_mesos_sets_them() {
    let limits = |resources: &str, limits: &[(&str, f64)], cfs: bool| {
        let mut task = task(resources);
        task.limits = limits
            .iter()
            .map(|(name, value)| ((*name).to_owned(), v1::value::Scalar { value: *value }))
            .collect();
        let common = Common { cgroups_enable_cfs: cfs, ..common() };
        let limits = super::limits(&common, &task).unwrap();
        format!(
            "cpu {:?}..{:?} mem {:?}..{:?}",
            limits.cpu_request_milli,
            limits.cpu_limit_milli,
            limits.memory_request_bytes,
            limits.memory_limit_bytes
        )
    };
    const MB: u64 = 1 << 20;
    for (resources, given, cfs, expected) in [
        ("cpus:0.5;mem:64", &[][..], false, format!("cpu Some(500)..None mem Some({0})..Some({0})", 64 * MB)),
        ("cpus:0.5;mem:64", &[], true, format!("cpu Some(500)..Some(500) mem Some({0})..Some({0})", 64 * MB)),
        ("cpus:0.001;mem:1", &[], true, format!("cpu Some(1)..Some(10) mem Some({0})..Some({0})", 32 * MB)),
        (
            "cpus:1;mem:64",
            &[("cpus", 2.0), ("mem", 128.0)],
            false,
            format!("cpu Some(1000)..Some(2000) mem Some({})..Some({})", 64 * MB, 128 * MB),
        ),
        (
            "cpus:1;mem:64",
            &[("cpus", f64::INFINITY), ("mem", f64::INFINITY)],
            true,
            format!("cpu Some(1000)..None mem Some({})..None", 64 * MB),
        ),
        ("disk:1", &[], true, "cpu None..Some(10) mem None..None".to_owned()),
    ] {
        assert_eq!(limits(resources, given, cfs), expected, "{resources} {given:?} {cfs}");
    }
}

#[test]
fn images_of_both_container_types() {
    let mut task = task("cpus:1");
    assert_eq!(wanted_image(&task), Ok(None));
    let mut docker = v1::ContainerInfo::default();
    docker.set_type(ContainerType::Docker);
    docker.docker = Some(v1::container_info::DockerInfo {
        image: "busybox".to_owned(),
        force_pull_image: Some(true),
        ..Default::default()
    });
    task.container = Some(docker);
    assert_eq!(
        wanted_image(&task),
        Ok(Some(WantedImage { name: "busybox".to_owned(), force: true, secret: None }))
    );
    let mut mesos = v1::ContainerInfo::default();
    mesos.set_type(ContainerType::Mesos);
    task.container = Some(mesos.clone());
    assert_eq!(wanted_image(&task), Ok(None));
    let mut image = v1::Image::default();
    image.set_type(ImageType::Docker);
    image.docker = Some(v1::image::Docker { name: "alpine".to_owned(), ..Default::default() });
    mesos.mesos = Some(v1::container_info::MesosInfo { image: Some(image.clone()) });
    task.container = Some(mesos.clone());
    assert_eq!(
        wanted_image(&task),
        Ok(Some(WantedImage { name: "alpine".to_owned(), force: false, secret: None }))
    );
    image.set_type(ImageType::Appc);
    mesos.mesos = Some(v1::container_info::MesosInfo { image: Some(image) });
    task.container = Some(mesos);
    assert!(wanted_image(&task).unwrap_err().contains("APPC"));
}

#[test]
fn what_is_not_supported_is_named() {
    assert_eq!(check(&task("cpus:1")), Ok(()));
    let mut with_health = task("cpus:1");
    with_health.health_check = Some(v1::HealthCheck::default());
    assert!(check(&with_health).unwrap_err().contains("health_check"));
    let mut with_volume = task("cpus:1");
    let mut container = v1::ContainerInfo::default();
    container.set_type(ContainerType::Mesos);
    container.volumes = vec![v1::Volume::default()];
    with_volume.container = Some(container);
    assert!(check(&with_volume).unwrap_err().contains("volumes"));
}

#[test]
fn rlimits_come_in_pairs() {
    let limits = |soft: Option<u64>, hard: Option<u64>| {
        let mut limit = v1::r_limit_info::RLimit { soft, hard, ..Default::default() };
        limit.set_type(RlimitType::RlmtNofile);
        let mut task = task("cpus:1");
        let rlimit_info = Some(v1::RLimitInfo { rlimits: vec![limit] });
        task.container = Some(v1::ContainerInfo { rlimit_info, ..Default::default() });
        super::rlimits(&task)
            .map(|limits| format!("{} {} {}", limits[0].name, limits[0].soft, limits[0].hard))
    };
    assert_eq!(limits(Some(1), Some(2)).unwrap(), "RLIMIT_NOFILE 1 2");
    assert_eq!(limits(None, None).unwrap(), format!("RLIMIT_NOFILE {0} {0}", u64::MAX));
    assert!(limits(Some(3), Some(2)).is_err() && limits(Some(1), None).is_err());
}

fn with_linux(linux: v1::LinuxInfo) -> v1::TaskInfo {
    let container = v1::ContainerInfo { linux_info: Some(linux), ..Default::default() };
    v1::TaskInfo { container: Some(container), ..task("cpus:1;mem:64") }
}

/// isolators.md: namespaces/pid and namespaces/ipc share with the agent, refused when that is disallowed.
#[test]
fn what_is_shared_with_the_host_is_allowed_by_the_operator() {
    let pid = with_linux(v1::LinuxInfo { share_pid_namespace: Some(true), ..Default::default() });
    let ipc = with_linux(v1::LinuxInfo { ipc_mode: Some(IpcMode::ShareParent.into()), ..Default::default() });
    for (task, flag) in [
        (&pid, "--no-disallow_sharing_agent_pid_namespace"),
        (&ipc, "--no-disallow_sharing_agent_ipc_namespace"),
    ] {
        let why = isolation(&common(), task).unwrap_err();
        assert!(why.contains(flag), "{why}");
    }
    let open = Common { shares_pid: true, shares_ipc: true, ..common() };
    let of = |task| isolation(&open, task).unwrap();
    assert_eq!((of(&pid).pid, of(&pid).ipc), (false, true));
    assert_eq!((of(&ipc).pid, of(&ipc).ipc), (true, false));
    assert_eq!(of(&task("cpus:1")), open.isolation);
}

/// isolators.md: shm_size only with PRIVATE.
#[test]
fn shared_memory_has_a_size_of_its_own_only_in_private() {
    let linux = |mode: Option<IpcMode>, size| v1::LinuxInfo {
        ipc_mode: mode.map(Into::into),
        shm_size: size,
        ..Default::default()
    };
    let of = |linux| shm_bytes(&Common { shm_bytes: Some(7), ..common() }, &with_linux(linux));
    assert_eq!(of(linux(Some(IpcMode::Private), Some(2))), Ok(Some(2 << 20)));
    assert_eq!(of(linux(Some(IpcMode::Private), None)), Ok(Some(7)));
    assert_eq!(of(linux(None, None)), Ok(Some(7)));
    for mode in [None, Some(IpcMode::ShareParent)] {
        assert!(of(linux(mode, Some(2))).unwrap_err().contains("only with ipc_mode PRIVATE"));
    }
}

/// behaviour.md section 5: share_cgroups=false on a task that is in no group is an error.
#[test]
fn sharing_cgroups_is_for_task_groups() {
    let linux = |share| with_linux(v1::LinuxInfo { share_cgroups: share, ..Default::default() });
    assert!(check(&linux(Some(false))).unwrap_err().contains("share_cgroups"));
    assert_eq!(check(&linux(Some(true))), Ok(()));
    assert_eq!(check(&linux(None)), Ok(()));
}

/// isolators.md: what an operator isolates is never left out in silence.
#[test]
fn a_user_namespace_needs_an_image_and_shares_nothing() {
    let ids = IdRange { base: 200_000, length: 65_536 };
    let common = Common { user_namespace: Some(ids), shares_pid: true, shares_ipc: true, ..common() };
    let image = image();
    let of = |task, image| spec(&common, &launch(task), Path::new("/s"), image);
    let mapped = of(task("cpus:1"), Some((&image, overlay()))).unwrap();
    assert_eq!(mapped.user_namespace, Some(ids));
    let why = of(task("cpus:1"), None).unwrap_err();
    assert!(why.contains("no image") && why.contains("namespaces/user"), "{why}");
    let pid = with_linux(v1::LinuxInfo { share_pid_namespace: Some(true), ..Default::default() });
    let ipc = with_linux(v1::LinuxInfo { ipc_mode: Some(IpcMode::ShareParent.into()), ..Default::default() });
    for (task, word) in [(pid, "share_pid_namespace"), (ipc, "SHARE_PARENT")] {
        let why = of(task, Some((&image, overlay()))).unwrap_err();
        assert!(why.contains(word) && why.contains("namespaces/user"), "{why}");
    }
}

fn docker(network: Network) -> v1::TaskInfo {
    let mut docker = v1::container_info::DockerInfo { image: "busybox".to_owned(), ..Default::default() };
    docker.set_network(network);
    let container = v1::ContainerInfo { docker: Some(docker), ..Default::default() };
    v1::TaskInfo { container: Some(container), ..task("cpus:1") }
}

#[test]
fn a_docker_task_without_network_has_none() {
    for (network, own) in [(Network::Host, false), (Network::None, true)] {
        assert_eq!(check(&docker(network)), Ok(()));
        assert_eq!(isolation(&common(), &docker(network)).unwrap().net, own, "{network:?}");
    }
    for network in [Network::Bridge, Network::User] {
        assert!(check(&docker(network)).unwrap_err().contains("docker.network"), "{network:?}");
    }
    let isolated = Common { isolation: Isolation { net: true, ..Isolation::default() }, ..common() };
    assert!(isolation(&isolated, &docker(Network::Host)).unwrap().net, "the operator's wish counts");
}

#[test]
fn limits_of_the_operator_are_every_containers() {
    let limits = Limits { cpuset_cpus: Some("0".to_owned()), io_weight: Some(7), ..Limits::default() };
    let common = Common { limits, ..common() };
    let all = super::limits(&common, &task("cpus:1;mem:64")).unwrap();
    assert_eq!((all.cpuset_cpus.as_deref(), all.io_weight), (Some("0"), Some(7)));
    assert_eq!((all.cpu_request_milli, all.pids_max), (Some(1000), Some(4096)));
}
