//! `tepui task list|logs|kill`: tasks of every framework, seen by an operator.

use std::process::ExitCode;

use anyhow::{anyhow, bail};
use clap::{Arg, ArgMatches, Command};
use coordination::LeaderAddress;
use http::StatusCode;
use model::flags::{Flag, Form};
use sdk::http::{Ask, Http};
use serde_json::Value;
use tokio::sync::watch;
use wire::media::{self, Media};
use wire::v1::ContainerId;
use wire::v1::agent::{Call, call};

use super::run::output::{self, Sandbox, Sink};
use crate::api::{self, list, text};
use crate::context::{Invocation, Outcome, block_on, failed};
use crate::flags::{Flags, Table};
use crate::logging::Level;
use crate::print::{self, TextTable};

const LIST: Table = Table {
    flags: &[
        api::MASTER,
        api::JSON,
        Flag::new("all", Form::Bool, Some("false"), "Also tasks that have ended."),
        Flag::new("framework", Form::Text, None, "Only tasks of this framework's id."),
    ],
    shared: api::REACH,
    ignored: &[],
};
const LOGS: Table = Table {
    flags: &[
        api::MASTER,
        Flag::new("stderr", Form::Bool, Some("false"), "The task's standard error instead of its output."),
        Flag::new("follow", Form::Bool, Some("false"), "Go on until the task ends."),
        Flag::new("tail", Form::Number, None, "Begin this many bytes before the end."),
    ],
    shared: api::REACH,
    ignored: &[],
};
const KILL: Table = Table {
    flags: &[
        api::MASTER,
        Flag::new("signal", Form::Number, Some("15"), "The signal that its container gets."),
    ],
    shared: api::REACH,
    ignored: &[],
};

/// How it is called.
pub fn describe(command: Command) -> Command {
    let task = || {
        Arg::new("task").required(true).value_name("TASK").help("Id of a task, or the beginning of only one")
    };
    command.about("Tasks of the cluster").subcommand_required(true).arg_required_else_help(true).subcommands(
        [
            LIST.onto(Command::new("list").about("Lists tasks")),
            LOGS.onto(Command::new("logs").about("Prints what a task wrote")).arg(task()),
            KILL.onto(Command::new("kill").about("Ends a task through its agent")).arg(task()),
        ],
    )
}

/// Lists, prints or kills.
pub fn run(invocation: &Invocation, matches: &ArgMatches) -> Outcome {
    let (verb, matches) = matches.subcommand().expect("clap asks for a subcommand");
    let table = match verb {
        "list" => &LIST,
        "logs" => &LOGS,
        _ => &KILL,
    };
    let flags = invocation.flags(table, matches, Level::Command)?;
    let (master, http) = (api::master(&flags)?, api::http(&flags)?);
    let wanted = matches.try_get_one::<String>("task").ok().flatten().map_or("", String::as_str);
    let signal = if verb == "kill" { flags.values.number("signal")?.unwrap_or(15) } else { 0 };
    block_on(async {
        let master = api::leader(&master).await.map_err(failed)?;
        match verb {
            "list" => print_tasks(&http, &master, &flags).await,
            "logs" => logs(http, &master, &flags, wanted).await,
            _ => kill(&http, &master, wanted, signal).await,
        }
        .map_err(failed)
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn tasks(http: &Http, master: &LeaderAddress) -> anyhow::Result<Value> {
    api::get(http, master, "/tasks?limit=-1&order=asc").await
}

fn ended(task: &Value) -> bool {
    let state = text(task, "state");
    model::TaskState::ALL.iter().any(|known| known.name() == state && known.is_terminal())
}

async fn print_tasks(http: &Http, master: &LeaderAddress, flags: &Flags) -> anyhow::Result<()> {
    let answer = tasks(http, master).await?;
    let all = flags.values.bool("all")?;
    let framework = flags.values.text("framework");
    let shown =
        |task: &&Value| (all || !ended(task)) && framework.is_none_or(|id| text(task, "framework_id") == id);
    let rows: Vec<&Value> = list(&answer, "tasks").iter().filter(shown).collect();
    if flags.values.bool("json")? {
        print::json(&serde_json::json!({ "tasks": rows }))?;
        return Ok(());
    }
    let mut table = TextTable::new(&["ID", "NAME", "STATE", "AGENT", "RESOURCES"]);
    for task in rows {
        let [id, name, state, agent] =
            ["id", "name", "state", "slave_id"].map(|field| text(task, field).to_owned());
        table.row([id, name, state, agent, api::resources(task.get("resources"))]);
    }
    table.print()?;
    Ok(())
}

/// The task with that id, or the only one whose id begins with it.
fn find<'a>(answer: &'a Value, wanted: &str) -> anyhow::Result<&'a Value> {
    let all = list(answer, "tasks");
    if let Some(task) = all.iter().rev().find(|task| text(task, "id") == wanted) {
        return Ok(task);
    }
    let near: Vec<&Value> = all.iter().filter(|task| text(task, "id").starts_with(wanted)).collect();
    match near[..] {
        [task] => Ok(task),
        [] => bail!("no task '{wanted}'; `tepui task list --all` shows what there is"),
        _ => {
            let ids: Vec<_> = near.iter().take(5).map(|task| text(task, "id")).collect();
            bail!("'{wanted}' is the beginning of {} tasks: {}, …", near.len(), ids.join(", "))
        }
    }
}

async fn agent_of(http: &Http, master: &LeaderAddress, task: &Value) -> anyhow::Result<LeaderAddress> {
    let id = text(task, "slave_id");
    let answer = api::get(http, master, "/slaves").await?;
    let agent = list(&answer, "slaves").iter().find(|agent| text(agent, "id") == id);
    api::agent_address(agent.ok_or_else(|| anyhow!("agent {id} of the task is not registered now"))?)
}

async fn logs(http: Http, master: &LeaderAddress, flags: &Flags, wanted: &str) -> anyhow::Result<()> {
    let answer = tasks(&http, master).await?;
    let task = find(&answer, wanted)?;
    let agent = agent_of(&http, master, task).await?;
    let (id, framework) = (text(task, "id").to_owned(), text(task, "framework_id"));
    let executor = Some(text(task, "executor_id")).filter(|id| !id.is_empty()).unwrap_or(&id);
    let sandbox = Sandbox::of_run(agent, framework, executor);
    let sink = if flags.values.bool("stderr")? { Sink::StderrToStdout } else { Sink::Stdout };
    let size = output::size(&http, &sandbox, sink.file()).await?;
    let tail: Option<u64> = flags.values.number("tail")?;
    let from = tail.map_or(0, |tail| size.saturating_sub(tail));
    let over = !flags.values.bool("follow")? || ended(task);
    let (end, heard) = watch::channel(over);
    let copy = output::follow(http.clone(), sandbox, sink, from, heard);
    if over {
        return copy.await;
    }
    tokio::select! {
        copied = copy => copied,
        ended = wait_for_end(&http, master, &id, &end) => Err(ended),
    }
}

/// Says `end` once the task has ended; returns only when the master can't be asked any more.
async fn wait_for_end(
    http: &Http,
    master: &LeaderAddress,
    id: &str,
    end: &watch::Sender<bool>,
) -> anyhow::Error {
    let mut tick = tokio::time::interval(std::time::Duration::from_secs(1));
    let mut silent = 0;
    loop {
        tick.tick().await;
        match tasks(http, master).await {
            Ok(answer) => {
                silent = 0;
                // A task that the master has forgotten has ended long ago.
                let over =
                    list(&answer, "tasks").iter().rev().find(|task| text(task, "id") == id).is_none_or(ended);
                end.send_if_modified(|ended| !std::mem::replace(ended, over) && over);
            }
            Err(_) if silent < 60 => silent += 1,
            Err(error) => return error,
        }
    }
}

/// No call of the master ends a single task of another's framework; its agent can end the container.
async fn kill(http: &Http, master: &LeaderAddress, wanted: &str, signal: u32) -> anyhow::Result<()> {
    let answer = tasks(http, master).await?;
    let task = find(&answer, wanted)?;
    if ended(task) {
        bail!("task {} has ended: {}", text(task, "id"), text(task, "state"));
    }
    let status =
        list(task, "statuses").iter().rev().find_map(|s| s.get("container_status")?.get("container_id"));
    let container = status.map(|id| text(id, "value")).filter(|id| !id.is_empty());
    let container = container.ok_or_else(|| anyhow!("task {} has no container yet", text(task, "id")))?;
    let agent = agent_of(http, master, task).await?;
    let kill = call::KillContainer {
        container_id: ContainerId { value: container.to_owned(), parent: None },
        signal: Some(i32::try_from(signal)?),
    };
    let call = Call {
        r#type: Some(call::Type::KillContainer.into()),
        kill_container: Some(kill),
        ..Call::default()
    };
    let ask = Ask::post("/api/v1", media::PROTOBUF, media::encode_message(Media::Protobuf, &call));
    let reply = http.ask(&agent, &ask).await?;
    match reply.status {
        status if status.is_success() => {
            print::line(&format!("signal {signal} sent to task {}", text(task, "id")))?;
        }
        StatusCode::NOT_FOUND => bail!("agent {agent} has no container {container}: the task has just ended"),
        status => bail!("agent {agent} did not kill container {container}: {status} {}", reply.message()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tasks_are_found_by_the_beginning_of_their_id() {
        let answer = json!({"tasks": [{"id": "web-1"}, {"id": "web-12"}, {"id": "db"}]});
        assert_eq!(text(find(&answer, "d").unwrap(), "id"), "db");
        assert_eq!(text(find(&answer, "web-1").unwrap(), "id"), "web-1");
        assert!(find(&answer, "web").unwrap_err().to_string().contains("web-1, web-12"));
        assert!(find(&answer, "x").unwrap_err().to_string().contains("no task 'x'"));
    }

    #[test]
    fn states_that_have_ended() {
        assert!(ended(&json!({"state": "TASK_FAILED"})));
        assert!(!ended(&json!({"state": "TASK_RUNNING"})));
    }
}
