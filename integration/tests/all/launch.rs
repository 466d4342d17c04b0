//! Tasks run, with images and without, as what they and their images say.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;

use integration::images::{Layer, Packing, busybox, debian};
use integration::job::done;
use integration::{Cluster, OrFail, Registry, eventually, needs, task};
use serde_json::json;

#[test]
fn output_and_exit_code_become_ours() {
    needs!("docker-registry", "skopeo");
    let registry = Registry::start();
    let image = registry.push("busybox", &busybox()).name;
    let cluster = Cluster::start();
    let ended =
        cluster.run(&["--image", &image, "--", "sh", "-c", "echo out; echo err >&2; exit 7"]).expect(7);
    assert_eq!(ended.stdout, "out\n");
    assert!(ended.stderr.lines().any(|line| line == "err"), "{}", ended.stderr);
    cluster.run(&["--image", &image, "--", "true"]).expect(0);
    cluster.run(&["--image", &image, "--", "sh", "-c", "kill -SEGV $$"]).expect(139);
    // All of a lot, byte by byte.
    let many =
        "i=0; while [ $i -lt 30000 ]; do echo \"line $i \u{e9}\"; i=$((i+1)); done; printf '\\000\\377end'";
    let ended = cluster.run(&["--image", &image, "--quiet", "--", "sh", "-c", many]).expect(0);
    let expected: String = (0..30000).map(|i| format!("line {i} \u{e9}\n")).collect();
    assert_eq!(ended.stdout.len(), expected.len() + "\0\u{fffd}end".len());
    assert!(ended.stdout.starts_with(&expected) && ended.stdout.ends_with("\0\u{fffd}end"));
}

#[test]
fn output_comes_while_the_task_runs() {
    needs!("docker-registry", "skopeo");
    let registry = Registry::start();
    let image = registry.push("busybox", &busybox()).name;
    let cluster = Cluster::start();
    let script = "echo first; while [ ! -e go ]; do sleep 0.05; done; echo second";
    let job = cluster.ask(&["run", "--image", &image, "--", "sh", "-c", script]);
    eventually("the first line", || (job.stdout() == "first\n").then_some(()));
    let sandbox = only_sandbox(&cluster);
    assert_eq!(fs::read_to_string(sandbox.join("stdout")).unwrap(), "first\n");
    fs::write(sandbox.join("go"), "").unwrap();
    assert_eq!(job.wait().expect(0).stdout, "first\nsecond\n");
}

/// The sandbox of the only task that there was.
fn only_sandbox(cluster: &Cluster) -> PathBuf {
    let pattern = format!("{}/slaves/*/frameworks/*/executors/*/runs/latest", cluster.work_dir().display());
    let found = done(Command::new("sh").args(["-c", "ls -d $1", "sh", &pattern]));
    let found: Vec<&str> = found.lines().collect();
    assert_eq!(found.len(), 1, "{found:?}");
    PathBuf::from(found[0])
}

#[test]
fn without_an_image_the_task_sees_the_host() {
    needs!();
    let cluster = Cluster::start();
    let script = "pwd; cat /etc/hostname /etc/passwd; id -u; readlink /proc/self/ns/mnt; exit 3";
    let ended = cluster.run(&["--quiet", "--", "sh", "-c", script]).expect(3);
    let lines: Vec<&str> = ended.stdout.lines().collect();
    let sandbox = fs::canonicalize(only_sandbox(&cluster)).unwrap();
    assert_eq!(lines[0], sandbox.to_str().unwrap());
    let host = fs::read_to_string("/etc/hostname").unwrap() + &fs::read_to_string("/etc/passwd").unwrap();
    assert!(ended.stdout.contains(&host), "{}", ended.stdout);
    assert_ne!(lines[lines.len() - 1], fs::read_link("/proc/self/ns/mnt").unwrap().to_str().unwrap());
    // A line for a shell, too.
    let ended = cluster.run(&["--quiet", "--command", "echo $((6 * 7)); exit 4"]).expect(4);
    assert_eq!(ended.stdout, "42\n");
}

#[test]
fn entrypoint_cmd_environment_and_folder_of_an_image() {
    needs!("docker-registry", "skopeo");
    let registry = Registry::start();
    let cluster = Cluster::start();
    let both = busybox().config("Entrypoint", json!(["echo", "entry"])).config("Cmd", json!(["cmd"]));
    let both = registry.push("both", &both).name;
    let says = |arguments: &[&str]| cluster.run(&[&["--quiet"], arguments].concat()).expect(0).stdout;
    assert_eq!(says(&["--image", &both]), "entry cmd\n");
    assert_eq!(says(&["--image", &both, "--arguments", "--", "a", "b c"]), "entry a b c\n");
    assert_eq!(says(&["--image", &both, "--", "echo", "own"]), "own\n");
    assert_eq!(says(&["--image", &both, "--command", "echo $0 of a shell"]), "/bin/sh of a shell\n");
    // Mesos: of CMD only the program stays when the task has arguments.
    let cmd = registry.push("cmd", &busybox().config("Cmd", json!(["echo", "cmd"]))).name;
    assert_eq!(says(&["--image", &cmd]), "cmd\n");
    assert_eq!(says(&["--image", &cmd, "--arguments", "--", "own"]), "own\n");

    let rich = busybox()
        .layer(Layer::new().dir("srv").file("srv/here", "x"))
        .config("Env", json!(["PATH=/bin", "A=image", "B=image", "EMPTY="]))
        .config("WorkingDir", json!("/srv"))
        .config("User", json!("web"))
        .config("Labels", json!({"org.example.label": "PATH=/nowhere"}));
    let rich = registry.push("rich", &rich).name;
    let script = "pwd; ls; echo $A $B $C ${EMPTY-unset}; id -u; echo $PATH";
    let said = says(&["--image", &rich, "--env", "B=task", "--env", "C=task", "--", "sh", "-c", script]);
    // Mesos: an image's USER is ignored.
    assert_eq!(said, "/srv\nhere\nimage task task\n0\n/bin\n");
}

#[test]
fn layers_are_put_together_with_their_whiteouts() {
    needs!("docker-registry", "skopeo");
    let lower = ["t", "t/kept", "t/cleared", "t/cleared/deep", "t/gone", "t/becomes-file", "t/back"];
    let lower = lower.iter().fold(Layer::new(), |layer, dir| layer.dir(dir));
    let lower = lower
        .file("t/a", "lower a")
        .file("t/b", "lower b")
        .file("t/kept/x", "x")
        .file("t/cleared/old", "old")
        .file("t/cleared/deep/old", "old")
        .file("t/gone/x", "x")
        .file("t/becomes-file/x", "x")
        .file("t/becomes-dir", "file")
        .file("t/back/old", "old")
        .file("t/one", "one")
        .hard_link("t/two", "t/one")
        .link("t/link", "a")
        .owned("t/secret", 0o600, 33, "s")
        .owned("t/suid", 0o4755, 0, "s")
        .packed(Packing::Plain);
    let middle = Layer::new()
        .without("t/a")
        .without("t/gone")
        .without("t/back")
        .opaque("t/cleared")
        .file("t/cleared/new", "new")
        .file("t/becomes-file", "now a file")
        .dir("t/becomes-dir")
        .file("t/becomes-dir/y", "y")
        .packed(Packing::Zstd);
    let upper =
        Layer::new().file("t/b", "upper b").dir("t/back").file("t/back/new", "new").without("t/never-was");
    let registry = Registry::start();
    let image = registry.push("layers", &busybox().layer(lower).layer(middle).layer(upper)).name;
    let cluster = Cluster::start();
    let script = "cd /t; find . | sort; cat b becomes-file becomes-dir/y two; echo; readlink link; \
                  stat -c '%a %u %g' secret suid; stat -c %h one; rm one; cat two; ls -A back cleared; \
                  find / -xdev -name '.wh.*'";
    let said = cluster.inside(&image, script);
    let tree = ".\n./b\n./back\n./back/new\n./becomes-dir\n./becomes-dir/y\n./becomes-file\n./cleared\n./cleared/new\n\
                ./kept\n./kept/x\n./link\n./one\n./secret\n./suid\n./two\n";
    let rest = "upper bnow a fileyone\na\n600 33 33\n4755 0 0\n2\noneback:\nnew\n\ncleared:\nnew\n";
    assert_eq!(said, format!("{tree}{rest}"));
    // What one container changes no other sees.
    assert_eq!(cluster.inside(&image, "cat /t/one"), "one");
}

#[test]
fn debian_by_debootstrap_is_as_it_was_installed() {
    needs!("docker-registry", "skopeo", "debootstrap");
    let layout = debian();
    let registry = Registry::start();
    let image = registry.push_layout("debian", &layout).name;
    let cluster = Cluster::start();
    // Places where a container has something of its own.
    let script = "find / -xdev -printf '%P %y %m %U %G %l %s\\n'";
    let inside = cluster.inside(&image, script);
    let facts = |text: &str| -> BTreeMap<String, String> {
        let own = [
            "",
            "dev",
            "proc",
            "sys",
            "mnt/mesos",
            "mnt/mesos/sandbox",
            "etc/hosts",
            "etc/hostname",
            "etc/resolv.conf",
        ];
        let rows = text.lines().filter_map(|line| line.split_once(' '));
        let rows = rows.filter(|(path, _)| !own.contains(path) && !path.starts_with("dev/"));
        // The size of a folder depends on the file system.
        let shown = |rest: &str| {
            if rest.starts_with('d') {
                rest.rsplit_once(' ').or_fail(rest).0.to_owned()
            } else {
                rest.to_owned()
            }
        };
        rows.map(|(path, rest)| (path.to_owned(), shown(rest))).collect()
    };
    let expected = facts(&fs::read_to_string(layout.join("files.txt")).unwrap());
    let found = facts(&inside);
    assert!(expected.len() > 3000, "{}", expected.len());
    let differ = |(path, facts): (&String, &String)| {
        (found.get(path) != Some(facts)).then(|| format!("{path}: {facts}, found {:?}", found.get(path)))
    };
    assert_eq!(expected.iter().filter_map(differ).take(20).collect::<Vec<_>>(), Vec::<String>::new());
    assert_eq!(
        found.keys().filter(|path| !expected.contains_key(*path)).collect::<Vec<_>>(),
        Vec::<&String>::new()
    );

    let script = "stat -c '%h %a %U %G' /usr/bin/perl /usr/bin/passwd /etc/shadow; readlink /bin /usr/bin/awk; \
                  [ /usr/bin/perl -ef /usr/bin/perl5* ] && echo same; getent passwd www-data; dpkg --verify coreutils | grep -v '^missing'; \
                  perl -e 'print \"perl runs\\n\"'";
    let said = cluster.inside(&image, script);
    let expected = "2 755 root root\n1 4755 root root\n1 640 root shadow\nusr/bin\n/etc/alternatives/awk\nsame\n\
                    www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\nperl runs\n";
    assert_eq!(said, expected);
    let user = cluster.run(&["--image", &image, "--user=www-data", "--quiet", "--", "id"]).expect(0).stdout;
    assert_eq!(user, "uid=33(www-data) gid=33(www-data) groups=33(www-data)\n");
}

#[test]
fn a_task_gets_mesos_environment() {
    needs!("docker-registry", "skopeo");
    let registry = Registry::start();
    let image = busybox().config("Env", json!(["PATH=/bin", "FROM=image", "MESOS_SANDBOX=/of-the-image"]));
    let image = registry.push("busybox", &image).name;
    let cluster = Cluster::with(
        integration::Options::default()
            .agent("--executor_environment_variables={\"OPERATOR\":\"x\",\"FROM\":\"operator\"}"),
    );
    let mut scheduler = cluster.scheduler();
    let mut command = task::program(&["env"]);
    command["environment"] = json!({"variables": [{"name": "OWN", "value": "a=b c"}, {"name": "LANG", "type": "VALUE", "value": "C"}]});
    scheduler.start(|offer| task::task_in("env", offer, command, &image));
    assert_eq!(scheduler.end_of("env")["state"], "TASK_FINISHED");
    let sandbox = cluster.sandbox(scheduler.id(), "env");
    let text = fs::read_to_string(sandbox.join("stdout")).unwrap();
    let found: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let directory = fs::canonicalize(&sandbox).unwrap();
    let container = directory.file_name().unwrap().to_str().unwrap();
    let agent = cluster.agent_id();
    let pid = format!("slave(1)@{}", cluster.agent());
    let endpoint = cluster.agent().to_string();
    for (name, value) in [
        ("PATH", "/bin"),
        ("FROM", "operator"),
        ("OPERATOR", "x"),
        ("OWN", "a=b c"),
        ("LANG", "C"),
        ("MESOS_FRAMEWORK_ID", scheduler.id()),
        ("MESOS_EXECUTOR_ID", "env"),
        ("MESOS_DIRECTORY", directory.to_str().unwrap()),
        ("MESOS_SANDBOX", "/mnt/mesos/sandbox"),
        ("MESOS_CONTAINER_ID", container),
        ("MESOS_SLAVE_ID", &agent),
        ("MESOS_SLAVE_PID", &pid),
        ("MESOS_AGENT_ENDPOINT", &endpoint),
        ("MESOS_CHECKPOINT", "1"),
        ("MESOS_ALLOCATION_ROLE", "*"),
    ] {
        assert_eq!(found.get(name), Some(&value), "{name}\n{text}");
    }
    let strange = |name: &&&str| {
        !name.starts_with("MESOS_")
            && ![
                "PATH",
                "FROM",
                "OPERATOR",
                "OWN",
                "LANG",
                "LIBPROCESS_PORT",
                "LIBPROCESS_IP",
                "HOME",
                "SHLVL",
                "PWD",
            ]
            .contains(*name)
    };
    assert_eq!(found.keys().filter(strange).collect::<Vec<_>>(), Vec::<&&str>::new());
}

#[test]
fn the_sandbox_is_where_mesos_has_it() {
    needs!("docker-registry", "skopeo");
    let registry = Registry::start();
    let image = registry.push("busybox", &busybox()).name;
    let cluster = Cluster::start();
    let mut scheduler = cluster.scheduler();
    let mut command = task::shell("pwd; id -u; ls -A; echo made > file; umask; echo oops >&2; sleep 1000");
    command["user"] = "web".into();
    scheduler.start(|offer| task::task_in("t.1", offer, command, &image));
    let status = scheduler.wait_for("t.1", "TASK_RUNNING");
    let sandbox = cluster.sandbox(scheduler.id(), "t.1");
    let read = |name: &str| fs::read_to_string(sandbox.join(name)).ok();
    eventually("it has written", || (read("stderr")? == "oops\n").then_some(()));
    assert_eq!(read("stdout").unwrap(), "/mnt/mesos/sandbox\n33\nstderr\nstdout\n0022\n");
    assert_eq!(read("file").unwrap(), "made\n");
    let real = fs::canonicalize(&sandbox).unwrap();
    let container = status["container_status"]["container_id"]["value"].as_str().unwrap();
    assert_eq!(real.file_name().unwrap(), container);
    assert_eq!(fs::read_link(&sandbox).unwrap().file_name().unwrap(), container);
    let metadata = fs::metadata(&real).unwrap();
    // Mesos: mode 0750, and it is the user's.
    assert_eq!((metadata.permissions().mode() & 0o7777, metadata.uid()), (0o750, 33));
    assert_eq!(fs::metadata(real.join("file")).unwrap().uid(), 33);
    // The agent says where it is.
    let state = cluster.agent_state("/state");
    let executor = &state["frameworks"][0]["executors"][0];
    assert_eq!((executor["id"].as_str(), executor["source"].as_str()), (Some("t.1"), Some("t.1")));
    assert_eq!(
        (executor["directory"].as_str(), executor["container"].as_str()),
        (real.to_str(), Some(container))
    );
    scheduler.kill("t.1");
    assert_eq!(scheduler.end_of("t.1")["state"], "TASK_KILLED");
    assert!(sandbox.join("file").exists(), "a sandbox stays for its owner to look at");
}
