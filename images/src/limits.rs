//! Bounds on everything that a registry, a manifest or an archive could make us spend.

use std::time::Duration;

/// What one pull may cost at most. The defaults fit real images with a wide margin.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of one manifest, index or image configuration.
    pub manifest_bytes: u64,
    /// Descriptors in one index.
    pub index_entries: usize,
    /// Layers of one image.
    pub layers: usize,
    /// Bytes of one layer after decompression.
    pub layer_bytes: u64,
    /// Bytes of all layers of one image after decompression.
    pub image_bytes: u64,
    /// How many times larger than its blob a layer may become, once it is past [`Limits::ratio_floor`].
    pub ratio: u64,
    /// Bytes of output below which [`Limits::ratio`] is not looked at.
    pub ratio_floor: u64,
    /// Files, directories, links and made parents of one layer.
    pub entries: u64,
    /// Layers of one image that are fetched at once.
    pub parallel_layers: usize,
    /// Until a TCP (and TLS) connection stands.
    pub connect_timeout: Duration,
    /// Without one byte of an answer.
    pub idle_timeout: Duration,
    /// Bytes a second below which a body, measured over [`Limits::idle_timeout`], counts as stalled.
    pub least_rate: u64,
    /// How often a request or a broken body is tried again; less often when each try takes long.
    pub retries: u32,
    /// The first pause before a retry; it doubles each time, and is shortened by up to a half at random.
    pub first_pause: Duration,
    /// The longest pause before a retry, unless the registry asks for a longer one. With the defaults all pauses together
    /// are some 20 s: a registry that is started again is waited for.
    pub longest_pause: Duration,
    /// For how long in all a registry may ask to be left alone (`Retry-After`) before it answers.
    pub longest_asked: Duration,
    /// One pull from its beginning to its end.
    pub pull_timeout: Duration,
    /// Blobs of at least so many compressed bytes are kept while they arrive, so that a later pull goes on from there.
    pub resume_from: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            manifest_bytes: 4 << 20,
            index_entries: 1000,
            layers: 1000,
            layer_bytes: 64 << 30,
            image_bytes: 128 << 30,
            ratio: 400,
            ratio_floor: 1 << 30,
            entries: 2_000_000,
            parallel_layers: 4,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            least_rate: 1024,
            retries: 8,
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(8),
            longest_asked: Duration::from_secs(60),
            pull_timeout: Duration::from_secs(3600),
            resume_from: 1 << 20,
        }
    }
}
