//! The commands, one file each: how it is called, and what it does.

mod agent;
mod agents;
mod dev;
mod frameworks;
mod image;
mod list;
mod master;
mod registry;
mod run;
mod service;
mod supervise;
mod task;

use clap::{ArgMatches, Command};

use crate::context::{Invocation, Outcome};

/// One command.
struct Entry {
    name: &'static str,
    /// How it is called.
    describe: fn(Command) -> Command,
    /// What it does.
    run: fn(&Invocation, &ArgMatches) -> Outcome,
}

const COMMANDS: &[Entry] = &[
    Entry { name: "master", describe: master::describe, run: master::run },
    Entry { name: "agent", describe: agent::describe, run: agent::run },
    Entry { name: "dev", describe: dev::describe, run: dev::run },
    Entry { name: "run", describe: run::describe, run: run::run },
    Entry { name: "task", describe: task::describe, run: task::run },
    Entry { name: "agents", describe: agents::describe, run: agents::run },
    Entry { name: "frameworks", describe: frameworks::describe, run: frameworks::run },
    Entry { name: "image", describe: image::describe, run: image::run },
    Entry { name: "registry", describe: registry::describe, run: registry::run },
    Entry { name: "supervise", describe: supervise::describe, run: supervise::run },
];

/// Reads the command line and runs the command.
///
/// # Errors
/// What the arguments or the command come to.
pub fn run(invocation: &Invocation) -> Outcome {
    let matches = tepui().try_get_matches_from(&invocation.arguments)?;
    let (name, matches) = matches.subcommand().expect("clap asks for a subcommand");
    let entry = COMMANDS.iter().find(|entry| entry.name == name).expect("clap knows only these");
    (entry.run)(invocation, matches)
}

fn tepui() -> Command {
    let version = env!("CARGO_PKG_VERSION");
    let commands = COMMANDS.iter().map(|entry| (entry.describe)(Command::new(entry.name).version(version)));
    Command::new("tepui")
        .version(version)
        .about("Apache Mesos' cluster manager rebuilt: master, agent and containers in one binary")
        .after_help(
            "Flags may also come from variables (TEPUI_WORK_DIR, MESOS_WORK_DIR), from a folder with one file a flag \
             (--config_dir), and a value from a file (--resources=file:///path). Dashes and underscores in names are \
             the same. Start with `tepui dev`, then `tepui run -- echo hello`.",
        )
        .subcommand_required(true)
        .arg_required_else_help(true)
        .propagate_version(true)
        .subcommands(commands)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_well_formed_and_explains_itself() {
        tepui().debug_assert();
        for entry in COMMANDS {
            for flag in ["--help", "--version"] {
                let error = tepui().try_get_matches_from(["tepui", entry.name, flag]).unwrap_err();
                assert_eq!(error.exit_code(), 0, "{} {flag}", entry.name);
            }
        }
    }
}
