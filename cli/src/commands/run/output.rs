//! Follows files of a task's sandbox, through the agent's HTTP API, onto our own output.

use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::{Context as _, bail};
use coordination::LeaderAddress;
use http::StatusCode;
use http::header::ACCEPT;
use sdk::http::{Ask, Http};
use tokio::sync::watch;
use wire::media::{self, Media};
use wire::v1::agent::{Call, Response, call};

use crate::api;

/// Mesos: at most 16 pages a read.
const PIECE: u64 = 64 << 10;
/// Between two looks at a file that has nothing new.
const PAUSE: Duration = Duration::from_millis(150);
/// How long an agent may stay silent after the task has ended before the rest of its output is given up.
const PATIENCE: Duration = Duration::from_secs(20);

/// A sandbox on an agent.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// The agent.
    pub agent: LeaderAddress,
    /// Its path in the agent's files API.
    pub path: String,
}

impl Sandbox {
    /// The sandbox of the newest run of an executor. Mesos: a command task's executor has the task's id.
    pub fn of_run(agent: LeaderAddress, framework: &str, executor: &str) -> Sandbox {
        Sandbox { agent, path: format!("/frameworks/{framework}/executors/{executor}/runs/latest") }
    }
}

/// Which of our outputs a file of the sandbox goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// The file `stdout`.
    Stdout,
    /// The file `stderr`.
    Stderr,
    /// The file `stderr`, where only that is wanted.
    StderrToStdout,
}

impl Sink {
    /// The file in the sandbox.
    pub fn file(self) -> &'static str {
        match self {
            Sink::Stdout => "stdout",
            Sink::Stderr | Sink::StderrToStdout => "stderr",
        }
    }

    /// Writes on a thread of its own: who reads us may be slow.
    async fn write(self, data: Vec<u8>) -> io::Result<()> {
        let write = move || match self {
            Sink::Stderr => io::stderr().write_all(&data),
            Sink::Stdout | Sink::StderrToStdout => {
                let mut out = io::stdout();
                out.write_all(&data).and_then(|()| out.flush())
            }
        };
        tokio::task::spawn_blocking(write).await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}

/// What one read came to.
enum Piece {
    Data(Vec<u8>),
    /// Nothing beyond this offset.
    End,
    /// No such file, or not yet.
    Missing,
}

/// Copies a file of the sandbox from `offset` on, until `ended` says true and all of it was read.
///
/// # Errors
/// The output can't be written to; or the agent doesn't answer after the end, which names what is missing.
pub async fn follow(
    http: Http,
    sandbox: Sandbox,
    sink: Sink,
    mut offset: u64,
    mut ended: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let file = sink.file();
    let mut quiet_since = None;
    loop {
        let last_look = *ended.borrow_and_update();
        match read(&http, &sandbox, file, offset).await {
            Ok(Piece::Data(data)) => {
                offset += data.len() as u64;
                sink.write(data).await.context("cannot write the task's output")?;
                quiet_since = None;
                continue;
            }
            Ok(Piece::End | Piece::Missing) if last_look => return Ok(()),
            Ok(Piece::End | Piece::Missing) => quiet_since = None,
            Err(error) if last_look => {
                let since = *quiet_since.get_or_insert_with(tokio::time::Instant::now);
                if since.elapsed() > PATIENCE {
                    let what = format!("{file} after byte {offset} could not be read");
                    return Err(error.context(what));
                }
            }
            Err(error) => tracing::debug!(error = %format!("{error:#}"), file, "output can't be read now"),
        }
        // Whichever comes first; a sender that is gone has said its last word.
        let _ = tokio::time::timeout(PAUSE, wait(&mut ended, last_look)).await;
    }
}

async fn wait(ended: &mut watch::Receiver<bool>, already: bool) {
    if already || ended.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// How many bytes a file has, to begin at its end.
///
/// # Errors
/// The agent doesn't answer, or has no such file.
pub async fn size(http: &Http, sandbox: &Sandbox, file: &str) -> anyhow::Result<u64> {
    let path = format!("/files/read?path={}", api::escape(&format!("{}/{file}", sandbox.path)));
    let reply = http.ask(&sandbox.agent, &Ask::get(path)).await?;
    if !reply.status.is_success() {
        bail!("{file} at agent {}: {} {}", sandbox.agent, reply.status, reply.message());
    }
    let answer: serde_json::Value = serde_json::from_slice(&reply.body)?;
    Ok(answer.get("offset").and_then(serde_json::Value::as_u64).unwrap_or(0))
}

/// READ_FILE, whose data are exact bytes; from an agent without it the older /files/read, which has text.
async fn read(http: &Http, sandbox: &Sandbox, file: &str, offset: u64) -> anyhow::Result<Piece> {
    let path = format!("{}/{file}", sandbox.path);
    let call = Call {
        r#type: Some(call::Type::ReadFile.into()),
        read_file: Some(call::ReadFile { path, offset, length: Some(PIECE) }),
        ..Call::default()
    };
    let body = media::encode_message(Media::Protobuf, &call);
    let ask = Ask::post("/api/v1", media::PROTOBUF, body).header(ACCEPT, media::PROTOBUF);
    let ask = Ask { limit: 16 << 20, timeout: Duration::from_secs(10), ..ask };
    let reply = http.ask(&sandbox.agent, &ask).await?;
    match reply.status {
        StatusCode::OK => {
            let answer: Response = media::decode_body(Media::Protobuf, &reply.body)?;
            Ok(piece(answer.read_file.map(|read| read.data.to_vec()).unwrap_or_default()))
        }
        StatusCode::NOT_FOUND if !reply.body.is_empty() => Ok(Piece::Missing),
        _ => read_text(http, sandbox, file, offset).await,
    }
}

fn piece(data: Vec<u8>) -> Piece {
    if data.is_empty() { Piece::End } else { Piece::Data(data) }
}

async fn read_text(http: &Http, sandbox: &Sandbox, file: &str, offset: u64) -> anyhow::Result<Piece> {
    let path = api::escape(&format!("{}/{file}", sandbox.path));
    let ask = Ask::get(format!("/files/read?path={path}&offset={offset}&length={PIECE}"));
    let reply = http.ask(&sandbox.agent, &ask).await?;
    match reply.status {
        StatusCode::OK => {
            let answer: serde_json::Value = serde_json::from_slice(&reply.body)?;
            Ok(piece(api::text(&answer, "data").as_bytes().to_vec()))
        }
        StatusCode::NOT_FOUND => Ok(Piece::Missing),
        status => bail!("{file} at agent {}: {status} {}", sandbox.agent, reply.message()),
    }
}
