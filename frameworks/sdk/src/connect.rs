//! Connections to masters and agents, with or without TLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use security::{ClientTls, Stream};
use tokio::net::TcpStream;

use crate::http::CONNECT_TIMEOUT;

/// Makes connections; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    tls: Option<ClientTls>,
}

impl Connector {
    pub(crate) fn new(tls: Option<ClientTls>) -> Connector {
        Connector { tls }
    }

    /// What URLs begin with.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// A connection over which HTTP can be spoken.
    pub(crate) async fn connect(&self, host: &str, port: u16) -> io::Result<Stream> {
        let connect = async {
            let stream = TcpStream::connect((host, port)).await?;
            stream.set_nodelay(true)?;
            match &self.tls {
                None => Ok(Stream::Plain(stream)),
                Some(tls) => tls.connect(host, stream).await,
            }
        };
        tokio::time::timeout(CONNECT_TIMEOUT, connect).await?
    }
}

type Connecting = Pin<Box<dyn Future<Output = io::Result<TokioIo<Stream>>> + Send>>;

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Connecting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Connecting {
        let connector = self.clone();
        Box::pin(async move {
            let host = to.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
            let port = to.port_u16().unwrap_or_default();
            connector.connect(host, port).await.map(TokioIo::new)
        })
    }
}
