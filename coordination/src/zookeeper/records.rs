//! The leader's records in the ensemble: keyed bytes that nobody but the leader can change.
//!
//! Below `<path>/tepui_registry` there are up to 256 shards, and in them one node for each record; so tens of thousands
//! of records fit, and a change costs one small transaction. The content of `tepui_registry` itself is the *head*: the
//! format, the epoch, and a number that each write raises. A write is one `multi`, which goes through only if the
//! writer's own candidate node is there and the head is as the writer left it. A new leader raises the epoch in the
//! head before it reads anything; from then on no write of the one before can succeed, however late it arrives.
//!
//! A write whose answer was lost is settled by the head: it tells whether that write was the last one.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use zookeeper_client::{CreateMode, Error, MultiReadResult, MultiWriteError, MultiWriteResult, Stat};

use super::Session;
use crate::lease::Moment;

/// The node's name. It has no number at its end, so that it is no candidate's for Mesos' detectors.
const ROOT: &str = "tepui_registry";
/// Version of the layout. A newer one is refused.
const FORMAT: u64 = 1;
/// One `multi` at most; an ensemble takes a megabyte.
const MAX_BYTES: usize = 256 << 10;
const MAX_OPERATIONS: usize = 500;
/// The largest record.
const MAX_RECORD: usize = 512 << 10;
/// What an operation costs beside path and content: its header and its ACL.
const OVERHEAD: usize = 128;
/// Records read in one request, and requests under way.
const READ_TOGETHER: usize = 64;
const READS: usize = 8;
/// Between two tries to learn what became of a write.
const PAUSE: Duration = Duration::from_millis(250);
/// Takeovers that collide with writes of others.
const TRIES: usize = 16;

/// A change of one record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Write it, whether it is there or not.
    Put {
        /// Its key.
        key: String,
        /// Its content.
        value: Vec<u8>,
    },
    /// Remove it, if it is there.
    Remove {
        /// Its key.
        key: String,
    },
}

/// What a new leader finds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Taken {
    /// Higher than that of any leader before.
    pub epoch: u64,
    /// All records by their keys.
    pub records: Vec<(String, Vec<u8>)>,
}

/// Why records can't be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordsError {
    /// Another leader has taken over, or the ensemble no longer counts this one as a candidate.
    #[error("{0}: this process may no longer write the registry in ZooKeeper")]
    Fenced(&'static str),
    /// It was written by a newer version.
    #[error(
        "the registry {path} in ZooKeeper has format {found}, this version reads {FORMAT}; start the newer version again"
    )]
    Newer {
        /// Its node.
        path: String,
        /// Its format.
        found: u64,
    },
    /// A node is not what it should be.
    #[error("the node {path} in ZooKeeper is no part of a registry; remove it if it is another program's")]
    Damaged {
        /// Which.
        path: String,
    },
    /// A record that no ensemble takes.
    #[error("the record '{key}' has {bytes} bytes, more than the {MAX_RECORD} that fit into ZooKeeper")]
    TooLarge {
        /// Which.
        key: String,
        /// Its length.
        bytes: usize,
    },
    /// The ensemble doesn't answer, or refuses.
    #[error("{doing} {path} in ZooKeeper failed")]
    Ensemble {
        /// What was tried.
        doing: &'static str,
        /// On which node.
        path: String,
        /// What it ended with.
        source: Error,
    },
}

/// The content of the root node.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Head {
    format: u64,
    epoch: u64,
    /// Raised by each write of an epoch.
    serial: u64,
    /// Who wrote, so that two writers never take each other's writes for their own.
    writer: String,
}

/// The head as this writer left it.
#[derive(Clone, Debug)]
struct Held {
    head: Head,
    place: Place,
}

/// Where a write of the head stands.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Among the writes of this node.
    version: i32,
    /// Among all writes of the ensemble; 0 where it is not told, of a node that was just made.
    zxid: i64,
}

impl Place {
    fn of(stat: &Stat) -> Place {
        Place { version: stat.version, zxid: stat.mzxid }
    }
}

/// The records, and the right to write them once taken over.
#[derive(Debug)]
pub struct Records {
    session: Session,
    held: Option<Held>,
    known: BTreeSet<String>,
    shards: BTreeSet<String>,
}

impl Records {
    /// The records below the session's path.
    pub fn new(session: Session) -> Records {
        Records { session, held: None, known: BTreeSet::new(), shards: BTreeSet::new() }
    }

    /// The node of all.
    pub fn root(&self) -> String {
        format!("{}/{ROOT}", self.session.path())
    }

    /// Takes the records over: raises the epoch to one more than the last one, or to `least` if that is more, and reads
    /// everything.
    ///
    /// # Errors
    /// The ensemble doesn't answer, this process is no candidate any more, or there is something that can't be read.
    pub async fn take_over(&mut self, least: u64) -> Result<Taken, RecordsError> {
        let writer = format!("{}-{:?}", self.session.client.session_id(), Moment::now());
        self.held = None;
        for _ in 0..TRIES {
            let before = self.head().await?;
            let epoch = before.as_ref().map_or(0, |held| held.head.epoch).saturating_add(1).max(least);
            let head = Head { format: FORMAT, epoch, serial: 0, writer: writer.clone() };
            match self.write_head(&head, before.map(|held| held.place.version)).await? {
                Some(place) => {
                    tracing::info!(epoch, zxid = place.zxid, "registry taken over");
                    self.held = Some(Held { head, place });
                }
                // Somebody wrote meanwhile. An answer that was lost looks the same; then the epoch rises once more.
                None => continue,
            }
            let records = self.read_all().await?;
            return Ok(Taken { epoch, records });
        }
        Err(RecordsError::Fenced("others write all the time"))
    }

    /// All records without taking them over, for a look at them; none when no leader ever was there.
    ///
    /// # Errors
    /// The ensemble doesn't answer, or there is something that can't be read.
    pub async fn look(&mut self) -> Result<Option<Taken>, RecordsError> {
        let Some(held) = self.head().await? else { return Ok(None) };
        let records = self.read_all().await?;
        Ok(Some(Taken { epoch: held.head.epoch, records }))
    }

    /// Writes changes. Each is written whole or not at all; changes that fit into one transaction are written together.
    ///
    /// # Errors
    /// Those not yet written are not, but for one transaction whose answer was lost. After an error only a new takeover
    /// can go on.
    pub async fn commit(&mut self, changes: &[Change]) -> Result<(), RecordsError> {
        let mut rest = changes;
        while !rest.is_empty() {
            let count = self.together(rest)?;
            let (now, later) = rest.split_at(count);
            if let Err(error) = self.transaction(now).await {
                self.held = None;
                return Err(error);
            }
            rest = later;
        }
        Ok(())
    }

    /// How many of the changes, from the first on, fit into one transaction.
    fn together(&self, changes: &[Change]) -> Result<usize, RecordsError> {
        let (mut bytes, mut operations) = (0, 0);
        for (index, change) in changes.iter().enumerate() {
            let (key, length) = match change {
                Change::Put { key, value } => (key, value.len()),
                Change::Remove { key } => (key, 0),
            };
            if length > MAX_RECORD {
                return Err(RecordsError::TooLarge { key: key.clone(), bytes: length });
            }
            // A shard may have to be made first.
            let path = self.path_of(key).len();
            bytes += length + 2 * (path + OVERHEAD);
            operations += 2;
            if index > 0 && (bytes > MAX_BYTES || operations > MAX_OPERATIONS) {
                return Ok(index);
            }
        }
        Ok(changes.len())
    }

    async fn transaction(&mut self, changes: &[Change]) -> Result<(), RecordsError> {
        let Some(held) = self.held.clone() else {
            return Err(RecordsError::Fenced("the registry was not taken over"));
        };
        let head = Head { serial: held.head.serial.wrapping_add(1), ..held.head.clone() };
        let steps = self.steps(changes);
        loop {
            match self.multi(&head, Some(held.place.version), &steps).await {
                Ok(place) => return self.settled(head, place, steps),
                Err(Failed::Fenced(why)) => {
                    // Our own write, which was answered too late, may be what moved the head.
                    return match self.is_written(&head).await? {
                        Some(place) => self.settled(head, place, steps),
                        None => Err(RecordsError::Fenced(why)),
                    };
                }
                Err(Failed::Unknown(error)) => {
                    tracing::warn!(%error, "the answer to a write of the registry was lost; looking what became of it");
                    match self.find_out(&held, &head).await? {
                        Some(place) => return self.settled(head, place, steps),
                        None => continue,
                    }
                }
                Err(Failed::Other(source)) => return Err(self.error("writing", &self.root(), source)),
            }
        }
    }

    fn settled(&mut self, head: Head, place: Place, steps: Vec<Step>) -> Result<(), RecordsError> {
        let Head { epoch, serial, .. } = head;
        tracing::info!(epoch, serial, zxid = place.zxid, steps = steps.len(), "registry written");
        for step in steps {
            match step {
                Step::MakeShard(shard) => drop(self.shards.insert(shard)),
                Step::Create(key, _) => drop(self.known.insert(key)),
                Step::Set(..) => {}
                Step::Delete(key) => drop(self.known.remove(&key)),
            }
        }
        self.held = Some(Held { head, place });
        Ok(())
    }

    /// What became of a write: its place when it is done, none when it is not. Asks until the ensemble answers.
    async fn find_out(&self, before: &Held, head: &Head) -> Result<Option<Place>, RecordsError> {
        loop {
            tokio::time::sleep(PAUSE).await;
            match self.head().await {
                Ok(Some(now)) if now.head == *head => return Ok(Some(now.place)),
                Ok(Some(now)) if now.head == before.head => return Ok(None),
                Ok(_) => return Err(RecordsError::Fenced("another master has taken over")),
                Err(RecordsError::Ensemble { source, .. }) if is_passing(&source) => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn is_written(&self, head: &Head) -> Result<Option<Place>, RecordsError> {
        let now = self.head().await?;
        Ok(now.filter(|now| now.head == *head).map(|now| now.place))
    }

    /// The operations that make the changes, in order; the last one for each record counts.
    fn steps(&self, changes: &[Change]) -> Vec<Step> {
        let (mut steps, mut made, mut known) = (Vec::new(), BTreeSet::new(), present(&self.known, changes));
        for change in changes {
            match change {
                Change::Put { key, value } if known.contains(key) => {
                    steps.push(Step::Set(key.clone(), value.clone()));
                }
                Change::Put { key, value } => {
                    let shard = shard_of(key);
                    if !self.shards.contains(&shard) && made.insert(shard.clone()) {
                        steps.push(Step::MakeShard(shard));
                    }
                    known.insert(key.clone());
                    steps.push(Step::Create(key.clone(), value.clone()));
                }
                Change::Remove { key } => {
                    if known.remove(key) {
                        steps.push(Step::Delete(key.clone()));
                    }
                }
            }
        }
        steps
    }

    /// One transaction: the own node is there, the head is as expected and becomes `head`, then the steps.
    async fn multi(&self, head: &Head, version: Option<i32>, steps: &[Step]) -> Result<Place, Failed> {
        let mut writer = self.session.client.new_multi_writer();
        let own = usize::from(self.session.own.is_some());
        if let Some(node) = &self.session.own {
            writer.add_check_version(node, -1)?;
        }
        let options = CreateMode::Persistent.with_acls(self.session.acls());
        let content = serde_json::to_vec(head).unwrap_or_default();
        match version {
            Some(_) => writer.add_set_data(&self.root(), &content, version)?,
            None => writer.add_create(&self.root(), &content, &options)?,
        }
        for step in steps {
            match step {
                Step::MakeShard(shard) => {
                    writer.add_create(&format!("{}/{shard}", self.root()), b"", &options)?;
                }
                Step::Create(key, value) => writer.add_create(&self.path_of(key), value, &options)?,
                Step::Set(key, value) => writer.add_set_data(&self.path_of(key), value, None)?,
                Step::Delete(key) => writer.add_delete(&self.path_of(key), None)?,
            }
        }
        match writer.commit().await {
            Ok(done) => match done.get(own) {
                Some(MultiWriteResult::SetData { stat }) => Ok(Place::of(stat)),
                // Servers of some versions answer it without a stat.
                Some(MultiWriteResult::Create { stat, .. }) => {
                    Ok(Place { version: 0, zxid: stat.mzxid.max(0) })
                }
                _ => Err(Failed::Other(Error::UnexpectedError("an answer that doesn't fit".to_owned()))),
            },
            Err(MultiWriteError::OperationFailed { index, source }) => Err(match source {
                Error::NoNode if index < own => Failed::Fenced("the own candidate's node is gone"),
                Error::BadVersion | Error::NodeExists | Error::NoNode if index == own => {
                    Failed::Fenced("another master has taken over")
                }
                other => Failed::Other(other),
            }),
            Err(MultiWriteError::RequestFailed { source: Error::SessionExpired | Error::ClientClosed }) => {
                Err(Failed::Fenced("the ZooKeeper session is over"))
            }
            Err(MultiWriteError::RequestFailed { source }) if is_passing(&source) => {
                Err(Failed::Unknown(source))
            }
            Err(MultiWriteError::RequestFailed { source }) => Err(Failed::Other(source)),
        }
    }

    /// Writes the head alone; none when it isn't as expected.
    async fn write_head(&self, head: &Head, version: Option<i32>) -> Result<Option<Place>, RecordsError> {
        match self.multi(head, version, &[]).await {
            Ok(place) => Ok(Some(place)),
            Err(Failed::Fenced("another master has taken over") | Failed::Unknown(_)) => {
                tokio::time::sleep(PAUSE).await;
                Ok(None)
            }
            Err(Failed::Fenced(why)) => Err(RecordsError::Fenced(why)),
            Err(Failed::Other(source)) => Err(self.error("taking over", &self.root(), source)),
        }
    }

    /// The head as a majority of the ensemble knows it.
    async fn head(&self) -> Result<Option<Held>, RecordsError> {
        let root = self.root();
        let client = &self.session.client;
        let (synced, read) = tokio::join!(client.sync(&root), client.get_data(&root));
        synced.map_err(|source| self.error("reading", &root, source))?;
        let (content, stat) = match read {
            Err(Error::NoNode) => return Ok(None),
            other => other.map_err(|source| self.error("reading", &root, source))?,
        };
        Ok(Some(Held { head: read_head(&content, root)?, place: Place::of(&stat) }))
    }

    async fn read_all(&mut self) -> Result<Vec<(String, Vec<u8>)>, RecordsError> {
        let root = self.root();
        let (this, client) = (&*self, &self.session.client);
        let shards =
            client.list_children(&root).await.map_err(|source| this.error("reading", &root, source))?;
        let names = stream::iter(shards.clone()).map(|shard| this.names(shard)).buffer_unordered(READS);
        let names: Vec<Vec<String>> = names.try_collect().await?;
        let paths: Vec<String> = names.into_iter().flatten().collect();
        let together: Vec<Vec<String>> = paths.chunks(READ_TOGETHER).map(<[String]>::to_vec).collect();
        let records = stream::iter(together).map(|paths| this.contents(paths)).buffered(READS);
        let records: Vec<Vec<(String, Vec<u8>)>> = records.try_collect().await?;
        let mut records: Vec<_> = records.into_iter().flatten().collect();
        records.sort_unstable();
        self.shards = shards.into_iter().collect();
        self.known = records.iter().map(|(key, _)| key.clone()).collect();
        Ok(records)
    }

    /// The paths of a shard's records.
    async fn names(&self, shard: String) -> Result<Vec<String>, RecordsError> {
        let path = format!("{}/{shard}", self.root());
        let names = self.session.client.list_children(&path).await;
        let names = names.map_err(|source| self.error("reading", &path, source))?;
        Ok(names.into_iter().map(|name| format!("{path}/{name}")).collect())
    }

    async fn contents(&self, paths: Vec<String>) -> Result<Vec<(String, Vec<u8>)>, RecordsError> {
        let mut reader = self.session.client.new_multi_reader();
        for path in &paths {
            reader.add_get_data(path).map_err(|source| self.error("reading", path, source))?;
        }
        let answers = reader.commit().await.map_err(|source| self.error("reading", &self.root(), source))?;
        let mut records = Vec::with_capacity(paths.len());
        for (path, answer) in paths.iter().zip(answers) {
            match answer {
                MultiReadResult::Data { data, .. } => {
                    let name = path.rsplit('/').next().unwrap_or_default();
                    let key = key_of(name).ok_or_else(|| RecordsError::Damaged { path: path.clone() })?;
                    records.push((key, data));
                }
                // Removed by the leader while somebody else looks.
                MultiReadResult::Error { err: Error::NoNode } => {}
                MultiReadResult::Error { err } => return Err(self.error("reading", path, err)),
                _ => return Err(RecordsError::Damaged { path: path.clone() }),
            }
        }
        Ok(records)
    }

    fn path_of(&self, key: &str) -> String {
        format!("{}/{}/{}", self.root(), shard_of(key), name_of(key))
    }

    fn error(&self, doing: &'static str, path: &str, source: Error) -> RecordsError {
        match source {
            Error::SessionExpired | Error::ClientClosed => {
                RecordsError::Fenced("the ZooKeeper session is over")
            }
            source => RecordsError::Ensemble { doing, path: path.to_owned(), source },
        }
    }
}

/// One operation of a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Step {
    MakeShard(String),
    Create(String, Vec<u8>),
    Set(String, Vec<u8>),
    Delete(String),
}

/// How a transaction failed.
#[derive(Debug)]
enum Failed {
    /// Certainly not done, and never will be.
    Fenced(&'static str),
    /// Done or not.
    Unknown(Error),
    /// Not done.
    Other(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        Failed::Other(error)
    }
}

/// Whether the ensemble may answer later, in the same session.
fn is_passing(error: &Error) -> bool {
    matches!(
        error,
        Error::ConnectionLoss
            | Error::Timeout
            | Error::Throttled
            | Error::SessionMoved
            | Error::NoHosts
            // What the connection itself ended with.
            | Error::Custom(_)
            | Error::UnexpectedError(_)
    )
}

/// The content of the head.
pub(crate) fn read_head(content: &[u8], path: String) -> Result<Head, RecordsError> {
    let format = serde_json::from_slice::<serde_json::Value>(content).ok();
    let format = format.and_then(|head| head["format"].as_u64());
    match (format, serde_json::from_slice::<Head>(content)) {
        (Some(found), _) if found > FORMAT => Err(RecordsError::Newer { path, found }),
        (_, Ok(head)) => Ok(head),
        (_, Err(_)) => Err(RecordsError::Damaged { path }),
    }
}

/// Which of the changes' records are there.
fn present(known: &BTreeSet<String>, changes: &[Change]) -> BTreeSet<String> {
    let keys = changes.iter().map(|change| match change {
        Change::Put { key, .. } | Change::Remove { key } => key,
    });
    keys.filter(|key| known.contains(*key)).cloned().collect()
}

/// Two hexadecimal digits, evenly spread (FNV-1a).
fn shard_of(key: &str) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in key.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    // All bytes of the hash take part: keys that differ in their last digits only differ in few of them.
    format!("{:02x}", hash.to_le_bytes().iter().fold(0u8, |sum, byte| sum ^ byte))
}

/// A key as a node's name: what may not stand there is written as `%` and two digits.
pub(crate) fn name_of(key: &str) -> String {
    let mut name = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            // Names of only dots mean something else.
            b'.' if key.bytes().any(|byte| byte != b'.') => name.push('.'),
            other => name.push_str(&format!("%{other:02x}")),
        }
    }
    name
}

pub(crate) fn key_of(name: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_names_and_back() {
        for key in ["1b2-S0", "a b/c", ".", "..", "a.b", "%41", "ä\u{1}", ""] {
            let name = name_of(key);
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.%".contains(c)), "{name}");
            assert!(![".", ".."].contains(&name.as_str()));
            assert_eq!(key_of(&name).as_deref(), Some(key));
        }
        for bad in ["%", "%4", "%zz", "%ff"] {
            assert_eq!(key_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn shards_are_evenly_filled() {
        let mut counts = std::collections::BTreeMap::new();
        for n in 0..25_600 {
            *counts.entry(shard_of(&format!("0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0-S{n}"))).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 256);
        assert!(counts.values().all(|count| (50..=150).contains(count)), "{counts:?}");
    }
}
