//! The keeper's log: warnings and errors, one line each, by a single write to its file.
//!
//! libcontainer's events come from processes it cloned, so there is no buffer and no lock here.
use std::fmt::{Debug, Write};
use std::os::fd::OwnedFd;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Longest line in bytes.
const MAX_LINE: usize = 4096;

struct Log(OwnedFd);

/// Sends this process' events to `file`.
pub(crate) fn start(file: OwnedFd) {
    // Fails only when there is one already, which in a keeper can't be.
    let _ = tracing::subscriber::set_global_default(Log(file));
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(tracing::level_filters::LevelFilter::WARN)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(format!("{} ", crate::supervisor::unix_ms()));
        let _ = write!(line.0, "{} {}:", event.metadata().level(), event.metadata().target());
        event.record(&mut line);
        let mut end = line.0.len().min(MAX_LINE);
        while !line.0.is_char_boundary(end) {
            end -= 1;
        }
        line.0.truncate(end);
        let mut text = line.0.replace('\n', " ");
        text.push('\n');
        let _ = rustix::io::write(&self.0, text.as_bytes());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}
