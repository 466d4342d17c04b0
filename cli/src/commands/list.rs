//! What `tepui agents list` and `tepui frameworks list` share: one page of the master, as a table or as JSON.

use std::process::ExitCode;

use clap::{ArgMatches, Command};
use serde_json::Value;

use crate::api;
use crate::context::{Invocation, Outcome, block_on, failed};
use crate::flags::Table;
use crate::logging::Level;
use crate::print::{self, TextTable};

const TABLE: Table = Table { flags: &[api::MASTER, api::JSON], shared: api::REACH, ignored: &[] };

/// A command whose only subcommand is `list`.
pub fn describe(command: Command, about: &'static str, list: &'static str) -> Command {
    let list = TABLE.onto(Command::new("list").about(list));
    command.about(about).subcommand_required(true).arg_required_else_help(true).subcommand(list)
}

/// Asks the master for `page` and prints it.
///
/// # Errors
/// Unusable flags, a master that can't be asked, or an output that can't be written.
pub fn run(
    invocation: &Invocation,
    matches: &ArgMatches,
    page: &str,
    table: impl FnOnce(&Value) -> TextTable,
) -> Outcome {
    let (_, matches) = matches.subcommand().expect("clap asks for a subcommand");
    let flags = invocation.flags(&TABLE, matches, Level::Command)?;
    let (master, http) = (api::master(&flags)?, api::http(&flags)?);
    let answer = block_on(async {
        let master = api::leader(&master).await.map_err(failed)?;
        api::get(&http, &master, page).await.map_err(failed)
    })?;
    if flags.values.bool("json")? {
        print::json(&answer).map_err(failed)?;
    } else {
        table(&answer).print().map_err(failed)?;
    }
    Ok(ExitCode::SUCCESS)
}
