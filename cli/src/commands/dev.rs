//! `tepui dev`: a master and an agent in one process, to try everything on one machine.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use agent::Agent;
use anyhow::Context as _;
use clap::{ArgMatches, Command};
use coordination::Standalone;
use master::Master;
use model::flags::{Flag, Form, Values};

use super::service::Stop;
use crate::context::{Invocation, Outcome, Trouble, block_on, failed, provide_tls};
use crate::flags::{Flags, Table};
use crate::logging::Level;
use crate::print;

/// Longest time for tasks and agent to end after Ctrl-C.
const ENDING: Duration = Duration::from_secs(30);

const FLAGS: &[Flag] = &[
    Flag::new("work_dir", Form::Path, Some("./tepui-dev"), "Directory of all state."),
    Flag::new("port", Form::Number, Some("5050"), "The master's port."),
    Flag::new("agent_port", Form::Number, Some("5051"), "The agent's port."),
    Flag::new(
        "runtime_dir",
        Form::Path,
        None,
        "The agent's runtime directory. Default: /run/tepui/dev-<agent_port>.",
    ),
    Flag::new(
        "cgroups_root",
        Form::Text,
        None,
        "Cgroup below which all containers live. Default: tepui-dev-<agent_port>.",
    ),
    Flag::new("cluster", Form::Text, None, "Name of the cluster, for humans."),
    Flag::new("resources", Form::Text, None, "What the agent offers; what is missing is detected."),
    Flag::new("attributes", Form::Text, None, "What distinguishes the agent: name:value;..."),
    Flag::new("isolation", Form::Text, None, "As of `tepui agent`."),
    Flag::new("isolation_strict", Form::Bool, None, "As of `tepui agent`."),
    Flag::new(
        "docker_registry",
        Form::Text,
        None,
        "Registry of images whose name says none, if not Docker Hub.",
    ),
    Flag::new(
        "docker_config",
        Form::Text,
        None,
        "Registry credentials: a file in the form of Docker's config.json, or its JSON.",
    ),
    Flag::new(
        "insecure_registries",
        Form::Text,
        None,
        "Comma list of registries spoken to in plain HTTP; the loopback always is.",
    ),
    Flag::new("image_user", Form::Bool, None, "Run as the USER of the image when nobody names a user."),
];
const TABLE: Table = Table { flags: FLAGS, shared: &[], ignored: &[] };

/// How it is called.
pub fn describe(command: Command) -> Command {
    TABLE.onto(command.about("A master and an agent on this machine; Ctrl-C ends them and their tasks"))
}

/// Runs both until a signal.
pub fn run(invocation: &Invocation, matches: &ArgMatches) -> Outcome {
    let flags = invocation.flags(&TABLE, matches, Level::Service)?;
    let folders = Folders::of(&flags)?;
    let master = master::Config::from_flags(&master_values(&flags, &folders))?;
    let agent = agent::Config::from_flags(&agent_values(&flags, &folders))?;
    provide_tls();
    let cgroups_root = agent.cgroups_root.clone();
    let outcome = block_on(serve(master, agent, &folders.work));
    folders.tidy(&cgroups_root);
    outcome.map(|()| ExitCode::SUCCESS)
}

struct Folders {
    work: PathBuf,
    runtime: PathBuf,
    /// Whether we chose it and so take it away again.
    own_runtime: bool,
}

impl Folders {
    fn of(flags: &Flags) -> Result<Folders, Trouble> {
        let work = flags.values.path("work_dir").unwrap_or_else(|| "./tepui-dev".into());
        let made = std::fs::create_dir_all(&work).and_then(|()| work.canonicalize());
        let work =
            made.with_context(|| format!("--work_dir={}: can't be made", work.display())).map_err(failed)?;
        let port = flags.values.text("agent_port").unwrap_or("5051");
        let given = flags.values.path("runtime_dir");
        let own_runtime = given.is_none();
        // Sockets lie in it, whose paths may have 107 bytes: below the work folder they could get too long.
        let runtime = given.unwrap_or_else(|| format!("/run/tepui/dev-{port}").into());
        Ok(Folders { work, runtime, own_runtime })
    }

    /// Removes our cgroups and runtime folder if nothing is left in them; a container that could not be ended keeps
    /// them, and so does one whose end nobody has heard of.
    fn tidy(&self, cgroups_root: &str) {
        let removed = runtime::cgroups::Layout::host().and_then(|layout| layout.remove_root(cgroups_root));
        if let Err(error) = removed {
            tracing::warn!(error = sdk::scheduler::said(&error), "the cgroups could not be removed");
        }
        if !self.own_runtime {
            return;
        }
        // remove_dir takes empty folders only.
        for entry in std::fs::read_dir(&self.runtime).into_iter().flatten().flatten() {
            let _ = std::fs::remove_dir(entry.path());
        }
        let _ = std::fs::remove_dir(&self.runtime);
        let _ = std::fs::remove_dir("/run/tepui");
    }
}

/// Copies those of our flags that somebody gave.
fn copy(from: &Flags, names: &[&str], to: &mut Values) {
    for name in names {
        if let Some(text) = from.values.text(name) {
            to.set(name, text);
        }
    }
}

fn master_values(flags: &Flags, folders: &Folders) -> Values {
    let mut values = Values::defaults(master::flags::FLAGS);
    copy(flags, &["port", "cluster"], &mut values);
    values.set("work_dir", folders.work.join("master").to_string_lossy());
    values
}

fn agent_values(flags: &Flags, folders: &Folders) -> Values {
    let mut values = Values::defaults(agent::FLAGS);
    let same = [
        "resources",
        "attributes",
        "isolation",
        "isolation_strict",
        "docker_registry",
        "docker_config",
        "insecure_registries",
        "image_user",
    ];
    copy(flags, &same, &mut values);
    let port = flags.values.text("agent_port").unwrap_or("5051");
    let root = flags.values.text("cgroups_root").map_or_else(|| format!("tepui-dev-{port}"), str::to_owned);
    values.set("cgroups_root", root);
    values.set("port", port);
    values.set("work_dir", folders.work.join("agent").to_string_lossy());
    values.set("runtime_dir", folders.runtime.to_string_lossy());
    values.set("registration_backoff_factor", "100ms");
    values
}

async fn serve(master: master::Config, mut agent: agent::Config, work: &Path) -> Result<(), Trouble> {
    let mut stop = Stop::listen().map_err(failed)?;
    let mut master = Master::start(master).await.map_err(failed)?;
    let leader = master.advertised().clone();
    agent.master = Some(coordination::Whereabouts::At(leader.clone()));
    let mut agent = Agent::start(agent, Arc::new(Standalone::at(leader.clone()))).await.map_err(failed)?;
    print::line(&format!(
        "master http://{leader}  agent http://{}  state in {}\ntry `tepui run --master={leader} -- echo hello`; \
         Ctrl-C ends everything",
        agent.address(),
        work.display()
    ))
    .map_err(failed)?;
    tokio::select! {
        ended = master.ended() => return ended.map_err(failed),
        ended = agent.ended() => return ended.map_err(failed),
        () = stop.heard() => {}
    }
    tracing::info!("ending tasks, agent and master");
    agent.shut_down();
    let left = tokio::select! {
        ended = tokio::time::timeout(ENDING, agent.ended()) => ended,
        // A second signal: leave at once.
        () = stop.heard() => return Ok(()),
    };
    match left {
        Ok(ended) => ended.map_err(failed)?,
        Err(_) => tracing::warn!("the agent's tasks did not end within {} s", ENDING.as_secs()),
    }
    master.stop().await.map_err(failed)
}
