//! What master, agent and dev share: signals that end them, and flags of Mesos' own log files.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Flags about log files; ours goes to standard error.
pub const LOGGING: &[&str] =
    &["initialize_driver_logging", "log_dir", "logbufsecs", "logging_level", "quiet"];

/// SIGTERM and SIGINT, heard from now on.
#[derive(Debug)]
pub struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    /// Listens. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The signals can't be caught.
    pub fn listen() -> io::Result<Stop> {
        Ok(Stop { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one.
    pub async fn heard(&mut self) {
        tokio::select! { _ = self.terminate.recv() => {}, _ = self.interrupt.recv() => {} }
    }
}
