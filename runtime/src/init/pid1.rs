//! The first process of a container: forwards signals to the task, reaps every orphan and passes on the task's raw
//! wait status. A program of its own (no standard library, no loader, a few KB), compiled by `build.rs`, embedded
//! by `init` and run from a sealed memory file, so nothing of the host's can be reached through `/proc/1/exe`.
//!
//! Arguments: `[name, report descriptor, program, argv0, arguments…]`; the environment goes to the task as it is.
//! Reports on the descriptor are frames of three little-endian 32-bit words, as `init::Frame` reads them.
#![no_std]
#![no_main]
#![no_builtins]

use core::panic::PanicInfo;

#[path = "pid1/sys.rs"]
mod sys;

use sys::{Errno, SignalInfo};

/// Frame tags, the first word of a report.
const STARTED: u32 = 1;
const EXEC_FAILED: u32 = 2;
const ENDED: u32 = 3;
const BROKEN: u32 = 4;

/// Exit codes when there is no task whose code could be passed on (as env(1) and the shells have them).
const EXIT_BROKEN: i32 = 125;
const EXIT_NOT_EXECUTABLE: i32 = 126;
const EXIT_NOT_FOUND: i32 = 127;

/// Where a program without a slash is looked for when the task's environment names no PATH.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Longest path that execve(2) takes, with its final NUL.
const PATH_MAX: usize = 4096;

/// What execve(2) said, and whether the program's file was there nevertheless (so its interpreter is missing).
struct ExecError {
    errno: Errno,
    found: bool,
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    sys::exit(EXIT_BROKEN)
}

/// Called by the entry code with the stack as the kernel laid it out: argc, argv…, NULL, envp…, NULL.
extern "C" fn begin(stack: *const usize) -> ! {
    // SAFETY: `stack` is the initial stack pointer, so argc words follow the count, and then a NULL.
    let (argc, argv) = unsafe { (*stack, stack.add(1).cast::<*const u8>()) };
    if argc < 4 {
        sys::exit(EXIT_BROKEN);
    }
    // SAFETY: below argc every argv entry is a NUL-terminated string; the environment starts after argv's NULL.
    let (report, program, args, env) =
        unsafe { (parse_descriptor(*argv.add(1)), *argv.add(2), argv.add(3), argv.add(argc + 1)) };
    match report {
        Some(report) => run(report, program, args, env),
        None => sys::exit(EXIT_BROKEN),
    }
}

fn run(report: i32, program: *const u8, args: *const *const u8, env: *const *const u8) -> ! {
    sys::set_not_dumpable();
    // Without a pid namespace of its own the init still wants to be the one who reaps the task's orphans.
    let in_own_namespace = sys::getpid() == 1;
    if !in_own_namespace {
        sys::set_subreaper();
    }
    sys::block_all_signals();
    sys::close_from(3, report);
    sys::set_cloexec(report);

    let (errors, errors_in) = match sys::pipe() {
        Ok(ends) => ends,
        Err(errno) => broken(report, errno),
    };
    let task = match sys::fork() {
        Err(errno) => broken(report, errno),
        Ok(0) => become_task(errors_in, program, args, env, in_own_namespace),
        Ok(pid) => pid,
    };
    sys::close(errors_in);
    // The task's descriptors are its own: held here they would keep its pipes open after it closed them.
    for descriptor in 0..3 {
        sys::close(descriptor);
    }
    await_exec(report, errors, task);
    supervise(report, task)
}

/// Waits until the task's program runs, or ends with what execve(2) said.
fn await_exec(report: i32, errors: i32, task: i32) {
    let mut message = [0u32; 2];
    let got = sys::read_words(errors, &mut message);
    sys::close(errors);
    if got == 0 {
        send(report, STARTED, task.cast_unsigned(), 0);
        return;
    }
    send(report, EXEC_FAILED, message[0], message[1]);
    sys::exit(if message[0] == Errno::NOENT.0.cast_unsigned() { EXIT_NOT_FOUND } else { EXIT_NOT_EXECUTABLE })
}

/// Waits for signals until the task's own process has ended; orphans that end in between are reaped and forgotten.
fn supervise(report: i32, task: i32) -> ! {
    let own = sys::getpid();
    loop {
        // Before the first wait as well: an end before SIGCHLD was looked at must not be missed.
        if let Some(status) = reap(task) {
            send(report, ENDED, status.cast_unsigned(), 0);
            sys::exit(code_of(status));
        }
        if let Some(signal) = sys::wait_signal()
            && is_for_the_task(&signal, own)
        {
            sys::kill(task, signal.number);
        }
    }
}

/// Reaps whatever has ended. The task's raw wait status once it is among them.
fn reap(task: i32) -> Option<i32> {
    let mut ended = None;
    loop {
        match sys::wait_any() {
            Ok((pid, status)) if pid == task => ended = Some(status),
            Ok((0, _)) | Err(_) => return ended,
            Ok(_) => {}
        }
    }
}

/// What the kernel sends to a whole process group (a terminal's keys) has reached the task already; a hangup goes
/// to the session's leader only, which is the init. What a write to a closed pipe brings is the init's own.
fn is_for_the_task(signal: &SignalInfo, own: i32) -> bool {
    if signal.number == sys::SIGCHLD {
        return false;
    }
    if signal.code == sys::SI_KERNEL {
        return signal.number == sys::SIGHUP;
    }
    signal.sender != own
}

/// The exit code that tells a wait status, as shells do: the code itself, or 128 + signal.
fn code_of(status: i32) -> i32 {
    match status & 0x7f {
        0 => (status >> 8) & 0xff,
        signal => 128 + signal,
    }
}

fn become_task(
    errors_in: i32,
    program: *const u8,
    args: *const *const u8,
    env: *const *const u8,
    in_own_namespace: bool,
) -> ! {
    if !in_own_namespace {
        // In a pid namespace the kernel ends the task with the init; elsewhere the task asks for it.
        sys::die_with_parent();
    }
    sys::default_all_signals();
    sys::unblock_all_signals();
    let error = exec(program, args, env);
    sys::write_words(errors_in, &[error.errno.0.cast_unsigned(), u32::from(error.found)]);
    sys::exit(EXIT_NOT_EXECUTABLE)
}

/// execve(2) with a search along PATH for a plain name. A file without a known header stays ENOEXEC: no shell is
/// ever put in between.
fn exec(program: *const u8, args: *const *const u8, env: *const *const u8) -> ExecError {
    let name = bytes_of(program);
    if name.is_empty() {
        return ExecError { errno: Errno::NOENT, found: false };
    }
    if name.iter().any(|byte| *byte == b'/') {
        let errno = sys::execve(program, args, env);
        return ExecError { errno, found: errno == Errno::NOENT && sys::exists(program) };
    }
    let mut worst = ExecError { errno: Errno::NOENT, found: false };
    let mut buffer = [0u8; PATH_MAX];
    for folder in search_path(env).split(|byte| *byte == b':') {
        if !join(&mut buffer, folder, name) {
            continue;
        }
        let errno = sys::execve(buffer.as_ptr(), args, env);
        match errno {
            Errno::NOENT | Errno::NOTDIR => worst.found |= sys::exists(buffer.as_ptr()),
            // Someone's file of that name that can't be run; a later folder may have a better one (as execvp(3)).
            Errno::ACCES => worst = ExecError { errno, found: false },
            _ => return ExecError { errno, found: false },
        }
    }
    worst
}

/// Writes `folder/name` with its NUL; an empty folder is the working directory. False when it is too long.
fn join(buffer: &mut [u8; PATH_MAX], folder: &[u8], name: &[u8]) -> bool {
    let mut length = 0;
    let slash: &[u8] = if folder.is_empty() { b"" } else { b"/" };
    for part in [folder, slash, name, b"\0"] {
        for byte in part {
            let Some(slot) = buffer.get_mut(length) else { return false };
            *slot = *byte;
            length += 1;
        }
    }
    true
}

fn search_path(env: *const *const u8) -> &'static [u8] {
    let mut at = env;
    loop {
        // SAFETY: envp is an array of NUL-terminated strings that ends with NULL, and `at` stops there.
        let entry = unsafe { *at };
        if entry.is_null() {
            return DEFAULT_PATH;
        }
        if let Some(path) = bytes_of(entry).strip_prefix(b"PATH=") {
            return path;
        }
        // SAFETY: the entry was not the final NULL, so there is a next one.
        at = unsafe { at.add(1) };
    }
}

/// The bytes of a string that the kernel laid on the initial stack, where they stay until the process ends.
fn bytes_of(text: *const u8) -> &'static [u8] {
    let mut length = 0;
    // SAFETY: the string is NUL-terminated, and nothing behind the NUL is read.
    while unsafe { *text.add(length) } != 0 {
        length += 1;
    }
    // SAFETY: the `length` bytes were just read, and nobody writes to the initial stack's strings.
    unsafe { core::slice::from_raw_parts(text, length) }
}

fn parse_descriptor(text: *const u8) -> Option<i32> {
    let digits = bytes_of(text);
    if digits.is_empty() || digits.len() > 7 {
        return None;
    }
    let mut number = 0i32;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = number * 10 + i32::from(*digit - b'0');
    }
    (number > 2).then_some(number)
}

fn send(report: i32, tag: u32, first: u32, second: u32) {
    sys::write_words(report, &[tag, first, second]);
}

fn broken(report: i32, errno: Errno) -> ! {
    send(report, BROKEN, errno.0.cast_unsigned(), 0);
    sys::exit(EXIT_BROKEN)
}

/// The precompiled `core` names it in its unwind tables; with panic=abort nothing ever calls it.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
