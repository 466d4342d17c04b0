//! The port: accepts connections and speaks HTTP/1.1 and HTTP/2 on them.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use security::{ServerTls, Stream};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinSet;

use crate::AgentError;
use crate::api::Api;

/// Connections at once. Further ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 4096;
const BACKLOG: u32 = 1024;
/// A connection must bring its first request within this time, or silent ones would take all the room there is.
const FIRST_REQUEST: Duration = Duration::from_secs(15);
/// A connection must bring its next request within this time.
const NEXT_REQUEST: Duration = Duration::from_secs(75);
/// Largest head of a request.
const MAX_HEAD: usize = 64 << 10;
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// A peer that acknowledges nothing of what was sent to it for this long is cut.
const UNACKNOWLEDGED: Duration = Duration::from_secs(75);
/// What the kernel keeps for a peer that doesn't read. Left alone it would take megabytes (tcp_wmem) for each of them.
const SEND_BUFFER: u32 = 256 << 10;
/// How long requests may go on after the end was ordered.
const LAST_REQUESTS: Duration = Duration::from_secs(2);

/// Binds the address.
pub(super) fn listen(ip: IpAddr, port: u16) -> Result<TcpListener, AgentError> {
    let address = SocketAddr::new(ip, port);
    let bound = || {
        let socket = match ip {
            IpAddr::V4(_) => TcpSocket::new_v4()?,
            IpAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // A restart must not wait for the connections of the process before.
        socket.set_reuseaddr(true)?;
        // Accepted connections have the same.
        socket.set_send_buffer_size(SEND_BUFFER)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bound().map_err(|source| AgentError::Listen { address, source })
}

/// Serves until told to end, then lets running requests finish for a moment.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<ServerTls>,
    api: Arc<Api>,
    mut end: oneshot::Receiver<()>,
) {
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let (stream, peer, permit) = tokio::select! {
            _ = &mut end => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &room) => accepted,
        };
        let (api, tls, end) = (api.clone(), tls.clone(), graceful.watcher());
        connections.spawn(async move {
            let stream = match tls {
                None => Some(Stream::Plain(stream)),
                Some(tls) => tls.accept(stream, peer).await.map(|(stream, _)| stream),
            };
            if let Some(stream) = stream {
                connection(stream, api, end).await;
            }
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(LAST_REQUESTS, graceful.shutdown()).await.is_err() {
        tracing::debug!("some requests did not finish in time and are ended");
    }
}

async fn connection(stream: Stream, api: Arc<Api>, end: Watcher) {
    let spoken = Arc::new(AtomicBool::new(false));
    let (spoke, cut) = (spoken.clone(), Arc::new(Notify::new()));
    let line = cut.clone();
    let service = service_fn(move |request| {
        spoke.store(true, Ordering::Relaxed);
        let (api, line) = (api.clone(), line.clone());
        async move { Ok::<_, Infallible>(api.handle(request, line).await) }
    });
    let serving = end.watch(builder().serve_connection(TokioIo::new(stream), service).into_owned());
    tokio::select! {
        served = serving => if let Err(error) = served {
            tracing::debug!(%error, "a connection failed");
        },
        () = cut.notified() => {}
        () = silence(&spoken) => tracing::debug!("a connection brought no request in time"),
    }
}

/// Ends when nothing was asked for in time; never, when something was.
async fn silence(spoken: &AtomicBool) {
    tokio::time::sleep(FIRST_REQUEST).await;
    if spoken.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    let permit = room.clone().acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Without them everything works, more slowly in one case and noticing dead peers later in the other.
                let _ = stream.set_nodelay(true);
                let user_timeout = u32::try_from(UNACKNOWLEDGED.as_millis()).unwrap_or(u32::MAX);
                let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, user_timeout);
                return (stream, peer, permit);
            }
            Err(error) => {
                // Out of file descriptors, most likely: those that end make room.
                tracing::warn!(%error, "can't accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(NEXT_REQUEST)
        .max_headers(100)
        .max_buf_size(MAX_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(100)
        .max_header_list_size(16 << 10)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE);
    builder
}
