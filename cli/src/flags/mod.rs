//! Where the values of flags come from: command line, then environment, then configuration folder, then default.
//!
//! The tables say what flags there are; this reads them from all four places and tells the commands what was read.
//! Names are Mesos', with underscores; `--work-dir` is the same as `--work_dir`.

mod folder;
mod spelling;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use model::flags::{Flag, Form, Values};

pub use spelling::normalise;

/// A folder of flags, and whether it has to be there.
const CONFIG_DIR: Flag = Flag::new(
    "config_dir",
    Form::Path,
    None,
    "Folder with one file a flag: the file's name is the flag's, its content the value; an empty file '?name' or \
     '?no-name' sets a boolean.",
);
const LOG_FORMAT: Flag = Flag::new(
    "log_format",
    Form::Text,
    Some("text"),
    "How logs are written to standard error: text or json.",
);

/// Flags that every command has.
const COMMON: [Flag; 2] = [CONFIG_DIR, LOG_FORMAT];

/// What flags a command takes, and where else than the command line they come from.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Its flags.
    pub flags: &'static [Flag],
    /// Flags that it has in common with others.
    pub shared: &'static [&'static [Flag]],
    /// Lists of flags of Mesos' that are accepted and do nothing.
    pub ignored: &'static [&'static [&'static str]],
}

/// What stops a command before it starts: arguments that can't be used. Displays as the whole message.
#[derive(Debug, thiserror::Error)]
pub enum BadUsage {
    /// The command line.
    #[error(transparent)]
    CommandLine(#[from] clap::Error),
    /// A file named by a flag's value.
    #[error("--{flag}={value}: can't be read")]
    ValueFile {
        /// The flag.
        flag: String,
        /// What names the file.
        value: String,
        /// Why.
        source: std::io::Error,
    },
    /// A configuration folder.
    #[error(transparent)]
    Folder(#[from] folder::FolderError),
    /// A variable that is no text.
    #[error("the environment variable {0} is not valid UTF-8")]
    NotText(String),
    /// A value that a command can't use.
    #[error(transparent)]
    Value(#[from] model::flags::BadFlag),
    /// Anything else about the arguments.
    #[error("{0}")]
    Other(String),
}

/// What the flags came to.
#[derive(Debug, Default)]
pub struct Flags {
    /// Their texts, defaults included.
    pub values: Values,
    /// What to tell the user once the log is there.
    pub notes: Vec<Note>,
}

/// Something about the flags that belongs into the log.
#[derive(Debug, PartialEq, Eq)]
pub enum Note {
    /// Files of a configuration folder that were read.
    Read(Vec<PathBuf>),
    /// Something was left out.
    Ignored(String),
}

impl Flags {
    /// Writes the notes into the log.
    pub fn log(&self) {
        for note in &self.notes {
            match note {
                Note::Read(files) => {
                    let files: Vec<_> = files.iter().map(|f| f.display().to_string()).collect();
                    tracing::info!(files = %files.join(", "), "read flags from files");
                }
                Note::Ignored(why) => tracing::warn!("{why}"),
            }
        }
    }
}

impl Table {
    /// All rows, those of every command included.
    fn rows(&self) -> impl Iterator<Item = &Flag> + '_ {
        COMMON
            .iter()
            .filter(|common| self.flags.iter().all(|flag| flag.name != common.name))
            .chain(self.flags)
            .chain(self.shared.iter().copied().flatten())
    }

    /// The row of a name or an older name.
    fn row(&self, name: &str) -> Option<&Flag> {
        self.rows().find(|flag| flag.name == name || flag.aliases.contains(&name))
    }

    /// Flags that do nothing, each once and none that has a row.
    fn ignored(&self) -> BTreeSet<&'static str> {
        self.ignored
            .iter()
            .flat_map(|list| list.iter().copied())
            .filter(|name| self.row(name).is_none())
            .collect()
    }

    /// Every name there is, for suggestions.
    fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.rows().flat_map(names)
    }

    /// Adds the table's flags to a command.
    pub fn onto(&self, mut command: Command) -> Command {
        for flag in self.rows() {
            command = command.arg(arg(flag)).args(flag.aliases.iter().map(|older| older_arg(flag, older)));
            if flag.form == Form::Bool {
                command = command.arg(negation(flag.name));
            }
        }
        for name in self.ignored() {
            command = command.arg(ignored_arg(name)).arg(negation(name));
        }
        command
    }

    /// Reads all places in order.
    ///
    /// # Errors
    /// A name or value that can't be used, or a file that can't be read.
    pub fn resolve(&self, matches: &ArgMatches, places: &Places<'_>) -> Result<Flags, BadUsage> {
        let mut found = Found::default();
        self.command_line(matches, &mut found);
        self.environment(places, &mut found)?;
        let mut notes = Vec::new();
        for (folder, wanted) in self.folders(&found, places) {
            let entries = folder::read(&folder, wanted)?;
            self.folder(&entries, &mut found)?;
            notes.push(Note::Read(entries.iter().map(|entry| entry.path.clone()).collect()));
            notes.extend(folder::strangers(&folder).into_iter().map(Note::Ignored));
        }
        self.others(places, &mut found, &mut notes);
        notes.retain(|note| *note != Note::Read(Vec::new()));
        let mut flags = Flags { notes, ..self.values(found.values)? };
        flags.notes.extend(found.ignored.iter().map(|name| {
            Note::Ignored(format!("--{name} is a flag of Mesos' that has no meaning here; it is ignored"))
        }));
        Ok(flags)
    }

    fn command_line(&self, matches: &ArgMatches, found: &mut Found) {
        let given = |name: &str| matches.value_source(name) == Some(ValueSource::CommandLine);
        for flag in self.rows() {
            for name in names(flag).filter(|name| given(name)) {
                if let Some(value) = matches.get_one::<String>(name) {
                    found.value(flag.name, name, value);
                }
            }
        }
        for flag in self.rows().filter(|flag| flag.form == Form::Bool) {
            if given(&negated(flag.name)) {
                found.value(flag.name, flag.name, "false");
            }
        }
        found.ignored.extend(
            self.ignored().into_iter().filter(|name| given(name) || given(&negated(name))).map(str::to_owned),
        );
    }

    fn environment(&self, places: &Places<'_>, found: &mut Found) -> Result<(), BadUsage> {
        // Mesos: of TLS there are only variables, LIBPROCESS_SSL_…
        for (prefix, of) in [("TEPUI_", ""), ("MESOS_", ""), (security::tls::flags::PREFIX, "ssl_")] {
            let read = |name: &str| {
                if !name.starts_with(of) {
                    return None;
                }
                let variable = format!("{prefix}{}", name.to_uppercase());
                let value = (places.variable)(&variable)?;
                Some(value.into_string().map_err(|_| BadUsage::NotText(variable)))
            };
            for flag in self.rows() {
                for name in names(flag) {
                    if let Some(value) = read(name) {
                        found.value(flag.name, name, &value?);
                    }
                }
            }
            found
                .ignored
                .extend(self.ignored().into_iter().filter(|name| read(name).is_some()).map(str::to_owned));
        }
        Ok(())
    }

    /// The folder asked for, or else the usual ones; with whether it must exist.
    fn folders(&self, found: &Found, places: &Places<'_>) -> Vec<(PathBuf, bool)> {
        match found.values.get(CONFIG_DIR.name) {
            Some((_, folder)) => {
                vec![(PathBuf::from(folder.strip_prefix("file://").unwrap_or(folder)), true)]
            }
            None => places.folders.iter().map(|folder| (folder.clone(), false)).collect(),
        }
    }

    fn folder(&self, entries: &[folder::Entry], found: &mut Found) -> Result<(), BadUsage> {
        for entry in entries {
            let name = spelling::underscored(&entry.name);
            if let Some(flag) = self.row(&name) {
                found.value(flag.name, &name, &entry.value);
            } else if self.ignored().contains(name.as_str()) {
                found.ignored.insert(name);
            } else {
                return Err(self.unknown(&name, &entry.path));
            }
        }
        Ok(())
    }

    fn unknown(&self, name: &str, path: &Path) -> BadUsage {
        let near = spelling::nearest(name, self.names());
        let near = near.map_or_else(String::new, |near| format!("; did you mean '{near}'?"));
        BadUsage::Other(format!("{}: there is no flag '{name}'{near}", path.display()))
    }

    /// Files outside the folder that the packages of Mesos used, such as `/etc/mesos/zk`.
    fn others(&self, places: &Places<'_>, found: &mut Found, notes: &mut Vec<Note>) {
        for (path, name) in places.files {
            if self.row(name).is_some()
                && let Ok(content) = std::fs::read_to_string(path)
            {
                found.value(name, name, content.trim());
                notes.push(Note::Read(vec![path.clone()]));
            }
        }
    }

    fn values(&self, found: BTreeMap<String, (String, String)>) -> Result<Flags, BadUsage> {
        let rows: Vec<Flag> = self.rows().copied().collect();
        let mut flags = Flags { values: Values::defaults(&rows), ..Flags::default() };
        for flag in rows {
            match found.get(flag.name) {
                Some((name, text)) if name == flag.name => {
                    flags.values.set(flag.name, content(&flag, text)?);
                }
                Some((older, text)) => flags.values.set_under(flag.name, older, content(&flag, text)?),
                None => {}
            }
        }
        Ok(flags)
    }
}

/// Where flags come from besides the command line.
pub struct Places<'a> {
    /// The environment.
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// Folders that are read when they exist and no other is named.
    pub folders: &'a [PathBuf],
    /// Single files that hold the value of a flag.
    pub files: &'a [(PathBuf, &'static str)],
}

/// What was found so far; the first finder of a name wins.
#[derive(Default)]
struct Found {
    /// Each flag's name as it was given, which may be an older one, and its text.
    values: BTreeMap<String, (String, String)>,
    ignored: BTreeSet<String>,
}

impl Found {
    fn value(&mut self, flag: &str, name: &str, value: &str) {
        self.values.entry(flag.to_owned()).or_insert_with(|| (name.to_owned(), value.to_owned()));
    }
}

/// The names of a flag, its own first.
fn names(flag: &Flag) -> impl Iterator<Item = &'static str> + use<> {
    std::iter::once(flag.name).chain(flag.aliases.iter().copied())
}

/// Mesos: `file:///path` stands for the content of the file; where a path is asked for it is the path itself. Where JSON
/// is, the path alone stands for the content as well.
fn content(flag: &Flag, text: &str) -> Result<String, BadUsage> {
    let path = match text.strip_prefix("file://") {
        Some(path) if flag.form == Form::Path => return Ok(path.to_owned()),
        Some(path) => path,
        None if flag.form == Form::Json && text.starts_with('/') => text,
        None => return Ok(text.to_owned()),
    };
    let read = std::fs::read_to_string(path).map_err(|source| BadUsage::ValueFile {
        flag: flag.name.to_owned(),
        value: text.to_owned(),
        source,
    });
    Ok(read?.trim().to_owned())
}

fn negated(name: &str) -> String {
    format!("no_{name}")
}

fn arg(flag: &Flag) -> Arg {
    let mut help = flag.help.to_owned();
    if let Some(default) = flag.default.filter(|default| !default.is_empty()) {
        help.push_str(&format!(" [default: {default}]"));
    }
    if !flag.aliases.is_empty() {
        help.push_str(&format!(" [aliases: --{}]", flag.aliases.join(", --")));
    }
    let arg = Arg::new(flag.name).long(flag.name).help(help).value_name(match flag.form {
        Form::Text => "TEXT",
        Form::Bool => "true|false",
        Form::Number => "NUMBER",
        Form::Duration => "DURATION",
        Form::Path => "PATH",
        Form::Json => "JSON|PATH",
    });
    with_value(arg, flag)
}

/// An older name, which is an argument of its own: by which name a flag was given is shown. Mesos: not by both.
fn older_arg(flag: &Flag, older: &'static str) -> Arg {
    let others = names(flag).filter(|name| *name != older).map(str::to_owned);
    let arg = with_value(Arg::new(older).long(older).hide(true).conflicts_with_all(others), flag);
    if flag.form == Form::Bool { arg.conflicts_with(negated(flag.name)) } else { arg }
}

fn with_value(arg: Arg, flag: &Flag) -> Arg {
    let arg = arg.action(ArgAction::Set);
    match flag.form {
        Form::Bool => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
        _ => arg.num_args(1),
    }
}

/// `--no-name`, which sets a boolean to false.
fn negation(name: &str) -> Arg {
    Arg::new(negated(name))
        .long(negated(name))
        .action(ArgAction::SetTrue)
        .hide(true)
        .conflicts_with(name.to_owned())
}

fn ignored_arg(name: &'static str) -> Arg {
    Arg::new(name).long(name).hide(true).num_args(0..=1).default_missing_value("")
}

#[cfg(test)]
mod tests;
