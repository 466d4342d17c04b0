//! Images through an agent: logins of tasks, mirrors, local files, collection while tasks start, and very many layers.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use integration::client::post;
use integration::eventually::{PATIENCE, within};
use integration::images::{Image, Layer, busybox};
use integration::job::{bound, done};
use integration::task::{shell, task_in};
use integration::{Cluster, Options, OrFail, Registry, Scheduler, needs};
use serde_json::{Value, json};

/// A task from an image with fields of `Image.Docker` and `Image` of its own.
fn with_image(id: &str, offer: &Value, name: &str, fields: impl FnOnce(&mut Value)) -> Value {
    let mut task = task_in(id, offer, shell("cat /secret 2>/dev/null; true"), name);
    fields(&mut task["container"]["mesos"]["image"]);
    task
}

/// The end of a task from an image: its state and what was said.
#[track_caller]
fn ends(
    scheduler: &mut Scheduler,
    id: &str,
    name: &str,
    fields: impl FnOnce(&mut Value),
) -> (String, String) {
    scheduler.start(|offer| with_image(id, offer, name, fields));
    let end = scheduler.end_of(id);
    let text = |name: &str| end[name].as_str().unwrap_or_default().to_owned();
    (text("state"), text("message"))
}

#[track_caller]
fn finishes(scheduler: &mut Scheduler, id: &str, name: &str) {
    let (state, message) = ends(scheduler, id, name, |_| ());
    assert_eq!(state, "TASK_FINISHED", "{id}: {message}");
}

/// `Image.Docker.config`: a secret with Docker's `config.json` in it.
fn login(registry: &Registry, user: &str, password: &str) -> impl Fn(&mut Value) + use<> {
    let auth = integration::registry::basic(user, password);
    let address = registry.address().to_string();
    let config = json!({"auths": {address: {"auth": auth}}}).to_string();
    move |image| {
        let data = STANDARD.encode(&config);
        image["docker"]["config"] = json!({"type": "VALUE", "value": {"data": data}});
    }
}

#[test]
fn a_login_of_a_task_is_for_that_task_alone() {
    needs!("docker-registry", "skopeo");
    let (registry, password) = Registry::with_password();
    let image = registry.push("private", &busybox().layer(Layer::new().file("secret", "treasure")));
    let mut cluster = Cluster::start();
    let mut scheduler = cluster.scheduler();
    let right = login(&registry, integration::registry::USER, &password);
    let wrong = login(&registry, integration::registry::USER, "guessed");
    let refused = |(state, message): (String, String)| {
        assert_eq!(state, "TASK_FAILED", "{message}");
        assert!(message.contains("refuses access to private"), "{message}");
        assert!(!message.contains(&password), "{message}");
    };
    refused(ends(&mut scheduler, "without", &image.name, |_| ()));
    refused(ends(&mut scheduler, "wrong", &image.name, &wrong));
    let (state, message) = ends(&mut scheduler, "right", &image.name, &right);
    assert_eq!(state, "TASK_FINISHED", "{message}");
    let sandbox = cluster.sandbox(scheduler.id(), "right");
    assert_eq!(std::fs::read_to_string(sandbox.join("stdout")).or_fail("its output"), "treasure");
    // All of it is in the store by now, by its tag and its digest. It is still for nobody else.
    for (number, name) in [&image.name, &image.by_digest].into_iter().enumerate() {
        refused(ends(&mut scheduler, &format!("cached-without-{number}"), name, |_| ()));
        refused(ends(&mut scheduler, &format!("cached-wrong-{number}"), name, &wrong));
    }
    let before = registry.gets(&image.layers[1]);
    let (state, message) = ends(&mut scheduler, "right-again", &image.name, &right);
    assert_eq!((state.as_str(), registry.gets(&image.layers[1])), ("TASK_FINISHED", before), "{message}");
    // Another framework and another life of the agent change nothing about it.
    cluster.kill_agent();
    cluster.start_agent();
    cluster.agent_id();
    scheduler.tell(json!({"type": "TEARDOWN"}));
    let mut other = cluster.scheduler();
    refused(ends(&mut other, "other", &image.name, |_| ()));
    // No password is told by any page, written to a log or left in a file that others can read.
    for path in ["/state", "/flags"] {
        let (master, agent) = (cluster.state(path).to_string(), cluster.agent_state(path).to_string());
        assert!(!master.contains(&password) && !agent.contains(&password), "{path}");
    }
    for log in ["master.log", "agent.log"] {
        let text = std::fs::read_to_string(cluster.path(log)).or_fail(log);
        assert!(!text.contains(&password), "{log}");
    }
}

#[test]
fn mirrors_are_asked_first_and_the_registry_when_they_fail() {
    needs!("docker-registry", "skopeo");
    let (mut mirror, upstream) = (Registry::start(), Registry::start());
    let image = busybox().layer(Layer::new().file("where", "the same"));
    let (there, here) = (mirror.push("team/both", &image), upstream.push("team/both", &image));
    assert_eq!(there.layers, here.layers);
    let only = upstream.push("team/only-upstream", &busybox().layer(Layer::new().file("x", "y"))).name;
    let later = upstream.push("team/later", &busybox().layer(Layer::new().file("z", "z"))).name;
    let flag = format!("--registry_mirrors={}=http://{}", upstream.address(), mirror.address());
    let cluster = Cluster::with(Options::default().agent(&flag));
    let mut scheduler = cluster.scheduler();
    finishes(&mut scheduler, "mirrored", &here.name);
    for layer in &here.layers {
        assert_eq!((mirror.gets(layer), upstream.gets(layer)), (1, 0), "{layer}");
    }
    finishes(&mut scheduler, "not-mirrored", &only);
    mirror.stop();
    finishes(&mut scheduler, "mirror-down", &later);
}

#[test]
fn local_images_are_taken_from_where_they_may_be() {
    needs!("skopeo");
    let mut cluster = Cluster::empty(Options::default());
    let (allowed, other) = (cluster.path("allowed"), cluster.path("other"));
    for dir in [&allowed, &other] {
        std::fs::create_dir_all(dir).or_fail(dir.display());
        busybox().layer(Layer::new().file("secret", "local")).write(&dir.join("layout"));
        let archive = format!("docker-archive:{}:local:v1", dir.join("image.tar").display());
        done(bound("skopeo").args([
            "copy",
            "--quiet",
            &format!("oci:{}:latest", dir.join("layout").display()),
            &archive,
        ]));
    }
    // A way out of what is allowed.
    std::os::unix::fs::symlink(&other, allowed.join("link")).or_fail("a link");
    let names = |dir: &Path| {
        [
            format!("oci:{}:latest", dir.join("layout").display()),
            format!("docker-archive:{}", dir.join("image.tar").display()),
            format!("docker-archive:{}:local:v1", dir.join("image.tar").display()),
        ]
    };
    cluster.options().agent.push(format!("--local_image_dirs={}", allowed.display()));
    cluster.start_master();
    cluster.start_agent();
    cluster.agent_id();
    let mut scheduler = cluster.scheduler();
    for (number, name) in names(&allowed).iter().enumerate() {
        finishes(&mut scheduler, &format!("allowed-{number}"), name);
        let sandbox = cluster.sandbox(scheduler.id(), &format!("allowed-{number}"));
        assert_eq!(std::fs::read_to_string(sandbox.join("stdout")).or_fail("its output"), "local");
    }
    let dots = allowed.join("../other");
    for (number, name) in
        [names(&other), names(&dots), names(&allowed.join("link"))].iter().flatten().enumerate()
    {
        let (state, message) = ends(&mut scheduler, &format!("refused-{number}"), name, |_| ());
        assert!(["TASK_FAILED", "TASK_ERROR"].contains(&state.as_str()), "{name}: {state} {message}");
        assert!(message.contains("local_image_dirs"), "{name}: {message}");
    }
    // Without the flag they may be anywhere.
    cluster.kill_agent();
    cluster.options().agent.clear();
    cluster.start_agent();
    cluster.agent_id();
    for (number, name) in names(&other).iter().enumerate() {
        finishes(&mut scheduler, &format!("anywhere-{number}"), name);
    }
}

/// Ends a thread, also when a test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What the agent collects is never what a launch was given (threat I15): a shorter run of the long one in images/tests.
#[test]
fn collection_while_the_same_image_is_launched() {
    needs!("docker-registry", "skopeo");
    let registry = Registry::start();
    let base = busybox();
    let shared = Layer::new().file("secret", "kept");
    let images = [
        registry.push("one", &base.layer(shared)),
        registry.push(
            "two",
            &busybox().layer(Layer::new().file("secret", "kept")).layer(Layer::new().file("b", "b")),
        ),
    ];
    let cluster = Cluster::start();
    let mut scheduler = cluster.scheduler();
    let (ends, agent) = (AtomicBool::new(false), cluster.agent());
    let pruned = std::thread::scope(|threads| {
        let pruning = threads.spawn(|| {
            let mut times = 0;
            while !ends.load(Ordering::Relaxed) {
                post(agent, "/api/v1", &json!({"type": "PRUNE_IMAGES"})).expect(200);
                times += 1;
            }
            times
        });
        let ending = Ends(&ends);
        for round in 0..12 {
            let ids: Vec<String> = (0..4).map(|number| format!("t{round}-{number}")).collect();
            for (id, image) in ids.iter().zip(images.iter().cycle()) {
                scheduler.start(|offer| with_image(id, offer, &image.name, |_| ()));
            }
            for id in ids {
                let end = scheduler.end_of(&id);
                assert_eq!(end["state"], "TASK_FINISHED", "{end}");
                let sandbox = cluster.sandbox(scheduler.id(), &id);
                assert_eq!(
                    std::fs::read_to_string(sandbox.join("stdout")).or_fail("its output"),
                    "kept",
                    "{id}"
                );
            }
        }
        drop(ending);
        pruning.join().or_fail("pruning")
    });
    // So images went and came again.
    let pulls = registry.gets(&images[0].layers[0]);
    println!("{pruned} times pruned, {pulls} times pulled");
    assert!(pruned > 12 && pulls > 2, "{pruned} times pruned, {pulls} times pulled");
    let layers = cluster.work_dir().join("images/layers/sha256");
    // The last tasks' containers hold theirs until they are cleaned up.
    within(PATIENCE, "no layer is left", || {
        post(agent, "/api/v1", &json!({"type": "PRUNE_IMAGES"})).expect(200);
        (std::fs::read_dir(&layers).or_fail("layers").count() == 0).then_some(())
    });
}

/// More than one overlay can have, on any kernel: the lowest ones are copied into one.
#[test]
fn a_container_of_very_many_layers() {
    needs!();
    // Linux: OVL_MAX_STACK is 500.
    const LAYERS: usize = 520;
    let mut image: Image =
        busybox().layer(Layer::new().dir("t").file("t/first", "first").file("t/changed", "0"));
    for number in 1..LAYERS {
        let mut layer = Layer::new().file(&format!("t/{number}"), number.to_string());
        layer = layer.file("t/changed", number.to_string());
        if number % 10 == 0 {
            layer = layer.without(&format!("t/{}", number - 1));
        }
        if number == LAYERS - 1 {
            // One of those that were merged, removed from above.
            layer = layer.without("t/5");
        }
        image = image.layer(layer);
    }
    // A local one: to push so many takes longer than all the rest.
    let cluster = Cluster::start();
    let layout = cluster.path("tall");
    image.write(&layout);
    let name = format!("oci:{}:latest", layout.display());
    let said = cluster.inside(&name, "cat /t/first /t/changed; echo; ls /t | wc -l; for gone in 5 9; do test -e /t/$gone || echo gone; done; cat /t/8; echo x > /t/new && rm /t/1 && ls /t | wc -l");
    // One of every ten, and the one that the topmost layer removes.
    let there = LAYERS - 1 - (LAYERS - 1) / 10 - 1 + 2;
    assert_eq!(said, format!("first{}\n{there}\ngone\ngone\n8{there}\n", LAYERS - 1));
    let before = cluster.inventory();
    // Nothing of it stays behind: what was mounted is mounted no more, and another container sees a fresh one.
    assert_eq!(cluster.inside(&name, "test ! -e /t/new && cat /t/1"), "1");
    cluster.assert_nothing_beyond(&before);
}
