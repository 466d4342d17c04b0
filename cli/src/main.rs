//! The binary `tepui`: master, agent, one-off tasks and what an operator asks, each a command of its own.
//!
//! `supervise`, the keeper of one container, is chosen before any thread exists: it forks, changes namespaces and
//! must stay small. Everything else may start a tokio runtime, which each command does for itself.

#![forbid(unsafe_code)]

mod api;
mod commands;
mod context;
mod flags;
mod logging;
mod print;

use std::ffi::OsString;
use std::process::ExitCode;

use context::{Invocation, Trouble};

/// The C library's allocator keeps the master's loop waiting, for milliseconds while threads are preempted: what the loop
/// drops was mostly made by the threads of connections, and goes back under their locks. This one has no such locks.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|word| word == "supervise") {
        runtime::supervise_main();
    }
    match commands::run(&Invocation::read(arguments)) {
        Ok(code) => code,
        Err(trouble) => report(&trouble),
    }
}

/// Prints what went wrong; 2 for arguments that can't be used, 1 for everything else, 0 for `--help`.
fn report(trouble: &Trouble) -> ExitCode {
    match trouble {
        Trouble::Usage(flags::BadUsage::CommandLine(error)) => {
            // Nothing is left to do when not even this can be printed.
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
        }
        Trouble::Usage(bad) => {
            eprintln!("tepui: {}", sdk::scheduler::said(bad));
            ExitCode::from(2)
        }
        Trouble::Failed(error) if print::is_closed_pipe(error) => ExitCode::SUCCESS,
        Trouble::Failed(error) => {
            eprintln!("tepui: {error:#}");
            ExitCode::FAILURE
        }
    }
}
