//! The log on standard error: one line an event, as text or JSON.

use tracing_subscriber::EnvFilter;

/// What is logged when `RUST_LOG` doesn't say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Master and agent: what they do.
    Service,
    /// Commands for people: only what is wrong.
    Command,
}

/// Starts the log.
///
/// # Errors
/// A format that is neither text nor json.
pub fn start(format: &str, level: Level) -> Result<(), String> {
    let default = match level {
        Level::Service => "info,h2=warn,hyper=warn,tonic=warn",
        Level::Command => "warn",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        "text" => log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        "json" => log.json().flatten_event(true).try_init(),
        other => return Err(format!("--log_format={other}: expected text or json")),
    };
    started.map_err(|error| format!("the log can't be started: {error}"))
}
