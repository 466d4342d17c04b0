//! One agent of its own per story, and what must be gone in the end.

use std::collections::BTreeSet;
use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use agent::{Agent, Config, Running};

use crate::common::{TestMaster, eventually};
use crate::image;

/// A story, told with a world.
pub type Story = for<'a> fn(&'a mut World) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Folders, a cgroup, an image and a master.
pub struct World {
    pub dir: tempfile::TempDir,
    pub master: TestMaster,
    pub agent: Option<Running>,
    /// More flags for its agents.
    pub flags: Vec<(&'static str, &'static str)>,
    cgroups_root: String,
    before: BTreeSet<String>,
}

/// Plays a story and looks whether anything is left.
pub fn play(name: &str, story: Story) {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: {name}: containers need root");
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(name).await;
        story(&mut world).await;
        world.nothing_is_left().await;
    });
}

impl World {
    async fn new(name: &str) -> World {
        let dir = tempfile::Builder::new().prefix("tepui-agent-").tempdir().unwrap();
        image::busybox(&dir.path().join("image"));
        let cgroups_root = format!("tepui-agent-{}-{name}", std::process::id());
        let master = TestMaster::start().await;
        let before = leftovers(dir.path(), &cgroups_root);
        World { dir, master, agent: None, flags: Vec::new(), cgroups_root, before }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The name of the image.
    pub fn image(&self) -> String {
        format!("oci:{}", self.path("image").display())
    }

    fn config(&self) -> Config {
        let mut flags = model::flags::Values::defaults(agent::FLAGS);
        for (name, value) in [
            ("work_dir", self.path("work").to_str().unwrap()),
            ("runtime_dir", self.path("run").to_str().unwrap()),
            ("cgroups_root", &self.cgroups_root),
            ("port", "0"),
            ("advertise_port", "5051"),
            ("registration_backoff_factor", "10ms"),
            ("resources", "cpus:4;mem:1024;disk:100"),
            // How full the disk of the machine is must not matter.
            ("gc_disk_headroom", "0"),
        ] {
            flags.set(name, value);
        }
        self.flags.iter().for_each(|(name, value)| flags.set(name, *value));
        Config::from_flags(&flags).unwrap()
    }

    /// Why an agent with these flags doesn't start.
    pub async fn refusal(&mut self, flags: &[(&'static str, &'static str)]) -> String {
        self.flags = flags.to_vec();
        self.start_or_refusal().await.expect_err("it must not start")
    }

    /// Starts the agent and registers it, or says why it doesn't start.
    pub async fn start_or_refusal(&mut self) -> Result<(), String> {
        self.master.forget();
        match Agent::start(self.config(), self.master.detector()).await {
            Ok(agent) => self.agent = Some(agent),
            Err(error) => return Err(format!("{error}: {:?}", std::error::Error::source(&error))),
        }
        self.master.register().await;
        Ok(())
    }

    /// Starts the agent and registers it.
    pub async fn start(&mut self) {
        self.start_or_refusal().await.unwrap();
    }

    pub async fn stop(&mut self) {
        self.agent.take().expect("it runs").stop().await.unwrap();
    }

    /// The sandbox of the only run of a task.
    pub fn sandbox(&self, task: &str) -> PathBuf {
        let runs = self.path("work/slaves/A-S0/frameworks/F/executors").join(task).join("runs");
        fs::canonicalize(runs.join("latest")).unwrap()
    }

    pub fn output(&self, task: &str, name: &str) -> String {
        fs::read_to_string(self.sandbox(task).join(name)).unwrap()
    }

    async fn nothing_is_left(&mut self) {
        if let Some(agent) = self.agent.take() {
            agent.stop().await.unwrap();
        }
        let (path, root, before) =
            (self.dir.path().to_owned(), self.cgroups_root.clone(), self.before.clone());
        eventually("no mount, cgroup, process or folder of a container is left", async || {
            let left: Vec<String> = leftovers(&path, &root).difference(&before).cloned().collect();
            if !left.is_empty() {
                eprintln!("left: {left:?}");
            }
            left.is_empty()
        })
        .await;
        eventually("the cgroups of the story can be removed", async || remove_cgroups(&root)).await;
    }
}

/// Removes the story's own cgroup and that of its keepers, which an agent leaves in place.
fn remove_cgroups(root: &str) -> bool {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap().flatten();
    let folders: Vec<PathBuf> = hierarchies.map(|hierarchy| hierarchy.path().join(root)).collect();
    for folder in &folders {
        // A keeper may take a moment longer than its container.
        let _ = fs::remove_dir(folder.join("keepers"));
        let _ = fs::remove_dir(folder);
    }
    folders.iter().all(|folder| !folder.exists())
}

/// Mounts below the folder, cgroups below the root, keepers and tasks that name the folder, folders of containers.
fn leftovers(dir: &Path, cgroups_root: &str) -> BTreeSet<String> {
    let text = dir.to_str().unwrap();
    let mut all = BTreeSet::new();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    all.extend(mounts.lines().filter(|line| line.contains(text)).map(|line| format!("mount {line}")));
    for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        // Below the root only the keepers' own cgroup stays.
        let Ok(entries) = fs::read_dir(hierarchy.path().join(cgroups_root)) else { continue };
        let folders = entries.flatten().filter(|e| e.path().is_dir() && e.file_name() != "keepers");
        all.extend(folders.map(|entry| format!("cgroup {}", entry.path().display())));
    }
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(environ) = fs::read(process.path().join("environ")) else { continue };
        if String::from_utf8_lossy(&environ).contains(text) {
            all.insert(format!("process {}", process.path().display()));
        }
    }
    for folder in ["run/containers", "work/provisioner/containers"] {
        let Ok(entries) = fs::read_dir(dir.join(folder)) else { continue };
        all.extend(entries.flatten().map(|entry| format!("folder {}", entry.path().display())));
    }
    all
}
