//! How commands end, and why some never start.
use std::fs;
use std::os::unix::fs::PermissionsExt;

use runtime::{Exit, FailureKind, Rootfs, Stage};

use crate::world::world;

#[test]
fn exit_codes_and_signals() {
    let Some(world) = world("exit_codes_and_signals") else { return };
    assert_eq!(world.run(&world.spec("true", &["true"])).status, Exit::Code(0));
    assert_eq!(world.run(&world.script("seven", "exit 7")).status, Exit::Code(7));
    assert_eq!(world.run(&world.script("segv", "kill -SEGV $$")).status, Exit::Signal(libc::SIGSEGV));
    let killed = world.run(&world.script("kill", "kill -KILL $$"));
    assert_eq!((killed.status, killed.oom_kills, killed.killed_by_us), (Exit::Signal(9), 0, None));
    assert!(killed.started_at_ms <= killed.finished_at_ms);
}

/// The end may come before the keeper has looked at the start.
#[test]
fn a_command_that_ends_at_once_is_never_missed() {
    let Some(world) = world("a_command_that_ends_at_once_is_never_missed") else { return };
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let world = &world;
            scope.spawn(move || {
                for round in 0..8 {
                    let spec = world.script(&format!("quick-{thread}-{round}"), "exit 3");
                    let mut keeper = world.runtime.launch(&spec).unwrap();
                    assert_eq!(keeper.wait_exit().unwrap().status, Exit::Code(3));
                    while keeper.report().is_ok() {}
                    world.runtime.cleanup(&spec.id).unwrap();
                }
            });
        }
    });
    world.assert_gone();
}

#[test]
fn output_goes_to_the_files_of_the_sandbox() {
    let Some(world) = world("output_goes_to_the_files_of_the_sandbox") else { return };
    let script = "echo out; echo err >&2; cat; pwd > /mnt/mesos/sandbox/made";
    assert_eq!(world.output("o", script), "out\n");
    assert_eq!(world.stderr("o"), "err\n");
    assert_eq!(fs::read_to_string(world.sandbox("o").join("made")).unwrap(), "/\n");
}

#[test]
fn the_environment_is_the_given_one_with_path_and_home() {
    let Some(world) = world("the_environment_is_the_given_one_with_path_and_home") else { return };
    let mut spec = world.script("env", "env; echo \"argv0=$0\"");
    spec.env.push(("A".into(), "b=c d".into()));
    spec.argv.push("zero".into());
    world.run(&spec);
    let text = world.stdout("env");
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("TEPUI_TEST")).collect();
    lines.sort_unstable();
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    // The shell itself adds PWD and SHLVL.
    assert_eq!(lines, ["A=b=c d", "HOME=/root", path, "PWD=/", "SHLVL=1", "argv0=zero"]);
}

#[test]
fn the_program_may_differ_from_its_first_argument() {
    let Some(world) = world("the_program_may_differ_from_its_first_argument") else { return };
    let mut spec = world.spec("p", &["echo", "hello"]);
    spec.program = Some("/bin/busybox".into());
    world.run(&spec);
    assert_eq!(world.stdout("p"), "hello\n");
}

#[test]
fn a_command_that_is_an_init_itself_is_pid_1() {
    let Some(world) = world("a_command_that_is_an_init_itself_is_pid_1") else { return };
    let mut spec = world.script("own", "echo $$; exit 3");
    spec.own_init = true;
    assert_eq!(world.run(&spec).status, Exit::Code(3));
    assert_eq!(world.stdout("own"), "1\n");
    let mut bad = world.spec("bad", &["/etc/passwd"]);
    bad.own_init = true;
    assert_eq!(world.refused(&bad).kind, FailureKind::ProgramNotExecutable);
}

#[test]
fn programs_that_can_not_run_say_why() {
    let Some(world) = world("programs_that_can_not_run_say_why") else { return };
    let bin = world.path("busybox/bin");
    let put = |name: &str, text: &str, mode: u32| {
        fs::write(bin.join(name), text).unwrap();
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    put("plain", "just text\n", 0o755);
    put("no-x", "#!/bin/sh\n", 0o644);
    put("lost", "#!/bin/nowhere\n", 0o755);
    put("group", "#!/bin/sh\nexit 4\n", 0o750);
    let cases = [
        ("missing", "nothing", FailureKind::ProgramNotFound, "in its PATH"),
        ("absent", "/no/such", FailureKind::ProgramNotFound, "/no/such"),
        ("mode", "no-x", FailureKind::ProgramNotExecutable, "mode 0644"),
        ("folder", "/bin", FailureKind::ProgramNotExecutable, "no regular file"),
        ("text", "plain", FailureKind::ProgramNotExecutable, "#!"),
        ("interpreter", "lost", FailureKind::ProgramNotExecutable, "interpreter"),
    ];
    for (id, program, kind, hint) in cases {
        let failure = world.refused(&world.spec(id, &[program]));
        assert_eq!((failure.stage, failure.kind), (Stage::Exec, kind), "{failure}");
        assert!(failure.message.contains(hint), "{failure}");
    }
    // libcontainer's own check looks at the last x only.
    assert_eq!(world.run(&world.spec("group", &["group"])).status, Exit::Code(4));
}

#[test]
fn working_directories() {
    let Some(world) = world("working_directories") else { return };
    let mut spec = world.spec("good", &["pwd"]);
    spec.cwd = "/mnt/mesos/sandbox".into();
    world.run(&spec);
    assert_eq!(world.stdout("good"), "/mnt/mesos/sandbox\n");
    for (id, cwd) in
        [("none", "/no/such"), ("file", "/etc/passwd"), ("relative", "tmp"), ("fd", "/proc/self/fd/3")]
    {
        let mut spec = world.spec(id, &["pwd"]);
        spec.cwd = cwd.into();
        let failure = world.refused(&spec);
        assert_eq!(failure.kind, FailureKind::WorkingDirectory, "{failure}");
        assert!(failure.message.contains(cwd), "{failure}");
    }
}

#[test]
fn what_no_container_can_be_made_of() {
    let Some(world) = world("what_no_container_can_be_made_of") else { return };
    let mut empty = world.spec("empty", &["true"]);
    empty.argv.clear();
    let mut zero = world.spec("zero", &["true", "a\0b"]);
    zero.env.clear();
    let mut name = world.spec("name", &["true"]);
    name.env.push(("A=B".into(), "c".into()));
    let mut sandbox = world.spec("sandbox", &["true"]);
    sandbox.sandbox.as_mut().unwrap().target = "/proc/1".into();
    let huge = world.spec("huge", &["true", &"x".repeat(2 << 20)]);
    for spec in [empty, zero, name, sandbox, huge] {
        assert_eq!(world.refused(&spec).kind, FailureKind::Refused, "{}", spec.id);
    }
    let mut layer = world.spec("layer", &["true"]);
    layer.rootfs = Rootfs::Directory(world.path("nowhere"));
    let failure = world.refused(&layer);
    assert!(failure.stage == Stage::Rootfs && failure.message.contains("nowhere"), "{failure}");
    let mut user = world.spec("user", &["true"]);
    user.user = Some("4294967296".into());
    assert_eq!(world.refused(&user).kind, FailureKind::User);
}

#[test]
fn a_container_of_the_same_name_is_refused_while_the_first_is_there() {
    let Some(world) = world("a_container_of_the_same_name_is_refused_while_the_first_is_there") else {
        return;
    };
    let spec = world.spec("twin", &["sleep", "100"]);
    let keeper = world.start(&spec);
    assert!(matches!(world.runtime.launch(&spec), Err(runtime::LaunchError::Exists(_))));
    assert!(matches!(world.runtime.cleanup(&spec.id), Err(runtime::CleanupError::Running(_))));
    assert_eq!(world.processes().len(), 2, "{:?}", world.processes());
    world.kill(keeper, Some(0));
}

#[test]
fn without_an_image_the_host_is_seen_and_nothing_else_changes() {
    let Some(world) = world("without_an_image_the_host_is_seen_and_nothing_else_changes") else { return };
    let before: Vec<_> = fs::read_dir("/dev").unwrap().flatten().map(|entry| entry.file_name()).collect();
    let mut spec = world.spec(
        "host",
        &[
            "/bin/sh",
            "-c",
            "pwd; echo $$; ls /proc | grep -c '^[0-9]'; cat /proc/keys; ls /sys/fs/cgroup/memory 2>/dev/null",
        ],
    );
    spec.rootfs = Rootfs::Host;
    let sandbox = world.sandbox("host");
    spec.cwd = sandbox.clone();
    let record = world.run(&spec);
    assert_ne!(record.status, Exit::Code(0));
    let text = world.stdout("host");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], sandbox.to_str().unwrap());
    assert_eq!(lines[1], "2");
    assert!(lines[2].parse::<u32>().unwrap() < 8, "{text}");
    let after: Vec<_> = fs::read_dir("/dev").unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(before, after);
}

#[test]
fn the_runtime_folder_is_hidden_from_a_command_on_the_hosts_files() {
    let Some(world) = world("the_runtime_folder_is_hidden_from_a_command_on_the_hosts_files") else { return };
    let mut spec = world.spec("hidden", &["/bin/sh", "-c", "ls -A \"$0\""]);
    spec.argv.push(world.config.runtime_dir.display().to_string());
    spec.rootfs = Rootfs::Host;
    // What lies beside the sandbox isn't seen anyway.
    let own = world.path("own/sandbox");
    fs::create_dir_all(&own).unwrap();
    spec.sandbox.as_mut().unwrap().source = own;
    assert_eq!(world.run(&spec).status, Exit::Code(0));
    assert_eq!(world.stdout("hidden"), "");
}
