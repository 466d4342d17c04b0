//! `tepui run`: one task or image to completion, its output on our output, its exit code as ours.

mod ending;
mod job;
mod offers;
pub mod output;
mod session;

use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::api;
use crate::context::{Invocation, Outcome, block_on};
use crate::flags::Table;
use crate::logging::Level;
use job::{Job, Repeated};

const TABLE: Table = Table { flags: job::FLAGS, shared: api::REACH, ignored: &[job::IGNORED] };

/// How it is called.
pub fn describe(command: Command) -> Command {
    let several = |name: &'static str, value, help| {
        Arg::new(name).long(name).action(ArgAction::Append).num_args(1).value_name(value).help(help)
    };
    TABLE
        .onto(command)
        .about("Runs one task, or an image, to its end; its output and exit code become ours")
        .after_help(
            "Exits with the command's own code, 128 + n after signal n, 1 when the task could not run, 2 for unusable \
             arguments. Ctrl-C kills the task; a second one leaves at once.",
        )
        .arg(several("env", "NAME=VALUE", "A variable of the task; may come again."))
        .arg(several("volume", "HOST:CONTAINER[:ro]", "A directory of the agent shown in the task; may come again."))
        .arg(Arg::new("argv").last(true).num_args(0..).value_name("PROGRAM AND ARGUMENTS"))
}

/// Runs it.
pub fn run(invocation: &Invocation, matches: &ArgMatches) -> Outcome {
    let flags = invocation.flags(&TABLE, matches, Level::Command)?;
    let texts = |name: &str| matches.get_many::<String>(name).into_iter().flatten().cloned().collect();
    let repeated = Repeated { env: texts("env"), volume: texts("volume"), argv: texts("argv") };
    let job = Job::read(&flags, repeated)?;
    let code = block_on(session::run(job))?;
    Ok(ExitCode::from(code))
}
