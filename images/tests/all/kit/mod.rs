//! What the tests share.

pub mod layout;
pub mod proxy;
pub mod registry;
pub mod server;
pub mod tars;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use images::{
    Digest, Image, ImageStore, LayerEvent, Limits, NoProgress, Progress, PullError, PullOptions, StoreConfig,
};

/// Whether we may make device nodes, mounts and `trusted.*` attributes; says so when a test can't run.
pub fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("SKIPPED: {test}: needs root");
    }
    root
}

/// A directory in memory where there is one: thousands of files come and go.
pub fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub fn config(root: &Path) -> StoreConfig {
    let _ = rustls::crypto::ring::default_provider().install_default();
    StoreConfig { limits: quick(), ..StoreConfig::at(root) }
}

/// Limits under which a stall shows in a second.
pub fn quick() -> Limits {
    Limits {
        connect_timeout: Duration::from_secs(2),
        idle_timeout: Duration::from_secs(1),
        retries: 3,
        first_pause: Duration::from_millis(10),
        longest_pause: Duration::from_secs(2),
        longest_asked: Duration::from_secs(2),
        resume_from: 1,
        ..Limits::default()
    }
}

pub async fn open(root: &Path) -> ImageStore {
    ImageStore::open(config(root)).await.unwrap()
}

pub async fn pull(store: &ImageStore, name: &str) -> Result<Image, PullError> {
    pull_with(store, name, false).await
}

pub async fn pull_with(store: &ImageStore, name: &str, force: bool) -> Result<Image, PullError> {
    let name = store.name(name).unwrap();
    store.pull(&name, PullOptions { force, ..PullOptions::default() }, Arc::new(NoProgress)).await
}

/// The error's whole story.
pub async fn refusal(store: &ImageStore, name: &str) -> String {
    match pull(store, name).await {
        Ok(image) => panic!("{name} was pulled: {image:?}"),
        Err(error) => error.report(),
    }
}

/// Remembers every event.
#[derive(Default)]
pub struct Events(pub Mutex<Vec<(String, LayerEvent)>>);

impl Progress for Events {
    fn layer(&self, digest: &Digest, event: LayerEvent) {
        self.0.lock().unwrap().push((digest.to_string(), event));
    }
}

impl Events {
    pub fn count(&self, wanted: LayerEvent) -> usize {
        self.0.lock().unwrap().iter().filter(|(_, event)| *event == wanted).count()
    }
}

/// Waits for a condition, at most 20 seconds.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "never came true: {what}");
        pause(Duration::from_millis(10));
    }
}

/// Everything below the store that a failed pull must not leave: half-made layers and layers without a name.
pub fn leftovers(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for session in list(&root.join("staging")) {
        let inside = list(&session);
        if inside.is_empty() && !session.is_dir() {
            found.push(session);
        }
        found.extend(inside);
    }
    found.extend(list(&root.join("layers/sha256")));
    found
}

pub fn list(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Path, type, mode, owner, size, time, link target, attributes and content of everything below a directory.
pub fn describe(dir: &Path) -> Vec<String> {
    let script = "cd \"$1\" && find . -printf '%P|%y|%m|%U:%G|%T@|%l|%n\\n' | sort";
    let meta = shell(script, &[dir]);
    let sums = shell("cd \"$1\" && find . -type f -print0 | sort -z | xargs -0r sha256sum", &[dir]);
    let paths = shell("cd \"$1\" && find . -print0 | sort -z | tr '\\0' '\\n'", &[dir]);
    let attributes = paths.lines().flat_map(|path| attributes(dir, path));
    meta.lines().chain(sums.lines()).map(str::to_owned).chain(attributes).collect()
}

/// Extended attributes that an image may set.
fn attributes(dir: &Path, path: &str) -> Vec<String> {
    let (whole, mut names) = (dir.join(path), [0u8; 4096]);
    let length = rustix::fs::llistxattr(&whole, &mut names[..]).unwrap_or(0);
    let names =
        names[..length].split(|b| *b == 0).filter(|n| n.starts_with(b"user.") || n.starts_with(b"security."));
    let one = |name: &[u8]| {
        let mut value = [0u8; 4096];
        let length = rustix::fs::lgetxattr(&whole, name, &mut value[..]).unwrap();
        format!("{path}#{}={:?}", String::from_utf8_lossy(name), &value[..length])
    };
    names.map(one).collect()
}

pub fn shell(script: &str, arguments: &[&Path]) -> String {
    let output = Command::new("sh").arg("-c").arg(script).arg("sh").args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Lets time pass; only for faults that are made at a moment, never to wait for something.
pub fn pause(time: Duration) {
    let time = rustix::fs::Timespec { tv_sec: 0, tv_nsec: i64::from(time.subsec_nanos()) };
    let _ = rustix::event::poll(&mut [], Some(&time));
}

/// A command that runs one test of this binary again, as a process of its own; `script` comes before it, in
/// private mount and network namespaces, if there is one.
pub fn again(test: &str, script: Option<&str>, environment: &[(&str, &str)]) -> Command {
    let own = std::env::current_exe().unwrap();
    let mut command = match script {
        Some(script) => {
            let mut command = Command::new("unshare");
            command.args(["-m", "-n", "sh", "-ec", &format!("{script}\nexec \"$0\" \"$@\"")]).arg(own);
            command
        }
        None => Command::new(own),
    };
    command.args([test, "--exact", "--nocapture"]).envs(environment.iter().copied());
    command
}

/// Runs [`again`] to its end; the test has to have said `word`, so that one that did nothing is noticed.
pub fn must_say(mut command: Command, word: &str) -> String {
    let output = command.output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains(word), "{text}");
    text
}

/// Runs a program; its output is shown when it fails.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
    text
}
