//! One layer from its source to the store: four stages at once, each on a thread of its own.
//!
//! ```text
//! kept part, network -> hash of the blob, decompress -> hash of the tar
//!                       (keeps what is new)          -> unpack into staging
//! ```
//! Only when both digests are right is the staged directory renamed into the store. Content that was put together from
//! several answers and is wrong is fetched once more, in one piece.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
use crate::source::{BlobBody, BlobSource, Start};
use crate::store::{Inner, LayerLease, LayerRecord, Partial, StagedLayer};
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

/// Twice at most: what is wrong may be so because of what was kept, or because of a mirror.
async fn fetch<S: BlobSource>(job: Job, source: Arc<S>) -> Result<Arc<LayerLease>, LayerError> {
    let digest = job_digest(&job);
    let job = Arc::new(job);
    let kept = match S::RESUMES {
        true => {
            let (inner, of, size) = (job.inner.clone(), digest.clone(), job.layer.blob.size);
            blocking(move || inner.partial(&of, size)).await
        }
        false => None,
    };
    let first = Attempt::new(&job, kept.as_ref().is_some_and(|kept| kept.len() > 0));
    let error = match first.run(&*source, kept).await {
        Ok(lease) => return Ok(lease),
        Err(error) => error,
    };
    if !error.is_about_content() {
        return Err(error);
    }
    let origin = source.origin();
    if !first.stitched.load(Ordering::Relaxed) && origin.is_none() {
        return Err(error);
    }
    tracing::warn!(layer = %digest, %error, "fetching the layer once more, in one piece");
    Attempt::new(&job, false).run(&*origin.unwrap_or(source), None).await
}

fn job_digest(job: &Job) -> Digest {
    job.layer.blob.digest.clone()
}

/// One way of getting the layer from its first byte to its last.
struct Attempt {
    job: Arc<Job>,
    /// Whether the blob does not come from a single answer.
    stitched: AtomicBool,
    /// Uncompressed bytes taken from the image's budget.
    spent: Arc<AtomicU64>,
}

impl Attempt {
    fn new(job: &Arc<Job>, stitched: bool) -> Self {
        Self { job: job.clone(), stitched: AtomicBool::new(stitched), spent: Arc::default() }
    }

    async fn run<S: BlobSource>(
        &self,
        source: &S,
        kept: Option<Partial>,
    ) -> Result<Arc<LayerLease>, LayerError> {
        let outcome = self.unpack(source, kept).await;
        if outcome.is_err() {
            self.job.budget.fetch_add(self.spent.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        }
        // Only a fault of the network leaves something to go on from.
        if S::RESUMES && outcome.as_ref().err().is_none_or(LayerError::spoils_blob) {
            let (inner, digest) = (self.job.inner.clone(), job_digest(&self.job));
            blocking(move || inner.forget_partial(&digest)).await;
        }
        outcome
    }

    async fn unpack<S: BlobSource>(
        &self,
        source: &S,
        kept: Option<Partial>,
    ) -> Result<Arc<LayerLease>, LayerError> {
        let job = &self.job;
        let blob = &job.layer.blob;
        let from = kept.as_ref().map_or(0, Partial::len);
        let start = Start { from, waiting: waiting(job) };
        let body = match from == blob.size && from > 0 {
            true => None,
            false => Some(source.blob(blob, start).await.map_err(LayerError::Source)?),
        };
        let stages = Stages::start(job, kept, &self.spent);
        let sent = self.send(body, from, stages.network).await;
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
        self.commit(digest, hashed, staged).await
    }

    /// Compares both digests and makes the layer visible.
    async fn commit(
        &self,
        digest: Digest,
        hashed: Option<Hasher>,
        staged: (StagedLayer, Unpacked),
    ) -> Result<Arc<LayerLease>, LayerError> {
        let (job, expected) = (self.job.clone(), self.job.layer.diff_id.clone());
        let wrong = match hashed.map(Hasher::finish) {
            _ if digest != job.layer.blob.digest => Some(LayerError::WrongDigest { actual: digest }),
            Some(actual) if actual == expected => None,
            Some(actual) => Some(LayerError::WrongDiffId { expected: expected.clone(), actual }),
            None => Some(LayerError::Cut),
        };
        if let Some(wrong) = wrong {
            dispose(Some(staged)).await;
            return Err(wrong);
        }
        let (staged, unpacked) = staged;
        let record = LayerRecord::new(expected, unpacked);
        Ok(blocking(move || job.inner.commit(staged, &record)).await?)
    }

    /// Passes the body on to decompression. There is none when everything was kept.
    async fn send<B: BlobBody>(
        &self,
        body: Option<B>,
        from: u64,
        to: mpsc::Sender<Flow<Bytes>>,
    ) -> Result<(), LayerError> {
        let job = &self.job;
        let (digest, total) = (&job.layer.blob.digest, job.layer.blob.size);
        let (mut done, mut reported) = (from, from);
        job.fanout.layer(digest, LayerEvent::Fetching { done, total });
        if let Some(mut body) = body {
            loop {
                let piece = body.next().await;
                self.stitched.fetch_or(body.is_stitched(), Ordering::Relaxed);
                let Some(piece) = piece.map_err(LayerError::Source)? else { break };
                done += piece.len() as u64;
                if to.send(Flow::Data(piece)).await.is_err() {
                    return Err(LayerError::Cut);
                }
                if done - reported >= REPORT || done == total {
                    job.fanout.layer(digest, LayerEvent::Fetching { done, total });
                    reported = done;
                }
            }
        }
        job.fanout.layer(digest, LayerEvent::Unpacking);
        to.send(Flow::End).await.map_err(|_| LayerError::Cut)
    }
}

/// Tells whoever waits for the layer of pauses before something is tried again.
fn waiting(job: &Arc<Job>) -> crate::source::Waiting {
    let (fanout, digest) = (job.fanout.clone(), job_digest(job));
    Arc::new(move |_, pause| fanout.layer(&digest, LayerEvent::Waiting { pause }))
}

/// Removing a half-made tree takes time.
async fn dispose(staged: Option<(StagedLayer, Unpacked)>) {
    blocking(move || drop(staged)).await;
}

/// The threads of one layer and the way into the first.
struct Stages {
    network: mpsc::Sender<Flow<Bytes>>,
    inflate: JoinHandle<Result<Digest, LayerError>>,
    hash: JoinHandle<Option<Hasher>>,
    unpack: JoinHandle<Result<(StagedLayer, Unpacked), LayerError>>,
}

impl Stages {
    fn start(job: &Arc<Job>, kept: Option<Partial>, spent: &Arc<AtomicU64>) -> Self {
        let (network, pieces) = mpsc::channel(pipe::PIECES);
        let (to_hash, hashing) = sync_channel(pipe::WAITING);
        let (to_unpack, unpacking) = sync_channel(pipe::WAITING);
        let hasher = Hasher::new(job.layer.diff_id.algorithm());
        let inflater = Inflater { job: job.clone(), spent: spent.clone(), to: [to_hash, to_unpack], out: 0 };
        let unpacker = job.clone();
        Self {
            network,
            inflate: tokio::task::spawn_blocking(move || inflater.run(kept, pieces)),
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

/// Takes a buffer, how many bytes of it are filled, and how many compressed bytes were read so far.
type Sink<'a> = &'a mut dyn FnMut(Vec<u8>, usize, u64) -> Result<(), LayerError>;

/// Decompresses a blob to its end.
pub(super) fn inflate(
    compression: Compression,
    blob: &mut Compressed,
    pool: &Pool,
    sink: Sink<'_>,
) -> Result<(), LayerError> {
    match compression {
        Compression::Plain => pump(&mut *blob, |blob| blob, pool, sink)?,
        Compression::Gzip => {
            pump(flate2::bufread::MultiGzDecoder::new(&mut *blob), |d| d.get_mut(), pool, sink)?;
        }
        Compression::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(&mut *blob).map_err(LayerError::Decompress)?;
            decoder.window_log_max(ZSTD_WINDOW).map_err(LayerError::Decompress)?;
            pump(decoder, |d| d.get_mut(), pool, sink)?;
        }
    }
    if !blob.fill_buf().map_err(|_| LayerError::Cut)?.is_empty() {
        let trailing = io::Error::new(io::ErrorKind::InvalidData, "something follows the compressed stream");
        return Err(LayerError::Decompress(trailing));
    }
    Ok(())
}

fn pump<D: Read>(
    mut from: D,
    blob: impl Fn(&mut D) -> &mut Compressed,
    pool: &Pool,
    sink: Sink<'_>,
) -> Result<(), LayerError> {
    loop {
        let mut buffer = pool.take();
        let length = fill(&mut from, &mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        let taken = blob(&mut from).hasher.bytes();
        sink(buffer, length, taken)?;
    }
}

/// Decompresses, and watches what comes out of how much.
struct Inflater {
    job: Arc<Job>,
    spent: Arc<AtomicU64>,
    to: [SyncSender<Flow<Arc<Chunk>>>; 2],
    out: u64,
}

impl Inflater {
    /// The digest of the blob when all of it was taken.
    fn run(
        mut self,
        kept: Option<Partial>,
        pieces: mpsc::Receiver<Flow<Bytes>>,
    ) -> Result<Digest, LayerError> {
        let mut blob = Compressed::new(kept, pieces, Hasher::new(self.job.layer.blob.digest.algorithm()));
        let (compression, pool) = (self.job.layer.compression, Arc::new(Pool::default()));
        inflate(compression, &mut blob, &pool, &mut |buffer, length, taken| {
            self.account(length as u64, taken)?;
            match pipe::send_all(&self.to, &Chunk::new(buffer, length, &pool)) {
                true => Ok(()),
                false => Err(LayerError::Cut),
            }
        })?;
        let digest = blob.hasher.finish();
        // Told apart from an end that came too early: whoever gets this may take the tar as whole.
        let delivered = self.to.iter().all(|stage| stage.send(Flow::End).is_ok());
        if delivered { Ok(digest) } else { Err(LayerError::Cut) }
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
        left.map_err(|_| LayerError::TooLarge {
            limit: limits.image_bytes,
            why: ", together with the image's other layers",
        })?;
        self.spent.fetch_add(length, Ordering::Relaxed);
        Ok(())
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
