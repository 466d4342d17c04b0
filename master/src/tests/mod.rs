//! The whole master over real sockets: a scheduler that speaks HTTP, an agent that speaks the link.

mod agent;
mod client;
mod crowds;
mod ends;
mod hostile;
mod lives;
mod negotiation;
mod pages;
mod scheduler;

use std::time::Duration;

use model::flags::Values;

use crate::config::{Config, Registry};
use crate::flags::FLAGS;
use crate::{Master, Running};

/// Nothing here takes longer, on any machine.
const DEADLINE: Duration = Duration::from_secs(20);

/// Waits for something that must come.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("this must happen soon")
}

/// A configuration with a free port and no file, and short pauses.
fn config() -> Config {
    let mut values = Values::defaults(FLAGS);
    for (name, value) in
        [("port", "0"), ("registry", "in_memory"), ("cluster", "test"), ("hostname", "master.test")]
    {
        values.set(name, value);
    }
    let config = Config::from_flags(&values).expect("these flags are right");
    Config { allocation_interval: Duration::from_millis(50), ..config }
}

async fn start(config: Config) -> Running {
    let running = Master::start(config).await.expect("nothing is in the way");
    assert!(soon(running.leads()).await);
    running
}

fn with_file(directory: &std::path::Path) -> Config {
    Config { registry: Registry::File(directory.to_owned()), ..config() }
}
