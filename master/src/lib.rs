//! The master: decides who gets what, and speaks Mesos' HTTP API and the agents' link on one port.
//!
//! `logic` is the brain and does no I/O; `service` carries it out; `api` is the HTTP side of it.

#![forbid(unsafe_code)]

mod about;
mod allocator;
mod api;
pub mod config;
pub mod flags;
#[doc(hidden)]
pub mod fuzzing;
pub mod logic;
mod metrics;
pub mod registry;
mod service;
mod view;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use coordination::{LeaderAddress, LeaderContender, LeaderDetector, Standalone};
use model::MasterId;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

pub use config::Config;
pub use flags::FLAGS;
pub use service::registry_store::StoreError;
pub use serving::version::VERSION;

/// Why a master can't start, or can't go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MasterError {
    /// The address is taken or not of this machine.
    #[error(
        "can't listen on {address}; choose another --ip or --port, or stop the program that listens there"
    )]
    Listen {
        /// What was tried.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// TLS was asked for and can't be had.
    #[error(transparent)]
    Tls(#[from] security::TlsError),
    /// Files of authentication can't be used.
    #[error(transparent)]
    Gate(#[from] security::GateError),
    /// The registry can't be opened, read or written.
    #[error(transparent)]
    Registry(#[from] StoreError),
    /// It did not answer in time.
    #[error("{what} took longer than {limit:?}; look at the disk of --work_dir, or raise --{flag}")]
    Slow {
        /// What was waited for.
        what: &'static str,
        /// How long.
        limit: Duration,
        /// The flag that sets the limit.
        flag: &'static str,
    },
    /// Another master leads now, or the registry failed while this one led.
    #[error("this master stopped leading: {0}; start it again")]
    SteppedDown(String),
    /// The operating system gave no random bytes.
    #[error("can't get random bytes from the operating system: {0}")]
    Random(String),
    /// A variable of the environment can't be used.
    #[error("{0}")]
    Environment(String),
    /// The operating system gave no thread.
    #[error("can't start a thread: {0}; raise the limit of processes (ulimit -u, TasksMax of the unit)")]
    Thread(std::io::Error),
    /// A part of the master ended when it should not have.
    #[error("the master's {0} ended unexpectedly")]
    Ended(&'static str),
}

/// Both sides of coordination: who leads, and the contest for it.
pub trait Coordination: LeaderContender + LeaderDetector {}

impl<T: LeaderContender + LeaderDetector> Coordination for T {}

/// The master as a service.
#[derive(Debug)]
pub struct Master;

impl Master {
    /// Starts a master that is alone in its cluster. When this returns, the address is bound and answers.
    ///
    /// # Errors
    /// The address or the registry can't be used.
    pub async fn start(config: Config) -> Result<Running, MasterError> {
        Master::start_with(config, Arc::new(Standalone::new())).await
    }

    /// As [`Master::start`], contending with others for leadership.
    ///
    /// # Errors
    /// The address or the registry can't be used.
    pub async fn start_with(
        config: Config,
        coordination: Arc<dyn Coordination>,
    ) -> Result<Running, MasterError> {
        service::start(config, coordination).await
    }
}

/// A master that has started. Dropping it ends it at once; [`Running::stop`] ends it cleanly.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    advertised: LeaderAddress,
    id: MasterId,
    stop: Option<oneshot::Sender<()>>,
    leading: watch::Receiver<bool>,
    vitals: Arc<service::Vitals>,
    task: JoinHandle<Result<(), MasterError>>,
}

impl Running {
    /// The address that is bound, with its real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address told to agents and schedulers.
    pub fn advertised(&self) -> &LeaderAddress {
        &self.advertised
    }

    /// The id of this start.
    pub fn id(&self) -> &MasterId {
        &self.id
    }

    /// Waits until it leads and has read its registry; false when it ended before.
    pub async fn leads(&self) -> bool {
        self.leading.clone().wait_for(|leading| *leading).await.is_ok()
    }

    /// The longest time for which one turn of the loop has held up all others.
    pub fn longest_hold_up(&self) -> Duration {
        self.vitals.longest_turn()
    }

    /// Waits for its end, which comes by itself only when something failed.
    ///
    /// # Errors
    /// What failed.
    pub async fn ended(&mut self) -> Result<(), MasterError> {
        (&mut self.task).await.unwrap_or(Err(MasterError::Ended("task")))
    }

    /// Ends it: streams and links are closed, running requests get some seconds to finish.
    ///
    /// # Errors
    /// What failed before.
    pub async fn stop(mut self) -> Result<(), MasterError> {
        if let Some(stop) = self.stop.take() {
            // It is gone when the master has ended by itself, and then `ended` tells why.
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

/// Runs a master until `shutdown` is ready.
///
/// # Errors
/// It could not start, or could not go on.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), MasterError> {
    let mut running = Master::start(config).await?;
    tokio::select! {
        ended = running.ended() => return ended,
        () = shutdown => {}
    }
    tracing::info!("ending");
    running.stop().await
}
