//! The log on standard error: one line an event, as text or JSON.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::reload::Handle;

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
    let told = filter.to_string();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        "text" => {
            let log =
                log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).with_filter_reloading();
            follow(told, log.reload_handle());
            log.try_init()
        }
        "json" => {
            let log = log.json().flatten_event(true).with_filter_reloading();
            follow(told, log.reload_handle());
            log.try_init()
        }
        other => return Err(format!("--log_format={other}: expected text or json")),
    };
    started.map_err(|error| format!("the log can't be started: {error}"))
}

/// Lets operators change the verbosity while the process runs.
fn follow<S: 'static>(told: String, log: Handle<EnvFilter, S>) {
    serving::logging::install(move |level| {
        let filter = directives(level).map_or_else(|| told.clone(), str::to_owned);
        log.reload(EnvFilter::new(filter)).map_err(|error| error.to_string())
    });
}

/// What a level of Mesos' logging tells; none at the level of the start.
fn directives(level: u32) -> Option<&'static str> {
    match level {
        serving::logging::START => None,
        1 => Some("debug,h2=info,hyper=info,hyper_util=info,tonic=info,tower=info,rustls=info,reqwest=info"),
        _ => Some("trace,h2=debug,hyper=debug,hyper_util=debug,tonic=debug,tower=debug"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_is_a_filter() {
        assert_eq!(directives(0), None);
        for level in [1, 2, u32::MAX] {
            assert!(EnvFilter::try_new(directives(level).unwrap()).is_ok(), "{level}");
        }
    }
}
