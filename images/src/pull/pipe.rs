//! Bytes between the stages of a pull: bounded, without copies, and never mistaken for whole when they are not.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf as _, Bytes};
use tokio::sync::mpsc;

use crate::digest::Hasher;
use crate::store::Partial;

/// Uncompressed bytes that travel together.
pub(super) const CHUNK: usize = 256 << 10;
/// Chunks that may wait between two stages.
pub(super) const WAITING: usize = 6;
/// Network reads that may wait for decompression; one has up to some 400 KiB.
pub(super) const PIECES: usize = 8;

/// What a stage passes on. A sender that goes away without [`Flow::End`] has failed.
pub(super) enum Flow<T> {
    Data(T),
    End,
}

/// Buffers that return when the last stage is done with them.
#[derive(Default)]
pub(super) struct Pool {
    free: Mutex<Vec<Vec<u8>>>,
}

impl Pool {
    pub(super) fn take(&self) -> Vec<u8> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        free.unwrap_or_else(|| vec![0; CHUNK])
    }
}

/// A filled buffer.
pub(super) struct Chunk {
    data: Vec<u8>,
    length: usize,
    pool: Arc<Pool>,
}

impl Chunk {
    pub(super) fn new(data: Vec<u8>, length: usize, pool: &Arc<Pool>) -> Arc<Self> {
        Arc::new(Self { data, length, pool: pool.clone() })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.data[..self.length]
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let data = std::mem::take(&mut self.data);
        self.pool.free.lock().unwrap_or_else(PoisonError::into_inner).push(data);
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the stage before gave up")
}

/// Compressed bytes: those that an earlier pull had, then those from the network, all hashed as they are taken.
pub(super) struct Compressed {
    kept: Option<Partial>,
    pieces: mpsc::Receiver<Flow<Bytes>>,
    current: Bytes,
    ended: bool,
    pub(super) hasher: Hasher,
}

impl Compressed {
    pub(super) fn new(kept: Option<Partial>, pieces: mpsc::Receiver<Flow<Bytes>>, hasher: Hasher) -> Self {
        Self { kept, pieces, current: Bytes::new(), ended: false, hasher }
    }

    /// The next bytes of what an earlier pull had.
    fn replay(&mut self) -> io::Result<Bytes> {
        self.kept.as_mut().map_or(Ok(Vec::new()), |kept| kept.read(CHUNK)).map(Bytes::from)
    }
}

impl BufRead for Compressed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.current.is_empty() && !self.ended {
            let mut piece = self.replay()?;
            if piece.is_empty() {
                match self.pieces.blocking_recv() {
                    Some(Flow::Data(fresh)) => {
                        if let Some(kept) = &mut self.kept {
                            kept.append(&fresh);
                        }
                        piece = fresh;
                    }
                    Some(Flow::End) => self.ended = true,
                    None => return Err(cut()),
                }
            }
            self.hasher.update(&piece);
            self.current = piece;
        }
        Ok(&self.current)
    }

    fn consume(&mut self, count: usize) {
        self.current.advance(count);
    }
}

impl Read for Compressed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, into)
    }
}

/// Uncompressed chunks as one stream.
pub(super) struct Chunks {
    incoming: Receiver<Flow<Arc<Chunk>>>,
    current: Option<Arc<Chunk>>,
    at: usize,
    ended: bool,
}

impl Chunks {
    pub(super) fn new(incoming: Receiver<Flow<Arc<Chunk>>>) -> Self {
        Self { incoming, current: None, at: 0, ended: false }
    }

    /// Takes what is left, so that the stages before can end properly.
    pub(super) fn drain(&mut self) -> io::Result<()> {
        loop {
            let count = self.fill_buf()?.len();
            if count == 0 {
                return Ok(());
            }
            self.consume(count);
        }
    }
}

impl BufRead for Chunks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while !self.ended && self.current.as_ref().is_none_or(|chunk| self.at >= chunk.bytes().len()) {
            self.current = None;
            match self.incoming.recv() {
                Ok(Flow::Data(chunk)) => (self.current, self.at) = (Some(chunk), 0),
                Ok(Flow::End) => self.ended = true,
                Err(_) => return Err(cut()),
            }
        }
        Ok(self.current.as_ref().map_or(&[], |chunk| &chunk.bytes()[self.at..]))
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
    }
}

impl Read for Chunks {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, into)
    }
}

fn read_buffered(from: &mut impl BufRead, into: &mut [u8]) -> io::Result<usize> {
    let bytes = from.fill_buf()?;
    let count = bytes.len().min(into.len());
    into[..count].copy_from_slice(&bytes[..count]);
    from.consume(count);
    Ok(count)
}

/// Hashes chunks until their end; `None` when they broke off.
pub(super) fn hash_all(incoming: &Receiver<Flow<Arc<Chunk>>>, mut hasher: Hasher) -> Option<Hasher> {
    loop {
        match incoming.recv() {
            Ok(Flow::Data(chunk)) => hasher.update(chunk.bytes()),
            Ok(Flow::End) => return Some(hasher),
            Err(_) => return None,
        }
    }
}

/// Sends to every stage; `false` when one is gone.
pub(super) fn send_all(to: &[SyncSender<Flow<Arc<Chunk>>>], chunk: &Arc<Chunk>) -> bool {
    to.iter().all(|stage| stage.send(Flow::Data(chunk.clone())).is_ok())
}
