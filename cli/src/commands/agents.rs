//! `tepui agents list`: the agents that the master knows.

use clap::{ArgMatches, Command};
use serde_json::Value;

use super::list;
use crate::api::{self, text};
use crate::context::{Invocation, Outcome};
use crate::print::TextTable;

/// How it is called.
pub fn describe(command: Command) -> Command {
    list::describe(command, "Agents of the cluster", "Lists registered agents with what they have and use")
}

/// Lists.
pub fn run(invocation: &Invocation, matches: &ArgMatches) -> Outcome {
    list::run(invocation, matches, "/slaves", table)
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
