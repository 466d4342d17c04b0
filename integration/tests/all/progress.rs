//! What `tepui image pull` shows while it pulls: a line for each layer, or bars where somebody watches.

use std::path::Path;

use integration::images::{Image, Layer, busybox};
use integration::job::bound;
use integration::{Job, Proxy, Registry, eventually, needs};

/// A store of its own and a registry behind a line.
struct Scene {
    place: integration::place::Place,
    registry: Registry,
    line: Proxy,
}

impl Scene {
    fn new() -> Scene {
        let registry = Registry::start();
        let line = Proxy::to(registry.address());
        Scene { place: integration::place::Place::new(), registry, line }
    }

    /// Pushes an image; its name over the line, and how its layers are shown.
    fn push(&self, name: &str, image: &Image) -> (String, Vec<String>) {
        let pushed = self.registry.push(name, image);
        let name =
            pushed.name.replace(&self.registry.address().to_string(), &self.line.address().to_string());
        let short = |digest: &String| digest.trim_start_matches("sha256:").chars().take(12).collect();
        (name, pushed.layers.iter().map(short).collect())
    }

    fn pull(&self, through: &[&str], name: &str, more: &[&str]) -> Job {
        let store = format!("--store={}", self.place.dir().join("store").display());
        let words = ["image", "pull", &store].into_iter().chain(more.iter().copied()).chain([name]);
        let binary = integration::cluster::binary();
        let mut command = match through.split_first() {
            None => bound(binary),
            Some((program, options)) => {
                // It takes the command as one text for a shell.
                let line: Vec<String> = std::iter::once(binary.display().to_string())
                    .chain(words.clone().map(str::to_owned))
                    .collect();
                let mut command = bound(Path::new(program));
                command.args(options).arg(line.join(" ")).arg("/dev/null");
                return Job::start(&mut command, self.place.dir());
            }
        };
        Job::start(command.args(words), self.place.dir())
    }
}

fn noise() -> Vec<u8> {
    (0..3_000_000_u64).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

fn two_layers() -> Image {
    busybox().layer(Layer::new().file("noise", noise()))
}

#[test]
fn a_line_for_each_layer() {
    needs!("docker-registry", "skopeo");
    let scene = Scene::new();
    let (name, layers) = scene.push("image", &two_layers());
    // Broken off in the second layer: it says so, goes on, and says how large each was.
    scene.line.cut_after(900_000);
    let ended = scene.pull(&[], &name, &[]).wait().expect(0);
    let lines: Vec<&str> = ended.stderr.lines().collect();
    for layer in &layers {
        let done: Vec<&&str> =
            lines.iter().filter(|line| line.starts_with(&format!("layer {layer}: done, "))).collect();
        assert!(done.len() == 1 && done[0].ends_with('B'), "{}", ended.stderr);
    }
    assert!(ended.stderr.contains(": interrupted, going on in "), "{}", ended.stderr);
    assert!(lines.iter().all(|line| line.starts_with("layer ")), "{}", ended.stderr);
    // The digest alone is the answer.
    assert!(ended.stdout.starts_with("sha256:") && ended.stdout.lines().count() == 1, "{}", ended.stdout);
    let again = scene.pull(&[], &name, &[]).wait().expect(0);
    let there: Vec<String> = layers.iter().map(|layer| format!("layer {layer}: already here")).collect();
    assert_eq!(
        (again.stderr.lines().collect::<Vec<_>>(), &again.stdout),
        (there.iter().map(String::as_str).collect(), &ended.stdout)
    );
    // Programs that read are told nothing but the answer.
    let (other, _) = scene.push("other", &busybox().layer(Layer::new().file("x", "y")));
    let json = scene.pull(&[], &other, &["--json"]).wait().expect(0);
    assert_eq!(json.stderr, "");
    assert!(json.stdout.starts_with('{'), "{}", json.stdout);
}

#[test]
fn bars_where_somebody_watches() {
    needs!("docker-registry", "skopeo", "script");
    let scene = Scene::new();
    let (name, layers) = scene.push("image", &two_layers());
    scene.line.slow_down(800_000);
    // A terminal of its own, whatever the test runs on.
    let run = scene.pull(&["script", "--quiet", "--return", "--flush", "--command"], &name, &[]);
    let bars = |shown: &str, layer: &str| {
        shown
            .match_indices(&format!("{layer} ["))
            .filter_map(|(at, _)| shown[at..].split('\r').next().map(str::to_owned))
            .collect::<Vec<_>>()
    };
    let partly = eventually("a bar that is partly done", || {
        let shown = run.stdout();
        let last = layers.last()?;
        // `123456789abc [█████----] 1.20 MiB/2.86 MiB`
        let part = |bar: &String| bar.contains('/') && !bar.contains("done") && bar.contains("iB");
        bars(&shown, last).into_iter().find(part)
    });
    assert!(!partly.contains("already here"), "{partly:?}");
    scene.line.slow_down(0);
    let ended = run.wait().expect(0);
    for layer in &layers {
        assert!(bars(&ended.stdout, layer).iter().any(|bar| bar.contains("done")), "{:?}", ended.stdout);
    }
    assert!(
        ended.stdout.trim_end().lines().last().is_some_and(|line| line.contains("sha256:")),
        "{:?}",
        ended.stdout
    );
}
