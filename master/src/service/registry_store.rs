//! Where the registry is kept: one file, or nowhere. `registry_ensemble` keeps it in ZooKeeper.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{AgentId, Timestamp};
use redb::{Database, DatabaseError, ReadableTable as _, TableDefinition, WriteTransaction};

use crate::logic::{Change, Contents};

/// Version of the tables below. A newer one is refused.
const FORMAT: u64 = 1;
/// The file is small; redb would take up to a gigabyte for its cache.
const CACHE: usize = 4 << 20;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const ADMITTED: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("admitted");
const UNREACHABLE: TableDefinition<'_, &str, i64> = TableDefinition::new("unreachable");
const GONE: TableDefinition<'_, &str, i64> = TableDefinition::new("gone");
const OWNERS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("owners");

/// Why the registry can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The directory can't be made or written.
    #[error("can't make the directory {path} for the registry; give a --work_dir that this user may write", path = .path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Another process has it.
    #[error(
        "the registry {path} is in use by another process; stop the other master, or give another --work_dir",
        path = .path.display()
    )]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file can't be opened.
    #[error(
        "can't open the registry {path}; if it is damaged, move it away: agents then register anew",
        path = .path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Box<redb::Error>,
    },
    /// It was written by a newer version.
    #[error(
        "the registry {path} has format {found}, this version reads {FORMAT}; start the newer version again",
        path = .path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// A row is not what it should be.
    #[error(
        "the registry {path} holds an unreadable agent '{agent}'; move the file away: agents then register anew",
        path = .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The row.
        agent: String,
        /// What is wrong with it.
        source: prost::DecodeError,
    },
    /// The ensemble that keeps it.
    #[error(transparent)]
    Ensemble(coordination::RecordsError),
    /// It can't be read or written.
    #[error("can't write the registry {path}; look at the disk's space and health", path = .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Box<redb::Error>,
    },
}

/// A place that keeps the registry. Calls block.
pub trait RegistryStore: Send {
    /// Takes the registry over: raises the epoch, on disk, and answers all that is in it.
    ///
    /// The epoch is one more than the last one or `least`, whichever is greater.
    ///
    /// # Errors
    /// It can't be read or written.
    fn lead(&mut self, least: u64) -> Result<Contents, StoreError>;

    /// Writes changes in one transaction: all or none are on disk when this returns.
    ///
    /// # Errors
    /// None of them is written.
    fn apply(&mut self, changes: &[Change]) -> Result<(), StoreError>;

    /// Its size in bytes, if it is kept anywhere.
    fn size(&self) -> Option<u64> {
        None
    }
}

/// Keeps nothing beyond the process.
#[derive(Debug, Default)]
pub struct InMemory(Contents);

impl RegistryStore for InMemory {
    fn lead(&mut self, least: u64) -> Result<Contents, StoreError> {
        self.0.epoch = (self.0.epoch + 1).max(least);
        Ok(self.0.clone())
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        changes.iter().for_each(|change| self.0.apply(change));
        Ok(())
    }
}

/// `registry.redb` in a directory, locked by this process.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    database: Database,
}

impl File {
    /// Opens or makes the file.
    ///
    /// # Errors
    /// The directory, the file or its lock can't be had.
    pub fn open(directory: &Path) -> Result<File, StoreError> {
        std::fs::create_dir_all(directory)
            .map_err(|source| StoreError::Directory { path: directory.to_owned(), source })?;
        let path = directory.join("registry.redb");
        let database =
            Database::builder().set_cache_size(CACHE).create(&path).map_err(|error| match error {
                DatabaseError::DatabaseAlreadyOpen => StoreError::Locked { path: path.clone() },
                other => StoreError::Open { path: path.clone(), source: Box::new(other.into()) },
            })?;
        let file = File { path, database };
        file.check_format()?;
        Ok(file)
    }

    fn check_format(&self) -> Result<(), StoreError> {
        let found = self.write(|transaction| {
            let mut meta = transaction.open_table(META)?;
            let found = meta.get("format")?.map(|value| value.value());
            if found.is_none() {
                meta.insert("format", FORMAT)?;
            }
            Ok(found.unwrap_or(FORMAT))
        })?;
        if found > FORMAT {
            return Err(StoreError::Newer { path: self.path.clone(), found });
        }
        Ok(())
    }

    /// One transaction, on disk when this returns.
    fn write<T>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let all = || {
            let transaction = self.database.begin_write()?;
            let done = work(&transaction)?;
            transaction.commit()?;
            Ok(done)
        };
        all().map_err(|source| StoreError::Write { path: self.path.clone(), source: Box::new(source) })
    }

    /// All that is in it.
    ///
    /// # Errors
    /// It can't be read.
    pub fn look(&self) -> Result<Contents, StoreError> {
        self.read(|_| None)
    }

    /// Puts all of `contents` in place of what is there.
    ///
    /// # Errors
    /// It can't be written; then nothing is changed.
    pub fn replace(&self, contents: &Contents) -> Result<(), StoreError> {
        self.write(|transaction| {
            let mut meta = transaction.open_table(META)?;
            let last = meta.get("epoch")?.map_or(0, |value| value.value());
            meta.insert("epoch", last.max(contents.epoch))?;
            let mut admitted = transaction.open_table(ADMITTED)?;
            admitted.retain(|_, _| false)?;
            for (agent, info) in &contents.admitted {
                admitted.insert(agent.as_str(), &*wire::proto::encode(&**info))?;
            }
            let mut owners = transaction.open_table(OWNERS)?;
            owners.retain(|_, _| false)?;
            for (agent, owner) in &contents.owners {
                owners.insert(agent.as_str(), &*prost::Message::encode_to_vec(&**owner))?;
            }
            for (table, entries) in [(UNREACHABLE, &contents.unreachable), (GONE, &contents.gone)] {
                let mut table = transaction.open_table(table)?;
                table.retain(|_, _| false)?;
                for (agent, at) in entries {
                    table.insert(agent.as_str(), at.micros())?;
                }
            }
            Ok(())
        })
    }

    /// Reads everything, and raises the epoch when `raised` says so.
    fn read(&self, raised: impl FnOnce(u64) -> Option<u64>) -> Result<Contents, StoreError> {
        let (mut admitted, mut owners) = (Vec::new(), Vec::new());
        let mut contents = self.write(|transaction| {
            let mut meta = transaction.open_table(META)?;
            let last = meta.get("epoch")?.map_or(0, |value| value.value());
            let epoch = raised(last);
            if let Some(epoch) = epoch {
                meta.insert("epoch", epoch)?;
            }
            for row in transaction.open_table(ADMITTED)?.iter()? {
                let (id, info) = row?;
                admitted.push((id.value().to_owned(), info.value().to_vec()));
            }
            for row in transaction.open_table(OWNERS)?.iter()? {
                let (id, owner) = row?;
                owners.push((id.value().to_owned(), owner.value().to_vec()));
            }
            let (unreachable, gone) = (times(transaction, UNREACHABLE)?, times(transaction, GONE)?);
            Ok(Contents { epoch: epoch.unwrap_or(last), unreachable, gone, ..Contents::default() })
        })?;
        for (id, info) in admitted {
            contents.admitted.insert(AgentId::from(id.as_str()), self.row(&id, &info)?);
        }
        for (id, owner) in owners {
            contents.owners.insert(AgentId::from(id.as_str()), self.row(&id, &owner)?);
        }
        Ok(contents)
    }

    fn row<T: prost::Message + Default>(&self, id: &str, bytes: &[u8]) -> Result<Arc<T>, StoreError> {
        let row = T::decode(bytes).map_err(|source| StoreError::Damaged {
            path: self.path.clone(),
            agent: id.escape_default().to_string(),
            source,
        })?;
        Ok(Arc::new(row))
    }
}

impl RegistryStore for File {
    fn lead(&mut self, least: u64) -> Result<Contents, StoreError> {
        self.read(|last| Some(last.saturating_add(1).max(least)))
    }

    fn size(&self) -> Option<u64> {
        std::fs::metadata(&self.path).ok().map(|file| file.len())
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        self.write(|transaction| {
            let mut admitted = transaction.open_table(ADMITTED)?;
            let mut unreachable = transaction.open_table(UNREACHABLE)?;
            let mut gone = transaction.open_table(GONE)?;
            let mut owners = transaction.open_table(OWNERS)?;
            for change in changes {
                match change {
                    Change::Admit(agent, info, owner) => {
                        unreachable.remove(agent.as_str())?;
                        admitted.insert(agent.as_str(), &*wire::proto::encode(&**info))?;
                        if let Some(owner) = owner {
                            owners.insert(agent.as_str(), &*prost::Message::encode_to_vec(&**owner))?;
                        }
                    }
                    Change::Remove(agent) => {
                        admitted.remove(agent.as_str())?;
                        unreachable.remove(agent.as_str())?;
                        owners.remove(agent.as_str())?;
                    }
                    Change::MarkUnreachable(agent, since) => {
                        admitted.remove(agent.as_str())?;
                        unreachable.insert(agent.as_str(), since.micros())?;
                    }
                    Change::MarkGone(agent, at) => {
                        admitted.remove(agent.as_str())?;
                        unreachable.remove(agent.as_str())?;
                        owners.remove(agent.as_str())?;
                        gone.insert(agent.as_str(), at.micros())?;
                    }
                    Change::Prune { unreachable: first, gone: second } => {
                        for agent in first {
                            unreachable.remove(agent.as_str())?;
                            owners.remove(agent.as_str())?;
                        }
                        for agent in second {
                            gone.remove(agent.as_str())?;
                        }
                    }
                }
            }
            Ok(())
        })
    }
}

type Times = std::collections::BTreeMap<AgentId, Timestamp>;

fn times(
    transaction: &WriteTransaction,
    table: TableDefinition<'_, &str, i64>,
) -> Result<Times, redb::Error> {
    let mut all = Times::new();
    for row in transaction.open_table(table)?.iter()? {
        let (id, at) = row?;
        all.insert(AgentId::from(id.value()), Timestamp::from_micros(at.value()));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use wire::v1;

    use super::*;
    use crate::logic::Identity;

    fn info(hostname: &str) -> Arc<v1::AgentInfo> {
        Arc::new(v1::AgentInfo { hostname: hostname.to_owned(), ..Default::default() })
    }

    fn changes() -> Vec<Change> {
        let (a, b, c, d) = ("A".into(), "B".into(), "C".into(), "D".into());
        let agents: [&AgentId; 4] = [&a, &b, &c, &d];
        let mut all: Vec<Change> =
            agents.iter().map(|id| Change::Admit((*id).clone(), info(id.as_str()), None)).collect();
        all.push(Change::MarkUnreachable(b.clone(), Timestamp::from_micros(5)));
        all.push(Change::MarkGone(c.clone(), Timestamp::from_micros(6)));
        all.push(Change::Remove(d));
        all.push(Change::Admit(a.clone(), info("renamed"), None));
        all.push(Change::MarkUnreachable("E".into(), Timestamp::from_micros(7)));
        all.push(Change::MarkUnreachable("F".into(), Timestamp::from_micros(7)));
        all.push(Change::MarkGone("G".into(), Timestamp::from_micros(7)));
        all.push(Change::Admit("F".into(), info("back"), None));
        let owner = Arc::new(Identity { principal: Some("agents".to_owned()), names: vec!["a".to_owned()] });
        all.push(Change::Admit("I".into(), info("owned"), Some(owner.clone())));
        all.push(Change::MarkUnreachable("I".into(), Timestamp::from_micros(9)));
        for lost in ["E", "G", "J", "K"] {
            all.push(Change::Admit(lost.into(), info("lost"), Some(owner.clone())));
        }
        all.push(Change::Remove("J".into()));
        all.push(Change::MarkGone("K".into(), Timestamp::from_micros(9)));
        all.push(Change::MarkUnreachable("E".into(), Timestamp::from_micros(7)));
        all.push(Change::MarkGone("G".into(), Timestamp::from_micros(7)));
        all.push(Change::Prune { unreachable: vec!["E".into()], gone: vec!["G".into()] });
        all.push(Change::MarkUnreachable("H".into(), Timestamp::from_micros(8)));
        all.push(Change::Remove("H".into()));
        all
    }

    #[test]
    fn the_file_survives_and_the_epoch_grows() {
        let directory = tempfile::tempdir().unwrap();
        let work_dir = directory.path().join("a/b");
        let mut store = File::open(&work_dir).unwrap();
        assert_eq!(store.lead(0).unwrap(), Contents { epoch: 1, ..Contents::default() });
        store.apply(&changes()).unwrap();
        drop(store);

        let mut expected = Contents::default();
        changes().iter().for_each(|change| expected.apply(change));
        expected.epoch = 2;
        let mut store = File::open(&work_dir).unwrap();
        assert_eq!(store.lead(0).unwrap(), expected);
        assert_eq!(store.lead(1000).unwrap().epoch, 1000);
        assert_eq!(store.lead(1000).unwrap().epoch, 1001);
        assert_eq!(expected.admitted.len(), 2);
        assert_eq!(expected.admitted["A"].hostname, "renamed");
        // Whoever doesn't answer keeps his; who is no more has none.
        assert_eq!(expected.owners.keys().map(AgentId::as_str).collect::<Vec<_>>(), ["I"]);
    }

    #[test]
    fn both_stores_agree() {
        let directory = tempfile::tempdir().unwrap();
        let mut file = File::open(directory.path()).unwrap();
        let mut memory = InMemory::default();
        for change in changes() {
            file.apply(std::slice::from_ref(&change)).unwrap();
            memory.apply(std::slice::from_ref(&change)).unwrap();
            assert_eq!(file.lead(0).unwrap(), memory.lead(0).unwrap());
        }
    }

    #[test]
    fn a_registry_in_use_is_refused_and_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let _first = File::open(directory.path()).unwrap();
        let error = File::open(directory.path()).unwrap_err();
        assert!(matches!(error, StoreError::Locked { .. }), "{error:?}");
        assert!(error.to_string().contains("registry.redb") && error.to_string().contains("stop the other"));
    }

    #[test]
    fn what_is_no_registry_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("registry.redb"), "not a database at all".repeat(1000)).unwrap();
        let error = File::open(directory.path()).unwrap_err();
        assert!(matches!(error, StoreError::Open { .. }), "{error:?}");
        let under_a_file = directory.path().join("registry.redb/sub");
        let error = File::open(&under_a_file).unwrap_err();
        assert!(matches!(error, StoreError::Directory { .. }), "{error:?}");
    }

    #[test]
    fn a_newer_format_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let store = File::open(directory.path()).unwrap();
        store.write(|t| Ok(t.open_table(META)?.insert("format", FORMAT + 1).map(|_| ())?)).unwrap();
        drop(store);
        let error = File::open(directory.path()).unwrap_err();
        assert!(matches!(error, StoreError::Newer { found: 2, .. }), "{error:?}");
    }

    #[test]
    fn a_row_that_is_no_agent_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = File::open(directory.path()).unwrap();
        store.write(|t| Ok(t.open_table(ADMITTED)?.insert("A", &[0xff_u8; 3][..]).map(|_| ())?)).unwrap();
        let error = store.lead(0).unwrap_err();
        assert!(matches!(&error, StoreError::Damaged { agent, .. } if agent == "A"), "{error:?}");
    }
}
