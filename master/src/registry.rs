//! Moving the registry: out of a file or an ensemble as JSON, and back in. For backups, and to go from one master to
//! several.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use coordination::{EnsembleUrl, Session};
use model::{AgentId, Timestamp};
use serde_json::{Value, json};
use wire::v1;

use crate::logic::{Contents, Identity};
use crate::service::registry_ensemble::Ensemble;
use crate::service::registry_store::{File, StoreError};

/// Version of the JSON. A newer one is refused.
const FORMAT: u64 = 1;
/// The largest text that is read: some 50,000 agents.
pub const MAX_TEXT: u64 = 256 << 20;
/// The highest epoch of an imported registry: half of all numbers remain for leaders to come.
const MAX_EPOCH: u64 = u64::MAX / 2;

/// Where a registry is kept.
#[derive(Clone, Debug)]
pub enum Kept {
    /// In `registry.redb` of this folder, the `--work_dir` of a master that doesn't run.
    File(PathBuf),
    /// In this ensemble, as `--zk` names it.
    Ensemble(EnsembleUrl),
}

/// Why a registry was not moved. A file is changed as a whole or not at all; an import into an ensemble that broke off
/// half-way is to be done again, with `force`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MoveError {
    /// It can't be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No session with the ensemble.
    #[error(transparent)]
    Session(#[from] coordination::NoSession),
    /// There is none.
    #[error("{0} holds no registry: no master has ever led there")]
    None(String),
    /// A text that is no registry.
    #[error("what is to be imported is no registry: {0}")]
    Text(String),
    /// Masters run.
    #[error("{0} has {1} masters that contend: stop them first, since their leader would not see the change")]
    Masters(EnsembleUrl, usize),
    /// It would be overwritten.
    #[error(
        "the registry there holds {0} agents already; give --force to put the imported ones in their place"
    )]
    NotEmpty(usize),
    /// A part of the program ended.
    #[error("the work on the registry ended unexpectedly")]
    Ended,
}

/// How long an ensemble may take to answer.
const SESSION: Duration = Duration::from_secs(10);

/// The registry as JSON.
///
/// # Errors
/// There is none, or it can't be read; a file's master must not run.
pub async fn export(from: &Kept) -> Result<String, MoveError> {
    let contents = match from {
        Kept::File(directory) => {
            if !directory.join("registry.redb").exists() {
                return Err(MoveError::None(directory.display().to_string()));
            }
            let directory = directory.clone();
            blocking(move || File::open(&directory)?.look()).await?
        }
        Kept::Ensemble(url) => {
            let session = Session::open(url, SESSION).await?;
            let found = Ensemble::look(session).await?;
            found.ok_or_else(|| MoveError::None(url.to_string()))?
        }
    };
    Ok(to_text(&contents))
}

/// Puts a registry there. Answers how many agents it holds.
///
/// # Errors
/// Masters run there, there is another registry and `force` isn't set, the text is none, or it can't be written.
pub async fn import(into: &Kept, text: &str, force: bool) -> Result<usize, MoveError> {
    let contents = from_text(text).map_err(MoveError::Text)?;
    let count = agents(&contents);
    let empty = |there: &Contents| match agents(there) {
        there if there > 0 && !force => Err(MoveError::NotEmpty(there)),
        _ => Ok(()),
    };
    match into {
        Kept::File(directory) => {
            let directory = directory.clone();
            let (file, there) = blocking(move || {
                let file = File::open(&directory)?;
                let there = file.look()?;
                Ok((file, there))
            })
            .await?;
            empty(&there)?;
            blocking(move || file.replace(&contents)).await?;
        }
        Kept::Ensemble(url) => {
            let session = Session::open(url, SESSION).await?;
            match session.candidates().await?.len() {
                0 => {}
                masters => return Err(MoveError::Masters(url.clone(), masters)),
            }
            if let Some(there) = Ensemble::look(session.clone()).await? {
                empty(&there)?;
            }
            session.make_path().await?;
            Ensemble::replace(session, &contents).await?;
        }
    }
    Ok(count)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, MoveError> {
    Ok(tokio::task::spawn_blocking(work).await.map_err(|_| MoveError::Ended)??)
}

fn agents(contents: &Contents) -> usize {
    contents.admitted.len() + contents.unreachable.len() + contents.gone.len()
}

pub(crate) fn to_text(contents: &Contents) -> String {
    let info = |info: &Arc<v1::AgentInfo>| -> Value {
        serde_json::from_str(&wire::json::to_string(&**info)).unwrap_or_default()
    };
    let times = |entries: &std::collections::BTreeMap<AgentId, Timestamp>| -> Vec<Value> {
        entries.iter().map(|(agent, at)| json!({"id": agent.as_str(), "micros": at.micros()})).collect()
    };
    let owner = |(agent, owner): (&AgentId, &Arc<Identity>)| json!({"id": agent.as_str(), "principal": owner.principal, "names": owner.names});
    let all = json!({
        "format": FORMAT,
        "epoch": contents.epoch,
        "admitted": contents.admitted.values().map(info).collect::<Vec<_>>(),
        "unreachable": times(&contents.unreachable),
        "gone": times(&contents.gone),
        "owners": contents.owners.iter().map(owner).collect::<Vec<_>>(),
    });
    format!("{all:#}\n")
}

pub(crate) fn from_text(text: &str) -> Result<Contents, String> {
    let all: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    match all["format"].as_u64() {
        Some(FORMAT) => {}
        Some(newer) => return Err(format!("its format is {newer}, this version reads {FORMAT}")),
        None => return Err("it has no format".to_owned()),
    }
    let list = |name: &str| all[name].as_array().cloned().ok_or_else(|| format!("it has no list {name}"));
    let epoch = all["epoch"].as_u64().ok_or("it has no epoch")?;
    if epoch > MAX_EPOCH {
        return Err(format!("its epoch {epoch} leaves none for later leaders; at most {MAX_EPOCH}"));
    }
    let mut contents = Contents { epoch, ..Contents::default() };
    for agent in list("admitted")? {
        let info: v1::AgentInfo =
            wire::json::from_slice(agent.to_string().as_bytes()).map_err(|error| error.to_string())?;
        let id = info.id.as_ref().ok_or("an agent has no id")?;
        let id = checked(&id.value)?;
        if contents.admitted.insert(id.clone(), Arc::new(info)).is_some() {
            return Err(format!("the agent {id} is in it twice"));
        }
    }
    for (name, into) in [("unreachable", &mut contents.unreachable), ("gone", &mut contents.gone)] {
        for entry in list(name)? {
            let id = entry["id"].as_str().ok_or("an entry has no id")?;
            let micros = entry["micros"].as_i64().ok_or_else(|| format!("{id} has no time"))?;
            let id = checked(id)?;
            if contents.admitted.contains_key(&id)
                || into.insert(id.clone(), Timestamp::from_micros(micros)).is_some()
            {
                return Err(format!("the agent {id} is in it twice"));
            }
        }
    }
    if let Some(id) = contents.unreachable.keys().find(|id| contents.gone.contains_key(*id)) {
        return Err(format!("the agent {id} is both unreachable and gone"));
    }
    // Exports of earlier versions have none.
    for entry in all["owners"].as_array().into_iter().flatten() {
        let id = entry["id"].as_str().ok_or("an owner has no id")?;
        let names = entry["names"].as_array().into_iter().flatten();
        let names: Option<_> = names.map(|name| name.as_str().map(str::to_owned)).collect();
        let principal = entry["principal"].as_str().map(str::to_owned);
        let owner =
            Identity { principal, names: names.ok_or_else(|| format!("{id} has a name that is no text"))? };
        contents.owners.insert(checked(id)?, Arc::new(owner));
    }
    Ok(contents)
}

fn checked(id: &str) -> Result<AgentId, String> {
    let agent = AgentId::from(id);
    agent.check().map_err(|bad| format!("the agent id '{}': {bad}", id.escape_default()))?;
    Ok(agent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Contents {
        let info = |id: &str| {
            let id = Some(v1::AgentId { value: id.to_owned() });
            // Mesos: a default that is declared is written.
            Arc::new(v1::AgentInfo {
                hostname: "h".to_owned(),
                port: Some(5051),
                id,
                ..v1::AgentInfo::default()
            })
        };
        let owner = Identity { principal: Some("p".to_owned()), names: vec!["n".to_owned(), "o".to_owned()] };
        Contents {
            epoch: 17,
            admitted: [("a".into(), info("a")), ("b".into(), info("b"))].into(),
            unreachable: [("c".into(), Timestamp::from_micros(5))].into(),
            gone: [("d".into(), Timestamp::from_micros(-6))].into(),
            owners: [("a".into(), Arc::new(owner))].into(),
        }
    }

    #[test]
    fn a_text_holds_all_of_it() {
        assert_eq!(from_text(&to_text(&some())).unwrap(), some());
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"format":2}"#,
            r#"{"format":1,"epoch":1,"admitted":[{}],"unreachable":[],"gone":[]}"#,
            r#"{"format":1,"epoch":1,"admitted":[],"unreachable":[{"id":"a/b","micros":1}],"gone":[]}"#,
            r#"{"format":1,"epoch":1,"admitted":[],"unreachable":[]}"#,
            r#"{"format":1,"epoch":18446744073709551615,"admitted":[],"unreachable":[],"gone":[]}"#,
            r#"{"format":1,"epoch":1,"admitted":[],"unreachable":[],"gone":[{"id":"a","micros":1},{"id":"a","micros":1}]}"#,
            r#"{"format":1,"epoch":1,"admitted":[],"unreachable":[{"id":"a","micros":1}],"gone":[{"id":"a","micros":1}]}"#,
        ] {
            assert!(from_text(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_agent_is_in_it_once() {
        let mut all: Value = serde_json::from_str(&to_text(&some())).unwrap();
        let first = all["admitted"][0].clone();
        all["admitted"].as_array_mut().unwrap().push(first);
        assert_eq!(from_text(&all.to_string()).unwrap_err(), "the agent a is in it twice");
        let mut all: Value = serde_json::from_str(&to_text(&some())).unwrap();
        all["gone"][0]["id"] = "b".into();
        assert_eq!(from_text(&all.to_string()).unwrap_err(), "the agent b is in it twice");
    }

    #[tokio::test]
    async fn a_file_gives_its_registry_and_takes_another_only_when_told() {
        let directory = tempfile::tempdir().unwrap();
        let kept = Kept::File(directory.path().join("work"));
        let none = export(&kept).await.unwrap_err();
        assert!(matches!(none, MoveError::None(_)), "{none:?}");
        assert_eq!(import(&kept, &to_text(&some()), false).await.unwrap(), 4);
        let text = export(&kept).await.unwrap();
        assert_eq!(from_text(&text).unwrap().admitted, some().admitted);
        let refused = import(&kept, &text, false).await.unwrap_err();
        assert!(matches!(refused, MoveError::NotEmpty(4)), "{refused:?}");
        let smaller = Contents { gone: Default::default(), owners: Default::default(), ..some() };
        assert_eq!(import(&kept, &to_text(&smaller), true).await.unwrap(), 3);
        let now = from_text(&export(&kept).await.unwrap()).unwrap();
        assert_eq!(
            (now.admitted, now.unreachable, now.gone, now.owners),
            (smaller.admitted, smaller.unreachable, smaller.gone, smaller.owners)
        );
        assert!(now.epoch >= 17, "no leader's epoch may come again");
        // A master that runs has it.
        let held = File::open(&directory.path().join("work")).unwrap();
        assert!(matches!(export(&kept).await.unwrap_err(), MoveError::Store(StoreError::Locked { .. })));
        drop(held);
    }
}
