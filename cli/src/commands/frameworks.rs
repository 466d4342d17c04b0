//! `tepui frameworks list`: the schedulers that the master knows.

use clap::{ArgMatches, Command};
use serde_json::Value;

use super::list;
use crate::api::{self, text};
use crate::context::{Invocation, Outcome};
use crate::print::TextTable;

/// How it is called.
pub fn describe(command: Command) -> Command {
    list::describe(command, "Frameworks of the cluster", "Lists frameworks with what they use")
}

/// Lists.
pub fn run(invocation: &Invocation, matches: &ArgMatches) -> Outcome {
    list::run(invocation, matches, "/frameworks", table)
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
