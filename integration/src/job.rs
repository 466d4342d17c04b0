//! Processes that tests start: those that run until they are ended, and those that end by themselves.

use std::fs::{self, File, OpenOptions};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::eventually::{PATIENCE, pause};
use crate::{OrFail, eventually};

/// A command that dies with the thread that started it, even when a whole test run is killed.
pub fn bound(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program.as_ref());
    for (name, _) in std::env::vars_os() {
        // Flags come from variables, too.
        if ["TEPUI_", "MESOS_", "LIBPROCESS_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix))
        {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a program of the host to its end and fails unless it succeeds; what it printed.
#[track_caller]
pub fn done(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().or_fail(format!("starting {command:?}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Sends a signal to a process that is ours and not yet reaped.
fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).or_fail("the id of a child");
    // One that has just ended needs no signal.
    let _ = kill_process(pid, signal);
}

/// A server. Killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Daemon {
    /// Starts it; what it prints is put to the end of `log`.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Daemon {
        let out = OpenOptions::new().append(true).create(true).open(log).or_fail(log.display());
        let err = out.try_clone().or_fail("duplicating a descriptor");
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
        let child = child.or_fail(format!("starting {command:?}"));
        Daemon { child, name: name.to_owned(), log: log.to_owned() }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, with: Signal) {
        signal(&self.child, with);
    }

    /// Waits for its own end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        eventually(format!("{} ends", self.name), || self.child.try_wait().or_fail("waiting for a child"))
    }

    /// SIGKILL, and waits.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Whether it runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().or_fail("waiting for a child").is_none()
    }

    /// What it has printed in this and earlier lives.
    pub fn log(&self) -> String {
        // A device or a pipe may have no end.
        let is_file = fs::metadata(&self.log).is_ok_and(|log| log.is_file());
        is_file.then(|| fs::read_to_string(&self.log).ok()).flatten().unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its exit code, 128 + n after signal n.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it said besides.
    pub stderr: String,
}

impl Ended {
    /// Fails unless the exit code is this one.
    #[track_caller]
    pub fn expect(self, code: i32) -> Ended {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

/// A command that ends by itself. Killed when dropped.
#[derive(Debug)]
pub struct Job {
    child: Child,
    what: String,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Job {
    /// Starts it with its output in files of `dir`.
    pub fn start(command: &mut Command, dir: &Path) -> Job {
        let file = |name: &str| {
            let file = tempfile::Builder::new().prefix(name).tempfile_in(dir).or_fail("making a file");
            file.keep().or_fail("keeping a file")
        };
        let (out, err): ((File, PathBuf), (File, PathBuf)) = (file("stdout-"), file("stderr-"));
        let child = command.stdin(Stdio::null()).stdout(out.0).stderr(err.0).spawn();
        let what = format!("{command:?}");
        Job { child: child.or_fail(format!("starting {what}")), what, stdout: out.1, stderr: err.1 }
    }

    /// What it has printed so far.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stdout).unwrap_or_default()).into_owned()
    }

    /// What it has said besides.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stderr).unwrap_or_default()).into_owned()
    }

    /// Sends a signal.
    pub fn signal(&self, with: Signal) {
        signal(&self.child, with);
    }

    /// Waits for its end, at most a minute.
    #[track_caller]
    pub fn wait(mut self) -> Ended {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().or_fail("waiting for a child") {
                break status;
            }
            let (out, err) = (self.stdout(), self.stderr());
            assert!(start.elapsed() < 2 * PATIENCE, "{} doesn't end; it printed:\n{out}{err}", self.what);
            pause();
        };
        let code = status.code().or_else(|| status.signal().map(|n| 128 + n)).or_fail("an exit code");
        Ended { code, stdout: self.stdout(), stderr: self.stderr() }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
