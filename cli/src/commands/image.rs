//! `tepui image pull|list|remove`: the agent's image store, without an agent.

mod progress;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::{Arg, ArgMatches, Command};
use images::{
    DockerConfig, Image, ImageName, ImageStore, ImageSummary, NoProgress, Progress, PullOptions, StoreConfig,
};
use model::flags::{Flag, Form, bad};
use serde_json::json;

use crate::api;
use crate::context::{Invocation, Outcome, Trouble, block_on, failed, provide_tls};
use crate::flags::{Flags, Table};
use crate::logging::Level;
use crate::print::{self, TextTable};
use progress::{Bars, Lines};

const FLAGS: &[Flag] = &[
    Flag::new(
        "store",
        Form::Path,
        None,
        "Directory of the image layers: the agent's --docker_store_dir. Default: images in --work_dir.",
    )
    .aliases(&["docker_store_dir"]),
    Flag::new(
        "work_dir",
        Form::Path,
        None,
        "The agent's work directory. Default: that of `tepui dev` if it is here, else /var/lib/tepui.",
    ),
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
        "Registry credentials: a file in the form of Docker's config.json, or its JSON. Default: ~/.docker/config.json.",
    ),
    Flag::new(
        "insecure_registries",
        Form::Text,
        None,
        "Comma list of registries spoken to in plain HTTP; the loopback always is.",
    ),
    Flag::new("force", Form::Bool, Some("false"), "Ask the registry even for an image that is there."),
    api::JSON,
];
const TABLE: Table = Table { flags: FLAGS, ignored: &[] };

/// How it is called.
pub fn describe(command: Command) -> Command {
    let name = || {
        Arg::new("image")
            .required(true)
            .value_name("IMAGE")
            .help("alpine, host:port/name:tag, name@sha256:…, oci:/dir:tag")
    };
    let pull = TABLE.onto(Command::new("pull").about("Pulls an image into the store")).arg(name());
    let list = TABLE.onto(Command::new("list").about("Lists the images in the store"));
    let remove =
        TABLE.onto(Command::new("remove").about("Removes an image that no container uses")).arg(name());
    command
        .about("Images on this machine")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([pull, list, remove])
}

/// Pulls, lists or removes.
pub fn run(invocation: &Invocation, matches: &ArgMatches) -> Outcome {
    let (verb, matches) = matches.subcommand().expect("clap asks for a subcommand");
    let flags = invocation.flags(&TABLE, matches, Level::Command)?;
    let image = matches.try_get_one::<String>("image").ok().flatten().map_or("", String::as_str);
    provide_tls();
    let config = store_config(&flags)?;
    let (force, as_json) = (flags.values.bool("force")?, flags.values.bool("json")?);
    block_on(async {
        let store = ImageStore::open(config).await.map_err(failed)?;
        match verb {
            "pull" => pull(&store, &parse(&store, image)?, force, as_json).await,
            "list" => list(&store, as_json),
            _ => remove(&store, &parse(&store, image)?).await,
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

fn parse(store: &ImageStore, text: &str) -> Result<ImageName, Trouble> {
    store.name(text).map_err(|error| crate::context::usage(error.to_string()))
}

async fn pull(store: &ImageStore, name: &ImageName, force: bool, as_json: bool) -> Result<(), Trouble> {
    let progress: Arc<dyn Progress> = match (as_json, std::io::IsTerminal::is_terminal(&std::io::stderr())) {
        (true, _) => Arc::new(NoProgress),
        (false, true) => Arc::new(Bars::default()),
        (false, false) => Arc::new(Lines::default()),
    };
    let image = store.pull(name, PullOptions { force }, progress).await.map_err(failed)?;
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

fn list(store: &ImageStore, as_json: bool) -> Result<(), Trouble> {
    let images = store.list().map_err(failed)?;
    if as_json {
        let rows: Vec<_> = images
            .iter()
            .map(|image| {
                json!({
                    "name": image.name,
                    "digest": image.manifest_digest.to_string(),
                    "layers": image.layers,
                    "size": image.size,
                    "pulled_at": seconds(image.pulled_at),
                })
            })
            .collect();
        return print::json(&rows.into()).map_err(failed);
    }
    let mut table = TextTable::new(&["NAME", "DIGEST", "LAYERS", "SIZE", "PULLED"]);
    for image in &images {
        table.row(row(image));
    }
    table.print().map_err(failed)
}

fn row(image: &ImageSummary) -> [String; 5] {
    let digest: String = image.manifest_digest.to_string().chars().take(19).collect();
    let age = SystemTime::now().duration_since(image.pulled_at).unwrap_or_default().as_secs();
    let pulled = match age {
        0..120 => format!("{age} s ago"),
        120..7200 => format!("{} min ago", age / 60),
        7200..172_800 => format!("{} h ago", age / 3600),
        _ => format!("{} days ago", age / 86400),
    };
    [image.name.clone(), digest, image.layers.to_string(), print::bytes(image.size), pulled]
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

async fn remove(store: &ImageStore, name: &ImageName) -> Result<(), Trouble> {
    let removed = store.remove(name).await.map_err(failed)?;
    writeln!(std::io::stdout(), "removed {name}: {} layers, {}", removed.layers, print::bytes(removed.bytes))
        .map_err(failed)
}

fn store_config(flags: &Flags) -> Result<StoreConfig, Trouble> {
    let values = &flags.values;
    let mut config =
        StoreConfig::at(values.path("store").unwrap_or_else(|| default_store(values.path("work_dir"))));
    if let Some(registry) = values.text("docker_registry") {
        config.default_registry = registry.trim_start_matches("https://").to_owned();
    }
    let insecure = values.text("insecure_registries").unwrap_or_default().split(',').map(str::trim);
    config.insecure_registries = insecure.filter(|name| !name.is_empty()).map(str::to_owned).collect();
    config.docker_config = credentials(values.text("docker_config"))?;
    Ok(config)
}

/// Where an agent with that work folder keeps images.
fn default_store(work_dir: Option<PathBuf>) -> PathBuf {
    let dev = Path::new("tepui-dev/agent");
    let usual = || if dev.is_dir() { dev.to_owned() } else { PathBuf::from("/var/lib/tepui") };
    work_dir.unwrap_or_else(usual).join("images")
}

fn credentials(text: Option<&str>) -> Result<Option<DockerConfig>, Trouble> {
    let refused = |text: &str, error: images::DockerConfigError| {
        Trouble::from(bad("docker_config", text, &error.to_string()))
    };
    match text {
        Some(json) if json.trim_start().starts_with('{') => {
            // The text may hold passwords: the message doesn't repeat it.
            DockerConfig::parse(json).map(Some).map_err(|error| refused("{…}", error))
        }
        Some(path) => DockerConfig::load(Path::new(path)).map(Some).map_err(|error| refused(path, error)),
        None => {
            let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".docker/config.json"));
            let Some(path) = home.filter(|path| path.exists()) else { return Ok(None) };
            let read =
                DockerConfig::load(&path).with_context(|| format!("credentials in {}", path.display()));
            read.map(Some).map_err(failed)
        }
    }
}
