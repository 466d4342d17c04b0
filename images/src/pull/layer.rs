//! One layer from its source to the store: four stages at once, each on a thread of its own.
//!
//! ```text
//! network -> hash of the blob, decompress -> hash of the tar
//!                                         -> unpack into staging
//! ```
//! Only when both digests are right is the staged directory renamed into the store.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::blocking;
use super::error::LayerError;
use super::pipe::{self, Chunk, Chunks, Compressed, Flow, Pool};
use super::plan::PlannedLayer;
use crate::digest::{Digest, Hasher};
use crate::manifest::Compression;
use crate::progress::{Fanout, LayerEvent, Progress as _};
use crate::source::{BlobBody, BlobSource};
use crate::store::{Inner, LayerLease, LayerRecord, StagedLayer};
use crate::unpack::{UnpackLimits, Unpacked, unpack_tar};

/// zstd frames that want more memory than this (2 to the power of it) are refused.
const ZSTD_WINDOW: u32 = 27;
/// Bytes between two reports of progress.
const REPORT: u64 = 512 << 10;

/// What one layer's flight needs.
pub(super) struct Job {
    pub(super) inner: Arc<Inner>,
    pub(super) layer: PlannedLayer,
    /// Uncompressed bytes that the image may still have.
    pub(super) budget: Arc<AtomicU64>,
    pub(super) fanout: Arc<Fanout>,
    /// Tells the pull that something may still be on the disk.
    pub(super) _working: mpsc::Sender<()>,
}

type Outcome<T> = Result<T, Arc<LayerError>>;

/// Leases the layer, fetching it when it is not in the store.
pub(super) async fn ensure<S: BlobSource>(job: Job, source: Arc<S>) -> Outcome<Arc<LayerLease>> {
    let (inner, diff_id) = (job.inner.clone(), job.layer.diff_id.clone());
    let digest = job.layer.blob.digest.clone();
    let fanout = job.fanout.clone();
    if let Some(lease) = blocking(move || inner.lease(&diff_id)).await.map_err(wrap)? {
        fanout.layer(&digest, LayerEvent::Cached);
        return Ok(lease);
    }
    let lease = fetch(job, source).await.map_err(Arc::new)?;
    fanout.layer(&digest, LayerEvent::Done);
    Ok(lease)
}

async fn fetch<S: BlobSource>(job: Job, source: Arc<S>) -> Result<Arc<LayerLease>, LayerError> {
    let job = Arc::new(job);
    let blob = &job.layer.blob;
    let body = source.blob(blob).await.map_err(LayerError::Source)?;
    let stages = Stages::start(&job);
    let sent = send(body, &job, stages.network).await;
    let inflated = join(stages.inflate).await.flatten();
    let hashed = join(stages.hash).await?;
    let unpacked = join(stages.unpack).await.flatten();

    let (digest, staged) = match (sent, inflated, unpacked) {
        (Ok(()), Ok(digest), Ok(staged)) => (digest, staged),
        (sent, inflated, unpacked) => {
            let (failed, staged) = match unpacked {
                Ok(staged) => (None, Some(staged)),
                Err(error) => (Some(error), None),
            };
            dispose(staged).await;
            // Stages that lost their neighbour were cut; one of them failed for a reason of its own.
            let errors = [sent.err(), inflated.err(), failed].into_iter().flatten();
            let first =
                errors.reduce(|first, next| if matches!(first, LayerError::Cut) { next } else { first });
            return Err(first.unwrap_or(LayerError::Cut));
        }
    };
    if digest != blob.digest {
        dispose(Some(staged)).await;
        return Err(LayerError::WrongDigest { actual: digest });
    }
    let expected = job.layer.diff_id.clone();
    match hashed.map(Hasher::finish) {
        Some(actual) if actual == expected => {}
        Some(actual) => {
            dispose(Some(staged)).await;
            return Err(LayerError::WrongDiffId { expected, actual });
        }
        None => return Err(LayerError::Cut),
    }
    let (staged, unpacked) = staged;
    let record = LayerRecord::new(expected, unpacked);
    Ok(blocking(move || job.inner.commit(staged, &record)).await?)
}

/// Removing a half-made tree takes time.
async fn dispose(staged: Option<(StagedLayer, Unpacked)>) {
    blocking(move || drop(staged)).await;
}

/// Passes the body on to decompression.
async fn send<B: BlobBody>(mut body: B, job: &Job, to: mpsc::Sender<Flow<Bytes>>) -> Result<(), LayerError> {
    let (digest, total) = (&job.layer.blob.digest, job.layer.blob.size);
    let (mut done, mut reported) = (0, 0);
    job.fanout.layer(digest, LayerEvent::Fetching { done, total });
    while let Some(piece) = body.next().await.map_err(LayerError::Source)? {
        done += piece.len() as u64;
        if to.send(Flow::Data(piece)).await.is_err() {
            return Err(LayerError::Cut);
        }
        if done - reported >= REPORT || done == total {
            job.fanout.layer(digest, LayerEvent::Fetching { done, total });
            reported = done;
        }
    }
    job.fanout.layer(digest, LayerEvent::Unpacking);
    to.send(Flow::End).await.map_err(|_| LayerError::Cut)
}

/// The threads of one layer and the way into the first.
struct Stages {
    network: mpsc::Sender<Flow<Bytes>>,
    inflate: JoinHandle<Result<Digest, LayerError>>,
    hash: JoinHandle<Option<Hasher>>,
    unpack: JoinHandle<Result<(StagedLayer, Unpacked), LayerError>>,
}

impl Stages {
    fn start(job: &Arc<Job>) -> Self {
        let (network, pieces) = mpsc::channel(pipe::PIECES);
        let (to_hash, hashing) = sync_channel(pipe::WAITING);
        let (to_unpack, unpacking) = sync_channel(pipe::WAITING);
        let hasher = Hasher::new(job.layer.diff_id.algorithm());
        let inflater = Inflater { job: job.clone(), to: [to_hash, to_unpack], out: 0 };
        let unpacker = job.clone();
        Self {
            network,
            inflate: tokio::task::spawn_blocking(move || inflater.run(pieces)),
            hash: tokio::task::spawn_blocking(move || pipe::hash_all(&hashing, hasher)),
            unpack: tokio::task::spawn_blocking(move || unpack(&unpacker, Chunks::new(unpacking))),
        }
    }
}

/// A panic while reading something hostile costs this layer and nothing else.
async fn join<T>(stage: JoinHandle<T>) -> Result<T, LayerError> {
    stage.await.map_err(|_| LayerError::Panicked)
}

/// The staged directory goes with an error.
fn unpack(job: &Job, mut tar: Chunks) -> Result<(StagedLayer, Unpacked), LayerError> {
    let staged = job.inner.session.stage()?;
    let limits = UnpackLimits { entries: job.inner.limits.entries, bytes: job.inner.limits.layer_bytes };
    let unpacked = unpack_tar(&mut tar, &staged.fs, limits)?;
    tar.drain().map_err(|_| LayerError::Cut)?;
    Ok((staged, unpacked))
}

/// Decompresses, and watches what comes out of how much.
struct Inflater {
    job: Arc<Job>,
    to: [SyncSender<Flow<Arc<Chunk>>>; 2],
    out: u64,
}

impl Inflater {
    /// The digest of the blob when all of it was taken.
    fn run(mut self, pieces: mpsc::Receiver<Flow<Bytes>>) -> Result<Digest, LayerError> {
        let mut blob = Compressed::new(pieces, Hasher::new(self.job.layer.blob.digest.algorithm()));
        match self.job.layer.compression {
            Compression::Plain => self.pump(&mut blob, |blob| blob)?,
            Compression::Gzip => {
                self.pump(flate2::bufread::MultiGzDecoder::new(&mut blob), |d| d.get_mut())?;
            }
            Compression::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(&mut blob).map_err(LayerError::Decompress)?;
                decoder.window_log_max(ZSTD_WINDOW).map_err(LayerError::Decompress)?;
                self.pump(decoder, |d| d.get_mut())?;
            }
        }
        if !blob.fill_buf().map_err(|_| LayerError::Cut)?.is_empty() {
            let trailing =
                io::Error::new(io::ErrorKind::InvalidData, "something follows the compressed stream");
            return Err(LayerError::Decompress(trailing));
        }
        let digest = blob.hasher.finish();
        // Told apart from an end that came too early: whoever gets this may take the tar as whole.
        let delivered = self.to.iter().all(|stage| stage.send(Flow::End).is_ok());
        if delivered { Ok(digest) } else { Err(LayerError::Cut) }
    }

    fn pump<D: Read>(
        &mut self,
        mut from: D,
        blob: impl Fn(&mut D) -> &mut Compressed,
    ) -> Result<(), LayerError> {
        let pool = Arc::new(Pool::default());
        loop {
            let mut buffer = pool.take();
            let length = fill(&mut from, &mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            self.account(length as u64, blob(&mut from).hasher.bytes())?;
            if !pipe::send_all(&self.to, &Chunk::new(buffer, length, &pool)) {
                return Err(LayerError::Cut);
            }
        }
    }

    fn account(&mut self, length: u64, taken: u64) -> Result<(), LayerError> {
        let limits = &self.job.inner.limits;
        self.out += length;
        if self.out > limits.layer_bytes {
            return Err(LayerError::TooLarge { limit: limits.layer_bytes, why: "" });
        }
        if self.out > limits.ratio_floor && self.out > taken.saturating_mul(limits.ratio) {
            return Err(LayerError::TooLarge {
                limit: taken.saturating_mul(limits.ratio),
                why: ", far more than its size explains",
            });
        }
        let left = self
            .job
            .budget
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(length));
        left.map(drop).map_err(|_| LayerError::TooLarge {
            limit: limits.image_bytes,
            why: ", together with the image's other layers",
        })
    }
}

/// Fills the buffer as far as the stream goes.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> Result<usize, LayerError> {
    let mut length = 0;
    while length < buffer.len() {
        match from.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(LayerError::Cut),
            Err(error) => return Err(LayerError::Decompress(error)),
        }
    }
    Ok(length)
}

fn wrap(error: crate::store::StoreError) -> Arc<LayerError> {
    Arc::new(error.into())
}
