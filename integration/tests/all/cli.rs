//! The commands: exit codes, flags and where they come from, and what operators use.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::symlink;

use integration::client::Request;
use integration::cluster::binary;
use integration::images::busybox;
use integration::job::{Daemon, bound};
use integration::leftovers::processes_with;
use integration::place::Place;
use integration::task::{framework, shell, task};
use integration::{Cluster, Ended, Job, OrFail, Registry, Scheduler, eventually, needs};
use rustix::process::Signal;
use serde_json::{Value, json};

fn tepui(place: &Place, arguments: &[&str]) -> Ended {
    Job::start(bound(binary()).args(arguments), place.dir()).wait()
}

/// What a master tells of its flags, and what it logged.
fn flags_of(place: &Place, command: &mut std::process::Command) -> (Value, String) {
    let mut daemon = Daemon::start("tepui master", command, &place.dir().join("log"));
    let reply = eventually("the master answers", || {
        assert!(daemon.runs(), "{}", daemon.log());
        Request::new("GET", "/flags").send(place.socket(0)).ok()
    });
    let flags = reply.expect(200).json()["flags"].clone();
    daemon.signal(Signal::TERM);
    let status = daemon.wait();
    assert!(status.success(), "{status}: {}", daemon.log());
    (flags, daemon.log())
}

#[test]
fn every_command_explains_itself() {
    let place = Place::new();
    for command in [
        "",
        "master",
        "agent",
        "dev",
        "run",
        "task",
        "task list",
        "task logs",
        "task kill",
        "agents",
        "agents list",
        "frameworks list",
        "image",
        "image pull",
        "image list",
        "image inspect",
        "image history",
        "image remove",
        "image pin",
        "image unpin",
        "image prune",
        "image verify",
    ] {
        for flag in ["--help", "--version"] {
            let words: Vec<&str> = command.split_whitespace().chain([flag]).collect();
            let ended = tepui(&place, &words).expect(0);
            assert!(!ended.stdout.is_empty() && ended.stderr.is_empty(), "{words:?}: {}", ended.stderr);
        }
    }
}

#[test]
fn unusable_arguments_exit_with_2_and_name_the_flag() {
    let place = Place::new();
    for (line, word) in [
        ("agent --wrok_dir=/x", "--work_dir"),
        ("agent --work_dir=/tmp/x", "--master"),
        ("agent --master=127.0.0.1:5050", "--work_dir"),
        ("agent --work_dir=/tmp/x --master=127.0.0.1:1 --isolation=nonsense", "--isolation"),
        ("agent --work_dir=/tmp/x --master=127.0.0.1:1 --resources=cpus", "--resources"),
        ("agent --work_dir=/tmp/x --master=127.0.0.1:1 --ip=0.0.0.0", "--insecure"),
        ("master --ip=0.0.0.0 --registry=in_memory", "--insecure"),
        ("master --port=99999999 --registry=in_memory", "--port"),
        ("master --registry=nonsense", "--registry"),
        ("master", "--work_dir"),
        ("master --registry=in_memory --log_format=xml", "--log_format"),
        ("master --registry=in_memory --config_dir=/no/such/folder", "--config_dir"),
        ("master --registry=in_memory --authenticate_agents", "--authenticate_agents"),
        ("master --registry=in_memory --agent_ping_timeout=soon", "--agent_ping_timeout"),
        ("run --cpus=none -- true", "--cpus"),
        ("run --resources=cpus -- true", "--resources"),
        ("run --env=x -- true", "--env"),
        ("run", "--image"),
        ("nosuch", "nosuch"),
        ("task nosuch", "nosuch"),
        ("supervise2", "supervise2"),
    ] {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ended = tepui(&place, &words).expect(2);
        assert!(ended.stderr.contains(word), "{line}: {}", ended.stderr);
    }
}

#[test]
fn nobody_there_is_said() {
    let place = Place::new();
    let master = format!("--master={}", place.socket(9));
    for words in [
        vec!["task", "list"],
        vec!["agents", "list"],
        vec!["frameworks", "list"],
        vec!["run", "--command=true"],
    ] {
        let ended = tepui(&place, &[words.as_slice(), &[master.as_str()]].concat()).expect(1);
        assert!(
            ended.stderr.contains(&format!("no master at {}", place.socket(9))),
            "{words:?}: {}",
            ended.stderr
        );
    }
}

#[test]
fn command_line_variables_and_folder_in_this_order() {
    needs!();
    let place = Place::new();
    let folder = place.dir().join("config");
    fs::create_dir(&folder).unwrap();
    let value = place.dir().join("cluster-name");
    fs::write(&value, "from a file\n").unwrap();
    for (name, content) in [
        ("registry", "in_memory\n"),
        ("ip", "127.0.0.2"),
        ("port", "1"),
        ("hostname", "of-the-folder"),
        ("?no-root_submissions", ""),
        ("quorum", "2"),
        ("cluster", &format!("file://{}", value.display())),
        ("max_slave_ping_timeouts", "7"),
    ] {
        fs::write(folder.join(name), content).unwrap();
    }
    let mut command = bound(binary());
    command.arg("master").arg(format!("--config-dir={}", folder.display()));
    command.arg(format!("--port={}", place.socket(0).port())).arg(format!("--ip={}", place.socket(0).ip()));
    command
        .env("MESOS_HOSTNAME", "of-mesos")
        .env("TEPUI_HOSTNAME", "of-tepui")
        .env("MESOS_MAX_COMPLETED_FRAMEWORKS", "3");
    let (flags, log) = flags_of(&place, &mut command);
    for (name, value) in [
        ("hostname", "of-tepui"),
        ("registry", "in_memory"),
        ("root_submissions", "false"),
        ("cluster", "from a file"),
        // Mesos: a flag is shown under the name that it was given by.
        ("max_slave_ping_timeouts", "7"),
        ("max_completed_frameworks", "3"),
    ] {
        assert_eq!(flags[name], value, "{name}: {flags}");
    }
    assert_eq!(flags["port"], place.socket(0).port().to_string());
    assert_eq!(log.matches("--quorum").count(), 1, "{log}");
    fs::write(folder.join("hostnaem"), "x").unwrap();
    let ended = Job::start(&mut command, place.dir()).wait().expect(2);
    assert!(ended.stderr.contains("hostnaem") && ended.stderr.contains("'hostname'"), "{}", ended.stderr);
}

#[test]
fn links_with_mesos_names_act_as_the_command() {
    needs!();
    let place = Place::new();
    let link = place.dir().join("mesos-master");
    symlink(binary(), &link).unwrap();
    let mut command = bound(&link);
    // What Mesos' packages put on the command line.
    command.args(["--registry=in_memory", "--log_dir=/var/log/mesos", "--quorum=1"]);
    command.arg(format!("--port={}", place.socket(0).port())).arg(format!("--ip={}", place.socket(0).ip()));
    let (flags, log) = flags_of(&place, &mut command);
    assert_eq!(flags["registry"], "in_memory");
    assert!(log.contains("--log_dir"), "{log}");
    for (name, usage) in [
        ("mesos-agent", "tepui agent"),
        ("mesos-slave", "tepui agent"),
        ("slave", "tepui agent"),
        ("mesos-execute", "tepui run"),
    ] {
        let link = place.dir().join(name);
        symlink(binary(), &link).unwrap();
        let ended = Job::start(bound(&link).arg("--help"), place.dir()).wait().expect(0);
        assert!(ended.stdout.contains(&format!("Usage: {usage}")), "{name}: {}", ended.stdout);
    }
}

#[test]
fn logs_can_be_json() {
    needs!();
    let place = Place::new();
    let mut command = bound(binary());
    command.args(["master", "--registry=in_memory", "--log_format=json"]);
    command.arg(format!("--port={}", place.socket(0).port())).arg(format!("--ip={}", place.socket(0).ip()));
    let (_, log) = flags_of(&place, &mut command);
    assert!(log.lines().count() >= 1);
    for line in log.lines() {
        let event: Value = serde_json::from_str(line).or_fail(line);
        assert!(event["level"].is_string() && event["message"].is_string(), "{line}");
    }
}

#[test]
fn a_port_that_is_taken_is_said() {
    needs!();
    let place = Place::new();
    let _taken = TcpListener::bind(place.socket(0)).unwrap();
    let (ip, port) = (format!("--ip={}", place.socket(0).ip()), format!("--port={}", place.socket(0).port()));
    let work_dir = format!("--work_dir={}", place.dir().join("agent").display());
    let runtime_dir = format!("--runtime_dir={}", place.dir().join("run").display());
    for words in [
        vec!["master", "--registry=in_memory"],
        vec!["agent", "--master=127.0.0.1:1", &work_dir, &runtime_dir, "--cgroups_root=tepui-it-taken"],
    ] {
        let ended = tepui(&place, &[words.as_slice(), &[&ip, &port]].concat()).expect(1);
        assert!(ended.stderr.contains(&place.socket(0).to_string()), "{words:?}: {}", ended.stderr);
    }
}

#[test]
fn run_ends_as_its_task_does() {
    needs!();
    let cluster = Cluster::start();
    for (line, code) in [
        ("true", 0),
        ("exit 1", 1),
        ("exit 42", 42),
        ("exit 255", 255),
        ("kill -TERM $$", 143),
        ("kill -KILL $$", 137),
    ] {
        cluster.run(&["--command", line]).expect(code);
    }
    // What no agent has is said after a while.
    let ended = cluster.run(&["--cpus=99", "--wait=1secs", "--command=true"]).expect(1);
    assert!(ended.stderr.contains("no agent offers cpus:99"), "{}", ended.stderr);
    let ended = cluster.run(&["--kill_after=300ms", "--command=sleep 1000"]);
    assert_ne!(ended.code, 0);
    assert!(ended.stderr.contains("--kill_after"), "{}", ended.stderr);
    // The other media type.
    cluster.run(&["--content_type=json", "--command=exit 3"]).expect(3);
    // Its framework is gone afterwards.
    assert_eq!(cluster.state("/state")["frameworks"], json!([]));
}

#[test]
fn interrupting_run_kills_its_task() {
    needs!();
    let cluster = Cluster::start();
    let before = cluster.inventory();
    let job = cluster.ask(&["run", "--command", "echo up; exec sleep 1000"]);
    eventually("it runs", || (job.stdout() == "up\n").then_some(()));
    job.signal(Signal::INT);
    assert_eq!(job.wait().code, 130);
    cluster.assert_nothing_beyond(&before);
    // Killed itself it can't; then its task lives for --failover_timeout.
    let job = cluster.ask(&["run", "--failover_timeout=1secs", "--command", "echo up; exec sleep 1000"]);
    eventually("it runs", || (job.stdout() == "up\n").then_some(()));
    job.signal(Signal::KILL);
    cluster.assert_nothing_beyond(&before);
}

#[test]
fn tasks_are_listed_read_and_killed() {
    needs!();
    let cluster = Cluster::start();
    let mut scheduler = Scheduler::subscribe(cluster.master(), framework());
    let offer = scheduler.offer();
    let script =
        "echo line 1; echo oops >&2; while [ ! -e go ]; do sleep 0.05; done; echo line 2; exec sleep 1000";
    scheduler.launch(
        &offer,
        vec![task("web.1", &offer, shell(script)), task("done", &offer, shell("echo was; exit 3"))],
    );
    scheduler.wait_for("web.1", "TASK_RUNNING");
    scheduler.end_of("done");
    let ask = |words: &[&str]| cluster.ask(words).wait();
    let list = ask(&["task", "list"]).expect(0).stdout;
    assert!(list.contains("web.1") && list.contains("TASK_RUNNING") && !list.contains("done"), "{list}");
    let list = ask(&["task", "list", "--all"]).expect(0).stdout;
    assert!(
        list.contains("web.1") && list.lines().any(|l| l.contains("done") && l.contains("TASK_FAILED")),
        "{list}"
    );
    let json: Value = serde_json::from_str(&ask(&["task", "list", "--json"]).expect(0).stdout).unwrap();
    assert_eq!(
        (json["tasks"][0]["id"].as_str(), json["tasks"].as_array().map(Vec::len)),
        (Some("web.1"), Some(1))
    );
    eventually("its first line", || {
        (ask(&["task", "logs", "web.1"]).expect(0).stdout == "line 1\n").then_some(())
    });
    assert_eq!(ask(&["task", "logs", "web"]).expect(0).stdout, "line 1\n");
    assert_eq!(ask(&["task", "logs", "--stderr", "web.1"]).expect(0).stdout, "oops\n");
    assert_eq!(ask(&["task", "logs", "--tail=3", "web.1"]).expect(0).stdout, " 1\n");
    assert_eq!(ask(&["task", "logs", "done"]).expect(0).stdout, "was\n");
    let unknown = ask(&["task", "logs", "nobody"]).expect(1);
    assert!(unknown.stderr.contains("no task 'nobody'"), "{}", unknown.stderr);
    let follow = cluster.ask(&["task", "logs", "--follow", "web.1"]);
    eventually("the first line", || (follow.stdout() == "line 1\n").then_some(()));
    fs::write(cluster.sandbox(scheduler.id(), "web.1").join("go"), "").unwrap();
    eventually("the second line", || (follow.stdout() == "line 1\nline 2\n").then_some(()));
    let kill = ask(&["task", "kill", "web.1"]).expect(0);
    assert!(kill.stdout.contains("web.1"), "{}", kill.stdout);
    let end = scheduler.end_of("web.1");
    assert!(["TASK_KILLED", "TASK_FAILED"].contains(&end["state"].as_str().unwrap()), "{end}");
    follow.wait().expect(0);
    let again = ask(&["task", "kill", "web.1"]).expect(1);
    assert!(again.stderr.contains("has ended"), "{}", again.stderr);
}

#[test]
fn agents_and_frameworks_are_listed() {
    needs!();
    let cluster = Cluster::start();
    let scheduler = cluster.scheduler();
    let agents = cluster.ask(&["agents", "list"]).wait().expect(0).stdout;
    assert!(
        agents.contains(&cluster.agent_id()) && agents.contains(&cluster.agent().to_string()),
        "{agents}"
    );
    let json: Value =
        serde_json::from_str(&cluster.ask(&["agents", "list", "--json"]).wait().expect(0).stdout).unwrap();
    assert_eq!(json["slaves"][0]["id"], cluster.agent_id());
    let frameworks = cluster.ask(&["frameworks", "list"]).wait().expect(0).stdout;
    assert!(frameworks.contains(scheduler.id()) && frameworks.contains("integration"), "{frameworks}");
}

#[test]
fn images_are_pulled_listed_and_removed() {
    needs!("docker-registry", "skopeo");
    let registry = Registry::start();
    let image = registry.push("busybox", &busybox());
    let place = Place::new();
    let store = format!("--store={}", place.dir().join("images").display());
    let ask = |words: &[&str]| tepui(&place, &[&["image"], words, &[store.as_str()]].concat());
    let digest = image.by_digest.split_once('@').unwrap().1;
    let pulled = ask(&["pull", &image.name]).expect(0);
    assert_eq!(pulled.stdout, format!("{digest}\n"));
    let json: Value = serde_json::from_str(&ask(&["pull", "--json", &image.name]).expect(0).stdout).unwrap();
    assert_eq!(json["layers"].as_array().map(Vec::len), Some(1));
    let list = ask(&["list"]).expect(0).stdout;
    assert!(list.contains(&image.name) && list.contains(&digest[..19]), "{list}");
    ask(&["remove", &image.name]).expect(0);
    assert_eq!(ask(&["list", "--json"]).expect(0).stdout.trim(), "[]");
    ask(&["remove", &image.name]).expect(1);
    let unknown = format!("{}/no-such-image", registry.address());
    let ended = ask(&["pull", &unknown]).expect(1);
    assert!(ended.stderr.contains("no-such-image"), "{}", ended.stderr);
    ask(&["pull", "Not A Name"]).expect(2);
}

#[test]
fn only_a_pull_makes_a_store() {
    let place = Place::new();
    let (typo, other) = (place.dir().join("typo"), place.dir().join("other"));
    std::fs::create_dir(&other).unwrap();
    for root in [&typo, &other] {
        let store = format!("--store={}", root.display());
        let none = format!("there is no image store at {}", root.display());
        for words in [
            &["verify"] as &[&str],
            &["list"],
            &["prune"],
            &["remove", "a"],
            &["inspect", "a"],
            &["pin", "a"],
        ] {
            let ended = tepui(&place, &[&["image"], words, &[store.as_str()]].concat()).expect(2);
            assert!(ended.stderr.contains(&none) && ended.stderr.contains("--store"), "{words:?}: {ended:?}");
            assert_eq!(ended.stdout, "", "{words:?}");
        }
    }
    assert!(!typo.exists() && std::fs::read_dir(&other).unwrap().count() == 0, "nothing was made");
}

#[test]
fn a_store_is_looked_into_pruned_and_verified() {
    needs!("docker-registry", "skopeo");
    let registry = Registry::start();
    let image = registry.push("busybox", &busybox());
    let place = Place::new();
    let root = place.dir().join("images");
    let store = format!("--store={}", root.display());
    let ask = |words: &[&str]| tepui(&place, &[&["image"], words, &[store.as_str()]].concat());
    let json = |words: &[&str], code: i32| -> Value {
        serde_json::from_str(&ask(&[words, &["--json"]].concat()).expect(code).stdout).unwrap()
    };
    ask(&["pull", &image.name]).expect(0);
    let digest = image.by_digest.split_once('@').unwrap().1;
    let shown = ask(&["inspect", &image.name]).expect(0).stdout;
    assert!(shown.contains(digest) && shown.contains("linux/"), "{shown}");
    let found = json(&["inspect", &image.name], 0);
    assert_eq!((&found["digest"], found["layers"].as_array().map(Vec::len)), (&json!(digest), Some(1)));
    assert!(ask(&["history", &image.name]).expect(0).stdout.contains("sha256:"));
    assert_eq!(json(&["history", &image.name], 0).as_array().map(Vec::len), Some(1));
    ask(&["inspect", "none.example/at-all"]).expect(1);

    assert!(ask(&["verify"]).expect(0).stdout.contains(" 0 problems"));
    let layer = found["layers"][0]["diff_id"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
    let files = root.join("layers/sha256").join(&layer).join("fs");
    std::fs::write(files.join("damage"), "x").unwrap();
    let told = ask(&["verify"]).expect(1).stdout;
    assert!(told.contains(&layer) && told.contains(&image.name) && told.contains("--repair"), "{told}");
    assert_eq!(json(&["verify", "--repair"], 0)["problems"][0]["repaired"], true);
    assert!(!files.exists());
    ask(&["pull", &image.name]).expect(0);
    ask(&["verify"]).expect(0);

    ask(&["pin", &image.name]).expect(0);
    assert_eq!(json(&["prune", "--all"], 0)["names"], json!([]));
    ask(&["unpin", &image.name]).expect(0);
    let told = ask(&["prune", "--all", "--dry-run"]).expect(0).stdout;
    assert!(told.contains("would remove") && told.contains(&image.name), "{told}");
    assert_eq!(json(&["list"], 0).as_array().map(Vec::len), Some(1));
    assert_eq!(json(&["prune", "--unused-for=1days"], 0)["names"], json!([]));
    assert_eq!(json(&["prune", "--all"], 0)["layers"], 1);
    assert_eq!(json(&["list"], 0), json!([]));
    ask(&["pull", "--registry-mirrors=nonsense", &image.name]).expect(2);
}

/// A port of 127.0.0.1 that nobody listens on.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").or_fail("a free port");
    listener.local_addr().or_fail("its address").port()
}

#[test]
fn dev_is_all_of_it_and_leaves_nothing() {
    needs!();
    let place = Place::new();
    let (port, agent_port) = (free_port(), free_port());
    let mut command = bound(binary());
    command.arg("dev").arg(format!("--port={port}")).arg(format!("--agent_port={agent_port}"));
    command.arg(format!("--work_dir={}", place.dir().join("state").display()));
    // It listens on the usual address of the loopback.
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    let tasks = || processes_with(&format!("MESOS_SLAVE_PID=slave(1)@127.0.0.1:{agent_port}"));
    for _ in 0..2 {
        let mut dev = Daemon::start("tepui dev", &mut command, &place.dir().join("log"));
        eventually("its agent", || {
            assert!(dev.runs(), "{}", dev.log());
            let reply = Request::new("GET", "/slaves").send(at).ok().filter(|reply| reply.status == 200)?;
            (reply.json()["slaves"].as_array()?.len() == 1).then_some(())
        });
        let flag = format!("--master={at}");
        assert_eq!(
            tepui(&place, &["run", "--quiet", &flag, "--", "echo", "hello"]).expect(0).stdout,
            "hello\n"
        );
        let left = Job::start(
            bound(binary()).args(["run", &flag, "--", "sh", "-c", "echo up; exec sleep 1000"]),
            place.dir(),
        );
        eventually("a task that runs", || (left.stdout() == "up\n").then_some(()));
        assert!(!tasks().is_empty());
        dev.signal(Signal::INT);
        let status = dev.wait();
        assert!(status.success(), "{status}: {}", dev.log());
        assert!(tasks().is_empty(), "{:?}", tasks());
        left.wait();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(place.name()), "{mounts}");
    }
}
