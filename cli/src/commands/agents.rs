//! `tepui agents list`: the agents that the master knows.

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
    let list = TABLE.onto(Command::new("list").about("Lists registered agents with what they have and use"));
    command
        .about("Agents of the cluster")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(list)
}

/// Lists.
pub fn run(invocation: &Invocation, matches: &ArgMatches) -> Outcome {
    let (_, matches) = matches.subcommand().expect("clap asks for a subcommand");
    let flags = invocation.flags(&TABLE, matches, Level::Command)?;
    let master = api::master(&flags)?;
    let answer = block_on(async { api::get(&Http::new(), &master, "/slaves").await.map_err(failed) })?;
    if flags.values.bool("json")? {
        print::json(&answer).map_err(failed)?;
    } else {
        table(&answer).print().map_err(failed)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn table(answer: &Value) -> TextTable {
    let mut table = TextTable::new(&["ID", "HOST", "STATE", "USED", "TOTAL"]);
    for agent in api::list(answer, "slaves") {
        let active = agent.get("active").and_then(Value::as_bool).unwrap_or(false);
        table.row([
            text(agent, "id").to_owned(),
            api::agent_address(agent).map_or_else(|_| text(agent, "hostname").to_owned(), |a| a.to_string()),
            if active { "active" } else { "inactive" }.to_owned(),
            api::resources(agent.get("used_resources")),
            api::resources(agent.get("resources")),
        ]);
    }
    for agent in api::list(answer, "recovered_slaves") {
        let [id, host] = ["id", "hostname"].map(|name| text(agent, name).to_owned());
        table.row([id, host, "recovered".to_owned(), String::new(), String::new()]);
    }
    table
}
