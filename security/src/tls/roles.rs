//! The two roles: who is connected to, and who connects.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::server::Acceptor;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::{LazyConfigAcceptor, TlsConnector, TlsStream};

use super::live::Live;
use super::{Guest, Stream, TlsError, TlsSettings, configs, names};

/// A client must have said what it wants within this time. Until it has, it costs a socket.
const HELLO: Duration = Duration::from_secs(10);
/// The rest of the handshake must be over within this time.
const REST: Duration = Duration::from_secs(5);
/// How long a client that is refused has to hear why.
const FAREWELL: Duration = Duration::from_secs(1);
/// Handshakes that are in their second part at once: each may take some 30 KB. Others wait, with a socket alone.
const HANDSHAKES: usize = 1024;
/// How long a handshake may take that this side began.
const CONNECT: Duration = Duration::from_secs(10);
/// The first byte of TLS: a record of the handshake. No method of HTTP begins like that.
const HANDSHAKE_RECORD: u8 = 0x16;

/// TLS of a port.
#[derive(Clone, Debug)]
pub struct ServerTls {
    live: Arc<Live<ServerConfig>>,
    room: Arc<Semaphore>,
}

impl ServerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// Names what is missing or can't be used.
    pub fn load(settings: TlsSettings) -> Result<ServerTls, TlsError> {
        let live = Arc::new(Live::load(settings, configs::server)?);
        Ok(ServerTls { live, room: Arc::new(Semaphore::new(HANDSHAKES)) })
    }

    /// Follows the files for ever.
    pub fn follow(&self) -> impl Future<Output = ()> + Send + use<> {
        self.live.clone().follow()
    }

    /// The connection as it is used from now on. None when there was no handshake in time, or none that is agreed to.
    pub async fn accept(&self, stream: TcpStream, peer: SocketAddr) -> Option<(Stream, Guest)> {
        // In a box of its own: it is gone when the connection is served.
        match Box::pin(self.handshake(stream, peer)).await {
            Ok(accepted) => Some(accepted),
            Err(error) => {
                tracing::debug!(%peer, %error, "no TLS with a client");
                None
            }
        }
    }

    async fn handshake(&self, stream: TcpStream, peer: SocketAddr) -> io::Result<(Stream, Guest)> {
        let hello = async {
            let mut first = [0];
            let plain = stream.peek(&mut first).await? == 1 && first[0] != HANDSHAKE_RECORD;
            if plain && self.live.settings().downgrade {
                return Ok(Err(stream));
            }
            LazyConfigAcceptor::new(Acceptor::default(), stream).await.map(Ok)
        };
        let start = match tokio::time::timeout(HELLO, hello).await?? {
            Ok(start) => start,
            Err(plain) => return Ok((Stream::Plain(plain), Guest::Unknown)),
        };
        // It is never closed.
        let room = self.room.acquire().await;
        let accepting = start.into_stream(self.live.now()).into_fallible();
        let accepted = tokio::time::timeout(REST, accepting).await?;
        drop(room);
        let stream = match accepted {
            Ok(stream) => stream,
            Err((error, stream)) => {
                part(stream).await;
                return Err(error);
            }
        };
        let certificate = stream.get_ref().1.peer_certificates().and_then(|all| all.first());
        let certified = certificate.map(|certificate| names::of(certificate, peer.ip()));
        let guest = certified.map_or(Guest::Encrypted, Guest::Certified);
        Ok((Stream::Tls(Box::new(TlsStream::Server(stream))), guest))
    }
}

/// Closes a connection so that the alert arrives that tells the peer why: it is lost when the peer says something on a
/// connection that is closed already.
async fn part(mut stream: TcpStream) {
    let farewell = async {
        stream.shutdown().await?;
        let mut rest = [0; 4096];
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    // Whoever doesn't want to hear it may go as well.
    let _ = tokio::time::timeout(FAREWELL, farewell).await;
}

/// TLS of a process that connects to others.
#[derive(Clone, Debug)]
pub struct ClientTls {
    live: Arc<Live<ClientConfig>>,
}

impl ClientTls {
    /// Reads the files.
    ///
    /// # Errors
    /// Names what is missing or can't be used.
    pub fn load(settings: TlsSettings) -> Result<ClientTls, TlsError> {
        Ok(ClientTls { live: Arc::new(Live::load(settings, configs::client)?) })
    }

    /// Follows the files for ever.
    pub fn follow(&self) -> impl Future<Output = ()> + Send + use<> {
        self.live.clone().follow()
    }

    /// The connection as it is used from now on, to a host of that name or address.
    ///
    /// # Errors
    /// No handshake in time, or none that is agreed to.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> io::Result<Stream> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let connector = TlsConnector::from(self.live.now());
        let stream = tokio::time::timeout(CONNECT, connector.connect(name, stream)).await??;
        Ok(Stream::Tls(Box::new(TlsStream::Client(stream))))
    }
}
