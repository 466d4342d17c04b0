//! A small HTTP/1.1 client that shows exactly what a server said: no redirects, no retries, one connection a request.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use serde_json::Value;
use wire::recordio::Decoder;

use crate::OrFail;
use crate::eventually::PATIENCE;

/// The media type of JSON.
pub const JSON: &str = "application/json";
/// Longest record of a stream.
const MAX_RECORD: usize = 64 << 20;

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Its code.
    pub status: u16,
    /// Header fields with their names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, without its transfer encoding.
    pub body: Vec<u8>,
}

impl Reply {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).or_fail(format!("{} is JSON: {}", self.status, self.text()))
    }

    /// The first header field of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Fails unless the code is this one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Reply {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    method: &'a str,
    path: &'a str,
    headers: Vec<(&'a str, String)>,
    body: Vec<u8>,
    limit: Duration,
}

impl<'a> Request<'a> {
    /// A request without a body.
    pub fn new(method: &'a str, path: &'a str) -> Request<'a> {
        Request { method, path, headers: Vec::new(), body: Vec::new(), limit: PATIENCE }
    }

    /// POST of a JSON text, whose answer may be JSON, too.
    pub fn post(path: &'a str, body: &Value) -> Request<'a> {
        let body = body.to_string().into_bytes();
        Request::new("POST", path).body(body).header("Content-Type", JSON).header("Accept", JSON)
    }

    /// With another header field.
    #[must_use]
    pub fn header(mut self, name: &'a str, value: impl Into<String>) -> Request<'a> {
        self.headers.push((name, value.into()));
        self
    }

    /// Waits only that long for the connection, and for each piece of the answer.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Request<'a> {
        self.limit = limit;
        self
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Request<'a> {
        self.body = body.into();
        self
    }

    /// Sends it and reads the whole answer.
    ///
    /// # Errors
    /// Nobody answers, or what comes is no HTTP.
    pub fn send(&self, to: SocketAddr) -> io::Result<Reply> {
        let (mut reply, mut body) = self.start(to)?;
        body.read_to_end(&mut reply.body)?;
        Ok(reply)
    }

    /// Sends it and reads the head of the answer.
    fn start(&self, to: SocketAddr) -> io::Result<(Reply, Body)> {
        let mut socket = TcpStream::connect_timeout(&to, self.limit)?;
        socket.set_read_timeout(Some(self.limit))?;
        let mut head =
            format!("{} {} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", self.body.len()));
        let message = [head.as_bytes(), &self.body].concat();
        // A server may answer and close before it has read a body that it refuses.
        let sent = socket.write_all(&message);
        let mut reader = BufReader::new(socket);
        let reply = match (head_of(&mut reader), sent) {
            (Ok(reply), _) => reply,
            (Err(_), Err(error)) | (Err(error), Ok(())) => return Err(error),
        };
        let length = match (reply.header("transfer-encoding"), reply.header("content-length")) {
            _ if reply.status == 204 || self.method == "HEAD" => Length::Known(0),
            (Some("chunked"), _) => Length::Chunk { left: 0, first: true },
            (_, Some(length)) => Length::Known(length.parse().map_err(io::Error::other)?),
            _ => Length::ToEnd,
        };
        Ok((reply, Body { reader, length }))
    }

    /// Sends it and hands over the records of the answer, to be read as the caller likes, or not at all.
    ///
    /// # Errors
    /// As [`Request::send`].
    pub fn records(&self, to: SocketAddr) -> io::Result<(Reply, Records)> {
        let (reply, body) = self.start(to)?;
        Ok((reply, Records { body, decoder: Decoder::new(MAX_RECORD) }))
    }

    /// Sends it and goes on reading records of the answer on a thread of its own, when it is a stream.
    ///
    /// # Errors
    /// As [`Request::send`].
    pub fn stream(&self, to: SocketAddr) -> io::Result<(Reply, Option<Stream>)> {
        let (mut reply, mut body) = self.start(to)?;
        if reply.status != 200 {
            body.read_to_end(&mut reply.body)?;
            return Ok((reply, None));
        }
        let socket = body.reader.get_ref().try_clone()?;
        socket.set_read_timeout(None)?;
        let (sender, received) = mpsc::channel();
        let mut records = Records { body, decoder: Decoder::new(MAX_RECORD) };
        std::thread::spawn(move || {
            while let Ok(record) = records.next() {
                let event = serde_json::from_slice(&record).or_fail("a record is JSON");
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        Ok((reply, Some(Stream { records: received, socket })))
    }
}

/// Records of a stream that nobody reads but the caller.
pub struct Records {
    body: Body,
    decoder: Decoder,
}

impl Records {
    /// Waits for the next one.
    ///
    /// # Errors
    /// `UnexpectedEof` at the end; or what comes is no RecordIO.
    #[expect(clippy::should_implement_trait, reason = "no iterator: the end is an error like others")]
    pub fn next(&mut self) -> io::Result<Vec<u8>> {
        let mut piece = [0; 16 << 10];
        loop {
            if let Some(record) = self.decoder.next().map_err(io::Error::other)? {
                return Ok(record.into());
            }
            match self.body.read(&mut piece)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => self.decoder.push(&piece[..length]),
            }
        }
    }
}

/// Records of a stream, in their order. Closed when dropped.
#[derive(Debug)]
pub struct Stream {
    records: Receiver<Value>,
    socket: TcpStream,
}

/// What a stream gave.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// A record.
    Record(Value),
    /// Nothing for that long.
    Silence,
    /// It has ended.
    End,
}

impl Stream {
    /// Waits for a record.
    pub fn next(&self, limit: Duration) -> Next {
        match self.records.recv_timeout(limit) {
            Ok(record) => Next::Record(record),
            Err(mpsc::RecvTimeoutError::Timeout) => Next::Silence,
            Err(mpsc::RecvTimeoutError::Disconnected) => Next::End,
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // It may be closed by the other side already.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

fn head_of(reader: &mut impl BufRead) -> io::Result<Reply> {
    let first = line(reader)?;
    let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("no status line: {first}")))?;
    let mut headers = Vec::new();
    loop {
        let field = line(reader)?;
        let Some((name, value)) = field.split_once(':') else { break };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    Ok(Reply { status, headers, body: Vec::new() })
}

/// What is still to come of a body.
enum Length {
    Known(usize),
    Chunk { left: usize, first: bool },
    ToEnd,
}

struct Body {
    reader: BufReader<TcpStream>,
    length: Length,
}

impl Body {
    /// Reads the size line of the next chunk; false after the last.
    fn next_chunk(&mut self, first: bool) -> io::Result<bool> {
        if !first {
            line(&mut self.reader)?;
        }
        let size = line(&mut self.reader)?;
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default(), 16)
            .map_err(io::Error::other)?;
        self.length = if size == 0 { Length::Known(0) } else { Length::Chunk { left: size, first: false } };
        Ok(size > 0)
    }
}

impl Read for Body {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if let Length::Chunk { left: 0, first } = self.length
            && !self.next_chunk(first)?
        {
            return Ok(0);
        }
        let left = match &mut self.length {
            Length::ToEnd => return self.reader.read(into),
            Length::Known(left) | Length::Chunk { left, .. } => left,
        };
        let most = into.len().min(*left);
        let length = self.reader.read(&mut into[..most])?;
        if length == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        *left -= length;
        Ok(length)
    }
}

/// GET.
#[track_caller]
pub fn get(to: SocketAddr, path: &str) -> Reply {
    Request::new("GET", path).send(to).or_fail(format!("GET http://{to}{path}"))
}

/// POST of JSON.
#[track_caller]
pub fn post(to: SocketAddr, path: &str, body: &Value) -> Reply {
    Request::post(path, body).send(to).or_fail(format!("POST http://{to}{path}"))
}
