//! The log on standard error: one line an event, as text or JSON.

use std::borrow::Cow;
use std::io::{self, Write};

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
    // A log that can't be written (its disk is full, its reader is gone) is lost. What the library would say of it goes
    // to standard error as well, and panics there.
    let coloured = format == "text" && io::IsTerminal::is_terminal(&io::stderr());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(coloured)
        .with_writer(move || OneLine { to: io::stderr(), coloured })
        .log_internal_errors(false);
    let started = match format {
        "text" => {
            let log = log.with_filter_reloading();
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

/// Writes each event as one line. Names and messages of frameworks, tasks and agents stand in them: what comes from
/// outside must not begin lines that look like our own.
struct OneLine<W> {
    to: W,
    coloured: bool,
}

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.write_all(event).map(|()| event.len())
    }

    /// The library writes an event at once, with the end of its line.
    fn write_all(&mut self, event: &[u8]) -> io::Result<()> {
        self.to.write_all(&on_one_line(event, self.coloured))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn on_one_line(event: &[u8], coloured: bool) -> Cow<'_, [u8]> {
    let (mut text, end) = match event {
        [text @ .., b'\n'] => (text, &b"\n"[..]),
        text => (text, &b""[..]),
    };
    let plain = |byte: &u8| !byte.is_ascii_control() || *byte == b'\t';
    if text.iter().all(plain) {
        return Cow::Borrowed(event);
    }
    let mut line = Vec::with_capacity(event.len() + 16);
    while let [byte, rest @ ..] = text {
        match colour(text).filter(|_| coloured) {
            Some(length) => {
                let (colour, rest) = text.split_at(length);
                line.extend(colour);
                text = rest;
                continue;
            }
            None if plain(byte) => line.push(*byte),
            None => line.extend(byte.escape_ascii()),
        }
        text = rest;
    }
    line.extend(end);
    Cow::Owned(line)
}

/// The length of the sequence at the beginning that does no more than to change how text looks, as the library's own.
fn colour(text: &[u8]) -> Option<usize> {
    let inner = text.strip_prefix(b"\x1b[")?;
    let length = inner.iter().position(|byte| !byte.is_ascii_digit() && *byte != b';')?;
    (inner[length] == b'm').then_some(length + 3)
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
    fn an_event_is_one_line_whatever_stands_in_it() {
        for (event, line, coloured) in [
            (
                "INFO a: framework added name=x\n",
                "INFO a: framework added name=x\n",
                "INFO a: framework added name=x\n",
            ),
            (
                "name=x\n2026 ERROR\r\u{7f}\0\tz\n",
                "name=x\\n2026 ERROR\\r\\x7f\\x00\tz\n",
                "name=x\\n2026 ERROR\\r\\x7f\\x00\tz\n",
            ),
            ("\x1b[2;1mü\x1b[0m\n", "\\x1b[2;1mü\\x1b[0m\n", "\x1b[2;1mü\x1b[0m\n"),
            ("\x1b]0;t\x07\x1b[2J\x1b[", "\\x1b]0;t\\x07\\x1b[2J\\x1b[", "\\x1b]0;t\\x07\\x1b[2J\\x1b["),
            ("\n\n", "\\n\n", "\\n\n"),
            ("", "", ""),
        ] {
            assert_eq!(on_one_line(event.as_bytes(), false), line.as_bytes(), "{event:?}");
            assert_eq!(on_one_line(event.as_bytes(), true), coloured.as_bytes(), "{event:?}");
        }
    }

    #[test]
    fn every_level_is_a_filter() {
        assert_eq!(directives(0), None);
        for level in [1, 2, u32::MAX] {
            assert!(EnvFilter::try_new(directives(level).unwrap()).is_ok(), "{level}");
        }
    }
}
