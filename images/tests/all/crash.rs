//! SIGKILL at any step of a pull: the store is whole afterwards, and the next pull completes it.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;

use images::{Digest, LayerEvent, Progress, PullOptions};

use crate::kit::layout::{Built, Packing, build};
use crate::kit::registry::Registry;
use crate::kit::tars::{Member, dir, file, noise, tar};
use crate::kit::{again, describe, is_root, leftovers, list, open, pull};

fn image() -> Built {
    let layer = |seed: u64| {
        let mut members = vec![dir("./"), dir(&format!("d{seed}"))];
        for n in 0..60 {
            let data = noise(30_000, seed * 1000 + n);
            members.push(Member { data, ..file(&format!("d{seed}/f{n}"), "") });
        }
        (tar(&members), if seed == 2 { Packing::Zstd } else { Packing::Gzip })
    };
    build(&[layer(1), layer(2), layer(3), layer(4)])
}

/// Says every step, so that it can be killed at each.
struct Steps;

impl Progress for Steps {
    fn layer(&self, _digest: &Digest, event: LayerEvent) {
        println!("STEP {event:?}");
    }
}

/// Not a test of its own: the process that is killed.
#[tokio::test]
async fn child() {
    let Ok(store) = std::env::var("CRASH_STORE") else { return };
    println!("STEP begin");
    let store = open(Path::new(&store)).await;
    println!("STEP opened");
    let name = store.name(&std::env::var("CRASH_IMAGE").unwrap()).unwrap();
    store.pull(&name, PullOptions::default(), Arc::new(Steps)).await.unwrap();
    println!("STEP end");
}

fn start(store: &Path, name: &str) -> Child {
    let store = store.display().to_string();
    let mut command = again("crash::child", None, &[("CRASH_STORE", &store), ("CRASH_IMAGE", name)]);
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// Lets the process take so many steps, kills it, and tells whether it was still running.
fn kill_after(mut process: Child, steps: usize) -> bool {
    let lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
    lines.filter(|line| line.contains("STEP")).take(steps).for_each(drop);
    process.kill().unwrap();
    !process.wait().unwrap().success()
}

#[tokio::test]
async fn a_killed_pull_leaves_a_whole_store() {
    if !is_root("a_killed_pull_leaves_a_whole_store") {
        return;
    }
    let (registry, place) = (Registry::start(), tempfile::tempdir().unwrap());
    let built = image();
    registry.push(&built, "app:v1");
    let name = registry.image("app:v1");
    let reference = place.path().join("reference");
    let output = start(&reference, &name).wait_with_output().unwrap();
    assert!(output.status.success());
    let steps = String::from_utf8_lossy(&output.stdout).matches("STEP").count();
    assert!(steps > 20, "{steps}");
    let layer = |root: &Path, hex: &str| describe(&root.join("layers/sha256").join(hex).join("fs"));

    let root = place.path().join("store");
    let (mut killed, mut partial, mut rounds) = (0, 0, 0);
    for step in (1..steps).rev().step_by(2) {
        rounds += 1;
        killed += usize::from(kill_after(start(&root, &name), step));
        let store = open(&root).await;
        assert_eq!(list(&root.join("staging")).len(), 1, "only the new session's own directory is left");
        let layers = list(&root.join("layers/sha256"));
        partial += usize::from(!layers.is_empty() && layers.len() < built.layers.len());
        for path in &layers {
            let hex = path.file_name().unwrap().to_str().unwrap();
            assert!(layer(&root, hex) == layer(&reference, hex), "a half layer counts as whole: {hex}");
        }
        let cached = store.cached(&store.name(&name).unwrap()).unwrap();
        assert!(cached.is_none() || layers.len() == built.layers.len());
        drop((store, cached));
        // Some of the next pulls go on from what is there, others begin anew.
        if rounds % 3 != 0 {
            std::fs::remove_dir_all(&root).unwrap();
        }
    }
    println!("killed {killed} of {rounds}, {partial} times with some layers committed");
    assert!(killed >= rounds / 2, "only {killed} of {rounds} were killed while they ran");
    let store = open(&root).await;
    pull(&store, &name).await.unwrap();
    assert_eq!(leftovers(&root).len(), built.layers.len());
}
