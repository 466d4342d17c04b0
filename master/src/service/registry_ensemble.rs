//! The registry in the ZooKeeper ensemble: one record for each agent, written by the leader alone.

use std::collections::BTreeSet;
use std::sync::Arc;

use coordination::{Change as RecordChange, Records, RecordsError, Session, Taken};
use model::{AgentId, Timestamp};
use tokio::runtime::Handle;
use wire::v1;

use super::registry_store::{RegistryStore, StoreError};
use crate::logic::{Change, Contents, Identity};

/// One agent's record. Fields are only ever added.
#[derive(Clone, PartialEq, prost::Message)]
struct Record {
    /// It belongs to the cluster.
    #[prost(message, optional, tag = "1")]
    admitted: Option<v1::AgentInfo>,
    /// It did not answer, since when, in microseconds of the epoch.
    #[prost(sint64, optional, tag = "2")]
    unreachable: Option<i64>,
    /// It was declared gone, and when.
    #[prost(sint64, optional, tag = "3")]
    gone: Option<i64>,
    /// Who registered it.
    #[prost(message, optional, tag = "4")]
    owner: Option<Identity>,
}

/// The registry in an ensemble. Made within a runtime of tokio's, used on its blocking threads.
#[derive(Debug)]
pub struct Ensemble {
    records: Records,
    contents: Contents,
    runtime: Handle,
}

impl Ensemble {
    /// The registry of the masters with this session's path.
    pub fn new(session: Session) -> Ensemble {
        Ensemble { records: Records::new(session), contents: Contents::default(), runtime: Handle::current() }
    }

    /// All that is in it, without taking it over; none when no master ever led.
    ///
    /// # Errors
    /// The ensemble doesn't answer, or holds something that is no registry.
    pub async fn look(session: Session) -> Result<Option<Contents>, StoreError> {
        let mut records = Records::new(session);
        let root = records.root();
        records.look().await?.map(|taken| contents(&root, taken)).transpose()
    }

    /// Writes all of `contents` into it in place of what is there, under a new epoch.
    ///
    /// # Errors
    /// The ensemble doesn't answer, or refuses.
    pub async fn replace(session: Session, contents: &Contents) -> Result<u64, StoreError> {
        let mut records = Records::new(session);
        let taken = records.take_over(contents.epoch.saturating_add(1)).await?;
        let new = agents(contents);
        let mut changes: Vec<RecordChange> = new.iter().map(|agent| change_of(contents, agent)).collect();
        let stays = |key: &String| new.contains(&AgentId::from(key.as_str()));
        let gone = taken.records.into_iter().map(|(key, _)| key).filter(|key| !stays(key));
        changes.extend(gone.map(|key| RecordChange::Remove { key }));
        records.commit(&changes).await?;
        Ok(taken.epoch)
    }
}

impl From<RecordsError> for StoreError {
    fn from(error: RecordsError) -> StoreError {
        StoreError::Ensemble(error)
    }
}

impl RegistryStore for Ensemble {
    fn lead(&mut self, least: u64) -> Result<Contents, StoreError> {
        let taken = self.runtime.block_on(self.records.take_over(least))?;
        self.contents = contents(&self.records.root(), taken)?;
        Ok(self.contents.clone())
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let mut touched = BTreeSet::new();
        for change in changes {
            self.contents.apply(change);
            touched.extend(agents_of(change).into_iter().cloned());
        }
        let changes: Vec<RecordChange> =
            touched.iter().map(|agent| change_of(&self.contents, agent)).collect();
        Ok(self.runtime.block_on(self.records.commit(&changes))?)
    }
}

/// The agents that a change is about.
fn agents_of(change: &Change) -> Vec<&AgentId> {
    match change {
        Change::Admit(agent, _, _)
        | Change::Remove(agent)
        | Change::MarkUnreachable(agent, _)
        | Change::MarkGone(agent, _) => vec![agent],
        Change::Prune { unreachable, gone } => unreachable.iter().chain(gone).collect(),
    }
}

fn agents(contents: &Contents) -> BTreeSet<&AgentId> {
    contents.admitted.keys().chain(contents.unreachable.keys()).chain(contents.gone.keys()).collect()
}

/// What makes the record of an agent what the contents say of it.
fn change_of(contents: &Contents, agent: &AgentId) -> RecordChange {
    let record = Record {
        admitted: contents.admitted.get(agent).map(|info| (**info).clone()),
        unreachable: contents.unreachable.get(agent).map(|since| since.micros()),
        gone: contents.gone.get(agent).map(|at| at.micros()),
        owner: contents.owners.get(agent).map(|owner| (**owner).clone()),
    };
    let key = agent.to_string();
    if record == Record::default() {
        return RecordChange::Remove { key };
    }
    RecordChange::Put { key, value: prost::Message::encode_to_vec(&record) }
}

fn contents(root: &str, taken: Taken) -> Result<Contents, StoreError> {
    let mut contents = Contents { epoch: taken.epoch, ..Contents::default() };
    for (key, value) in taken.records {
        let record: Record = prost::Message::decode(&*value).map_err(|source| StoreError::Damaged {
            path: root.into(),
            agent: key.escape_default().to_string(),
            source,
        })?;
        let agent = AgentId::from(key.as_str());
        if let Some(owner) = record.owner {
            contents.owners.insert(agent.clone(), Arc::new(owner));
        }
        if let Some(info) = record.admitted {
            contents.admitted.insert(agent.clone(), Arc::new(info));
        }
        let times = [(record.unreachable, &mut contents.unreachable), (record.gone, &mut contents.gone)];
        for (time, into) in times {
            if let Some(micros) = time {
                into.insert(agent.clone(), Timestamp::from_micros(micros));
            }
        }
    }
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_say_all_of_the_contents() {
        let info = Arc::new(v1::AgentInfo { hostname: "a".to_owned(), ..v1::AgentInfo::default() });
        let owner = Identity { principal: Some("p".to_owned()), names: vec!["n".to_owned()] };
        let mut before = Contents { epoch: 7, ..Contents::default() };
        for (name, change) in [
            ("a", Change::Admit("a".into(), info.clone(), None)),
            ("o", Change::Admit("o".into(), info, Some(Arc::new(owner)))),
            ("b", Change::MarkUnreachable("b".into(), Timestamp::from_micros(-5))),
            ("c", Change::MarkGone("c".into(), Timestamp::from_micros(9))),
            ("d", Change::Remove("d".into())),
        ] {
            before.apply(&change);
            assert_eq!(agents_of(&change), [&AgentId::from(name)]);
        }
        let records = agents(&before).into_iter().map(|agent| match change_of(&before, agent) {
            RecordChange::Put { key, value } => (key, value),
            other => panic!("{other:?}"),
        });
        let taken = Taken { epoch: 7, records: records.collect() };
        assert_eq!(contents("/r", taken).unwrap(), before);
        let removed = RecordChange::Remove { key: "d".to_owned() };
        assert_eq!(change_of(&before, &AgentId::from("d")), removed);
        let damaged = Taken { epoch: 1, records: vec![("x".to_owned(), vec![0xff; 3])] };
        assert!(
            matches!(contents("/r", damaged).unwrap_err(), StoreError::Damaged { agent, .. } if agent == "x")
        );
    }
}
