//! `tepui frameworks list`: the schedulers that the master knows.

use std::process::ExitCode;

use clap::{ArgMatches, Command};
use sdk::http::Http;
use serde_json::Value;

use crate::api::{self, text};
use crate::context::{Invocation, Outcome, block_on, failed};
use crate::flags::Table;
use crate::logging::Level;
use crate::print::{self, TextTable};

const TABLE: Table = Table { flags: &[api::MASTER, api::JSON], ignored: &[] };

/// How it is called.
pub fn describe(command: Command) -> Command {
    let list = TABLE.onto(Command::new("list").about("Lists frameworks with what they use"));
    command
        .about("Frameworks of the cluster")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(list)
}

/// Lists.
pub fn run(invocation: &Invocation, matches: &ArgMatches) -> Outcome {
    let (_, matches) = matches.subcommand().expect("clap asks for a subcommand");
    let flags = invocation.flags(&TABLE, matches, Level::Command)?;
    let master = api::master(&flags)?;
    let answer = block_on(async { api::get(&Http::new(), &master, "/frameworks").await.map_err(failed) })?;
    if flags.values.bool("json")? {
        print::json(&answer).map_err(failed)?;
    } else {
        table(&answer).print().map_err(failed)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn table(answer: &Value) -> TextTable {
    let mut table = TextTable::new(&["ID", "NAME", "STATE", "TASKS", "USED"]);
    let flag = |framework: &Value, name: &str| framework.get(name).and_then(Value::as_bool).unwrap_or(false);
    for framework in api::list(answer, "frameworks") {
        let state =
            match (flag(framework, "active"), flag(framework, "connected"), flag(framework, "recovered")) {
                (true, ..) => "active",
                (_, true, _) => "inactive",
                (.., true) => "recovered",
                _ => "disconnected",
            };
        table.row([
            text(framework, "id").to_owned(),
            text(framework, "name").to_owned(),
            state.to_owned(),
            api::list(framework, "tasks").len().to_string(),
            api::resources(framework.get("used_resources")),
        ]);
    }
    table
}
