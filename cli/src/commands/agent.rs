//! `tepui agent`: runs tasks in containers on this machine.

use std::process::ExitCode;

use agent::{Agent, Config};
use clap::{ArgMatches, Command};
use security::tls::flags as tls;
use tokio::signal::unix::{SignalKind, signal};

use super::service::{LOGGING, Stop};
use crate::context::{Invocation, Outcome, Trouble, block_on, failed, provide_tls, usage};
use crate::flags::Table;
use crate::logging::Level;

const TABLE: Table = Table {
    flags: agent::FLAGS,
    shared: &[tls::TLS, tls::SERVER],
    ignored: &[agent::IGNORED, LOGGING, tls::IGNORED],
};

/// How it is called.
pub fn describe(command: Command) -> Command {
    TABLE.onto(command.about("An agent: runs tasks in containers on this machine"))
}

/// Runs an agent until a signal ends it.
pub fn run(invocation: &Invocation, matches: &ArgMatches) -> Outcome {
    let flags = invocation.flags(&TABLE, matches, Level::Service)?;
    let config = Config::from_flags(&flags.values)?;
    provide_tls();
    block_on(serve(config))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(config: Config) -> Result<(), Trouble> {
    let Some(master) = config.master.clone() else {
        let what = "--master must be given: where the master answers, as host:port or zk://host1:2181,…/path";
        return Err(usage(what));
    };
    let mut stop = Stop::listen().map_err(failed)?;
    // Mesos: SIGUSR1 makes an agent unregister and end its tasks.
    let mut leave = signal(SignalKind::user_defined1()).map_err(failed)?;
    let detector = master.detector(config.zk_session_timeout);
    let mut agent = Agent::start(config, detector).await.map_err(failed)?;
    loop {
        tokio::select! {
            ended = agent.ended() => return ended.map_err(failed),
            () = stop.heard() => {
                tracing::info!("ending; tasks of checkpointing frameworks go on");
                return agent.stop().await.map_err(failed);
            }
            _ = leave.recv() => {
                tracing::info!("unregistering and ending all tasks");
                agent.shut_down();
            }
        }
    }
}
