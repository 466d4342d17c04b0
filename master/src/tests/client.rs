//! A small HTTP client, and raw connections for what no client would send.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::soon;

/// An answer that was read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

pub fn request(
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(path).header("host", "master");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(body.into())).unwrap()
}

/// Sends one request on a connection of its own and gives the answer when its head has come.
pub async fn open(to: SocketAddr, request: Request<Full<Bytes>>) -> Response<Incoming> {
    let stream = TcpStream::connect(to).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    soon(sender.send_request(request)).await.unwrap()
}

pub async fn finish(response: Response<Incoming>) -> Answer {
    let (head, body) = response.into_parts();
    let body = soon(body.collect()).await.unwrap().to_bytes();
    Answer { status: head.status, headers: head.headers, body }
}

pub async fn send(
    to: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Answer {
    finish(open(to, request(method, path, headers, body)).await).await
}

pub async fn get(to: SocketAddr, path: &str) -> Answer {
    send(to, Method::GET, path, &[], "").await
}

/// Asks for a page until it shows something.
pub async fn eventually(to: SocketAddr, path: &str, shows: impl Fn(&Value) -> bool) -> Value {
    soon(async {
        loop {
            let page = get(to, path).await.json();
            if shows(&page) {
                return page;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await
}

pub async fn post_json(to: SocketAddr, path: &str, body: &str) -> Answer {
    send(to, Method::POST, path, &[("content-type", "application/json")], body.to_owned()).await
}

/// The same over HTTP/2 without a first HTTP/1.1 request.
pub async fn get_http2(to: SocketAddr, path: &str) -> Answer {
    let stream = TcpStream::connect(to).await.unwrap();
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    let uri = format!("http://{to}{path}");
    let response = soon(sender.send_request(request(Method::GET, &uri, &[], ""))).await.unwrap();
    finish(response).await
}

/// Sends bytes as they are, ends the sending side, and gives what comes back until the other side ends too.
pub async fn raw(to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(to).await.unwrap();
    // The server may end the connection before it has read all of it.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let _ = soon(stream.read_to_end(&mut answer)).await;
    answer
}
