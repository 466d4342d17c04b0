//! A door for fuzz targets: the decompression of layers.

use bytes::Bytes;
use tokio::sync::mpsc;

use super::layer;
use super::pipe::{Compressed, Flow, Pool};
use crate::digest::{Algorithm, Hasher};
use crate::manifest::Compression;

/// Bytes of output after which it is enough.
const ENOUGH: usize = 4 << 20;

/// What comes out of a blob that arrives in pieces of that size; none when it is broken or too much. Not to be called on
/// a thread of an async runtime.
pub(crate) fn inflated(blob: &[u8], compression: Compression, piece: usize) -> Option<Vec<u8>> {
    let pieces: Vec<&[u8]> = blob.chunks(piece.max(1)).collect();
    let (sender, receiver) = mpsc::channel(pieces.len() + 1);
    for piece in pieces {
        sender.try_send(Flow::Data(Bytes::copy_from_slice(piece))).ok()?;
    }
    sender.try_send(Flow::End).ok()?;
    let mut compressed = Compressed::new(None, receiver, Hasher::new(Algorithm::Sha256));
    let mut out = Vec::new();
    let done =
        layer::inflate(compression, &mut compressed, &Pool::default(), &mut |buffer, length, taken| {
            assert!(taken <= blob.len() as u64, "no more is taken than there is");
            out.extend_from_slice(&buffer[..length]);
            if out.len() > ENOUGH { Err(super::LayerError::Cut) } else { Ok(()) }
        });
    done.ok().map(|()| out)
}
