//! What goes wrong ends as TASK_FAILED or TASK_ERROR with a message to act on, leaves nothing behind, and the agent goes
//! on.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;

use integration::images::{Layer, Packing, busybox};
use integration::task::{shell, task, task_in};
use integration::{Cluster, Options, OrFail, Registry, needs};
use serde_json::json;

/// A cluster, a registry, and an image that works.
fn ready() -> (Cluster, Registry, String) {
    let registry = Registry::start();
    let image = registry.push("busybox", &busybox()).name;
    (Cluster::start(), registry, image)
}

/// Runs what must fail: the message has all these words, nothing is left behind, and the next task runs.
#[track_caller]
fn fails(cluster: &Cluster, works: &str, arguments: &[&str], words: &[&str]) {
    // What one image leaves in the store is there before.
    cluster.run(&["--image", works, "--", "true"]).expect(0);
    let before = cluster.inventory();
    let ended = cluster.run(arguments).expect(1);
    assert!(ended.stderr.contains("TASK_FAILED") || ended.stderr.contains("TASK_ERROR"), "{}", ended.stderr);
    for word in words {
        assert!(ended.stderr.contains(word), "{word:?} is not in: {}", ended.stderr);
    }
    cluster.assert_nothing_beyond(&before);
    cluster.run(&["--image", works, "--", "true"]).expect(0);
}

#[test]
fn an_unknown_image() {
    needs!("docker-registry", "skopeo");
    let (cluster, registry, works) = ready();
    let at = registry.address();
    let unknown = format!("{at}/no-such-image");
    fails(
        &cluster,
        &works,
        &["--image", &unknown, "--", "true"],
        &["TASK_FAILED", &unknown, "has no image", "check the name"],
    );
    let tag = works.replace(":latest", ":no-such-tag");
    fails(
        &cluster,
        &works,
        &["--image", &tag, "--", "true"],
        &["TASK_FAILED", "no-such-tag", "has no image"],
    );
}

#[test]
fn a_name_that_is_no_image() {
    needs!("docker-registry", "skopeo");
    let (cluster, _registry, works) = ready();
    fails(&cluster, &works, &["--image", "UPPER/case::x", "--", "true"], &["UPPER/case::x"]);
    fails(&cluster, &works, &["--image", "oci:/no/such/layout", "--", "true"], &["/no/such/layout"]);
}

#[test]
fn an_unreachable_registry() {
    needs!("docker-registry", "skopeo");
    let (cluster, mut registry, works) = ready();
    cluster.run(&["--image", &works, "--", "true"]).expect(0);
    let other = registry.push("other", &busybox().config("Cmd", json!(["true"]))).name;
    registry.stop();
    let address = registry.address().to_string();
    fails(&cluster, &works, &["--image", &other], &["TASK_FAILED", &other, &address, "onnection refused"]);
    registry.resume();
    cluster.run(&["--image", &other]).expect(0);
}

#[test]
fn a_registry_that_speaks_something_else() {
    needs!("docker-registry", "skopeo");
    let (cluster, _registry, works) = ready();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        use std::io::Write as _;
        // Until the test's own connection says that it is over.
        for socket in listener.incoming() {
            let mut socket = socket.or_fail("a connection");
            let mut first = [0];
            if socket.peek(&mut first).unwrap_or(0) == 0 {
                return;
            }
            let _ = socket.write_all(b"220 mail.example ESMTP\r\n");
        }
    });
    let image = format!("{address}/image");
    fails(&cluster, &works, &["--image", &image, "--", "true"], &["TASK_FAILED", &image]);
    drop(std::net::TcpStream::connect(address).unwrap());
    server.join().unwrap();
}

#[test]
fn a_blob_that_is_not_what_its_digest_says() {
    needs!("docker-registry", "skopeo");
    let (cluster, registry, works) = ready();
    for packing in [Packing::Plain, Packing::Gzip] {
        let name = format!("tampered-{packing:?}").to_lowercase();
        let layer = Layer::new().file("content", name.repeat(10_000)).packed(packing);
        let tampered = registry.push(&name, &busybox().layer(layer));
        let blob = registry.blob(&tampered.layers[1]);
        let good = fs::read(&blob).unwrap();
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 1;
        fs::write(&blob, &bad).unwrap();
        let run = ["--image", &tampered.name, "--", "true"];
        // What is packed may break before its end is reached.
        let word = if packing == Packing::Plain { "digest" } else { "decompressed" };
        fails(&cluster, &works, &run, &["TASK_FAILED", &tampered.name, &tampered.layers[1], word]);
        // Too short, and gone.
        fs::write(&blob, &good[..good.len() / 2]).unwrap();
        fails(&cluster, &works, &run, &["TASK_FAILED", &tampered.name, &tampered.layers[1]]);
        fs::remove_file(&blob).unwrap();
        fails(&cluster, &works, &run, &["TASK_FAILED", &tampered.name, &tampered.layers[1]]);
        fs::write(&blob, &good).unwrap();
        cluster.run(&run).expect(0);
    }
}

#[test]
fn a_configuration_or_manifest_that_is_not_what_its_digest_says() {
    needs!("docker-registry", "skopeo");
    let (cluster, registry, works) = ready();
    let image = registry.push("tampered", &busybox().config("Cmd", json!(["false"])));
    let config = registry.blob(&image.config);
    let good = fs::read_to_string(&config).unwrap();
    fs::write(&config, good.replace("false", "trueX")).unwrap();
    fails(&cluster, &works, &["--image", &image.name], &["TASK_FAILED", "digest", &image.config]);
    fs::write(&config, &good).unwrap();
    // Asked for by a digest, the manifest must be that one.
    let digest = image.by_digest.split_once('@').unwrap().1;
    let manifest = registry.blob(digest);
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("\"schemaVersion\":2", "\"schemaVersion\": 2")).unwrap();
    fails(&cluster, &works, &["--image", &image.by_digest], &["TASK_FAILED", digest]);
    fs::write(&manifest, &text).unwrap();
    cluster.run(&["--image", &image.by_digest, "--", "true"]).expect(0);
}

#[test]
fn a_layer_that_reaches_out() {
    needs!("docker-registry", "skopeo");
    let (cluster, registry, works) = ready();
    let stolen = busybox().layer(Layer::new().hard_link("stolen", "../../../../../../../../etc/hostname"));
    let stolen = registry.push("stolen", &stolen).name;
    let links = fs::metadata("/etc/hostname").unwrap().nlink();
    fails(&cluster, &works, &["--image", &stolen, "--", "cat", "/stolen"], &["TASK_FAILED", &stolen]);
    assert_eq!(fs::metadata("/etc/hostname").unwrap().nlink(), links);
}

#[test]
fn a_missing_program() {
    needs!("docker-registry", "skopeo");
    let (cluster, registry, works) = ready();
    let words = ["TASK_FAILED", "no-such-program"];
    fails(&cluster, &works, &["--image", &works, "--", "no-such-program", "x"], &words);
    fails(&cluster, &works, &["--image", &works, "--", "/bin/no-such-program"], &words);
    fails(&cluster, &works, &["--", "no-such-program"], &words);
    fails(&cluster, &works, &["--image", &works, "--", "/etc/passwd"], &["TASK_FAILED", "/etc/passwd"]);
    // An image without a shell, and one that names no command.
    // Their layers stay in the store, as they are in order.
    let empty = registry.push("empty", &integration::images::Image::of(Layer::new().file("x", "y"))).name;
    cluster.run(&["--image", &empty, "--command", "echo x"]).expect(1);
    fails(&cluster, &works, &["--image", &empty, "--command", "echo x"], &["TASK_FAILED", "/bin/sh"]);
    fails(&cluster, &works, &["--image", &empty], &["nothing to run"]);
}

#[test]
fn an_unknown_user_and_a_folder_that_is_not_there() {
    needs!("docker-registry", "skopeo");
    let (cluster, registry, works) = ready();
    fails(&cluster, &works, &["--image", &works, "--user=nobody-such", "--", "true"], &["nobody-such"]);
    let lost = registry.push("lost", &busybox().config("WorkingDir", json!("/etc/passwd"))).name;
    cluster.run(&["--image", &lost, "--", "true"]).expect(1);
    fails(&cluster, &works, &["--image", &lost, "--", "true"], &["TASK_FAILED", "/etc/passwd"]);
}

#[test]
fn a_full_disk() {
    needs!("docker-registry", "skopeo", "unshare");
    let registry = Registry::start();
    let works = registry.push("busybox", &busybox()).name;
    // Random bytes can't be packed.
    let noise: Vec<u8> = (0..20_u64 << 20)
        .scan(88172645463325252_u64, |x, _| {
            *x ^= *x << 13;
            *x ^= *x >> 7;
            *x ^= *x << 17;
            Some(x.to_le_bytes()[0])
        })
        .collect();
    let large = registry.push("large", &busybox().layer(Layer::new().file("noise", noise))).name;
    let cluster = Cluster::with(Options { disk_mb: Some(16), ..Options::default() });
    fails(
        &cluster,
        &works,
        &["--image", &large, "--", "true"],
        &["TASK_FAILED", &large, "No space left on device"],
    );
    // A task that fills the disk itself gets the error itself, and the agent goes on.
    let fills = "head -c 30000000 /dev/zero > big && exit 1; ls -s big; rm big; echo went on; exit 9";
    let ended = cluster.run(&["--image", &works, "--quiet", "--", "sh", "-c", fills]).expect(9);
    assert!(ended.stdout.ends_with("went on\n"), "{}", ended.stdout);
    cluster.run(&["--image", &works, "--", "true"]).expect(0);
}

#[test]
fn what_is_not_supported_yet_is_named() {
    needs!();
    let cluster = Cluster::start();
    let mut scheduler = cluster.scheduler();
    let before = cluster.inventory();
    let offer = scheduler.offer();
    let executor = json!({"type": "CUSTOM", "executor_id": {"value": "e"}, "framework_id": {"value": scheduler.id()}, "command": shell("true")});
    let mut custom = task("custom", &offer, shell("true"));
    custom.as_object_mut().or_fail("a task").remove("command");
    custom["executor"] = executor;
    scheduler.launch(&offer, vec![custom]);
    let end = scheduler.end_of("custom");
    assert_eq!(end["state"], "TASK_ERROR", "{end}");
    assert!(end["message"].as_str().is_some_and(|m| m.contains("executor")), "{end}");

    let offer = scheduler.offer();
    let group = json!({"tasks": [task("grouped", &offer, shell("true"))]});
    let executor = json!({"type": "DEFAULT", "executor_id": {"value": "d"}, "framework_id": {"value": scheduler.id()}, "resources": offer["resources"]});
    let launch = json!({"type": "LAUNCH_GROUP", "launch_group": {"executor": executor, "task_group": group}});
    scheduler.tell(json!({"type": "ACCEPT", "accept": {"offer_ids": [offer["id"]], "operations": [launch]}}));
    let end = scheduler.end_of("grouped");
    assert_eq!(end["state"], "TASK_ERROR", "{end}");
    assert!(
        end["message"].as_str().is_some_and(|m| m.contains("LAUNCH_GROUP") || m.contains("group")),
        "{end}"
    );

    scheduler.start(|offer| {
        let mut task = task_in("volumes", offer, shell("true"), "x");
        task["container"] = json!({"type": "MESOS", "volumes": [{"mode": "RW", "container_path": "/x", "host_path": "/tmp"}]});
        task
    });
    let end = scheduler.end_of("volumes");
    assert!(["TASK_ERROR", "TASK_FAILED"].contains(&end["state"].as_str().unwrap()), "{end}");
    assert!(end["message"].as_str().is_some_and(|m| m.contains("volumes")), "{end}");
    cluster.assert_nothing_beyond(&before);
}

#[test]
fn many_failures_at_once_leave_nothing() {
    needs!("docker-registry", "skopeo");
    let (cluster, registry, works) = ready();
    cluster.run(&["--image", &works, "--", "true"]).expect(0);
    let mut scheduler = cluster.scheduler();
    let before = cluster.inventory();
    let offer = scheduler.offer();
    let unknown = format!("{}/unknown", registry.address());
    let tasks = (0..12).map(|i| match i % 3 {
        0 => task_in(&format!("t{i}"), &offer, shell("true"), &unknown),
        1 => task_in(&format!("t{i}"), &offer, integration::task::program(&["no-such-program"]), &works),
        _ => task_in(&format!("t{i}"), &offer, shell("exit 2"), &works),
    });
    scheduler.launch(&offer, tasks.collect());
    for i in 0..12 {
        let name = format!("t{i}");
        let end = scheduler.end_of(&name);
        assert_eq!(end["state"], "TASK_FAILED", "{end}");
        assert_eq!(scheduler.ends(&name), 1);
    }
    cluster.assert_nothing_beyond(&before);
}
