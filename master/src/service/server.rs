//! The port: accepts connections, speaks HTTP/1.1 and HTTP/2 on them, and hands requests to the API or to the link.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use security::{Guest, ServerTls, Stream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tower::Service as _;

use super::links::LinkServer;
use super::outbox::Outbox;
use super::toll::{Toll, Turns};
use crate::MasterError;
use crate::api::{Api, Body};

/// Connections at once. Further ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 100_000;
const BACKLOG: i32 = 4096;
/// Largest head of a request.
const MAX_HEAD: usize = 64 << 10;
/// An HTTP/2 peer that says nothing for the first time is asked, and cut if it doesn't answer in the second.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
const KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(20);
/// A peer that acknowledges nothing of what was sent to it for this long is cut. Mesos' schedulers give a master up
/// after five missed heartbeats; here it is the other way round.
const UNACKNOWLEDGED: Duration = Duration::from_secs(75);
/// How long requests may go on after the end was ordered.
const LAST_REQUESTS: Duration = Duration::from_secs(5);
/// How long a peer may take to read the rest of a stream that was closed.
const LAST_MESSAGES: Duration = Duration::from_secs(30);
/// Small windows: 50,000 agents have one connection each.
const WINDOW: u32 = 64 << 10;

/// What the kernel keeps for a peer that doesn't read. Left alone it would take megabytes (tcp_wmem) for each of them.
const SEND_BUFFER: u32 = 256 << 10;

/// Content types that begin like this are for the agents' link.
const GRPC: &[u8] = b"application/grpc";

/// How long connections are waited for.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// A connection must bring its first request within this time.
    pub first_request: Duration,
    /// And each later one: idle HTTP/1.1 connections are closed.
    pub next_request: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience { first_request: Duration::from_secs(15), next_request: Duration::from_secs(75) }
    }
}

/// What ends a connection at once.
#[derive(Clone, Debug)]
pub struct Lifeline(Arc<Line>);

#[derive(Debug)]
struct Line {
    peer: SocketAddr,
    guest: Guest,
    cut: Notify,
}

impl Lifeline {
    fn of(peer: SocketAddr, guest: Guest) -> Lifeline {
        Lifeline(Arc::new(Line { peer, guest, cut: Notify::new() }))
    }

    /// What TLS knows of who is at the other end.
    pub fn guest(&self) -> &Guest {
        &self.0.guest
    }

    /// Who is at the other end.
    pub fn peer(&self) -> SocketAddr {
        self.0.peer
    }

    /// Ends the connection, whatever it does.
    pub fn cut(&self) {
        self.0.cut.notify_one();
    }

    /// Closes an outbox after what is in it; cuts the connection when the peer doesn't read it.
    pub fn end_within<T: Send + 'static>(&self, outbox: Outbox<T>) {
        let (rest, lifeline) = (outbox.close(), self.clone());
        if rest.is_left() {
            tokio::spawn(async move {
                tokio::time::sleep(LAST_MESSAGES).await;
                if rest.is_left() {
                    lifeline.cut();
                }
            });
        }
    }
}

/// Binds the address.
pub fn listen(ip: IpAddr, port: u16) -> Result<TcpListener, MasterError> {
    let address = SocketAddr::new(ip, port);
    let bound = || {
        let socket = match ip {
            IpAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
            IpAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
        };
        // A restart must not wait for the connections of the process before.
        socket.set_reuseaddr(true)?;
        // Accepted connections have the same.
        socket.set_send_buffer_size(SEND_BUFFER)?;
        socket.bind(address)?;
        socket.listen(BACKLOG.unsigned_abs())
    };
    bound().map_err(|source| MasterError::Listen { address, source })
}

/// What connections are served with.
#[derive(Clone)]
pub struct Server {
    /// Requests of all kinds but one.
    pub api: Arc<Api>,
    /// The agents' link.
    pub links: LinkServer,
    /// For peers of it that send much before they are admitted.
    pub turns: Turns,
    /// How long connections are waited for.
    pub patience: Patience,
}

/// Serves until `ends` says true, then lets running requests finish for some seconds.
pub async fn serve(
    listener: TcpListener,
    server: Server,
    tls: Option<ServerTls>,
    mut ends: watch::Receiver<bool>,
) {
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        tokio::select! {
            biased;
            _ = ends.wait_for(|end| *end) => break,
            Some(_) = connections.join_next() => {}
            (stream, peer, permit) = accept(&listener, &room) => {
                let (server, end) = (server.clone(), graceful.watcher());
                tune(&stream);
                // Each kind is a task of its own, so that one without TLS is as small as can be.
                match tls.clone() {
                    None => connections.spawn(async move {
                        connection(Stream::Plain(stream), (peer, Guest::Unknown), server, end).await;
                        drop(permit);
                    }),
                    Some(tls) => connections.spawn(async move {
                        if let Some((stream, guest)) = tls.accept(stream, peer).await {
                            connection(stream, (peer, guest), server, end).await;
                        }
                        drop(permit);
                    }),
                };
            }
        }
    }
    drop(listener);
    let finished = async {
        graceful.shutdown().await;
        while connections.join_next().await.is_some() {}
    };
    if tokio::time::timeout(LAST_REQUESTS, finished).await.is_err() {
        tracing::warn!("some requests did not finish in {LAST_REQUESTS:?} and are ended");
    }
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit) {
    let permit = room.clone().acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer, permit),
            Err(error) => {
                // Out of file descriptors, most likely: those that end make room.
                tracing::warn!(%error, "can't accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn tune(stream: &TcpStream) {
    // Without them everything works, more slowly in one case and noticing dead peers later in the other.
    let _ = stream.set_nodelay(true);
    let user_timeout = u32::try_from(UNACKNOWLEDGED.as_millis()).unwrap_or(u32::MAX);
    let _ = rustix::net::sockopt::set_tcp_user_timeout(stream, user_timeout);
}

async fn connection(stream: Stream, (peer, guest): (SocketAddr, Guest), server: Server, end: Watcher) {
    let (lifeline, patience) = (Lifeline::of(peer, guest), server.patience);
    let asked = Arc::new(AtomicBool::new(false));
    let service = service_fn({
        let (lifeline, asked) = (lifeline.clone(), asked.clone());
        move |request| {
            asked.store(true, Ordering::Relaxed);
            dispatch(request, lifeline.clone(), server.clone())
        }
    });
    let serving = builder(patience).serve_connection(TokioIo::new(stream), service).into_owned();
    let mut serving = Box::pin(end.watch(serving));
    let silent = async {
        tokio::time::sleep(patience.first_request).await;
        if asked.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        done = &mut serving => {
            if let Err(error) = done {
                tracing::debug!(%peer, %error, "a connection failed");
            }
        }
        () = lifeline.0.cut.notified() => {}
        () = silent => tracing::debug!(%peer, "a connection brought no request"),
    }
}

fn builder(patience: Patience) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.next_request)
        .max_headers(100)
        .max_buf_size(MAX_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(2 * WINDOW)
        .max_concurrent_streams(100)
        .max_header_list_size(16 << 10)
        .max_send_buf_size(WINDOW as usize)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_ANSWER);
    builder
}

async fn dispatch(
    mut request: Request<Incoming>,
    lifeline: Lifeline,
    mut server: Server,
) -> Result<Response<Body>, Infallible> {
    let content_type = request.headers().get(http::header::CONTENT_TYPE);
    if content_type.is_some_and(|value| value.as_bytes().starts_with(GRPC)) {
        // The way for the link's service to reach its connection.
        request.extensions_mut().insert(lifeline);
        let (head, body) = request.into_parts();
        let (body, introduction) = Toll::of(body, server.turns);
        let mut request = Request::from_parts(head, body);
        request.extensions_mut().insert(introduction);
        let response = server.links.call(request).await?;
        return Ok(response.map(Body::Link));
    }
    // Boxed: an agent's link is served by the same future, and would carry the room for this one for years.
    Ok(Box::pin(server.api.handle(request, lifeline)).await)
}
