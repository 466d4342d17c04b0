//! The init run for real: fexecve in a forked child, with and without a pid namespace of its own.

use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// How a test wants its init.
#[derive(Clone, Copy)]
struct Setup<'a> {
    /// A pid namespace of its own (needs root).
    namespace: bool,
    /// The user to become before the init is executed.
    user: Option<u32>,
    env: &'a [&'a str],
    folder: &'a Path,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self { namespace: false, user: None, env: &["PATH=/usr/bin:/bin"], folder: Path::new("/") }
    }
}

/// A running init.
struct Running {
    pid: i32,
    reports: File,
    input: Option<File>,
    output: File,
    ended: bool,
}

impl Running {
    fn start(setup: Setup<'_>, program: &str, args: &[&str]) -> Self {
        let cstring = |text: &&str| CString::new(*text).unwrap();
        let env: Vec<CString> = setup.env.iter().map(cstring).collect();
        let args: Vec<CString> = args.iter().map(cstring).collect();
        let program = cstring(&program);
        let folder = CString::new(setup.folder.as_os_str().as_bytes()).unwrap();
        let image = image().unwrap();
        let pipe = || pipe_with(PipeFlags::CLOEXEC).unwrap();
        let ((reports, report), (child_input, input), (output, child_output)) = (pipe(), pipe(), pipe());
        let flags = libc::SIGCHLD | if setup.namespace { libc::CLONE_NEWPID } else { 0 };
        // SAFETY: like fork(2): no shared memory, no new stack.
        let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
        assert!(pid >= 0, "clone: {}", io::Error::last_os_error());
        if pid == 0 {
            // SAFETY: plain system calls in the forked child; descriptor 50 is leaked to the init on purpose.
            unsafe {
                libc::dup2(child_input.as_raw_fd(), 0);
                libc::dup2(child_output.as_raw_fd(), 1);
                libc::dup2(child_output.as_raw_fd(), 50);
                libc::chdir(folder.as_ptr());
                if let Some(user) = setup.user {
                    libc::setgroups(0, std::ptr::null());
                    libc::setresgid(user, user, user);
                    libc::setresuid(user, user, user);
                }
            }
            let _ = exec(image.as_fd(), report.as_fd(), &program, &args, &env);
            // SAFETY: leaves the child without running the test harness' exit code.
            unsafe { libc::_exit(99) };
        }
        Self {
            pid: i32::try_from(pid).unwrap(),
            reports: reports.into(),
            input: Some(input.into()),
            output: output.into(),
            ended: false,
        }
    }

    fn report(&mut self) -> Option<InitReport> {
        await_readable(&self.reports);
        let mut bytes = [0u8; REPORT_SIZE];
        match self.reports.read(&mut bytes).unwrap() {
            0 => None,
            length => Some(decode(&bytes[..length]).expect("a whole report")),
        }
    }

    /// The task's process id, once its program runs; as its own namespace has it.
    fn expect_running(&mut self) -> i32 {
        match self.report() {
            Some(InitReport::Running { pid }) => pid,
            other => panic!("{other:?}"),
        }
    }

    fn signal(&self, signal: i32) {
        // SAFETY: no memory is involved; the child isn't reaped yet.
        assert_eq!(unsafe { libc::kill(self.pid, signal) }, 0);
    }

    /// The wait status of the init itself, after the end of the report stream was seen.
    fn end(&mut self) -> i32 {
        assert_eq!(self.report(), None, "nothing follows the last report");
        let mut status = 0;
        // SAFETY: the status is written to a variable of ours.
        assert_eq!(unsafe { libc::waitpid(self.pid, &raw mut status, 0) }, self.pid);
        self.ended = true;
        status
    }

    fn output(&mut self) -> String {
        let mut text = String::new();
        self.output.read_to_string(&mut text).unwrap();
        text
    }

    fn line(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0u8];
        loop {
            await_readable(&self.output);
            if self.output.read(&mut byte).unwrap() == 0 || byte[0] == b'\n' {
                return String::from_utf8(line).unwrap();
            }
            line.push(byte[0]);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            // SAFETY: the child is ours and not reaped yet.
            unsafe {
                libc::kill(self.pid, libc::SIGKILL);
                libc::waitpid(self.pid, std::ptr::null_mut(), 0);
            }
        }
    }
}

fn await_readable(file: &File) {
    let timeout = Timespec { tv_sec: i64::try_from(PATIENCE.as_secs()).unwrap(), tv_nsec: 0 };
    let ready = poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&timeout)).unwrap();
    assert_eq!(ready, 1, "nothing within {PATIENCE:?}");
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        let _ = poll(&mut [], Some(&Timespec { tv_sec: 0, tv_nsec: 5_000_000 }));
    }
}

/// The children of a process: pid and state.
fn children(parent: i32) -> Vec<(i32, char)> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((head, tail)) = stat.rsplit_once(") ") else { continue };
        let words: Vec<&str> = tail.split(' ').collect();
        if words[1].parse() == Ok(parent) {
            let pid = head.split(' ').next().unwrap().parse().unwrap();
            all.push((pid, words[0].chars().next().unwrap()));
        }
    }
    all
}

/// With a pid namespace only as root, which the machines that matter are.
fn setups(name: &str) -> Vec<Setup<'static>> {
    let mut all = vec![Setup::default()];
    if rustix::process::geteuid().is_root() {
        all.push(Setup { namespace: true, ..Setup::default() });
    } else {
        println!("SKIPPED: {name} in a pid namespace: not root");
    }
    all
}

fn exited(code: i32) -> i32 {
    code << 8
}

#[test]
fn the_image_is_sealed_and_small() {
    let image = image().unwrap();
    let mut file = File::from(image);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, 0o111);
    assert!(file.metadata().unwrap().len() < 8 << 10);
    assert_eq!(file.write(b"x").unwrap_err().raw_os_error(), Some(libc::EPERM));
    assert_eq!(file.set_len(0).unwrap_err().raw_os_error(), Some(libc::EPERM));
    assert_eq!(file.set_len(1 << 20).unwrap_err().raw_os_error(), Some(libc::EPERM));
    assert!(rustix::fs::fcntl_add_seals(&file, SealFlags::empty()).is_err(), "no more seals can be set");
    let flags = rustix::io::fcntl_getfd(&file).unwrap();
    assert!(flags.contains(FdFlags::CLOEXEC));
}

#[test]
fn an_exit_code_is_passed_on() {
    for setup in setups("an_exit_code_is_passed_on") {
        let mut init = Running::start(setup, "sh", &["sh", "-c", "exit 7"]);
        let pid = init.expect_running();
        assert!(!setup.namespace || pid == 2, "{pid}");
        assert_eq!(init.report(), Some(InitReport::Ended { wait_status: exited(7) }));
        assert_eq!(init.end(), exited(7));
    }
}

#[test]
fn a_death_by_signal_is_told_apart() {
    for setup in setups("a_death_by_signal_is_told_apart") {
        let mut init = Running::start(setup, "/bin/sh", &["sh", "-c", "kill -9 $$"]);
        init.expect_running();
        assert_eq!(init.report(), Some(InitReport::Ended { wait_status: 9 }));
        assert_eq!(init.end(), exited(137));
    }
}

#[test]
fn sigterm_reaches_a_plain_program() {
    for setup in setups("sigterm_reaches_a_plain_program") {
        let mut init = Running::start(setup, "sleep", &["sleep", "1000"]);
        init.expect_running();
        init.signal(libc::SIGTERM);
        assert_eq!(init.report(), Some(InitReport::Ended { wait_status: libc::SIGTERM }));
        assert_eq!(init.end(), exited(128 + libc::SIGTERM));
    }
}

#[test]
fn a_handler_of_the_task_decides() {
    for setup in setups("a_handler_of_the_task_decides") {
        let script = "trap 'exit 5' USR2; echo ready; while :; do sleep 0.01; done";
        let mut init = Running::start(setup, "sh", &["sh", "-c", script]);
        init.expect_running();
        assert_eq!(init.line(), "ready");
        init.signal(libc::SIGUSR2);
        assert_eq!(init.report(), Some(InitReport::Ended { wait_status: exited(5) }));
        init.end();
    }
}

#[test]
fn ten_thousand_signals_change_nothing() {
    for setup in setups("ten_thousand_signals_change_nothing") {
        let script = "trap : USR1; trap 'exit 6' TERM; echo ready; while :; do sleep 0.01; done";
        let mut init = Running::start(setup, "sh", &["sh", "-c", script]);
        init.expect_running();
        assert_eq!(init.line(), "ready");
        for _ in 0..10_000 {
            init.signal(libc::SIGUSR1);
            init.signal(libc::SIGCHLD);
        }
        init.signal(libc::SIGTERM);
        assert_eq!(init.report(), Some(InitReport::Ended { wait_status: exited(6) }));
        init.end();
    }
}

#[test]
fn a_hundred_orphans_are_reaped() {
    for setup in setups("a_hundred_orphans_are_reaped") {
        // Each subshell ends at once, so what it started has the init for its parent.
        let script =
            "i=0; while [ $i -lt 100 ]; do (sleep 0.1 & ); i=$((i+1)); done; echo made; read _; exit 3";
        let mut init = Running::start(setup, "sh", &["sh", "-c", script]);
        init.expect_running();
        assert_eq!(init.line(), "made");
        eventually("only the task is left, and no zombie", || children(init.pid).len() == 1);
        drop(init.input.take());
        assert_eq!(init.report(), Some(InitReport::Ended { wait_status: exited(3) }));
        init.end();
    }
}

#[test]
fn the_end_of_the_task_ends_its_namespace() {
    for setup in setups("the_end_of_the_task_ends_its_namespace").into_iter().filter(|setup| setup.namespace)
    {
        // The one in the background has the pipe's writing end: the pipe's end is the proof of its end.
        let mut init = Running::start(setup, "sh", &["sh", "-c", "sleep 1000 & exit 0"]);
        init.expect_running();
        assert_eq!(init.report(), Some(InitReport::Ended { wait_status: 0 }));
        assert_eq!(init.end(), 0);
        await_readable(&init.output);
        assert_eq!(init.output(), "");
    }
}

fn failing(setup: Setup<'_>, program: &str) -> (InitReport, i32) {
    let mut init = Running::start(setup, program, &[program]);
    let report = init.report().expect("a report");
    (report, init.end())
}

/// A file of a folder that is made for the test.
fn file(folder: &Path, name: &str, content: &[u8], mode: u32) -> String {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(mode).open(&path).unwrap();
    file.write_all(content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_program_that_cannot_run_is_reported_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let plain = file(folder.path(), "plain", b"#!/bin/sh\nexit 0\n", 0o644);
    let junk = file(folder.path(), "junk", b"no header, and no shell either\n", 0o755);
    let script = file(folder.path(), "script", b"#!/no/such/interpreter\n", 0o755);
    let empty = file(folder.path(), "empty", b"", 0o755);
    let inside = format!("{plain}/inside");
    for setup in setups("a_program_that_cannot_run_is_reported_with_its_reason") {
        for (program, errno, program_found, code) in [
            ("no-such-program", libc::ENOENT, false, 127),
            ("/no/such/program", libc::ENOENT, false, 127),
            ("", libc::ENOENT, false, 127),
            (script.as_str(), libc::ENOENT, true, 127),
            (plain.as_str(), libc::EACCES, false, 126),
            (folder.path().to_str().unwrap(), libc::EACCES, false, 126),
            (inside.as_str(), libc::ENOTDIR, false, 126),
            (junk.as_str(), libc::ENOEXEC, false, 126),
            (empty.as_str(), libc::ENOEXEC, false, 126),
        ] {
            let expected = (InitReport::ExecFailed { errno, program_found }, exited(code));
            assert_eq!(failing(setup, program), expected, "{program:?}");
        }
    }
}

#[test]
fn the_path_of_the_environment_is_searched() {
    let folder = tempfile::tempdir().unwrap();
    let says = |word: &str| format!("#!/bin/sh\necho {word}\n").into_bytes();
    file(folder.path(), "one/tool", &says("one"), 0o644);
    file(folder.path(), "two/tool", &says("two"), 0o755);
    file(folder.path(), "here", &says("here"), 0o755);
    file(folder.path(), "one/barred", &says("barred"), 0o644);
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let path = format!("PATH=/no/such:/etc/passwd:{}:{}", one.display(), two.display());
    let long = format!("PATH=/{}:{}", "x".repeat(5000), two.display());

    let run = |env: &[&str], program: &str| {
        let setup = Setup { env, folder: folder.path(), ..Setup::default() };
        let mut init = Running::start(setup, program, &[program]);
        let report = init.report();
        if !matches!(report, Some(InitReport::Running { .. })) {
            return Err(report);
        }
        init.report();
        init.end();
        Ok(init.output().trim().to_owned())
    };
    assert_eq!(run(&[&path], "tool"), Ok("two".to_owned()), "what can't be executed is passed over");
    assert_eq!(run(&["PATH=:/bin"], "here"), Ok("here".to_owned()), "an empty entry is the working folder");
    assert_eq!(run(&[&long], "tool"), Ok("two".to_owned()), "an entry that is too long is passed over");
    assert_eq!(run(&[], "true"), Ok(String::new()), "there is a default");
    let barred = InitReport::ExecFailed { errno: libc::EACCES, program_found: false };
    assert_eq!(run(&[&path], "barred"), Err(Some(barred)));
    let missing = InitReport::ExecFailed { errno: libc::ENOENT, program_found: false };
    assert_eq!(run(&["PATH="], "tool"), Err(Some(missing)));
}

#[test]
fn the_task_gets_three_descriptors_and_default_signals() {
    for setup in setups("the_task_gets_three_descriptors_and_default_signals") {
        let script = "ls /proc/self/fd; exec sed -n 's/^Sig\\(Blk\\|Ign\\):.//p' /proc/self/status";
        let mut init = Running::start(setup, "sh", &["sh", "-c", script]);
        init.expect_running();
        let output = init.output();
        let lines: Vec<&str> = output.lines().collect();
        // 3 is the folder that ls itself reads. Rust ignores SIGPIPE in this process, which must not be inherited.
        assert_eq!(lines[..4], ["0", "1", "2", "3"], "{output}");
        assert_eq!(lines[4..], ["0000000000000000", "0000000000000000"], "blocked, ignored: {output}");
    }
}

#[test]
fn arguments_and_environment_arrive_as_they_were() {
    let env = ["PATH=/bin:/usr/bin", "ODD= a=b\nc", "EMPTY="];
    let setup = Setup { env: &env, ..Setup::default() };
    let args = ["sh", "-c", "echo \"$0|$1|$2|$ODD|${EMPTY-unset}\"", "zero", "", "two words"];
    let mut init = Running::start(setup, "/bin/sh", &args);
    init.expect_running();
    assert_eq!(init.output(), "zero||two words| a=b\nc|\n");
}

#[test]
fn the_init_is_closed_to_its_own_user() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: the_init_is_closed_to_its_own_user: not root");
        return;
    }
    let user = 65534;
    let setup = Setup { namespace: true, user: Some(user), ..Setup::default() };
    let mut init = Running::start(setup, "sleep", &["sleep", "1000"]);
    init.expect_running();
    let proc = |pid: i32, name: &str| format!("/proc/{pid}/{name}");
    // The kernel gives /proc/PID of a process that can't be dumped to root, whoever runs it.
    assert_eq!(fs::metadata(proc(init.pid, "fd")).unwrap().uid(), 0);
    let task = children(init.pid)[0].0;
    assert_eq!(fs::metadata(proc(task, "fd")).unwrap().uid(), user, "the task is as open as any program");

    let executable = fs::read_link(proc(init.pid, "exe")).unwrap();
    assert!(executable.to_string_lossy().starts_with("/memfd:tepui-init"), "{executable:?}");
    // Root of the host may open it, which a container's root may not; but not even that one can write.
    if let Ok(mut file) = fs::OpenOptions::new().write(true).open(proc(init.pid, "exe")) {
        assert!(file.write(b"#!").is_err());
    }
    assert_eq!(fs::read(proc(init.pid, "exe")).unwrap(), PROGRAM);
}

#[test]
fn the_init_holds_nothing_but_its_report() {
    let mut init = Running::start(Setup::default(), "sleep", &["sleep", "1000"]);
    init.expect_running();
    let held: Vec<OsString> = fs::read_dir(format!("/proc/{}/fd", init.pid))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(held.len(), 1, "{held:?}");
}

#[test]
fn other_arguments_end_it_at_once() {
    let image = image().unwrap();
    for args in
        [&[][..], &["/script"], &["x", "y", "z"], &["1", "/bin/true", "true"], &["99999999999", "a", "b"]]
    {
        // As a script with `#!/proc/self/exe` would start it.
        let status = std::process::Command::new(format!("/proc/self/fd/{}", image.as_raw_fd()))
            .args(args.iter().map(OsStr::new))
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(125), "{args:?}");
    }
}

#[test]
fn exec_refuses_what_the_init_could_not_use() {
    let image = image().unwrap();
    let none: [CString; 0] = [];
    let stdin = std::io::stdin();
    let error = exec(image.as_fd(), stdin.as_fd(), c"true", &[c"true".to_owned()], &none);
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    let (_, report): (OwnedFd, OwnedFd) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let error = exec(image.as_fd(), report.as_fd(), c"true", &none, &none);
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn junk_is_no_report() {
    for bytes in [&[][..], &[1], &[0; 12], &[9; 12], &[1; 13], &[3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]] {
        assert_eq!(decode(bytes), None, "{bytes:?}");
    }
    let found = [2, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0];
    assert_eq!(decode(&found), Some(InitReport::ExecFailed { errno: 2, program_found: true }));
}

#[test]
fn reports_are_read_as_they_were_written() {
    for report in [
        InitReport::Running { pid: 2 },
        InitReport::ExecFailed { errno: 8, program_found: false },
        InitReport::ExecFailed { errno: 2, program_found: true },
        InitReport::Ended { wait_status: 0x7f00 },
        InitReport::Broken { errno: 11 },
    ] {
        assert_eq!(decode(&report.encode()), Some(report));
    }
}
