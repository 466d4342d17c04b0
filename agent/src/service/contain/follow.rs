//! The conversation with a container's keeper, from its start to its end.

use std::io;
use std::time::Duration;

use model::ContainerId;
use runtime::protocol::{self, Command, Decoder, Report};
use runtime::{Ending, Statistics};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::{Containers, End, Kill, LOST, of_failure};
use crate::containerizer::Reports;
use crate::logic::Event;

/// How long a container may take to end after SIGKILL. Mesos: `--cgroups_destroy_timeout`, 60 s.
const LONGEST_END: Duration = Duration::from_secs(60);
/// How long a keeper may take to tell what its container uses.
const LONGEST_ANSWER: Duration = Duration::from_secs(1);
/// How often a broken connection to a keeper that lives is made again.
const RECONNECTS: u32 = 5;

impl Containers {
    /// A connection to the keeper, if it lives.
    pub(super) async fn connect(&self, container: &ContainerId) -> Option<UnixStream> {
        let id = runtime::ContainerId::new(container.as_str()).ok()?;
        let stream = self.blocking(move |inner| inner.runtime.connect(&id)).await.ok()?.ok()?;
        stream.set_nonblocking(true).ok()?;
        UnixStream::from_std(stream).ok()
    }

    /// Tells what the keeper reports; gives the last of it.
    pub(super) async fn follow(
        &self,
        container: &ContainerId,
        stream: UnixStream,
        kill: &mut Kill,
        reports: &Reports,
    ) -> Event {
        let mut stream = Some(stream);
        for _ in 0..=RECONNECTS {
            let Some(mut keeper) = stream.take() else { break };
            match self.converse(container, &mut keeper, kill, reports).await {
                Ok(last) => return last,
                Err(error) => tracing::debug!(%container, "the connection to the keeper ended: {error}"),
            }
            drop(keeper);
            stream = self.connect(container).await;
        }
        self.ending(container).await
    }

    /// What a keeper that is gone left behind.
    pub(super) async fn ending(&self, container: &ContainerId) -> Event {
        let id = runtime::ContainerId::new(container.as_str());
        let ending = self.blocking(move |inner| id.ok().and_then(|id| inner.runtime.ending(&id))).await;
        let container = container.clone();
        match ending.ok().flatten() {
            Some(Ending::Exited(record)) => Event::ContainerExited { container, exit: self.exit(&record) },
            Some(Ending::Failed(failure)) => {
                Event::ContainerFailed { container, failure: of_failure(&failure) }
            }
            None => Event::ContainerLost { container, why: LOST.to_owned() },
        }
    }

    /// What only the keeper knows of a container's usage: on a hybrid host how often memory was short.
    pub(super) async fn told_by_keeper(&self, container: &ContainerId) -> Option<Statistics> {
        let mut stream = self.connect(container).await?;
        let asked = async {
            let frame = protocol::encode(&Command::Statistics {}).map_err(io::Error::other)?;
            stream.write_all(&frame).await?;
            let mut decoder = Decoder::default();
            let mut buffer = [0; 4096];
            loop {
                while let Some(report) = decoder.next::<Report>().map_err(io::Error::other)? {
                    if let Report::Statistics { usage, .. } = report {
                        return Ok(usage);
                    }
                }
                match stream.read(&mut buffer).await? {
                    0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
                    length => decoder.feed(&buffer[..length]),
                }
            }
        };
        tokio::time::timeout(LONGEST_ANSWER, asked).await.ok()?.ok()
    }

    /// Passes kills on and reports back until the end is reported.
    ///
    /// # Errors
    /// The connection broke before.
    async fn converse(
        &self,
        container: &ContainerId,
        keeper: &mut UnixStream,
        kill: &mut Kill,
        reports: &Reports,
    ) -> io::Result<Event> {
        let mut decoder = Decoder::default();
        let mut buffer = vec![0; 4096];
        // A kill that came before is passed on as well.
        kill.mark_changed();
        let mut listening = true;
        loop {
            while let Some(report) = decoder.next::<Report>().map_err(io::Error::other)? {
                let container = container.clone();
                match report {
                    Report::Started { pid, .. } => reports.tell(Event::ContainerStarted { container, pid }),
                    Report::Exited(record) => {
                        return Ok(Event::ContainerExited { container, exit: self.exit(&record) });
                    }
                    Report::Failed(failure) => {
                        return Ok(Event::ContainerFailed { container, failure: of_failure(&failure) });
                    }
                    _ => {}
                }
            }
            tokio::select! {
                changed = kill.changed(), if listening => {
                    listening = changed.is_ok();
                    let end = *kill.borrow_and_update();
                    if let Some(end) = end {
                        tell(keeper, end).await?;
                    }
                }
                read = keeper.read(&mut buffer) => match read? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    length => decoder.feed(&buffer[..length]),
                },
            }
        }
    }

    /// SIGKILLs a container and waits for its end.
    pub(super) async fn kill_now(&self, container: &ContainerId, mut stream: UnixStream) {
        let ended = async {
            tell(&mut stream, End { grace: Duration::ZERO, why: None }).await?;
            let mut buffer = [0; 4096];
            while stream.read(&mut buffer).await? > 0 {}
            Ok::<(), io::Error>(())
        };
        match tokio::time::timeout(LONGEST_END, ended).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%container, "while killing: {error}"),
            Err(_) => {
                tracing::warn!(%container, "does not end although it was killed");
                self.lock_tally().destroy_errors += 1;
            }
        }
    }
}

async fn tell(keeper: &mut UnixStream, End { grace, why }: End) -> io::Result<()> {
    let grace_ms = Some(u64::try_from(grace.as_millis()).unwrap_or(u64::MAX));
    let frame = protocol::encode(&Command::Kill { grace_ms, why }).map_err(io::Error::other)?;
    keeper.write_all(&frame).await
}
