//! `tepui image pull|list|inspect|history|remove|pin|unpin|prune|verify`: the agent's image store, without an agent.

mod place;
mod progress;
mod prune;
mod show;
mod verify;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Arg, ArgMatches, Command};
use images::{Image, ImageName, ImageStore, NoProgress, Progress, PullOptions};
use model::flags::{Flag, Form};
use serde_json::json;

use crate::api;
use crate::context::{Invocation, Outcome, Trouble, block_on, failed, provide_tls};
use crate::flags::{Flags, Table};
use crate::logging::Level;
use crate::print;
use place::{CREDENTIALS, INSECURE, MIRRORS, REGISTRY, STORE, TOKEN_SERVICES, WORK_DIR};
use progress::{Bars, Lines};

const PULL: Table = Table {
    flags: &[
        STORE,
        WORK_DIR,
        REGISTRY,
        CREDENTIALS,
        INSECURE,
        MIRRORS,
        TOKEN_SERVICES,
        Flag::new("force", Form::Bool, Some("false"), "Ask the registry even for an image that is there."),
        api::JSON,
    ],
    shared: &[],
    ignored: &[],
};
/// Commands that show something.
const SHOW: Table = Table { flags: &[STORE, WORK_DIR, REGISTRY, api::JSON], shared: &[], ignored: &[] };
const CHANGE: Table = Table { flags: &[STORE, WORK_DIR, REGISTRY], shared: &[], ignored: &[] };

/// How it is called.
pub fn describe(command: Command) -> Command {
    let name = || {
        Arg::new("image").required(true).value_name("IMAGE").help(
            "alpine, host:port/name:tag, name@sha256:…, oci:/dir:tag, docker-archive:/file.tar:name:tag",
        )
    };
    let verb =
        |table: &Table, name: &'static str, about: &'static str| table.onto(Command::new(name).about(about));
    command
        .about("Images on this machine")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([
            verb(&PULL, "pull", "Pulls an image into the store").arg(name()),
            verb(&SHOW, "list", "Lists the images in the store"),
            verb(&SHOW, "inspect", "Shows what is known of an image in the store").arg(name()),
            verb(&SHOW, "history", "Shows how an image was made").arg(name()),
            verb(&CHANGE, "remove", "Removes an image that no container uses").arg(name()),
            verb(&CHANGE, "pin", "Keeps an image from being pruned").arg(name()),
            verb(&CHANGE, "unpin", "Lets an image be pruned again").arg(name()),
            verb(&prune::TABLE, "prune", "Removes layers that no image needs, and images that nothing uses"),
            verb(&verify::TABLE, "verify", "Looks for damage in everything in the store"),
        ])
}

fn table(verb: &str) -> &'static Table {
    match verb {
        "pull" => &PULL,
        "prune" => &prune::TABLE,
        "verify" => &verify::TABLE,
        "remove" | "pin" | "unpin" => &CHANGE,
        _ => &SHOW,
    }
}

/// Does what the verb says.
pub fn run(invocation: &Invocation, matches: &ArgMatches) -> Outcome {
    let (verb, matches) = matches.subcommand().expect("clap asks for a subcommand");
    let flags = invocation.flags(table(verb), matches, Level::Command)?;
    let image = matches.try_get_one::<String>("image").ok().flatten().map_or("", String::as_str);
    provide_tls();
    let config = place::store_config(&flags)?;
    if verb != "pull" {
        place::check_store(&flags, &config.root)?;
    }
    let as_json = flags.values.bool("json")?;
    block_on(async {
        let store = ImageStore::open(config).await.map_err(failed)?;
        let name = || store.name(image).map_err(|error| crate::context::usage(error.to_string()));
        match verb {
            "pull" => pull(&store, &name()?, &flags).await?,
            "list" => show::list(&store, as_json)?,
            "inspect" => show::inspect(&store, &name()?, as_json)?,
            "history" => show::history(&store, &name()?, as_json)?,
            "pin" | "unpin" => store.pin(&name()?, verb == "pin").map_err(failed)?,
            "prune" => prune::run(&store, &flags).await?,
            "verify" => return verify::run(&store, &flags).await,
            _ => remove(&store, &name()?).await?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn pull(store: &ImageStore, name: &ImageName, flags: &Flags) -> Result<(), Trouble> {
    let as_json = flags.values.bool("json")?;
    let progress: Arc<dyn Progress> = match (as_json, std::io::IsTerminal::is_terminal(&std::io::stderr())) {
        (true, _) => Arc::new(NoProgress),
        (false, true) => Arc::new(Bars::default()),
        (false, false) => Arc::new(Lines::default()),
    };
    let options = PullOptions { force: flags.values.bool("force")?, ..PullOptions::default() };
    let image = store.pull(name, options, progress).await.map_err(failed)?;
    store.seal().await.map_err(failed)?;
    let said = if as_json {
        print::json(&description(&image))
    } else {
        print::line(&image.manifest_digest.to_string())
    };
    said.map_err(failed)
}

fn description(image: &Image) -> serde_json::Value {
    let layers = image.layers.iter().map(|layer| {
        json!({"digest": layer.digest.to_string(), "diff_id": layer.diff_id.to_string(), "size": layer.size})
    });
    json!({
        "name": image.name.to_string(),
        "digest": image.manifest_digest.to_string(),
        "layers": layers.collect::<Vec<_>>(),
    })
}

async fn remove(store: &ImageStore, name: &ImageName) -> Result<(), Trouble> {
    let removed = store.remove(name).await.map_err(failed)?;
    writeln!(std::io::stdout(), "removed {name}: {} layers, {}", removed.layers, print::bytes(removed.bytes))
        .map_err(failed)
}
