//! `tepui registry export|import`: the registry as JSON, for backups and to go from one master to several.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::{Arg, ArgMatches, Command};
use coordination::{BadUrl, EnsembleUrl};
use master::registry::{self, Kept, MAX_TEXT};
use model::flags::{Flag, Form, bad};

use crate::context::{Invocation, Outcome, Trouble, block_on, failed, usage};
use crate::flags::{Flags, Table};
use crate::logging::Level;
use crate::print;

const ZK: Flag = Flag::new("zk", Form::Text, None, "The ensemble that keeps it, as for `tepui master`.");
const WORK_DIR: Flag =
    Flag::new("work_dir", Form::Path, None, "The folder of a single master that keeps it; it must not run.");
const FORCE: Flag =
    Flag::new("force", Form::Bool, Some("false"), "Put the imported registry in the place of another one.");
const EXPORT: Table = Table { flags: &[ZK, WORK_DIR], shared: &[], ignored: &[] };
const IMPORT: Table = Table { flags: &[ZK, WORK_DIR, FORCE], shared: &[], ignored: &[] };

/// How it is called.
pub fn describe(command: Command) -> Command {
    let file =
        Arg::new("file").value_name("FILE").help("What `export` printed; standard input when left out");
    command
        .about("The master's registry, moved")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(EXPORT.onto(Command::new("export").about("Prints the registry as JSON")))
        .subcommand(IMPORT.onto(Command::new("import").about("Reads a registry as JSON").arg(file)))
}

/// Exports or imports.
pub fn run(invocation: &Invocation, matches: &ArgMatches) -> Outcome {
    let (verb, matches) = matches.subcommand().expect("clap asks for a subcommand");
    if verb == "export" {
        let flags = invocation.flags(&EXPORT, matches, Level::Command)?;
        let from = kept(&flags)?;
        let text = block_on(async { registry::export(&from).await.map_err(failed) })?;
        print::text(&text).map_err(failed)?;
        return Ok(ExitCode::SUCCESS);
    }
    let flags = invocation.flags(&IMPORT, matches, Level::Command)?;
    let into = kept(&flags)?;
    let force = flags.values.bool("force")?;
    let file = matches.try_get_one::<String>("file").ok().flatten().map(PathBuf::from);
    let text = read(file).map_err(failed)?;
    let agents = block_on(async { registry::import(&into, &text, force).await.map_err(failed) })?;
    print::text(&format!("imported a registry of {agents} agents\n")).map_err(failed)?;
    Ok(ExitCode::SUCCESS)
}

fn kept(flags: &Flags) -> Result<Kept, Trouble> {
    let work_dir = flags.values.path("work_dir").filter(|path| !path.as_os_str().is_empty());
    match (flags.values.text("zk"), work_dir) {
        (Some(zk), None) => {
            // The text may hold a password.
            let url: EnsembleUrl = zk.parse().map_err(|why: BadUrl| bad("zk", "zk://…", &why.to_string()))?;
            Ok(Kept::Ensemble(url))
        }
        (None, Some(directory)) => Ok(Kept::File(directory)),
        _ => Err(usage("give --zk=zk://host1:2181,…/path or --work_dir=FOLDER, one of both")),
    }
}

fn read(file: Option<PathBuf>) -> anyhow::Result<String> {
    let mut text = String::new();
    let (source, name): (Box<dyn std::io::Read>, String) = match file {
        None => (Box::new(std::io::stdin()), "standard input".to_owned()),
        Some(path) => {
            let opened =
                std::fs::File::open(&path).with_context(|| format!("can't open {}", path.display()))?;
            (Box::new(opened), path.display().to_string())
        }
    };
    let length = source.take(MAX_TEXT + 1).read_to_string(&mut text);
    let length = length.with_context(|| format!("can't read {name}"))?;
    if length as u64 > MAX_TEXT {
        return Err(anyhow!("{name} is longer than the {MAX_TEXT} bytes that a registry has at most"));
    }
    Ok(text)
}
