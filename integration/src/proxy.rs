//! A line between two processes that can be bad: slow, silent, or cut.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::OrFail;

/// Between two looks at how the line is.
const LOOK: Duration = Duration::from_millis(5);
/// Bytes read at once.
const PIECE: usize = 16 << 10;

/// A TCP proxy for one address. Ends, with all its connections, when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    line: Arc<Line>,
    listener: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Line {
    target: Mutex<SocketAddr>,
    silent: AtomicBool,
    /// Bytes a second in each direction of each connection; 0 is as fast as it goes.
    rate: AtomicU64,
    /// Bytes that pass before all connections are cut, if not [`u64::MAX`].
    left: AtomicU64,
    passed: AtomicU64,
    accepted: AtomicU64,
    ends: AtomicBool,
    /// Connections up to this number stay silent for ever.
    stranded: AtomicU64,
    sockets: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// A good line to an address.
    #[track_caller]
    pub fn to(target: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").or_fail("an address for a proxy");
        let address = listener.local_addr().or_fail("the address of a proxy");
        let line = Arc::new(Line {
            target: Mutex::new(target),
            silent: AtomicBool::new(false),
            rate: AtomicU64::new(0),
            left: AtomicU64::new(u64::MAX),
            passed: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            ends: AtomicBool::new(false),
            stranded: AtomicU64::new(0),
            sockets: Mutex::default(),
        });
        let own = line.clone();
        let thread = std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                if own.ends.load(Ordering::SeqCst) {
                    return;
                }
                let number = own.accepted.fetch_add(1, Ordering::SeqCst) + 1;
                // Who can't be reached is no fault of the line: the caller sees its connection end.
                let _ = connect(&own, number, &socket);
            }
        });
        Proxy { address, line, listener: Some(thread) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Nothing comes through any more, nor is anything closed; new connections are taken.
    pub fn silence(&self) {
        self.line.silent.store(true, Ordering::SeqCst);
    }

    /// What was held back comes through.
    pub fn speak(&self) {
        self.line.silent.store(false, Ordering::SeqCst);
    }

    /// All connections there are fall silent for ever; new ones are good.
    pub fn strand(&self) {
        self.line.stranded.store(self.accepted(), Ordering::SeqCst);
    }

    /// The next connection will be silent for ever; those after it are good.
    pub fn strand_next(&self) {
        self.line.stranded.store(self.accepted() + 1, Ordering::SeqCst);
    }

    /// At most that many bytes a second on each connection, each way; 0 for no limit.
    pub fn slow_down(&self, bytes_per_second: u64) {
        self.line.rate.store(bytes_per_second, Ordering::SeqCst);
    }

    /// Where new connections go.
    pub fn target(&self) -> SocketAddr {
        self.line.target()
    }

    /// Cuts everything that is connected; new connections go elsewhere.
    pub fn lead_to(&self, target: SocketAddr) {
        *self.line.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
        self.cut();
    }

    /// Cuts everything that is connected, in the middle of whatever is said.
    pub fn cut(&self) {
        self.line.cut();
    }

    /// Cuts everything once that many more bytes have come through.
    pub fn cut_after(&self, bytes: u64) {
        self.line.left.store(bytes, Ordering::SeqCst);
    }

    /// How many bytes came through so far.
    pub fn passed(&self) -> u64 {
        self.line.passed.load(Ordering::SeqCst)
    }

    /// How many connections were made so far.
    pub fn accepted(&self) -> u64 {
        self.line.accepted.load(Ordering::SeqCst)
    }
}

impl Line {
    fn target(&self) -> SocketAddr {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sockets(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cut(&self) {
        for socket in self.sockets().drain(..) {
            // It may be closed by now.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Takes bytes off what may still pass: how many of them.
    fn allow(&self, length: usize) -> usize {
        let left = self.left.load(Ordering::SeqCst);
        if left == u64::MAX {
            return length;
        }
        let allowed = length.min(usize::try_from(left).unwrap_or(usize::MAX));
        self.left.store(left - allowed as u64, Ordering::SeqCst);
        allowed
    }
}

fn connect(line: &Arc<Line>, number: u64, near: &TcpStream) -> io::Result<()> {
    let far = TcpStream::connect(line.target())?;
    for socket in [near, &far] {
        socket.set_nodelay(true)?;
        line.sockets().push(socket.try_clone()?);
    }
    for (from, to) in [(near.try_clone()?, far.try_clone()?), (far, near.try_clone()?)] {
        let line = line.clone();
        std::thread::spawn(move || {
            let _ = pump(&line, number, &from, &to);
            let _ = to.shutdown(Shutdown::Write);
        });
    }
    Ok(())
}

fn pump(line: &Line, number: u64, mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
    let mut piece = [0; PIECE];
    loop {
        hold(line, number)?;
        let rate = line.rate.load(Ordering::SeqCst);
        let most = match rate {
            0 => PIECE,
            // A tenth of a second of it.
            rate => usize::try_from(rate / 10).unwrap_or(PIECE).clamp(1, PIECE),
        };
        let length = from.read(&mut piece[..most])?;
        // It may have fallen silent meanwhile.
        hold(line, number)?;
        if length == 0 {
            return Ok(());
        }
        let allowed = line.allow(length);
        to.write_all(&piece[..allowed])?;
        line.passed.fetch_add(allowed as u64, Ordering::SeqCst);
        if allowed < length {
            line.left.store(u64::MAX, Ordering::SeqCst);
            line.cut();
            return Ok(());
        }
        if rate > 0 {
            std::thread::park_timeout(Duration::from_secs_f64(length as f64 / rate as f64));
        }
    }
}

fn hold(line: &Line, number: u64) -> io::Result<()> {
    let held = || line.silent.load(Ordering::SeqCst) || number <= line.stranded.load(Ordering::SeqCst);
    while held() {
        if line.ends.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        std::thread::park_timeout(LOOK);
    }
    Ok(())
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.line.ends.store(true, Ordering::SeqCst);
        self.line.cut();
        // Wakes the one that listens.
        let woken = TcpStream::connect(self.address);
        if let (Some(thread), Ok(_)) = (self.listener.take(), woken) {
            let _ = thread.join();
        }
    }
}
