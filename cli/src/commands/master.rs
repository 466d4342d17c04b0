//! `tepui master`: decides who gets what.

use std::process::ExitCode;
use std::sync::Arc;

use clap::{ArgMatches, Command};
use coordination::ZooKeeper;
use master::{Config, Master};
use security::tls::flags as tls;

use super::service::{LOGGING, Stop};
use crate::context::{Invocation, Outcome, block_on, failed};
use crate::flags::Table;
use crate::logging::Level;

const TABLE: Table = Table {
    flags: master::flags::FLAGS,
    shared: &[tls::TLS, tls::SERVER, tls::MASTER],
    ignored: &[master::flags::IGNORED, LOGGING, tls::IGNORED],
};

/// How it is called.
pub fn describe(command: Command) -> Command {
    TABLE.onto(command.about("The master: decides who gets what"))
}

/// Runs a master until a signal ends it.
pub fn run(invocation: &Invocation, matches: &ArgMatches) -> Outcome {
    let flags = invocation.flags(&TABLE, matches, Level::Service)?;
    let mut config = Config::from_flags(&flags.values)?;
    config.ahead = Some(runtime::go_first);
    block_on(async {
        let mut stop = Stop::listen().map_err(failed)?;
        let mut master = match config.zk.clone() {
            None => Master::start(config).await.map_err(failed)?,
            Some(url) => {
                let contest = Arc::new(ZooKeeper::start(url, config.zk_session_timeout));
                Master::start_with(config, contest).await.map_err(failed)?
            }
        };
        tokio::select! {
            ended = master.ended() => return ended.map(|()| ExitCode::SUCCESS).map_err(failed),
            () = stop.heard() => tracing::info!("ending"),
        }
        master.stop().await.map_err(failed)?;
        Ok(ExitCode::SUCCESS)
    })
}
