//! How the program was called: under which name, with which arguments, and where else flags come from.

use std::ffi::{OsStr, OsString};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::ArgMatches;

use crate::flags::{BadUsage, Flags, Places, Table, normalise};
use crate::logging::{self, Level};

/// Why a command didn't do what it was asked.
#[derive(Debug)]
pub enum Trouble {
    /// Its arguments.
    Usage(BadUsage),
    /// Anything else.
    Failed(anyhow::Error),
}

impl<E: Into<BadUsage>> From<E> for Trouble {
    fn from(bad: E) -> Trouble {
        Trouble::Usage(bad.into())
    }
}

/// What a command ends with.
pub type Outcome = Result<ExitCode, Trouble>;

/// A failure that is not about the arguments.
pub fn failed(error: impl Into<anyhow::Error>) -> Trouble {
    Trouble::Failed(error.into())
}

/// Arguments that can't be used, in words.
pub fn usage(text: impl Into<String>) -> Trouble {
    Trouble::Usage(BadUsage::Other(text.into()))
}

/// A call of the program.
#[derive(Debug)]
pub struct Invocation {
    /// Arguments with the command's name in the second place.
    pub arguments: Vec<OsString>,
    /// Folders and files that the name stands for.
    pub legacy: Option<Legacy>,
}

/// Called by a name of Mesos': reads what its packages left in /etc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Legacy {
    /// `mesos-master`.
    Master,
    /// `mesos-agent`, `mesos-slave`.
    Agent,
}

impl Invocation {
    /// Reads the program's name and arguments.
    pub fn read(arguments: Vec<OsString>) -> Invocation {
        let mut arguments = normalise(arguments);
        let name = arguments.first().map(Path::new).and_then(Path::file_name).and_then(OsStr::to_str);
        let (command, legacy) = match name.unwrap_or_default() {
            "mesos-master" => (Some("master"), Some(Legacy::Master)),
            "mesos-agent" | "mesos-slave" => (Some("agent"), Some(Legacy::Agent)),
            "master" => (Some("master"), None),
            "agent" | "slave" => (Some("agent"), None),
            "mesos-execute" => (Some("run"), None),
            _ => (None, None),
        };
        if let Some(command) = command {
            arguments[0] = "tepui".into();
            arguments.insert(1, command.into());
        }
        if arguments.is_empty() {
            arguments.push("tepui".into());
        }
        Invocation { arguments, legacy }
    }

    /// The flags of a command from all places; starts the log.
    ///
    /// # Errors
    /// Arguments, variables or files that can't be used.
    pub fn flags(&self, table: &Table, matches: &ArgMatches, level: Level) -> Result<Flags, Trouble> {
        let (folders, files) = legacy_places(self.legacy);
        let variable = |name: &str| std::env::var_os(name);
        let flags =
            table.resolve(matches, &Places { variable: &variable, folders: &folders, files: &files })?;
        logging::start(flags.values.text("log_format").unwrap_or("text"), level).map_err(usage)?;
        flags.log();
        Ok(flags)
    }
}

fn legacy_places(legacy: Option<Legacy>) -> (Vec<PathBuf>, Vec<(PathBuf, &'static str)>) {
    let zk = PathBuf::from("/etc/mesos/zk");
    match legacy {
        None => (Vec::new(), Vec::new()),
        Some(Legacy::Master) => (vec!["/etc/mesos-master".into()], vec![(zk, "zk")]),
        Some(Legacy::Agent) => {
            (vec!["/etc/mesos-agent".into(), "/etc/mesos-slave".into()], vec![(zk, "master")])
        }
    }
}

/// Runs a command's future to its end on a runtime of its own.
///
/// # Errors
/// As the future; or the runtime can't be started.
pub fn block_on<T>(work: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    let nice = rustix::process::getpriority_process(None).unwrap_or(0);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Threads have the priority of the one that starts them, and a master's loop is ahead of all others.
        .on_thread_start(move || {
            // Only a thread that a nicer one started changes; where that is not allowed, little is lost.
            let _ = rustix::process::setpriority_process(None, nice);
        })
        .build();
    let runtime = runtime.context("cannot start worker threads").map_err(failed)?;
    let outcome = runtime.block_on(work);
    // A blocking read of a dead file system must not keep the process alive.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    outcome
}

/// Chooses the TLS implementation that registries are spoken to with.
pub fn provide_tls() {
    // An error only says that it was chosen before.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_mesos_act_as_commands() {
        let read = |words: &[&str]| {
            let call = Invocation::read(words.iter().map(OsString::from).collect());
            let words: Vec<_> =
                call.arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect();
            format!("{} {:?}", words.join(" "), call.legacy)
        };
        assert_eq!(
            read(&["/usr/sbin/mesos-master", "--work-dir=/w"]),
            "tepui master --work_dir=/w Some(Master)"
        );
        assert_eq!(read(&["mesos-slave"]), "tepui agent Some(Agent)");
        assert_eq!(read(&["mesos-agent"]), "tepui agent Some(Agent)");
        assert_eq!(read(&["./slave", "--port=1"]), "tepui agent --port=1 None");
        assert_eq!(read(&["mesos-execute", "--name=x"]), "tepui run --name=x None");
        assert_eq!(read(&["tepui", "agents", "list"]), "tepui agents list None");
        assert_eq!(read(&[]), "tepui None");
    }
}
