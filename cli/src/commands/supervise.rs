//! `tepui supervise`: the keeper of one container. `main` chooses it before this is reached.

use clap::{ArgMatches, Command};

use crate::context::{Invocation, Outcome, usage};

/// How it is called.
pub fn describe(command: Command) -> Command {
    command.about("Internal: keeps one container; started by the agent").hide(true)
}

/// Says that this is not for people: reached only by another spelling than the agent's.
pub fn run(_: &Invocation, _: &ArgMatches) -> Outcome {
    Err(usage("'supervise' is started by the agent, as its first argument"))
}
