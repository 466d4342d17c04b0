//! What a cluster has on its host: mounts, cgroups, processes, files. Compared before and after, it shows what was
//! left behind.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::eventually::{PATIENCE, pause};

/// Where hosts have their cgroups.
const CGROUPS: &str = "/sys/fs/cgroup";

/// What there is of one cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// One line each, beginning with its kind.
    lines: BTreeSet<String>,
}

/// Where to look.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The cgroup below which the cluster's containers are, in each hierarchy.
    pub cgroups_root: String,
    /// The folder of everything.
    pub dir: PathBuf,
    /// Folders whose files count.
    pub folders: Vec<PathBuf>,
    /// Folders in them whose files are meant to stay.
    pub stay: Vec<PathBuf>,
    /// Processes that are known.
    pub known: Vec<u32>,
    /// The process in whose mount namespace to look.
    pub eyes: Option<u32>,
}

impl Scope {
    /// Looks.
    pub fn look(&self) -> Inventory {
        let mounts = self.mounts().into_iter().map(|line| format!("mount {line}"));
        let cgroups = self.cgroups().into_iter().map(|path| format!("cgroup {}", path.display()));
        let processes = self.processes().into_iter().map(|(pid, line)| format!("process {pid} {line}"));
        let files = self.files().into_iter().map(|path| format!("file {}", self.named(&path)));
        Inventory { lines: mounts.chain(cgroups).chain(processes).chain(files).collect() }
    }

    /// Waits until nothing is there that was not there before.
    #[track_caller]
    pub fn assert_nothing_beyond(&self, before: &Inventory) {
        let start = Instant::now();
        loop {
            let more: Vec<String> = self.look().lines.difference(&before.lines).cloned().collect();
            if more.is_empty() {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "left behind:\n{}", more.join("\n"));
            pause();
        }
    }

    /// Mounts below the cluster's folder.
    fn mounts(&self) -> Vec<String> {
        let table = match self.eyes {
            Some(pid) => format!("/proc/{pid}/mountinfo"),
            None => "/proc/self/mountinfo".to_owned(),
        };
        let text = fs::read_to_string(table).unwrap_or_default();
        let dir = self.dir.to_string_lossy().into_owned();
        // The first two fields are numbers that mean nothing to a reader.
        text.lines()
            .filter(|line| line.contains(&dir))
            .map(|line| line.splitn(4, ' ').last().unwrap_or(line).to_owned())
            .collect()
    }

    /// Cgroups below the cluster's, in every hierarchy; but for the keepers' own, which stays.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for root in roots(&self.cgroups_root) {
            let mut todo = vec![root.clone()];
            while let Some(folder) = todo.pop() {
                let below = folders(&folder);
                todo.extend(below.iter().cloned());
                found.extend(below.into_iter().filter(|path| *path != root.join("keepers")));
            }
        }
        found
    }

    /// Processes of the cluster that are not known: in its cgroups, or with open files, a root or a command line in its
    /// folder.
    pub fn processes(&self) -> Vec<(u32, String)> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let ours = |pid: &u32| *pid != std::process::id() && !self.known.contains(pid) && self.owns(*pid);
        pids.filter(ours).map(|pid| (pid, command_line(pid))).collect()
    }

    fn owns(&self, pid: u32) -> bool {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let cgroup = fs::read_to_string(process.join("cgroup")).unwrap_or_default();
        let root = format!("/{}", self.cgroups_root);
        let inside = |line: &str| {
            let path = line.splitn(3, ':').last().unwrap_or_default();
            path == root || path.starts_with(&format!("{root}/"))
        };
        // One that has ended and was not yet waited for is in no cgroup that can be left behind.
        if cgroup.lines().any(inside) {
            return true;
        }
        let points =
            |name: &str| fs::read_link(process.join(name)).is_ok_and(|path| path.starts_with(&self.dir));
        ["root", "cwd", "fd/0", "fd/1", "fd/2"].iter().any(|name| points(name)) && !is_registry(pid)
    }

    /// Files that count.
    fn files(&self) -> Vec<PathBuf> {
        let prefix = self.eyes.map_or_else(PathBuf::new, |pid| PathBuf::from(format!("/proc/{pid}/root")));
        let seen = |path: &Path| prefix.join(path.strip_prefix("/").unwrap_or(path));
        let stay: Vec<PathBuf> = self
            .stay
            .iter()
            .map(|path| if self.eyes.is_some() { seen(path) } else { path.clone() })
            .collect();
        let mut todo: Vec<PathBuf> = self
            .folders
            .iter()
            .map(|path| if self.eyes.is_some() { seen(path) } else { path.clone() })
            .collect();
        let mut found = Vec::new();
        while let Some(folder) = todo.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                // The image store makes this mark on its own time, once a layer's content has reached the disk.
                if stay.contains(&path) || entry.file_name() == "settled" {
                    continue;
                }
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    todo.push(path.clone());
                }
                found.push(path);
            }
        }
        found
    }

    /// A path as it reads in every life of the agent: its staging area has its process id in its name.
    fn named(&self, path: &Path) -> String {
        let own = |part: &str| {
            let pid = part.strip_prefix('s').and_then(|rest| rest.split('-').next()?.parse().ok());
            pid.is_some_and(|pid| self.known.contains(&pid))
        };
        let parts = path.iter().map(|part| part.to_string_lossy().into_owned());
        parts.map(|part| if own(&part) { "s(agent)".to_owned() } else { part }).collect::<Vec<_>>().join("/")
    }

    /// Ends everything that [`Scope::processes`] finds, and removes its cgroups.
    pub fn clear(&self) {
        let start = Instant::now();
        loop {
            let left = self.processes();
            if left.is_empty() || start.elapsed() > PATIENCE {
                break;
            }
            for (pid, _) in left {
                kill(pid);
            }
            pause();
        }
        remove_cgroups(&self.cgroups_root);
    }
}

fn is_registry(pid: u32) -> bool {
    command_line(pid).starts_with("docker-registry")
}

/// A process's command line, or its name when it has none.
pub fn command_line(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    if line.is_empty() { fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default() } else { line }
}

/// Sends SIGKILL to a process that a cluster of ours has started.
fn kill(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may have ended by itself.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Where a cgroup is: once on a host with pure cgroup v2, else once in each hierarchy.
pub fn roots(name: &str) -> Vec<PathBuf> {
    let base = Path::new(CGROUPS);
    let all = folders(base).into_iter().chain([base.to_owned()]);
    all.map(|hierarchy| hierarchy.join(name)).filter(|root| root.is_dir()).collect()
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Ends what is in a cgroup of ours and removes it from all hierarchies, as far as that goes.
pub(crate) fn remove_cgroups(name: &str) {
    let mut all = roots(name);
    let mut next = 0;
    while let Some(folder) = all.get(next) {
        all.extend(folders(folder));
        next += 1;
    }
    // The deepest first.
    all.reverse();
    for folder in &all {
        // Only cgroup v2 has it, and all processes are there, too.
        let _ = fs::write(folder.join("cgroup.kill"), "1");
    }
    let start = Instant::now();
    loop {
        all.retain(|folder| folder.is_dir() && fs::remove_dir(folder).is_err());
        if all.is_empty() {
            return;
        }
        if start.elapsed() > PATIENCE {
            eprintln!("can't be removed: {all:?}");
            return;
        }
        pause();
    }
}

/// Processes that have a variable in their environment, with the times at which they began: the same number with another
/// time is another process.
pub fn processes_with(variable: &str) -> BTreeSet<(u32, u64)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let has = |pid: u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == variable.as_bytes())
    };
    pids.filter(|pid| has(*pid)).filter_map(|pid| Some((pid, began(pid)?))).collect()
}

/// When a process began, in ticks since the boot.
fn began(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, so count from behind it; the time is field 22.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// How many descriptors a process has open.
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().count()
}
