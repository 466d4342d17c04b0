//! An agent: it registers with the leading master, runs the tasks it is told to in containers, and tells how they do.
//!
//! [`logic`] decides and does no I/O; [`service`] carries out what it decides; `api` shows it over HTTP.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//!
//! let mut flags = model::flags::Values::defaults(agent::FLAGS);
//! flags.set("work_dir", "/var/lib/tepui");
//! let config = agent::Config::from_flags(&flags)?;
//! let detector = Arc::new(coordination::Standalone::at("127.0.0.1:5050".parse()?));
//! let running = agent::Agent::start(config, detector).await?;
//! println!("listening on {}", running.address());
//! running.stop().await?;
//! # Ok(()) }
//! ```

#![forbid(unsafe_code)]

mod api;
mod config;
mod containerizer;
mod flags;
mod isolation;
pub mod logic;
mod names;
mod resources;
mod rotation;
pub mod service;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use coordination::LeaderDetector;
use model::AgentId;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use wire::v1;

pub use config::{Config, DiskQuota, Given, ImageCollection, Images, Logger, Recover};
pub use containerizer::{ContainerTally, Containerizer, Pending, Reports};
pub use flags::{FLAGS, IGNORED};
pub use rotation::{RotateBy, Rotation};

/// Version of this program, as the master is told.
pub use serving::version::VERSION;

/// Why an agent could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The address can't be listened on.
    #[error("can't listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// TLS was asked for and can't be had.
    #[error(transparent)]
    Tls(#[from] security::TlsError),
    /// Files of authentication can't be used.
    #[error(transparent)]
    Gate(#[from] security::GateError),
    /// A folder can't be used.
    #[error("can't {operation} {path}")]
    Folder {
        /// What was tried.
        operation: &'static str,
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another agent uses the work folder.
    #[error("{0} is in use by another agent; give each agent a --work_dir of its own")]
    InUse(PathBuf),
    /// The host can't run containers.
    #[error("this host can't run containers")]
    Host(#[from] runtime::ProbeError),
    /// The host lacks something that `--isolation` names, and `--isolation_strict` was given.
    #[error("this host lacks what --isolation asks for: {0}")]
    Isolation(String),
    /// The host can't give a limit that every container is to have.
    #[error("--{flag}={value} can't be had on this host: {why}; {remedy}, or leave the flag out")]
    Limit {
        /// The flag.
        flag: &'static str,
        /// Its value.
        value: String,
        /// What the kernel said.
        why: String,
        /// What helps.
        remedy: &'static str,
    },
    /// The runtime folder or the keeper's program can't be used.
    #[error("can't prepare the container runtime")]
    Runtime(#[source] runtime::LaunchError),
    /// The image store can't be opened.
    #[error("can't open the image store {path}")]
    Images {
        /// Its folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: images::StoreError,
    },
    /// The registry credentials can't be read.
    #[error("--docker_config can't be used")]
    Credentials(#[source] images::DockerConfigError),
    /// What an earlier life wrote can't be read.
    #[error("can't recover from the work folder")]
    Recovery(#[source] service::CheckpointError),
    /// The containers of an earlier life can't be listed.
    #[error("can't find the containers of before: {0}")]
    Containers(String),
    /// A variable of the environment can't be used.
    #[error("{0}")]
    Environment(String),
    /// It ended because it had to.
    #[error("{0}")]
    Ended(String),
}

/// Starts agents.
#[derive(Debug)]
pub struct Agent;

impl Agent {
    /// Recovers what an earlier life left, listens, and looks for the master through `detector`.
    ///
    /// # Errors
    /// Something on this host is not as it must be; the message says what.
    pub async fn start(config: Config, detector: Arc<dyn LeaderDetector>) -> Result<Running, AgentError> {
        Box::pin(service::start(config, detector)).await
    }
}

/// An agent that has started. Dropping it ends it at once; [`Running::stop`] ends it cleanly.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    agent_id: watch::Receiver<Option<AgentId>>,
    registered: watch::Receiver<bool>,
    shut_down: mpsc::Sender<()>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), AgentError>>,
}

impl Running {
    /// The address that is bound, with its real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The agent's id, none until the master has given one.
    pub fn agent_id(&self) -> watch::Receiver<Option<AgentId>> {
        self.agent_id.clone()
    }

    /// Whether it is registered with a master right now.
    pub fn registered(&self) -> watch::Receiver<bool> {
        self.registered.clone()
    }

    /// Ends all tasks, unregisters and ends for good; see [`Running::ended`]. Mesos: SIGUSR1.
    pub fn shut_down(&self) {
        // It is full or gone when that was asked for already.
        let _ = self.shut_down.try_send(());
    }

    /// Waits for its end, which comes by itself after [`Running::shut_down`], by the master's order, or on a failure.
    ///
    /// # Errors
    /// What failed.
    pub async fn ended(&mut self) -> Result<(), AgentError> {
        match (&mut self.task).await {
            Ok(outcome) => outcome,
            Err(error) => Err(AgentError::Ended(format!("the agent's loop ended: {error}"))),
        }
    }

    /// Ends it. Tasks of frameworks with checkpointing run on, and a restart finds them; others are ended.
    ///
    /// # Errors
    /// What failed before.
    pub async fn stop(mut self) -> Result<(), AgentError> {
        if let Some(stop) = self.stop.take() {
            // It is gone when the agent has ended by itself, and then `ended` tells why.
            let _ = stop.send(());
        }
        self.ended().await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An error and its sources in one line, each said once.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let part = error.to_string();
        if !text.ends_with(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        source = error.source();
    }
    text
}

/// Mesos: how the executor of a command task is called.
pub(crate) fn executor_name(task: &v1::TaskInfo) -> String {
    let command = task.command.as_ref();
    let said = match command {
        Some(command) if command.shell() => format!("sh -c '{}'", command.value()),
        Some(command) => {
            let words: Vec<&str> = command
                .value
                .as_deref()
                .into_iter()
                .chain(command.arguments.iter().map(String::as_str))
                .collect();
            words.join(" ")
        }
        None => String::new(),
    };
    let cut = said.chars().take(64).collect::<String>();
    let dots = if cut.len() < said.len() { "..." } else { "" };
    format!("Command Executor (Task: {}) (Command: {cut}{dots})", task.task_id.value)
}
