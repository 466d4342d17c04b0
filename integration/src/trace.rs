//! System calls of running processes that fail as a test wants: strace's fault injection.

use std::path::Path;

use rustix::process::Signal;

use crate::eventually;
use crate::job::{Daemon, bound};

/// What fails and how.
#[derive(Clone, Debug)]
pub struct Fault<'a> {
    /// System calls, with commas between.
    pub calls: &'a str,
    /// The name of the error.
    pub error: &'a str,
    /// Which of the calls of a thread, as strace has it: `3`, `2+`, `1..5`, `1+2`. Calls that do not fail are not
    /// delayed noticeably.
    pub when: &'a str,
    /// Only calls on exactly this path, by name or by descriptor.
    pub path: Option<&'a Path>,
}

/// Processes whose calls fail. It is over when this is dropped.
#[derive(Debug)]
pub struct Broken {
    strace: Daemon,
    pid: u32,
}

impl Fault<'_> {
    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            "--follow-forks".to_owned(),
            "--quiet=all".to_owned(),
            "--output=/dev/null".to_owned(),
            format!("--trace={}", self.calls),
            format!("--inject={}:error={}:when={}", self.calls, self.error, self.when),
        ];
        arguments.extend(self.path.map(|path| format!("--trace-path={}", path.display())));
        arguments
    }

    /// What starts a program whose calls fail from the first on; it is killed together with this.
    pub fn starting(&self) -> Vec<String> {
        let dies_with_it = ["--", "setpriv", "--pdeathsig", "KILL", "--"].map(str::to_owned);
        ["strace".to_owned()].into_iter().chain(self.arguments()).chain(dies_with_it).collect()
    }

    /// Lets calls of a process and all its threads fail from now on, and of what it starts.
    #[track_caller]
    pub fn of(&self, pid: u32, log: &Path) -> Broken {
        let mut command = bound("strace");
        command.args(self.arguments());
        command.arg(format!("--attach={pid}"));
        let mut strace = Daemon::start("strace", &mut command, log);
        eventually(format!("strace traces {pid}; see {}", log.display()), || {
            assert!(strace.runs(), "strace ended at once; see {}", log.display());
            tracers(pid).iter().all(|tracer| *tracer == strace.pid()).then_some(())
        });
        Broken { strace, pid }
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        // Told to end it lets go of everybody; killed it might leave somebody stopped.
        self.strace.signal(Signal::INT);
        if !std::thread::panicking() {
            let _ = self.strace.wait();
            let pid = self.pid;
            eventually(format!("{pid} is not traced"), || tracers(pid).iter().all(|t| *t == 0).then_some(()));
        }
    }
}

/// Who traces each thread of a process; 0 for nobody.
fn tracers(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let statuses = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok());
    statuses
        .filter_map(|text| text.lines().find_map(|line| line.strip_prefix("TracerPid:")?.trim().parse().ok()))
        .collect()
}
