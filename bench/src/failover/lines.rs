//! Simulated agents that cost next to nothing: some of them share a connection, and all that they say on it is there as
//! bytes of HTTP/2 before.
//!
//! A connection's windows (64 KB before anything was agreed on) hold all that its agents say and hear, so nobody here
//! counts them.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex, Notify, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use wire::link::{FromAgent, FromMaster, from_agent, from_master};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Kinds of frames.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
/// Flag: the last frame of its stream; with SETTINGS and PING: an answer.
const END: u8 = 1;
/// Flag: there are no more header fields.
const ALL_HEADERS: u8 = 4;
/// The stream of the request that shows that a connection works.
const FIRST: u32 = 1;
/// Most bytes of a frame, and what may be on its way.
const MOST: usize = 16 << 10;
const WINDOW: usize = 65_535;
/// Connections being made at a time.
const AT_ONCE: usize = 64;
/// Connections whose agents may wait for an answer at a time: more would not be faster, but some would wait for longer
/// than the master gives an agent to introduce itself.
const SPEAKING: usize = 256;
/// Without any news.
const PATIENCE: Duration = Duration::from_secs(30);

/// Connections of agents, each on a stream of its own. Dropping it ends them.
pub struct Lines {
    connections: usize,
    agents: usize,
    /// Whether the agents may introduce themselves.
    speak: watch::Sender<bool>,
    /// One for each connection that is made, then one for each agent that the master took.
    news: mpsc::Receiver<Result<()>>,
    _tasks: JoinSet<()>,
}

/// What the agents of a connection say.
pub struct Said {
    bytes: Vec<u8>,
    agents: usize,
}

/// What connections share.
#[derive(Clone)]
struct Shared {
    port: u16,
    turn: Arc<Semaphore>,
    speaking: Arc<Semaphore>,
    speak: watch::Receiver<bool>,
    news: mpsc::Sender<Result<()>>,
}

impl Said {
    /// The first messages of agents that share a connection.
    pub fn of(first: Vec<from_agent::Body>) -> Result<Said> {
        let (mut bytes, agents) = (Vec::new(), first.len());
        let head = [field(":method", "POST"), field(":path", "/tepui.link.v1.AgentLink/Attach")].concat();
        let head =
            [head, common_fields(), field("content-type", "application/grpc"), field("te", "trailers")];
        let head = head.concat();
        for (body, stream) in first.into_iter().zip((FIRST + 2..).step_by(2)) {
            let message = FromAgent { body: Some(body) }.encode_to_vec();
            let length = u32::try_from(message.len())?.to_be_bytes();
            let message = [&[0], &length[..], &message].concat();
            ensure!(message.len() <= MOST, "an agent says more than fits into a frame");
            bytes.extend(frame(HEADERS, ALL_HEADERS, stream, &head));
            bytes.extend(frame(DATA, 0, stream, &message));
        }
        ensure!(bytes.len() <= WINDOW, "the agents of a connection say more than its window takes");
        Ok(Said { bytes, agents })
    }

    /// How many bytes they are.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }
}

impl Lines {
    /// Makes a connection for each of these, on which its agents say nothing yet.
    pub async fn connect(port: u16, said: Vec<Said>) -> Result<Lines> {
        let (connections, agents) = (said.len(), said.iter().map(|said| said.agents).sum());
        let (say, news) = mpsc::channel(agents);
        let (speak, may_speak) = watch::channel(false);
        let [turn, speaking] = [AT_ONCE, SPEAKING].map(|room| Arc::new(Semaphore::new(room)));
        let shared = Shared { port, turn, speaking, speak: may_speak, news: say };
        let mut tasks = JoinSet::new();
        for said in said {
            let shared = shared.clone();
            tasks.spawn(async move {
                let Err(ended) = line(said, &shared).await;
                // Nobody listens any more once all is over.
                let _ = shared.news.send(Err(ended)).await;
            });
        }
        let mut lines = Lines { connections, agents, speak, news, _tasks: tasks };
        lines.hear(lines.connections).await.context("connecting agents")?;
        Ok(lines)
    }

    /// Lets all agents introduce themselves, and waits until the master has taken every one of them.
    pub async fn speak(&mut self) -> Result<()> {
        self.speak.send_replace(true);
        self.hear(self.agents).await.context("waiting for the master to take all agents")
    }

    async fn hear(&mut self, count: usize) -> Result<()> {
        for heard in 0..count {
            let news = tokio::time::timeout(PATIENCE, self.news.recv()).await;
            let news = news.with_context(|| format!("no news for {PATIENCE:?} after {heard} of {count}"))?;
            news.context("no connection is left")??;
        }
        Ok(())
    }
}

/// One connection, until it breaks.
async fn line(said: Said, shared: &Shared) -> Result<Infallible> {
    let permit = shared.turn.acquire().await?;
    let socket = TcpStream::connect(("127.0.0.1", shared.port)).await?;
    socket.set_nodelay(true)?;
    let (read, mut write) = socket.into_split();
    write.write_all(&opening()).await?;
    let write = Mutex::new(write);
    let mut end = End { read: BufReader::with_capacity(2048, read), write: &write };
    while end.next().await?.ends_stream(FIRST).is_none() {}
    drop(permit);
    shared.news.send(Ok(())).await?;
    let all_taken = Notify::new();
    let speak = async {
        shared.speak.clone().wait_for(|may| *may).await?;
        let _permit = shared.speaking.acquire().await?;
        write.lock().await.write_all(&said.bytes).await?;
        all_taken.notified().await;
        anyhow::Ok(())
    };
    let ((), never) = tokio::try_join!(speak, listen(end, said.agents, &all_taken, shared))?;
    Ok(never)
}

/// Hears what the master says to the agents of a connection, and tells when it has taken them all.
async fn listen(mut end: End<'_>, agents: usize, all_taken: &Notify, shared: &Shared) -> Result<Infallible> {
    let mut taken = BTreeSet::new();
    loop {
        let frame = end.next().await?;
        if let Some(stream) = frame.ends_stream(frame.stream).filter(|stream| *stream != 0) {
            bail!("the master ended the link on stream {stream}");
        }
        if frame.kind == DATA && taken.insert(frame.stream) {
            match first_message(&frame.payload)?.body {
                Some(from_master::Body::Registered(_)) => shared.news.send(Ok(())).await?,
                Some(from_master::Body::Refused(refused)) => {
                    bail!("an agent is refused: {}", refused.message)
                }
                other => bail!("the master began with {other:?}"),
            }
            if taken.len() == agents {
                all_taken.notify_one();
            }
        }
    }
}

/// The first of the messages in a frame; it is short, and so it is never cut in two.
fn first_message(payload: &[u8]) -> Result<FromMaster> {
    let (head, rest) = payload.split_at_checked(5).context("a message of gRPC without a head")?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    let message = rest.get(..usize::try_from(length)?).context("the first message is not whole")?;
    Ok(FromMaster::decode(message)?)
}

/// One end of a connection.
struct End<'a> {
    read: BufReader<OwnedReadHalf>,
    write: &'a Mutex<OwnedWriteHalf>,
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    /// The stream, if this was its end.
    fn ends_stream(&self, stream: u32) -> Option<u32> {
        let ends = match self.kind {
            DATA | HEADERS => self.flags & END == END,
            RESET => true,
            _ => false,
        };
        (ends && self.stream == stream).then_some(stream)
    }
}

impl End<'_> {
    /// The next frame; settings and pings are answered on the way.
    async fn next(&mut self) -> Result<Frame> {
        let mut head = [0; 9];
        self.read.read_exact(&mut head).await.context("the master closed the connection")?;
        let [a, b, c, kind, flags, rest @ ..] = head;
        let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, a, b, c]))?];
        self.read.read_exact(&mut payload).await?;
        let stream = u32::from_be_bytes(rest) & 0x7fff_ffff;
        match (kind, flags & END) {
            (SETTINGS, 0) => self.say(&frame(SETTINGS, END, 0, &[])).await?,
            (PING, 0) => self.say(&frame(PING, END, 0, &payload)).await?,
            (GOAWAY, _) => bail!("the master ends the connection: {}", String::from_utf8_lossy(&payload)),
            _ => {}
        }
        Ok(Frame { kind, flags, stream, payload })
    }

    async fn say(&self, bytes: &[u8]) -> Result<()> {
        Ok(self.write.lock().await.write_all(bytes).await?)
    }
}

/// What a connection begins with: the preface, and a request whose answer shows that it is served.
fn opening() -> Vec<u8> {
    let head = [field(":method", "GET"), field(":path", "/health"), common_fields()].concat();
    [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frame(HEADERS, ALL_HEADERS | END, FIRST, &head)].concat()
}

fn common_fields() -> Vec<u8> {
    [field(":scheme", "http"), field(":authority", "127.0.0.1")].concat()
}

/// The bytes of a frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header field as HPACK has it, in full. Names and values are shorter than 127 bytes.
fn field(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).unwrap_or(u8::MAX);
    [&[0, length(name)], name.as_bytes(), &[length(value)], value.as_bytes()].concat()
}
