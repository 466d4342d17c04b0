//! A cluster of real processes: a master and an agent of the built binary, with an address, folders and cgroups of
//! their own.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};

use rustix::process::Signal;
use serde_json::Value;

use crate::client::{self, Request};
use crate::disk::Disk;
use crate::images::target_dir;
use crate::job::{Daemon, Ended, Job, bound};
use crate::leftovers::{Inventory, Scope};
use crate::network::Host;
use crate::place::Place;
use crate::scheduler::Scheduler;
use crate::{OrFail, eventually};

/// Lines of each log that a failed test prints.
const LOG_LINES: usize = 120;

/// How a cluster is set up.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Further flags of the master.
    pub master: Vec<String>,
    /// Further flags of the agent.
    pub agent: Vec<String>,
    /// The agent's `--resources`, if not the usual ones.
    pub resources: Option<String>,
    /// The agent's work folder is a disk of its own of that many MB, which only the agent and its containers see.
    pub disk_mb: Option<u32>,
    /// The agent's runtime folder is on that disk, too.
    pub runtime_on_disk: bool,
    /// The master's work folder is a disk of its own of that many MB.
    pub master_disk_mb: Option<u32>,
    /// Where the agent is told that the master is, if not where it is.
    pub link: Option<SocketAddr>,
    /// What the agent and commands are told as `--master`, if not an address.
    pub found: Option<String>,
    /// Where the leading master is, if not at this cluster's own.
    pub led_from: Option<SocketAddr>,
    /// The host that the agent is on, if not the test's own.
    pub host: Option<Host>,
    /// A program, with arguments, that starts the agent.
    pub agent_through: Vec<String>,
    /// Where master and agent log to, if not into files of their own.
    pub logs: Option<PathBuf>,
    /// Further variables of the master's environment.
    pub master_env: Vec<(String, String)>,
    /// Further variables of the agent's environment.
    pub agent_env: Vec<(String, String)>,
}

impl Options {
    /// With a flag of the agent.
    #[must_use]
    pub fn agent(mut self, flag: &str) -> Options {
        self.agent.push(flag.to_owned());
        self
    }

    /// With a flag of the master.
    #[must_use]
    pub fn master(mut self, flag: &str) -> Options {
        self.master.push(flag.to_owned());
        self
    }
}

/// A master, an agent and whatever they start. All of it ends when this is dropped.
#[derive(Debug)]
pub struct Cluster {
    options: Options,
    master: Option<Daemon>,
    agent: Option<Daemon>,
    disk: Option<Disk>,
    master_disk: Option<Disk>,
    place: Place,
}

/// The program under test: `TEPUI_BIN`, or what cargo built beside the tests.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("TEPUI_BIN") {
        return path.into();
    }
    let program = std::env::current_exe().or_fail("the tests' own program");
    let found = program.ancestors().skip(1).map(|dir| dir.join("tepui")).find(|path| path.is_file());
    found.or_fail(format!("tepui in {}; build it with: cargo build -p tepui", target_dir().display()))
}

impl Cluster {
    /// A cluster with one agent, which is registered.
    #[track_caller]
    pub fn start() -> Cluster {
        Cluster::with(Options::default())
    }

    /// A cluster that is set up otherwise.
    #[track_caller]
    pub fn with(options: Options) -> Cluster {
        let mut cluster = Cluster::empty(options);
        cluster.start_master();
        cluster.start_agent();
        cluster.agent_id();
        cluster
    }

    /// A cluster of which nothing runs yet.
    #[track_caller]
    pub fn empty(options: Options) -> Cluster {
        let place = Place::new();
        let disk = |name: &str, megabytes: Option<u32>| {
            let dir = place.dir().join(name);
            let log = place.dir().join(format!("{name}-disk.log"));
            fs::create_dir_all(&dir).or_fail(dir.display());
            megabytes.map(|megabytes| Disk::mount(&dir, megabytes, &log))
        };
        let (disk, master_disk) = (disk("agent", options.disk_mb), disk("master", options.master_disk_mb));
        Cluster { options, master: None, agent: None, disk, master_disk, place }
    }

    /// How the cluster is set up; what is changed counts from the next start of master or agent on.
    pub fn options(&mut self) -> &mut Options {
        &mut self.options
    }

    /// The disk of the agent's work folder, which must be one of its own.
    pub fn disk(&self) -> &Disk {
        self.disk.as_ref().or_fail("a disk of the agent's own")
    }

    /// The disk of the master's work folder, which must be one of its own.
    pub fn master_disk(&self) -> &Disk {
        self.master_disk.as_ref().or_fail("a disk of the master's own")
    }

    /// Where the master listens.
    pub fn master(&self) -> SocketAddr {
        self.options.led_from.unwrap_or_else(|| self.place.socket(0))
    }

    /// What is said as `--master`.
    fn found(&self, otherwise: SocketAddr) -> String {
        self.options.found.clone().unwrap_or_else(|| otherwise.to_string())
    }

    /// Where the agent listens.
    pub fn agent(&self) -> SocketAddr {
        self.options.host.as_ref().map_or_else(|| self.place.socket(1), |host| host.socket(5051))
    }

    /// A folder below the cluster's own.
    pub fn path(&self, name: &str) -> PathBuf {
        self.place.dir().join(name)
    }

    /// The agent's work folder.
    pub fn work_dir(&self) -> PathBuf {
        self.path("agent")
    }

    /// The agent's runtime folder.
    pub fn runtime_dir(&self) -> PathBuf {
        self.path("run")
    }

    /// The cgroup below which its containers are.
    pub fn cgroups_root(&self) -> &str {
        self.place.name()
    }

    /// Starts the master and waits until it answers.
    #[track_caller]
    pub fn start_master(&mut self) {
        self.launch_master();
        self.wait_until_healthy(self.master(), true);
    }

    /// Starts the master and waits for nothing.
    #[track_caller]
    pub fn launch_master(&mut self) {
        let mut command = self.program(self.master_disk.as_ref());
        command.args(["master", "--allocation_interval=50ms"]).envs(self.options.master_env.clone());
        command.args(flags_of(self.master()));
        command.arg(format!("--work_dir={}", self.path("master").display())).args(&self.options.master);
        self.master = Some(Daemon::start("tepui master", &mut command, &self.log("master.log")));
    }

    fn log(&self, name: &str) -> PathBuf {
        self.options.logs.clone().unwrap_or_else(|| self.path(name))
    }

    fn program(&self, disk: Option<&Disk>) -> Command {
        disk.map_or_else(|| bound(binary()), |disk| disk.seen_by(binary()))
    }

    /// Starts the agent and waits until it answers. It may not be registered yet.
    #[track_caller]
    pub fn start_agent(&mut self) {
        self.launch_agent();
        self.wait_until_healthy(self.agent(), false);
    }

    /// Starts the agent and waits for nothing.
    #[track_caller]
    pub fn launch_agent(&mut self) {
        let mut command = match self.options.agent_through.split_first() {
            None if let Some(host) = &self.options.host => host.command(binary()),
            None => self.program(self.disk.as_ref()),
            Some((program, arguments)) => {
                let mut command = bound(program);
                command.args(arguments).arg(binary());
                command
            }
        };
        command.arg("agent").args(flags_of(self.agent())).envs(self.options.agent_env.clone());
        command.arg(format!("--master={}", self.found(self.options.link.unwrap_or_else(|| self.master()))));
        command.arg(format!("--work_dir={}", self.work_dir().display()));
        let runtime_dir = match self.options.runtime_on_disk {
            true => self.work_dir().join("run"),
            false => self.runtime_dir(),
        };
        command.arg(format!("--runtime_dir={}", runtime_dir.display()));
        command.arg(format!("--cgroups_root={}", self.cgroups_root()));
        let usual = "cpus:16;mem:8192;disk:10240;ports:[31000-32000]";
        command.arg(format!("--resources={}", self.options.resources.as_deref().unwrap_or(usual)));
        command.arg("--registration_backoff_factor=10ms").args(&self.options.agent);
        self.agent = Some(Daemon::start("tepui agent", &mut command, &self.log("agent.log")));
    }

    #[track_caller]
    fn wait_until_healthy(&mut self, at: SocketAddr, master: bool) {
        let daemon = if master { &mut self.master } else { &mut self.agent };
        let daemon = daemon.as_mut().or_fail("a daemon");
        // An agent is healthy before it has recovered.
        let page = if master { "/health" } else { "/state" };
        eventually(format!("http://{at}{page} answers"), || {
            assert!(daemon.runs(), "it ended at once; its log:\n{}", tail(&daemon.log()));
            let reply = Request::new("GET", page).send(at).ok()?;
            (reply.status == 200).then_some(())
        });
    }

    /// The id of the agent once it is registered and active.
    #[track_caller]
    pub fn agent_id(&self) -> String {
        eventually("the agent is registered", || {
            let reply = Request::new("GET", "/slaves")
                .send(self.master())
                .ok()
                .filter(|reply| reply.status == 200)?;
            let agent =
                reply.json()["slaves"].as_array()?.iter().find(|agent| agent["active"] == true)?.clone();
            Some(agent["id"].as_str()?.to_owned())
        })
    }

    /// The master's process, which must run.
    pub fn master_process(&mut self) -> &mut Daemon {
        self.master.as_mut().or_fail("a master that runs")
    }

    /// The agent's process, which must run.
    pub fn agent_process(&mut self) -> &mut Daemon {
        self.agent.as_mut().or_fail("an agent that runs")
    }

    /// SIGKILL to the agent alone: keepers and containers are not touched.
    pub fn kill_agent(&mut self) {
        self.agent = None;
    }

    /// SIGKILL to the master.
    pub fn kill_master(&mut self) {
        self.master = None;
    }

    /// Ends the agent with a signal and waits for it.
    #[track_caller]
    pub fn end_agent(&mut self, with: Signal) -> ExitStatus {
        let mut agent = self.agent.take().or_fail("an agent that runs");
        agent.signal(with);
        agent.wait()
    }

    /// Starts a command of the binary, without any flags of ours.
    #[track_caller]
    pub fn tepui<S: AsRef<str>>(&self, arguments: &[S]) -> Job {
        let mut command = bound(binary());
        command.args(arguments.iter().map(AsRef::as_ref)).current_dir(self.place.dir());
        Job::start(&mut command, self.place.dir())
    }

    /// Starts a command that asks this cluster's master: `ask(&["task", "list"])`.
    #[track_caller]
    pub fn ask<S: AsRef<str>>(&self, arguments: &[S]) -> Job {
        let words = arguments.iter().map(|word| word.as_ref().to_owned());
        let mut words: Vec<String> = words.collect();
        let before_argv = words.iter().position(|word| word == "--").unwrap_or(words.len());
        words.insert(before_argv, format!("--master={}", self.found(self.master())));
        self.tepui(&words)
    }

    /// `tepui run` to its end.
    #[track_caller]
    pub fn run<S: AsRef<str>>(&self, arguments: &[S]) -> Ended {
        let words = arguments.iter().map(AsRef::as_ref);
        let words: Vec<&str> = ["run"].into_iter().chain(words).collect();
        self.ask(&words).wait()
    }

    /// What a shell script prints in a container of an image; fails unless it succeeds.
    #[track_caller]
    pub fn inside(&self, image: &str, script: &str) -> String {
        self.run(&[&format!("--image={image}"), "--quiet", "--", "sh", "-c", script]).expect(0).stdout
    }

    /// A scheduler with all capabilities, subscribed.
    #[track_caller]
    pub fn scheduler(&self) -> Scheduler {
        Scheduler::subscribe(self.master(), crate::task::framework())
    }

    /// GET of the master's JSON.
    #[track_caller]
    pub fn state(&self, path: &str) -> Value {
        client::get(self.master(), path).expect(200).json()
    }

    /// GET of the agent's JSON.
    #[track_caller]
    pub fn agent_state(&self, path: &str) -> Value {
        client::get(self.agent(), path).expect(200).json()
    }

    /// The newest sandbox of a task.
    #[track_caller]
    pub fn sandbox(&self, framework: &str, task: &str) -> PathBuf {
        let agent = self.agent_id();
        let slaves = self.work_dir().join("slaves").join(agent);
        slaves.join("frameworks").join(framework).join("executors").join(task).join("runs/latest")
    }

    /// What to look at for what is left behind.
    pub fn scope(&self) -> Scope {
        let daemons = [&self.master, &self.agent].into_iter().flatten().map(Daemon::pid);
        let disks = [&self.disk, &self.master_disk].into_iter().flatten().map(Disk::pid);
        let known = daemons.chain(disks).collect();
        let work = self.work_dir();
        Scope {
            cgroups_root: self.cgroups_root().to_owned(),
            dir: self.place.dir().to_owned(),
            folders: vec![work.clone(), self.runtime_dir()],
            // Sandboxes stay for a week, checkpoints as long as the sandbox.
            stay: vec![work.join("slaves"), work.join("meta")],
            known,
            eyes: self.disk.as_ref().map(Disk::pid),
        }
    }

    /// Everything there is now.
    pub fn inventory(&self) -> Inventory {
        self.scope().look()
    }

    /// Waits until nothing is there that was not there before.
    #[track_caller]
    pub fn assert_nothing_beyond(&self, before: &Inventory) {
        self.scope().assert_nothing_beyond(before);
    }

    fn print_logs(&self) {
        let mut logs = vec![self.path("master.log"), self.path("agent.log")];
        let containers = fs::read_dir(self.runtime_dir().join("containers")).into_iter().flatten().flatten();
        logs.extend(containers.map(|entry| entry.path().join("keeper.log")));
        for log in logs {
            let text = fs::read_to_string(&log).unwrap_or_default();
            eprintln!("----- {}\n{}", log.display(), tail(&text));
        }
    }
}

fn flags_of(address: SocketAddr) -> [String; 2] {
    [format!("--ip={}", address.ip()), format!("--port={}", address.port())]
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_logs();
        }
        self.agent = None;
        self.master = None;
        self.scope().clear();
    }
}
