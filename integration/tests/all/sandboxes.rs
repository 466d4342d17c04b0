//! Sandboxes and the other users of the host (threats K21).

use std::path::{Path, PathBuf};

use integration::images::busybox;
use integration::job::bound;
use integration::task::{shell, task, task_in};
use integration::{Cluster, Options, OrFail, Registry, eventually, needs};

/// Runs a program of the host as somebody who is root nowhere; what he got.
fn as_nobody(program: &Path, arguments: &[&str]) -> (bool, String) {
    let mut command = bound("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program).args(arguments);
    let output = command.output().or_fail("setpriv");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The sandbox by its own path; nothing but what the agent made is in nobody's way to it.
fn sandbox(cluster: &Cluster, framework: &str, id: &str) -> PathBuf {
    let control = cluster.work_dir().join("control");
    std::fs::write(&control, "reached").or_fail("a file that all may read");
    let (_, read) = as_nobody(Path::new("/bin/cat"), &[control.to_str().or_fail("a path")]);
    assert_eq!(read, "reached", "the way to the work folder is open");
    cluster.sandbox(framework, id).canonicalize().or_fail("the sandbox")
}

#[test]
fn k21_nobody_becomes_root_by_what_a_task_leaves_in_its_sandbox() {
    needs!("docker-registry", "skopeo");
    let registry = Registry::start();
    let image = registry.push("busybox", &busybox()).name;
    for isolation in ["cgroups,namespaces", "cgroups,namespaces,namespaces/user"] {
        let mut cluster = Cluster::empty(Options::default());
        cluster.options().agent.push(format!("--isolation={isolation}"));
        cluster.start_master();
        cluster.start_agent();
        cluster.agent_id();
        let mut scheduler = cluster.scheduler();
        let line = "cd $MESOS_SANDBOX && cp /bin/busybox id && chmod 4755 id && chmod 755 . && echo made";
        scheduler.start(|offer| task_in("maker", offer, shell(line), &image));
        let end = scheduler.end_of("maker");
        let mapped = end["message"].as_str().is_some_and(|message| !message.contains("idmapped mounts"));
        if isolation.ends_with("user") && !mapped {
            println!("SKIPPED: the images' filesystem can't map ids: {end}");
            continue;
        }
        assert_eq!(end["state"], "TASK_FINISHED", "{end}");
        let sandbox = sandbox(&cluster, scheduler.id(), "maker");
        assert_eq!(std::fs::read_to_string(sandbox.join("stdout")).or_fail("its output"), "made\n");
        assert_eq!(as_nobody(&sandbox.join("id"), &["id"]), (false, String::new()), "{isolation}");
        let output = sandbox.join("stdout");
        let read = as_nobody(Path::new("/bin/cat"), &[output.to_str().or_fail("a path")]);
        assert_eq!(read, (false, String::new()), "{isolation}");
    }
}

#[test]
fn a_user_without_an_image_reaches_its_sandbox_over_restarts_of_the_agent() {
    needs!();
    let mut cluster = Cluster::start();
    let mut scheduler = cluster.scheduler();
    let line = "cd \"$MESOS_SANDBOX\" && until [ -e \"$MESOS_SANDBOX/go\" ]; do echo on > \"$MESOS_SANDBOX/made\"; \
        sleep 0.1; done; id -u";
    let mut command = shell(line);
    command["user"] = "65534:65534".into();
    scheduler.start(|offer| task("plain", offer, command.clone()));
    scheduler.wait_for("plain", "TASK_RUNNING");
    let found = sandbox(&cluster, scheduler.id(), "plain");
    let works = || {
        let _ = std::fs::remove_file(found.join("made"));
        eventually("it writes into its sandbox", || found.join("made").exists().then_some(()));
    };
    works();
    cluster.kill_agent();
    cluster.start_agent();
    cluster.agent_id();
    works();
    std::fs::write(found.join("go"), "").or_fail("its end");
    assert_eq!(scheduler.end_of("plain")["state"], "TASK_FINISHED");
    assert_eq!(std::fs::read_to_string(found.join("stdout")).or_fail("its output"), "65534\n");
    // Others of the same user don't get there.
    let made = found.join("stdout");
    assert_eq!(as_nobody(Path::new("/bin/cat"), &[made.to_str().or_fail("a path")]), (false, String::new()));
}
