//! Processes that a benchmark needs: the binaries under test, a registry, a master and an agent; all end with it.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// A binary that was built beside this one.
pub fn sibling(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("finding this program")?;
    let path = own.with_file_name(name);
    ensure!(
        path.exists(),
        "{} is missing; build it with: cargo build --release --workspace --bins",
        path.display()
    );
    Ok(path)
}

/// Runs a command to its end and fails with what it printed.
pub fn run(command: &mut Command) -> Result<()> {
    let what = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("starting {what}"))?;
    if !output.status.success() {
        bail!("{what} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// A process that is ended when this goes.
pub struct Process(pub Child);

impl Process {
    /// Starts a command with its output in `log`.
    pub fn start(command: &mut Command, log: &Path) -> Result<Process> {
        let out = fs::File::create(log).with_context(|| format!("creating {}", log.display()))?;
        let err = out.try_clone()?;
        let what = format!("{command:?}");
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
        Ok(Process(child.with_context(|| format!("starting {what}"))?))
    }

    /// Resident memory in MB.
    pub fn resident_mb(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kb: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
        Ok(kb / 1024.0)
    }

    /// Waits until it has used no processor for a while: it has taken in all that was sent to it.
    pub fn wait_until_idle(&self) -> Result<()> {
        let mut last = self.ticks()?;
        let (mut since, deadline) = (Instant::now(), Instant::now() + PATIENCE);
        while since.elapsed() < IDLE {
            ensure!(Instant::now() < deadline, "waited {PATIENCE:?} in vain for a process to be idle");
            std::thread::park_timeout(Duration::from_millis(20));
            let now = self.ticks()?;
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
        Ok(())
    }

    /// Processor time used so far, of all its threads: its own and the kernel's for it.
    pub fn processor_times(&self) -> Result<[Duration; 2]> {
        let [own, kernel] = self.times()?;
        Ok([TICK.saturating_mul(own), TICK.saturating_mul(kernel)])
    }

    fn ticks(&self) -> Result<u32> {
        Ok(self.times()?.iter().sum())
    }

    /// The same in the ticks that the kernel tells it in.
    fn times(&self) -> Result<[u32; 2]> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        // The name in parentheses may hold anything, so count from behind it: fields 14 and 15.
        let fields = stat.rsplit_once(')').context("no name in /proc/PID/stat")?.1;
        let mut times = fields.split_whitespace().skip(11).map(str::parse);
        let mut next = || times.next().context("no times in /proc/PID/stat");
        Ok([next()??, next()??])
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port nobody listens on.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Waits until somebody listens.
pub fn wait_for_port(port: u16) -> Result<()> {
    wait_until(&format!("a listener on 127.0.0.1:{port}"), || TcpStream::connect(("127.0.0.1", port)).is_ok())
}

/// How long anything may take to come true.
const PATIENCE: Duration = Duration::from_secs(30);
/// A process that used no processor for this long does nothing.
const IDLE: Duration = Duration::from_millis(300);

/// Linux tells processor times in hundredths of a second, whatever it counts them in.
const TICK: Duration = Duration::from_millis(10);

/// Waits up to 30 seconds for a condition.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        ensure!(Instant::now() < deadline, "waited {PATIENCE:?} in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    Ok(())
}

/// Debian's docker-registry on a free port of the loopback.
pub struct Registry {
    /// Where it listens.
    pub port: u16,
    _process: Process,
}

impl Registry {
    /// Starts one that keeps its images below `dir`.
    pub fn start(dir: &Path) -> Result<Registry> {
        let port = free_port()?;
        let config = dir.join("registry.yml");
        let text = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n",
            dir.join("registry").display()
        );
        fs::write(&config, text)?;
        let mut command = Command::new("docker-registry");
        let process = Process::start(command.arg("serve").arg(&config), &dir.join("registry.log"))?;
        wait_for_port(port)?;
        Ok(Registry { port, _process: process })
    }
}

/// A master and an agent with work folders of their own.
pub struct Cluster {
    /// Port of the master.
    pub master_port: u16,
    /// The master's process.
    pub master: Process,
    /// The agent's process.
    pub agent: Process,
}

impl Cluster {
    /// Starts both from release binaries and waits until the agent is registered.
    pub fn start(dir: &Path) -> Result<Cluster> {
        let (master_port, agent_port) = (free_port()?, free_port()?);
        let tepui = sibling("tepui")?;
        let mut command = Command::new(&tepui);
        command
            .args(["master", "--ip=127.0.0.1", "--allocation_interval=50ms"])
            .arg(format!("--port={master_port}"))
            .arg(format!("--work_dir={}", dir.join("master").display()));
        let master = Process::start(&mut command, &dir.join("master.log"))?;
        wait_for_port(master_port)?;
        let mut command = Command::new(&tepui);
        command
            .args(["agent", "--ip=127.0.0.1", "--resources=cpus:16;mem:8192"])
            .arg(format!("--port={agent_port}"))
            .arg(format!("--master=127.0.0.1:{master_port}"))
            .arg(format!("--work_dir={}", dir.join("agent").display()))
            .arg(format!("--runtime_dir={}", dir.join("run").display()));
        let agent = Process::start(&mut command, &dir.join("agent.log"))?;
        Ok(Cluster { master_port, master, agent })
    }
}

/// Process ids of all processes that run `supervise`.
pub fn keepers() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|b| *b == 0).nth(1) == Some(b"supervise")
    })
    .collect()
}

/// Memory that a process shares with nobody, in MB.
pub fn private_mb(pid: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let sum: f64 = text
        .lines()
        .filter(|l| l.starts_with("Private_Clean:") || l.starts_with("Private_Dirty:"))
        .filter_map(|l| l.split_whitespace().nth(1)?.parse::<f64>().ok())
        .sum();
    Ok(sum / 1024.0)
}

/// The ends of the logs of a cluster, for an error.
pub fn logs(dir: &Path) -> String {
    let tail = |name: &str| {
        let text = fs::read_to_string(dir.join(name)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(15).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    };
    format!("master:\n{}\nagent:\n{}", tail("master.log"), tail("agent.log"))
}

/// An OCI layout with busybox alone.
pub fn busybox_layout(dir: &Path) -> Result<String> {
    let tree = dir.join("tree/bin");
    fs::create_dir_all(&tree)?;
    fs::copy("/bin/busybox", tree.join("busybox"))
        .context("copying /bin/busybox (package busybox-static)")?;
    for name in ["sh", "sleep", "true"] {
        fs::hard_link(tree.join("busybox"), tree.join(name))?;
    }
    let layout = dir.join("busybox");
    let tagged = format!("{}:latest", layout.display());
    run(Command::new("umoci").args(["init", "--layout"]).arg(&layout))?;
    run(Command::new("umoci").args(["new", "--image", &tagged]))?;
    run(Command::new("umoci").args(["insert", "--image", &tagged]).arg(&tree).arg("/bin"))?;
    Ok(format!("oci:{tagged}"))
}

/// Whether a status of this state is a task's last.
pub fn ended(state: i32) -> bool {
    wire::v1::TaskState::try_from(state).is_ok_and(|state| model::TaskState::from(state).is_terminal())
}
