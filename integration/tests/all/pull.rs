//! Images are pulled once, whoever asks and however often.

use std::fs;

use integration::images::{Layer, busybox};
use integration::task::{shell, task_in};
use integration::{Cluster, Registry, eventually, needs};
use serde_json::json;

#[test]
fn a_second_task_needs_no_registry() {
    needs!("docker-registry", "skopeo");
    let mut registry = Registry::start();
    let image = registry.push("busybox", &busybox());
    let mut cluster = Cluster::start();
    cluster.run(&["--image", &image.name, "--", "true"]).expect(0);
    cluster.run(&["--image", &image.by_digest, "--", "true"]).expect(0);
    registry.stop();
    for name in [&image.name, &image.by_digest] {
        cluster.run(&["--image", name, "--", "true"]).expect(0);
    }
    // Neither does another life of the agent.
    cluster.kill_agent();
    cluster.start_agent();
    cluster.agent_id();
    cluster.run(&["--image", &image.name, "--", "true"]).expect(0);
    // Who wants to know whether there is a newer one has to ask.
    let ended = cluster.run(&["--image", &image.name, "--pull", "--", "true"]).expect(1);
    assert!(ended.stderr.contains("onnection refused"), "{}", ended.stderr);
    registry.resume();
    cluster.run(&["--image", &image.name, "--pull", "--", "true"]).expect(0);
    for layer in &image.layers {
        assert_eq!(registry.gets(layer), 1, "{layer}\n{}", registry.requests().join("\n"));
    }
}

#[test]
fn tasks_that_start_together_pull_together() {
    needs!("docker-registry", "skopeo");
    let registry = Registry::start();
    let noise: Vec<u8> = (0..3_u32 << 20).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[1]).collect();
    let first = registry.push("first", &busybox().layer(Layer::new().file("noise", &noise)));
    // Another image with the same lowest layers.
    let second = registry
        .push("second", &busybox().layer(Layer::new().file("noise", &noise)).config("Cmd", json!(["true"])));
    assert_eq!(first.layers, second.layers);
    let cluster = Cluster::start();
    let mut scheduler = cluster.scheduler();
    let offer = scheduler.offer();
    let images = [&first, &second, &first, &second, &first, &second];
    let tasks = images
        .iter()
        .enumerate()
        .map(|(i, image)| task_in(&format!("t{i}"), &offer, shell("true"), &image.name));
    scheduler.launch(&offer, tasks.collect());
    for i in 0..images.len() {
        assert_eq!(scheduler.end_of(&format!("t{i}"))["state"], "TASK_FINISHED");
    }
    for blob in first.layers.iter().chain([&first.config, &second.config]) {
        assert_eq!(registry.gets(blob), 1, "{blob}\n{}", registry.requests().join("\n"));
    }
    let layers = fs::read_dir(cluster.work_dir().join("images/layers/sha256")).unwrap().count();
    assert_eq!(layers, first.layers.len());
}

#[test]
fn a_tag_that_moves_is_followed_when_asked_for() {
    needs!("docker-registry", "skopeo");
    let registry = Registry::start();
    let old = registry.push("moves", &busybox().config("Cmd", json!(["echo", "old"])));
    let cluster = Cluster::start();
    let says = |words: &[&str]| cluster.run(&[&["--quiet"], words].concat()).expect(0).stdout;
    assert_eq!(says(&["--image", &old.name]), "old\n");
    let new = registry.push("moves", &busybox().config("Cmd", json!(["echo", "new"])));
    assert_eq!(old.name, new.name);
    // Mesos: an image that is there is taken.
    assert_eq!(says(&["--image", &old.name]), "old\n");
    assert_eq!(says(&["--image", &old.name, "--pull"]), "new\n");
    assert_eq!(says(&["--image", &old.name]), "new\n");
    assert_eq!(says(&["--image", &old.by_digest]), "old\n");
}

#[test]
fn the_default_registry_and_a_folder() {
    needs!("docker-registry", "skopeo");
    let registry = Registry::start();
    registry.push("library/plain", &busybox().config("Cmd", json!(["echo", "by its short name"])));
    let flag = format!("--docker_registry={}", registry.address());
    let cluster = Cluster::with(integration::Options::default().agent(&flag));
    let said = cluster.run(&["--image=library/plain", "--quiet"]).expect(0).stdout;
    assert_eq!(said, "by its short name\n");
    // A local OCI layout needs no registry at all.
    let layout = cluster.path("layout");
    busybox().config("Cmd", json!(["echo", "from a folder"])).write(&layout);
    let said =
        cluster.run(&[&format!("--image=oci:{}:latest", layout.display()), "--quiet"]).expect(0).stdout;
    assert_eq!(said, "from a folder\n");
}

#[test]
fn an_image_in_use_stays_and_goes_afterwards() {
    needs!("docker-registry", "skopeo");
    let registry = Registry::start();
    let image = registry.push("busybox", &busybox()).name;
    let cluster = Cluster::start();
    let mut scheduler = cluster.scheduler();
    scheduler.start(|offer| task_in("uses", offer, shell("exec sleep 1000"), &image));
    scheduler.wait_for("uses", "TASK_RUNNING");
    let work_dir = format!("--work_dir={}", cluster.work_dir().display());
    let list = cluster.tepui(&["image", "list", &work_dir]).wait().expect(0);
    assert!(list.stdout.contains(&image), "{}", list.stdout);
    let refused = cluster.tepui(&["image", "remove", &image, &work_dir]).wait().expect(1);
    assert!(refused.stderr.contains("in use") || refused.stderr.contains("uses"), "{}", refused.stderr);
    scheduler.kill("uses");
    scheduler.end_of("uses");
    eventually("it can be removed", || {
        (cluster.tepui(&["image", "remove", &image, &work_dir]).wait().code == 0).then_some(())
    });
    let list = cluster.tepui(&["image", "list", "--json", &work_dir]).wait().expect(0);
    assert_eq!(list.stdout.trim(), "[]");
    assert_eq!(
        fs::read_dir(cluster.work_dir().join("images/layers/sha256")).map(Iterator::count).unwrap_or(0),
        0
    );
    scheduler.disconnect();
    cluster.run(&["--image", &image, "--", "true"]).expect(0);
}
