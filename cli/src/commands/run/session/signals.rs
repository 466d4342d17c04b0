//! The signals that end a run, with the exit codes that they stand for.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT, SIGTERM and SIGHUP.
pub(super) struct Signals([(Signal, u8); 3]);

impl Signals {
    pub(super) fn new() -> std::io::Result<Signals> {
        let on = |kind: SignalKind, number: u8| Ok::<_, std::io::Error>((signal(kind)?, 128 + number));
        Ok(Signals([
            on(SignalKind::interrupt(), 2)?,
            on(SignalKind::terminate(), 15)?,
            on(SignalKind::hangup(), 1)?,
        ]))
    }

    /// The exit code that the next signal stands for.
    pub(super) async fn next(&mut self) -> u8 {
        let [(int, a), (term, b), (hup, c)] = &mut self.0;
        tokio::select! { _ = int.recv() => *a, _ = term.recv() => *b, _ = hup.recv() => *c }
    }
}
