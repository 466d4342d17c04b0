//! The callers of a keeper: the one that started it and any that connect later.
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use rustix::fs::Mode;
use rustix::net::{SendFlags, send};

use crate::protocol::{Command, Decoder, Report, VERSION, encode};

/// Most callers at once; the oldest gives way (an agent that restarted often without closing).
const MAX_CLIENTS: usize = 8;

/// Most bytes kept for a caller that does not read; then it is cut off.
const MAX_BACKLOG: usize = 256 << 10;

/// One caller.
struct Client {
    stream: UnixStream,
    decoder: Decoder,
    backlog: Vec<u8>,
    broken: bool,
}

/// All callers and the place where new ones come in.
pub(crate) struct Clients {
    listener: Option<UnixListener>,
    clients: Vec<Client>,
    /// Repeated to each new caller.
    last: Vec<u8>,
}

/// What can be waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Listener,
    Client(usize),
}

impl Clients {
    /// Greets the first caller.
    pub(crate) fn new(first: UnixStream) -> Self {
        let mut clients = Self { listener: None, clients: Vec::new(), last: Vec::new() };
        clients.greet(first);
        clients
    }

    /// Listens at `path`, which must lie in a folder that only root may enter.
    pub(crate) fn listen(&mut self, path: &Path) -> io::Result<()> {
        let listener = bind(path)?;
        listener.set_nonblocking(true)?;
        self.listener = Some(listener);
        Ok(())
    }

    /// The numbers of all open sockets.
    pub(crate) fn numbers(&self) -> Vec<RawFd> {
        self.sources().map(|(_, fd, _)| fd.as_raw_fd()).collect()
    }

    /// Tells every caller, now and later.
    pub(crate) fn announce(&mut self, report: &Report) {
        let Ok(frame) = encode(report) else { return };
        for client in &mut self.clients {
            client.push(&frame);
        }
        self.last = frame;
        self.drop_broken();
    }

    /// Tells every caller, but nobody that comes later.
    pub(crate) fn tell(&mut self, report: &Report) {
        let Ok(frame) = encode(report) else { return };
        for client in &mut self.clients {
            client.push(&frame);
        }
        self.drop_broken();
    }

    /// Answers one caller.
    pub(crate) fn answer(&mut self, index: usize, report: &Report) {
        if let (Some(client), Ok(frame)) = (self.clients.get_mut(index), encode(report)) {
            client.push(&frame);
        }
    }

    /// What to wait for, and whether for room to write as well.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (Source, BorrowedFd<'_>, bool)> {
        let listener = self.listener.iter().map(|listener| (Source::Listener, listener.as_fd(), false));
        let clients = self.clients.iter().enumerate();
        listener.chain(clients.map(|(index, client)| {
            (Source::Client(index), client.stream.as_fd(), !client.backlog.is_empty())
        }))
    }

    /// Lets a new caller in, when it is who it must be.
    pub(crate) fn accept(&mut self) {
        let Some(Ok((stream, _))) = self.listener.as_ref().map(UnixListener::accept) else { return };
        match is_trusted(&stream) {
            Ok(true) => self.greet(stream),
            Ok(false) => tracing::warn!("a caller of another user or pid namespace was turned away"),
            Err(error) => tracing::warn!(%error, "a caller could not be identified and was turned away"),
        }
    }

    fn greet(&mut self, stream: UnixStream) {
        if stream.set_nonblocking(true).is_err() {
            return;
        }
        if self.clients.len() >= MAX_CLIENTS {
            self.clients.remove(0);
        }
        let hello = Report::Hello { version: VERSION, keeper_pid: std::process::id() };
        let mut client = Client { stream, decoder: Decoder::default(), backlog: Vec::new(), broken: false };
        client.push(&encode(&hello).unwrap_or_default());
        client.push(&self.last);
        self.clients.push(client);
        self.drop_broken();
    }

    /// Reads what a caller sent. Indices stay valid until [`Clients::drop_broken`].
    pub(crate) fn read(&mut self, index: usize) -> Vec<Command> {
        let Some(client) = self.clients.get_mut(index) else { return Vec::new() };
        client.flush();
        let mut commands = Vec::new();
        let mut buffer = [0; 1024];
        match client.stream.read(&mut buffer) {
            Ok(0) => client.broken = true,
            Ok(length) => client.decoder.feed(&buffer[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => client.broken = true,
        }
        loop {
            match client.decoder.next() {
                Ok(Some(command)) => commands.push(command),
                Ok(None) => return commands,
                Err(error) => {
                    tracing::warn!(%error, "a caller is cut off");
                    client.broken = true;
                    return commands;
                }
            }
        }
    }

    pub(crate) fn drop_broken(&mut self) {
        self.clients.retain(|client| !client.broken);
    }

    /// Gives slow callers a last chance to read; then all connections close with us.
    pub(crate) fn finish(&mut self, patience: Duration) {
        let end = Instant::now() + patience;
        self.listener = None;
        self.drop_broken();
        for client in &mut self.clients {
            let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            if !client.backlog.is_empty() && client.stream.set_write_timeout(Some(left)).is_ok() {
                let _ = client.stream.set_nonblocking(false);
                client.flush();
            }
        }
    }
}

impl Client {
    fn push(&mut self, frame: &[u8]) {
        self.backlog.extend_from_slice(frame);
        self.flush();
        self.broken |= self.backlog.len() > MAX_BACKLOG;
    }

    fn flush(&mut self) {
        while !self.backlog.is_empty() && !self.broken {
            match send(&self.stream, &self.backlog, SendFlags::NOSIGNAL) {
                Ok(sent) => {
                    self.backlog.drain(..sent);
                }
                Err(rustix::io::Errno::AGAIN) => return,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => self.broken = true,
            }
        }
    }
}

/// A socket for our user alone from its first moment. (A socket path may be 107 bytes long; the one
/// through a descriptor always is shorter.)
fn bind(path: &Path) -> io::Result<UnixListener> {
    let before = rustix::process::umask(Mode::from_raw_mode(0o177));
    let listener = super::through_folder(path, |short| UnixListener::bind(short));
    rustix::process::umask(before);
    listener
}

/// Whether the peer runs as our user, and not inside a container: a task on the host's files can find
/// the socket, but is in another pid namespace.
fn is_trusted(stream: &UnixStream) -> io::Result<bool> {
    let peer = getsockopt(stream, PeerCredentials)?;
    if peer.uid() != rustix::process::geteuid().as_raw() || peer.pid() <= 0 {
        return Ok(false);
    }
    let ours = std::fs::read_link("/proc/self/ns/pid")?;
    let theirs = std::fs::read_link(format!("/proc/{}/ns/pid", peer.pid()))?;
    Ok(ours == theirs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(stream: &mut UnixStream, decoder: &mut Decoder) -> Vec<Report> {
        let mut buffer = [0; 4096];
        let length = stream.read(&mut buffer).unwrap();
        decoder.feed(&buffer[..length]);
        std::iter::from_fn(|| decoder.next().unwrap()).collect()
    }

    #[test]
    fn a_later_caller_learns_what_happened_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x".repeat(200)).join("keeper.sock");
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut clients = Clients::new(ours);
        clients.listen(&path).unwrap();
        clients.announce(&Report::Started { pid: 7, at_ms: 1 });
        let mut late = super::super::through_folder(&path, |short| UnixStream::connect(short)).unwrap();
        clients.accept();
        let reports = read_all(&mut late, &mut Decoder::default());
        assert!(matches!(reports[..], [Report::Hello { .. }, Report::Started { pid: 7, .. }]), "{reports:?}");
    }

    #[test]
    fn a_caller_that_does_not_read_is_cut_off_and_others_are_not() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut clients = Clients::new(ours);
        for at_ms in 0..200_000 {
            clients.tell(&Report::Started { pid: 7, at_ms });
        }
        assert!(clients.clients.is_empty());
        drop(theirs);
    }

    #[test]
    fn garbage_ends_a_connection() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut clients = Clients::new(ours);
        std::io::Write::write_all(&mut theirs, &[0xff; 64]).unwrap();
        assert!(clients.read(0).is_empty());
        clients.drop_broken();
        assert!(clients.clients.is_empty());
    }
}
