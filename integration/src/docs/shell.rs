//! A shell on a host of its own, into which commands are typed one by one.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use crate::OrFail;
use crate::eventually::pause;

/// A shell that runs. Ends, with everything that it started, when dropped.
#[derive(Debug)]
pub(super) struct Shell {
    child: Child,
    input: ChildStdin,
    dir: PathBuf,
    commands: usize,
    last_code: i32,
}

impl Shell {
    /// Starts it by a command that ends in a shell reading its standard input. Files about it go to `dir`.
    pub(super) fn start(command: &mut Command, dir: &Path) -> Shell {
        fs::create_dir_all(dir).or_fail(dir.display());
        let log = fs::File::create(dir.join("shell.log")).or_fail("the shell's log");
        let errors = log.try_clone().or_fail("duplicating a descriptor");
        let child = command.stdin(Stdio::piped()).stdout(log).stderr(errors).spawn();
        let mut child = child.or_fail(format!("starting {command:?}"));
        let input = child.stdin.take().or_fail("the shell's input");
        Shell { child, input, dir: dir.to_owned(), commands: 0, last_code: 0 }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}-{}", self.commands))
    }

    /// Runs a command to its end; one with `&` only starts. `$?` is the code of the command before.
    ///
    /// # Errors
    /// It doesn't end.
    pub(super) fn run(&mut self, command: &str, limit: Duration) -> Result<(), String> {
        self.commands += 1;
        let [script, output, code] = ["script", "output", "code"].map(|name| self.file(name));
        fs::write(&script, format!("{command}\n")).or_fail(script.display());
        let line = format!(
            "(exit {}); . {} >{} 2>&1 </dev/null; echo $? >{code}.new; mv {code}.new {code}\n",
            self.last_code,
            script.display(),
            output.display(),
            code = code.display(),
        );
        self.input.write_all(line.as_bytes()).or_fail("typing into the shell");
        let start = Instant::now();
        loop {
            if let Ok(text) = fs::read_to_string(&code) {
                self.last_code = text.trim().parse().or_fail("an exit code");
                return Ok(());
            }
            if self.child.try_wait().or_fail("waiting for the shell").is_some() {
                return Err("the shell has ended".to_owned());
            }
            if start.elapsed() > limit {
                return Err(format!("did not end within {} s", limit.as_secs()));
            }
            pause();
        }
    }

    /// What the last command has printed so far.
    pub(super) fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.file("output")).unwrap_or_default()).into_owned()
    }

    /// What the shell itself complained of.
    pub(super) fn trouble(&self) -> String {
        let log = fs::read_to_string(self.dir.join("shell.log")).unwrap_or_default();
        // It has no terminal.
        let usual = ["cannot set terminal process group", "no job control in this shell"];
        let lines = log.lines().filter(|line| !usual.iter().any(|text| line.contains(text)));
        let lines: Vec<&str> = lines.collect();
        if lines.is_empty() { String::new() } else { format!("\n--- the shell says\n{}", lines.join("\n")) }
    }

    /// The process whose network the host has.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
