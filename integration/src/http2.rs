//! HTTP/2 by hand, both of its sides, to say what no library would: frames of every kind, messages of gRPC that are cut,
//! too long, or none at all.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::OrFail;
use crate::eventually::PATIENCE;

/// What a client begins with.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Kinds of frames.
pub const DATA: u8 = 0;
/// Header fields.
pub const HEADERS: u8 = 1;
/// The end of a stream, by force.
pub const RESET: u8 = 3;
/// Settings, to be acknowledged.
pub const SETTINGS: u8 = 4;
/// To be answered.
pub const PING: u8 = 6;
/// The end of a connection.
pub const GOAWAY: u8 = 7;
/// More may be sent.
pub const WINDOW_UPDATE: u8 = 8;
/// More header fields.
pub const CONTINUATION: u8 = 9;
/// Flag: the last frame of its stream; with SETTINGS and PING: an answer.
pub const END: u8 = 1;
/// Flag: the last header fields.
pub const ALL_HEADERS: u8 = 4;
/// The stream that a client opens first.
pub const STREAM: u32 = 1;
/// Most bytes of a frame, unless more was agreed on.
const MOST: usize = 16 << 10;
/// What may be sent at first, of a stream and of a connection.
const WINDOW: usize = 65_535;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Which.
    pub kind: u8,
    /// Flags.
    pub flags: u8,
    /// Of which stream; 0 for the connection.
    pub stream: u32,
    /// What is in it.
    pub payload: Vec<u8>,
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    with_length(payload.len(), kind, flags, stream, payload)
}

/// The bytes of a frame that says of itself that it is so long.
pub fn with_length(length: usize, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(length).or_fail("a length").to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// A header field as HPACK has it, in full.
pub fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| {
        let length = u8::try_from(text.len()).ok().filter(|length| *length < 127).or_fail("a short text");
        [&[length], text.as_bytes()].concat()
    };
    [vec![0], text(name), text(value)].concat()
}

/// A message of gRPC: its flag, its length as it is, and its bytes.
pub fn message(flag: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).or_fail("a length");
    promised(flag, length, bytes)
}

/// A message of gRPC that says of itself that it is so long.
pub fn promised(flag: u8, length: u32, bytes: &[u8]) -> Vec<u8> {
    [&[flag], &length.to_be_bytes()[..], bytes].concat()
}

/// One side of a connection.
#[derive(Debug)]
pub struct Connection {
    socket: TcpStream,
    /// What the other side still takes on [`STREAM`] and on the connection.
    windows: [usize; 2],
    /// What a stream begins with.
    initial: usize,
}

impl Connection {
    /// The side of the client, which has said nothing yet.
    #[track_caller]
    pub fn to(address: SocketAddr) -> Connection {
        Connection::on(TcpStream::connect_timeout(&address, PATIENCE).or_fail("connecting"))
    }

    /// A side on a socket.
    #[track_caller]
    pub fn on(socket: TcpStream) -> Connection {
        socket.set_read_timeout(Some(PATIENCE)).or_fail("a timeout");
        socket.set_write_timeout(Some(PATIENCE)).or_fail("a timeout");
        Connection { socket, windows: [WINDOW; 2], initial: WINDOW }
    }

    /// Begins as a client does: preface and settings.
    pub fn begin(&mut self) -> &mut Connection {
        self.say(PREFACE);
        self.say(&frame(SETTINGS, 0, 0, &[]));
        self
    }

    /// Calls a method of gRPC on a stream; its messages are to follow.
    pub fn call(&mut self, stream: u32, path: &str) {
        let fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "test"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ];
        let fields: Vec<u8> = fields.iter().flat_map(|(name, value)| field(name, value)).collect();
        self.say(&frame(HEADERS, ALL_HEADERS, stream, &fields));
    }

    /// Begins as a server does.
    ///
    /// # Errors
    /// The client doesn't come that far.
    pub fn greet(&mut self) -> io::Result<()> {
        let mut preface = [0; PREFACE.len()];
        self.socket.read_exact(&mut preface)?;
        self.say(&frame(SETTINGS, 0, 0, &[]));
        Ok(())
    }

    /// Begins as a server does, waits until the client has opened [`STREAM`], and answers that all is well.
    ///
    /// # Errors
    /// The client doesn't come that far.
    pub fn welcome(&mut self) -> io::Result<()> {
        self.greet()?;
        while self.next()?.kind != HEADERS {}
        let fields = [field(":status", "200"), field("content-type", "application/grpc")].concat();
        self.say(&frame(HEADERS, ALL_HEADERS, STREAM, &fields));
        Ok(())
    }

    /// Says bytes as they are. The other side may have heard enough, which the next frame tells.
    pub fn say(&mut self, bytes: &[u8]) {
        let _ = self.socket.write_all(bytes);
    }

    /// Says bytes in frames of [`DATA`] on [`STREAM`], as many at a time as the other side takes, until it
    /// has heard enough.
    pub fn pour(&mut self, bytes: &[u8], last: bool) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let most = rest.len().min(MOST).min(self.windows[0]).min(self.windows[1]);
            if most == 0 {
                match self.next() {
                    Ok(frame) if frame.kind == RESET || frame.kind == GOAWAY => break,
                    Ok(_) => continue,
                    Err(_) => break,
                }
            }
            let (part, after) = rest.split_at(most);
            let flags = if last && after.is_empty() { END } else { 0 };
            if self.socket.write_all(&frame(DATA, flags, STREAM, part)).is_err() {
                break;
            }
            self.windows = self.windows.map(|window| window - most);
            rest = after;
        }
    }

    /// The next frame; settings and pings are answered on the way, and windows counted.
    ///
    /// # Errors
    /// The connection has ended, or nothing comes in time.
    #[expect(clippy::should_implement_trait, reason = "no iterator: the end is an error like others")]
    pub fn next(&mut self) -> io::Result<Frame> {
        let mut head = [0; 9];
        self.socket.read_exact(&mut head)?;
        let [a, b, c, kind, flags, rest @ ..] = head;
        let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, a, b, c])).or_fail("a length")];
        self.socket.read_exact(&mut payload)?;
        let frame = Frame { kind, flags, stream: u32::from_be_bytes(rest) & 0x7fff_ffff, payload };
        match (kind, flags & END) {
            (SETTINGS, 0) => self.settings(&frame.payload),
            (PING, 0) => {
                self.say(&self::frame(PING, END, 0, &frame.payload));
            }
            (WINDOW_UPDATE, _) => {
                let more = frame.payload.as_slice().try_into().map(u32::from_be_bytes).unwrap_or(0);
                self.windows[usize::from(frame.stream == 0)] += usize::try_from(more).or_fail("a window");
            }
            _ => {}
        }
        Ok(frame)
    }

    fn settings(&mut self, payload: &[u8]) {
        const INITIAL_WINDOW: u16 = 4;
        for setting in payload.chunks_exact(6) {
            if let [a, b, rest @ ..] = setting
                && u16::from_be_bytes([*a, *b]) == INITIAL_WINDOW
            {
                let window = rest.try_into().map(u32::from_be_bytes).unwrap_or(0);
                let initial = usize::try_from(window).or_fail("a window");
                // RFC 9113: by as much as it differs, whatever was said on the stream already.
                self.windows[0] = (self.windows[0] + initial).saturating_sub(self.initial);
                self.initial = initial;
            }
        }
        self.say(&frame(SETTINGS, END, 0, &[]));
    }

    /// Waits until the other side has ended [`STREAM`], or everything.
    ///
    /// # Errors
    /// It goes on.
    pub fn end(&mut self) -> io::Result<()> {
        loop {
            match self.next() {
                Ok(frame) if frame.stream == STREAM && frame.flags & END == END => return Ok(()),
                Ok(frame) if [RESET, GOAWAY].contains(&frame.kind) => return Ok(()),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Err(error);
                }
                Err(_) => return Ok(()),
            }
        }
    }

    /// Waits for a message of gRPC that is whole in one frame, the first in there, without its head.
    ///
    /// # Errors
    /// The stream or the connection ends.
    pub fn message(&mut self) -> io::Result<Vec<u8>> {
        loop {
            let frame = self.next()?;
            if frame.kind == DATA && frame.payload.len() > 5 {
                let (head, rest) = frame.payload.split_at(5);
                let length = head[1..].try_into().map(u32::from_be_bytes).unwrap_or(0);
                let length = usize::try_from(length).unwrap_or(rest.len()).min(rest.len());
                return Ok(rest[..length].to_vec());
            }
            if frame.kind == RESET
                || frame.kind == GOAWAY
                || frame.stream == STREAM && frame.flags & END == END
            {
                return Err(io::Error::other(format!("instead of a message: {frame:?}")));
            }
        }
    }

    /// The socket, to be used otherwise.
    pub fn into_socket(self) -> TcpStream {
        self.socket
    }

    /// Nobody is waited for longer than this.
    #[track_caller]
    pub fn patience(&mut self, limit: Duration) {
        self.socket.set_read_timeout(Some(limit)).or_fail("a timeout");
    }
}
